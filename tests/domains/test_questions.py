"""Questions in a domain.toml: opened, checked, asked of the oracle, refused by name."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import torch

from gcd_core.__main__ import main
from gcd_core.classifiers import load_classifier
from gcd_core.domains.check import check_domain
from gcd_core.domains.opening import load_domain
from gcd_core.errors import GCDError
from tests.tiny_domain import write_tiny_domain

LABEL = '[labels.{}]\ntitle = "T"\nnegative = "no"\npositive = "yes"\n{}\n'
ILL = '[labels.ill]\ntitle = "Illness"\nnegative = "well"\npositive = "ill"\n'


def domain_with(folder: Path, *labels: tuple[str, str], output: str = "sigmoid") -> Path:
    """The tiny domain with these labels in the place of its own."""
    file = write_tiny_domain(folder) / "domain.toml"
    text = file.read_text().replace('output = "sigmoid"', f'output = "{output}"')
    assert ILL in text
    file.write_text(text.replace(ILL, "".join(LABEL.format(*label) for label in labels)))
    return folder


def test_a_domains_labels_are_its_questions(tmp_path):
    labels = [
        ("ill", ""),
        ("surely", 'of = "ill"\nthreshold = 0.9'),
        ("rather", 'of = ["ill"]\nagainst = "old"'),
    ]
    folder = domain_with(tmp_path / "tiny", *labels)
    assert check_domain(folder) == []
    domain = load_domain(folder)
    assert domain.labels == domain.classifier.labels == ("ill", "surely", "rather")
    table = tomllib.loads((folder / "domain.toml").read_text())["classifier"]
    images = torch.rand(5, 1, 32, 32)
    plain = load_classifier(table, folder)(images)
    for box in (domain.classifier, domain.oracle):
        logits = box(images)
        expected = [plain[:, 0], plain[:, 0] - torch.tensor(9.0).log(), plain[:, 0] - plain[:, 1]]
        torch.testing.assert_close(logits, torch.stack(expected, 1), atol=1e-4, rtol=1e-4)
    assert domain.label_info["surely"].question.shown(0.5) == "90 %"


def test_a_domain_of_plain_labels_has_the_classifier_itself(tmp_path):
    domain = load_domain(write_tiny_domain(tmp_path / "tiny"))
    assert domain.classifier.labels == ("ill", "old")
    assert domain.classifier.identity == domain.oracle.identity


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ('of = "young"', r"\[labels.asked\]: The classifier has no label 'young'"),
        ('of = "0:2"', r"\[labels.asked\]: several outputs are summed where they exclude"),
        ("", "no label 'asked'"),
        ('of = "ill"\nthreshold = 1.5', r"\[labels.asked\]: the threshold 1.5 is no probability"),
        ("of = 3", "'of' in \\[labels.asked\\] must be a name or a list of names, not 3"),
        ("of = [3]", r"\[labels.asked\]: 'of' is a name of an output"),
        ('of = "ill"\nthreshold = "high"', "'threshold' in .* must be a number"),
        ('of = "ill"\nscale = "years"', "'scale' is of a number"),
    ],
)
def test_what_cannot_be_asked_is_named(tmp_path, label, message):
    folder = domain_with(tmp_path / "tiny", ("asked", label))
    with pytest.raises(GCDError, match=message):
        load_domain(folder)
    problems = check_domain(folder)
    with pytest.raises(GCDError, match=message):
        raise GCDError(" ".join(problems))


def test_numbers_need_a_threshold_and_a_spread(tmp_path):
    folder = domain_with(tmp_path / "tiny", ("ill", ""), output="numbers")
    with pytest.raises(GCDError, match="answers numbers: write the threshold, and a spread"):
        load_domain(folder)


def test_commands_follow_a_question(tmp_path, capsys):
    asked = 'of = "ill"\nthreshold = 0.01\nspread = 0.02\nscale = "grade"'
    folder = domain_with(tmp_path / "tiny", ("grade", asked), output="numbers")
    saved, out = str(tmp_path / "d.safetensors"), str(tmp_path / "out")
    image = str(load_domain(folder).examples[0])
    common = ["--domain", str(folder), "--image", image, "--label", "grade"]
    ball = ["--sampling", "ball", "--samples", "16"]
    assert main(["find", *common, *ball, "--out", saved]) == 0
    walked = ["explain", *common[:4], "--directions", saved, "--direction", "g", "--out", out]
    assert main(walked) == 0, capsys.readouterr().err
    assert " grade at alpha" in capsys.readouterr().out
    assert main(["classifier", "--domain", str(folder), "--try", image]) == 0
    assert "grade? " in capsys.readouterr().out
