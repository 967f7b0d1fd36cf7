"""The BlackBox protocol, what every classifier shares, and where a domain's classifier comes from.

A kind of classifier is one file with a function `load(table, folder, device)`, named in `KINDS`.
"""

import hashlib
import importlib
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from types import UnionType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.errors import GCDError

KINDS = {"safetensors": "gcd_core.classifiers.network"}
OUTPUTS = ("sigmoid", "softmax", "probabilities")
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's "L"


class BlackBox(Protocol):
    """What the method may know of a classifier.

    Attributes
    ----------
    labels : tuple of str
        What the columns of the logits stand for.
    output : {"sigmoid", "softmax", "probabilities"}
        How logits become probabilities; the classifier of the last kind gave probabilities only.
    identity : str
        Changes when the weights or the settings do.
    queries : int
        Images asked so far.
    """

    labels: tuple[str, ...]
    output: str
    identity: str
    queries: int

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, L), float32, of images (N, C, H, W) in [0, 1]."""

    def index(self, label: str) -> int:
        """The column of `label`."""

    def logit(self, logits: Tensor, label: str) -> Tensor:
        """The log-odds (N,) of `label`."""

    def probability(self, logits: Tensor, label: str) -> Tensor:
        """The probability (N,) of `label`."""


class Classifier(ABC):
    """What every kind of classifier shares; a kind adds `answer`.

    Parameters
    ----------
    labels : sequence of str
        One name per column of the answer.
    output : {"sigmoid", "softmax", "probabilities"}
        What the answer is: logits of independent labels, logits of classes that exclude each
        other, or probabilities (of either sort).
    identity : str
        Changes when the weights or the settings do.

    Raises
    ------
    GCDError
        If a label is repeated or missing, or `output` is not one of the three.
    """

    def __init__(self, labels: tuple[str, ...], output: str, identity: str) -> None:
        if not labels or len(set(labels)) != len(labels):
            raise GCDError(f"A classifier needs labels, each once, not {list(labels)}.")
        if not all(isinstance(label, str) for label in labels):
            raise GCDError(f"A classifier's labels are names, not {list(labels)}.")
        if output not in OUTPUTS:
            raise GCDError(f"A classifier's output is one of {OUTPUTS}, not {output!r}.")
        if output == "softmax" and len(labels) < 2:
            raise GCDError(f"A softmax needs two labels at least, not {list(labels)}.")
        self.labels = tuple(labels)
        self.output = output
        self.identity = identity
        self.queries = 0
        self._lock = threading.Lock()

    @abstractmethod
    def answer(self, images: Tensor) -> Tensor:
        """The raw output (N, L) for images (N, C, H, W) in [0, 1]."""

    def __call__(self, images: Tensor) -> Tensor:
        """Ask the classifier.

        Parameters
        ----------
        images : Tensor (N, C, H, W)
            In [0, 1].

        Returns
        -------
        Tensor (N, L)
            Logits, float32, on the device of `images`. Where the classifier gives probabilities,
            their log-odds, the probabilities clamped to [1e-6, 1 - 1e-6].

        Raises
        ------
        GCDError
            If the shape of the images or of the answer is not as above, or an answer is no number.
        """
        if images.ndim != 4:
            raise GCDError(f"A classifier expects images (N, C, H, W), not {tuple(images.shape)}.")
        raw = self.answer(images).float().to(images.device)
        with self._lock:
            self.queries += len(images)
        if raw.shape != (len(images), len(self.labels)):
            raise GCDError(
                f"The classifier answered {tuple(raw.shape)} to {len(images)} images; its "
                f"{len(self.labels)} labels ask for {(len(images), len(self.labels))}."
            )
        if not raw.isfinite().all():
            raise GCDError("The classifier answered something that is no number (NaN or infinite).")
        return raw.clamp(1e-6, 1 - 1e-6).logit() if self.output == "probabilities" else raw

    def index(self, label: str) -> int:
        """The column of `label`; a GCDError names the labels there are."""
        if label not in self.labels:
            raise GCDError(f"The classifier has no label {label!r}; it has {list(self.labels)}.")
        return self.labels.index(label)

    def logit(self, logits: Tensor, label: str) -> Tensor:
        """The log-odds (N,) of `label`: its column, or z_l - logsumexp(the others) of a softmax."""
        column = self.index(label)
        own = logits[..., column]
        if self.output != "softmax":
            return own
        others = torch.cat([logits[..., :column], logits[..., column + 1 :]], dim=-1)
        return own - others.logsumexp(-1)

    def probability(self, logits: Tensor, label: str) -> Tensor:
        """The probability (N,) of `label`, in [0, 1]: the sigmoid of its log-odds."""
        return self.logit(logits, label).sigmoid()


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
        batch_size: int = 64,
    ) -> None:
        super().__init__(labels, output, identity)
        self.device = torch.device(device)
        self.network = network.to(self.device, memory_format=torch.channels_last).eval()
        self.network.requires_grad_(False)
        self.size, self.channels, self.batch_size = size, channels, batch_size
        self.mean = _per_channel("mean", mean, channels).to(self.device)
        self.std = _per_channel("std", std, channels).to(self.device)
        if (self.std <= 0).any():
            raise GCDError(f"A classifier's std is positive, not {std}.")

    @torch.inference_mode()
    def answer(self, images: Tensor) -> Tensor:
        """Run the network over the images, a batch at a time."""
        answers = [self.network(self._prepared(batch)) for batch in images.split(self.batch_size)]
        return torch.cat(answers)

    def _prepared(self, images: Tensor) -> Tensor:
        """Colour, size and normalisation that the network was trained with."""
        images = images.to(self.device, torch.float32)
        if images.shape[1] == 3 and self.channels == 1:
            images = (images * images.new_tensor(LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
        elif images.shape[1] == 1 and self.channels == 3:
            images = images.expand(-1, 3, -1, -1)
        elif images.shape[1] != self.channels:
            raise GCDError(
                f"The classifier sees {self.channels} channels; the image has {images.shape[1]}."
            )
        if images.shape[-2:] != (self.size, self.size):
            images = F.interpolate(
                images, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )
        images = (images - self.mean) / self.std
        return images.contiguous(memory_format=torch.channels_last)


def load_classifier(
    table: dict[str, Any], folder: str | Path, device: str | torch.device = "cpu"
) -> BlackBox:
    """Build the classifier that a domain describes.

    Parameters
    ----------
    table : dict
        The `[classifier]` (or `[oracle]`) table of a domain.toml; its `kind` decides the rest.
    folder : str or Path
        The domain's folder, where the files that the table names lie.
    device : str or torch.device
        Where it runs.

    Raises
    ------
    GCDError
        If a key is missing or unknown (the message names it), or a file does not fit.
    """
    kind = table.get("kind")
    if kind not in KINDS:
        raise GCDError(f"The classifier's kind is one of {sorted(KINDS)}, not {kind!r}.")
    return importlib.import_module(KINDS[kind]).load(table, Path(folder), device)


def check_keys(
    table: dict[str, Any],
    required: dict[str, type | UnionType],
    optional: dict[str, type | UnionType],
) -> None:
    """Refuse a table with a key missing, unknown or of the wrong type, naming the key."""
    known = {"kind": str} | required | optional
    for key in required:
        if key not in table:
            raise GCDError(f"The classifier's table lacks the key {key!r}; add it.")
    for key, value in table.items():
        if key not in known:
            raise GCDError(f"The classifier's table has no key {key!r}; it knows {sorted(known)}.")
        if not isinstance(value, known[key]) or isinstance(value, bool):
            name = getattr(known[key], "__name__", str(known[key]))
            raise GCDError(f"The classifier's key {key!r} must be {name}, not {value!r}.")


def identify(*parts: bytes) -> str:
    """A short name of these bytes: the first 16 hexadecimal digits of their SHA-256."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


def _per_channel(name: str, value: float | list[float], channels: int) -> Tensor:
    """One number, or one per channel, as (1, channels or 1, 1, 1)."""
    values = torch.as_tensor(value, dtype=torch.float32).flatten()
    if len(values) not in (1, channels):
        raise GCDError(f"A classifier's {name} is one number or {channels}, not {value}.")
    return values.view(1, -1, 1, 1)
