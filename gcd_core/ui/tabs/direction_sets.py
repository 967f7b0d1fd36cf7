"""The sets of directions that there are: use, rename, save and load them."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import gradio as gr

from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet, load_directions
from gcd_core.method.notes import MARKS, MAX_CALLED, MAX_REMARK, Note
from gcd_core.report.captions import note_on
from gcd_core.ui.frames import SLIDERS, shown_names
from gcd_core.ui.gradio_workarounds import without_temp_copy
from gcd_core.ui.session.direction_sets import BUNDLED, MAX_NAME_LENGTH, file_name
from gcd_core.ui.session.notes import named, note
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.handler import Answer, Tab, connect, html
from gcd_core.ui.views.direction_rows import heading, tried_list
from gcd_core.ui.views.payload import payload_of, positives_of
from gcd_core.ui.views.vocabulary import NOTED, written


def to_explore() -> dict[str, Any]:
    """Open the Explore tab.

    No gr.Tabs: a component that is made while another domain's page is laid out lands on that.
    """
    return gr.update(selected="explore")


NEWEST_SET = ("the newest", "")  # what was found or loaded last, else the bundled ones


class SetsPanel(Tab):
    """The choice among the sets of directions of the explained label, and what to do with them.

    Parameters
    ----------
    explore : ExploreTab
        Where a set is opened.
    """

    def __init__(self, visitors: Visitors, explore: ExploreTab) -> None:
        super().__init__(visitors)
        self.explore = explore
        with gr.Row(elem_id="sets"):
            self.chosen = gr.Dropdown(
                [NEWEST_SET, BUNDLED], value="", label="Directions", elem_id="chosen", min_width=120
            )
            self.name = gr.Textbox(
                label="Rename to", max_length=MAX_NAME_LENGTH, elem_id="name", min_width=120
            )
        self.tried = html("tried")
        with gr.Row(elem_id="files"):
            self.use_button = gr.Button("Use these", size="sm", elem_id="use")
            self.save = gr.Button("Save", size="sm", elem_id="save")
            self.load_button = without_temp_copy(
                gr.UploadButton("Load", size="sm", file_types=[".safetensors"], elem_id="load")
            )
        with gr.Column(visible=False) as self.file_box:
            self.file = gr.File(label="Directions", interactive=False, elem_id="file")
        self._build_notes()

    def _build_notes(self) -> None:
        """What a person says of a direction."""
        with gr.Accordion("Names and remarks", open=False, elem_id="notes"):
            self.noted = gr.Radio([*SLIDERS], label="On", elem_id="noted")
            self.called = gr.Textbox(label="Name", max_length=MAX_CALLED, elem_id="called")
            self.remark = gr.Textbox(label="Remark", max_length=MAX_REMARK, elem_id="remark")
            choices = [("not said", ""), *((mark, mark) for mark in MARKS)]
            self.mark = gr.Radio(choices, value="", label="It is a", elem_id="mark")
            self.all_about = [self.tried, self.noted, self.called, self.remark, self.mark]
            self.keep_note = gr.Button("Keep", size="sm", elem_id="keep-note")

    def use_directions(
        self, name: str, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> Answer:
        """Opens a set of directions of the explained label in Explore: kept ones, or `bundled`.

        Without a name, the newest that was found or loaded.
        """
        session = self.session(request, overlay, opacity, view)
        label = session.label
        chosen = name or session.sets.newest(label)
        if session.image is None or chosen != session.sets.used(label):  # else its flip stays
            session.use(label, chosen)
        return self.show_everything(session)

    def about(self, session: Session, name: str) -> Answer:
        """What a set's directions did to examples, and do; those that can be noted on."""
        found = named(session, name)
        names = [] if found is None else shown_names(found)
        return {
            self.tried: self._told(session, found),
            self.noted: gr.update(choices=names, value=names[0] if names else None),
            **self._note(note_on(names[0] if names else "", found)),
        }

    @staticmethod
    def _told(session: Session, found: DirectionSet | None) -> str:
        """What a set's directions did and do, and what they are called to choose among."""
        names = "" if found is None else written(found, NOTED)
        kinds = session.service.domain.change_words
        return tried_list(found, positives_of(session), kinds) + names

    def show_about(self, name: str, request: gr.Request) -> Answer:
        """Does so of the chosen set."""
        return self.about(self.session(request), name)

    def show_note(self, name: str, direction: str | None, request: gr.Request) -> Answer:
        """What is noted on a direction of the chosen set."""
        return self._note(note_on(direction or "", named(self.session(request), name)))

    def _note(self, said: Note) -> Answer:
        """A note in its fields."""
        return {self.called: said.called, self.remark: said.remark, self.mark: said.mark}

    def note_direction(
        self,
        name: str,
        direction: str | None,
        called: str,
        remark: str,
        mark: str,
        request: gr.Request,
    ) -> Answer:
        """Keeps a name, a remark and a mark with a direction of the chosen set.

        They go with the saved file, the report and the tables.
        """
        session = self.session(request)
        if direction is None:
            raise GCDError("There is no direction to note anything on: choose one.")
        found = note(session, name, direction, Note.of(called or "", remark or "", mark or ""))
        gr.Info("Kept. It goes with the saved file and the report.")
        return {
            self.tried: self._told(session, found),
            **self.explore.layout.show_ends(session),
        }

    def rename_directions(self, name: str, other: str, request: gr.Request) -> Answer:
        """Gives a kept set of directions another name."""
        session = self.session(request)
        name = name or session.sets.newest(session.label)
        if name == BUNDLED:
            raise GCDError("The bundled directions keep their name: choose others to rename.")
        name = session.sets.rename(session.label, name, other)
        layout = self.explore.layout
        return {
            layout.numbers: payload_of(session, set=name),
            self.chosen: chooser(session, name),
            self.name: "",
            layout.heading: heading(session),
        }

    def save_directions(self, name: str, request: gr.Request) -> Answer:
        """Writes a set of directions to a file that `load_directions` and the library read.

        Without a name, the newest that was found or loaded.
        """
        session = self.session(request)
        name = name or session.sets.newest(session.label)
        directions = named(session, name)
        if directions is None:
            raise GCDError("There are no directions to save yet: find or load some first.")
        file = session.folder / file_name(self.domain.name, session.label, name)
        directions.save(file)
        return {
            self.file: str(file),
            self.explore.layout.numbers: payload_of(session),
            self.file_box: gr.update(visible=True),
        }

    def load_directions(
        self, file: str, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> Answer:
        """Opens a file of directions in Explore, and keeps them beside the others."""
        session = self.session(request, overlay, opacity, view)
        path = FilePath(file)
        try:
            directions = load_directions(path, domain=self.domain)
        finally:
            path.unlink(missing_ok=True)
        name = session.sets.keep(directions.label, path.stem, directions)
        session.use(directions.label, name)
        return self.show_everything(session)

    def show_everything(self, session: Session) -> Answer:
        """What another set of directions changes, and the Explore tab, which shows it."""
        chosen = {self.chosen: chooser(session, session.sets.used(session.label))}
        return self.explore.layout.show_everything(session) | chosen | {self.tabs: to_explore()}

    def bind(self, tabs: gr.Tabs) -> None:
        """Connects the components."""
        layout, self.tabs = self.explore.layout, tabs
        used = connect(
            self.use_button.click,
            self.use_directions,
            [self.chosen, *layout.display],
            [*layout.everything, self.chosen, tabs],
            "use_directions",
        )
        self.explore.then_prepare(used, "use_directions")
        connect(self.chosen.change, self.show_about, self.chosen, self.all_about, newest_only=True)
        noted, said = [self.chosen, self.noted], [self.called, self.remark, self.mark]
        connect(self.noted.input, self.show_note, noted, said, newest_only=True)
        kept = [self.tried, *layout.ends]
        connect(self.keep_note.click, self.note_direction, [*noted, *said], kept)
        connect(
            self.name.submit,
            self.rename_directions,
            [self.chosen, self.name],
            [layout.numbers, self.chosen, self.name, layout.heading],
            "rename_directions",
        )
        saved = connect(
            self.save.click,
            self.save_directions,
            self.chosen,
            [self.file, layout.numbers, self.file_box],
            "save_directions",
        )
        saved.success(None, None, None, js="gcd.download('#file a')")
        loaded = connect(
            self.load_button.upload,
            self.load_directions,
            [self.load_button, *layout.display],
            [*layout.everything, self.chosen, tabs],
            "load_directions",
        )
        self.explore.then_prepare(loaded, "load_directions")


def chooser(session: Session, name: str) -> dict[str, Any]:
    """The update of the choice among the sets of directions of the explained label.

    A set of another label is not among them: the one in use is chosen then.
    """
    names = [BUNDLED, *session.sets.names(session.label)]
    used = session.sets.used(session.label)
    return gr.update(choices=[NEWEST_SET, *names], value=name if name in names else used)
