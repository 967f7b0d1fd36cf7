"""Independent ways to the flip: directions that each change the classifier's mind on their own.

The h-directions are the axes along which the CF loss bends most at one point; where a classifier
reads one thing, they lie around g. The ways ask something else of the same proxy: is there another
direction, with nothing of g in it, along which the prediction flips too?
"""

from __future__ import annotations

import torch
from torch import Tensor

from gcd_core.method.counterfactual import MARGIN
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.proxy import Proxy

STARTS = 64  # random directions that each way is sought from
STEPS = 150
LEARNING_RATE = 0.1
WALK_POINTS = 6  # points of a walk that are looked at
MOST_CONVINCING = 0.99  # a probability that a way never needs to exceed, whatever the margin


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
) -> Tensor:
    """Find directions that flip the proxy, independent of g and of each other.

    One after the other: the unit vector v that takes the logit farthest toward the flip, on average
    over a walk of `alpha_max` from the source, among those whose cosine with g and with every way
    before it is at most `max_cosine`. It counts if what is new in it, its part orthogonal to all of
    them, flips the prediction within `alpha_max` by itself, as far beyond the threshold as a
    counterfactual must lie, for each of the proxy's networks; of the directions that the search
    comes to from its random starts, the one whose new part goes farthest is taken. The first that
    does not flip is the end: the classifier, as far as the proxy knows it, has no further way.

    Parameters
    ----------
    proxy : Proxy
    z_sem : Tensor (1, D)
        Where the walk begins: the source's semantic code, or where it was carried to.
    g : Tensor (D,)
        A unit vector.
    sign : {+1, -1}
        Of the logit in the CF loss: +1 where it must fall.
    alpha_max : float
        How far a walk goes.
    most : int
        How many to look for; fewer than D.
    margin : float
        How far beyond the threshold the probability must lie, 0 to 0.5.
    max_cosine : float
        0 to less than 1.
    seed : int
        Repeats the random starts.

    Returns
    -------
    Tensor (k, D)
        k <= `most` unit vectors; +alpha raises the logit on the side where it was found, so that a
        walk toward the flip goes to -`sign` alpha.
    """
    with torch.inference_mode(False), torch.enable_grad():
        source = z_sem.detach().float().cpu().clone()
        known = g.detach().float().cpu().clone()[None]
        generator = torch.Generator().manual_seed(seed)
        for _ in range(most):
            way = _best(proxy, source, known, sign, alpha_max, margin, max_cosine, generator)
            if way is None:
                break
            known = torch.cat([known, way[None]])
    return -sign * known[1:]


def within_cosine(vectors: Tensor, others: Tensor, max_cosine: float, rounds: int = 30) -> Tensor:
    """Turn unit vectors (N, D) until none has a larger |cosine| with any of `others` (k, D).

    Alternating projections onto each other's allowed band and the unit sphere; the last turns leave
    nothing of an excess that float32 can hold.
    """
    for _ in range(rounds):
        vectors = vectors / vectors.norm(dim=1, keepdim=True)
        cosines = vectors @ others.T
        excess = cosines - cosines.clamp(-max_cosine, max_cosine)
        if not bool((excess.abs() > 1e-6).any()):
            break
        dual = torch.linalg.solve(others @ others.T, excess.T).T
        vectors = vectors - dual @ others
    return vectors / vectors.norm(dim=1, keepdim=True)


def orthogonal_part(vectors: Tensor, others: Tensor) -> Tensor:
    """What of vectors (N, D) lies in no direction of `others` (k, D), which are independent."""
    return vectors - vectors @ torch.linalg.pinv(others) @ others


def _best(
    proxy: Proxy,
    source: Tensor,
    known: Tensor,
    sign: int,
    alpha_max: float,
    margin: float,
    max_cosine: float,
    generator: torch.Generator,
) -> Tensor | None:
    """The next way toward the flip (D,), or None where there is none."""
    alphas = torch.linspace(0, alpha_max, WALK_POINTS + 1)[1:]
    vectors = torch.randn(STARTS, source.shape[1], generator=generator).requires_grad_()
    optimiser = torch.optim.Adam([vectors], lr=LEARNING_RATE)

    def toward(vectors: Tensor) -> Tensor:
        """How far beyond the threshold each point of each walk lies, (N, WALK_POINTS)."""
        points = source + alphas[:, None, None] * vectors  # (WALK_POINTS, N, D)
        return -sign * proxy(points.flatten(0, 1))[:, 0].view(WALK_POINTS, -1).T

    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = -toward(within_cosine(vectors, known, max_cosine)).mean()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        found = within_cosine(vectors, known, max_cosine)
        new = source + alphas[:, None, None] * orthogonal_part(found, known)
        answers = [proxy.one(network, new.flatten(0, 1))[:, 0] for network in proxy.networks]
        agreed = (-sign * torch.stack(answers)).min(dim=0).values
        reached = agreed.view(WALK_POINTS, -1).max(dim=0).values
        best = int(reached.argmax())
        wanted = torch.tensor(min(THRESHOLD + margin, MOST_CONVINCING)).logit()
        return found[best].clone() if reached[best] >= wanted else None
