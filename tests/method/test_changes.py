"""What a direction changes, measured on pictures whose change is known."""

import math

import pytest
import torch

from gcd_core.method.changes import (
    FIGURE,
    Change,
    Part,
    changes_of,
    likeness_word,
    measure_change,
    nearest_direction,
    part_of,
    with_changes,
)
from gcd_core.method.places import Region

S, N = 96, 5
ATLAS = {"right lower lung field": (Region(0.5, 0.88, 0.1, 0.46),)}
FIELD = ATLAS["right lower lung field"][0].mask(S, S)
# Its edges soft: a hard one is fine detail of its own.
SOFT = torch.nn.functional.avg_pool2d(FIELD.float()[None], 15, 1, padding=7)[0]


def pictures(n: int = N, channels: int = 1) -> torch.Tensor:
    noise = torch.Generator().manual_seed(0)
    return 0.3 + 0.3 * torch.rand(n, channels, S, S, generator=noise)


def ups(n: int = N) -> torch.Tensor:
    return torch.ones(n)


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_brightened_in_one_known_place_is_named_so(channels: int) -> None:
    before = pictures(channels=channels)
    change = measure_change(before, before + 0.2 * SOFT, ups(), ATLAS)
    assert change == Change((Part("brighter", "right lower lung field"),), N, N)
    assert change.sentence({}) == "brighter in the right lower lung field; alike in 5 of 5 images"
    assert measure_change(before, before + 0.2 * SOFT, ups(), {}).parts == (
        Part("brighter", "lower left of the picture"),
    )


def test_a_walk_the_other_way_says_the_same() -> None:
    before = pictures()
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0])
    after = before - 0.2 * SOFT * signs.view(-1, 1, 1, 1)
    change = measure_change(before, after, signs, ATLAS)
    assert change == Change((Part("darker", "right lower lung field"),), N, N)


def test_a_move_spread_evenly_names_no_place() -> None:
    before = pictures()
    assert measure_change(before, before + 0.2, ups(), ATLAS).parts == (Part("brighter"),)


def test_what_hardly_changes_and_what_is_not_alike_says_nothing() -> None:
    before = pictures()
    assert measure_change(before, before + 0.005, ups(), ATLAS) == Change((), 0, N)
    signs = torch.tensor([1.0, 1.0, -1.0, -1.0, 1.0])
    up = before + 0.2 * SOFT * torch.tensor([1.0, -1.0, 1.0, -1.0, 0.0]).view(-1, 1, 1, 1)
    none = measure_change(before, up, signs, ATLAS)
    assert none == Change((), 0, N) and none.sentence({}) == "no one change in 5 images"


def test_both_ways_and_how_many_are_told() -> None:
    before, upper = pictures(), torch.zeros(S, S)
    upper[: S // 2, S // 2 :] = 1
    after = before + 0.2 * upper - 0.2 * FIELD
    after[4] = before[4] + 0.2 * upper
    change = measure_change(before, after, ups(), ATLAS)
    assert change.parts[:2] == (
        Part("brighter", "upper right of the picture"),
        Part("darker", "right lower lung field"),
    )
    assert (change.alike, change.n) == (4, 5)


def test_detail_is_sharper_or_smoother() -> None:
    before = pictures()
    mean = before.mean((2, 3), keepdim=True)
    sharper = measure_change(before, mean + 1.5 * (before - mean), ups(), ATLAS)
    assert Part("sharper") in sharper.parts
    field = mean + (before - mean) * (1 - 0.9 * FIELD)
    smoother = measure_change(before, field, ups(), ATLAS)
    assert smoother.parts == (Part("smoother", "right lower lung field"),)


def test_other_answers_that_move_the_same_way_are_told() -> None:
    before = pictures()
    signs = torch.tensor([1.0, -1.0, 1.0, 1.0, 1.0])
    answers = {
        "up": 0.3 * signs,
        "down": -0.15 * signs,
        "still": 0.05 * signs,
        "torn": torch.tensor([1.0, 0.2, 0.0, -0.1, -0.1]),
    }
    change = measure_change(before, before + 0.2, signs, ATLAS, answers)
    assert change.others == {"up": 0.3, "down": -0.15}
    told = change.sentence({"up": "Effusion", "down": "Nodule"})
    assert told.endswith("also Effusion rises, Nodule falls")
    assert "Nodule" not in change.sentence({"up": "Effusion"}), "a label that is not the domain's"


def test_parts_of_one_place_are_told_together() -> None:
    parts = (Part("brighter", "rim of the picture"), Part("darker"), Part("smoother"))
    told = Change(parts, 7, 8).sentence()
    assert told == (
        "brighter in the rim of the picture, darker and smoother in no one place; alike in 7 of 8 "
        "images"
    )


def test_the_place_of_one_pictures_change() -> None:
    source = pictures(1)
    clearer = source - 0.2 * FIELD
    assert part_of(source, clearer, None, ATLAS) == Part("darker", "right lower lung field")
    assert part_of(source, source - 0.2, None, ATLAS) == Part("darker"), "everywhere is no place"
    assert part_of(source, source, None, ATLAS) is None
    # The picture changes everywhere, and the map says where that mattered.
    heat = FIELD.float() * -1
    assert part_of(source, source + 0.2, heat, ATLAS) == Part("brighter", "right lower lung field")
    mean, tilt = source.mean(), torch.arange(S) / S - 0.28  # around the middle of the field
    assert part_of(source, source + 0.8 * SOFT * tilt, heat, ATLAS) == Part(
        "different", "right lower lung field"
    )
    smoother = mean + (source - mean) * (1 - 0.9 * FIELD)
    assert part_of(source, smoother, heat, ATLAS) == Part("smoother", "right lower lung field")


def test_which_other_direction_one_resembles() -> None:
    vectors = torch.eye(3)
    vectors[2] = torch.tensor([0.6, -0.8, 0.0])
    names = ["g", "h1", "h2"]
    assert nearest_direction(vectors, names, "g") == ("h2", pytest.approx(0.6))
    assert nearest_direction(vectors, names, "h1") == ("h2", pytest.approx(-0.8))
    assert nearest_direction(vectors[:1], ["g"], "g") is None
    words = [likeness_word(c) for c in (0.12, -0.39, 0.5, -0.69, 0.7, -0.9)]
    assert words == [*["little like"] * 2, *["rather like"] * 2, *["nearly"] * 2]


def test_a_file_holds_it_and_damage_is_left_out() -> None:
    change = Change((Part("darker", "rim of the picture"), Part("sharper")), 7, 8, {"b": 0.2})
    told = with_changes({"label": "a"}, {"g": change})
    assert changes_of(told) == {"g": change} and changes_of({"label": "a"}) == {}
    assert with_changes({"label": "a"}, {}) == {"label": "a"}
    sound = told[FIGURE]["g"]
    for damaged in (None, 3, "x", [], {"g": None}, {"g": {}}, {"g": sound | {"x": 1}}):
        assert changes_of({FIGURE: damaged}) == {}
    for wrong in (
        {"alike": 9},
        {"alike": -1},
        {"n": "8"},
        {"n": True},
        {"parts": "darker"},
        {"parts": [{"how": "worse", "place": None}]},
        {"parts": [{"how": ["darker"], "place": None}]},
        {"parts": [{"how": "darker"}]},
        {"parts": [{"how": "darker", "place": 3}]},
        {"parts": [{"how": "darker", "place": "x" * 61}]},
        {"parts": [{"how": "darker", "place": "a\nb"}]},
        {"parts": [{"how": "darker", "place": None}] * 5},
        {"others": []},
        {"others": {"b": math.nan}},
        {"others": {"b": "0.2"}},
        {"others": {str(i): 0.2 for i in range(65)}},
        {"others": {"x" * 61: 0.2}},
    ):
        assert changes_of({FIGURE: {"g": sound | wrong}}) == {}, wrong
