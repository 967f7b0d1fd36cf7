"""A domain by folder: what it gives, and what is said of a folder that is not right."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import densenet121

import gcd_core as gcd
from gcd_core.classifiers.published import architecture
from gcd_core.domains import opening
from gcd_core.domains.check import inspect_domain
from gcd_core.domains.file import read_domain_file
from gcd_core.domains.finding import BUNDLED, bundled_domains
from gcd_core.domains.opening import load_domain, open_classifier, unsupported_search
from gcd_core.errors import GCDError
from gcd_core.generators.diffae.model import Architecture, DiffAEModel
from tests.tiny_domain import write_tiny_domain

GOLDEN = Path(__file__).parents[1] / "golden"
PUBLISHED = {
    "celeba-128": ("ffhq128_autoenc", {"Smiling": 31, "Young": 39}),
    "celebahq-256": ("ffhq256_autoenc", {"Smile": 1, "Young": 2}),
    "chexpert-224": (
        "chexpert224_autoenc",
        {
            "Atelectasis": 0,
            "Lung Lesion": 6,
            "Lung Opacity": 7,
            "Pleural Effusion": 9,
            "Support Devices": 13,
        },
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tiny_domain(tmp_path_factory.mktemp("domains") / "tiny")


def test_a_folder_is_a_domain(folder: Path) -> None:
    domain = load_domain(folder, device="cpu")
    assert domain.labels == ("ill",)
    assert domain.label_names == {"ill": ("well", "ill")}
    assert (domain.alpha_max, domain.walk_points, domain.search.radius) == (3.0, 4, 2.0)
    assert (domain.counterfactual, domain.margin) == ("smallest", 0.25)
    assert domain.ready_directions("ill") is None
    image = domain.load_image(domain.examples[0])
    assert image.shape == (1, 1, 32, 32)
    again = domain.generator.decode(domain.generator.encode(image))
    assert again.shape == image.shape
    assert domain.classifier(image).shape == domain.oracle(image).shape == (1, 2)


def test_a_domain_chooses_its_counterfactual(tmp_path: Path) -> None:
    folder = write_tiny_domain(tmp_path / "paper")
    with (folder / "domain.toml").open("a") as file:
        file.write('counterfactual = "lowest-loss"\nmargin = 0\n')
    domain = load_domain(folder, device="cpu")
    assert (domain.counterfactual, domain.margin) == ("lowest-loss", 0.0)


@pytest.mark.slow
def test_a_search_may_use_the_distilled_decoder(tmp_path: Path) -> None:
    folder = write_tiny_domain(tmp_path / "quick", times=[650, 250])
    file = folder / "domain.toml"
    file.write_text(file.read_text().replace('"ddim"', '"distilled"'))
    domain = load_domain(folder, device="cpu")
    image = domain.load_image(domain.examples[0])
    found = gcd.find_directions(domain, image, "ill", n_samples=16, n_h=1, sampling="ball")
    # Its teacher's two steps to encode; two each to decode, the source's own picture among them.
    assert found.evaluations == 2 + 2 * 17
    assert found.directions.metadata["settings"]["solver"] == "distilled"
    full = gcd.find_directions(
        domain, image, "ill", n_samples=16, n_h=1, sampling="ball", solver="ddim", steps=3
    )
    assert full.evaluations == 3 + 3 * 17
    with pytest.raises(gcd.GCDError, match="takes 2 steps"):
        gcd.find_directions(domain, image, "ill", n_samples=16, steps=3)


@pytest.mark.slow
def test_directions_found_in_it_are_its_ready_ones_once_named(folder: Path) -> None:
    domain = load_domain(folder, device="cpu")
    image = domain.load_image(domain.examples[0])
    found = gcd.find_directions(domain, image, "ill", n_samples=16, n_h=1, seed=0)
    found.directions.save(folder / "ill.safetensors")
    path = folder / "domain.toml"
    text = path.read_text()
    path.write_text(
        text.replace('positive = "ill"', 'positive = "ill"\ndirections = "ill.safetensors"')
    )
    ready = load_domain(folder, device="cpu").ready_directions("ill")
    path.write_text(text)
    assert torch.equal(ready["g"].vector, found.directions["g"].vector)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "tiny"', "name = tiny", "not valid TOML"),
        ('title = "Drawn squares"', "", "lacks the key 'title'"),
        ("alpha_max = 3.0", "alpha_max = -1.0", "positive alpha_max"),
        ("points = 4", "points = 4.5", "'points' in \\[walk\\] must be a whole number"),
        ("points = 4", "points = 4\nspeed = 1", "no key 'speed'"),
        ("radius = 2.0", "radius = 0", "radius 0"),
        ("radius = 2.0", "", "lacks the key 'radius'"),
        ("[labels.ill]", "[labels.cold]", "no label 'cold'"),
        ('"generator.json"', '"../generator.json"', "outside its folder"),
        ('"generator.json"', '"other.json"', "does not exist"),
        ('"classifier.safetensors"', '"none.safetensors"', "do not exist"),
        ('negative = "well"', "", "labels.ill.*'negative'"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, tmp_path: Path, old, new, message) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "domain.toml").unlink()
    text = (folder / "domain.toml").read_text()
    assert old in text
    (tmp_path / "domain.toml").write_text(text.replace(old, new))
    with pytest.raises(GCDError, match=message):
        load_domain(tmp_path, device="cpu")


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(GCDError, match="chest-xray" if bundled_domains() else "bundled"):
        load_domain("no-such-domain")


def test_an_unknown_label_lists_the_labels(folder: Path) -> None:
    with pytest.raises(GCDError, match="ill"):
        load_domain(folder, device="cpu").ready_directions("sane")


def test_a_hub_name_that_is_none_is_refused_without_a_traceback() -> None:
    with pytest.raises(GCDError, match="hf://"):
        load_domain("hf://not a repository/name")


def test_naming_the_bundled_domains_needs_no_torch() -> None:
    """The command line says what there is before it loads anything heavy."""
    assert BUNDLED.is_dir()
    code = "import gcd_core, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("names", [("mean", "std"), ("conds_mean", "conds_std")])
def test_statistics_of_z_sem_come_with_the_domain(folder: Path, tmp_path: Path, names) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    mean, std = torch.randn(16), torch.rand(16) + 0.5
    save_file(dict(zip(names, (mean, std), strict=True)), tmp_path / "z.safetensors")
    text = (folder / "domain.toml").read_text()
    (tmp_path / "domain.toml").unlink()
    (tmp_path / "domain.toml").write_text(
        text.replace("[generator]", '[generator]\nlatent_statistics = "z.safetensors"')
    )
    found = load_domain(tmp_path, device="cpu").z_sem_statistics
    assert torch.equal(found[0], mean) and torch.equal(found[1], std)
    assert load_domain(folder, device="cpu").z_sem_statistics is None


def test_domains_whose_weights_are_elsewhere_come_last() -> None:
    """Where none of those that are offered is whole, the page opens the first."""
    names = bundled_domains()
    assert names[:3] == ["blood-cells", "chest-xray", "chest-xray-vae"]
    assert names[-len(PUBLISHED) :] == sorted(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_domain_says_what_to_fetch_and_has_no_other_problem(name: str) -> None:
    folder = BUNDLED / name
    if list(folder.glob("*.p*t*")) or list(folder.glob("*.ckpt")):
        pytest.skip("weights have been put here by hand")
    problems = inspect_domain(name).problems
    assert problems
    for problem in problems:
        assert "by hand" in problem and str(folder) in problem and "https://" in problem
    with pytest.raises(GCDError) as error:
        load_domain(name, device="cpu")
    assert all(problem in str(error.value) for problem in problems)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_domain_describes_the_official_checkpoint(name: str) -> None:
    official, labels = PUBLISHED[name]
    golden = json.loads((GOLDEN / f"{official}.keys.json").read_text())
    config = json.loads((BUNDLED / name / "generator.json").read_text())
    assert config.pop("sampling")["solver"] in ("ddim", "dpm++2m")
    with torch.device("meta"):
        model = DiffAEModel(Architecture.from_config(config))
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert shapes == golden["keys"]
    table = read_domain_file(BUNDLED / name)
    known = architecture(table["classifier"]["architecture"]).defaults["labels"]
    assert {label: known.index(label) for label in table["labels"]} == labels


def trunk_and_head(outputs: int) -> nn.ModuleDict:
    """A classifier as its authors keep it: DenseNet-121 without its last layer, and that layer."""
    trunk = densenet121(weights=None)
    trunk.classifier = nn.Identity()
    return nn.ModuleDict({"feat_extract": trunk, "classifier": nn.Linear(1024, outputs)})


@pytest.mark.parametrize("name", ["celeba-128", "celebahq-256"])
def test_a_published_domain_opens_its_classifiers_file(name: str, tmp_path: Path) -> None:
    section = read_domain_file(BUNDLED / name)["classifier"]
    network = trunk_and_head(40 if name == "celeba-128" else 3)
    if name == "celeba-128":
        torch.save({k: v.state_dict() for k, v in network.items()}, tmp_path / "classifier.pth")
    else:
        torch.save({"model_state_dict": network.state_dict()}, tmp_path / "classifier.pth")
    classifier = open_classifier(tmp_path, section, "cpu")
    image = torch.rand(1, 3, classifier.size, classifier.size)
    network.eval()
    with torch.no_grad():
        expected = network["classifier"](network["feat_extract"]((image - 0.5) / 0.5))
    torch.testing.assert_close(classifier(image), expected, atol=1e-4, rtol=1e-4)
    for label, column in PUBLISHED[name][1].items():
        assert classifier.index(label) == column


def test_a_search_that_the_generator_cannot_make_is_named(folder: Path) -> None:
    generator = load_domain(folder).generator
    section = {"radius": 2.0, "solver": "ddim", "steps": 2}
    assert [*unsupported_search(section, generator)] == []
    [problem] = unsupported_search(section | {"n_ways": 16}, generator)
    assert "16 directions by place" in problem
    [problem] = unsupported_search(section | {"sampling": "everywhere"}, generator)
    assert "not 'everywhere'" in problem


def test_an_example_that_is_no_picture_is_left_out(folder: Path) -> None:
    readable = load_domain(folder).example_images(8)
    assert readable
    (folder / "examples" / "a-bad.png").write_bytes(b"none")
    domain = load_domain(folder)
    assert len(domain.examples) == len(readable) + 1
    again = domain.example_images(8)
    assert len(again) == len(readable) and all(map(torch.equal, again, readable))
    assert len(domain.example_images(1)) == 1


def test_examples_of_another_kind_are_none_of_a_labels(folder: Path, monkeypatch) -> None:
    domain = load_domain(folder)
    every = domain.example_images(8)
    codes = [domain.generator.encode_semantic(image) for image in every]

    def foreign(only_for: str, statistics: object, z_sem: torch.Tensor) -> str | None:
        return None if not torch.allclose(z_sem, codes[0], atol=1e-5) else f"unlike {only_for}"

    monkeypatch.setattr(opening, "of_another_kind", foreign)
    assert len(domain.example_images(8, "ill")) == len(every), "it is of all pictures"
    domain.label_info["ill"] = replace(domain.label_info["ill"], only_for="hands")
    assert all(map(torch.equal, domain.example_images(8, "ill"), every[1:]))
    assert len(domain.example_images(8)) == len(every)


def test_examples_of_a_label_are_those_of_which_it_means_something(folder: Path) -> None:
    domain = load_domain(folder)
    every = domain.example_images(8)
    asked = domain.classifier(torch.cat(every))
    wanted = domain.classifier.probability(asked, "old") >= 0.5
    assert len(domain.example_images(8, "ill")) == len(every)
    domain.label_info["ill"] = replace(domain.label_info["ill"], given="old")
    own = domain.example_images(8, "ill")
    assert len(own) == int(wanted.sum())
    kept = [image for image, holds in zip(every, wanted, strict=True) if holds]
    assert all(map(torch.equal, own, kept))
