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

from gcd_core.classifiers.base import ANSWER_KEYS, Keys, check_keys, digest_of, names_of
from gcd_core.classifiers.function import one_line
from gcd_core.classifiers.network import RUN_KEYS, TorchClassifier
from gcd_core.errors import GCDError

KEYS: Keys = {"model": str}
OPTIONAL_KEYS: Keys = {"revision": str} | ANSWER_KEYS | RUN_KEYS
DONE = {"resize", "center_crop", "rescale", "normalize", "convert_rgb", "flip_channel_order"}
RESAMPLE = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}  # of Pillow's numbers, what torch does
Sides = tuple[int, int]  # height and width
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
    output from its configuration, the preprocessing from its image processor. What else the
    processor does to an image is refused by name.
    """
    check_keys(table, KEYS, OPTIONAL_KEYS)
    try:
        from transformers import AutoImageProcessor, AutoModelForImageClassification
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
    try:
        found = AutoImageProcessor.from_pretrained(source, trust_remote_code=False, **revision)
        processor = found.to_dict()
    except Exception as error:  # of the network, the files or the library
        if not {"size", "mean", "std"} <= table.keys():
            raise GCDError(
                f"transformers finds no image processor for {table['model']!r}; set 'size', 'mean' "
                f"and 'std' in the classifier's table ({one_line(error)})."
            ) from error
    settings = _settings(model.config, processor, table) | table
    labels = names_of(settings["labels"])
    if len(labels) != model.config.num_labels:
        raise GCDError(
            f"{table['model']!r} has {model.config.num_labels} outputs; the table names "
            f"{len(labels)} labels."
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
    settings["output"] = _output(config)
    if processor:
        settings |= _view(processor, "size" in table)
    if "scale" not in table and not {"mean", "std"} <= table.keys():
        settings["mean"], settings["std"] = _mean_and_std(processor, settings["channels"])
    return settings


def _output(config: Any) -> str:
    """What the checkpoint answers: numbers of a regression, else logits."""
    if config.problem_type == "regression":
        return "numbers"
    several = config.problem_type == "multi_label_classification" or config.num_labels == 1
    return "sigmoid" if several else "softmax"


def _view(processor: Mapping[str, Any], sized: bool) -> dict[str, Any]:
    """How the processor brings an image to the model's size; only what differs from the usual.

    Raises
    ------
    GCDError
        If it does what is not done here; or if it states no size, and the table neither (`sized`).
    """
    for key, value in processor.items():
        if key.startswith("do_") and value and key[3:] not in DONE | {"reduce_labels"}:
            raise _not_done(key)
    if processor.get("size_divisor"):
        raise _not_done("size_divisor")
    view: dict[str, Any] = {}
    if not sized or processor.get("size"):
        view |= _size_and_crop(processor)
    if processor.get("do_resize", True):
        resample = RESAMPLE.get(processor.get("resample", 2))
        if resample is None:
            raise _not_done(f"resample = {processor['resample']} (Lanczos, box or Hamming)")
        if resample != "bilinear":
            view["resample"] = resample
    if processor.get("do_flip_channel_order"):
        view["channel_order"] = "bgr"
    return view


def _size_and_crop(processor: Mapping[str, Any]) -> dict[str, Any]:
    """The size that the model is shown, and which share of the picture's sides that is."""
    resized, size = _sizes(processor)
    shares = [kept / side for kept, side in zip(size, resized, strict=True)]
    if shares[0] != shares[1]:
        raise _not_done(f"a crop of {_by(size)} pixels from {_by(resized)}")
    crop = {} if shares[0] == 1 else {"crop": shares[0]}
    return {"size": size[0] if size[0] == size[1] else list(size), **crop}


def _not_done(what: str) -> GCDError:
    return GCDError(
        f"The checkpoint's image processor has {what}, which is not done here; use kind = "
        '"python" with a function that does it.'
    )


def _distinct(labels: Iterable[str]) -> list[str]:
    """The labels, those that occur twice (ImageNet's "crane") told apart by their number."""
    labels = [str(label) for label in labels]
    count = Counter(labels)
    return [f"{label} ({i})" if count[label] > 1 else label for i, label in enumerate(labels)]


def _sizes(processor: Mapping[str, Any]) -> tuple[Sides, Sides]:
    """Height and width to which the processor resizes an image, and of the middle that it keeps."""
    kind = str(processor.get("image_processor_type"))
    size = _sides(processor, "size")
    kept = _sides(processor, "crop_size") if processor.get("do_center_crop") else size
    share = processor.get("crop_pct")
    if kind.startswith("Perceiver"):  # crops to this share of the image, then resizes
        size, kept = kept, size
    elif kind.startswith("Levit"):
        size = _times(256 / 224, size)
    elif share and not (kind.startswith("ConvNext") and min(size) >= 384):
        size = _times(1 / share, size)
    if any(middle > side for middle, side in zip(kept, size, strict=True)):
        raise _not_done(f"a crop of {_by(kept)} pixels from {_by(size)}")
    if kept != size and not processor.get("do_resize", True):
        raise _not_done("a crop without do_resize")
    return size, kept


def _sides(processor: Mapping[str, Any], key: str) -> Sides:
    """Height and width that the processor states under a key."""
    size: Any = processor.get(key)
    if isinstance(size, Mapping):
        edge = size.get("shortest_edge")
        size = [edge or size.get(name) for name in ("height", "width")]
    elif not isinstance(size, list | tuple):
        size = [size, size]
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise GCDError(f"The checkpoint's image processor states no {key!r}; set it in the table.")
    return size[0], size[1]


def _times(factor: float, sides: Sides) -> Sides:
    return int(factor * sides[0]), int(factor * sides[1])


def _by(sides: Sides) -> str:
    return f"{sides[0]}x{sides[1]}"


def _mean_and_std(processor: Mapping[str, Any], channels: int) -> tuple[list[float], list[float]]:
    """The processor's arithmetic on 0 to 255, as the mean and std of an image in [0, 1]."""
    mean, std = [0.0] * channels, [1.0] * channels
    if processor.get("do_normalize"):
        given_mean, given_std = processor.get("image_mean"), processor.get("image_std")
        if given_mean is None or given_std is None:
            raise GCDError(
                "The checkpoint's image processor states no mean and std; set them in the table."
            )
        mean, std = _each(given_mean, channels), _each(given_std, channels)
        if processor.get("include_top"):  # EfficientNet's divides by it twice
            std = [value**2 for value in std]
    scale = 255 * processor.get("rescale_factor", 1 / 255) if processor.get("do_rescale") else 255
    shift = 1.0 if processor.get("rescale_offset") else 0.0
    return [(value + shift) / scale for value in mean], [value / scale for value in std]


def _each(value: Any, channels: int) -> list[float]:
    """A number for each channel."""
    return [float(value)] * channels if isinstance(value, int | float) else list(value)


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
