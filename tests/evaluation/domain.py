"""The linear domain of the tests as a `Domain`, with an oracle, and with steps that cost."""

from pathlib import Path

import torch
from torch import Tensor

from gcd_core.domains.file import Label
from gcd_core.domains.opening import Domain
from gcd_core.images.drawing import to_pil
from gcd_core.method.settings import Settings
from tests.fakes import CodeClassifier, LinearGenerator, RootMeanSquare, unit

CODE, SIZE = 8, 16
WAY = unit(CODE)  # what the classifier reads of the code


class SteppedGenerator(LinearGenerator):
    """Counts an evaluation for every step; decoding is off by 0.1 / steps^2, everywhere.

    The solver "quick" takes 2 steps.
    """

    steps = 5
    live_solver = "quick"

    def encode(self, images, solver=None, steps=None, z_sem=None):
        self.evaluations += ((steps or self.steps) - 1) * len(images)
        return super().encode(images, solver, steps, z_sem)

    def decode(self, latent, solver=None, steps=None, batch_size=None, progress=None):
        steps = 2 if solver == "quick" else steps or self.steps
        self.evaluations += steps * len(latent)
        return (self.draw(latent.z_sem) + latent.z_T + 0.1 / steps**2).clamp(0, 1)


def linear_domain(folder: Path = Path(), examples: int = 0) -> Domain:
    """A domain whose classifier reads WAY, and whose oracle a way 30 degrees off.

    `examples` images are written into the folder.
    """
    other = unit(CODE, 1) - (unit(CODE, 1) @ WAY) * WAY
    second = 0.75**0.5 * WAY + 0.5 * other / other.norm()
    generator = SteppedGenerator(CODE, SIZE)
    files = [folder / f"{seed:02d}.png" for seed in range(examples)]
    for seed, file in enumerate(files):
        to_pil(source_image(generator, seed)).save(file)
    return Domain(
        name="linear",
        title="Linear",
        description="For tests",
        folder=folder,
        generator=generator,
        classifier=CodeClassifier(generator, lambda z: 3 * z @ WAY),
        oracle=CodeClassifier(generator, lambda z: 3 * z @ second),
        perceptual=RootMeanSquare(),
        label_info={name: Label(name, name, "no", "yes") for name in ("a", "b")},
        examples=tuple(files),
        search=Settings(radius=2.0, n_samples=64, n_h=2, steps=5, sampling="ball"),
        alpha_max=3.0,
        walk_points=7,
        detail="decoded",
        device="cpu",
    )


def source_image(generator: LinearGenerator, seed: int) -> Tensor:
    """A source image (1, 1, S, S) whose code is small and whose z_T is not zero."""
    random = torch.Generator().manual_seed(seed)
    z_sem = 0.3 * torch.randn(1, CODE, generator=random)
    noise = 0.01 * torch.randn(1, 1, SIZE, SIZE, generator=random)
    return (generator.draw(z_sem) + noise).clamp(0, 1)
