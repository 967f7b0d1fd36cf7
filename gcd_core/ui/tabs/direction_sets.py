"""The sets of directions that there are: use, rename, save and load them."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Any

import gradio as gr

from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet, load_directions
from gcd_core.ui.gradio_workarounds import without_temp_copy
from gcd_core.ui.session.direction_sets import BUNDLED, MAX_NAME_LENGTH, file_name
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.handler import Answer, Tab, connect, html
from gcd_core.ui.views.direction_rows import heading, tried_list
from gcd_core.ui.views.payload import payload_of


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

    def use_directions(
        self, name: str, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> Answer:
        """Opens a set of directions of the explained label in Explore: kept ones, or `bundled`.

        Without a name, the newest that was found or loaded.
        """
        session = self.session(request, overlay, opacity, view)
        session.use(session.label, name or session.sets.newest(session.label))
        return self.show_everything(session)

    def show_tried(self, name: str, request: gr.Request) -> Answer:
        """What the directions of the chosen set did to examples."""
        return {self.tried: tried_list(named(self.session(request), name))}

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
        connect(self.chosen.change, self.show_tried, self.chosen, self.tried, newest_only=True)
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


def named(session: Session, name: str) -> DirectionSet | None:
    """The explained label's set of a name, without one the newest; None where there is none.

    Raises a GCDError if no set has this name.
    """
    name = name or session.sets.newest(session.label)
    if name == BUNDLED:
        return session.service.ready_directions(session.label)
    return session.sets.get(session.label, name)


def chooser(session: Session, name: str) -> dict[str, Any]:
    """The update of the choice among the sets of directions of the explained label.

    A set of another label is not among them: the one in use is chosen then.
    """
    names = [BUNDLED, *session.sets.names(session.label)]
    used = session.sets.used(session.label)
    return gr.update(choices=[NEWEST_SET, *names], value=name if name in names else used)
