"""What stands beside the sliders, of sets that tell places and what was tried, and of others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gcd_core.domains.opening import Check
from gcd_core.method.directions import DirectionSet
from gcd_core.method.verification import Tried, with_tried
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.about import about
from gcd_core.ui.views import direction_rows
from gcd_core.ui.views.curve import proxy_curve
from gcd_core.ui.views.direction_rows import (
    direction_title,
    first_flip_at,
    fold_line,
    followed,
    heading,
    told_of_g,
    tried_list,
    ways_line,
)
from gcd_core.ui.views.maps import line_words
from gcd_core.ui.views.vocabulary import ARROWS
from tests.ui.fakes import CODE, HAZE, FakeDomain
from tests.ui.waiting import wait_for_paths

UPPER_LEFT = ARROWS["upper left"]


class ReadsHaze:
    """A proxy of the drawn classifier, which reads one axis."""

    networks = ("one",)

    def __call__(self, z_sem: torch.Tensor) -> torch.Tensor:
        logit = 2 * z_sem[:, HAZE]
        return torch.stack([logit, 0 * logit], 1)


class ReadsAnother(ReadsHaze):
    """A proxy that is wrong: it reads the axis after that one."""

    def __call__(self, z_sem: torch.Tensor) -> torch.Tensor:
        return super().__call__(z_sem.roll(-1, 1))


def found(domain, names: str, proxy: object = None) -> DirectionSet:
    """A set along the code's axes, HAZE first."""
    vectors = torch.eye(CODE)[: len(names.split())]
    about = {"label": "pneumonia", "domain": domain.name}
    return DirectionSet(names.split(), vectors, about, z_sem=torch.zeros(1, CODE), proxy=proxy)


def use(session: Session, directions: DirectionSet) -> None:
    session.use("pneumonia", session.sets.keep("pneumonia", "mine", directions))


@pytest.fixture
def session(visitors: Visitors) -> Session:
    return visitors.session("somebody")


def placed(domain, **tried: tuple[int, int]) -> DirectionSet:
    """A set of g and two directions by place, that flip so many positives and negatives of 4."""
    about = {
        "label": "pneumonia",
        "domain": domain.name,
        "figures": {"repeatability": 0.8, "explained": 0.824},
        "places": {"w1": "upper left", "w2": "lower right"},
    }
    told = {
        name: Tried(4, ill, 4, well, agreed=ill, lpips=0.1, distance=1.0)
        for name, (ill, well) in tried.items()
    }
    return DirectionSet(["g", "w1", "w2"], torch.eye(CODE)[:3], with_tried(about, told))


@pytest.mark.parametrize("names, title", [("g w1 w2", "Further ways"), ("g h1", ""), ("g", "")])
def test_ways_of_earlier_searches_say_that_they_were_not_tried(
    session: Session, names: str, title: str
):
    use(session, found(session.service.domain, names))
    line = ways_line(session)
    assert bool(line) == bool(title) and title in line
    assert ("not tried on examples" in line) == bool(title) and "on its own" not in line


def test_directions_by_place_are_called_by_their_place(session: Session):
    directions = placed(session.service.domain, g=(4, 4), w1=(4, 0), w2=(3, 2))
    use(session, directions)
    assert "Directions by place" in ways_line(session) and "quarter" in ways_line(session)
    assert "Tried on 8 examples: each flips 4 or 5." in ways_line(session)
    title = direction_title(directions, "w1", None)
    title_of_place = "Upper left of the picture: looked for in this quarter"
    assert "w1 \N{NORTH WEST ARROW}" in title and title_of_place in title
    assert "4/8" in title and "4 of 8 examples flip, the second opinion follows in 4" in title
    told = tried_list(directions)
    assert "Tried on 8 examples" in told and "82" in told and told.count("<tr>") == 4
    assert "upper left</span></td><td>4</td><td>4 of 4</td>" in told
    assert "8 of 8 examples flip" in told_of_g(directions)
    assert "Confidence fair" in told_of_g(directions)


@pytest.mark.parametrize(
    ("mixed", "expert", "plain"),
    [
        ([0.8, 0.0, 0.6], "much like g (cosine +0.80).", "is much like main way."),
        ([-0.8, 0.0, 0.6], "much like -g (cosine -0.80).", "is much like the reverse of main way."),
        ([0.0, 0.9, 0.4], f"much like w1 {UPPER_LEFT} (cosine +0.91).", "is much like upper left."),
        ([0.6, 0.3, 0.7], "", ""),
    ],
)
def test_a_direction_that_is_much_like_another_says_so(
    session: Session, mixed: list[float], expert: str, plain: str
):
    directions = placed(session.service.domain, g=(4, 4), w1=(4, 4), w2=(4, 4))
    vectors = torch.eye(CODE)[:3]
    vectors[2, :3] = torch.tensor(mixed)
    directions = replace(directions, vectors=torch.nn.functional.normalize(vectors, dim=1))
    use(session, directions)
    line, title = ways_line(session), direction_title(directions, "w2", None)
    assert ("much like" in line) == bool(expert) == ("much like" in title)
    expert = expert.replace("-", "\N{MINUS SIGN}")
    assert expert in line and expert in title and plain in line.lower()


def test_what_flips_too_few_examples_is_folded_with_its_number(session: Session):
    use(session, placed(session.service.domain, g=(4, 4), w1=(1, 0), w2=(2, 2)))
    assert session.weak_directions == ["w1", "w2"] and ways_line(session) == ""
    assert "2 more flip only 1 to 4 of 8 examples<" in fold_line(session)
    use(session, placed(session.service.domain, g=(1, 0), w1=(4, 0), w2=(0, 1)))
    assert session.weak_directions == ["w2"]
    assert "1 more flips only 1 of 8 examples<" in fold_line(session)


@pytest.mark.parametrize("wrong", ["no", {"w1": "<b>here</b>"}, {"w1": ["upper left"]}, {"w1": 3}])
def test_a_place_that_is_none_is_not_told(session: Session, wrong: object):
    directions = placed(session.service.domain)
    directions.metadata["places"] = wrong
    use(session, directions)
    assert "Further ways" in ways_line(session)
    assert "<b>here" not in direction_title(directions, "w1", None)
    assert tried_list(directions) == "" and tried_list(None) == ""


def test_what_hardly_moves_the_classifier_is_counted(session: Session):
    domain = session.service.domain
    use(session, found(domain, "g h1 w1"))
    assert session.weak_directions == [] and fold_line(session) == ""
    use(session, found(domain, "g h1 w1", ReadsHaze()))
    assert session.weak_directions == ["h1", "w1"] and session.names == ["g", "h1", "w1"]
    assert "2 more hardly move this classifier<" in fold_line(session)
    assert "Further ways" not in ways_line(session)  # none is left to stand under it
    use(session, found(domain, "g h1", proxy=ReadsHaze()))
    assert "1 more hardly moves this classifier<" in fold_line(session)
    session.explain("bacterial")  # has directions without a proxy
    assert session.weak_directions == [] and fold_line(session) == ""


@pytest.mark.slow
def test_a_folded_direction_that_flips_this_image_is_told(session: Session):
    session.open_example(0)
    use(session, found(session.service.domain, "h1 g", proxy=ReadsAnother()))
    assert session.weak_directions == ["h1"] and session.image.paths.total == 2
    wait_for_paths(session)
    assert session.image.paths.get("h1").flipped
    assert "1 more hardly moves this classifier \N{MIDDLE DOT} flips here" in fold_line(session)


def test_the_curve_of_a_search_over_codes_starts_at_the_picture(session: Session):
    session.open_example(0)
    domain = session.service.domain
    for sampling in ("prior", "ball"):
        told = found(domain, "g", proxy=ReadsHaze())
        use(session, replace(told, metadata=told.metadata | {"settings": {"sampling": sampling}}))
        image = session.image
        curve = dict(proxy_curve(image))
        at_rest = image.opened.source.probabilities[image.index]
        own = torch.sigmoid(2 * image.opened.latent.z_sem[0, HAZE]).item()
        assert abs(own - at_rest) > 0.01, "the proxy alone says something else"
        assert curve[0.0] == pytest.approx(float(at_rest) if sampling == "prior" else own, abs=1e-5)
        rise = torch.tensor(curve[1.0]).logit() - torch.tensor(curve[0.0]).logit()
        assert float(rise) == pytest.approx(2, abs=1e-3), "its slope is the proxy's"


def test_about_says_whether_explanations_can_be_trusted(tmp_path: Path) -> None:
    domain = FakeDomain(tmp_path, examples=1)
    text = about(domain, 15)
    assert '<span class="expert">Nothing is lost.</span></li>' in text
    assert "only drawn again? Yes.</span>" in text
    assert "warn? No. A marker that a classifier learned may go unseen.</span>" in text
    assert '<span class="expert">&lt;b&gt;Lost&lt;/b&gt;.</span></li>' in text
    assert "for 15 minutes after" in text and "minutes" not in about(domain, 0)
    domain.sanity = ()
    assert "trusted" not in about(domain, 15)


def test_how_often_the_second_opinion_follows_is_told_of_those_that_it_could_follow_in():
    counts = {"positives": 4, "positives_flipped": 4, "negatives": 4, "negatives_flipped": 4}
    one = Tried(**counts, agreed=4, disagreed=4, lpips=0.1, distance=8.0)
    assert followed(one) == "4 of 4" and "follows in 4 of 4" in one.sentence
    never = replace(one, agreed=0, disagreed=8)
    assert followed(never) == "disagreed from the start" and "of 0" not in never.sentence
    still = replace(one, positives_flipped=0, negatives_flipped=0, agreed=0, disagreed=0)
    assert followed(still) == "not asked" and followed(replace(one, agreed=None)) == ""


def test_paths_that_ended_early_are_not_called_under_way(session: Session):
    session.open_example(0)
    wait_for_paths(session)
    session.image.paths.total += 1
    told = heading(session)
    assert "busy" not in told and "preparing" not in told and "stopped" in told


def test_the_end_that_flips_is_told_over_the_sliders(session: Session, monkeypatch):
    session.open_example(0)
    label = session.service.domain.label_info[session.label]
    negative, positive = label.negative, label.positive
    yes = session.image.opened.source.probabilities[session.image.index] >= 0.5
    turned = negative if yes else positive
    assert heading(session).count("(flips)") == 1 and f"{turned} (flips)" in heading(session)
    monkeypatch.setattr(direction_rows, "premise_missing", lambda image: "Pneumonia")
    assert "(flips)" not in heading(session), "where the question means nothing none flips"


def test_where_a_check_failed_it_is_said_what_follows(session: Session):
    domain = session.service.domain
    domain.sanity = (Check("scrambled", False, "s."), Check("reasons", True, "r."))
    domain.map_mass = {"cells": 0.91, "bb_lig": 0.34}
    told = about(domain, 15)
    assert "is something else found? No. What ways and maps show here is partly" in told
    shares = "Tested parts 91 %, On the way 34 %."
    assert f"One does, Tested parts. Of each map so much lies there: {shares}" in told


def test_directions_that_flip_few_examples_are_folded_away(session: Session):
    """As the bundled ones of blood cells by place, which flip 3 of 8, 2 of 3 of one side."""
    few = Tried(5, 1, 3, 2, agreed=None, lpips=0.1, distance=8.0)
    one_side = replace(few, positives_flipped=0, negatives_flipped=3)
    most = replace(few, positives_flipped=5, negatives_flipped=3)
    directions = found(session.service.domain, "g w1 w2")
    tried = {"g": most, "w1": few, "w2": one_side}
    use(session, replace(directions, metadata=with_tried(directions.metadata, tried)))
    assert session.weak_directions == ["w1"]
    assert "1 more flips only 3 of 8 examples" in fold_line(session)


def test_a_flip_begins_where_the_answer_turns_between_two_stops(session: Session) -> None:
    """Not at the next stop beyond: the straight line between the two says where."""
    session.open_example(1)
    wait_for_paths(session)
    path = session.image.ready_paths()["g"]
    at = first_flip_at(path)
    turn = path.probabilities[path.alphas.argsort()] - path.threshold
    alphas = path.alphas.sort().values
    crossings = [
        float(a + (b - a) * p / (p - q))
        for a, b, p, q in zip(alphas, alphas[1:], turn, turn[1:], strict=False)
        if (p >= 0) != (q >= 0)
    ]
    assert at == pytest.approx(min(crossings, key=abs), abs=1e-4)
    assert abs(at) < path.alphas[path.is_flipped].abs().min()


def test_a_line_along_many_directions_names_two_and_counts_the_others(domain):
    five = found(domain, "g w1 w2 w3 w4")
    assert line_words(["g", "w1"], five) == (
        '<span class="plain">Main way + Own way 1</span><span class="expert">g + w1</span>'
    )
    assert "Main way + Own way 1 + Own way 2<" in line_words(["g", "w1", "w2"], five)
    all_five = line_words(five.names, five)
    assert "Main way + Own way 1 + 3 more<" in all_five and "g + w1 + 3 more<" in all_five
