"""The domains that come with this project: whole, and their directions do what they are for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gcd_core.bridge.paths import rcsb
from gcd_core.domains.cautions import of_another_kind
from gcd_core.domains.check import check_domain
from gcd_core.domains.opening import load_domain
from gcd_core.evaluation.known_reasons import LUNG_FIELDS
from gcd_core.files import bundled
from gcd_core.images.dataset import load_split
from gcd_core.images.free_form import free_form_masks
from gcd_core.method.changes import changes_of
from gcd_core.method.walk import walk
from gcd_core.ui.serve import OFFERED

CELLS = Path(__file__).resolve().parents[3] / "shared/data/blood-cells/images.zip"

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", OFFERED)
def test_a_bundled_domain_is_whole_and_its_g_flips(name: str) -> None:
    """That of its first label does, of examples that the classifier is sure of."""
    assert check_domain(bundled("checkpoints") / name) == []
    domain = load_domain(name, device="cpu")
    images = torch.cat([domain.load_image(path) for path in domain.examples[:6]])
    for label in domain.labels:
        directions = domain.ready_directions(label)
        assert directions is not None and directions.names[0] == "g"
        assert set(changes_of(directions.metadata)) == set(directions.names), "describe was run"
    label = domain.labels[0]
    directions = domain.ready_directions(label)
    probabilities = domain.classifier.probability(domain.classifier(images), label)
    sure = images[(probabilities - 0.5).abs() > 0.2][:3]
    assert len(sure) >= 2
    for image in sure:
        assert walk(domain, image[None], directions["g"], label=label).flipped


def test_the_lung_fields_of_the_radiographs_are_those_of_known_reasons() -> None:
    places = load_domain("chest-xray", device="cpu").places
    for name, field in LUNG_FIELDS.items():
        assert places[f"{name} lung field"] == (field,)


def test_a_mask_over_the_corners_flips_no_radiograph() -> None:
    """What the classifier does not read cannot change its mind: a region has no seam that does."""
    domain = load_domain("chest-xray", device="cpu")
    side = domain.generator.image_size
    mask = torch.zeros(side, side, dtype=torch.bool)
    for rows in (slice(0, 28), slice(side - 28, side)):
        for columns in (slice(0, 28), slice(side - 28, side)):
            mask[rows, columns] = True
    directions = domain.ready_directions("pneumonia")
    assert directions is not None
    for path in domain.examples[:6]:
        image = domain.load_image(path)
        probability = domain.classifier.probability(domain.classifier(image), "pneumonia")
        if abs(float(probability) - 0.5) > 0.2:
            walked = walk(domain, image, directions["g"], label="pneumonia", region=mask)
            assert not walked.flipped


@pytest.mark.slow
def test_the_bundled_bridge_fills_in_and_flips_what_a_mask_leaves_it() -> None:
    domain = load_domain("chest-xray", device="cpu")
    assert domain.bridge is not None
    images = torch.cat([domain.load_image(path) for path in domain.examples[:4]])
    masks = free_form_masks(4, 128, torch.Generator().manual_seed(0), 0.1, 0.2)
    made = domain.bridge.inpaint(images, masks, steps=20)
    outside = ~masks[:, None]
    assert torch.equal(made[outside], images[outside])
    assert domain.perceptual.inside(made, images, masks).mean() <= 0.12
    half = torch.zeros(128, 128, dtype=torch.bool)
    half[:, 64:] = True
    path = rcsb(domain, images[:1], "pneumonia", region=half)
    assert path.counterfactual_flips and torch.equal(
        path.images[-1][:, :, :64], images[0][:, :, :64]
    )


@pytest.mark.skipif(not CELLS.is_file(), reason="needs ../shared")
def test_a_cell_of_a_kind_that_is_not_asked_about_is_noticed() -> None:
    domain = load_domain("blood-cells")
    statistics = domain.code_statistics("eosinophil")
    form = domain.generator.image_size, domain.generator.channels, domain.fit
    images, table = load_split(str(CELLS), None, "test", *form)
    for kind, (least, most) in {
        "neutrophil": (0, 3),
        "eosinophil": (0, 3),
        "lymphocyte": (18, 20),
        "monocyte": (17, 20),
        "basophil": (12, 20),
    }.items():
        chosen = [i for i, label in enumerate(table["label"]) if label == kind][:20]
        batch = images[chosen].float() / (255 if images.dtype == torch.uint8 else 1)
        codes = domain.generator.encode_semantic(batch)
        told = [of_another_kind("two kinds", statistics, code[None].cpu()) for code in codes]
        assert least <= sum(one is not None for one in told) <= most, kind
