"""What stands beside the sliders, of sets with and without independent ways."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gcd_core.method.directions import DirectionSet
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.about import about
from gcd_core.ui.views.html import fold_line, ways_line
from tests.ui.fakes import CODE, HAZE, FakeDomain
from tests.ui.waiting import wait_for_paths

ONE_WAY = "This classifier knows one way"


class ReadsHaze:
    """A proxy of the drawn classifier, which reads one axis."""

    def __call__(self, z_sem: torch.Tensor) -> torch.Tensor:
        logit = 2 * z_sem[:, HAZE]
        return torch.stack([logit, 0 * logit], 1)


class ReadsAnother(ReadsHaze):
    """A proxy that is wrong: it reads the axis after that one."""

    def __call__(self, z_sem: torch.Tensor) -> torch.Tensor:
        return super().__call__(z_sem.roll(-1, 1))


def found(domain, names: str, settings: object = None, proxy: object = None) -> DirectionSet:
    """A set along the code's axes, HAZE first, as a search with these settings would leave it."""
    vectors = torch.eye(CODE)[: len(names.split())]
    about = {"label": "pneumonia", "domain": domain.name, "settings": settings}
    return DirectionSet(names.split(), vectors, about, z_sem=torch.zeros(1, CODE), proxy=proxy)


def use(session: Session, directions: DirectionSet) -> None:
    session.use("pneumonia", session.sets.keep("pneumonia", "mine", directions))


@pytest.fixture
def session(visitors: Visitors) -> Session:
    return visitors.session("somebody")


@pytest.mark.parametrize(
    "names, settings, says",
    [
        ("g h1", {"n_ways": 2}, [ONE_WAY]),
        (
            "g h1 w1",
            {"n_ways": 2},
            ["each flips", "1 independent way was found; the search saw no"],
        ),
        ("g w1 w2", {"n_ways": 3}, ["each flips", "2 independent ways were found"]),
        ("g w1 w2", {"n_ways": 2}, ["each flips"]),
        ("g w1", None, ["each flips"]),  # what was looked for is not recorded
        ("g h1", {"n_ways": 0}, []),
        ("g h1", {"radius": 3.0}, []),  # of an older search
        ("g h1", {"n_ways": "many"}, []),
        ("g h1", "none", []),
    ],
)
def test_the_ways_line(session: Session, names: str, settings: object, says: list[str]):
    use(session, found(session.service.domain, names, settings))
    line = ways_line(session)
    assert bool(line) == bool(says) and all(part.lower() in line.lower() for part in says)
    assert ("no further one" in line) == any("found" in part for part in says)
    assert (ONE_WAY in line) == (ONE_WAY in says)


def test_what_hardly_moves_the_classifier_is_counted(session: Session):
    domain = session.service.domain
    use(session, found(domain, "g h1 w1"))
    assert session.weak_directions == [] and fold_line(session) == ""
    use(session, found(domain, "g h1 w1", {"n_ways": 1}, ReadsHaze()))
    assert session.weak_directions == ["h1", "w1"] and session.names == ["g", "h1", "w1"]
    assert "2 more hardly move this classifier<" in fold_line(session)
    assert "Independent ways" not in ways_line(session)  # none is left to stand under it
    use(session, found(domain, "g h1", proxy=ReadsHaze()))
    assert "1 more hardly moves this classifier<" in fold_line(session)
    session.explain("bacterial")  # has directions without a proxy
    assert session.weak_directions == [] and fold_line(session) == ""


@pytest.mark.slow
def test_a_folded_direction_that_flips_this_image_is_told(session: Session):
    session.open_example(0)
    use(session, found(session.service.domain, "h1 g", proxy=ReadsAnother()))
    assert session.weak_directions == ["h1"] and session.image.paths.total == 2
    wait_for_paths(session)
    assert session.image.paths.get("h1").flipped
    assert "1 more hardly moves this classifier \N{MIDDLE DOT} 1 flips here" in fold_line(session)


def test_about_says_whether_explanations_can_be_trusted(tmp_path: Path) -> None:
    domain = FakeDomain(tmp_path, examples=1)
    text = about(domain)
    assert '<li class="yes">Nothing is lost.</li>' in text
    assert '<li class="no">&lt;b&gt;Lost&lt;/b&gt;.</li>' in text
    domain.sanity = ()
    assert "trusted" not in about(domain)
