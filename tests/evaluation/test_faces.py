"""FVA, FS, MNAC and CD on numbers that are worked out by hand."""

from pathlib import Path

import pytest
import torch

from gcd_core.classifiers.published import CELEBA
from gcd_core.errors import GCDError
from gcd_core.evaluation.faces import (
    attribute_correlations,
    attributes_changed,
    correlation_difference,
    same_face,
)


def test_a_face_is_the_same_from_a_cosine_of_a_half_on() -> None:
    real = torch.tensor([[1.0, 0], [1, 0], [1, 0], [1, 0]])
    made = torch.tensor([[2.0, 0], [1, 1], [0, 1], [-1, 0]])
    fva, fs = same_face(real, made)
    assert fva == 0.5
    assert fs == pytest.approx((1 + 2**-0.5 + 0 - 1) / 4)


def test_attributes_that_change_sides_are_counted() -> None:
    before = torch.tensor([[0.9, 0.1, 0.6], [0.9, 0.1, 0.6]])
    after = torch.tensor([[0.4, 0.2, 0.7], [0.1, 0.9, 0.3]])
    assert attributes_changed(before, after) == (1 + 3) / 2


def test_changes_are_correlated_as_attributes_are() -> None:
    """Attribute 1 changes with the query, 2 against it, 3 never, 4 without regard to it."""
    signs = torch.tensor(
        [[1, 1, -1, 0, 1], [1, 1, -1, 0, -1], [-1, -1, 1, 0, 1], [-1, -1, 1, 0, -1]]
    )
    before, after = (-signs / 2 + 0.5).clamp(0, 1), (signs / 2 + 0.5).clamp(0, 1)
    reference = torch.tensor([1, 1, -1, 0, 0], dtype=torch.float64)
    assert correlation_difference(before, after, 0, reference) == pytest.approx(0, abs=1e-12)
    reference = torch.tensor([1, 0.5, 0.25, 0.125, -0.5], dtype=torch.float64)
    expected = 0 + 0.5 + 1.25 + 0.125 + 0.5
    assert correlation_difference(before, after, 0, reference) == pytest.approx(expected)
    assert correlation_difference(before, before, 0, reference) == pytest.approx(2.375)


def write(file: Path, rows: list[dict[str, int]]) -> Path:
    """A list of attributes in CelebA's layout; those that are not named are -1 throughout."""
    lines = [",".join(["image_id", *CELEBA])]
    for i, row in enumerate(rows):
        lines.append(",".join([f"{i}.jpg", *(str(row.get(name, -1)) for name in CELEBA)]))
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_annotations_are_correlated_over_the_training_images(tmp_path: Path) -> None:
    rows = [{"Smiling": 1, "Young": 1}, {}, {"Smiling": 1, "Young": 1}, {"Young": 1, "Bald": 1}]
    file = write(tmp_path / "list_attr_celeba.csv", rows)
    smiling, young, bald = (CELEBA.index(name) for name in ("Smiling", "Young", "Bald"))
    everywhere = attribute_correlations(file)
    assert everywhere[smiling, young] == pytest.approx(3**-0.5)
    part = tmp_path / "list_eval_partition.csv"
    part.write_text("image_id,partition\n0.jpg,0\n1.jpg,0\n2.jpg,0\n3.jpg,1\n", encoding="utf-8")
    training = attribute_correlations(file, part)
    assert training[smiling, young] == pytest.approx(1)
    assert training[smiling, bald] == 0  # nobody is bald there


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_the_lists_may_come_from_a_spreadsheet(tmp_path: Path, encoding: str) -> None:
    rows = [{"Smiling": 1, "Young": 1}, {}, {"Smiling": 1, "Young": 1}, {"Young": 1}]
    file = write(tmp_path / "list_attr_celeba.csv", rows)
    plain = attribute_correlations(file)
    text = file.read_text(encoding="utf-8").replace(",", ";")
    file.write_bytes(text.replace("image_id", "Image_ID ").encode(encoding))
    assert torch.equal(attribute_correlations(file), plain)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image_id,Smiling\n1,x\n", encoding="utf-8")
    with pytest.raises(GCDError, match="40 columns"):
        attribute_correlations(tmp_path / "a.csv")
    with pytest.raises(GCDError, match="cannot be read"):
        attribute_correlations(tmp_path / "b.csv")
    (tmp_path / "p.csv").write_text("image_id,split\n0.jpg,0\n", encoding="utf-8")
    with pytest.raises(
        GCDError, match="needs a header with the columns 'image_id' and 'partition'"
    ):
        attribute_correlations(write(tmp_path / "d.csv", [{}, {}]), tmp_path / "p.csv")
    with pytest.raises(GCDError, match="no two images"):
        attribute_correlations(write(tmp_path / "c.csv", [{}]))
