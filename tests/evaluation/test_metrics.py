"""The metrics against closed forms and slow, literal computations."""

import numpy as np
import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.evaluation import metrics


class Brightness:
    """A classifier with one label, whose probability is the mean of the image."""

    def __call__(self, images):
        return torch.logit(images.mean(dim=(1, 2, 3)).clamp(1e-6, 1 - 1e-6))[:, None]

    def probability(self, logits, label):
        return torch.sigmoid(logits[:, 0])


def test_flip_rate_is_the_share_of_true():
    assert metrics.flip_rate(torch.tensor([True, False, True, True])) == 0.75
    with pytest.raises(GCDError, match="none"):
        metrics.flip_rate(torch.tensor([], dtype=torch.bool))


def test_oracle_flip_rate_counts_flips_of_images_about_which_the_two_agreed():
    flipped = torch.tensor([True, True, True, False, True, True, True])
    first = torch.tensor([0.9, 0.8, 0.7, 0.9, 0.9, 0.2, 0.8])
    before = torch.tensor([0.9, 0.9, 0.6, 0.9, 0.5, 0.8, 0.1])
    after = torch.tensor([0.1, 0.7, 0.4, 0.1, 0.49, 0.9, 0.9])
    # Agreed and flipped: the first three and the fifth; of these all but the second follow.
    assert metrics.oracle_flip_rate(flipped, first, before, after) == 0.75
    # At 0.65 the third and the fifth disagreed; the first follows, the second stays.
    assert metrics.oracle_flip_rate(flipped, first, before, after, threshold=0.65) == 0.5
    nothing = torch.zeros(7, dtype=torch.bool)
    assert metrics.oracle_flip_rate(nothing, first, before, after) is None
    assert metrics.oracle_flip_rate(flipped[5:], first[5:], before[5:], after[5:]) is None


@pytest.mark.parametrize("size", [2, 7, 100])
def test_gini_of_equal_values_is_zero_and_of_one_lit_pixel_is_1_less_1_over_d(size):
    lit = torch.zeros(size)
    lit[size // 2] = -3.0
    assert metrics.gini(torch.full((size,), 0.2)) == pytest.approx(0, abs=1e-12)
    assert metrics.gini(lit) == pytest.approx(1 - 1 / size, abs=1e-12)


def test_gini_of_two_values_and_of_nothing():
    # v = (1, 3): 1 - 2 (1/4 * 1.5/2 + 3/4 * 0.5/2) = 1/4, whatever the sign and the scale.
    assert metrics.gini(torch.tensor([[1.0], [-3.0]])) == pytest.approx(0.25)
    assert metrics.gini(torch.tensor([[10.0], [30.0]])) == pytest.approx(0.25)
    assert metrics.gini(torch.zeros(4, 4)) == 0


def test_rank_correlation_sees_order_alone_and_averages_ties():
    x = torch.linspace(-2, 2, 30)
    assert metrics.rank_correlation(x, x**3) == pytest.approx(1)
    assert metrics.rank_correlation(x, -x.exp()) == pytest.approx(-1)
    assert metrics.rank_correlation(x, torch.ones(30)) is None
    # Ranks (1.5, 1.5, 3) against (1, 2, 3): sqrt(3) / 2.
    tied = metrics.rank_correlation(torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 2.0]))
    assert tied == pytest.approx(3**0.5 / 2)


def test_cout_of_equal_changes_is_their_mean_and_largest_changes_come_first():
    source, target = torch.full((1, 1, 4, 4), 0.4), torch.full((1, 1, 4, 4), 0.8)
    # The probability runs straight from 0.4 to 0.8: its area is 0.6, and 2 * 0.6 - 1 = 0.2.
    assert metrics.cout(Brightness(), "bright", source, target, steps=8) == pytest.approx(0.2)
    # Downward, the target is the other side: from 0.2 to 0.6, area 0.4.
    assert metrics.cout(Brightness(), "bright", target, source, steps=8) == pytest.approx(-0.2)

    source, target = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.0, 0.0], [0.8, 0.4]]]])
    # Means after 0..4 pixels: 0, 0.2, 0.3, 0.3, 0.3; the trapezoids' area is 0.2375.
    score = metrics.cout(Brightness(), "bright", source, target, steps=4)
    assert score == pytest.approx(2 * 0.2375 - 1, abs=1e-5)
    with pytest.raises(GCDError):
        metrics.cout(Brightness(), "bright", source, target, steps=0)


def test_mean_absolute_error_is_per_image():
    a = torch.zeros(2, 3, 4, 4)
    b = torch.stack([torch.full((3, 4, 4), 0.5), torch.full((3, 4, 4), 0.125)])
    assert metrics.mean_absolute_error(a, b).tolist() == [0.5, 0.125]


def test_ssim_of_flat_images_is_their_luminance_term():
    a, b = 0.3, 0.7
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    flat = metrics.ssim(torch.full((1, 1, 16, 16), a), torch.full((1, 1, 16, 16), b))
    assert flat.item() == pytest.approx(expected, abs=1e-5)


def test_ssim_is_what_its_definition_says_window_by_window():
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(2, 3, 14, 13, generator=generator)
    b = (a + 0.2 * torch.rand(a.shape, generator=generator)).clamp(0, 1)
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets[:, None] ** 2 + offsets[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()

    def one(x, y):
        mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
        variance_x = (weights * (x - mean_x) ** 2).sum()
        variance_y = (weights * (y - mean_y) ** 2).sum()
        covariance = (weights * (x - mean_x) * (y - mean_y)).sum()
        return ((2 * mean_x * mean_y + 1e-4) * (2 * covariance + 9e-4)) / (
            (mean_x**2 + mean_y**2 + 1e-4) * (variance_x + variance_y + 9e-4)
        )

    expected = [
        np.mean(
            [
                one(
                    a[n, c, i : i + 11, j : j + 11].double().numpy(),
                    b[n, c, i : i + 11, j : j + 11].double().numpy(),
                )
                for c in range(3)
                for i in range(4)
                for j in range(3)
            ]
        )
        for n in range(2)
    ]
    assert metrics.ssim(a, b).tolist() == pytest.approx(expected, abs=1e-6)
    assert metrics.ssim(a, a).tolist() == pytest.approx([1, 1])


def test_ssim_refuses_what_it_cannot_compare():
    with pytest.raises(GCDError, match="11 pixels"):
        metrics.ssim(torch.zeros(1, 1, 8, 8), torch.zeros(1, 1, 8, 8))
    with pytest.raises(GCDError, match="one shape"):
        metrics.ssim(torch.zeros(1, 1, 16, 16), torch.zeros(1, 3, 16, 16))


def test_cout_by_a_map_takes_its_highest_absolute_values_first():
    source, target = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.0, 0.0], [0.8, 0.4]]]])
    heat = torch.tensor([[0.1, -0.2], [0.3, -0.9]])
    # Means after 0..4 pixels: 0, 0.1, 0.3, 0.3, 0.3; the trapezoids' area is 0.2125.
    score = metrics.cout(Brightness(), "bright", source, target, steps=4, heat=heat)
    assert score == pytest.approx(2 * 0.2125 - 1, abs=1e-5)
    back = metrics.cout(Brightness(), "bright", target, source, steps=4, heat=heat)
    # Of the dark side: 0.7, 0.8, 1, 1, 1; 0.9125.
    assert back == pytest.approx(2 * 0.9125 - 1, abs=1e-5)
    with pytest.raises(GCDError, match="ranks no pixels"):
        metrics.cout(Brightness(), "bright", source, target, heat=heat[:1])
