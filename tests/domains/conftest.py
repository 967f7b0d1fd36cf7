"""A small domain of its own for each test."""

from pathlib import Path

import pytest

from tests.tiny_domain import write_tiny_domain


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_domain(tmp_path / "tiny")
