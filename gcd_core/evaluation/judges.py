"""The networks for the paper's figures (FID, S3, FVA, ...), read from an operator's files.

None of them comes with this project. What there is no file of is left out, or, for FID, sFID and
S3, made with the domain's oracle, and named so.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.classifiers.onnx import open_network
from gcd_core.classifiers.published import CELEBA
from gcd_core.errors import GCDError
from gcd_core.evaluation.faces import attributes_changed, correlation_difference, same_face
from gcd_core.evaluation.features import Features
from gcd_core.generators.weights import load_strictly
from gcd_core.hub import SCHEME, HubPath, fetch, sha256_of
from gcd_core.pickles import read_array_pickle, read_pickle

BATCH = 16
INCEPTION_SHA256 = "6726825d"  # how the SHA-256 of torch-fidelity's file begins: its name says so
SIDE = 224  # of the pictures that the networks of faces see
VGGFACE2_MEAN = (91.4953, 103.8827, 131.0912)  # blue, green, red, of 255
WHERE = {
    "inception": "FID, sFID: pt_inception-2015-12-05-6726825d.pth, from the releases of "
    "github.com/toshas/torch-fidelity",
    "simsiam": "S3: checkpoint_0099.pth.tar of ResNet-50, from github.com/facebookresearch/simsiam",
    "vggface2": "FVA, FS: resnet50_ft_weight.pkl, from github.com/cydonia999/VGGFace2-pytorch",
    "attributes": "MNAC, CD: the oracle of CelebA or CelebA-HQ, from "
    "github.com/guillaumejs2403/ACE",
}
# Caffe's names of a ResNet-50's layers, in the official oracles, to torchvision's.
CAFFE = (
    (r"^conv1_7x7_s2_bn\.", "bn1."),
    (r"^conv1_7x7_s2\.", "conv1."),
    (r"^conv(\d)_(\d)_1x1_reduce(_bn)?\.", r"\1.\2.1\3."),
    (r"^conv(\d)_(\d)_3x3(_bn)?\.", r"\1.\2.2\3."),
    (r"^conv(\d)_(\d)_1x1_increase(_bn)?\.", r"\1.\2.3\3."),
    (r"^conv(\d)_(\d)_1x1_proj(_bn)?\.", r"\1.\2.p\3."),
)


@dataclass(frozen=True)
class Judges:
    """What the figures are made with; None leaves those out that need it."""

    fidelity: Features | None = None  # of FID and sFID
    likeness: Features | None = None  # of S3
    faces: Features | None = None  # of FVA and FS
    # Of an FS by another network than the paper's, which carries its name: FS(face-api).
    recognition: Features | None = None
    # Images (N, 3, S, S) in [0, 1] to probabilities (N, 40) of CelebA's attributes; of MNAC.
    attributes: Callable[[Tensor], Tensor] | None = None
    # (40, 40): of the attributes over the annotated images; of CD, with `attributes`.
    correlations: Tensor | None = None

    def with_stand_in(self, features: Features) -> Judges:
        """The same, with features that stand in where those of FID, sFID or S3 are missing."""
        return replace(self, fidelity=self.fidelity or features, likeness=self.likeness or features)

    def of_faces(self, sources: Tensor, made: Tensor, label: str) -> dict[str, Any]:
        """FVA, FS, MNAC and CD, as far as there are networks for them, and FS(face-api).

        Parameters
        ----------
        sources, made : Tensor (N, 3, S, S)
            Images and their counterfactuals, in [0, 1].
        label : str
            The label that was flipped; of CD where it is one of CelebA's attributes.
        """
        figures: dict[str, Any] = {}
        if self.faces is not None:
            real, other = self.faces.of(sources), self.faces.of(made)
            figures["FVA"], figures["FS"] = same_face(real, other)
        if self.recognition is not None:
            real, other = self.recognition.of(sources), self.recognition.of(made)
            figures[f"FS({self.recognition.name})"] = same_face(real, other)[1]
        if self.attributes is not None:
            before, after = self.attributes(sources), self.attributes(made)
            figures["MNAC"] = attributes_changed(before, after)
            query = attribute_of(label)
            if self.correlations is not None and query is not None:
                row = self.correlations[query]
                figures["CD"] = correlation_difference(before, after, query, row)
        return figures


def attribute_of(label: str) -> int | None:
    """The place of a label among CelebA's attributes; "Smile" is "Smiling" there."""
    name = {"Smile": "Smiling"}.get(label, label)
    return CELEBA.index(name) if name in CELEBA else None


def found_file(source: str) -> Path:
    """A file of this machine or of the hub, with the hash that it must have.

    Raises a GCDError if there is no such file, or its hash is another.

    Parameters
    ----------
    source : str
        A path or "hf://OWNER/REPOSITORY[@REVISION]/PATH", with "#SHA256" behind it where the
        content is to be proved: the whole hash, or its first 8 digits at least.
    """
    place, _, wanted = source.partition("#")
    path = fetch(HubPath.parse(place)) if place.startswith(SCHEME) else Path(place)
    if not path.is_file():
        raise GCDError(f"There is no file {place}; check the name.")
    if wanted:
        if not re.fullmatch("[0-9a-f]{8,64}", wanted.lower()):
            raise GCDError(f"{wanted!r} is no SHA-256; give 8 to 64 hexadecimal digits behind '#'.")
        found = sha256_of(path)
        if not found.startswith(wanted.lower()):
            raise GCDError(f"{path.name} has the SHA-256 {found}, not {wanted}; fetch it again.")
    return path


def inception(source: str) -> Features:
    """The Inception of FID, by torch-fidelity, with its pooled features of 2,048 numbers.

    Raises a GCDError if torch-fidelity is not installed, or the file is not its own.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise GCDError("Inception needs torch-fidelity: pip install torch-fidelity.") from None
    path = found_file(source if "#" in source else f"{source}#{INCEPTION_SHA256}")
    state = _tensors(read_pickle(path), path)
    with tempfile.TemporaryDirectory() as folder:  # the library's own reader would run pickles
        plain = Path(folder) / "inception.pth"
        torch.save(state, plain)
        try:
            network = FeatureExtractorInceptionV3(
                "inception", ["2048"], feature_extractor_weights_path=str(plain)
            )
        except RuntimeError:
            raise GCDError(f"{path.name} holds no Inception of torch-fidelity's.") from None
    return Features("inception", _batched(lambda images: network((255 * images).round().byte())[0]))


def simsiam(source: str) -> Features:
    """SimSiam's ResNet-50 with its projection (Chen & He, CVPR 2021), from the official file.

    Raises a GCDError if the file is another.
    """
    path = found_file(source)
    state = _tensors(read_pickle(path).get("state_dict", {}), path)
    encoder = {
        name.removeprefix("module.").removeprefix("encoder."): value
        for name, value in state.items()
        if ".encoder." in f".{name}"
    }
    network = torchvision.models.resnet50(weights=None)
    wide = network.fc.in_features
    size = next((len(v) for n, v in encoder.items() if n == "fc.6.weight"), wide)
    network.fc = nn.Sequential(
        nn.Linear(wide, wide, bias=False),
        nn.BatchNorm1d(wide),
        nn.ReLU(inplace=True),
        nn.Linear(wide, wide, bias=False),
        nn.BatchNorm1d(wide),
        nn.ReLU(inplace=True),
        nn.Linear(wide, size),
        nn.BatchNorm1d(size, affine=False),
    )
    _load(network, encoder, "SimSiam")
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    return Features("simsiam", _batched(lambda images: network((images - mean) / std)))


def vggface2(source: str) -> Features:
    """VGGFace2's ResNet-50 (Cao et al., 2018): the pooled features of a face, (N, 2048).

    Raises a GCDError if the file is another.
    """
    path = found_file(source)
    state = _tensors(read_array_pickle(path), path)
    network = _resnet50()
    _load(network, {n: v for n, v in state.items() if not n.startswith("fc.")}, "VGGFace2")
    mean = torch.tensor(VGGFACE2_MEAN)[:, None, None]

    def of(images: Tensor) -> Tensor:
        images = F.interpolate(images, size=(SIDE, SIDE), mode="bilinear", antialias=True)
        return network(255 * images.flip(1) - mean)

    return Features("vggface2", _batched(of))


def face_api(path: Path, device: str = "cpu") -> Features:
    """The recognition network of @vladmandic/face-api: a face's descriptor, (N, 128).

    As `tools/face_api/networks` has it: portraits (N, 3, S, S) in [0, 1] whose face fills the
    middle 75 % of the frame; pictures of another size are resized to S. Raises a GCDError if the
    file is no network of such pictures, or ONNX Runtime is missing.
    """
    network, shape = open_network(path, device)
    side = shape[-1] if len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3] else None
    if side is None:
        raise GCDError(
            f"{path.name} takes {shape}, not pictures (N, 3, S, S); name the recognition.onnx of "
            "tools/face_api/networks."
        )

    def of(images: Tensor) -> Tensor:
        return network(F.interpolate(images, (side, side), mode="bilinear", antialias=True))

    return Features("face-api", _batched(of))


def celeba_oracle(source: str) -> Callable[[Tensor], Tensor]:
    """The oracle of CelebA's 40 attributes, or that of CelebA-HQ, from the official files.

    Raises a GCDError if the file is neither.
    """
    path = found_file(source)
    content = read_pickle(path)
    if "model_state_dict" in content:
        state = _tensors(content["model_state_dict"], path)
        parts = [
            {n.removeprefix(f"{p}."): v for n, v in state.items() if n.startswith(f"{p}.")}
            for p in ("feat_extract", "classifier")
        ]
        centred = False
    else:
        parts = [_tensors(content.get(p), path) for p in ("feat_extract", "classifier")]
        centred = True
    trunk, head = parts
    weight = head.get("weight")
    if weight is None or weight.ndim != 2 or len(weight) != len(CELEBA):
        raise GCDError(f"{path.name} is no oracle of CelebA's {len(CELEBA)} attributes.")
    network = _resnet50()
    narrow = trunk.pop("feat_extract.weight", None)
    if centred != (narrow is not None):
        raise GCDError(f"{path.name} is no oracle of CelebA: its layers have other names.")
    _load(network, {_of_caffe(name): value for name, value in trunk.items()}, "CelebA's oracle")
    last = nn.Linear(weight.shape[1], len(weight))
    _load(last, head, "CelebA's oracle")
    mean = torch.tensor(VGGFACE2_MEAN).flip(0)[:, None, None] / 255

    def of(images: Tensor) -> Tensor:
        images = images.flip(1) - mean if centred else 2 * images - 1
        images = F.interpolate(images, size=(SIDE, SIDE), mode="bicubic", align_corners=False)
        features = network(images)
        if narrow is not None:
            features = features @ narrow.flatten(1).T
        return last(features).sigmoid()

    return _batched(of)


def _resnet50() -> nn.Module:
    """Caffe's ResNet-50 without a head: its strides lie in the first convolution of a block."""
    network = torchvision.models.resnet50(weights=None)
    network.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    for stage in (network.layer2, network.layer3, network.layer4):
        first = stage[0]
        first.conv1.stride, first.conv2.stride = (2, 2), (1, 1)
    network.fc = nn.Identity()
    return network


def _of_caffe(name: str) -> str:
    """Torchvision's name of a layer that has Caffe's."""
    for pattern, plain in CAFFE:
        name = re.sub(pattern, plain, name)
    match = re.match(r"(\d)\.(\d)\.([123p])(_bn)?\.(.*)", name)
    if not match:
        return name
    stage, block, layer, norm, rest = match.groups()
    if layer == "p":
        inner = "downsample.1" if norm else "downsample.0"
    else:
        inner = f"bn{layer}" if norm else f"conv{layer}"
    return f"layer{int(stage) - 1}.{int(block) - 1}.{inner}.{rest}"


def _load(network: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load weights strictly, but for the batch counters that old files lack."""
    counters = {n: v for n, v in network.state_dict().items() if n.endswith("num_batches_tracked")}
    known = {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}
    load_strictly(network, counters | known, f"network of {what}")
    network.eval().requires_grad_(False)


def _tensors(state: Any, path: Path) -> dict[str, Tensor]:
    """A state dict's tensors, in float32 where they are floats."""
    if not isinstance(state, Mapping) or not state:
        raise GCDError(f"{path.name} holds no weights under the expected name.")
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise GCDError(f"{path.name} holds other things than tensors.")
    return {n: v.float() if v.is_floating_point() else v for n, v in state.items()}


def _batched(of: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A network on images of any number and of 1 or 3 channels: features, float64, on the CPU."""

    @torch.inference_mode()
    def features(images: Tensor) -> Tensor:
        images = images.cpu().expand(-1, 3, -1, -1)
        return torch.cat([of(part).double() for part in images.split(BATCH)])

    return features


def missing(given: Mapping[str, str | None]) -> list[str]:
    """Sentences on the networks that are not there, and where to get them."""
    return [f"without --{name}: {where}" for name, where in WHERE.items() if not given.get(name)]
