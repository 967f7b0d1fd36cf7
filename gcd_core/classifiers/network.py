"""A PyTorch network as a black box, as the kinds that run here build it from a domain's table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gcd_core.classifiers.base import Classifier, Keys, check_batch_size, names_of
from gcd_core.classifiers.preprocessing import NUMBER_KEYS, PICTURE_KEYS, Preprocessing
from gcd_core.errors import GCDError
from gcd_core.traced import Traced

RUN_KEYS: Keys = PICTURE_KEYS | NUMBER_KEYS | {"batch_size": int}  # what a table may leave out
BATCH = 64  # images at once where the table and the model leave it open


class TorchClassifier(Classifier):
    """A PyTorch network as a black box.

    Parameters
    ----------
    network : nn.Module
        Maps preprocessed images to (N, L).
    labels, output, identity
        As for `Classifier`.
    size, channels, mean, std, **more
        As of `Preprocessing.from_table`.
    device : str or torch.device
        Where the network runs.
    batch_size : int
        Images per forward pass.
    channels_last : bool
        Whether the network is given images in that memory format, and runs as one program on a CPU
        (`Traced`): both are faster. One that reads its memory by `view`, or looks at the images'
        values to decide what to do, would fail: so only architectures known by name.
    """

    def __init__(
        self,
        network: nn.Module,
        labels: tuple[str, ...],
        output: str,
        identity: str,
        size: int | list[int],
        channels: int,
        mean: float | list[float] | None = None,
        std: float | list[float] | None = None,
        device: str | torch.device = "cpu",
        batch_size: int = BATCH,
        channels_last: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(labels, output, identity)
        check_batch_size(batch_size)
        table = {"size": size, "channels": channels, "mean": mean, "std": std} | more
        given = {key: value for key, value in table.items() if value is not None}
        self.preprocessing = Preprocessing.from_table(given)
        self.size, self.channels, self.batch_size = size, channels, batch_size
        self.device = torch.device(device)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.network = network.to(self.device).to(memory_format=self.memory_format).eval()
        self.network.requires_grad_(False)
        traced = channels_last and self.device.type == "cpu"
        self._run = Traced(self.network) if traced else self.network

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
            With all of `ANSWER_KEYS` and `SIZE_KEYS`, whether the operator gave them or the
            model's file; those of `RUN_KEYS` may be left out, others are not looked at.
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
            names_of(table["labels"]),
            table["output"],
            identity,
            device=device,
            channels_last=channels_last,
            **{key: table[key] for key in RUN_KEYS if key in table},
        )

    @torch.inference_mode()
    def answer(self, images: Tensor) -> Tensor:
        """Run the network over one batch."""
        return self._run(self._prepared(images))

    @torch.inference_mode()
    def layer_by_layer(self, images: Tensor) -> Tensor:
        """Answer by the network itself, so that hooks on its layers are called; not counted."""
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
        return self.preprocessing(images).contiguous(memory_format=self.memory_format)
