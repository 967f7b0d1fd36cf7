"""Perturbing a semantic code inside an n-ball, and what the models say of a perturbed image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.images.picture import Picture
from gcd_core.method.composition import Composition
from gcd_core.method.models import Models
from gcd_core.method.settings import check_radius


@dataclass(frozen=True)
class Answers:
    """What the classifier and LPIPS say of images, on the CPU.

    Attributes
    ----------
    images : Tensor (N, C, H, W)
        The images asked about, in [0, 1].
    logits : Tensor (N,)
        The label's log-odds.
    probabilities : Tensor (N, L)
        One column per label of the classifier.
    distances : Tensor (N,)
        LPIPS to the source image.
    decoded : Tensor (N, C, H, W) or None
        What the generator drew, where `images` are made of it; None where they are that.
    """

    images: Tensor
    logits: Tensor
    probabilities: Tensor
    distances: Tensor
    decoded: Tensor | None = None

    def __getitem__(self, chosen: Tensor | slice) -> Answers:
        """Return those of some images: their indices, a mask (N,), or a slice."""
        return Answers(
            self.images[chosen],
            self.logits[chosen],
            self.probabilities[chosen],
            self.distances[chosen],
            None if self.decoded is None else self.decoded[chosen],
        )

    def split(self) -> list[Answers]:
        """Return the answers about each image alone."""
        return [self[i : i + 1] for i in range(len(self.logits))]


def sample_ball(
    n: int, dim: int, radius: float, generator: torch.Generator, antithetic: bool = False
) -> Tensor:
    """Draw points uniformly from an n-ball around the origin (the paper's Algorithm 1).

    A Gaussian direction, at the distance ``radius * u ** (1 / dim)`` with u uniform in [0, 1].

    Parameters
    ----------
    n : int
        How many points.
    dim : int
        The size of the space, D.
    radius : float
        The radius of the ball.
    generator : torch.Generator
        Where the randomness comes from.
    antithetic : bool
        Whether each second point is the negative of the one before it, so that whatever is even
        around the centre cannot pull a gradient aside.

    Returns
    -------
    Tensor (n, dim)
        float32, on the generator's device.

    Raises
    ------
    GCDError
        If `n` or `dim` is below 1 or `radius` is not a positive number.
    """
    if n < 1 or dim < 1:
        raise GCDError(
            f"{n} points of {dim} dimensions cannot be drawn; ask for 1 of each or more."
        )
    check_radius(radius)
    if antithetic:
        half = sample_ball(math.ceil(n / 2), dim, radius, generator)
        return torch.stack([half, -half], dim=1).flatten(0, 1)[:n]
    direction = torch.randn(n, dim, generator=generator, device=generator.device)
    direction = direction / direction.norm(dim=1, keepdim=True)
    share = torch.rand(n, 1, generator=generator, device=generator.device)
    return radius * share ** (1 / dim) * direction


@torch.inference_mode()
def ask(
    domain: Models, images: Tensor, source: Tensor, label: str, asked: Tensor | None = None
) -> Answers:
    """Ask the classifier about images, and LPIPS how far they are from the source.

    Parameters
    ----------
    domain : Models
    images : Tensor (N, C, H, W)
        In [0, 1].
    source : Tensor (1, C, H, W)
        The image that distances are measured to.
    label : str
        Whose log-odds are wanted.
    asked : Tensor (N, C, h, w), optional
        The same images as the classifier is shown them, where that is at another size.
    """
    classifier = domain.classifier
    logits = classifier(images if asked is None else asked)
    each = [classifier.probability(logits, name) for name in classifier.labels]
    return Answers(
        images.float().cpu(),
        classifier.logit(logits, label).float().cpu(),
        torch.stack(each, dim=1).float().cpu(),
        domain.perceptual(images, source.to(images.device)).float().cpu(),
    )


@torch.inference_mode()
def ask_about(domain: Models, decoded: Tensor, composition: Composition, label: str) -> Answers:
    """Ask about what is shown of decoded images (N, C, S, S), as a composition makes it of them.

    The one place where what the generator draws is put into its source: a search, a walk and all
    that is measured along it see what this sees.
    """
    images = composition.shown(decoded)
    at_another_size = composition.source_for(domain.classifier) is not composition.source
    asked = composition.asked(decoded, domain.classifier) if at_another_size else None
    answers = ask(domain, images, composition.source, label, asked)
    return answers if images is decoded else replace(answers, decoded=decoded.float().cpu())


def default_batch_size(domain: Models) -> int:
    """Images to decode at a time: few on a CPU, where a batch is how long a cancel may take."""
    return 16 if torch.device(domain.device).type == "cpu" else 64


def check_label(domain: Models, label: str) -> None:
    """Refuse a label that the domain does not explain, naming those that it does."""
    if label not in domain.labels:
        raise GCDError(
            f"{domain.name} has no label {label!r}; choose one of {list(domain.labels)}."
        )


def check_source(domain: Models, image: Tensor | Picture) -> None:
    """Refuse what is neither one image as the domain sees it nor a picture of this domain."""
    if not isinstance(image, Picture):
        check_image(domain, image)
        return
    check_image(domain, image.view)
    pixels, channels = image.pixels, domain.generator.channels
    if pixels.ndim != 4 or tuple(pixels.shape[:2]) != (1, channels):
        raise GCDError(
            f"{domain.name} expects a picture (1, {channels}, H, W), not {tuple(pixels.shape)}; "
            "open it with domain.load_picture."
        )


def check_image(domain: Models, image: Tensor) -> None:
    """Refuse anything but one image as the domain sees it, (1, C, S, S) in [0, 1]."""
    size, channels = domain.generator.image_size, domain.generator.channels
    wanted = (1, channels, size, size)
    if not isinstance(image, Tensor) or tuple(image.shape) != wanted:
        found = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise GCDError(
            f"{domain.name} expects one image {wanted}, not {found}; open it with "
            "domain.load_image."
        )
    if not image.is_floating_point() or not bool(((image >= 0) & (image <= 1)).all()):
        raise GCDError("The image has values outside [0, 1]; open it with domain.load_image.")
