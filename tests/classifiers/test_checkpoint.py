"""Weights files of every known architecture, laid out as their authors saved them."""

import re
import sys
from types import SimpleNamespace

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models import densenet121

from gcd_core.classifiers import load_classifier
from gcd_core.classifiers.architectures import ARCHITECTURES, build_network
from gcd_core.classifiers.checkpoint import AtOperatingPoints
from gcd_core.classifiers.published import CHEXPERT, DENSENETS, XRV_LABELS
from gcd_core.errors import GCDError

pytestmark = pytest.mark.slow

SMALL = {
    "densenet": {"growth_rate": 4, "block_config": [2, 2], "width": 8},
    "resnet": {"width": 8, "blocks": [1, 1]},
}


def table_for(architecture: str) -> dict:
    return {
        "kind": "torch",
        "architecture": architecture,
        "options": SMALL[architecture],
        "weights": "classifier.safetensors",
        "labels": ["pneumonia", "bacterial"],
        "output": "sigmoid",
        "size": 32,
        "channels": 1,
        "mean": 0.5,
        "std": 0.5,
    }


@pytest.fixture(params=sorted(ARCHITECTURES))
def written(request, tmp_path):
    """A network with random weights, written as a domain holds it: (network, table, folder)."""
    torch.manual_seed(0)
    network = build_network(request.param, 1, 2, SMALL[request.param])
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    save_file(network.state_dict(), tmp_path / "classifier.safetensors")
    return network.eval(), table_for(request.param), tmp_path


@torch.inference_mode()
def test_loading_gives_the_same_answers(written):
    network, table, folder = written
    images = torch.rand(3, 1, 32, 32)
    box = load_classifier(table, folder)
    assert torch.allclose(box(images), network((images - 0.5) / 0.5), atol=1e-5)
    assert box.labels == ("pneumonia", "bacterial") and box.queries == 3


@torch.inference_mode()
def test_half_precision_weights_become_full(written):
    network, table, folder = written
    halves = {k: v.half() if v.ndim > 1 else v for k, v in network.state_dict().items()}
    save_file(halves, folder / "classifier.safetensors")
    images = torch.rand(3, 1, 32, 32)
    box = load_classifier(table, folder)
    assert all(p.dtype == torch.float32 for p in box.network.parameters())
    assert torch.allclose(box(images), network((images - 0.5) / 0.5), atol=2e-2)


def test_identity_follows_weights_and_settings(written):
    network, table, folder = written
    first = load_classifier(table, folder).identity
    assert first == load_classifier(dict(table), folder).identity and len(first) == 16
    assert load_classifier(table | {"std": 0.25}, folder).identity != first
    network.classifier.bias.data += 1
    save_file(network.state_dict(), folder / "classifier.safetensors")
    assert load_classifier(table, folder).identity != first


REQUIRED = ("architecture", "weights", "labels", "output", "size", "channels")


@pytest.mark.parametrize("key", REQUIRED)
def test_a_missing_key_is_named(written, key):
    _, table, folder = written
    del table[key]
    with pytest.raises(GCDError, match=f"lacks the key '{key}'"):
        load_classifier(table, folder)


@pytest.mark.parametrize(
    "change, named",
    [
        ({"lables": []}, "'lables'"),
        ({"size": "128"}, "'size'"),
        ({"channels": True}, "'channels'"),
        ({"labels": "pneumonia"}, "'labels'"),
        ({"mean": "half"}, "'mean'"),
        ({"output": "tanh"}, "'tanh'"),
        ({"architecture": "vgg"}, "'vgg'"),
        ({"architecture": 7}, "'architecture' must be str"),
        ({"options": {"depth": 3}}, "'depth'"),
        ({"weights": "other.safetensors"}, "other.safetensors"),
        ({"labels": ["pneumonia"]}, "classifier.weight"),
        ({"channels": 3}, "weight of shape"),
    ],
)
def test_a_wrong_key_is_named(written, change, named):
    _, table, folder = written
    with pytest.raises(GCDError, match=named) as caught:
        load_classifier(table | change, folder)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_are_refused(written):
    network, table, folder = written
    path = folder / "classifier.safetensors"
    state = network.state_dict()
    bias = state.pop("classifier.bias")
    save_file(state, path)
    with pytest.raises(GCDError, match=r"lacks classifier\.bias"):
        load_classifier(table, folder)
    save_file(state | {"classifier.bias": bias, "other": bias.clone()}, path)
    with pytest.raises(GCDError, match="unknown other"):
        load_classifier(table, folder)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(GCDError, match="whole safetensors file"):
        load_classifier(table, folder)


def test_the_older_name_of_the_kind_gives_the_same_answers(written):
    _, table, folder = written
    images = torch.rand(2, 1, 32, 32)
    again = load_classifier(table | {"kind": "safetensors"}, folder)
    assert torch.equal(load_classifier(table, folder)(images), again(images))


def settled(network: nn.Module) -> nn.Module:
    """With running statistics that are not those of a fresh network."""
    for name, buffer in network.named_buffers():
        if buffer.is_floating_point() and name != "op_threshs":
            buffer.uniform_(0.5, 1.5)
    return network.eval()


class Trunk(nn.Module):
    """A DenseNet-121 whose last layer is replaced by the identity, as DiVE and STEEX have it."""

    def __init__(self) -> None:
        super().__init__()
        self.feat_extract = densenet121(weights=None)
        self.feat_extract.classifier = nn.Identity()

    def forward(self, x):
        return self.feat_extract(x)


class Faces(nn.Module):
    """The paper's classifier of faces."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.feat_extract = Trunk()
        self.classifier = nn.Linear(1024, outputs)

    def forward(self, x):
        return self.classifier(self.feat_extract(x))


@torch.inference_mode()
def agree(box, network: nn.Module, channels: int, size: int) -> None:
    """The box answers as the network does to what it was trained on."""
    images = torch.rand(2, channels, size, size)
    shown = images.expand(-1, 3, -1, -1) * 2 - 1
    torch.testing.assert_close(box(images), network(shown), rtol=1e-4, atol=1e-4)


def test_celeba_of_the_paper(tmp_path):
    network = settled(Faces(40))
    optimiser = torch.optim.Adam(network.parameters())
    parts = {
        "feat_extract": network.feat_extract.state_dict(),
        "classifier": network.classifier.state_dict(),
        "optimizer": optimiser.state_dict(),
    }
    torch.save(parts, tmp_path / "celeba.pth")
    table = {"kind": "torch", "architecture": "celeba-densenet121", "weights": "celeba.pth"}
    box = load_classifier(table | {"size": 64}, tmp_path)
    agree(box, network, 3, 64)
    assert len(box.labels) == 40 and (box.index("Smiling"), box.index("Young")) == (31, 39)
    assert load_classifier(table, tmp_path).size == 128
    with pytest.raises(GCDError, match=r"classifier.bias of shape \(40,\), not \(2,\)"):
        load_classifier(table | {"labels": ["a", "b"]}, tmp_path)
    # The trunk saved without its wrappers, too.
    for trunk in (network.feat_extract.feat_extract, network.feat_extract.feat_extract.features):
        torch.save(parts | {"feat_extract": trunk.state_dict()}, tmp_path / "celeba.pth")
        agree(load_classifier(table | {"size": 64}, tmp_path), network, 3, 64)


def test_celeba_hq_of_the_paper(tmp_path):
    network = settled(Faces(3))
    content = {"epoch": 4, "loss": 0.1, "optimizer_state_dict": {"state": {}, "param_groups": []}}
    torch.save(content | {"model_state_dict": network.state_dict()}, tmp_path / "checkpoint.tar")
    table = {"kind": "torch", "architecture": "celebahq-densenet121", "weights": "checkpoint.tar"}
    box = load_classifier(table, tmp_path)
    assert box.labels == ("Male", "Smile", "Young") and (box.size, box.output) == (256, "sigmoid")
    agree(load_classifier(table | {"size": 64}, tmp_path), network, 3, 64)
    state = network.state_dict() | {"classifier.scale": torch.ones(1)}
    del state["feat_extract.feat_extract.features.norm5.bias"]
    torch.save({"model_state_dict": state}, tmp_path / "checkpoint.tar")
    with pytest.raises(GCDError, match=r"lacks features\.norm5\.bias.*unknown classifier\.scale"):
        load_classifier(table, tmp_path)


def as_monai(name: str) -> str:
    """MONAI's name of a parameter of torchvision's DenseNet."""
    name = re.sub(r"(denselayer\d+)\.", r"\1.layers.", name)
    return name.replace("classifier.", "class_layers.out.")


CHEXPERT_TABLE = {"kind": "torch", "architecture": "chexpert-densenet264", "weights": "x.ckpt"}


def test_chexpert_of_the_paper(tmp_path):
    growth, blocks, width = DENSENETS["densenet264"]
    network = settled(torchvision.models.DenseNet(growth, blocks, width, num_classes=14))
    lightning = {f"classifier.{as_monai(k)}": v for k, v in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": lightning}, tmp_path / "x.ckpt")
    box = load_classifier(CHEXPERT_TABLE | {"size": 64}, tmp_path)
    agree(box, network, 1, 64)
    assert box.labels == tuple(CHEXPERT) and len(CHEXPERT) == 14


def test_chexpert_by_monai_itself(tmp_path):
    reason = "compares with MONAI's own DenseNet264"
    nets = pytest.importorskip("monai.networks.nets.densenet", reason=reason)
    network = settled(nets.DenseNet264(spatial_dims=2, in_channels=3, out_channels=14))
    state = {f"classifier.{name}": value for name, value in network.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "x.ckpt")
    agree(load_classifier(CHEXPERT_TABLE | {"size": 64}, tmp_path), network, 1, 64)
    assert len(state) == 1591


def test_a_prefix_picks_one_network_of_several(tmp_path):
    network = settled(densenet121(weights=None, num_classes=2))
    state = {f"model.{as_monai(name)}": value for name, value in network.state_dict().items()}
    state |= {"ema.class_layers.out.bias": torch.ones(2), "loss.pos_weight": torch.ones(2)}
    torch.save({"state_dict": state}, tmp_path / "x.ckpt")
    table = plain_table("monai-densenet121", "x.ckpt")
    agree(load_classifier(table | {"prefix": "model."}, tmp_path), network, 3, 64)
    with pytest.raises(GCDError, match=r"unknown ema\.class_layers\.out\.bias.*'prefix'"):
        load_classifier(table, tmp_path)
    with pytest.raises(GCDError, match=r"begins with the prefix 'net\.'"):
        load_classifier(table | {"prefix": "net."}, tmp_path)


def plain_table(architecture: str, weights: str, **more) -> dict:
    table = {"kind": "torch", "architecture": architecture, "weights": weights}
    return table | {"labels": ["a", "b"], "output": "softmax", "size": 64, "channels": 3} | more


@pytest.mark.parametrize("name", ["densenet121", "resnet18", "mobilenet_v3_small"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torchvision_by_name(tmp_path, name, prefix):
    network = settled(torchvision.models.get_model(name, weights=None, num_classes=2))
    state = {prefix + key: value for key, value in network.state_dict().items()}
    torch.save({"model": state, "epoch": 1}, tmp_path / "x.pth")
    agree(load_classifier(plain_table(f"torchvision-{name}", "x.pth"), tmp_path), network, 3, 64)


def test_torchvisions_old_names_of_a_densenet(tmp_path):
    network = settled(densenet121(weights=None, num_classes=2))
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", name): value
        for name, value in network.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    save_file(old, tmp_path / "x.safetensors")
    table = plain_table("torchvision-densenet121", "x.safetensors")
    agree(load_classifier(table, tmp_path), network, 3, 64)


def test_torchvisions_options(tmp_path):
    network = settled(torchvision.models.mobilenet_v2(num_classes=2, width_mult=0.25))
    torch.save(network.state_dict(), tmp_path / "x.pt")
    table = plain_table("torchvision-mobilenet_v2", "x.pt", options={"width_mult": 0.25})
    agree(load_classifier(table, tmp_path), network, 3, 64)
    with pytest.raises(GCDError, match=r"mobilenet_v2 refuses these options.*'depth'"):
        load_classifier(table | {"options": {"depth": 3}}, tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"architecture": "torchvision-densnet121"}, "close to it: densenet121"),
        ({"architecture": "monai-unet"}, "no classifier architecture 'monai-unet'"),
        ({"architecture": "monai-densenet121", "options": {"width": 3}}, "no option 'width'"),
        ({"channels": 1}, "sees 3 channels, not 1"),
        ({"weights": "x.onnx"}, "no kind of weights file"),
        ({"weights": "list.pt"}, "holds a list"),
        ({"weights": "number.pt"}, "holds a int under 'epoch'"),
        ({"weights": "module.pt"}, "torch.nn.modules.linear.Linear"),
        ({"labels": ["a", ""]}, "give each a label"),
        ({"weights": "thresholds.pt"}, r"op_threshs of shape \(3,\); there are 2 labels"),
        ({"weights": "numbered.pt"}, "has an unknown 0 "),
        ({"weights": "other.pt"}, "lacks bn1.bias.* has an unknown a "),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, message):
    torch.save([1], tmp_path / "list.pt")
    torch.save({"epoch": 3}, tmp_path / "number.pt")
    torch.save(nn.Linear(2, 2), tmp_path / "module.pt")
    torch.save({"a": torch.ones(2)}, tmp_path / "other.pt")
    state = torchvision.models.resnet18(num_classes=2).state_dict()
    torch.save(state, tmp_path / "x.pt")
    torch.save(state | {"op_threshs": torch.ones(3)}, tmp_path / "thresholds.pt")
    torch.save({0: torch.ones(2)}, tmp_path / "numbered.pt")
    (tmp_path / "x.onnx").touch()
    table = plain_table("torchvision-resnet18", "x.pt")
    with pytest.raises(GCDError, match=message) as caught:
        load_classifier(table | change, tmp_path)
    assert "\n" not in str(caught.value)


THRESHOLDS = torch.linspace(0.002, 0.9, 18)
XRV_TABLE = {"kind": "torch", "architecture": "torchxrayvision-densenet121", "weights": "x.pt"}


def xrv_network() -> nn.Module:
    """A DenseNet-121 as torchxrayvision's: grey, 18 outputs."""
    network = densenet121(weights=None, num_classes=18)
    network.features.conv0 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return settled(network)


@torch.inference_mode()
def test_torchxrayvisions_range_and_operating_points(tmp_path):
    network = xrv_network()
    torch.save(network.state_dict(), tmp_path / "x.pt")
    images = torch.rand(2, 1, 64, 64)
    raw = network(images * 2048 - 1024)
    box = load_classifier(XRV_TABLE | {"size": 64}, tmp_path)
    torch.testing.assert_close(box(images), raw, rtol=1e-3, atol=1e-3)
    assert box.labels == tuple(XRV_LABELS) and len(set(box.labels)) == 18
    assert load_classifier(XRV_TABLE, tmp_path).size == 224

    torch.save(network.state_dict() | {"op_threshs": THRESHOLDS}, tmp_path / "x.pt")
    labels = [label if i % 3 else "" for i, label in enumerate(XRV_LABELS)]
    box = load_classifier(XRV_TABLE | {"size": 64, "labels": labels}, tmp_path)
    p, t = raw.sigmoid(), THRESHOLDS
    expected = torch.where(p < t, p / (2 * t), 1 - (1 - p) / (2 * (1 - t)))
    kept = [i for i, label in enumerate(labels) if label]
    assert box.labels == tuple(labels[i] for i in kept)
    assert torch.allclose(box(images).sigmoid(), expected[:, kept], atol=1e-3)


def test_operating_points_are_logits_of_zero_and_never_saturate():
    t = torch.tensor([0.01, 0.5, 0.9, torch.nan])
    layer = AtOperatingPoints(nn.Identity(), t)
    assert torch.allclose(layer(t.logit().nan_to_num()[None]), torch.zeros(1, 4), atol=1e-4)
    logits = torch.linspace(-30, 30, 601)[:, None].expand(-1, 4)
    moved = layer(logits)
    assert moved.isfinite().all() and (moved[1:, :3] > moved[:-1, :3]).all()
    assert torch.equal(moved[:, 3], torch.zeros(601))
    assert torch.allclose(moved[:, 1], logits[:, 1], atol=1e-4)  # a threshold of a half


@pytest.fixture
def xrv(monkeypatch, tmp_path):
    """torchxrayvision, or where it is not installed, what is used of it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    try:
        import torchxrayvision as library
    except ImportError:
        library = SimpleNamespace(models=SimpleNamespace())
        library.models.model_urls = {
            "densenet121-res224-chex": {
                "labels": [label if i % 2 else "" for i, label in enumerate(XRV_LABELS)],
                "op_threshs": THRESHOLDS.tolist(),
                "weights_url": "no-such-scheme://chex.pt",
            }
        }

        class DenseNet(nn.Module):
            def __init__(self, weights):
                raise OSError("no network")

        library.models.DenseNet = DenseNet
        monkeypatch.setitem(sys.modules, "torchxrayvision", library)
        monkeypatch.setitem(sys.modules, "torchxrayvision.models", library.models)
    return library


CHEX = {"kind": "torch", "architecture": "torchxrayvision-densenet121-res224-chex"}


def test_torchxrayvision_by_name_with_a_file(tmp_path, xrv):
    labels = xrv.models.model_urls["densenet121-res224-chex"]["labels"]
    state = xrv_network().state_dict() | {"op_threshs": THRESHOLDS}
    save_file(state, tmp_path / "x.safetensors")
    box = load_classifier(CHEX | {"weights": "x.safetensors"}, tmp_path)
    assert box.labels == tuple(label for label in labels if label) and "" in labels
    assert box(torch.rand(1, 1, 64, 64)).shape == (1, len(box.labels))


def test_torchxrayvision_that_cannot_be_fetched(tmp_path, xrv, monkeypatch):
    for info in xrv.models.model_urls.values():
        monkeypatch.setitem(info, "weights_url", "no-such-scheme://chex.pt")
    with pytest.raises(GCDError, match=r"no-such-scheme://chex.pt.*by hand") as caught:
        load_classifier(CHEX, tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(GCDError, match="densenet121-res224-chex"):
        load_classifier(CHEX | {"architecture": "torchxrayvision-resnet"}, tmp_path)


@torch.inference_mode()
def test_torchxrayvisions_own_file_answers_as_the_library(tmp_path, monkeypatch, capsys):
    reason = "compares with torchxrayvision itself"
    models = pytest.importorskip("torchxrayvision.models", reason=reason)
    network = settled(models.DenseNet())
    monkeypatch.setenv("HOME", str(tmp_path))
    url = models.model_urls["densenet121-res224-chex"]["weights_url"]
    cached = tmp_path / ".torchxrayvision" / "models_data" / url.rsplit("/", 1)[1]
    cached.parent.mkdir(parents=True)
    torch.save(network, cached, _use_new_zipfile_serialization=False)  # as it was published
    library = models.DenseNet(weights="densenet121-res224-chex")
    kept = [i for i, label in enumerate(library.targets) if label]
    capsys.readouterr()
    box = load_classifier(CHEX, tmp_path)
    images = torch.rand(2, 1, 224, 224)
    expected = library(images * 2048 - 1024)[:, kept]
    assert capsys.readouterr().out == ""
    assert torch.allclose(box(images).sigmoid(), expected, atol=1e-4)
    assert box.labels == tuple(library.targets[i] for i in kept) and len(box.labels) == 11
    first = box.identity
    settled(network).classifier.bias.data += 1
    torch.save(network, cached, _use_new_zipfile_serialization=False)
    assert load_classifier(CHEX, tmp_path).identity != first


def test_a_missing_torchxrayvision_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchxrayvision.models", None)
    with pytest.raises(GCDError, match="pip install torchxrayvision"):
        load_classifier(CHEX, tmp_path)
