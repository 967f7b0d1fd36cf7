"""Independent ways to the flip: directions that each change the classifier's mind on their own.

The h-directions are the axes along which the CF loss bends most at one point; where a classifier
reads one thing, they lie around g. The ways ask something else: is there another direction, with
nothing of g in it, along which the prediction flips too?

Inside the ball of the paper's perturbations g drowns whatever else a classifier reads: along it the
logit moves by tens, in all other directions together by one or two. So a search that is to find
ways spends its samples in three parts. The first lies in the ball and gives g (Algorithm 1). The
second lies in the plane through its centre that is orthogonal to g (`plane_offsets`): of what a
proxy learns there, nothing is g's, and the few axes along which its gradients lie are those that
the classifier reads beside g (`active_subspace`). The third fills a ball of only these axes
(`inner_offsets`), where so few samples leave no gaps; the ways are chosen on the proxy of that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.method.counterfactual import MARGIN
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.perturbation import sample_ball
from gcd_core.method.proxy import Proxy
from gcd_core.method.settings import MAX_COSINE

PLANE_REACH = 1.5  # times the radius of the search: how far its samples orthogonal to g reach
INNER_REACH = 1.25  # times alpha_max: how far samples along the axes read beside g reach
MAX_AXES = 6  # axes beside g that are looked along

RANDOM_STARTS = 8  # random sets of directions that the ways are sought from
OPTIMISER_STEPS = 200
LEARNING_RATE = 0.05
WALK_POINTS = 6  # points of a walk that are looked at
PUSHED_LOG_ODDS = 2.5  # log-odds beyond what is wanted, up to which a way is pushed
MIN_SLOPE_COSINE = 0.955  # cosine from which on the slope of the proxy at hand is a more exact g
MIN_AXIS_EFFECT = 0.5  # log-odds over a walk (root mean square): below it an axis is not read
SLOPE_POINTS = 256  # points around the source where the proxy's slopes are taken
MAX_SHARED_EFFECT = 0.3  # the most that two ways may have in common of what they do to the logit
SHARED_EFFECT_WEIGHT = 10.0  # weight of what they have in common beyond that
MIN_OWN_SHARE = 0.5  # of the way to the flip, what a way's part orthogonal to g must go by itself
MAX_PROBABILITY_ASKED = 0.99  # a probability that a way never needs to exceed, whatever the margin


class SampleSplit(NamedTuple):
    """How many of a search's samples lie in the ball, in the plane orthogonal to g, along axes."""

    ball: int
    plane: int
    inner: int

    @classmethod
    def of(cls, n_samples: int) -> SampleSplit:
        """A quarter, a half, and the rest: g takes least, what it drowns most."""
        ball, plane = n_samples // 4, n_samples // 2
        return cls(ball, plane, n_samples - ball - plane)


def plane_offsets(n: int, g: Tensor, radius: float, seed: int) -> Tensor:
    """Offsets (n, D) orthogonal to g (D,), each second one the negative of the one before it."""
    generator = torch.Generator().manual_seed(seed)
    offsets = sample_ball(n, len(g), PLANE_REACH * radius, generator, antithetic=True)
    return offsets - (offsets @ g)[:, None] * g


def active_subspace(proxy: Proxy, z_sem: Tensor, g: Tensor) -> Tensor:
    """The axes beside g (m, D) along which a proxy's logit changes most around codes (N, D).

    Eigenvectors of the mean outer product of its gradients (the active subspace of Constantine,
    Dow, Wang, 2014), without what of them lies in g; at most `MAX_AXES` orthonormal ones, each
    orthogonal to g, by falling eigenvalue.
    """
    beside = orthogonal_to(torch.eye(len(g)), g)
    axes, _ = _active_axes(proxy, z_sem, beside)
    return axes[:MAX_AXES]


def inner_offsets(n: int, axes: Tensor, g: Tensor, alpha_max: float, seed: int) -> Tensor:
    """Offsets (n, D) in a ball of the axes (m, D) alone, and along g as far as a way may lean."""
    generator = torch.Generator().manual_seed(seed + 1)
    inside = sample_ball(n, len(axes), INNER_REACH * alpha_max, generator, antithetic=True) @ axes
    lean = MAX_COSINE * alpha_max * (2 * torch.rand(n, 1, generator=generator) - 1)
    return inside + lean * g


def independent_ways(
    proxy: Proxy,
    z_sem: Tensor,
    g: Tensor,
    sign: int,
    alpha_max: float,
    most: int,
    margin: float = MARGIN,
    max_cosine: float = 0.0,
    seed: int = 0,
    axes: Tensor | None = None,
) -> Tensor:
    """Find directions that flip the proxy, independent of g and of each other.

    The largest set, of at most `most` unit vectors, that each flip the prediction within
    `alpha_max` as far beyond the threshold as a counterfactual must lie, for each of the proxy's
    networks. They are orthogonal to g, to be exact: to the slope of this proxy at the source, which
    is g but for what the proxy of all samples has missed of it (their cosine with g is 0.3 at
    most), and which would flip by itself, a little, if it were left in a way. And they are
    orthogonal to each other and chosen together, so that the first does not take what the last
    would need. They lie in the axes that the proxy reads beside g, lest two of them flip by one
    thing and differ in what does nothing; nor may they share more than a third of what they do, by
    their cosine in the metric of the proxy's mean squared slopes. With a `max_cosine` of c each way
    leans toward the flip, with that cosine to g at most, so that two of them have the cosine c^2;
    then its orthogonal part must go half of the way to the flip by itself, lest g alone does it.
    Where no set of even one flips, the classifier, as far as the proxy knows it, has no further
    way.

    Parameters
    ----------
    proxy : Proxy
    z_sem : Tensor (1, D)
        Where the walk begins: the source's semantic code, or where it was carried to.
    g : Tensor (D,)
        A unit vector; +alpha raises the logit.
    sign : {+1, -1}
        The way of the logit to the flip, as of `flip_sign`.
    alpha_max : float
        How far a walk goes.
    most : int
        How many to look for; fewer than D.
    margin : float
        How far beyond the threshold the probability must lie, 0 to 0.5.
    max_cosine : float
        0 to `MAX_COSINE`.
    seed : int
        Repeats the random starts.
    axes : Tensor (m, D), optional
        Where to look: orthonormal axes, along which the proxy was fitted; by default everywhere.

    Returns
    -------
    Tensor (k, D)
        k <= `most` unit vectors, the farthest-reaching first; +alpha raises the logit on the side
        where it was found, so that a walk toward the flip goes to `sign` alpha.
    """
    g = g.detach().float().cpu().clone()
    where = torch.eye(len(g)) if axes is None else axes.detach().float().cpu()
    source = z_sem.detach().float().cpu().clone()
    walks = _ProxyWalks(proxy, source, sign, alpha_max)
    slope = _slope(proxy, source, where)
    beside = orthogonal_to(where, slope)
    if slope @ g < MIN_SLOPE_COSINE:
        beside = orthogonal_to(beside, g)
    basis, effects = _read(walks, beside, seed)
    drift = (1 - (slope @ g).clamp(max=1) ** 2).sqrt().item()
    lean = max(0.0, max_cosine - drift)  # so that no cosine with g itself is beyond what may be
    toward_g = sign * lean * slope
    wanted = torch.tensor(min(THRESHOLD + margin, MAX_PROBABILITY_ASKED)).logit().item()
    with torch.inference_mode(False), torch.enable_grad():
        for count in range(min(most, len(basis)), 0, -1):
            for own in _sets(walks, basis, effects, toward_g, count, wanted, seed):
                ways = math.sqrt(1 - lean**2) * own + toward_g
                reached = walks.agreed(ways)
                if bool(
                    (reached >= wanted).all() & (walks.share(own, wanted) >= MIN_OWN_SHARE).all()
                ):
                    return sign * ways[reached.argsort(descending=True)]
    return torch.empty(0, len(g))


def orthogonal_to(vectors: Tensor, g: Tensor) -> Tensor:
    """An orthonormal basis (m, D) of what of the span of vectors (k, D) is orthogonal to g (D,)."""
    _, sizes, basis = torch.linalg.svd(vectors - (vectors @ g)[:, None] * g, full_matrices=False)
    return basis[sizes > 1e-4 * sizes[0]]


def _active_axes(proxy: Proxy, codes: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """The axes (m, D) of a basis's span by how steep the logit is along them at codes (N, D).

    Eigenvectors of the mean outer product of the gradients, by falling eigenvalue; and those (m,).
    """
    with torch.inference_mode(False), torch.enable_grad():
        codes = codes.detach().float().cpu().clone().requires_grad_()
        (gradients,) = torch.autograd.grad(proxy(codes)[:, 0].sum(), codes)
    within = (gradients @ basis.T).double()
    values, turned = torch.linalg.eigh(within.T @ within / len(codes))
    return (turned.T.flip(0).float() @ basis), values.flip(0).float()


def _read(walks: _ProxyWalks, basis: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """The axes (m, D) of a basis's span that the proxy reads within a walk's reach of its source.

    And for each its mean squared effect, in log-odds over a whole walk.
    """
    if not len(basis):
        return basis, torch.empty(0)
    generator = torch.Generator().manual_seed(seed)
    around = (
        sample_ball(SLOPE_POINTS, len(basis), walks.alpha_max, generator, antithetic=True) @ basis
    )
    axes, slopes = _active_axes(walks.proxy, walks.source + around, basis)
    effects = slopes * walks.alpha_max**2
    return axes[effects >= MIN_AXIS_EFFECT**2], effects[effects >= MIN_AXIS_EFFECT**2]


def _slope(proxy: Proxy, source: Tensor, where: Tensor) -> Tensor:
    """The direction (D,), of a span (m, D), in which the logit rises most steeply from a code."""
    with torch.inference_mode(False), torch.enable_grad():
        gradient = torch.func.grad(lambda z: proxy(z[None])[0, 0])(source[0])
    within = where.T @ (where @ gradient)
    return within / within.norm().clamp(min=1e-12)


def orthonormal(vectors: Tensor) -> Tensor:
    """Sets of vectors (..., k, D), each set made orthonormal without leaving its span."""
    gram = vectors @ vectors.transpose(-1, -2)
    gram = gram + 1e-6 * torch.eye(gram.shape[-1])  # two that fall together have no factor
    lower = torch.linalg.cholesky(gram)
    return torch.linalg.solve_triangular(lower, vectors, upper=False)


class _ProxyWalks:
    """What the proxy says along walks from one code, counted toward the flip.

    Parameters
    ----------
    proxy : Proxy
    source : Tensor (1, D)
    sign : {+1, -1}
    alpha_max : float
    """

    def __init__(self, proxy: Proxy, source: Tensor, sign: int, alpha_max: float) -> None:
        self.proxy, self.source, self.sign, self.alpha_max = proxy, source, sign, alpha_max
        self._alphas = torch.linspace(0, alpha_max, WALK_POINTS + 1)[1:]

    def along(self, vectors: Tensor) -> Tensor:
        """Log-odds (P, ...) beyond the threshold at P points of walks along vectors (..., D)."""
        logits = self.proxy(self._points(vectors))[:, 0]
        return self.sign * logits.view(len(self._alphas), *vectors.shape[:-1])

    def agreed(self, vectors: Tensor) -> Tensor:
        """How far (k,) walks along vectors (k, D) come, for all of the proxy's networks at once."""
        with torch.no_grad():
            points = self._points(vectors)
            each = [self.proxy.one(network, points)[:, 0] for network in self.proxy.networks]
            least = (self.sign * torch.stack(each)).min(dim=0).values
        return least.view(len(self._alphas), -1).max(dim=0).values

    def share(self, vectors: Tensor, wanted: float) -> Tensor:
        """What share (k,) of the way from the source to `wanted` walks along vectors go."""
        with torch.no_grad():
            start = self.sign * self.proxy(self.source)[0, 0]
        return (self.agreed(vectors) - start) / (wanted - start).clamp(min=1e-6)

    def _points(self, vectors: Tensor) -> Tensor:
        return (self.source + self._alphas.view(-1, *[1] * vectors.ndim) * vectors).flatten(0, -2)


def _sets(
    walks: _ProxyWalks,
    basis: Tensor,
    effects: Tensor,
    toward_g: Tensor,
    count: int,
    wanted: float,
    seed: int,
) -> Iterator[Tensor]:
    """Sets of `count` orthonormal vectors (count, D) of the basis's span, the best one first.

    From each of some random sets, those vectors that bring the mean of what their walks lack of
    the flip, and of a little more, to its least; by how far the worst of a set comes. Sets of which
    two vectors do too much alike are left out.
    """
    own_size = (1 - toward_g.square().sum()).sqrt()
    generator = torch.Generator().manual_seed(seed)
    parts = torch.randn(RANDOM_STARTS, count, len(basis), generator=generator).requires_grad_()
    optimiser = torch.optim.Adam([parts], lr=LEARNING_RATE)
    for _ in range(OPTIMISER_STEPS):
        optimiser.zero_grad()
        own = orthonormal(parts)
        along = walks.along(own_size * (own @ basis) + toward_g)
        reached = (along.softmax(dim=0) * along).sum(dim=0)  # a maximum that has a slope everywhere
        lacking = F.softplus(wanted + PUSHED_LOG_ODDS - reached).mean(dim=1)
        shared = (_common(own, effects) - MAX_SHARED_EFFECT).clamp(min=0).square().sum(dim=(1, 2))
        (lacking + SHARED_EFFECT_WEIGHT * shared).sum().backward()
        optimiser.step()
    with torch.no_grad():
        own = orthonormal(parts)
        found = own @ basis
        distinct = _common(own, effects).amax(dim=(1, 2)) <= MAX_SHARED_EFFECT + 0.01
        worst = [walks.agreed(own_size * each + toward_g).min() for each in found]
    for i in torch.stack(worst).argsort(descending=True):
        if distinct[i]:
            yield found[i] / found[i].norm(dim=1, keepdim=True)


def _common(own: Tensor, effects: Tensor) -> Tensor:
    """What of their effects the vectors of sets (S, k, m) have in common, (S, k, k), 0 to 1."""
    done = own * effects.sqrt()
    done = done / done.norm(dim=-1, keepdim=True)
    return (done @ done.transpose(1, 2)).abs() * (1 - torch.eye(own.shape[1]))
