"""The figures' networks, from files made in the official layouts: names, order of colours, hash."""

import argparse
import hashlib
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.cli import tables
from gcd_core.domains.opening import Domain, load_domain
from gcd_core.errors import GCDError
from gcd_core.evaluation import judges
from gcd_core.evaluation.features import Features
from gcd_core.evaluation.judges import Judges, attribute_of, found_file
from gcd_core.evaluation.published import in_columns
from tests.tiny_domain import write_tiny_domain

pytestmark = pytest.mark.slow


@pytest.fixture
def images() -> Tensor:
    """Two coloured pictures."""
    return torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Weights that no layer leaves as they were; the statistics are kept tame."""
    torch.manual_seed(1)
    state = {}
    for name, value in network.state_dict().items():
        if name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
            state[name] = 0.5 + torch.rand(value.shape)
        elif value.is_floating_point():
            state[name] = torch.randn(value.shape) / max(1.0, value[0].numel() ** 0.5)
        else:
            state[name] = value
    return state


def as_caffe(name: str) -> str:
    """Caffe's name of a layer of torchvision's ResNet-50: the other way than `_of_caffe`."""
    if name.startswith("bn1."):
        return name.replace("bn1", "conv1_7x7_s2_bn")
    if name.startswith("conv1."):
        return name.replace("conv1", "conv1_7x7_s2")
    match = re.fullmatch(r"layer(\d)\.(\d)\.(conv|bn|downsample\.)(\d)\.(.*)", name)
    assert match, name
    stage, block, kind, number, rest = match.groups()
    place = f"conv{int(stage) + 1}_{int(block) + 1}"
    if kind == "downsample.":
        return f"{place}_1x1_proj{'_bn' if number == '1' else ''}.{rest}"
    layer = {"1": "1x1_reduce", "2": "3x3", "3": "1x1_increase"}[number]
    return f"{place}_{layer}{'_bn' if kind == 'bn' else ''}.{rest}"


def trunk_state() -> dict[str, Tensor]:
    """Weights of a ResNet-50 without a head, by torchvision's names."""
    state = state_of(torchvision.models.resnet50(weights=None))
    return {name: value for name, value in state.items() if not name.startswith("fc.")}


def in_caffes_way(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """A ResNet-50 whose strides lie in the first convolutions, written out."""

    def conv(x: Tensor, name: str, stride: int = 1, padding: int = 0) -> Tensor:
        return F.conv2d(x, state[f"{name}.weight"], stride=stride, padding=padding)

    def norm(x: Tensor, name: str) -> Tensor:
        parts = (state[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts)

    x = norm(conv(x, "conv1", 2, 3), "bn1").relu()
    x = F.max_pool2d(x, 3, 2, ceil_mode=True)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and not block else 1
            y = norm(conv(x, f"{at}.conv1", stride), f"{at}.bn1").relu()
            y = norm(conv(y, f"{at}.conv2", padding=1), f"{at}.bn2").relu()
            y = norm(conv(y, f"{at}.conv3"), f"{at}.bn3")
            if not block:
                x = norm(conv(x, f"{at}.downsample.0", stride), f"{at}.downsample.1")
            x = (x + y).relu()
    return x.mean((2, 3))


def test_vggface2_sees_blue_first_and_255_less_the_mean(tmp_path: Path, images: Tensor) -> None:
    state = trunk_state()
    arrays = {name: value.numpy() for name, value in state.items() if "num_batches" not in name}
    arrays |= {"fc.weight": np.zeros((3, 2048), "f4"), "fc.bias": np.zeros(3, "f4")}
    (tmp_path / "resnet50_ft_weight.pkl").write_bytes(pickle.dumps(arrays, protocol=2))
    features = judges.vggface2(str(tmp_path / "resnet50_ft_weight.pkl"))
    made = F.interpolate(images, size=(224, 224), mode="bilinear", antialias=True) * 255
    blue_first = made[:, [2, 1, 0]] - torch.tensor([91.4953, 103.8827, 131.0912])[:, None, None]
    expected = in_caffes_way(state, blue_first).double()
    torch.testing.assert_close(features.of(images), expected, rtol=1e-3, atol=1e-4)
    assert features.name == "vggface2"


def test_the_oracle_of_celeba(tmp_path: Path, images: Tensor) -> None:
    state, narrow = trunk_state(), torch.randn(8, 2048, 1, 1) / 45
    head = {"weight": torch.randn(40, 8), "bias": torch.randn(40)}
    trunk = {as_caffe(name): value for name, value in state.items()}
    content = {"feat_extract": trunk | {"feat_extract.weight": narrow}, "classifier": head}
    torch.save(content, tmp_path / "oracle.pth")
    made = judges.celeba_oracle(str(tmp_path / "oracle.pth"))(images)
    mean = torch.tensor([131.0912, 103.8827, 91.4953])[:, None, None] / 255
    seen = F.interpolate(images[:, [2, 1, 0]] - mean, size=(224, 224), mode="bicubic")
    features = in_caffes_way(state, seen) @ narrow[:, :, 0, 0].T
    expected = (features @ head["weight"].T + head["bias"]).sigmoid().double()
    torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-4)


def test_the_oracle_of_celeba_hq(tmp_path: Path, images: Tensor) -> None:
    state = trunk_state()
    head = {"weight": torch.randn(40, 2048) / 45, "bias": torch.randn(40)}
    flat = {f"feat_extract.{as_caffe(name)}": value for name, value in state.items()}
    flat |= {f"classifier.{name}": value for name, value in head.items()}
    torch.save({"model_state_dict": flat}, tmp_path / "oracle.pth")
    made = judges.celeba_oracle(str(tmp_path / "oracle.pth"))(images)
    seen = F.interpolate(2 * images - 1, size=(224, 224), mode="bicubic")
    features = in_caffes_way(state, seen)
    expected = (features @ head["weight"].T + head["bias"]).sigmoid().double()
    torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-4)


def test_simsiam_projects(tmp_path: Path, images: Tensor) -> None:
    network = torchvision.models.resnet50(weights=None)
    network.fc = nn.Sequential(
        nn.Linear(2048, 2048, bias=False),
        nn.BatchNorm1d(2048),
        nn.ReLU(),
        nn.Linear(2048, 2048, bias=False),
        nn.BatchNorm1d(2048),
        nn.ReLU(),
        nn.Linear(2048, 16),
        nn.BatchNorm1d(16, affine=False),
    )
    network.load_state_dict(state_of(network))
    state = {f"module.encoder.{name}": v for name, v in network.state_dict().items()}
    state["module.predictor.0.weight"] = torch.zeros(4, 16)
    torch.save({"epoch": 100, "state_dict": state}, tmp_path / "checkpoint_0099.pth.tar")
    features = judges.simsiam(str(tmp_path / "checkpoint_0099.pth.tar"))
    mean, std = (
        torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    with torch.no_grad():
        expected = network.eval()((images - mean) / std).double()
    torch.testing.assert_close(features.of(images), expected, rtol=1e-3, atol=1e-4)


def test_inception_is_torch_fidelitys_and_proved_by_its_hash(
    tmp_path: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    blank = library.FeatureExtractorInceptionV3.__new__(library.FeatureExtractorInceptionV3)
    monkeypatch.setattr(library, "load_state_dict_from_url", lambda *_, **__: {})
    monkeypatch.setattr(library.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
    blank.__init__("inception", ["2048"])
    monkeypatch.undo()
    file = tmp_path / "inception.pth"
    torch.save(state_of(blank), file)
    with pytest.raises(GCDError, match="SHA-256"):
        judges.inception(str(file))
    proved = hashlib.sha256(file.read_bytes()).hexdigest()
    features = judges.inception(f"{file}#{proved}")
    assert features.name == "inception"
    found = features.of(images[:, :1])
    blank.load_state_dict(state_of(blank))
    grey = (255 * images[:, :1].expand(-1, 3, -1, -1)).round().byte()
    torch.testing.assert_close(found, blank(grey)[0].double(), rtol=1e-3, atol=1e-5)


def test_a_hash_that_is_another_or_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"weights")
    proved = hashlib.sha256(b"weights").hexdigest()
    assert found_file(f"{file}#{proved}") == found_file(f"{file}#{proved[:8].upper()}") == file
    for source, message in (
        (f"{file}#{'0' * 64}", "fetch it again"),
        (f"{file}#xyz", "no SHA-256"),
        (f"{file}.pth", "no file"),
    ):
        with pytest.raises(GCDError, match=message):
            found_file(source)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "a.pth")
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"conv1.weight": np.zeros(2, "f4")}))
    (tmp_path / "c.pkl").write_bytes(pickle.dumps({"conv1.weight": print}))
    for judge, name in (
        (judges.simsiam, "a.pth"),
        (judges.celeba_oracle, "a.pth"),
        (judges.vggface2, "b.pkl"),
        (judges.vggface2, "c.pkl"),
    ):
        with pytest.raises(GCDError):
            judge(str(tmp_path / name))


def test_figures_of_faces_come_with_their_networks(images: Tensor) -> None:
    assert Judges().of_faces(images, images, "Smile") == {}
    flat = Features("vggface2", lambda x: x.flatten(1).double())
    probabilities = images.flatten(1)[:, :40]
    full = Judges(
        faces=flat, attributes=lambda x: probabilities, correlations=torch.eye(40).double()
    )
    figures = full.of_faces(images, images, "Smile")
    assert figures == {"FVA": 1, "FS": pytest.approx(1), "MNAC": 0, "CD": pytest.approx(1)}
    assert "CD" not in full.of_faces(images, images, "pneumonia")
    assert attribute_of("Young") == 39 and attribute_of("Smile") == 31


def test_what_is_missing_is_named_with_where_to_get_it() -> None:
    sentences = judges.missing({"inception": "a.pth", "simsiam": None})
    assert len(sentences) == 3
    assert not any("inception" in sentence for sentence in sentences)
    assert any("github.com/facebookresearch/simsiam" in sentence for sentence in sentences)


def save_descriptor(path: Path, shape: list[int | None], weight: np.ndarray) -> None:
    """An ONNX file whose descriptor (N, D) is the mean of each channel times a weight (3, D)."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("MatMul", ["means", "weight"], ["descriptor"]),
    ]
    graph = helper.make_graph(
        nodes,
        "recognition",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info("descriptor", kind, [None, weight.shape[1]])],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save_model(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def test_fs_of_face_api_is_the_cosine_of_its_descriptors(tmp_path, images):
    weight = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    save_descriptor(tmp_path / "recognition.onnx", [None, 3, 20, 20], weight)
    recognition = judges.face_api(tmp_path / "recognition.onnx")
    made = (images * torch.tensor([0.2, 1.0, 0.6])[:, None, None]).clamp(0, 1)
    figures = Judges(recognition=recognition).of_faces(images, made, "Smile")
    assert list(figures) == ["FS(face-api)"]
    first, second = (x.mean((2, 3)) @ torch.from_numpy(weight) for x in (images, made))
    expected = F.cosine_similarity(first, second).mean().item()
    assert figures["FS(face-api)"] == pytest.approx(expected, abs=1e-4) and expected < 0.999
    row = in_columns("1", figures)
    assert row["FS"] is None and row["FS(face-api)"] == figures["FS(face-api)"]


def test_a_network_of_other_pictures_is_refused(tmp_path):
    save_descriptor(tmp_path / "r.onnx", [None, 3, None, None], np.eye(3, dtype=np.float32))
    with pytest.raises(GCDError, match=r"r\.onnx takes .*name the recognition\.onnx"):
        judges.face_api(tmp_path / "r.onnx")


def test_a_domain_names_its_recognition_network(tmp_path):
    folder = write_tiny_domain(tmp_path / "tiny", channels=3)
    text = (folder / "domain.toml").read_text()
    (folder / "domain.toml").write_text(f'face_api = "recognition.onnx"\n{text}')
    with pytest.raises(GCDError, match=r"recognition\.onnx"):
        load_domain(folder, device="cpu")
    save_descriptor(folder / "recognition.onnx", [None, 3, 20, 20], np.eye(3, dtype=np.float32))
    domain = load_domain(folder, device="cpu")
    none = dict.fromkeys((*judges.WHERE, "annotations", "partition"))
    found = tables.judges_of(argparse.Namespace(**none), domain)
    assert found.recognition is not None and found.recognition.name == "face-api"
    assert tables.judges_of(argparse.Namespace(**none), load_domain_without(folder)).faces is None


def load_domain_without(folder: Path) -> Domain:
    """The same domain where it names no recognition network."""
    text = (folder / "domain.toml").read_text()
    (folder / "domain.toml").write_text(text.partition("\n")[2])
    domain = load_domain(folder, device="cpu")
    assert domain.face_api is None
    return domain
