"""Checkpoints of the transformers library as black boxes."""

import json
import shutil
import sys

import pytest
import torch

from gcd_core.classifiers import load_classifier
from gcd_core.classifiers.questions import Question, questioned
from gcd_core.classifiers.transformers import _distinct, _mean_and_std, _sizes, _view
from gcd_core.errors import GCDError

TABLE = {"kind": "transformers", "model": "checkpoint"}
PROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
    "size": {"height": 32, "width": 32},
}


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="writes and reads real checkpoints")


@pytest.fixture
def saved(transformers, tmp_path):
    """A small vision transformer and a domain's folder with it."""
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        id2label={0: "cat", 1: "crane", 2: "crane"},
        label2id={"cat": 0, "crane": 2},
    )
    network = transformers.ViTForImageClassification(config).eval()
    network.save_pretrained(tmp_path / "checkpoint")
    write(tmp_path, "preprocessor_config.json", PROCESSOR)
    return network, tmp_path


def write(folder, name: str, content: dict) -> None:
    (folder / "checkpoint" / name).write_text(json.dumps(content))


def config_of(folder) -> dict:
    return json.loads((folder / "checkpoint" / "config.json").read_text())


@torch.inference_mode()
@pytest.mark.slow
def test_it_answers_as_the_network(saved):
    network, folder = saved
    box = load_classifier(TABLE, folder)
    images = torch.rand(3, 3, 32, 32)
    mean, std = (torch.tensor(PROCESSOR[k]).view(1, 3, 1, 1) for k in ("image_mean", "image_std"))
    expected = network(pixel_values=(images - mean) / std).logits
    torch.testing.assert_close(box(images), expected, rtol=1e-4, atol=1e-5)
    assert box.labels == ("cat", "crane (1)", "crane (2)") and box.output == "softmax"
    assert (box.size, box.channels, box.queries) == (32, 3, 3)
    assert box(torch.rand(1, 1, 48, 48)).shape == (1, 3)


def test_the_table_has_the_last_word(saved):
    _, folder = saved
    (folder / "checkpoint" / "preprocessor_config.json").unlink()
    with pytest.raises(GCDError, match="set 'size', 'mean' and 'std'"):
        load_classifier(TABLE, folder)
    own = {"size": 32, "mean": 0.5, "std": [0.5, 0.5, 0.25], "labels": ["x", "y", "z"]}
    box = load_classifier(TABLE | own | {"output": "sigmoid"}, folder)
    assert box.labels == ("x", "y", "z") and box.output == "sigmoid"
    assert box.preprocessing.std == (0.5, 0.5, 0.25)
    with pytest.raises(GCDError, match="has 3 outputs; the table names 2"):
        load_classifier(TABLE | own | {"labels": ["x", "y"]}, folder)


def test_several_labels_at_once_are_sigmoids(saved):
    _, folder = saved
    config = config_of(folder)
    write(folder, "config.json", config | {"problem_type": "multi_label_classification"})
    assert load_classifier(TABLE, folder).output == "sigmoid"


def test_identity_follows_weights_configuration_and_settings_but_not_the_place(saved, tmp_path):
    network, folder = saved
    first = load_classifier(TABLE, folder).identity
    shutil.copytree(folder, tmp_path / "copy")
    assert load_classifier(TABLE, tmp_path / "copy").identity == first
    assert load_classifier(TABLE | {"std": 0.5}, folder).identity != first
    write(folder, "config.json", config_of(folder) | {"hidden_act": "relu"})
    changed = load_classifier(TABLE, folder).identity
    assert changed != first
    network.classifier.bias.data += 1
    network.save_pretrained(tmp_path / "copy" / "checkpoint")
    assert load_classifier(TABLE, tmp_path / "copy").identity not in (first, changed)


def without_head(transformers, folder):
    config = transformers.ViTConfig(**config_of(folder))
    transformers.ViTModel(config).save_pretrained(folder / "checkpoint")


def pickled(transformers, folder):
    path = folder / "checkpoint" / "model.safetensors"
    torch.save({"a": torch.ones(2)}, path.with_name("pytorch_model.bin"))
    path.unlink()


def cut_short(transformers, folder):
    path = folder / "checkpoint" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def with_code(transformers, folder):
    code = {"AutoConfig": "code.Config", "AutoModelForImageClassification": "code.Model"}
    write(folder, "config.json", config_of(folder) | {"model_type": "own", "auto_map": code})
    (folder / "checkpoint" / "code.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")


def of_text(transformers, folder):
    write(folder, "config.json", {"model_type": "bert"})


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_head, "no trained image classifier: its weights lack classifier.bias and 1 more"),
        (pickled, "no file named model.safetensors"),
        (cut_short, "SafetensorError"),
        (with_code, "custom code"),
        (of_text, "BertConfig"),
    ],
)
def test_what_is_no_image_classifier_is_refused(transformers, saved, spoil, message):
    _, folder = saved
    spoil(transformers, folder)
    with pytest.raises(GCDError, match=message) as caught:
        load_classifier(TABLE, folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert not (folder / "ran").exists()


def test_a_repository_that_cannot_be_reached(transformers, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(GCDError, match=r"cannot load the image classifier 'owner/nothing'"):
        load_classifier(TABLE | {"model": "owner/nothing"}, tmp_path)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ViTImageProcessor", {}),
        ("ViTImageProcessor", {"do_normalize": False}),
        ("ViTImageProcessor", {"do_rescale": False}),
        ("ViTImageProcessor", {"rescale_factor": 1 / 127.5}),
        ("EfficientNetImageProcessor", {"include_top": True}),
        ("EfficientNetImageProcessor", {"include_top": False}),
        ("EfficientNetImageProcessor", {"rescale_offset": True, "rescale_factor": 1 / 127.5}),
    ],
)
def test_normalisation_is_the_processors(transformers, tmp_path, name, settings):
    size = {"height": 16, "width": 16}
    processor = getattr(transformers, name)(size=size, image_std=[0.2, 0.3, 0.4], **settings)
    processor.save_pretrained(tmp_path)
    stated = json.loads((tmp_path / "preprocessor_config.json").read_text())
    pixels = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    expected = torch.stack(
        [processor(image, return_tensors="pt").pixel_values[0] for image in pixels]
    )
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in _mean_and_std(stated, 3))
    torch.testing.assert_close((pixels / 255 - mean) / std, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("processor", "size"),
    [
        ({"size": 224}, 224),
        ({"size": {"height": 384, "width": 384}}, 384),
        ({"size": {"shortest_edge": 256}}, 256),
        ({"size": {"shortest_edge": 256}, "do_center_crop": True, "crop_size": 224}, 224),
        ({"size": 256, "do_center_crop": False, "crop_size": {"height": 9, "width": 9}}, 256),
    ],
)
def test_size_is_what_the_processor_shows_the_model(processor, size):
    assert _sizes(processor)[1] == (size, size)


def test_what_the_processor_leaves_open_is_asked_of_the_table():
    with pytest.raises(GCDError, match="no 'size'"):
        _sizes({})
    with pytest.raises(GCDError, match="no mean and std"):
        _mean_and_std({"do_normalize": True}, 3)
    assert _distinct(["a", "b", "a"]) == ["a (0)", "b", "a (2)"]


def test_missing_and_unknown_keys_are_named(tmp_path):
    with pytest.raises(GCDError, match="lacks the key 'model'"):
        load_classifier({"kind": "transformers"}, tmp_path)
    with pytest.raises(GCDError, match="no key 'weights'"):
        load_classifier(TABLE | {"weights": "x"}, tmp_path)


def test_a_missing_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(GCDError, match="pip install transformers"):
        load_classifier(TABLE, tmp_path)


# -- what a checkpoint says of itself ------------------------------------------------------------


def checkpoint(transformers, folder, processor, channels: int = 3) -> torch.nn.Module:
    """A network that answers with its pixels, of the processor's size, as a checkpoint."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        num_labels=3,
    )
    network = transformers.ViTForImageClassification(config).eval()
    for parameter in network.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    network.save_pretrained(folder / "checkpoint")
    processor.save_pretrained(folder / "checkpoint")
    return network


SQUARE = {"height": 32, "width": 32}
EDGE = {"shortest_edge": 32}
WIDE = {"height": 32, "width": 48}


@pytest.mark.slow
@torch.inference_mode()
@pytest.mark.parametrize("side", [32, 40, 90])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ViTImageProcessor", {"size": SQUARE}),
        ("ViTImageProcessor", {"size": SQUARE, "resample": 3}),
        ("ViTImageProcessor", {"size": SQUARE, "resample": 0}),
        ("ViTImageProcessor", {"size": SQUARE, "rescale_factor": 1 / 127.5}),
        ("ViTImageProcessor", {"size": SQUARE, "do_normalize": False}),
        ("ViTImageProcessor", {"size": SQUARE, "image_mean": [0.1, 0.5, 0.9]}),
        ("CLIPImageProcessor", {"size": {"shortest_edge": 36}, "crop_size": SQUARE}),
        ("ConvNextImageProcessor", {"size": EDGE, "crop_pct": 0.875}),
        ("ConvNextImageProcessor", {"size": EDGE, "crop_pct": 0.95, "resample": 2}),
        ("PoolFormerImageProcessor", {"size": EDGE, "crop_size": SQUARE, "crop_pct": 0.9}),
        ("LevitImageProcessor", {"size": EDGE, "crop_size": SQUARE}),
        ("MobileViTImageProcessor", {"size": EDGE, "crop_size": SQUARE}),
        ("MobileViTImageProcessor", {"size": {"shortest_edge": 40}, "crop_size": SQUARE}),
        (
            "MobileViTImageProcessor",
            {"size": EDGE, "crop_size": SQUARE, "do_flip_channel_order": False},
        ),
        ("BeitImageProcessor", {"size": SQUARE}),
        ("EfficientNetImageProcessor", {"size": SQUARE, "include_top": False}),
    ],
)
def test_a_checkpoint_answers_as_transformers_does(transformers, tmp_path, name, settings, side):
    processor = getattr(transformers, name)(**settings)
    with torch.inference_mode(False):
        network = checkpoint(transformers, tmp_path, processor)
    smooth = torch.rand(1, 3, 6, 6)
    smooth = torch.nn.functional.interpolate(smooth, (side, side), mode="bicubic").clamp(0, 1)
    pixels = (smooth * 255).round().to(torch.uint8)
    expected = network(**processor(pixels[0], return_tensors="pt")).logits
    answers = load_classifier(TABLE, tmp_path)(pixels / 255)
    scale = expected.abs().max()
    assert (answers - expected).abs().max() < 0.03 * scale  # transformers resizes in whole bytes
    if side == 32 and settings["size"] in (SQUARE,):
        torch.testing.assert_close(answers, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        (
            {"do_center_crop": True, "crop_size": {"height": 32, "width": 16}},
            "a crop of 32x16 pixels from 32x32",
        ),
        ({"do_center_crop": True, "crop_size": 64}, "a crop of 64x64 pixels from 32x32"),
        ({"resample": 1}, "resample = 1"),
        ({"resample": 4}, "resample = 4"),
        ({"do_pad": True}, "do_pad"),
        ({"do_color_quantize": True}, "do_color_quantize"),
        ({"size_divisor": 32}, "size_divisor"),
        ({"do_resize": False, "do_center_crop": True, "crop_size": 16}, "without do_resize"),
    ],
)
def test_what_is_not_done_is_refused_by_name(settings, word):
    processor = {"do_resize": True, "do_rescale": True, "size": SQUARE} | settings
    with pytest.raises(GCDError, match=word) as caught:
        _view(processor, sized=False)
    assert 'kind = "python"' in str(caught.value)


@torch.inference_mode()
@pytest.mark.parametrize(
    "settings",
    [
        {"size": WIDE},
        {"size": WIDE, "resample": 3},
        {
            "image_processor_type": "CLIPImageProcessor",
            "size": {"height": 40, "width": 60},
            "crop_size": WIDE,
            "do_center_crop": True,
        },
    ],
)
@pytest.mark.parametrize("sides", [(32, 48), (70, 70)])
def test_a_checkpoint_of_pictures_that_are_no_squares(transformers, tmp_path, settings, sides):
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic", num_labels=3
    )
    with torch.inference_mode(False):
        network = transformers.ResNetForImageClassification(config).eval()
        network.save_pretrained(tmp_path / "checkpoint")
    stated = PROCESSOR | settings
    write(tmp_path, "preprocessor_config.json", stated)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "checkpoint")
    smooth = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.interpolate(smooth, sides, mode="bicubic").clamp(0, 1)
    pixels = (smooth * 255).round().to(torch.uint8)
    given = processor(pixels[0], return_tensors="pt")
    assert given.pixel_values.shape == (1, 3, 32, 48)
    box = load_classifier(TABLE, tmp_path)
    assert box.size == [32, 48]
    seen = box.preprocessing(pixels / 255)
    assert (seen - given.pixel_values).abs().max() < 0.05  # transformers resizes in whole bytes
    expected = network(**given).logits
    assert (box(pixels / 255) - expected).abs().max() < 0.02 * expected.abs().max()


@pytest.mark.parametrize("count", [1, 3])
def test_a_regression_answers_numbers(transformers, saved, count):
    _, folder = saved
    names = {i: f"grade {i}" for i in range(count)}
    config = config_of(folder) | {"problem_type": "regression"}
    config |= {"id2label": names, "label2id": {name: i for i, name in names.items()}}
    network = transformers.ViTForImageClassification(transformers.ViTConfig(**config)).eval()
    network.save_pretrained(folder / "checkpoint")
    box = load_classifier(TABLE, folder)
    assert box.output == "numbers" and box.labels == tuple(names.values())
    images = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(PROCESSOR[k]).view(1, 3, 1, 1) for k in ("image_mean", "image_std"))
    with torch.inference_mode():
        expected = network(pixel_values=(images - mean) / std).logits
    torch.testing.assert_close(box(images), expected, rtol=1e-4, atol=1e-5)
    asked = questioned(box, [Question("grade 0", threshold=0.3, spread=2.0)])
    torch.testing.assert_close(
        asked(images)[:, 0], (expected[:, 0] - 0.3) / 2, rtol=1e-3, atol=1e-4
    )
    with pytest.raises(GCDError, match="answers numbers: write the threshold, and a spread"):
        questioned(box, [Question("grade 0")])
    assert load_classifier(TABLE | {"output": "sigmoid"}, folder).output == "sigmoid"
