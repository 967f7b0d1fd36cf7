"""The paper's own rows, by the numbers of its tables (Sobieski & Biecek, ECCV 2024)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

Row = dict[str, Any]

FACES = ("FID", "sFID", "FVA", "FS", "MNAC", "CD", "COUT", "FR")
SCANS = ("S3", "COUT", "FR")
# The paper's columns of each table whose rows are of counterfactuals, in its order.
COLUMNS = {
    "1": FACES,
    "2": SCANS,
    "3": FACES[2:],
    "4": FACES,
    "S1": FACES[2:],
    "S2": FACES,
    "S3": SCANS,
    "S4": FACES,
    "S7": ("FID", "sFID", "S3", "COUT", "FR"),
}
FRACTIONS = {"S4", "S7"}  # where rates are shares and not percent
RATES = ("FR", "oracle")
OWN = ("LPIPS", "L1", "oracle", "n")  # what stands behind the paper's columns
# Where a table's rows lie in the file; the cells of Table 3 stand in S-Table 1 alone.
KEYS = {
    **{number: f"table {number}" for number in ("1", "2", "4")},
    **{f"S{i}": f"supplement table {i}" for i in range(1, 8)},
    "3": "supplement table 1",
}
DATASETS = {"celebahq-256": "CelebA-HQ", "celeba-128": "CelebA", "chexpert-224": "CheXpert"}
OF_ALL_ROWS = {"2": "CheXpert", "S3": "CheXpert", "S4": "CelebA-HQ"}  # where rows do not say it
CLASSES = {"smiling": "smile", "young": "age"}


@cache
def _rows() -> dict[str, list[Row]]:
    file = files("gcd_core.evaluation") / "published.json"
    return json.loads(file.read_text(encoding="utf-8"))


def published(table: str) -> list[Row]:
    """All of the paper's rows of a table, as printed there; none of a figure.

    FR and FVA are in percent; FR is a fraction in S4 and S7.
    """
    return [dict(row) for row in _rows().get(KEYS.get(table, ""), [])]


def published_of(table: str, domain: str, label: str) -> list[Row]:
    """The paper's rows of a table that are of a domain's own images and label.

    Parameters
    ----------
    domain : str
        A domain's name; only celebahq-256, celeba-128 and chexpert-224 are the paper's.
    label : str
        Such as "Smile" or "Lung Lesion".
    """
    dataset = DATASETS.get(domain)
    name = CLASSES.get(label.lower(), label.lower())
    found = []
    for row in published(table):
        both = f"{dataset} {name}"
        if "dataset / class" in row:
            own = row["dataset / class"] == f"{dataset} / {name}"
        elif both in row:
            row, own = {"case": row["case"], both: row[both]}, True
        else:
            of = row.get("dataset", OF_ALL_ROWS.get(table))
            own = of is not None and of == dataset and row.get("class") == name
        if own:
            found.append(row)
    return found


def in_columns(table: str, figures: Mapping[str, Any]) -> Row:
    """Figures as a row of a table: the paper's columns in its units, then ours.

    Parameters
    ----------
    table : str
        Of `COLUMNS`.
    figures : Mapping
        Of `Trials.figures`. What the paper has and these lack is None; what a stand-in made
        (``FID(oracle)``) stands behind the paper's columns.
    """
    row = {name: figures.get(name) for name in COLUMNS[table]}
    for name, value in figures.items():
        if name.partition("(")[0] in row:
            row[name] = value
    row |= {name: figures.get(name) for name in OWN}
    for name in RATES if table in FRACTIONS else ():
        value = row[name]
        row[name] = None if value is None else value / 100
    return row
