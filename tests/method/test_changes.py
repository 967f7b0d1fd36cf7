"""What a direction changes, measured on pictures whose change is known."""

import math

import pytest
import torch

from gcd_core.method.changes import (
    FIGURE,
    Change,
    Part,
    changes_of,
    confined,
    likeness_word,
    measure_change,
    nearest_direction,
    parts_of,
    resembles_several,
    told,
    with_changes,
)
from gcd_core.method.places import FRAME, Region

S, N = 96, 5
ATLAS = {"right lower lung field": (Region(0.5, 0.88, 0.1, 0.46),)}
FIELD_BOX = ATLAS["right lower lung field"]
FIELD = FIELD_BOX[0].mask(S, S)
CENTRE = FRAME["centre of the picture"][0].mask(S, S)
# Its edges soft: a hard one is fine detail of its own.
SOFT = torch.nn.functional.avg_pool2d(FIELD.float()[None], 15, 1, padding=7)[0]


def pictures(n: int = N, channels: int = 1) -> torch.Tensor:
    noise = torch.Generator().manual_seed(0)
    return 0.3 + 0.3 * torch.rand(n, channels, S, S, generator=noise)


def textured(n: int) -> torch.Tensor:
    """Noise on a coarse pattern of more contrast than its own."""
    line = torch.linspace(0, 2 * math.pi * 4, S)
    coarse = line.sin()[:, None] * line.sin()[None]
    noise = torch.Generator().manual_seed(0)
    fine = torch.randn(n, 1, S, S, generator=noise)
    return 0.5 + 0.1 * coarse + 0.04 * (fine - smoothed(fine))


def smoothed(images: torch.Tensor) -> torch.Tensor:
    """Means of 3 x 3 pixels."""
    padded = torch.nn.functional.pad(images, [1] * 4, mode="reflect")
    return torch.nn.functional.avg_pool2d(padded, 3, 1)


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
    assert none == Change((), 0, N) and none.sentence({}) == "no common change in 5 images"


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


def test_a_blur_is_smoother_and_a_contrast_stretch_is_not_sharper() -> None:
    before = textured(N)
    mean = before.mean((2, 3), keepdim=True)
    stretched = measure_change(before, mean + 1.5 * (before - mean), ups(), ATLAS)
    assert stretched.parts == (Part("higher in contrast"),)
    assert measure_change(before, mean + 0.6 * (before - mean), ups(), ATLAS).parts == (
        Part("lower in contrast"),
    )
    blurred = smoothed(before)
    assert measure_change(before, blurred, ups(), ATLAS).parts == (Part("smoother"),)
    assert measure_change(before, 2 * before - blurred, -ups(), ATLAS).parts == (Part("smoother"),)
    assert parts_of(before[:1], 2 * before[:1] - blurred[:1], ATLAS) == (Part("sharper"),)


def test_one_place_never_goes_two_ways() -> None:
    # Half of one quarter rises, half falls; elsewhere nothing changes.
    before, change = pictures(), torch.zeros(S, S)
    change[: S // 2, S // 2 :] = 0.2
    change[: S // 4, S // 2 :] = -0.2
    parts = measure_change(before, before + change, ups(), {}).parts
    assert Part("brighter", "upper right of the picture") not in parts
    assert len({part.place for part in parts}) == len(parts)
    assert all(part.kind in told(parts) for part in parts)


def test_what_turns_pink_is_redder() -> None:
    before = torch.tensor([0.72, 0.68, 0.76]).view(1, 3, 1, 1).expand(N, 3, S, S)
    pink = torch.tensor([0.08, -0.10, -0.03]).view(1, 3, 1, 1) * CENTRE
    change = measure_change(before, before + pink, ups(), {})
    assert change.parts == (Part("redder", "centre of the picture"),)
    assert parts_of(before[:1], before[:1] + pink, {}) == (Part("redder", "centre of the picture"),)
    grey = parts_of(before[:1], before[:1] - 0.1 * CENTRE, {})
    assert grey == (Part("darker", "centre of the picture"),)
    for change, kind in (
        ([0, 0, 0.2], "bluer"),
        ([0, 0, -0.2], "yellower"),
        ([-0.1, 0.1, 0], "greener"),
    ):
        after = before[:1] + torch.tensor(change).view(1, 3, 1, 1) * CENTRE
        assert parts_of(before[:1], after, {})[0].kind == kind


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
    parts = (
        Part("brighter", "rim of the picture"),
        Part("darker", "both lungs"),
        Part("smoother"),
        Part("higher in contrast"),
    )
    assert Change(parts, 7, 8).sentence() == (
        "brighter in the rim of the picture, darker in both lungs, smoother and higher in contrast "
        "overall; alike in 7 of 8 images"
    )


def test_the_place_of_one_pictures_change() -> None:
    source = pictures(1)
    clearer = source - 0.2 * FIELD
    assert parts_of(source, clearer, ATLAS) == (Part("darker", "right lower lung field"),)
    assert parts_of(source, source - 0.2, ATLAS) == (Part("darker"),), "everywhere is no place"
    assert parts_of(source, source, ATLAS) == ()
    tilt = torch.arange(S) / S - 0.28  # around the middle of the field
    assert parts_of(source, source + 0.8 * SOFT * tilt, ATLAS) == (
        Part("different", "right lower lung field"),
    )


def test_a_place_and_the_rest_that_change_opposite_ways() -> None:
    source, lungs = (
        pictures(1),
        {"both lungs": (Region(0.1, 0.9, 0.1, 0.4), Region(0.1, 0.9, 0.6, 0.9))},
    )
    mask = torch.stack([box.mask(S, S) for box in lungs["both lungs"]]).any(0).float()
    parts = parts_of(source, source - 0.1 * mask + 0.08 * (1 - mask), lungs)
    assert parts == (Part("darker", "both lungs"), Part("brighter", "rest of the picture"))
    assert told(parts) == "darker in both lungs, brighter in the rest of the picture"


def test_a_change_confined_to_a_place_is_the_whole_one_there_and_none_elsewhere() -> None:
    source = pictures(1, 3)
    one = confined(source, source + 0.2, "upper left of the picture", ATLAS) - source
    torch.testing.assert_close(
        one[..., : S // 2 - 8, : S // 2 - 8], torch.full((1, 3, 40, 40), 0.2)
    )
    assert one[..., S // 2 + 8 :, :].abs().max() == 0 == one[..., S // 2 + 8 :].abs().max()
    steps = one[0, 0, 4].diff().abs().max()
    assert steps < 0.05, "its edge is soft"
    large = torch.nn.functional.interpolate(source, (3 * S, 2 * S))
    assert confined(large, large + 0.2, "both", {"both": FIELD_BOX}).shape == large.shape


def test_which_other_direction_one_resembles() -> None:
    vectors = torch.eye(3)
    vectors[2] = torch.tensor([0.6, -0.8, 0.0])
    names = ["g", "h1", "h2"]
    assert nearest_direction(vectors, names, "g") == ("h2", pytest.approx(0.6))
    assert nearest_direction(vectors, names, "h1") == ("h2", pytest.approx(-0.8))
    assert nearest_direction(vectors[:1], ["g"], "g") is None
    assert not resembles_several(vectors, names, "g"), "0.6 and 0"
    assert not resembles_several(vectors[:2], names[:2], "g")
    even = torch.nn.functional.normalize(
        torch.tensor([[1.0, 0.05, 0], [0, 1, 0], [1, 1, 0]]), dim=1
    )
    assert resembles_several(even, names, "h2"), "0.74 and 0.71"
    assert not resembles_several(even, names, "g"), "0.71 and 0.05"
    weak = torch.eye(3)
    weak[0] = torch.tensor([0.82, -0.42, 0.39])
    assert not resembles_several(weak, names, "g"), "0.42 and 0.39: the other is little like it"
    words = [likeness_word(c) for c in (0.12, -0.39, 0.5, -0.69, 0.7, -0.9)]
    assert words == [*["little like"] * 2, *["rather like"] * 2, *["much like"] * 2]


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
        {"parts": [{"kind": "worse", "place": None}]},
        {"parts": [{"kind": ["darker"], "place": None}]},
        {"parts": [{"kind": "darker"}]},
        {"parts": [{"kind": "darker", "place": 3}]},
        {"parts": [{"kind": "darker", "place": "x" * 61}]},
        {"parts": [{"kind": "darker", "place": "a\nb"}]},
        {"parts": [{"kind": "darker", "place": None}] * 7},
        {"others": []},
        {"others": {"b": math.nan}},
        {"others": {"b": "0.2"}},
        {"others": {str(i): 0.2 for i in range(65)}},
        {"others": {"x" * 61: 0.2}},
    ):
        assert changes_of({FIGURE: {"g": sound | wrong}}) == {}, wrong
