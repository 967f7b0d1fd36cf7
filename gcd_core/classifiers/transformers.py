"""Kind "transformers": an image-classification checkpoint of the transformers library.

Only safetensors are read, and no code that a repository may hold is run.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gcd_core.classifiers.base import ANSWER_KEYS, IMAGE_KEYS, Keys, check_keys, digest_of
from gcd_core.classifiers.function import one_line
from gcd_core.classifiers.network import RUN_KEYS, TorchClassifier
from gcd_core.errors import GCDError

KEYS: Keys = {"model": str}
OPTIONAL_KEYS: Keys = {"revision": str} | ANSWER_KEYS | IMAGE_KEYS | RUN_KEYS
SAFE = {"use_safetensors": True, "trust_remote_code": False, "dtype": torch.float32}


class Logits(nn.Module):
    """A transformers model as a network that answers with its logits alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, L) of normalised images (N, C, H, W)."""
        return self.model(pixel_values=x).logits


def load(table: dict[str, Any], folder: Path, device: str | torch.device) -> TorchClassifier:
    """Load the checkpoint that the table's `model` names; see `load_classifier`.

    `model` is a folder within the domain's or a repository of the Hugging Face hub, of which
    `revision` may name one state. What the table leaves out is the checkpoint's own: labels and
    output from its configuration, size, mean and std from its image processor's. The whole image
    is resized (bilinear) to the size that the model sees; the processor's crop and interpolation
    are not imitated.
    """
    check_keys(table, KEYS, OPTIONAL_KEYS)
    try:
        from transformers import AutoModelForImageClassification, ImageProcessingMixin
    except ImportError as error:
        raise GCDError(
            f'A classifier of kind "transformers" needs that library ({error}): pip install '
            "transformers."
        ) from error
    inside = folder / table["model"]
    source = inside if inside.is_dir() else table["model"]
    revision = {"revision": table["revision"]} if "revision" in table else {}
    try:
        model, found = AutoModelForImageClassification.from_pretrained(
            source, **SAFE, **revision, output_loading_info=True
        )
    except Exception as error:  # of the network, the files or the library
        raise GCDError(
            f"transformers cannot load the image classifier {table['model']!r}: {one_line(error)}"
        ) from error
    absent = sorted(found["missing_keys"]) + sorted(str(key) for key in found["mismatched_keys"])
    if absent:
        raise GCDError(
            f"{table['model']!r} is no trained image classifier: its weights lack {absent[0]}"
            f"{f' and {len(absent) - 1} more' if len(absent) > 1 else ''}."
        )
    processor: dict[str, Any] = {}
    if not {"size", "mean", "std"} <= table.keys():
        try:
            processor, _ = ImageProcessingMixin.get_image_processor_dict(source, **revision)
        except OSError as error:
            raise GCDError(
                f"{table['model']!r} has no preprocessor_config.json; set 'size', 'mean' and 'std' "
                "in the classifier's table."
            ) from error
    settings = _settings(model.config, processor, table) | table
    if len(settings["labels"]) != model.config.num_labels:
        raise GCDError(
            f"{table['model']!r} has {model.config.num_labels} outputs; the table names "
            f"{len(settings['labels'])} labels."
        )
    identity = digest_of(settings, _architecture(model.config), *_bytes(model.state_dict()))
    return TorchClassifier.from_table(Logits(model), settings, identity, device)


def _settings(
    config: Any, processor: Mapping[str, Any], table: Mapping[str, Any]
) -> dict[str, Any]:
    """What the checkpoint itself says of its labels and images, where the table does not."""
    settings: dict[str, Any] = {"channels": getattr(config, "num_channels", 3)}
    if "labels" not in table:
        settings["labels"] = _distinct(config.id2label[i] for i in range(config.num_labels))
    several = config.problem_type == "multi_label_classification" or config.num_labels == 1
    settings["output"] = "sigmoid" if several else "softmax"
    if "size" not in table:
        settings["size"] = _size(processor)
    if not {"mean", "std"} <= table.keys():
        settings["mean"], settings["std"] = _mean_and_std(processor, settings["channels"])
    return settings


def _distinct(labels: Iterable[str]) -> list[str]:
    """The labels, those that occur twice (ImageNet's "crane") told apart by their number."""
    labels = [str(label) for label in labels]
    count = Counter(labels)
    return [f"{label} ({i})" if count[label] > 1 else label for i, label in enumerate(labels)]


def _size(processor: Mapping[str, Any]) -> int:
    """Return the side of the image that the processor gives to the model."""
    size = processor.get("crop_size") if processor.get("do_center_crop") else None
    size = processor.get("size") if size is None else size
    if isinstance(size, Mapping):
        size = size.get("shortest_edge", size.get("height"))
    if not isinstance(size, int):
        raise GCDError("The checkpoint's image processor states no 'size'; set it in the table.")
    return size


def _mean_and_std(processor: Mapping[str, Any], channels: int) -> tuple[list[float], list[float]]:
    """The processor's arithmetic on 0 to 255, as the mean and std of an image in [0, 1]."""
    mean, std = [0.0] * channels, [1.0] * channels
    if processor.get("do_normalize", True):
        given_mean, given_std = processor.get("image_mean"), processor.get("image_std")
        if not isinstance(given_mean, list) or not isinstance(given_std, list):
            raise GCDError(
                "The checkpoint's image processor states no mean and std; set them in the table."
            )
        mean, std = given_mean, given_std
        if processor.get("include_top"):  # EfficientNet's divides by it twice
            std = [value**2 for value in std]
    scale = (
        255 * processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale", True) else 255
    )
    shift = 1.0 if processor.get("rescale_offset") else 0.0
    return [(value + shift) / scale for value in mean], [value / scale for value in std]


def _architecture(config: Any) -> bytes:
    """Return the part of the configuration that describes the network."""
    table = config.to_dict()
    for key in ("_name_or_path", "transformers_version"):
        table.pop(key, None)
    return json.dumps(table, sort_keys=True, default=str).encode()


def _bytes(state: Mapping[str, Tensor]) -> Iterable[bytes]:
    """Names and values of a state dict, in order."""
    for name, value in sorted(state.items()):
        yield name.encode()
        yield value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
