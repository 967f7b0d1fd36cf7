"""The mean slope against closed forms and numpy."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gcd_core.errors import GCDError
from gcd_core.method.code_statistics import CodeStatistics
from gcd_core.method.mean_slope import (
    PICTURE_WEIGHT,
    SURE_PICTURE_WEIGHT,
    MeanSlope,
    expected_cosine,
    fit_mean_slope,
    weighed_slope,
)

SIZE = 40


def cosine(a, b):
    return F.cosine_similarity(torch.as_tensor(a).double(), torch.as_tensor(b).double(), dim=0)


def statistics_of(size=SIZE, seed=0, shown=None):
    """A mean and an uneven covariance; `shown` says how many axes of w the picture shows."""
    random = torch.Generator().manual_seed(seed)
    turned = torch.linalg.qr(torch.randn(size, size, generator=random))[0]
    covariance = turned @ torch.diag(torch.linspace(0.2, 3, size)) @ turned.T
    plain = CodeStatistics(torch.randn(size, generator=random), covariance)
    if shown is None:
        return plain
    axes = torch.zeros(256, size)
    axes[:shown, :shown] = torch.eye(shown)
    drawing = torch.linalg.solve_triangular(plain.factor, axes, upper=False, left=False)
    return CodeStatistics(plain.mean, covariance, drawing)


def drawn(statistics, n, seed=0):
    return statistics.draw(n, torch.Generator().manual_seed(seed))


def test_a_linear_logit_is_recovered_from_a_few_answers_more_than_axes():
    statistics = statistics_of()
    slope = torch.randn(SIZE, generator=torch.Generator().manual_seed(7))
    codes = drawn(statistics, 2 * SIZE)
    fitted = fit_mean_slope(codes, codes @ slope + 1.5, statistics)
    assert cosine(fitted.gradient, slope) > 0.9999
    assert float((fitted.gradient - slope).norm() / slope.norm()) < 0.01
    assert fitted.intercept == pytest.approx(float(statistics.mean @ slope) + 1.5, abs=0.02)
    assert fitted.explained > 0.98
    elsewhere = drawn(statistics, 20, seed=1)
    torch.testing.assert_close(
        fitted.logit(elsewhere), elsewhere @ slope + 1.5, atol=0.15, rtol=0.02
    )


def test_the_slope_of_a_quadratic_is_its_mean_gradient():
    """Stein: E[grad f] over N(m, S) of f = z^T A z / 2 + b^T z is A m + b."""
    statistics = statistics_of(size=8)
    random = torch.Generator().manual_seed(3)
    bent, b = torch.randn(8, 8, generator=random), torch.randn(8, generator=random)
    bent = bent + bent.T
    codes = drawn(statistics, 4096)
    logits = 0.5 * torch.einsum("ni,ij,nj->n", codes, bent, codes) + codes @ b
    fitted = fit_mean_slope(codes, logits, statistics)
    expected = bent @ statistics.mean + b
    assert cosine(fitted.gradient, expected) > 0.995
    assert float(fitted.gradient.norm() / expected.norm()) == pytest.approx(1, abs=0.05)
    at_the_boundary = torch.autograd.functional.jacobian(
        lambda z: 0.5 * z @ bent @ z + b @ z, torch.zeros(8)
    )
    assert cosine(at_the_boundary, expected) < 0.9, "another point's gradient is another one"


def test_the_mean_gradient_of_a_logistic_curve():
    """Of f = tanh(a w_1 + b w_2), by numerical integration: along (a, b), smaller than at 0."""
    statistics = CodeStatistics.assumed(2, None)
    way = torch.tensor([1.5, -0.8])
    codes = drawn(statistics, 8192)
    fitted = fit_mean_slope(codes, torch.tanh(codes @ way), statistics)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    steepness = 1 - np.tanh(nodes * float(way.norm())) ** 2
    expected = way * float((weights * steepness).sum() / weights.sum())
    torch.testing.assert_close(fitted.gradient, expected, atol=0.01, rtol=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_what_the_picture_shows_makes_few_answers_enough(seed):
    """Of 40 axes the picture shows 5; the logit hangs on those, and is noisy."""
    statistics = statistics_of(seed=seed, shown=5)
    random = torch.Generator().manual_seed(seed + 50)
    w_slope = torch.zeros(SIZE)
    w_slope[:5] = torch.randn(5, generator=random)
    codes = drawn(statistics, 32, seed)
    w = statistics.whitened(codes)
    logits = w @ w_slope + 0.2 * w_slope.norm() * torch.randn(32, generator=random)
    told = fit_mean_slope(codes, logits, statistics)
    untold = fit_mean_slope(codes, logits, CodeStatistics(statistics.mean, statistics.covariance))
    assert cosine(told.slope, w_slope) > 0.95
    assert cosine(untold.slope, w_slope) < 0.9
    best_plain = max(  # whatever penalty a plain ridge takes
        cosine(
            np.linalg.solve(
                w.numpy().T @ w.numpy() + penalty * np.eye(SIZE), w.numpy().T @ logits.numpy()
            ),
            w_slope,
        )
        for penalty in np.logspace(-3, 4, 15)
    )
    assert best_plain < 0.95


def test_a_reason_that_the_drawing_does_not_show_is_still_found():
    statistics = statistics_of(shown=5)
    w_slope = torch.zeros(SIZE)
    w_slope[-1] = 2.0
    codes = drawn(statistics, 256)
    fitted = fit_mean_slope(codes, statistics.whitened(codes) @ w_slope, statistics)
    assert cosine(fitted.slope, w_slope) > 0.99


def test_the_fit_is_ridge_with_the_prior_at_a_penalty_that_none_beats():
    """Against the normal equations of generalised ridge, and the evidence in full, by numpy."""
    statistics = statistics_of(size=6, shown=2)
    random = torch.Generator().manual_seed(9)
    codes = drawn(statistics, 24)
    w = statistics.whitened(codes).double().numpy()
    y = (torch.as_tensor(w[:, 0]) + 0.5 * torch.randn(24, generator=random).double()).float()
    fitted = fit_mean_slope(codes, y, statistics)
    prior = statistics.picture_change.double().numpy() + 0.03 * np.eye(6)
    inputs, answers = w - w.mean(0), y.double().numpy() - y.double().numpy().mean()

    def evidence(penalty):
        spread = inputs @ prior @ inputs.T / penalty + np.eye(24)
        fit = answers @ np.linalg.solve(spread, answers)
        return -23 * np.log(fit) - np.linalg.slogdet(spread)[1]

    penalties = np.logspace(-3, 5, 65)
    best = penalties[np.argmax([evidence(penalty) for penalty in penalties])]
    expected = np.linalg.solve(inputs.T @ inputs + best * np.linalg.inv(prior), inputs.T @ answers)
    np.testing.assert_allclose(fitted.slope, expected, rtol=1e-3, atol=1e-4)


def test_a_direction_is_the_slope_over_its_cost():
    statistics = statistics_of(size=7, shown=3)
    slope = torch.randn(7, generator=torch.Generator().manual_seed(1))
    fitted = MeanSlope(slope, 0.0, 1.0, statistics)
    covariance = statistics.covariance.double().numpy()
    factor = np.linalg.cholesky(covariance)
    drawing = statistics.drawing.double().numpy()
    drawing = drawing / np.sqrt(((drawing @ factor) ** 2).sum(0).mean())
    gradient = np.linalg.solve(factor.T, slope.double().numpy())
    extra = torch.diag(torch.arange(7.0))
    in_codes = np.linalg.solve(factor.T, extra.numpy()) @ np.linalg.inv(factor)
    for weight, elsewhere in ((0.0, None), (PICTURE_WEIGHT, None), (2.0, None), (0.5, extra)):
        cost = np.linalg.inv(covariance) + weight * drawing.T @ drawing
        if elsewhere is not None:
            cost = cost + in_codes
        expected = np.linalg.solve(cost, gradient)
        expected /= np.linalg.norm(expected)
        direction = fitted.direction(weight, elsewhere)
        np.testing.assert_allclose(direction, expected, atol=1e-4)
        assert float(direction.norm()) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(fitted.direction(), fitted.direction(PICTURE_WEIGHT))


def test_no_other_direction_rises_more_for_its_cost():
    statistics = statistics_of(size=7, shown=3)
    fitted = MeanSlope(unit_slope(7), 0.3, 1.0, statistics)
    inverse = torch.linalg.inv(statistics.covariance)
    drawing = (
        statistics.drawing
        / statistics.drawing.matmul(statistics.factor).norm(dim=0).square().mean().sqrt()
    )

    def worth(v):
        cost = v @ inverse @ v + PICTURE_WEIGHT * (drawing @ v).square().sum()
        return float(fitted.gradient @ v / cost.sqrt())

    others = torch.randn(500, 7, generator=torch.Generator().manual_seed(2))
    best = fitted.direction()
    assert all(worth(v) <= worth(best) + 1e-6 for v in [*others, *(best + 0.05 * others)])


def unit_slope(size):
    slope = torch.randn(size, generator=torch.Generator().manual_seed(11))
    return slope / slope.norm()


def test_the_boundary_is_where_the_logit_is_0():
    statistics = statistics_of(size=5)
    fitted = MeanSlope(unit_slope(5), -1.7, 1.0, statistics)
    direction = fitted.direction()
    boundary = fitted.boundary(direction)
    assert boundary.shape == (1, 5)
    assert float(fitted.logit(boundary)) == pytest.approx(0, abs=1e-4)
    assert abs(float(cosine((boundary - statistics.mean)[0], direction))) > 0.9999


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_explained_is_the_share_that_new_answers_confirm(noise):
    statistics = statistics_of(size=10)
    fitted, confirmed = [], []
    for seed in range(6):
        random = torch.Generator().manual_seed(seed + 500)

        def logits(codes, random=random):
            said = statistics.whitened(codes) @ unit_slope(10)
            return said + noise * torch.randn(len(codes), generator=random)

        codes, new = drawn(statistics, 96, seed), drawn(statistics, 2000, seed + 100)
        slope = fit_mean_slope(codes, logits(codes), statistics)
        answers = logits(new)
        rest = (answers - slope.logit(new)).square().mean() / answers.var()
        fitted.append(slope.explained)
        confirmed.append(max(0.0, 1 - float(rest)))
    assert np.mean(fitted) == pytest.approx(np.mean(confirmed), abs=0.08)


def test_the_cosine_expected_is_the_one_of_two_searches():
    """Spearman and Brown, against pairs of searches with as many answers each."""
    statistics = statistics_of(size=10)

    def answers(seed, n=64):
        codes = drawn(statistics, n, seed)
        noise = 1.5 * torch.randn(n, generator=torch.Generator().manual_seed(seed + 500))
        return codes, statistics.whitened(codes) @ unit_slope(10) + noise

    expected = np.mean([expected_cosine(*answers(seed), statistics) for seed in range(20)])
    found = [fit_mean_slope(*answers(seed), statistics).direction() for seed in range(20)]
    met = np.mean([float(cosine(found[2 * i], found[2 * i + 1])) for i in range(10)])
    assert expected == pytest.approx(met, abs=0.1)
    assert 0.3 < met < 0.95, "noisy enough to say something"


@pytest.mark.parametrize("noise", [0.0, 1.5, 40.0])
def test_the_picture_weighs_more_where_the_answers_are_sure(noise):
    statistics = statistics_of(size=10)
    codes = drawn(statistics, 128, 3)
    logits = statistics.whitened(codes) @ unit_slope(10)
    logits = logits + noise * torch.randn(128, generator=torch.Generator().manual_seed(9))
    slope, expected = weighed_slope(codes, logits, statistics)
    sure = expected_cosine(codes, logits, statistics, SURE_PICTURE_WEIGHT) >= 0.95
    weight = SURE_PICTURE_WEIGHT if sure else PICTURE_WEIGHT
    assert sure == (noise == 0.0)
    assert expected == expected_cosine(codes, logits, statistics, weight)
    plain = fit_mean_slope(codes, logits, statistics)
    assert torch.equal(slope.direction(), plain.direction(weight))


def test_few_answers_promise_little():
    statistics = statistics_of(size=5)
    codes = drawn(statistics, 62)
    assert expected_cosine(codes, codes @ unit_slope(5), statistics) == 0.89


def test_halves_without_a_direction_promise_nothing():
    statistics = statistics_of(size=5)
    codes = drawn(statistics, 14)  # 8 and 6 of them
    assert expected_cosine(codes, codes[:, 0], statistics) == 0
    codes = drawn(statistics, 64)
    assert expected_cosine(codes, torch.ones(64), statistics) == 0
    assert expected_cosine(codes, codes @ unit_slope(5), statistics) > 0.99


def test_answers_that_say_nothing_are_refused():
    statistics = statistics_of(size=5)
    codes = drawn(statistics, 32)
    with pytest.raises(GCDError, match="7 answers are too few"):
        fit_mean_slope(codes[:7], codes[:7, 0], statistics)
    for bad in (torch.nan, torch.inf):
        logits = codes[:, 0].clone()
        logits[3] = bad
        with pytest.raises(GCDError, match="no finite number"):
            fit_mean_slope(codes, logits, statistics)
    for same in (torch.zeros(32), torch.full((32,), -7.0)):
        with pytest.raises(GCDError, match=r"the same for every picture.*check-domain"):
            fit_mean_slope(codes, same, statistics)
