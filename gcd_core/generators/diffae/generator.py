"""The Diffusion Autoencoder as a generator: images to codes and back, in batches."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.generators.base import Latent, NetworkGenerator, weights_identity
from gcd_core.generators.codec import VAE, decoding
from gcd_core.generators.device import choose_precision
from gcd_core.generators.diffae.model import DiffAEModel
from gcd_core.generators.diffae.solvers import DISTILLED, NoiseModel, ddim, find_solver
from gcd_core.generators.diffae.unet import checked_times, in_precision, suggested_batch
from gcd_core.generators.sampling import Distilled, Sampling, check_sampling, find_distilled
from gcd_core.generators.semantic_mean import SemanticMean
from gcd_core.generators.whitening import Whitening


class DiffAE(NetworkGenerator):
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

    sampling: Sampling

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
        latent_shape = (a.in_channels, a.image_size, a.image_size)
        if codec is not None and codec.latent_shape() != latent_shape:
            raise GCDError(
                f"The codec's latents are {codec.latent_shape()} but the DiffAE works on "
                f"{latent_shape}; make 'in_channels' and 'image_size' agree with 'codec'."
            )
        super().__init__(
            a.image_size if codec is None else codec.image_size,
            a.in_channels if codec is None else codec.channels,
            a.embed_channels if whitening is None else whitening.basis.shape[1],
            latent_shape,
            next(model.parameters()).device,
        )
        self.model = model.eval()
        self.codec = codec.eval() if codec is not None else None
        self.whitening, self.semantic_mean = whitening, semantic_mean
        self.sampling = sampling or Sampling()
        bounded = codec is None and semantic_mean is None
        self.clip_denoised = bounded if clip_denoised is None else clip_denoised
        self.precision = choose_precision(precision, self.device)
        self._unet = in_precision(model, self.precision, self._counter)
        self._decode = None if self.codec is None else decoding(self.codec, self.precision)
        self.distilled = distilled[1] if distilled is not None else None
        self.live_solver = DISTILLED if distilled is not None else None
        check_sampling(self.sampling, self.distilled)
        if distilled is not None:
            self._student = in_precision(distilled[0].eval(), self.precision, self._counter)

    @cached_property
    def identity(self) -> str:
        """16 hexadecimal digits of the SHA-256 of architecture and weights (codec included).

        It depends on no file format, and not on ``sampling``, device or precision.
        """
        config = self.model.architecture.to_config() | {"clip_denoised": self.clip_denoised}
        parts = self.model, self.codec, self.whitening, self.semantic_mean
        return weights_identity(config, *parts)

    def draw_noise(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw z_T (n, Cz, Hz, Wz) from N(0, I), on the CPU."""
        return torch.randn(n, *self.latent_shape, generator=generator)

    def invert(
        self, images: Tensor, z_sem: Tensor | None, solver: str | None, steps: int | None
    ) -> Latent:
        """As `NetworkGenerator.invert`: run the diffusion ODE from the images to ``z_T``."""
        solver = solver or self.sampling.solver
        if solver == DISTILLED:
            distilled = find_distilled(self.distilled, steps)
            solver, steps = distilled.solver, distilled.steps
        ode_encode = find_solver(solver).encode
        steps = self.sampling.encode_steps if steps is None else steps
        if z_sem is None:
            z_sem = self._in_batches(self.codes, (images,))

        def noise(images: Tensor, z_sem: Tensor) -> Tensor:
            x = self.fold(images) - self.mean(z_sem)
            return ode_encode(self.noise_model(z_sem), x, steps, self.clip_denoised)

        return Latent(z_sem, self._in_batches(noise, (images, z_sem)))

    def codes(self, images: Tensor) -> Tensor:
        """The semantic codes (N, D) of a batch of images."""
        raw = self.model.encoder(self.fold(images))
        return raw if self.whitening is None else self.whitening(raw)

    def drawing(self, solver: str | None, steps: int | None) -> Callable[[Tensor, Tensor], Tensor]:
        """What draws a batch of images from its ``z_sem`` and ``z_T``."""
        solve = self._decoder(solver or self.sampling.solver, steps)
        return lambda z_sem, z_T: self.unfold(solve(self.raw(z_sem), z_T) + self.mean(z_sem))

    def batch_size(self) -> int:
        """Images at a time: 32 on a CPU, on a GPU what its free memory suggests."""
        width = self.model.architecture.model_channels
        return suggested_batch(self.device, width, self.latent_shape[1])

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
        images = self._decode(x) if self._decode is not None else (x + 1) / 2
        return images.clamp(0, 1)
