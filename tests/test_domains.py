"""A domain by folder: what it gives, and what is said of a folder that is not right."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import gcd_core as gcd
from gcd_core.domains import BUNDLED, bundled_domains, load_domain
from gcd_core.errors import GCDError
from tests.tiny_domain import write_tiny_domain


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tiny_domain(tmp_path_factory.mktemp("domains") / "tiny")


def test_a_folder_is_a_domain(folder: Path) -> None:
    domain = load_domain(folder, device="cpu")
    assert domain.labels == ("ill",)
    assert domain.label_names == {"ill": ("well", "ill")}
    assert (domain.alpha_max, domain.walk_points, domain.search.radius) == (3.0, 4, 2.0)
    assert domain.ready_directions("ill") is None
    image = domain.load_image(domain.examples[0])
    assert image.shape == (1, 1, 32, 32)
    again = domain.generator.decode(domain.generator.encode(image))
    assert again.shape == image.shape
    assert domain.classifier(image).shape == domain.oracle(image).shape == (1, 2)


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
        ("points = 4", "points = 4.5", "'points' in \\[walk\\] must be a int"),
        ("points = 4", "points = 4\nspeed = 1", "no key 'speed'"),
        ("radius = 2.0", "radius = 0", "positive radius"),
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
