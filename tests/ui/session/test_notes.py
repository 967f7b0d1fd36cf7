"""A visitor's notes on directions, what these do to pictures, and why one does not flip."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gcd_core.errors import GCDError
from gcd_core.method.changes import Change, Part, with_changes
from gcd_core.method.directions import load_directions
from gcd_core.method.notes import Note, notes_of
from gcd_core.report.captions import about_direction, what_it_does
from gcd_core.report.content import does_rows
from gcd_core.ui.engine.jobs import Search
from gcd_core.ui.session.notes import named, note
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.views.direction_rows import direction_title, direction_titles, tried_list
from gcd_core.ui.views.exports import report_of
from gcd_core.ui.views.payload import why_no_flip
from gcd_core.wording import EXPERT, PLAIN, worded
from tests.ui.waiting import wait_for_paths

HEART = Note.of("wider <b>heart</b>", "=seen & liked", "shortcut")
DARKER = Change((Part("darker", "rim <i>here</i>"),), 7, 8, {"bacterial": 0.2})


@pytest.fixture
def session(visitors: Visitors) -> Session:
    session = visitors.session("somebody")
    session.open_example(1)
    return session


def test_a_note_on_the_bundled_set_is_the_visitors_own(session: Session, visitors: Visitors):
    before, image = session.directions, session.image
    noted = note(session, "bundled", "h1", HEART)
    assert session.directions is noted and session.image is image
    assert image.directions is noted and image.paths is session.image.paths
    assert notes_of(before.metadata) == {} and noted.vectors is before.vectors
    session.explain("bacterial")
    session.explain("pneumonia")
    assert notes_of(session.directions.metadata) == {"h1": HEART}
    assert notes_of(named(session, "bundled").metadata) == {"h1": HEART}
    other = visitors.session("another")
    assert notes_of(other.directions.metadata) == {} == notes_of(named(other, "").metadata)
    assert notes_of(note(session, "bundled", "h1", Note()).metadata) == {}


def test_a_note_on_a_kept_set_goes_with_its_file(session: Session, tmp_path):
    directions = replace(session.directions, metadata=dict(session.directions.metadata))
    name = session.sets.keep("pneumonia", "mine", directions)
    note(session, name, "g", HEART)
    assert notes_of(session.directions.metadata) == {}, "another set is in use"
    noted = session.sets.get("pneumonia", name)
    noted.save(tmp_path / "d.safetensors")
    assert notes_of(load_directions(tmp_path / "d.safetensors").metadata) == {"g": HEART}
    search = Search(None, "", "pneumonia", session.service.domain.search)
    assert session.keep_found(search, directions) == name, "with a note it is the same set"
    for wrong in (("nothing", "g"), (name, "h9")):
        with pytest.raises(GCDError, match="no direction"):
            note(session, *wrong, HEART)


def test_names_and_what_they_do_are_told_and_escaped(session: Session):
    found = note(session, "bundled", "h1", HEART)
    session.show_noted(
        "bundled", replace(found, metadata=with_changes(found.metadata, {"h1": DARKER}))
    )
    title, table = direction_titles(session)["h1"], tried_list(session.directions)
    for text in (title, table):
        assert "wider &lt;b&gt;heart" in text and "<b>heart" not in text
        assert "rim &lt;i&gt;here" in text and "<i>here" not in text
        assert "alike in 7 of 8 images; also Bacterial rises" in text
        assert "Marked as shortcut. =seen &amp; liked" in text
    does = what_it_does("h1", session.directions, {"pneumonia": "Ill", "bacterial": "Worse"})
    assert does.startswith("Toward Ill: darker in the rim") and "also Worse rises" in does
    assert "(cosine " in does and "cosine" not in worded(does, PLAIN)
    assert what_it_does("g", session.directions) == "" == what_it_does("h1", None)


def test_what_is_little_alike_is_like_no_other_in_plain_words(session: Session):
    found = replace(
        session.directions,
        vectors=torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [-0.27, 1.0]]), dim=1),
        names=["g", "h1"],
        eigenvalues=None,
        metadata=with_changes(session.directions.metadata, {"h1": DARKER}),
    )
    does = what_it_does("h1", found)
    assert "little like any other way" in worded(does, PLAIN)
    assert "little like g (cosine \N{MINUS SIGN}0.26)" in worded(does, EXPERT)


def test_a_step_back_and_a_change_in_another_place_are_told(session: Session):
    parts = {"h1": DARKER, "h2": Change((Part("darker", "the upper left"),), 7, 8, {})}
    found = replace(
        session.directions,
        metadata=with_changes(session.directions.metadata, parts)
        | {"places": {"h1": "upper left", "h2": "upper left"}},
    )
    back = what_it_does("h1", found, {"pneumonia": "Ill"}, alpha=-3.0)
    assert back.startswith("Moved the other way here; toward Ill: darker")
    assert "looked for in the picture's upper left" in back
    there = what_it_does("h2", found, {"pneumonia": "Ill"}, alpha=3.0)
    assert there.startswith("Toward Ill: darker") and "looked for" not in there


def test_the_report_and_the_tables_have_them(session: Session):
    note(session, "bundled", "g", HEART)
    session.image.sliders.move({"g": -3.0}, "g")
    report = report_of(session)
    assert ("g (wider <b>heart</b>)", "Marked as shortcut. =seen & liked") in report.settings
    assert report.called["g"] == "g (wider <b>heart</b>)"
    assert report_of(session, PLAIN).called["g"] == "wider <b>heart</b>"
    domain = session.service.domain
    assert does_rows(domain, session.directions, [("h1", 1.0)]) == []
    columns = about_direction("g", session.directions)
    assert columns["remark"] == "'=seen & liked", "no formula"
    assert (columns["called"], columns["mark"]) == ("wider <b>heart</b>", "shortcut")
    assert set(about_direction("h1", None).values()) == {""}


def test_a_direction_that_does_not_flip_says_why(session: Session):
    wait_for_paths(session)
    image = session.image
    path = image.paths.get("g")
    assert path.any_flip and why_no_flip(path, image) == ""
    # From the source's answer halfway to the threshold, and still on the way there.
    logits = torch.logit(torch.tensor(path.source_probability)) * (1 - 0.5 * path.alphas.abs() / 6)
    held = replace(path, logits=logits, probabilities=torch.sigmoid(logits))
    why = why_no_flip(held, image)
    assert why.startswith("nearest: Pneumonia ") and " at alpha " in why
    assert "alpha" not in worded(why, PLAIN)
    title = direction_title(session.directions, "g", held, why=why)
    assert why in title and worded(why, PLAIN) in title and 'data-flips="no"' in title
    assert "at the end" not in direction_titles(session)["g"]
