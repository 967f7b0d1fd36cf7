"""A domain whose every answer has a closed form: a linear generator and a function of its code."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from gcd_core.classifiers.preprocessing import Preprocessing
from gcd_core.generators.base import Latent
from gcd_core.method.code_statistics import CodeStatistics
from gcd_core.method.counterfactual import MARGIN, SMALLEST
from gcd_core.method.settings import BALL, Settings


class LinearGenerator:
    """image = 1/2 + size_of_step * basis @ z_sem + z_T, the basis being orthonormal."""

    channels = 1
    sampling = distilled = live_solver = None
    device = torch.device("cpu")
    identity = "linear"

    def __init__(self, z_sem_size: int, image_size: int, size_of_step: float = 0.2) -> None:
        self.z_sem_size, self.image_size, self.evaluations = z_sem_size, image_size, 0
        generator = torch.Generator().manual_seed(0)
        square = torch.randn(image_size**2, z_sem_size, generator=generator)
        self.basis = size_of_step * torch.linalg.qr(square)[0]
        self.size_of_step = size_of_step

    def encode_semantic(self, images: Tensor) -> Tensor:
        return (images.flatten(1) - 0.5) @ self.basis / self.size_of_step**2

    def encode(self, images: Tensor, solver=None, steps=None, z_sem=None) -> Latent:
        self.evaluations += len(images)
        z_sem = self.encode_semantic(images) if z_sem is None else z_sem
        return Latent(z_sem, images - self.draw(z_sem))

    def draw_noise(self, n: int, generator: torch.Generator) -> Tensor:
        size = self.image_size
        return 0.01 * torch.randn(n, 1, size, size, generator=generator)

    def decode(
        self, latent: Latent, solver=None, steps=None, batch_size=None, progress=None
    ) -> Tensor:
        self.evaluations += len(latent)
        return self.draw(latent.z_sem) + latent.z_T

    def draw(self, z_sem: Tensor) -> Tensor:
        size = self.image_size
        return 0.5 + (z_sem @ self.basis.T).view(-1, 1, size, size)


class CodeClassifier:
    """Logits that are a given function of the semantic code: "a", and "b" that is always -1."""

    labels = ("a", "b")
    output = "sigmoid"
    identity = "code"
    cache_hits, budget, remote = 0, None, False

    def __init__(self, generator: LinearGenerator, logit: Callable[[Tensor], Tensor]) -> None:
        self.generator, self.function, self.queries = generator, logit, 0
        self.preprocessing = Preprocessing((generator.image_size,) * 2)
        self.fail_after = math.inf

    def __call__(self, images: Tensor) -> Tensor:
        if self.queries + len(images) > self.fail_after:
            raise ConnectionError("the classifier is away")
        self.queries += len(images)
        logit = self.function(self.generator.encode_semantic(images))
        return torch.stack([logit, torch.full_like(logit, -1)], 1)

    def index(self, label: str) -> int:
        return self.labels.index(label)

    def logit(self, logits: Tensor, label: str) -> Tensor:
        return logits[:, self.index(label)]

    def probability(self, logits: Tensor, label: str) -> Tensor:
        return self.logit(logits, label).sigmoid()


class RootMeanSquare:
    """In the place of LPIPS."""

    identity = "rms"

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).flatten(1).square().mean(1).sqrt()


class LinearDomain:
    """What the method needs of a domain, in closed form."""

    name = "linear"
    labels = ("a", "b")
    device = "cpu"
    oracle = None
    places: ClassVar = {}
    alpha_max = 3.0
    walk_points = 7
    counterfactual, margin, detail = SMALLEST, MARGIN, "decoded"
    search = Settings(
        radius=2.0,
        n_samples=64,
        n_h=2,
        solver="ddim",
        steps=5,
        antithetic=False,
        sampling=BALL,
    )
    statistics = None  # of codes; by default independent, of deviation 1

    def __init__(
        self, logit: Callable[[Tensor], Tensor], z_sem_size: int = 8, image_size: int = 8
    ) -> None:
        self.generator = LinearGenerator(z_sem_size, image_size)
        self.classifier = CodeClassifier(self.generator, logit)
        self.perceptual = RootMeanSquare()

    def code_statistics(self, label: str) -> CodeStatistics:
        return self.statistics or CodeStatistics.assumed(self.generator.z_sem_size, None)

    def example_images(self, most: int, label: str = "") -> list[Tensor]:
        return [self.image(seed) for seed in range(most)]

    def image(self, seed: int = 0) -> Tensor:
        """A source image (1, 1, S, S) whose code is small and whose z_T is not zero."""
        generator = torch.Generator().manual_seed(seed)
        z_sem = 0.3 * torch.randn(1, self.generator.z_sem_size, generator=generator)
        size = self.generator.image_size
        noise = 0.01 * torch.randn(1, 1, size, size, generator=generator)
        return (self.generator.draw(z_sem) + noise).clamp(0, 1)


class Flag:
    """A cancel that is set once it has been asked often enough."""

    def __init__(self, after: int) -> None:
        self.left = after

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def unit(size: int, seed: int = 0) -> Tensor:
    """A random vector (size,) of length 1."""
    vector = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    return vector / vector.norm()
