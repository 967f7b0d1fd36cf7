"""Architectures of published classifiers by name, and what their authors say about using them."""

import contextlib
import difflib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torchvision
from torch import Tensor, nn

from gcd_core.classifiers.architectures import ARCHITECTURES, build_network, densenet
from gcd_core.classifiers.function import one_line
from gcd_core.errors import GCDError

DENSENETS = {  # growth rate, layers per block, width of the stem
    "densenet121": (32, (6, 12, 24, 16), 64),
    "densenet169": (32, (6, 12, 32, 32), 64),
    "densenet201": (32, (6, 12, 48, 32), 64),
    "densenet264": (32, (6, 12, 64, 48), 64),
}
# How others name what torchvision's DenseNet (and so ours) calls features.* and classifier.*
DENSENET_NAMES = (
    (r"^feat_extract\.(?:feat_extract\.)?(?:features\.)?", "features."),  # DiVE, STEEX
    (r"(denselayer\d+)\.layers\.", r"\1."),  # MONAI
    (r"^class_layers\.out\.", "classifier."),  # MONAI
    (r"(denselayer\d+\.(?:norm|conv))\.(\d)\.", r"\1\2."),  # torchvision before 0.2
)
CELEBA = [
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
]
CHEXPERT = [
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
]
XRV = "torchxrayvision-"
XRV_LABELS = [
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
]
HALF = {"output": "sigmoid", "channels": 3, "mean": 0.5, "std": 0.5}
XRV_IMAGES = {  # [0, 1] becomes [-1024, 1024], the library's range
    "output": "sigmoid",
    "size": 224,
    "channels": 1,
    "mean": 0.5,
    "std": 1 / 2048,
}


@dataclass(frozen=True)
class PublishedArchitecture:
    """A network, and what is known of it before a table says more.

    Attributes
    ----------
    build : callable
        (channels, outputs, options) to the network with random weights.
    defaults : dict
        Keys that the classifier's table need not give.
    names : tuple of (pattern, replacement)
        Regular expressions from others' names of the parameters to the network's own.
    download : callable or None
        Fetches the weights where the table names no file.
    """

    build: Callable[[int, int, dict[str, Any]], nn.Module]
    defaults: dict[str, Any] = field(default_factory=dict)
    names: tuple[tuple[str, str], ...] = ()
    download: Callable[[], dict[str, Tensor]] | None = None


def architecture(name: str) -> PublishedArchitecture:
    """What is known of an architecture.

    Parameters
    ----------
    name : str
        - "densenet", "resnet": this project's own, with `options`.
        - "torchvision-NAME": a classifier of torchvision, as in "torchvision-densenet121".
        - "monai-densenet121", "...169", "...201", "...264": MONAI's DenseNets of 2-D images.
        - "celeba-densenet121", "celebahq-densenet121", "chexpert-densenet264": those that the paper
          explains, with their labels, sizes and normalisation.
        - "torchxrayvision-densenet121": of that library's form, with the weights in a file;
          "torchxrayvision-densenet121-res224-all" and so on: the library's own, which it downloads
          where the table names no file.

    Raises
    ------
    GCDError
        If there is none of that name, or torchxrayvision is not installed and its labels are asked.
    """
    if name in ARCHITECTURES:
        return PublishedArchitecture(partial(build_network, name))
    if name in PAPER:
        return PAPER[name]
    library, _, model = name.partition("-")
    if library == "torchvision":
        return _of_torchvision(model)
    if library == "monai" and model in DENSENETS:
        return PublishedArchitecture(partial(_densenet, model), names=DENSENET_NAMES)
    if library == "torchxrayvision":
        return _of_torchxrayvision(model)
    known = [*ARCHITECTURES, *PAPER, "torchvision-NAME", *(f"monai-{name}" for name in DENSENETS)]
    raise GCDError(
        f"There is no classifier architecture {name!r}; choose from "
        f"{sorted([*known, XRV + 'NAME'])}."
    )


def _densenet(name: str, channels: int, outputs: int, options: dict[str, Any]) -> nn.Module:
    if options:
        raise GCDError(f"The architecture {name!r} has no option {next(iter(options))!r}.")
    growth_rate, block_config, width = DENSENETS[name]
    return densenet(channels, outputs, growth_rate, block_config, width, bn_size=4)


def _of_torchvision(name: str) -> PublishedArchitecture:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        close = difflib.get_close_matches(name, known) or known[:3]
        raise GCDError(f"torchvision has no classifier {name!r}; close to it: {', '.join(close)}.")

    def build(channels: int, outputs: int, options: dict[str, Any]) -> nn.Module:
        if channels != 3:
            raise GCDError(
                f"torchvision's {name} sees 3 channels, not {channels}; set channels = 3 (grey "
                "images are repeated)."
            )
        try:
            return torchvision.models.get_model(
                name, **{"weights": None, "num_classes": outputs} | options
            )
        except (TypeError, ValueError) as error:
            raise GCDError(f"torchvision's {name} refuses these options: {error}.") from error

    names = DENSENET_NAMES if name.startswith("densenet") else ()
    return PublishedArchitecture(build, names=names)


def _of_torchxrayvision(name: str) -> PublishedArchitecture:
    build = partial(_densenet, "densenet121")
    if name == "densenet121":
        return PublishedArchitecture(build, XRV_IMAGES | {"labels": XRV_LABELS}, DENSENET_NAMES)
    try:
        from torchxrayvision.models import DenseNet, model_urls
    except ImportError as error:
        raise GCDError(
            f"The architecture {XRV + name!r} needs torchxrayvision ({error}): pip install "
            f"torchxrayvision; or keep the weights in a file and name {XRV}densenet121."
        ) from error
    known = [key for key in model_urls if key.startswith("densenet")]
    if name not in known:
        raise GCDError(
            f"torchxrayvision has no DenseNet {name!r}; choose from "
            f"{[XRV + key for key in ('densenet121', *known)]}."
        )

    def download() -> dict[str, Tensor]:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                return DenseNet(weights=name).state_dict()
        except Exception as error:  # of the network, the disk or the library
            raise GCDError(
                f"torchxrayvision could not load its {name} ({one_line(error)}); put the file "
                f"{model_urls[name]['weights_url']} into ~/.torchxrayvision/models_data by hand, "
                "or name a state dict as 'weights'."
            ) from error

    labels = list(model_urls[name]["labels"])
    return PublishedArchitecture(build, XRV_IMAGES | {"labels": labels}, DENSENET_NAMES, download)


PAPER = {
    "celeba-densenet121": PublishedArchitecture(
        partial(_densenet, "densenet121"), HALF | {"labels": CELEBA, "size": 128}, DENSENET_NAMES
    ),
    "celebahq-densenet121": PublishedArchitecture(
        partial(_densenet, "densenet121"),
        HALF | {"labels": ["Male", "Smile", "Young"], "size": 256},
        DENSENET_NAMES,
    ),
    "chexpert-densenet264": PublishedArchitecture(
        partial(_densenet, "densenet264"), HALF | {"labels": CHEXPERT, "size": 224}, DENSENET_NAMES
    ),
}
