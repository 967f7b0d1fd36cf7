"""The page's address: what it says of a session, and how little it is believed."""

import pytest

from gcd_core.method.directions import DirectionSet
from gcd_core.ui.session.deep_link import GONE, OTHERS_GONE, address_of, read_address, restore
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session


@pytest.fixture
def session(visitors: Visitors) -> Session:
    return visitors.session("somebody")


def test_an_address_leads_back_to_where_one_was(session: Session, visitors: Visitors):
    session.open_example(2)
    session.explain("bacterial")
    session.image.sliders.move({"g": -1.5, "h3": 0.25})
    address = address_of(session.image)
    assert address == "example=3&label=bacterial&g=-1.5&h3=0.25"
    other = visitors.session("later")
    assert restore(other, f"?{address}") == []
    assert (other.image.example, other.label, other.image.sliders.alphas) == (
        2,
        "bacterial",
        {"g": -1.5, "h3": 0.25},
    )
    assert restore(other, "?example=1&label=pneumonia") == []
    assert (other.image.example, other.label, other.image.sliders.alphas) == (0, "pneumonia", {})


def test_what_was_a_visitors_own_is_named_by_nothing_and_missed_aloud(
    session: Session, visitors: Visitors
):
    domain = session.service.domain
    session.open_image(domain.load_image(domain.examples[1]), "Musterfrau Erika.png")
    own: DirectionSet = domain.ready_directions("pneumonia")
    session.use("pneumonia", session.sets.keep("pneumonia", "secret", own))
    session.image.sliders.move({"g": 1.0})
    address = address_of(session.image)
    assert address == "own=1&label=pneumonia&directions=own&g=1"
    assert restore(session, address) == [], "it is still there"
    before = "example=1&label=pneumonia"
    assert restore(session, before) == [] and session.image.bundled
    assert restore(session, f"{before}&directions=own") == [] and not session.image.bundled
    session.open_image(domain.load_image(domain.examples[1]), "Musterfrau Erika.png")
    other = visitors.session("later")
    assert restore(other, address) == [GONE, OTHERS_GONE]
    assert (
        other.image.example == 0 and other.image.sliders.alphas == {} and other.label == "pneumonia"
    )


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "example=0",
        "example=99",
        "example=-1",
        "example=\u0663",
        "example=1e1",
        "label=<script>",
        "g=nan&h1=inf&x=1",
        "a=" + "b" * 10_000,
        "&".join(f"g{i}=1" for i in range(5000)),
    ],
)
def test_what_fits_nothing_is_ignored(session: Session, query: str):
    assert restore(session, query) == []
    assert (session.image.example, session.label, session.image.sliders.alphas) == (
        0,
        "pneumonia",
        {},
    )


def test_alphas_are_bounded(session: Session):
    session.open_example(0)
    assert read_address("g=1e9&h1=-7&h9=1", session).alphas == {"g": 6.0, "h1": -6.0}
