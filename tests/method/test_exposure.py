"""How much of a change is brightness and contrast, against changes of which that is known."""

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.method.exposure import (
    MUCH,
    exposure_of,
    exposure_share,
    fit_tone_curve,
    is_doubtful,
    without_exposure,
    without_exposure_for,
)
from tests.ui.fakes import LargerClassifier, composed_path


def levels(channels: int = 1) -> torch.Tensor:
    """An image (1, C, 64, 64) that has each of 64 intensities 64 times, in a drawn order."""
    own = torch.arange(4096) % 64 / 85 + 0.1
    noise = torch.Generator().manual_seed(4)
    rows = [own[torch.randperm(4096, generator=noise)] for _ in range(channels)]
    return torch.stack(rows).reshape(1, channels, 64, 64)


def balanced(source: torch.Tensor, size: float) -> torch.Tensor:
    """A change of +size and -size on one half each of every intensity's pixels."""
    change = torch.zeros_like(source).flatten(2)
    for c, row in enumerate(source.flatten(2)[0]):
        for level in row.unique():
            places = (row == level).nonzero().flatten()
            change[0, c, places[::2]], change[0, c, places[1::2]] = size, -size
    return change.reshape(source.shape)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("tone", [lambda x: 0.5 * x + 0.2, lambda x: x**2, lambda x: x + 0.05])
def test_a_monotone_curve_is_all_of_the_change_and_nothing_is_left_without_it(channels, tone):
    source = levels(channels)
    changed = tone(source)
    assert exposure_share(source, changed) == pytest.approx(1, abs=1e-6)
    curve = fit_tone_curve(source, changed)
    torch.testing.assert_close(curve.offset(source), changed - source, atol=1e-6, rtol=0)
    torch.testing.assert_close(curve.without(source, changed), source, atol=1e-6, rtol=0)


def test_what_moves_the_pixels_of_an_intensity_both_ways_is_none_of_it():
    source = levels(3)
    change = balanced(source, 0.05)
    assert exposure_share(source, source + change) == pytest.approx(0, abs=1e-6)
    kept = fit_tone_curve(source, source + change).without(source, source + change)
    torch.testing.assert_close(kept, source + change, atol=1e-6, rtol=0)
    assert exposure_share(source, source) == 0


def test_the_share_is_that_of_the_squares():
    source = levels()
    tone, place = 0.1 - 0.2 * source, balanced(source, 0.03)  # the curve's slope is 0.8
    whole = (tone + place).square().sum()
    share = exposure_share(source, source + tone + place)
    assert share == pytest.approx((tone.square().sum() / whole).item(), abs=1e-5)
    kept = fit_tone_curve(source, source + tone + place).without(source, source + tone + place)
    torch.testing.assert_close(kept, source + place, atol=1e-5, rtol=0)


def test_of_a_negative_the_best_curve_is_an_even_grey():
    source = levels()
    changed = 1 - source
    middle = changed.mean()
    left, whole = (changed - middle).square().sum(), (changed - source).square().sum()
    assert exposure_share(source, changed) == pytest.approx((1 - left / whole).item(), abs=1e-5)
    offset = fit_tone_curve(source, changed).offset(source)
    torch.testing.assert_close(source + offset, middle.expand_as(source), atol=1e-5, rtol=0)


def test_intensities_that_the_source_lacks_go_with_their_neighbours():
    source = levels()
    curve = fit_tone_curve(source, 0.5 * source + 0.2)
    low, high = source.min(), source.max()
    beyond = torch.tensor([0.0, low, (low + high) / 2, high, 1.0]).reshape(1, 1, 1, 5)
    expected = 0.2 - 0.5 * beyond.clamp(low, high)
    torch.testing.assert_close(curve.offset(beyond), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_paths_picture_keeps_its_size_and_its_own_change(channels):
    path = composed_path((300, 200), channels, "source")
    k, classifier = path.counterfactual, LargerClassifier()
    assert exposure_of(path) == exposure_share(path.source, path.images[k][None])
    curve = fit_tone_curve(path.source, path.images[k][None])
    kept = without_exposure(path)
    assert kept.shape == (1, channels, 300, 200)
    torch.testing.assert_close(kept, curve.without(path.original, path.picture(k)))
    assert without_exposure_for(path, classifier).shape == (1, channels, 256, 256)
    assert exposure_of(path, 4) == 0, "nothing is changed at rest"
    torch.testing.assert_close(without_exposure(path, 4), path.original)


def test_a_flip_is_doubtful_where_the_share_is_large_or_nothing_is_left_of_it():
    assert is_doubtful(MUCH, 0.1, 0.9, None) and not is_doubtful(MUCH - 0.01, 0.1, 0.9, None)
    assert is_doubtful(0.0, 0.1, 0.9, 0.4) and not is_doubtful(0.0, 0.1, 0.9, 0.6)
    assert not is_doubtful(0.0, 0.1, 0.4, 0.2), "there is no flip to doubt"


def test_two_images_of_one_shape_are_wanted():
    with pytest.raises(GCDError, match=r"one shape .* \(1, 1, 64, 64\) and \(1, 3, 64, 64\)"):
        exposure_share(levels(), levels(3))
