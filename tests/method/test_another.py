"""Another counterfactual of a linear classifier: the best combination has a closed form."""

import pytest
import torch
from torch.nn import functional as F

from gcd_core.classifiers.base import BudgetExceeded
from gcd_core.errors import Cancelled, GCDError
from gcd_core.method.another import (
    MAX_LIKENESS,
    another_counterfactual,
    best_combination,
    queries_at_most,
)
from gcd_core.method.directions import DirectionSet
from tests.fakes import Flag, LinearDomain, unit

SLOPE = 4.0
W = unit(8)  # the gradient of the logit is 4 W


def directions(*vectors: torch.Tensor) -> DirectionSet:
    names = ["g", *(f"h{i}" for i in range(1, len(vectors)))]
    return DirectionSet(names, F.normalize(torch.stack(vectors), dim=1), {"label": "a"})


def mixed(*weights: float) -> torch.Tensor:
    """A direction of the code with these numbers, of length 1."""
    return F.normalize(torch.tensor([*weights, *[0.0] * (8 - len(weights))]), dim=0)


@pytest.fixture
def domain() -> LinearDomain:
    return LinearDomain(lambda z: SLOPE * z @ W)


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(F.cosine_similarity(a, b, dim=0))


def test_orthogonal_to_the_avoided_it_is_the_projected_gradient() -> None:
    axes, avoided = torch.eye(8), torch.stack([mixed(1, 1), mixed(0, 0, 1)])
    shares = best_combination(SLOPE * axes @ W, axes, avoided, max_likeness=0.0)
    assert shares is not None
    basis, _ = torch.linalg.qr(avoided.T)
    expected = F.normalize(W - basis @ (basis.T @ W), dim=0)
    torch.testing.assert_close(shares @ axes, expected, atol=1e-5, rtol=0)


def test_with_a_cost_it_is_the_best_of_what_is_orthogonal() -> None:
    noise = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(5, 8, generator=noise), dim=1)
    half, slopes = torch.randn(5, 5, generator=noise), torch.randn(5, generator=noise)
    cost, avoided = half @ half.T + torch.eye(5), F.normalize(torch.randn(1, 8, generator=noise))
    best = best_combination(slopes, vectors, avoided, cost, max_likeness=0.0)
    assert best is not None and abs(float(avoided @ (best @ vectors))) < 1e-5

    def worth(shares: torch.Tensor) -> float:
        return float(slopes @ shares / (shares @ cost @ shares).sqrt())

    along = (avoided @ vectors.T)[0]
    for _ in range(200):
        other = torch.randn(5, generator=noise)
        other = other - along * (along @ other) / (along @ along)
        assert worth(other) <= worth(best) + 1e-5


def test_what_may_resemble_a_little_goes_as_near_as_it_may() -> None:
    axes, g = torch.eye(8), F.normalize(W + 0.4 * unit(8, 3), dim=0)
    assert cosine(g, W) > MAX_LIKENESS
    shares = best_combination(SLOPE * axes @ W, axes, g[None])
    assert shares is not None
    assert cosine(shares, g) == pytest.approx(MAX_LIKENESS, abs=0.01)
    # On that cone the best lies in the plane of the gradient and of what is avoided.
    rest = F.normalize(W - cosine(W, g) * g, dim=0)
    expected = MAX_LIKENESS * g + (1 - MAX_LIKENESS**2) ** 0.5 * rest
    assert cosine(shares, expected) == pytest.approx(1, abs=1e-3)
    free = best_combination(SLOPE * axes @ W, axes, torch.zeros(0, 8))
    torch.testing.assert_close(free, W, atol=1e-4, rtol=0)


def test_nothing_is_left_where_all_that_moves_the_logit_is_avoided() -> None:
    vectors = torch.stack([W, F.normalize(unit(8, 3) - cosine(unit(8, 3), W) * W, dim=0)])
    assert best_combination(SLOPE * vectors @ W, vectors, W[None], max_likeness=0.0) is None
    assert best_combination(torch.ones(1), W[None], W[None]) is None


@pytest.mark.parametrize("seed", range(6))
def test_it_flips_without_the_avoided_and_lands_where_its_alphas_say(
    domain: LinearDomain, seed: int
) -> None:
    image, g = domain.image(seed), F.normalize(W + 0.6 * unit(8, 3), dim=0)
    found = directions(g, *torch.eye(8))
    before = domain.classifier.queries
    other = another_counterfactual(domain, image, found, "a", ["g"], margin=0.25)
    assert other.avoided == ("g",) and "g" not in other.alphas
    assert other.queries == domain.classifier.queries - before <= queries_at_most(found, ["g"])
    assert other.likeness == pytest.approx(abs(cosine(other.vector, g)), abs=1e-5)
    assert other.likeness <= MAX_LIKENESS + 1e-5
    # Asked slopes are those of the linear classifier; what they cost is known too.
    path, z_sem = other.path, domain.generator.encode_semantic(image)
    at = path.counterfactual
    code = z_sem[0] + sum(alpha * found[name].vector for name, alpha in other.alphas.items())
    assert float(path.logits[at]) == pytest.approx(float(SLOPE * code @ W), abs=1e-3)
    assert path.counterfactual_flips and bool(path.is_convincing[at])
    nearest = abs(float((z_sem @ W)[0] * SLOPE)) + torch.logit(torch.tensor(0.75)).item()
    along = SLOPE * cosine(other.vector, W)
    assert abs(float(path.alphas[at])) == pytest.approx(nearest / along, abs=3 / 8 / 16 + 1e-3)


def test_no_direction_goes_farther_than_a_walk(domain: LinearDomain) -> None:
    """Two that are nearly one lead elsewhere only by going far against each other."""
    near = F.normalize(mixed(1) + 0.2 * W, dim=0)
    found = directions(mixed(0, 0, 0, 1), mixed(1), near)
    other = another_counterfactual(domain, domain.image(1), found, "a", ["g"])
    most = float(other.path.alphas.abs().max())
    assert max(abs(share) for share in other.coefficients.values()) > 1
    for share in other.coefficients.values():
        assert abs(share) * most <= domain.alpha_max + 1e-4


def test_changes_of_the_code_can_be_avoided_beside_directions() -> None:
    """Two reasons that the classifier adds up: the one shown before is avoided, the other found."""
    first, second = mixed(1, 0.5), mixed(0, 0, 1)
    domain = LinearDomain(lambda z: 4 * z @ first + 4 * z @ second)
    found = directions(mixed(0, 0, 0, 1), *torch.eye(8))
    other = another_counterfactual(
        domain, domain.image(2), found, "a", ["g", 2 * first], max_likeness=0.0
    )
    assert cosine(other.vector, second) == pytest.approx(1, abs=1e-4)
    assert other.avoided == ("g",) and other.likeness == pytest.approx(0, abs=1e-5)


def test_where_a_region_is_avoided_nothing_changes_inside(domain: LinearDomain) -> None:
    image, size = domain.image(3), domain.generator.image_size
    region = torch.zeros(size, size, dtype=torch.bool)
    region[: size // 2] = True
    found = directions(*torch.eye(8))
    other = another_counterfactual(domain, image, found, "a", avoid_region=region)
    inside = other.path.images[:, :, region]
    assert torch.equal(inside, image[:, :, region].expand_as(inside))
    assert not torch.equal(other.path.counterfactual_image, image) and other.likeness == 0
    assert other.avoided == () and set(other.alphas) == set(found.names)


def test_a_curved_classifier_is_asked_twice() -> None:
    """Along the first combination the logit stops short of the flip; around there it tells more."""
    domain = LinearDomain(lambda z: 3 * torch.tanh(z[:, 0]) + 4 * (z[:, 1] - 1).clamp(min=0) - 4)
    image = domain.image(0)
    found = directions(mixed(0, 0, 1), mixed(1), mixed(0, 1))
    first_at_most = 1 + 3 + 14
    other = another_counterfactual(domain, image, found, "a", ["g"])
    assert first_at_most < other.queries <= queries_at_most(found, ["g"]) <= 64


def test_what_does_not_fit_is_refused_before_anything_is_asked(domain: LinearDomain) -> None:
    image, found = domain.image(0), directions(W, unit(8, 3))
    full = torch.ones(domain.generator.image_size, domain.generator.image_size)
    for changes, says in (
        ({"avoid": []}, "Nothing is to be avoided"),
        ({"avoid": ["g", "h1"]}, "No other way is left"),
        ({"avoid": ["h7"]}, "There is no direction 'h7'"),
        ({"avoid": [torch.zeros(8)]}, "8 numbers, not all of them 0"),
        ({"avoid": [torch.ones(3)]}, "8 numbers"),
        ({"avoid": ["g"], "max_likeness": 1.5}, "give a cosine from 0 to 1"),
        ({"avoid": [], "avoid_region": full}, "The region is empty"),
    ):
        with pytest.raises(GCDError, match=says):
            another_counterfactual(domain, image, found, "a", **changes)
    with pytest.raises(GCDError, match="no label 'z'"):
        another_counterfactual(domain, image, found, "z", ["g"])
    domain.classifier.budget = domain.classifier.queries + queries_at_most(found, ["g"]) - 1
    with pytest.raises(BudgetExceeded, match=r"up to 32 images; of its budget of \d+ 31 are left"):
        another_counterfactual(domain, image, found, "a", ["g"])
    assert domain.classifier.queries == 0


def test_it_can_be_cancelled(domain: LinearDomain) -> None:
    found = directions(mixed(0, 1), W)
    with pytest.raises(Cancelled):
        another_counterfactual(domain, domain.image(0), found, "a", ["g"], cancel=Flag(0))
