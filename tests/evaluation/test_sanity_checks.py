"""The sanity checks on domains where it is known what they must say."""

import json
from dataclasses import replace

import pytest
import torch

import gcd_core
from gcd_core.__main__ import main
from gcd_core.errors import GCDError
from gcd_core.evaluation.decoded import MemoisedGenerator
from gcd_core.evaluation.known_reasons import LUNG_FIELDS, RegionReader
from gcd_core.evaluation.sanity_checks import CHECKS, Sanity
from gcd_core.evaluation.spurious_classifiers import MARKER, with_marker
from gcd_core.generators.base import Latent
from tests.evaluation.domain import CODE, linear_domain, source_image
from tests.evaluation.test_known_reasons import Fields, reading


@pytest.fixture(scope="module")
def fields():
    """Radiographs of nothing but brightness, a reader of one of their fields, and 40 of them."""
    domain, images = reading(["left lower"])
    return domain, images[:40]


def test_what_was_decoded_is_remembered():
    domain = linear_domain()
    generator = MemoisedGenerator(domain.generator)
    z_sem = torch.randn(5, CODE, generator=torch.Generator().manual_seed(0))
    latent = Latent(z_sem, torch.zeros(5, 1, 16, 16))
    first = generator.decode(latent)
    spent = domain.generator.evaluations
    again = generator.decode(latent[torch.tensor([3, 1, 1])])
    assert domain.generator.evaluations == spent == generator.evaluations
    assert torch.equal(again, first[[3, 1, 1]])
    torch.testing.assert_close(first, domain.generator.decode(latent), atol=1e-3, rtol=0)
    spent = domain.generator.evaluations
    generator.decode(latent, steps=3)
    assert domain.generator.evaluations > spent
    assert generator.identity == domain.generator.identity


def test_what_was_encoded_is_remembered(monkeypatch):
    domain, asked = linear_domain(), []
    encode = domain.generator.encode_semantic
    monkeypatch.setattr(
        domain.generator, "encode_semantic", lambda x: asked.append(len(x)) or encode(x)
    )
    generator = MemoisedGenerator(domain.generator)
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    first = generator.encode_semantic(images[:3])
    again = generator.encode_semantic(images[[3, 1, 0]])
    assert asked == [3, 1]
    torch.testing.assert_close(first, encode(images[:3]))
    torch.testing.assert_close(again, encode(images[[3, 1, 0]]))


def test_the_gap_is_how_far_the_logit_moves(fields):
    domain, images = fields
    verdict = Sanity(domain, images, "bright", samples=32).gap()
    assert verdict.passed and verdict.figures["log_odds"] == pytest.approx(0, abs=0.02)
    blurred = replace(domain, generator=Grey(24, 32, 0.3))
    verdict = Sanity(blurred, images, "bright", samples=32).gap()
    reader = domain.classifier
    grey = torch.full_like(images, 0.5)
    moved = (reader(images) - reader(grey)).abs().mean().item()
    apart = (reader(images) - reader(grey)).abs() >= 2
    crossed = (reader(images) >= 0) != (reader(grey) >= 0)
    told = (apart | crossed).double().mean().item()
    assert verdict.figures["log_odds"] == pytest.approx(moved, abs=0.05)
    assert verdict.figures["warned"] == pytest.approx(told, abs=0.06) and not verdict.passed
    assert "does not draw" in verdict.sentence


class Lossy(Fields):
    """Draws what the code says and nothing else, where the others add what it leaves."""

    said = 1.0

    def decode(self, latent, solver=None, steps=None, batch_size=None, progress=None):
        return self.draw(self.said * latent.z_sem).clamp(0, 1)


class Grey(Lossy):
    """Draws every picture grey."""

    said = 0.0


@pytest.mark.slow
def test_where_reasons_are_known_the_cells_point_there_and_g_repeats(fields):
    domain, images = fields
    sanity = Sanity(domain, images, "bright", samples=128, walks=3)
    reasons = sanity.reasons()
    assert set(reasons.figures) == set(LUNG_FIELDS) and reasons.passed
    for figures in reasons.figures.values():
        assert figures["flip_rate"] >= 0.75 and figures["cells"]["mass"] >= 0.7
    repeat = sanity.repeat()
    assert repeat.passed and len(repeat.figures["cosines"]) == 6
    assert min(repeat.figures["cosines"]) > 0.8


@pytest.mark.slow
def test_a_marker_that_the_generator_does_not_draw_is_told(fields):
    domain, images = fields
    domain = replace(domain, generator=Lossy(24, 32, 0.3))
    verdict = Sanity(domain, images, "bright", samples=64, walks=2).marker()
    assert verdict.figures["warned"] >= 0.5 and verdict.passed
    assert "do not draw it" in verdict.sentence
    marked = with_marker(images)
    inside = MARKER.mask(32, 32)
    assert (marked[..., inside] == 1).all()
    assert torch.equal(marked[..., ~inside], images[..., ~inside])


@pytest.mark.slow
def test_scrambled_classifiers_are_held_against_the_true_one(fields):
    domain, images = fields
    verdict = Sanity(domain, images, "bright", samples=64, walks=2).scrambled()
    assert set(verdict.figures) == {"random weights", "shuffled labels"}
    for figures in verdict.figures.values():
        assert 0 <= figures["abs_cosine"] <= 1 and -1 <= figures["map_correlation"] <= 1
    worst = max(f["abs_cosine"] for f in verdict.figures.values())
    alike = max(f["map_correlation"] for f in verdict.figures.values())
    assert verdict.passed == (worst <= 0.2 and alike <= 0.3)


def test_bad_requests_are_refused(fields):
    domain, images = fields
    with pytest.raises(GCDError, match="16 images at least"):
        Sanity(domain, images[:5], "bright")
    with pytest.raises(GCDError, match="'ill'"):
        Sanity(domain, images, "ill")
    with pytest.raises(GCDError, match="no check 'luck'"):
        Sanity(domain, images, "bright").run(["luck"])


@pytest.mark.slow
def test_the_command_prints_and_writes_verdicts(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    made = linear_domain(folder, examples=20)
    images = torch.cat([source_image(made.generator, seed) for seed in range(20)])
    reader = RegionReader.fitted_to(images, [LUNG_FIELDS["left upper"]], label="a")
    made = replace(made, classifier=reader, oracle=None, label_info={"a": made.label_info["a"]})
    monkeypatch.setattr(gcd_core, "load_domain", lambda name, device: made, raising=False)
    numbers = tmp_path / "sanity.json"
    command = ["sanity", "--domain", "linear", "--images", str(folder), "--json", str(numbers)]
    assert main([*command, "--only", "gap", "repeat", "--samples", "32", "--walks", "2"]) == 0
    result = json.loads(numbers.read_text())
    assert [check["name"] for check in result["checks"]] == ["gap", "repeat"]
    printed = capsys.readouterr().out
    assert printed.count("\n") == 3 and "of 2 checks pass" in printed
    assert CHECKS[0] == "gap" and result["detail"] == "decoded"
    seen = []
    monkeypatch.setattr(Sanity, "run", lambda self, names: seen.append(self.domain.detail) or [])
    with pytest.raises(ValueError):
        main([*command, "--only", "gap", "--detail", "source"])
    assert seen == ["source"]
