import math
from dataclasses import replace

import pytest

from gcd_core.errors import GCDError
from gcd_core.new_domain import plan as module
from gcd_core.new_domain.plan import Design, Speeds, Task, make_plan, plan_more
from gcd_core.new_domain.plan_text import told

FAST = Speeds(*[1e-4] * 6)
TASK = Task({"train": 4800, "val": 600, "test": 600}, ("ill",), ("oracle",), True)
DESIGN = Design.of(128, 1, "stretch", False)


def minutes_of(planned) -> dict[str, float]:
    return {part.name: part.given for part in planned.parts if part.given}


def test_two_rounds_of_a_third_and_two() -> None:
    plan = make_plan(120, TASK, FAST, DESIGN)
    assert [one.kind for one in plan.rounds] == ["first", "later"]
    assert plan.rounds[0].minutes == pytest.approx(40)
    assert plan.rounds[1].minutes == pytest.approx(80)


def test_trainings_share_what_is_left_of_a_round() -> None:
    first, later = make_plan(120, TASK, FAST, DESIGN).rounds
    for planned, shares in ((first, module.TRAININGS["first"]), (later, module.TRAININGS["later"])):
        taken = sum(part.minutes - part.given for part in planned.parts)
        given = minutes_of(planned)
        oracle = given.pop("oracle", 0.0)
        assert oracle == (0.045 * 120 if planned is first else 0)
        left = planned.minutes - taken - oracle
        assert given == pytest.approx({name: share * left for name, share in shares.items()})


def test_what_is_no_training_takes_what_it_takes() -> None:
    speeds = Speeds(0.001, 0.002, 0.01, 0.004, 0.003, 0.005)
    effort = module.EFFORTS["first"]
    seconds = module.overheads("first", effort, TASK, speeds, DESIGN)
    asked = 2 * 0.01 + 0.004 + 0.003 + 0.005
    inverted, decoded = 0.002 + 8 * 0.01, 8 * 0.01 + 0.004
    walk = inverted + 14 * asked

    def spent(computed: float) -> float:
        return pytest.approx(1.3 * computed + 8)

    assert seconds["data"] == spent(6000 * 0.001)
    looked = 0.001 + 0.002 + 0.003 + 0.005  # a picture, where drawn codes give no g
    assert seconds["find:ill"] == spent(1.5 * 128 * asked + 1024 * looked + 16 * walk)
    assert seconds["walk"] == spent(effort.walked * walk)
    assert seconds["calibrate"] == spent(2 * 1000 * 0.002 + 40 * (inverted + decoded + 0.008))
    assert seconds["diffae"] == spent(3 * 4800 * 0.002 + 4800 * 0.005)  # asked about once
    remote = module.overheads("first", effort, replace(TASK, remote=True), speeds, DESIGN)
    assert remote["diffae"] == spent(3 * 4800 * 0.002)
    assert "sanity" not in seconds and "decoder" not in seconds


def test_larger_pictures_take_as_much_more_as_they_are_larger() -> None:
    speeds = Speeds(1, 1, 1, 1, 1, 1).scaled(256)
    assert speeds == Speeds(1, 4, 4, 4, 4, 1)


def test_few_minutes_make_one_round() -> None:
    plan = make_plan(20, TASK, FAST, DESIGN)
    assert [one.kind for one in plan.rounds] == ["only"]
    assert plan.rounds[0].minutes == pytest.approx(20)
    slow = Speeds(*[0.06] * 6)  # so that the first round of 45 minutes has no time to train
    assert [one.kind for one in make_plan(120, TASK, slow, DESIGN).rounds] == ["only"]


def test_too_few_minutes_are_refused_and_the_minutes_told_are_enough() -> None:
    with pytest.raises(GCDError, match=r"2 minutes are too few.*Give --minutes \d+") as caught:
        make_plan(2, TASK, FAST, DESIGN)
    wanted = int(str(caught.value).split("--minutes ")[1].split()[0])
    assert make_plan(wanted, TASK, FAST, DESIGN).rounds


@pytest.mark.parametrize("minutes", [0, -3, math.nan, math.inf])
def test_minutes_are_a_positive_number(minutes) -> None:
    with pytest.raises(GCDError, match="--minutes must be positive"):
        make_plan(minutes, TASK, FAST, DESIGN)


def test_more_minutes_are_a_later_round() -> None:
    (later,) = plan_more(60, TASK, FAST, DESIGN).rounds
    assert later.kind == "later" and later.minutes == pytest.approx(60)
    assert not {"data", "codec", "oracle"} & {part.name for part in later.parts}


def test_a_classifier_that_is_trained_comes_before_the_generator() -> None:
    task = replace(TASK, trained=("classifier", "oracle"))
    names = module.order("first", task, module.EFFORTS["first"])
    assert names[:4] == ["data", "classifier", "oracle", "codec"]
    assert names[-1] == "finish" and names.index("examples") < names.index("find:ill")


def test_less_is_measured_where_training_would_get_too_little() -> None:
    whole = module.EFFORTS["only"]
    sizes = []
    for minutes in (120, 60, 40, 30):
        speeds = Speeds(*[0.02] * 6)
        planned = module.make_round("only", minutes, minutes, TASK, speeds, DESIGN)
        sizes.append(planned.effort.evaluated / whole.evaluated)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 1 and sizes[-1] == 0.5
    least = whole.smaller(0.25)
    assert (least.queries, least.checks) == (64, ()) and least.candidates == 12
    assert whole.smaller(1.0) == whole


def test_queries_are_forecast() -> None:
    first, later = make_plan(120, TASK, FAST, DESIGN).rounds
    few = 4800 + 24 + 12 + 128 + 1024 + 2 * 8 * 15 + 16 * 15 + 16 * (2 + 15 + 26) + 600
    assert module.queries_of(first, TASK) == few
    two = replace(TASK, labels=("ill", "old"), measured=False)
    assert module.queries_of(first, two) == 4836 + 2 * (1152 + 240 + 240 + 16 * 41) + 32
    assert few - 4800 < module.queries_of(later, TASK) < 2 * few
    assert module.queries_of(first, replace(TASK, remote=True)) == few - 4800 - 1024 + 128


def test_a_plan_survives_json() -> None:
    import json

    plan = make_plan(120, TASK, FAST, DESIGN)
    assert module.from_json(json.loads(json.dumps(module.to_json(plan)))) == plan


def test_it_is_told_when_what_can_be_seen() -> None:
    text = told(make_plan(120, TASK, FAST, DESIGN), "6000 pictures")
    assert text.startswith("6000 pictures")
    assert "after 40 minutes the domain opens; the next round" in text
    assert "after 120 minutes the domain opens, with its card" in text
    assert "find directions of 'ill'" in text and "GB" in text


def test_the_networks_stand_on_the_bundled_ones() -> None:
    grey, colour = Design.of(128, 1, "stretch", False), Design.of(256, 3, "crop", True)
    assert (grey.latent_channels, colour.latent_channels) == (16, 8)
    assert grey.begin.endswith("chest-xray") and colour.begin.endswith("blood-cells")
    assert (grey.attention, colour.attention) == (8, 16)
    assert grey.most is None and Design.of(128, 1, "stretch", False, 20).most == (5000, 500)
    assert Design.of(128, 1, "stretch", False, 1).most == (1000, 100)


def test_small_batches_are_for_a_cpu_alone_and_an_older_plan_keeps_its_own() -> None:
    here, there = (Design.of(128, 1, "stretch", False, 20, device) for device in ("cpu", "cuda:0"))
    assert (here.diffae_batch, there.diffae_batch) == (8, 32)
    plan = make_plan(120, TASK, FAST, here)
    older = module.to_json(plan)
    del older["design"]["diffae_batch"]
    assert module.from_json(older).design.diffae_batch == here.batch == 32
