"""BB-LIG against its definition, its zero rule and its sum, where all three are known."""

from dataclasses import replace

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.images.picture import Picture
from gcd_core.method.attribution import (
    bb_lig,
    explain_path,
    integrate,
    map_agreement,
    quantise,
    refine,
)
from gcd_core.method.composition import compose
from gcd_core.method.path import Path


def make_path(images, logits, alphas=None, sign=-1):
    """A path of images (n, C, H, W) with logits (n,), from alpha 0 on."""
    logits = torch.as_tensor(logits, dtype=torch.float32)
    n = len(logits)
    alphas = sign * torch.linspace(0, 1, n) if alphas is None else torch.tensor(alphas)
    probabilities = logits.sigmoid()
    return Path(
        alphas=alphas,
        images=images,
        logits=logits,
        probabilities=probabilities,
        all_probabilities=probabilities[:, None],
        distances=torch.zeros(n),
        losses=-sign * logits,
        label="a",
        labels=("a",),
        direction_name="g",
        source=images[:1],
        source_probability=0.9 if sign < 0 else 0.1,
        sign=sign,
    )


class Linear:
    """A linear classifier of the pixels."""

    labels = ("a",)

    def __init__(self, weight):
        self.weight, self.asked = weight, []

    def __call__(self, images):
        self.asked.append(images)
        return (images * self.weight).flatten(1).sum(1, keepdim=True)

    def logit(self, logits, label):
        return logits[:, 0]

    def probability(self, logits, label):
        return logits[:, 0].sigmoid()


def straight(n=9, channels=3, seed=0):
    """Images on a straight line whose steps are whole grey levels; some pixels stay."""
    generator = torch.Generator().manual_seed(seed)
    start = torch.randint(100, 150, (1, channels, 4, 5), generator=generator)
    step = torch.randint(-3, 4, (1, channels, 4, 5), generator=generator)
    levels = start + torch.arange(n)[:, None, None, None] * step
    return levels / 255


def test_straight_path_of_a_linear_classifier_sums_to_the_change_of_f():
    images = straight()
    classifier = Linear(torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(1)))
    logits = classifier(images)[:, 0]
    logits = 4 * (logits - logits.mean()) * (logits[0] - logits[-1]).sign()  # falls on the way
    explained = explain_path(make_path(images, logits))
    change = float(logits[0] - logits[explained.baseline_index])
    assert abs(change) > 0.1
    assert explained.map.shape == (4, 5)
    assert float(explained.map.sum()) == pytest.approx(change, rel=1e-4)
    assert abs(explained.completeness_error) < 1e-4 * change
    assert torch.equal(bb_lig(make_path(images, logits)), explained.map)


def test_integrate_is_equation_6():
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(0, 6, (5, 2, 3, 3), generator=generator) / 255
    values = torch.randn(5, generator=generator)
    expected = torch.zeros(2, 3, 3, dtype=torch.float64)
    for j in range(4):
        terms = torch.zeros(2, 3, 3, dtype=torch.float64)  # (x_0 - baseline) / dx, 0 where dx is 0
        for c, y, x in torch.cartesian_prod(*map(torch.arange, (2, 3, 3))).tolist():
            dx = float(images[j + 1, c, y, x] - images[j, c, y, x])
            if dx != 0:
                terms[c, y, x] = float(images[0, c, y, x] - images[-1, c, y, x]) / dx
        expected += float(values[j + 1] - values[j]) * terms / terms.abs().sum()
    torch.testing.assert_close(integrate(images, values).double(), expected, atol=1e-5, rtol=1e-4)


def test_zero_rule_and_quantisation():
    images = straight(channels=1)
    still = images[0] == images[-1]
    assert still.any()
    logits = torch.linspace(4, -6, 9)
    heat = explain_path(make_path(images, logits)).map
    assert (heat[still[0]] == 0).all()
    assert (heat[~still[0]] != 0).all()
    noise = 0.4 / 255 * (torch.rand(images.shape, generator=torch.Generator().manual_seed(0)) - 0.5)
    noisy = explain_path(make_path(images + noise, logits)).map
    torch.testing.assert_close(noisy, heat)


def test_refining_keeps_the_decoded_points_and_fills_in_lines():
    images, values = straight(5), torch.tensor([3.0, 1.0, 0.0, 0.5, -2.0])
    fine, f_of_fine = refine(images, steps=10), refine(values, steps=10)
    assert len(fine) == len(f_of_fine) == 13  # 3 steps for each of 4: 10 at least
    torch.testing.assert_close(fine[::3], images)
    torch.testing.assert_close(f_of_fine[::3], values)
    torch.testing.assert_close(fine[1], images[0] + (images[1] - images[0]) / 3)
    assert torch.equal(refine(images, steps=4), images)


def test_refining_gives_each_gap_the_steps_that_its_length_is_worth():
    """A bisected path has short gaps; their steps are not shorter than the others'."""
    images = straight(9)[[0, 4, 5, 8]]
    values, places = torch.tensor([3.0, 1.0, 0.0, -2.0]), -torch.tensor([0.0, 1.6, 2.0, 3.2])
    fine, f_of_fine = refine(images, places, steps=16), refine(values, places, steps=16)
    torch.testing.assert_close(fine, refine(straight(9), steps=16))
    torch.testing.assert_close(f_of_fine[[0, 8, 10, 16]], values)
    torch.testing.assert_close(f_of_fine[9], values[1:3].mean())
    twice = refine(images, torch.tensor([0.0, 1.0, 1.0, 2.0]), steps=4)
    assert len(twice) == 2 + 1 + 2 + 1, "a gap of no length is one step"


def test_a_refined_path_has_the_map_of_its_even_one_and_sums_up():
    """Points added on the straight way tell nothing new; uneven as they are, nothing changes."""
    levels = torch.tensor([4.0, 6.0, -4.0, 0.0]).view(1, 1, 2, 2) * torch.arange(9).view(9, 1, 1, 1)
    images, logits = (128 + levels) / 255, torch.linspace(4, -4, 9)  # never convinced of the other
    even = make_path(images, logits)
    i = [0, 1, 2, 3, 3, 4, 5, 6, 7, 8]
    weight = torch.zeros(len(i))
    weight[4] = 0.5
    ahead = [min(k + 1, 8) for k in i]
    bisected = make_path(
        torch.lerp(images[i], images[ahead], weight[:, None, None, None]),
        torch.lerp(logits[i], logits[ahead], weight),
        torch.lerp(even.alphas[i], even.alphas[ahead], weight).tolist(),
    )
    explained = explain_path(bisected)
    torch.testing.assert_close(explained.map, explain_path(even).map, atol=1e-4, rtol=1e-3)
    assert explained.completeness_error == pytest.approx(0, abs=1e-4)


def test_fine_steps_favour_large_changes():
    """Of two pixels on a straight way, one that changes twice as much gets four times as much."""
    start = torch.full((1, 1, 1, 2), 50 / 255)
    change = torch.tensor([16.0, 32.0]).view(1, 1, 1, 2) / 255
    images = torch.cat([start + k / 2 * change for k in range(3)])
    heat = explain_path(make_path(images, [2.0, 0.0, -2.0])).map.flatten()
    assert float(heat[1] / heat[0]) == pytest.approx(4, rel=0.15)
    assert float(heat.sum()) == pytest.approx(4, abs=1e-4)


@pytest.mark.parametrize("sign", [-1, +1])
def test_baseline_is_the_first_convinced_point(sign):
    images = straight(6)
    logits = torch.tensor([2.0, 0.0, -4.0, -4.7, -9.0, 3.0])  # sigmoid(-4.7) < 0.01 < sigmoid(-4)
    path = make_path(images, -sign * logits, sign=sign)
    explained = explain_path(path)
    assert (explained.baseline_index, explained.reached) == (3, True)
    assert explained.baseline_probability == pytest.approx(0.0090133, abs=1e-6)


def test_baseline_not_reached_is_the_lowest_and_says_so():
    explained = explain_path(make_path(straight(4), [2.0, 1.0, -1.0, 0.5]))
    assert (explained.baseline_index, explained.reached) == (2, False)
    assert explained.baseline_probability == pytest.approx(torch.tensor(-1.0).sigmoid().item())


def test_only_the_way_from_zero_to_the_flip_counts():
    images = straight(5)
    one_way = make_path(images[2:], [1.0, 0.0, -1.0], alphas=[0.0, -1.0, -2.0])
    both = make_path(
        images.flip(0), [-1.0, 0.0, 1.0, 7.0, -9.0], alphas=[-2.0, -1.0, 0.0, 1.0, 2.0]
    )
    explained = explain_path(both)
    assert explained.baseline_index == 0
    assert torch.equal(explained.map, explain_path(one_way).map)


def test_bb_ig_by_hand_on_the_straight_line():
    """Of 128 fine steps one pixel moves in each by a level, one in each second; one stays.

    In a step of both, Eq. 6 weighs each by (its whole change) / (its change in the step), so they
    share it 128 to 64; of a linear classifier every step takes the same part of f.
    """
    start, end = torch.zeros(1, 1, 3), torch.tensor([[[128.0, 64.0, 0.0]]]) / 255
    bent = torch.stack([start, torch.rand(1, 1, 3), torch.rand(1, 1, 3), torch.rand(1, 1, 3), end])
    classifier = Linear(torch.tensor([[[-10.0, 4.0, 2.0]]]))
    path = make_path(bent, [3.0, 2.0, 1.0, 0.0, -1.0])
    explained = explain_path(path, method="bb_ig", classifier=classifier)
    step = (10 * 128 - 4 * 64) / 255 / 128  # f falls by this much in each
    by_hand = torch.tensor([[64 * step * (2 / 3) + 64 * step, 64 * step / 3, 0.0]])
    torch.testing.assert_close(explained.map, by_hand, rtol=1e-4, atol=1e-5)
    assert abs(explained.completeness_error) < 1e-4
    line = torch.stack([start + k / 4 * (end - start) for k in range(5)])
    torch.testing.assert_close(classifier.asked[0], line)


def test_bb_ig_of_a_probability_sums_to_its_change():
    classifier = Linear(torch.ones(3, 4, 5))
    path = make_path(straight(5), [3.0, 2.0, 1.0, 0.0, -1.0])
    explained = explain_path(path, "bb_ig", f="probability", classifier=classifier)
    ends = quantise(path.images[[0, -1]]).sum((1, 2, 3)).sigmoid()
    assert float(explained.map.sum()) == pytest.approx(float(ends[0] - ends[1]), abs=1e-4)


def test_probability_and_difference():
    images = straight(4)
    path = make_path(images, [2.0, 1.0, 0.0, -1.0])
    explained = explain_path(path, f="probability")
    change = path.probabilities[0] - path.probabilities[-1]
    assert float(explained.map.sum()) == pytest.approx(float(change), rel=1e-4)
    difference = explain_path(path, method="difference")
    torch.testing.assert_close(difference.map, (images[-1] - images[0]).sum(0))


def test_never_anything_but_numbers():
    generator = torch.Generator().manual_seed(0)
    wild = torch.rand(20, 1, 8, 8, generator=generator)
    wild[5] = wild[6] = wild[7]  # nothing moves
    logits = 50 * torch.randn(20, generator=generator)
    for method in ("bb_lig", "difference"):
        assert explain_path(make_path(wild, logits), method).map.isfinite().all()
    stands = explain_path(make_path(wild[:1].repeat(3, 1, 1, 1), [2.0, 2.5, 3.0]))
    assert stands.baseline_index == 0
    assert not stands.map.any()
    assert stands.completeness_error == 0


def test_refusals():
    path = make_path(straight(3), [1.0, 0.0, -1.0])
    with pytest.raises(GCDError, match=r"saliency.*bb_lig"):
        explain_path(path, method="saliency")
    with pytest.raises(GCDError, match=r"entropy.*logit"):
        explain_path(path, f="entropy")
    with pytest.raises(GCDError, match="pass classifier="):
        explain_path(path, method="bb_ig")
    with pytest.raises(GCDError, match="1 point"):
        explain_path(make_path(straight(3), [1.0, 2.0, 3.0], alphas=[0.0, 1.0, 2.0]))


def test_cells_explain_the_change_from_the_source_to_the_counterfactual():
    class Corner:
        labels, budget, queries = ("a",), None, 0

        def __call__(self, images):
            self.queries += len(images)
            return 9 * (images[:, :, :4, :4].mean((1, 2, 3)) - 0.5)[:, None]

        def index(self, label):
            return 0

        def logit(self, logits, label):
            return logits[:, 0]

        def probability(self, logits, label):
            return logits[:, 0].sigmoid()

    steps = torch.linspace(0.1, 0.9, 5).view(-1, 1, 1, 1)
    images, classifier = steps.expand(-1, 1, 32, 32), Corner()
    path = make_path(images, classifier(images)[:, 0], sign=1)
    asked = classifier.queries
    found = explain_path(path, method="cells", classifier=classifier)
    assert found.queries == classifier.queries - asked == 512
    end = path.counterfactual
    fall = path.logits[0] - path.logits[end]
    assert found.map.sum().item() == pytest.approx(fall.item(), abs=1e-4)
    assert found.map[:4, :4].abs().sum() > 0.9 * found.map.abs().sum()
    assert (found.method, found.baseline_index) == ("cells", end)
    own = path.probabilities[end] if path.sign < 0 else 1 - path.probabilities[end]
    assert found.baseline_probability == pytest.approx(own.item())
    with pytest.raises(GCDError, match="cells asks the classifier"):
        explain_path(path, method="cells")


def test_a_larger_classifier_is_asked_about_the_pictures_own_pixels():
    """It reads a grain that the generator's size does not have; maps keep the generator's size."""
    weight = torch.zeros(1, 12, 10)
    weight[:, :, 5:] = 0.05
    weight[:, ::2] *= -1
    size, classifier = (12, 10), Linear(weight)
    classifier.budget, classifier.queries, classifier.index = None, 0, lambda label: 0
    pixels = (torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(0)) * 255).round()
    base = torch.full((1, 1, 4, 5), 0.5)
    step = torch.linspace(-0.2, 0.2, 20).view(1, 1, 4, 5)
    decoded = torch.cat([base + k / 4 * step for k in range(5)])
    picture = Picture(0.3 + 0.4 * pixels / 255, torch.full((1, 1, 4, 5), 0.5))
    composition = compose(picture, base)
    asked = composition.picture(decoded)
    path = make_path(composition.shown(decoded), classifier(asked)[:, 0])
    path = replace(path, decoded=decoded, composition=composition, source=picture.view)
    for method in ("bb_ig", "cells"):
        classifier.asked.clear()
        found = explain_path(path, method, classifier=classifier, until=4)
        assert {images.shape[-2:] for images in classifier.asked} == {size}
        fall = classifier(asked[:1]) - classifier(asked[4:])
        assert found.map.shape == (4, 5)
        assert found.map.sum().item() == pytest.approx(fall.item(), abs=0.02)


def test_a_path_that_flips_on_the_other_side_is_explained_there():
    """The source has the label; only +alpha takes it away."""
    images = straight(5)
    alphas = [-1.0, -0.5, 0.0, 0.5, 1.0]
    path = make_path(images, [4.0, 3.0, 2.0, 1.0, -1.0], alphas=alphas)
    explained = explain_path(path)
    assert path.counterfactual == explained.baseline_index == 4
    assert explained.map.any()


def test_two_maps_agree_in_their_strengths_whatever_their_signs_and_finest_pixels():
    strengths = torch.arange(256.0).reshape(16, 16)
    coarse = strengths.repeat_interleave(4, 0).repeat_interleave(4, 1)
    fine = torch.zeros(64, 64)
    fine[::4, ::4] = -strengths  # one pixel of each square, of the other sign
    assert map_agreement(coarse, fine) == pytest.approx(1)
    assert map_agreement(coarse, coarse.max() - coarse) == pytest.approx(-1)
    shuffled = strengths.flatten()[torch.randperm(256, generator=torch.Generator().manual_seed(2))]
    apart = (strengths.flatten() - shuffled).square().sum().item()
    expected = 1 - 6 * apart / (256 * (256**2 - 1))  # Spearman's own formula, without ties
    assert map_agreement(strengths, shuffled.reshape(16, 16)) == pytest.approx(expected)
    assert map_agreement(coarse, torch.zeros(64, 64)) is None
