"""The confidence of a search, against searches that are really made again."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.method.directions import load_directions
from gcd_core.method.repeatability import (
    Repeatability,
    measure_repeatability,
    repeatability_of,
    unrepeatable,
    with_repeatability,
)
from gcd_core.method.search import find_directions
from gcd_core.method.search_run import Found, SearchCancelled
from tests.fakes import Flag, LinearDomain, unit

SIZE = 8


class Noisy(LinearDomain):
    """A classifier that reads one axis, and answers with an error of a given spread."""

    def __init__(self, spread: float, seed: int = 0) -> None:
        noise = torch.Generator().manual_seed(seed)
        axis = unit(SIZE)

        def logit(z: Tensor) -> Tensor:
            return z @ axis + spread * torch.randn(len(z), generator=noise)

        super().__init__(logit, SIZE)


def searched(spread: float, seed: int = 0, n: int = 128) -> Found:
    domain = Noisy(spread, seed)
    return find_directions(domain, domain.image(), "a", n, n_h=0, seed=seed)


def test_a_classifier_that_reads_one_axis_is_found_again() -> None:
    measured = measure_repeatability(searched(0.0).samples)
    assert measured is not None
    assert measured.cosine > 0.95
    assert measured.level == "high"


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.5, pytest.param(2.0, marks=pytest.mark.nightly)])
def test_what_is_expected_is_what_other_seeds_give(spread: float) -> None:
    """Over four searches with other seeds and errors, as far as six cosines can tell."""
    found = [searched(spread, seed) for seed in range(4)]
    expected = [measure_repeatability(one.samples) for one in found]
    mean = sum(one.cosine for one in expected if one is not None) / len(expected)
    g = torch.stack([one.directions["g"].vector for one in found])
    cosines = F.cosine_similarity(g[:, None], g[None], dim=2)[*torch.triu_indices(4, 4, 1)]
    assert mean == pytest.approx(cosines.mean().item(), abs=0.15)


def test_answers_that_are_noise_have_no_confidence() -> None:
    domain = Noisy(1.0)
    noise = torch.Generator().manual_seed(1)
    domain.classifier.function = lambda z: torch.randn(len(z), generator=noise)
    found = find_directions(domain, domain.image(), "a", 64, n_h=0)
    directions = with_repeatability(found, 1.0)
    confidence = repeatability_of(directions)
    assert confidence is not None
    assert confidence.level == "low"
    assert unrepeatable(directions) == [confidence.sentence]


def test_no_query_is_asked_and_few_samples_say_nothing() -> None:
    domain = Noisy(0.0)
    found = find_directions(domain, domain.image(), "a", 32, n_h=0)
    before = domain.classifier.queries, domain.generator.evaluations
    assert measure_repeatability(found.samples) is None
    assert with_repeatability(found, 1.0) is found.directions
    assert repeatability_of(found.directions) is None
    assert unrepeatable(found.directions) == unrepeatable(None) == []
    assert (domain.classifier.queries, domain.generator.evaluations) == before


def test_it_is_kept_in_the_file(tmp_path) -> None:
    directions = with_repeatability(searched(0.0, n=64), 1.0)
    directions.save(tmp_path / "d.safetensors")
    kept = repeatability_of(load_directions(tmp_path / "d.safetensors"))
    assert kept == repeatability_of(directions) is not None
    assert kept.level == "high"
    assert unrepeatable(directions) == []


def test_a_cancel_loses_no_sample() -> None:
    found = searched(0.0, n=64)
    with pytest.raises(SearchCancelled) as stopped:
        with_repeatability(found, 1.0, Flag(3))
    assert stopped.value.samples is found.samples


@pytest.mark.parametrize(
    ("cosine", "level"), [(1.0, "high"), (0.9, "high"), (0.8, "fair"), (0.69, "low"), (0, "low")]
)
def test_the_words_follow_the_number(cosine: float, level: str) -> None:
    measured = Repeatability(cosine)
    assert measured.level == level
    assert measured.sentence.startswith(f"Confidence {level}: ")
    assert f"{cosine:.2f}" in measured.sentence
