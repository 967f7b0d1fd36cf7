"""Walking along a direction until the classifier changes its mind: CF loss, path, line search."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gcd_core.errors import Cancel, Cancelled, GCDError
from gcd_core.generators.base import Latent
from gcd_core.method.directions import Direction
from gcd_core.method.loss import THRESHOLD, cf_loss, cf_sign
from gcd_core.method.models import Models
from gcd_core.method.perturbation import Answers, ask, check_image, check_label, default_batch_size
from gcd_core.method.settings import check_sampling


@dataclass(frozen=True)
class Path:
    """The images along a direction and what the models say of each; tensors on the CPU.

    Attributes
    ----------
    alphas : Tensor (n,)
        Signed positions along the direction; +alpha raises the label's logit.
    images : Tensor (n, C, H, W)
        The decoded images, float32, in [0, 1].
    logits, probabilities : Tensor (n,)
        The label's log-odds and probability.
    all_probabilities : Tensor (n, L)
        One column per label in `labels`.
    distances : Tensor (n,)
        LPIPS to the source image.
    losses : Tensor (n,)
        The CF loss (Eq. 1).
    label : str
        What is being explained.
    labels : tuple of str
        All labels of the classifier.
    direction_name : str
    source : Tensor (1, C, H, W)
        The image that the walk started from, before it was encoded.
    source_probability : float
        The classifier's probability for the source image itself, not for its reconstruction.
    sign : int
        The way to the flip: -1 (toward lower logits) where the source is predicted to have the
        label, otherwise +1.
    threshold : float
        The probability from which on the label is predicted.
    """

    alphas: Tensor
    images: Tensor
    logits: Tensor
    probabilities: Tensor
    all_probabilities: Tensor
    distances: Tensor
    losses: Tensor
    label: str
    labels: tuple[str, ...]
    direction_name: str
    source: Tensor
    source_probability: float
    sign: int
    threshold: float = THRESHOLD

    @property
    def is_flipped(self) -> Tensor:
        """Which points (n,) a move took to the other side of the source's prediction.

        The point at alpha 0 is none of them: there, it is the reconstruction alone that differs.
        """
        here = self.probabilities >= self.threshold
        return (here != (self.source_probability >= self.threshold)) & (self.alphas != 0)

    @property
    def flipped(self) -> bool:
        """Whether the prediction differs from the source's anywhere on the path."""
        return bool(self.is_flipped.any())

    @property
    def counterfactual(self) -> int:
        """Index of the lowest CF loss (Algorithm 3), among the flipped points where there are."""
        among = self.is_flipped if self.flipped else torch.ones_like(self.is_flipped)
        return int(self.losses.masked_fill(~among, math.inf).argmin())


def walk(
    domain: Models,
    image: Tensor | Latent,
    direction: Direction | Tensor,
    label: str,
    alphas: Tensor | None = None,
    n: int | None = None,
    lam: float | None = None,
    both: bool = False,
    latent: Latent | None = None,
    solver: str | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Cancel | None = None,
) -> Path:
    """Move an image along a direction and ask the classifier on the way (Eq. 5, Algorithm 3).

    The image's noise code stays; its semantic code becomes ``z_sem + alpha * direction``.

    Parameters
    ----------
    domain : Models
    image : Tensor (1, C, S, S) or Latent
        The source in [0, 1]; of a latent of one image, what it decodes to is the source.
    direction : Direction or Tensor (D,)
        A found direction, or any vector of the semantic code's size, taken as it is.
    label : str
        What to explain; the direction may have been found for another label.
    alphas : Tensor (n,), optional
        Positions along the direction, signed, taken as they are. By default `n` even steps from 0
        to the domain's `alpha_max`, signed toward the flip.
    n : int, optional
        How many positions; by default the domain's `walk_points` (with `both`, as many each way).
    lam : float, optional
        Weight of LPIPS in the CF loss; by default the domain's.
    both : bool
        Walk from -alpha_max to +alpha_max; `n` must then be odd, so that 0 is in the middle.
    latent : Latent, optional
        The image's own latent, where it has been encoded before.
    solver, steps : optional
        Passed to the generator for encoding and decoding; its fast setting by default.
    batch_size : int, optional
        Images decoded at a time.
    progress : callable, optional
        Called with (done, n) after each batch.
    cancel : optional
        Its `is_set()` is asked before each batch.

    Returns
    -------
    Path

    Raises
    ------
    GCDError
        If the image, label, direction or a setting does not fit; before any work is done.
    Cancelled
        If `cancel` is set.

    Examples
    --------
    >>> path = walk(domain, image, found.directions["g"], label="pneumonia")
    >>> path.images[path.counterfactual], path.flipped
    """
    check_label(domain, label)
    check_sampling(steps, batch_size)
    if isinstance(image, Latent):
        latent = image
    else:
        check_image(domain, image)
    if latent is not None and len(latent) != 1:
        raise GCDError(f"A walk starts from one image; a latent of {len(latent)} was given.")
    vector = _vector(domain, direction)
    positions = _positions(domain, alphas, n, both)
    batch_size = batch_size or default_batch_size(domain)
    if isinstance(image, Latent):
        latent = image
        source = domain.generator.decode(latent, solver, steps).clamp(0, 1)
    else:
        latent = latent or domain.generator.encode(image, solver, steps)
        source = image
    source_probability = _probability(domain, source, label)
    along = positions
    if alphas is None and not both:  # + 0.0 turns the -0.0 of a walk down into 0.0
        along = -cf_sign(source_probability) * positions + 0.0
    batches: list[Answers] = []
    for alpha in along.split(batch_size):
        if cancel is not None and cancel.is_set():
            raise Cancelled
        z_sem = latent.z_sem + alpha.to(latent.z_sem)[:, None] * vector.to(latent.z_sem)
        images = domain.generator.decode(latent.with_z_sem(z_sem), solver, steps)
        batches.append(ask(domain, images, source, label))
        if progress is not None:
            progress(sum(len(batch.logits) for batch in batches), len(along))
    name = "direction" if isinstance(direction, Tensor) else direction.name
    return _path(domain, label, name, source, source_probability, along, batches, lam)


@torch.inference_mode()
def walk_many(
    domain: Models,
    images: Tensor,
    direction: Direction,
    label: str,
    latent: Latent | None = None,
    n: int | None = None,
) -> list[Path]:
    """Walk each image toward its flip; the same paths as `walk` gives, one image after the other.

    The points of all images are decoded in common batches, so that a GPU has enough to do.

    Parameters
    ----------
    domain : Models
    images : Tensor (N, C, S, S)
        The sources, in [0, 1].
    direction : Direction
    label : str
        What to flip.
    latent : Latent, optional
        The images' latents, where they have been encoded before.
    n : int, optional
        Points on each path, from 0 to the domain's `alpha_max`; by default its `walk_points`.

    Returns
    -------
    list of Path
        One for each image.

    Raises
    ------
    GCDError
        If the label is unknown, or the direction or `n` does not fit.
    """
    check_label(domain, label)
    vector = _vector(domain, direction)
    positions = _positions(domain, None, n, both=False)
    latent = latent or domain.generator.encode(images)
    probabilities = domain.classifier.probability(domain.classifier(images), label).tolist()
    signs = torch.tensor([-cf_sign(probability) for probability in probabilities])
    along = signs[:, None] * positions + 0.0  # no -0.0
    moves = along.to(latent.z_sem)[..., None] * vector.to(latent.z_sem)
    points = Latent(
        (latent.z_sem[:, None] + moves).flatten(0, 1),
        latent.z_T.repeat_interleave(len(positions), dim=0),
    )
    decoded = domain.generator.decode(points).split(len(positions))
    paths = []
    for image, own, alphas, probability in zip(images, decoded, along, probabilities, strict=True):
        source = image[None].float().cpu()
        answers = ask(domain, own, source, label)
        paths.append(
            _path(domain, label, direction.name, source, probability, alphas, [answers], None)
        )
    return paths


def _path(
    domain: Models,
    label: str,
    direction_name: str,
    source: Tensor,
    source_probability: float,
    alphas: Tensor,
    batches: list[Answers],
    lam: float | None,
) -> Path:
    """The path of the points that were asked about, in batches that follow one another."""
    logits = torch.cat([batch.logits for batch in batches])
    every = torch.cat([batch.probabilities for batch in batches])
    distances = torch.cat([batch.distances for batch in batches])
    sign = cf_sign(source_probability)
    return Path(
        alphas=alphas,
        images=torch.cat([batch.images for batch in batches]),
        logits=logits,
        probabilities=every[:, domain.classifier.index(label)],
        all_probabilities=every,
        distances=distances,
        losses=cf_loss(logits, distances, sign, domain.search.lam if lam is None else lam),
        label=label,
        labels=tuple(domain.classifier.labels),
        direction_name=direction_name,
        source=source.float().cpu(),
        source_probability=source_probability,
        sign=-sign,
    )


def _probability(domain: Models, image: Tensor, label: str) -> float:
    """The classifier's probability of the label for one image."""
    return float(domain.classifier.probability(domain.classifier(image), label))


def _vector(domain: Models, direction: Direction | Tensor) -> Tensor:
    """The direction as (D,); refused where its size is not the generator's."""
    vector = direction if isinstance(direction, Tensor) else direction.vector
    size = domain.generator.z_sem_size
    if tuple(vector.shape) != (size,):
        raise GCDError(
            f"The direction has the shape {tuple(vector.shape)}; {domain.name} has semantic codes "
            f"of {size} numbers, so find its directions in this domain."
        )
    if not bool(vector.isfinite().all()):
        raise GCDError("The direction holds something that is no number; find it again.")
    return vector.float()


def _positions(domain: Models, alphas: Tensor | None, n: int | None, both: bool) -> Tensor:
    """The positions to visit (n,), unsigned unless given or both ways."""
    if alphas is not None:
        alphas = torch.as_tensor(alphas, dtype=torch.float32).cpu()
        if alphas.ndim != 1 or not len(alphas) or not bool(alphas.isfinite().all()):
            raise GCDError("The alphas must be a list of one or more finite numbers.")
        return alphas
    if n is None:
        n = 2 * domain.walk_points - 1 if both else domain.walk_points
    if n < 2 or (both and n % 2 == 0):
        wanted = "an odd number from 3 on" if both else "2 or more"
        raise GCDError(f"A walk of {n} points is not possible; take {wanted}.")
    if both:
        half = torch.linspace(0, domain.alpha_max, n // 2 + 1)
        return torch.cat([-half[1:].flip(0), half])
    return torch.linspace(0, domain.alpha_max, n)
