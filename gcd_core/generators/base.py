"""What every generator offers, and the latent that it turns images into and back."""

from __future__ import annotations

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from gcd_core.errors import GCDError
from gcd_core.generators.sampling import Distilled, Sampling

BatchProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class Latent:
    """The two codes of a batch of images.

    Attributes
    ----------
    z_sem
        Semantic codes (N, D): what the picture shows.
    z_T
        Noise codes (N, Cz, Hz, Wz): everything else. ``z_T`` belongs to the solver and the number
        of steps that made it; decode it with the same.
    """

    z_sem: Tensor
    z_T: Tensor

    def __post_init__(self) -> None:
        if self.z_sem.ndim != 2 or self.z_T.ndim != 4 or len(self.z_sem) != len(self.z_T):
            raise GCDError(
                f"A latent of z_sem {tuple(self.z_sem.shape)} and z_T {tuple(self.z_T.shape)} was "
                "given; expected (N, D) and (N, C, H, W) with the same N."
            )

    def __len__(self) -> int:
        return len(self.z_sem)

    def __getitem__(self, index: int | slice | Tensor) -> Latent:
        """Select images; the result is always a batch, also for a single index."""
        if isinstance(index, int):
            index = range(len(self))[index]
            index = slice(index, index + 1)
        return Latent(self.z_sem[index], self.z_T[index])

    def to(self, device: torch.device | str) -> Latent:
        """Return the same latent on another device."""
        return Latent(self.z_sem.to(device), self.z_T.to(device))

    def repeat(self, n: int) -> Latent:
        """Return a batch of ``n`` copies of this latent of one image."""
        if len(self) != 1:
            raise GCDError(f"A latent of {len(self)} images was to be repeated; give one image.")
        return Latent(self.z_sem.expand(n, -1), self.z_T.expand(n, -1, -1, -1))

    def with_z_sem(self, z_sem: Tensor) -> Latent:
        """Return a latent with other semantic codes (M, D) and this one's noise codes.

        A single image's noise code serves all M.
        """
        z_T = self.z_T.expand(len(z_sem), -1, -1, -1) if len(self) == 1 else self.z_T
        return Latent(z_sem, z_T)


class Generator(Protocol):
    """An image generator with a semantic code.

    Every error that a caller can mend is a `GCDError`. Tensors may come from any device; codes and
    images are returned on the generator's own.
    """

    @property
    def image_size(self) -> int:
        """S, the side of its pictures in pixels."""

    @property
    def channels(self) -> int:
        """C, 1 (grey) or 3 (RGB)."""

    @property
    def z_sem_size(self) -> int:
        """D, the numbers of a semantic code."""

    @property
    def device(self) -> torch.device:
        """Where it works."""

    @property
    def identity(self) -> str:
        """A short hash of configuration and weights: codes of another one mean nothing here."""

    @property
    def evaluations(self) -> int:
        """Images times network passes so far; it only grows."""

    @property
    def sampling(self) -> Sampling | None:
        """Solver and steps where a caller names none; None where there are no steps to take."""

    @property
    def distilled(self) -> Distilled | None:
        """What its decoder of few steps stands in for, where it has one."""

    @property
    def live_solver(self) -> str | None:
        """The solver to decode with while somebody waits; None where there is no faster one."""

    def draw_noise(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw noise codes (n, Cz, Hz, Wz) as images have them, on the CPU."""

    def encode(
        self,
        images: Tensor,
        solver: str | None = None,
        steps: int | None = None,
        z_sem: Tensor | None = None,
    ) -> Latent:
        """Turn images into latents.

        Parameters
        ----------
        images : Tensor (N, C, S, S)
            In [0, 1].
        solver : str, optional
            "ddim", "dpm++2m", or "distilled" where there is a distilled decoder (which decodes what
            its teacher's solver encoded); by default the configuration's.
        steps : int, optional
            Network evaluations an image, at least 1; by default the configuration's. With
            "distilled", those of its decoding.
        z_sem : Tensor (N, D), optional
            Semantic codes to invert under; by default the images' own.

        Returns
        -------
        Latent
            Decode it with the same solver and the same number of steps: another pair is not the
            inverse of this one.

        Raises
        ------
        GCDError
            For images or codes of another shape, an unknown solver, steps below 1 (of the distilled
            decoder, other than it takes), or where there is no encoder.
        """

    def encode_semantic(self, images: Tensor) -> Tensor:
        """Turn images (N, C, S, S) in [0, 1] into semantic codes (N, D)."""

    def decode(
        self,
        latent: Latent,
        solver: str | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        progress: BatchProgress | None = None,
    ) -> Tensor:
        """Turn latents of N images into images (N, C, S, S) in [0, 1], float32.

        Solver and steps are to be those of the encoding. By default so many are decoded at a time
        as suits the network, and of a DiffAE on a GPU as its free memory suggests; a batch too
        large for the GPU's memory is halved. `progress(done, total)` is called after each. Raises
        as `encode`.
        """


class EvaluationCounter:
    """Images times network passes so far; threads may share it."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = threading.Lock()

    def add(self, images: int) -> None:
        """Count one pass of so many images."""
        with self._lock:
            self.count += images


class NetworkGenerator(ABC):
    """What the generators of this package share: `Generator` on top of one's own networks.

    It checks what is given, moves it to the device, works in batches and counts evaluations. A
    generator adds `identity`, `invert`, `codes` and `drawing`. One without a diffusion takes
    `solver` and `steps`, so that settings may be shared with a DiffAE, and leaves them unused.

    Parameters
    ----------
    image_size, channels, z_sem_size, device
        As of `Generator`.
    latent_shape : (int, int, int)
        (Cz, Hz, Wz), of one image's ``z_T``.
    """

    BATCH = 16
    sampling: Sampling | None = None
    distilled: Distilled | None = None
    live_solver: str | None = None

    def __init__(
        self,
        image_size: int,
        channels: int,
        z_sem_size: int,
        latent_shape: tuple[int, int, int],
        device: torch.device,
    ) -> None:
        self.image_size, self.channels, self.z_sem_size = image_size, channels, z_sem_size
        self.latent_shape, self.device = latent_shape, device
        self._counter = EvaluationCounter()

    @property
    def evaluations(self) -> int:
        """Images times network passes so far."""
        return self._counter.count

    def draw_noise(self, n: int, generator: torch.Generator) -> Tensor:
        """Zeros: what such a generator keeps beside z_sem belongs to one image."""
        return torch.zeros(n, *self.latent_shape)

    @abstractmethod
    def invert(
        self, images: Tensor, z_sem: Tensor | None, solver: str | None, steps: int | None
    ) -> Latent:
        """The latents of checked images, under codes (N, D) that are given or else their own."""

    @abstractmethod
    def codes(self, images: Tensor) -> Tensor:
        """The semantic codes (N, D) of a batch of images."""

    @abstractmethod
    def drawing(self, solver: str | None, steps: int | None) -> Callable[[Tensor, Tensor], Tensor]:
        """What draws a batch of images (N, C, S, S) from its ``z_sem`` and ``z_T``."""

    def batch_size(self) -> int:
        """Images at a time, where a caller names no number."""
        return self.BATCH

    @torch.no_grad()
    def encode(
        self,
        images: Tensor,
        solver: str | None = None,
        steps: int | None = None,
        z_sem: Tensor | None = None,
    ) -> Latent:
        """Turn images into latents, as `Generator.encode`."""
        images = self._checked_images(images)
        if z_sem is not None:
            z_sem = self._checked_z_sem(z_sem, len(images))
        return self.invert(images, z_sem, solver, steps)

    @torch.no_grad()
    def encode_semantic(self, images: Tensor) -> Tensor:
        """Turn images (N, C, S, S) in [0, 1] into semantic codes (N, D); raises as `encode`."""
        return self._in_batches(self.codes, (self._checked_images(images),))

    @torch.no_grad()
    def decode(
        self,
        latent: Latent,
        solver: str | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        progress: BatchProgress | None = None,
    ) -> Tensor:
        """Turn latents into images, as `Generator.decode`."""
        draw = self.drawing(solver, steps)
        z_sem = self._checked_z_sem(latent.z_sem, len(latent))
        z_T = checked_z_T(latent.z_T, self.latent_shape).to(self.device)
        return self._in_batches(draw, (z_sem, z_T), batch_size, progress)

    def _in_batches(
        self,
        function: Callable[..., Tensor],
        inputs: tuple[Tensor, ...],
        batch_size: int | None = None,
        progress: BatchProgress | None = None,
    ) -> Tensor:
        return in_batches(function, inputs, batch_size or self.batch_size(), progress)

    def _checked_images(self, images: Tensor) -> Tensor:
        return checked_images(images, self.channels, self.image_size).to(self.device)

    def _checked_z_sem(self, z_sem: Tensor, n: int) -> Tensor:
        return checked_z_sem(z_sem, self.z_sem_size, n).to(self.device)


def weights_identity(configuration: Mapping, *modules: nn.Module | None) -> str:
    """16 hexadecimal digits of the SHA-256 of a configuration (JSON's types) and modules' weights.

    It depends on no file format, device or precision of computing.
    """
    digest = hashlib.sha256(json.dumps(configuration, sort_keys=True).encode())
    for module in modules:
        for name, tensor in module.state_dict().items() if module is not None else ():
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]


def in_batches(
    function: Callable[..., Tensor],
    inputs: tuple[Tensor, ...],
    size: int,
    progress: BatchProgress | None = None,
) -> Tensor:
    """Apply ``function`` to the inputs, ``size`` rows of each at a time, and join what it gives.

    A batch too large for the GPU's memory is halved, and so are those that follow.

    Raises
    ------
    GCDError
        If the memory is too small for a single row.
    """
    total, done = len(inputs[0]), 0
    outputs: list[Tensor] = []
    while done < total:
        try:
            outputs.append(function(*(tensor[done : done + size] for tensor in inputs)))
        except torch.OutOfMemoryError:
            if size == 1:
                raise GCDError(
                    "The GPU's memory is too small for one image; free some, or use the CPU."
                ) from None
            size = size // 2
            torch.cuda.empty_cache()
            continue
        done = min(done + size, total)
        if progress is not None:
            progress(done, total)
    return torch.cat(outputs)


def checked_images(images: Tensor, channels: int, size: int) -> Tensor:
    """Return the images (N, C, S, S) as float32; refuse another shape, or integers."""
    expected = (channels, size, size)
    if images.ndim != 4 or images.shape[1:] != expected or not len(images):
        raise GCDError(
            f"Images of shape {tuple(images.shape)} were given; this generator takes "
            f"(N, {', '.join(map(str, expected))}): load them through the domain."
        )
    if not images.is_floating_point():
        raise GCDError(f"Images of type {images.dtype} were given; expected floats in [0, 1].")
    return images.float()


def checked_z_sem(z_sem: Tensor, size: int, n: int) -> Tensor:
    """Return semantic codes as float32 (n, D); refuse another shape than that or (1, D)."""
    if z_sem.ndim != 2 or z_sem.shape[1] != size or len(z_sem) not in (1, n) or n < 1:
        raise GCDError(
            f"z_sem of shape {tuple(z_sem.shape)} was given for {n} images; expected ({n}, {size})."
        )
    return z_sem.float().expand(n, -1)


def checked_z_T(z_T: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return noise codes (N, *shape) as float32; refuse another shape."""
    if z_T.shape[1:] != shape:
        raise GCDError(
            f"z_T is {tuple(z_T.shape)}; this generator's is (N, {', '.join(map(str, shape))}): "
            "use a latent that it made itself."
        )
    return z_T.float()


def read_config(config: str | Path | Mapping, of: str = "generator") -> Mapping:
    """Return a network's configuration, read from its JSON file unless it is a mapping."""
    if isinstance(config, Mapping):
        return config
    path = Path(config)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise GCDError(f"The {of}'s configuration {path} cannot be read; check the name.") from None
    except ValueError:
        raise GCDError(f"{path.name} is not JSON; give the {of}'s configuration.") from None
    if not isinstance(content, dict):
        raise GCDError(f"{path.name} holds no table; expected a JSON object of architecture keys.")
    return content
