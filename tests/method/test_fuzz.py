"""Files of directions made bad at random: read, or refused in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given

from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet, load_directions
from tests.fakes import unit
from tests.mutations import IN_THE_SUITE, NIGHTLY, cases, mutated


@pytest.mark.parametrize(
    "count", [3 * IN_THE_SUITE, pytest.param(3 * NIGHTLY, marks=pytest.mark.nightly)]
)
def test_bad_directions_are_read_or_refused_in_a_sentence(tmp_path: Path, count: int) -> None:
    file = tmp_path / "d.safetensors"
    vectors = torch.stack([unit(8), unit(8, 1)])
    metadata = {"label": "ill", "domain": "d", "generator": "g", "settings": {"n_ways": 0}}
    DirectionSet(["g", "h1"], vectors, metadata).save(file)

    @cases(count)
    @given(data=mutated(file.read_bytes()))
    def is_read_or_refused(data: bytes) -> None:
        bad = tmp_path / "bad.safetensors"
        bad.write_bytes(data)
        try:
            found = load_directions(bad)
        except GCDError as error:
            assert str(error).endswith(".") and "\n" not in str(error) and len(str(error)) < 400
        else:
            assert found.vectors.isfinite().all() and len(found.names) == len(found.vectors)

    is_read_or_refused()
