"""A PyTorch network as a black box, as the kinds that run here build it from a domain's table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gcd_core.classifiers.base import Classifier, Keys, check_batch_size, fit_images
from gcd_core.errors import GCDError

RUN_KEYS: Keys = {"mean": int | float | list, "std": int | float | list, "batch_size": int}
VIEW_KEYS = ("crop", "resample")  # what a checkpoint may say of itself
BATCH = 64  # images at once where the table and the model leave it open


class TorchClassifier(Classifier):
    """A PyTorch network as a black box.

    Parameters
    ----------
    network : nn.Module
        Maps normalised images (N, channels, size, size) to (N, L).
    labels, output, identity
        As for `Classifier`.
    size, channels : int
        What the network sees; images of another size are resized (bilinear, antialiased), grey
        ones repeated to RGB, colour ones reduced to their luminance.
    mean, std : float or sequence of float
        The network sees (image - mean) / std; one number, or one per channel.
    device : str or torch.device
        Where the network runs.
    batch_size : int
        Images per forward pass.
    crop : float
        The share of the image's side that the network sees, in the middle.
    resample : {"bilinear", "bicubic", "nearest-exact"}
        How images are resized.
    channels_last : bool
        Whether the network is given images in that memory format, which is faster. One that reads
        its memory by `view` fails then, so only architectures known by name are.
    """

    def __init__(
        self,
        network: nn.Module,
        labels: tuple[str, ...],
        output: str,
        identity: str,
        size: int,
        channels: int,
        mean: float | list[float] = 0.5,
        std: float | list[float] = 0.5,
        device: str | torch.device = "cpu",
        batch_size: int = BATCH,
        crop: float = 1.0,
        resample: str = "bilinear",
        channels_last: bool = False,
    ) -> None:
        super().__init__(labels, output, identity)
        self.device = torch.device(device)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(self.device).to(memory_format=self.memory_format).eval()
        self.network.requires_grad_(False)
        check_batch_size(batch_size)
        if size < 1 or channels not in (1, 3):
            raise GCDError(
                f"A classifier's size is 1 or more and its channels 1 or 3, not {size} and "
                f"{channels}."
            )
        self.size, self.channels, self.batch_size = size, channels, batch_size
        self.crop, self.resample = crop, resample
        self.mean = _per_channel("mean", mean, channels).to(self.device)
        self.std = _per_channel("std", std, channels).to(self.device)
        if (self.std <= 0).any():
            raise GCDError(f"A classifier's std is positive, not {std}.")

    @classmethod
    def from_table(
        cls,
        network: nn.Module,
        table: Mapping[str, Any],
        identity: str,
        device: str | torch.device,
        channels_last: bool = False,
    ) -> TorchClassifier:
        """Build the classifier that a table describes around its network.

        Parameters
        ----------
        network : nn.Module
        table : mapping
            With all of `ANSWER_KEYS` and `IMAGE_KEYS`, whether the operator gave them or the
            model's file; those of `RUN_KEYS` and `VIEW_KEYS` may be left out, others are not
            looked at.
        identity : str
            The `digest_of` what the operator gave: table and files.
        device : str or torch.device
        channels_last : bool
            As for the class.

        Raises
        ------
        GCDError
            If a value does not fit; as for the class.
        """
        return cls(
            network,
            tuple(table["labels"]),
            table["output"],
            identity,
            table["size"],
            table["channels"],
            device=device,
            channels_last=channels_last,
            **{key: table[key] for key in (*RUN_KEYS, *VIEW_KEYS) if key in table},
        )

    @torch.inference_mode()
    def answer(self, images: Tensor) -> Tensor:
        """Run the network over one batch."""
        return self.network(self._prepared(images))

    def differentiable(self, images: Tensor) -> Tensor:
        """Answer with logits through which a gradient flows back to the images; see `WhiteBox`."""
        with self._counted(len(images)):
            raw = self.in_rows(self.network(self._prepared(images)).float())
        if raw.grad_fn is None:
            raise GCDError(
                "This classifier lets no gradient through: its network computes outside of "
                "PyTorch, or forbids it. Take the black-box way (gcd)."
            )
        if raw.shape != (len(images), len(self.labels)):
            raise GCDError(f"The classifier answered {tuple(raw.shape)} to {len(images)} images.")
        logits = raw.clamp(1e-6, 1 - 1e-6).logit() if self.output == "probabilities" else raw
        return logits.to(images.device)

    def _prepared(self, images: Tensor) -> Tensor:
        """Colour, size and normalisation that the network was trained with."""
        images = images.to(self.device, torch.float32)
        images = fit_images(images, self.size, self.channels, self.crop, self.resample)
        return ((images - self.mean) / self.std).contiguous(memory_format=self.memory_format)


def _per_channel(name: str, value: float | list[float], channels: int) -> Tensor:
    """One number, or one per channel, as (1, channels or 1, 1, 1)."""
    values = torch.as_tensor(value, dtype=torch.float32).flatten()
    if len(values) not in (1, channels):
        raise GCDError(f"A classifier's {name} is one number or {channels}, not {value}.")
    return values.view(1, -1, 1, 1)
