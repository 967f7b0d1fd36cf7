"""What `bench --cuda` checks, as far as a CPU can: its figures, and what it says of the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gcd_core import load_domain
from gcd_core.__main__ import main
from gcd_core.domains.opening import Domain
from gcd_core.evaluation import cuda
from gcd_core.generators import base
from tests.tiny_domain import write_tiny_domain


@pytest.fixture(scope="module")
def domain(tmp_path_factory: pytest.TempPathFactory) -> Domain:
    return load_domain(write_tiny_domain(tmp_path_factory.mktemp("cuda") / "tiny"), device="cpu")


@pytest.fixture
def image(domain: Domain) -> torch.Tensor:
    return domain.load_image(domain.examples[0])


def test_what_needs_a_gpu_is_told_and_does_not_end_the_rest(
    domain: Domain, image: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda step: step)
    found = {finding.name: finding for finding in cuda.check_device(domain, image)}
    assert list(found) == ["matrix_products", "agreement", "compiled", "graphed", "halving"]
    assert found["agreement"].good and found["agreement"].figures["pixels"] == 0
    assert found["matrix_products"].figures["share_of_bf16"] > 0
    assert found["compiled"].good and found["compiled"].figures["difference"] == 0
    for name in ("graphed", "halving"):
        assert found[name].good is None and "could not be tried" in found[name].sentence


def test_a_step_that_comes_to_something_else_is_bad(
    domain: Domain, image: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda step: lambda: 1.2 * step())
    found = cuda.compiled(domain, image)
    assert found.good is False and found.figures["difference"] == pytest.approx(0.2, rel=1e-4)


def test_a_batch_that_is_halved_draws_the_same(
    domain: Domain, image: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for a GPU whose memory holds three pictures."""
    honest, refused = base.in_batches, []

    def tight(function, inputs, size, progress=None):
        def limited(*rows):
            if len(rows[0]) > 3:
                refused.append(len(rows[0]))
                raise torch.OutOfMemoryError("out of memory")
            return function(*rows)

        return honest(limited, inputs, size, progress)

    monkeypatch.setattr("gcd_core.generators.base.in_batches", tight)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(
        cuda, "limited_memory", lambda domain: __import__("contextlib").nullcontext(lambda: refused)
    )
    found = cuda.halving(domain, image)
    assert found.good and refused == [16, 8, 4] and "was halved" in found.sentence
    assert found.figures["pixels"] < 1e-5


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_the_command_says_so(tmp_path: Path, capsys) -> None:
    tiny = write_tiny_domain(tmp_path / "tiny")
    assert main(["bench", "--domain", str(tiny), "--cuda"]) == 1
    assert "run it where one is" in capsys.readouterr().err
