"""The discriminator: what it sees, how steep it may be, and that it learns to tell."""

import pytest
import torch

from gcd_core.training.discriminator import Discriminator, generator_losses, hinge_loss
from gcd_core.training.loop import Learner


@pytest.fixture
def discriminator() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(1, width=8)


def test_the_hinge_by_hand():
    true, false = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 1.0])
    assert hinge_loss(true, false).item() == (0 + 0.5) / 2 + (0 + 2) / 2
    assert hinge_loss(torch.ones(2), -torch.ones(2)).item() == 0


def test_a_score_sees_a_patch_of_38_pixels(discriminator):
    images = torch.rand(1, 1, 96, 96, requires_grad=True)
    scores, features = discriminator(images)
    assert scores.shape == (1, 1, 12, 12)
    assert [f.shape[1:] for f in features] == [(8, 48, 48), (16, 24, 24), (32, 12, 12)]
    scores[0, 0, 6, 6].backward()
    rows, columns = images.grad[0, 0].nonzero().T
    assert (rows.max() - rows.min() + 1).item() == (columns.max() - columns.min() + 1).item() == 38


def test_every_convolution_has_a_largest_singular_value_of_one(discriminator):
    for _ in range(200):  # the power iteration goes on with each pass
        discriminator(torch.rand(1, 1, 32, 32))
    for layer in (*(layer[0] for layer in discriminator.layers), discriminator.last):
        values = torch.linalg.svdvals(layer.weight.detach().flatten(1))
        assert values[0].item() == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_its_steps_lower_the_hinge_on_what_can_be_told_apart(discriminator):
    generator = torch.Generator().manual_seed(0)
    true = torch.rand(8, 1, 32, 32, generator=generator)
    false = torch.nn.functional.avg_pool2d(true, 3, stride=1, padding=1)
    optimiser = torch.optim.AdamW(discriminator.parameters(), lr=5e-3, betas=(0.5, 0.99))
    learner = Learner(discriminator, optimiser, max_norm=None, warmup=0)
    losses = []
    for step in range(100):
        loss = hinge_loss(discriminator(true)[0], discriminator(false)[0])
        losses.append(loss.item())
        learner.descend(loss, step / 1000)
    assert losses[0] > 1.8 and losses[-1] < 0.6 * losses[0], losses[-1]


def test_the_generators_losses_reach_the_pictures_and_not_the_discriminator(discriminator):
    images = torch.rand(2, 1, 32, 32)
    drawn = torch.rand(2, 1, 32, 32, requires_grad=True)
    adversarial, matching = generator_losses(discriminator, images, drawn)
    discriminator.eval()
    scores, features = discriminator(drawn)
    wanted = discriminator(images)[1]
    # In training, the power iteration moves on with each pass: the weights differ a little.
    assert adversarial.item() == pytest.approx(-scores.mean().item(), abs=0.1)
    layers = [(a - b).abs().mean().item() for a, b in zip(features, wanted, strict=True)]
    assert matching.item() == pytest.approx(sum(layers) / 3, rel=0.3)
    (adversarial + matching).backward()
    assert drawn.grad.any()
    assert all(p.grad is None and p.requires_grad for p in discriminator.parameters())


def test_a_perfect_reconstruction_matches(discriminator):
    images = torch.rand(2, 1, 32, 32)
    discriminator.eval()
    assert generator_losses(discriminator, images, images.clone())[1].item() == 0
