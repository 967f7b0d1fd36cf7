"""A real data set: blood cells, from the zip to a domain in 20 minutes."""

import io
from pathlib import Path

import pytest

from gcd_core.cli.new_domain import run_command
from gcd_core.domains.check import check_domain
from gcd_core.new_domain.classifier import Given
from gcd_core.new_domain.making import Request, make_domain
from gcd_core.new_domain.questions import Asked
from gcd_core.new_domain.verdict import read_results

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "blood-cells" / "images.zip"
MINUTES = 20


@pytest.mark.nightly
@pytest.mark.skipif(not DATA.is_file(), reason="the data set is not here")
def test_blood_cells_in_twenty_minutes(tmp_path) -> None:
    questions = ("eosinophil=eosinophil against neutrophil", "immature=ig against neutrophil")
    asked = Request(
        place=tmp_path / "cells",
        data=DATA,
        given=Given("train", tuple(Asked.parse(text) for text in questions)),
        minutes=MINUTES,
    )
    told = io.StringIO()
    make_domain(asked, run_command, told)
    assert check_domain(asked.place) == []
    row = read_results(asked.place, "reconstruction")["reconstruction"][0]
    assert row["lpips"] <= 0.08
    for label in ("eosinophil", "immature"):
        figures = read_results(asked.place, f"{label}-g")
        assert row["agreement"][label] >= 0.9
        assert figures["flip_rate"] >= 0.95
        assert figures["oracle_flip_rate"] >= 0.6
