"""The Diffusion Autoencoder as a generator: images to codes and back, in batches."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from gcd_core.errors import GCDError
from gcd_core.generators.base import (
    BatchProgress,
    Latent,
    checked_images,
    checked_z_sem,
    checked_z_T,
    in_batches,
    read_config,
    weights_identity,
)
from gcd_core.generators.device import choose_device, choose_precision
from gcd_core.generators.diffae.model import Architecture, DiffAEModel
from gcd_core.generators.diffae.solvers import (
    DISTILLED,
    SOLVERS,
    T,
    ddim,
    find_solver,
)
from gcd_core.generators.sampling import Distilled, Sampling
from gcd_core.generators.weights import load_strictly, read_weights
from gcd_core.generators.whitening import Whitening

CPU_BATCH = 32
MAX_GPU_BATCH = 256


class DiffAE:
    """Diffusion Autoencoder (Preechakul et al., CVPR 2022), with or without a codec under it.

    An image becomes z_sem, what its semantic encoder sees, and z_T, the noise at the end of the
    diffusion ODE run from the image under z_sem. Running it back gives the image. With a codec,
    "image" within this paragraph is the codec's latent.

    Parameters
    ----------
    model
        The network, in float32, on the device to work on.
    codec
        ``None``, or a module with ``encode``, ``decode``, ``latent_shape``, ``image_size`` and
        ``channels``, such as :class:`gcd_core.generators.codec.VAE`.
    sampling
        Solver and steps to use where the caller names none.
    clip_denoised
        Whether to keep every predicted x_0 in [-1, 1] while solving; by default without a codec
        only. Clipping keeps few steps stable but no clipped step can be undone exactly.
    whitening
        ``None``, or the coordinates in which z_sem is given and taken (with fewer numbers, as they
        may be, than the network's own).
    distilled
        ``None``, or a student U-Net (without an encoder) and what it stands in for: the decoder of
        the solver ``"distilled"``.
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
        codec: nn.Module | None = None,
        sampling: Sampling | None = None,
        clip_denoised: bool | None = None,
        precision: str = "auto",
        whitening: Whitening | None = None,
        distilled: tuple[nn.Module, Distilled] | None = None,
    ) -> None:
        architecture = model.architecture
        self.latent_shape = (architecture.in_channels,) + 2 * (architecture.image_size,)
        if codec is not None and tuple(codec.latent_shape()) != self.latent_shape:
            raise GCDError(
                f"The codec's latents are {tuple(codec.latent_shape())} but the DiffAE works on "
                f"{self.latent_shape}; make 'in_channels' and 'image_size' agree with 'codec'."
            )
        self.model = model.eval()
        self.codec = codec.eval() if codec is not None else None
        self.whitening = whitening
        self.sampling = sampling or Sampling()
        self.clip_denoised = codec is None if clip_denoised is None else clip_denoised
        self.image_size = codec.image_size if codec is not None else architecture.image_size
        self.channels = codec.channels if codec is not None else architecture.in_channels
        self.z_sem_size = (
            architecture.embed_channels if whitening is None else whitening.basis.shape[1]
        )
        self.device = next(model.parameters()).device
        self.precision = choose_precision(precision, self.device)
        self._unet = model.to(memory_format=torch.channels_last)
        if self.precision == "bf16":
            self._unet = copy.deepcopy(model).to(torch.bfloat16)
            del self._unet.encoder
        self._student, self.distilled = distilled if distilled is not None else (None, None)
        if self.sampling.solver == DISTILLED and self.distilled is None:
            raise GCDError(
                "The configuration's 'sampling' names the solver 'distilled', but there is no "
                f"distilled decoder; choose one of {', '.join(SOLVERS)}."
            )
        if self._student is not None:
            dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
            self._student = self._student.eval().to(dtype, memory_format=torch.channels_last)
        self._evaluations = 0
        self._counter = threading.Lock()

    @classmethod
    def from_files(
        cls,
        config: str | Path | Mapping,
        weights: str | Path,
        device: str | torch.device = "auto",
        precision: str = "auto",
    ) -> DiffAE:
        """Build from a configuration and a weights file; see :func:`load_generator`."""
        config = dict(read_config(config))
        codec_config = config.pop("codec", None)
        sampling = Sampling.from_config(config.pop("sampling", {}))
        clip_denoised = config.pop("clip_denoised", None)
        whiten = config.pop("whiten_z_sem", False)
        distilled = config.pop("distilled", None)
        distilled = Distilled.from_config(distilled) if distilled is not None else None
        architecture = Architecture.from_config(config)
        state, codec_state, whitening_state, distilled_state = read_weights(weights)
        with torch.device("meta"):
            model = DiffAEModel(architecture)
        load_strictly(model, state, "DiffAE")
        codec = None
        if codec_config is not None:
            from gcd_core.generators.codec import VAE

            codec = VAE.from_config(codec_config)
            load_strictly(codec, codec_state, "codec")
        elif codec_state:
            raise GCDError(
                f"{Path(weights).name} holds a codec's weights (codec.*) but the configuration "
                "describes none; add its 'codec' table."
            )
        if bool(whiten) != bool(whitening_state):
            held = "holds" if whitening_state else "lacks"
            raise GCDError(
                f"{Path(weights).name} {held} a whitening of z_sem (whitening.*) but the "
                f"configuration's 'whiten_z_sem' is {whiten!r}; make them agree."
            )
        whitening = None
        if whiten:
            kept = whitening_state["basis"].shape[-1] if "basis" in whitening_state else 1
            whitening = Whitening(architecture.embed_channels, kept)
            load_strictly(whitening, whitening_state, "whitening")
        if (distilled is None) != (not distilled_state):
            held = "holds" if distilled_state else "lacks"
            raise GCDError(
                f"{Path(weights).name} {held} a distilled decoder (distilled.*) but the "
                f"configuration's 'distilled' is {'absent' if distilled is None else 'there'}; "
                "make them agree."
            )
        device = choose_device(device)
        student = None
        if distilled is not None:
            with torch.device("meta"):
                student = DiffAEModel(architecture)
            del student.encoder
            load_strictly(student, distilled_state, "distilled decoder")
            student = student.to(device).requires_grad_(False)
        whitening = whitening.to(device) if whitening is not None else None
        model = model.to(device).requires_grad_(False)
        codec = codec.to(device).requires_grad_(False) if codec is not None else None
        quick = (student, distilled) if distilled is not None else None
        return cls(model, codec, sampling, clip_denoised, precision, whitening, quick)

    @property
    def evaluations(self) -> int:
        """Images times U-Net passes so far."""
        return self._evaluations

    @property
    def live_solver(self) -> str | None:
        """The distilled decoder's name where there is one."""
        return DISTILLED if self.distilled is not None else None

    @cached_property
    def identity(self) -> str:
        """16 hexadecimal digits of the SHA-256 of architecture and weights (codec included).

        It depends on no file format, and not on ``sampling``, device or precision.
        """
        facts = self.model.architecture.to_config() | {"clip_denoised": self.clip_denoised}
        return weights_identity(facts, self.model, self.codec, self.whitening)

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
            quick = self._checked_distilled(steps)
            solver, steps = quick.solver, quick.steps
        ode_encode = find_solver(solver).encode
        steps = self.sampling.encode_steps if steps is None else steps
        images = self._checked_images(images)
        if z_sem is None:
            z_sem = self.encode_semantic(images)
        z_sem = self._checked_z_sem(z_sem, len(images))

        def one_batch(images: Tensor, z_sem: Tensor) -> Tensor:
            x = self.fold(images)
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
        solver = solver or self.sampling.solver
        quick = self._checked_distilled(steps) if solver == DISTILLED else None
        ode_decode = find_solver(solver).decode if quick is None else None
        steps = self.sampling.decode_steps if steps is None else steps
        z_sem = self._checked_z_sem(latent.z_sem, len(latent))
        z_T = checked_z_T(latent.z_T, self.latent_shape).to(self.device)

        def one_batch(z_sem: Tensor, z_T: Tensor) -> Tensor:
            if quick is not None:
                return self.unfold(ddim(self.noise_model(z_sem, self._student), z_T, quick.times))
            x = ode_decode(self.noise_model(z_sem), z_T, steps, self.clip_denoised)
            return self.unfold(x)

        return self._in_batches(one_batch, (z_sem, z_T), batch_size, progress)

    @torch.no_grad()
    def predict_noise(self, x_t: Tensor, t: Tensor | int, z_sem: Tensor) -> Tensor:
        """Predict the noise in ``x_t``: one network pass.

        Parameters
        ----------
        x_t
            (N, Cz, Hz, Wz), what the diffusion works on (with no codec: images in [-1, 1]).
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
        t = torch.as_tensor(t, device=self.device).expand(len(x_t))
        if t.is_floating_point() or (len(t) and not 0 <= int(t.min()) <= int(t.max()) < T):
            raise GCDError(f"Times {t.tolist()[:3]} were given; expected integers 0 to {T - 1}.")
        x_t = x_t.to(self.device, torch.float32)
        return self._predict(x_t, t, self.raw(self._checked_z_sem(z_sem, len(x_t))))

    def _predict(
        self, x_t: Tensor, t: Tensor, z_sem: Tensor, unet: nn.Module | None = None
    ) -> Tensor:
        with self._counter:
            self._evaluations += len(x_t)
        dtype = torch.bfloat16 if self.precision == "bf16" else torch.float32
        return (unet or self._unet)(x_t.to(dtype), t, z_sem.to(dtype)).float()

    def _checked_distilled(self, steps: int | None) -> Distilled:
        """The distilled decoder's description; refused where there is none, or for other steps."""
        if self.distilled is None:
            raise GCDError(
                f"This generator has no distilled decoder; choose one of {', '.join(SOLVERS)}, or "
                "make one with `train distilled`."
            )
        n = len(self.distilled.times)
        if steps not in (None, n):
            raise GCDError(
                f"The distilled decoder takes {n} steps, not {steps!r}; leave them out, or choose "
                "another solver."
            )
        return self.distilled

    def raw(self, z_sem: Tensor) -> Tensor:
        """Semantic codes (N, D) as the network knows them, (N, embed_channels)."""
        return z_sem if self.whitening is None else self.whitening.undo(z_sem)

    def noise_model(
        self, z_sem: Tensor, unet: nn.Module | None = None
    ) -> Callable[[Tensor, int], Tensor]:
        """The noise in x (N, Cz, Hz, Wz) at time t under codes (N, D), as the solvers ask for it.

        ``unet`` predicts it in the place of the model's own.
        """
        z_sem = self.raw(z_sem)

        def noise(x: Tensor, t: int) -> Tensor:
            return self._predict(x, torch.full((len(x),), t, device=self.device), z_sem, unet)

        return noise

    def fold(self, images: Tensor) -> Tensor:
        """Images (N, C, S, S) in [0, 1] to what the diffusion works on, (N, Cz, Hz, Wz)."""
        return self.codec.encode(images) if self.codec is not None else images * 2 - 1

    def unfold(self, x: Tensor) -> Tensor:
        """What the diffusion works on, (N, Cz, Hz, Wz), to images (N, C, S, S) in [0, 1]."""
        images = self.codec.decode(x) if self.codec is not None else (x + 1) / 2
        return images.clamp(0, 1)

    def _in_batches(
        self,
        function: Callable[..., Tensor],
        inputs: tuple[Tensor, ...],
        batch_size: int | None = None,
        progress: BatchProgress | None = None,
    ) -> Tensor:
        return in_batches(function, inputs, batch_size or self._batch_size(), progress)

    def _batch_size(self) -> int:
        if self.device.type != "cuda":
            return CPU_BATCH
        free, _ = torch.cuda.mem_get_info(self.device)
        # The feature maps that wait for the U-Net's second half, and its widest layers' own.
        one_image = 64 * 4 * self.model.architecture.model_channels * self.latent_shape[1] ** 2
        return min(max(free // one_image, 1), MAX_GPU_BATCH)

    def _checked_images(self, images: Tensor) -> Tensor:
        return checked_images(images, self.channels, self.image_size).to(self.device)

    def _checked_z_sem(self, z_sem: Tensor, n: int) -> Tensor:
        return checked_z_sem(z_sem, self.z_sem_size, n).to(self.device)
