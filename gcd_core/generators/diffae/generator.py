"""The Diffusion Autoencoder as a generator: images to codes and back, in batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.generators.base import (
    BatchProgress,
    EvaluationCounter,
    Latent,
    checked_images,
    checked_z_sem,
    checked_z_T,
    in_batches,
    weights_identity,
)
from gcd_core.generators.codec import VAE
from gcd_core.generators.device import choose_precision
from gcd_core.generators.diffae.model import DiffAEModel
from gcd_core.generators.diffae.solvers import DISTILLED, NoiseModel, ddim, find_solver
from gcd_core.generators.diffae.unet import checked_times, in_precision, suggested_batch
from gcd_core.generators.sampling import Distilled, Sampling, check_sampling, find_distilled
from gcd_core.generators.semantic_mean import SemanticMean
from gcd_core.generators.whitening import Whitening


class DiffAE:
    """Diffusion Autoencoder (Preechakul et al., CVPR 2022), with or without a codec under it.

    An image becomes z_sem, what its semantic encoder sees, and z_T, the noise at the end of the
    diffusion ODE run from the image under z_sem. Running it back gives the image. With a codec,
    "image" within this paragraph is the codec's latent; with a semantic mean, what the diffusion
    works on is the image less the mean of its code, which is added again in the end.

    Parameters
    ----------
    model
        The network, in float32, on the device to work on.
    codec
        ``None``, or what turns pictures into the latents that the DiffAE works on.
    sampling
        Solver and steps to use where the caller names none.
    clip_denoised
        Whether to keep every predicted x_0 in [-1, 1] while solving; by default with neither a
        codec nor a semantic mean only. Clipping keeps few steps stable but no clipped step can be
        undone exactly.
    whitening
        ``None``, or the coordinates in which z_sem is given and taken (with fewer numbers, as they
        may be, than the network's own).
    distilled
        ``None``, or a student U-Net (without an encoder) and what it stands in for: the decoder of
        the solver ``"distilled"``.
    semantic_mean
        ``None``, or what of an image its code says by itself.
    precision
        Of the U-Nets: ``"fp32"``, ``"bf16"``, or ``"auto"``, which is bf16 where the hardware
        multiplies it faster. Encoder, codec and solver stay in float32.

    Examples
    --------
    >>> generator = load_generator("config.json", "weights.safetensors")
    >>> latent = generator.encode(images, solver="dpm++2m", steps=10)
    >>> generator.decode(latent, solver="dpm++2m", steps=10)        # nearly the images
    """

    def __init__(
        self,
        model: DiffAEModel,
        codec: VAE | None = None,
        sampling: Sampling | None = None,
        clip_denoised: bool | None = None,
        precision: str = "auto",
        whitening: Whitening | None = None,
        distilled: tuple[DiffAEModel, Distilled] | None = None,
        semantic_mean: SemanticMean | None = None,
    ) -> None:
        a = model.architecture
        self.latent_shape = (a.in_channels, a.image_size, a.image_size)
        if codec is not None and codec.latent_shape() != self.latent_shape:
            raise GCDError(
                f"The codec's latents are {codec.latent_shape()} but the DiffAE works on "
                f"{self.latent_shape}; make 'in_channels' and 'image_size' agree with 'codec'."
            )
        self.model = model.eval()
        self.codec = codec.eval() if codec is not None else None
        self.whitening, self.semantic_mean = whitening, semantic_mean
        self.sampling = sampling or Sampling()
        bounded = codec is None and semantic_mean is None
        self.clip_denoised = bounded if clip_denoised is None else clip_denoised
        self.image_size = a.image_size if codec is None else codec.image_size
        self.channels = a.in_channels if codec is None else codec.channels
        self.z_sem_size = a.embed_channels if whitening is None else whitening.basis.shape[1]
        self.device = next(model.parameters()).device
        self.precision = choose_precision(precision, self.device)
        self._counter = EvaluationCounter()
        self._unet = in_precision(model, self.precision, self._counter)
        self.distilled = distilled[1] if distilled is not None else None
        check_sampling(self.sampling, self.distilled)
        if distilled is not None:
            self._student = in_precision(distilled[0].eval(), self.precision, self._counter)

    @property
    def evaluations(self) -> int:
        """Images times U-Net passes so far."""
        return self._counter.count

    @property
    def live_solver(self) -> str | None:
        """The distilled decoder's name where there is one."""
        return DISTILLED if self.distilled is not None else None

    @cached_property
    def identity(self) -> str:
        """16 hexadecimal digits of the SHA-256 of architecture and weights (codec included).

        It depends on no file format, and not on ``sampling``, device or precision.
        """
        config = self.model.architecture.to_config() | {"clip_denoised": self.clip_denoised}
        parts = self.model, self.codec, self.whitening, self.semantic_mean
        return weights_identity(config, *parts)

    @torch.no_grad()
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
        images
            (N, C, S, S), in [0, 1].
        solver
            ``"ddim"``, ``"dpm++2m"``, or ``"distilled"`` where there is a distilled decoder (which
            decodes what its teacher's solver encoded); default: the configuration's.
        steps
            Network evaluations an image, at least 1; default: the configuration's. With
            ``"distilled"``, those of its decoding.
        z_sem
            Semantic codes (N, D) to invert under; default: the images' own.

        Returns
        -------
        z_sem (N, D) and z_T (N, Cz, Hz, Wz). Decode it with the same solver and the same number
        of steps: another pair is not the inverse of this one.

        Raises
        ------
        GCDError
            For images of another shape, an unknown solver, or steps below 1 (of the distilled
            decoder, other than it takes).
        """
        solver = solver or self.sampling.solver
        if solver == DISTILLED:
            distilled = find_distilled(self.distilled, steps)
            solver, steps = distilled.solver, distilled.steps
        ode_encode = find_solver(solver).encode
        steps = self.sampling.encode_steps if steps is None else steps
        images = self._checked_images(images)
        if z_sem is None:
            z_sem = self.encode_semantic(images)
        z_sem = self._checked_z_sem(z_sem, len(images))

        def one_batch(images: Tensor, z_sem: Tensor) -> Tensor:
            x = self.fold(images) - self.mean(z_sem)
            return ode_encode(self.noise_model(z_sem), x, steps, self.clip_denoised)

        return Latent(z_sem, self._in_batches(one_batch, (images, z_sem)))

    @torch.no_grad()
    def encode_semantic(self, images: Tensor) -> Tensor:
        """Turn images (N, C, S, S) in [0, 1] into semantic codes (N, D)."""
        images = self._checked_images(images)
        raw = self._in_batches(lambda batch: self.model.encoder(self.fold(batch)), (images,))
        return raw if self.whitening is None else self.whitening(raw)

    @torch.no_grad()
    def decode(
        self,
        latent: Latent,
        solver: str | None = None,
        steps: int | None = None,
        batch_size: int | None = None,
        progress: BatchProgress | None = None,
    ) -> Tensor:
        """Turn latents into images.

        Parameters
        ----------
        latent
            Of N images.
        solver, steps
            As in :meth:`encode`, and the same as there to get those images back.
        batch_size
            Images at a time; by default 32 on a CPU, on a GPU what its free memory suggests. A
            batch too large for the GPU's memory is halved.
        progress
            Called as ``progress(done, total)`` after each batch.

        Returns
        -------
        Images (N, C, S, S), in [0, 1].
        """
        solve = self._decoder(solver or self.sampling.solver, steps)
        z_sem = self._checked_z_sem(latent.z_sem, len(latent))
        z_T = checked_z_T(latent.z_T, self.latent_shape).to(self.device)

        def one_batch(z_sem: Tensor, z_T: Tensor) -> Tensor:
            return self.unfold(solve(self.raw(z_sem), z_T) + self.mean(z_sem))

        return self._in_batches(one_batch, (z_sem, z_T), batch_size, progress)

    def _decoder(self, solver: str, steps: int | None) -> Callable[[Tensor, Tensor], Tensor]:
        """What carries z_T to x_0 (N, Cz, Hz, Wz) under raw codes: called with codes and z_T."""
        if solver == DISTILLED:
            times = find_distilled(self.distilled, steps).times
            return lambda z_sem, z_T: ddim(self._student.under(z_sem), z_T, times)
        decode = find_solver(solver).decode
        n = self.sampling.decode_steps if steps is None else steps
        return lambda z_sem, z_T: decode(self._unet.under(z_sem), z_T, n, self.clip_denoised)

    @torch.no_grad()
    def predict_noise(self, x_t: Tensor, t: Tensor | int, z_sem: Tensor) -> Tensor:
        """Predict the noise in ``x_t``: one network pass.

        Parameters
        ----------
        x_t
            (N, Cz, Hz, Wz), what the diffusion works on (with no codec: images in [-1, 1]; with a
            semantic mean: less that).
        t
            Time steps, (N,) or one for all, 0 to 999.
        z_sem
            Semantic codes (N, D), or (1, D) for all.

        Returns
        -------
        The noise, shaped like ``x_t``.
        """
        if x_t.shape[1:] != self.latent_shape:
            raise GCDError(f"x_t is {tuple(x_t.shape)}; expected (N, *{self.latent_shape}).")
        t = checked_times(t, len(x_t)).to(self.device)
        z_sem = self.raw(self._checked_z_sem(z_sem, len(x_t)))
        return self._unet(x_t.to(self.device, torch.float32), t, z_sem)

    def raw(self, z_sem: Tensor) -> Tensor:
        """Semantic codes (N, D) as the network knows them, (N, embed_channels)."""
        return z_sem if self.whitening is None else self.whitening.undo(z_sem)

    def mean(self, z_sem: Tensor) -> Tensor | float:
        """What semantic codes (N, D) say of their images by themselves, (N, Cz, Hz, Wz), or 0."""
        return 0.0 if self.semantic_mean is None else self.semantic_mean(self.raw(z_sem))

    def noise_model(self, z_sem: Tensor) -> NoiseModel:
        """The noise in x (N, Cz, Hz, Wz) at time t under codes (N, D), as the solvers ask for it.

        Of the full U-Net, not of a distilled one.
        """
        return self._unet.under(self.raw(z_sem))

    def fold(self, images: Tensor) -> Tensor:
        """Images (N, C, S, S) in [0, 1] to what codec and diffusion share, (N, Cz, Hz, Wz)."""
        return self.codec.encode(images) if self.codec is not None else images * 2 - 1

    def unfold(self, x: Tensor) -> Tensor:
        """What codec and diffusion share, (N, Cz, Hz, Wz), to images (N, C, S, S) in [0, 1]."""
        images = self.codec.decode(x) if self.codec is not None else (x + 1) / 2
        return images.clamp(0, 1)

    def _in_batches(
        self,
        function: Callable[..., Tensor],
        inputs: tuple[Tensor, ...],
        batch_size: int | None = None,
        progress: BatchProgress | None = None,
    ) -> Tensor:
        width = self.model.architecture.model_channels
        size = batch_size or suggested_batch(self.device, width, self.latent_shape[1])
        return in_batches(function, inputs, size, progress)

    def _checked_images(self, images: Tensor) -> Tensor:
        return checked_images(images, self.channels, self.image_size).to(self.device)

    def _checked_z_sem(self, z_sem: Tensor, n: int) -> Tensor:
        return checked_z_sem(z_sem, self.z_sem_size, n).to(self.device)
