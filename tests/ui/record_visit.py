"""A visit of the page through its API, as a record; `python -m tests.ui.record_visit` writes it.

Write the record anew only where the page is meant to answer differently, and read what changed in
it before it is committed.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from gcd_core.images.drawing import encode_png, to_pil
from gcd_core.method.directions import DirectionSet
from tests.ui.answers import plain, with_numbered_sets
from tests.ui.conftest import serving
from tests.ui.fakes import CODE, SIZE, FakeClassifier, FakeDomain, FakeGenerator, draw

RECORD = Path(__file__).with_name("recorded_visit.json")
LATER = ("pictures", "curve", "heading", "title_", "low_", "high_", "fold")  # see `Visit.open`
LINK = "?example=2&label=bacterial&g=-1.5&h2=0.25"
LOST = "?own=1&label=pneumonia&directions=own&g=1"


class LiveGenerator(FakeGenerator):
    """Draws a little darker where a slider moves."""

    live_solver = "quick"
    identity = "drawn, of two solvers"

    def decode(self, latent, solver=None, *args, **kwargs):
        image = super().decode(latent, solver, *args, **kwargs)
        return 0.98 * image if solver == self.live_solver else image


class Strict(FakeClassifier):
    """The oracle: it needs more to say yes."""

    identity = "strict"

    def __call__(self, images):
        return super().__call__(images) - 0.5


class RecordedDomain(FakeDomain):
    """A domain that has every event of the page: with a live solver and an oracle."""

    walk_points = 7  # few pictures, few directions: the visit takes seconds

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, examples=2)
        self.generator, self.oracle = LiveGenerator(), Strict()

    def ready_directions(self, label: str) -> DirectionSet:
        """The first of the drawn domain's: g, and 3 h for pneumonia, 2 for the other."""
        every, count = super().ready_directions(label), {"pneumonia": 4, "bacterial": 3}[label]
        return DirectionSet(every.names[:count], every.vectors[:count], every.metadata)


def picture_of(*numbers: float) -> Image.Image:
    """A drawn radiograph that is none of the examples."""
    return to_pil(draw(torch.tensor([[*numbers, *[0.0] * (CODE - len(numbers))]])))


def mask(*box: int) -> str:
    """A region as a client sends it: white in a box (left, top, right, bottom), black outside."""
    left, top, right, bottom = box
    region = torch.zeros(1, 1, SIZE, SIZE)
    region[..., top:bottom, left:right] = 1
    return f"data:image/png;base64,{base64.b64encode(encode_png(region)).decode()}"


def _parameter(about: dict[str, Any]) -> str:
    """A parameter of an event: its name, and its default where it has one."""
    default = f" = {about['parameter_default']!r}" if about["parameter_has_default"] else ""
    return about["parameter_name"] + default


class Visit:
    """Asks events of a page by their names and records what they answer.

    Parameters
    ----------
    address : str
        Of the page.
    folder : Path
        For files.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.address, self.folder = address, folder
        self.steps: dict[str, dict[str, Any]] = {}
        self.client = self._client()
        info = self.client.view_api(print_info=False, return_format="dict")
        self.returns = {
            name: [value["label"] for value in event["returns"]]
            for name, event in info["named_endpoints"].items()
        }
        self.events = {
            name: {
                "parameters": [_parameter(value) for value in event["parameters"]],
                "answers": [
                    f"{value['label']}: {value['component']}" for value in event["returns"]
                ],
            }
            for name, event in info["named_endpoints"].items()
        }

    def _client(self) -> Client:
        return Client(self.address, verbose=False, download_files=self.folder)

    def as_another(self) -> None:
        """Go on as a visitor who has opened nothing."""
        self.client.close()
        self.client = self._client()

    def ask(self, event: str, *args: Any, without: tuple[str, ...] = (), **kwargs: Any) -> dict:
        """Record an event's answers by their labels, the last ones of a stream, and its messages.

        Returns the answers as they came.

        Parameters
        ----------
        event : str
        *args, **kwargs
            Of the event.
        without : tuple of str
            How the labels begin that are not recorded.
        """
        job = self.client.submit(*args, api_name=f"/{event}", **kwargs)
        told, error = [], None
        try:
            job.result(timeout=300)
        except AppError as refused:
            error = str(refused)
        answers: dict[str, Any] = {}
        labels = self.returns[f"/{event}"]
        for output in job.outputs() if labels else []:
            values = output if len(labels) > 1 else [output]
            for label, value in zip(labels, values, strict=True):
                if value != {"__type__": "update"}:  # not left as it was
                    answers[label] = value
        while not job.communicator.updates.empty():
            update = job.communicator.updates.get_nowait()
            told += [update.log[0]] if update.type == "status" and update.log else []
        kept = {k: plain(v) for k, v in answers.items() if not k.startswith(without or "\0")}
        step: dict[str, Any] = {"answers": dict(sorted(kept.items()))}
        step |= {"told": told} if told else {}
        step |= {"error": error} if error is not None else {}
        self.steps[f"{len(self.steps)} {event}"] = step
        return answers

    def open(self, event: str, *args: Any, **kwargs: Any) -> dict:
        """Record an event that opens something, but for what shows the paths.

        That depends on how many are ready by then; `prepare` answers it once all are.
        """
        return self.ask(event, *args, without=LATER, **kwargs)

    def file(self, name: str, content: Image.Image | bytes) -> Any:
        """A file to send."""
        path = self.folder / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            content.save(path)
        return handle_file(path)


def before_anything(visit: Visit) -> None:
    """What is refused where nothing is open."""
    visit.ask("facts")
    visit.ask("move", g=1.0)
    for event in (
        "to_flip",
        "another_way",
        "heatmap",
        "compare",
        "suggest_region",
        "report",
        "save_path",
    ):
        visit.ask(event)
    for event in ("sweep", "save_comparison", "save_wall", "find_directions", "reset"):
        visit.ask(event)
    for event in ("cancel_search", "cancel_walk", "cancel_region", "cancel_sets", "save_sets"):
        visit.ask(event)
    visit.ask("open_image", visit.file("damaged.png", b"\x89PNG\r\n\x1a\n broken"))


def explore(visit: Visit) -> None:
    """Open, move, map, flip, take home."""
    visit.open("open_example", example=0)
    mine = picture_of(1.0, 0.5, 0.2, 1.0).resize((300, 260))
    visit.open("open_image", visit.file("mine.png", mine))
    visit.ask("prepare")
    visit.ask("facts")
    visit.ask("move", g=-4.0, h1=1.0)
    visit.ask("draw_in_full")
    visit.ask("heatmap", overlay="bb_lig", opacity=0.5)
    visit.ask("heatmap", overlay="cells")
    visit.ask("heatmap", overlay="difference")
    visit.ask("view", view="slide")
    visit.ask("report")
    visit.ask("report", "../x")
    visit.ask("go", {"g": 1.5, "h2": -0.5})
    visit.ask("go", {"z9": 1.0})
    visit.ask("go", {"g": "far"})
    visit.ask("move", g=7.0)
    visit.ask("to_flip", direction="g")
    visit.ask("heatmap", overlay="bb_lig")
    visit.ask("another_way")
    visit.ask("another_way")
    visit.ask("another_way", mask(0, 0, 20, 20))
    visit.ask("to_flip", direction="g", target="strongest")
    visit.ask("to_flip", direction="h3", target="0.45")
    visit.ask("to_flip", direction="z9")
    visit.ask("save_path")
    visit.ask("sweep")
    visit.ask("reset")
    visit.open("explain", label="bacterial")
    visit.ask("prepare")
    visit.ask("to_flip", direction="g", target="0")
    visit.open("explain", label="pneumonia")


def compare(visit: Visit) -> None:
    """All directions at once."""
    visit.ask("compare")
    for file_format in ("csv", "json", "zip", "../x"):
        visit.ask("save_comparison", file_format)


def compare_sets(visit: Visit, name: str) -> None:
    """The found set against the bundled one."""
    visit.ask("compare_sets", "bundled", "Mine")
    for file_format in ("csv", "json", "../x"):
        visit.ask("save_sets", file_format)
    visit.ask("compare_sets", "Mine", "Mine")
    visit.ask("compare_sets", "bundled", name)


def regions(visit: Visit) -> None:
    """A part of the picture alone."""
    lungs, corner = mask(18, 30, 113, 105), mask(0, 0, 20, 20)
    visit.ask("paint_region", corner)
    visit.ask("try_region", lungs)
    visit.ask("try_region", corner)
    visit.ask("try_region", lungs, "rcsb")
    suggested = visit.ask("suggest_region")["facts"]
    visit.ask("try_region", suggested["mask"])
    for wrong in ("", mask(0, 0, SIZE, SIZE), lungs[:-41], "file:///etc/passwd"):
        visit.ask("try_region", wrong)
    visit.ask("cancel_region")
    visit.ask("forget_regions")


def find(visit: Visit) -> None:
    """Search, and the sets of directions that there are then."""
    visit.ask("find_directions", samples=-5)
    visit.ask("find_directions", samples=64, k=2, seed=0)
    name = "from mine.png, seed 0"
    visit.open("use_directions", name)
    visit.ask("prepare")
    visit.ask("to_flip", direction="g")
    visit.ask("rename_directions", name, "Mine")
    saved = visit.ask("save_directions", "Mine")["Directions"]
    visit.open("use_bundled")
    visit.open("load_directions", handle_file(saved))
    visit.ask("prepare")
    visit.ask("compare")
    compare_sets(visit, name)
    visit.ask("load_directions", visit.file("damaged.safetensors", b"nothing"))
    visit.ask("use_directions", "nothing")
    visit.open("arrive", address=LOST)
    visit.open("use_bundled")


def wall(visit: Visit) -> None:
    """Many images along one direction."""
    files = [
        visit.file("first.png", picture_of(1.0, 0.5, 0.2, 1.0)),
        visit.file("notes.png", b"no picture"),
        visit.file("second.png", picture_of(-1.0, 0.1, 0.3, 0.5)),
    ]
    visit.ask("walk_images", files, "g")
    visit.ask("save_wall")
    visit.ask("save_wall", "zip")
    visit.open("open_piece", 1)
    visit.ask("open_piece", 99)
    visit.ask("walk_again", "h1")
    visit.ask("walk_images", None, "h1")
    visit.ask("walk_images", None, "z9")


def links(visit: Visit) -> None:
    """What an address brings a new visitor to."""
    for address in (LINK, LOST, ""):
        visit.as_another()
        visit.open("arrive", address=address)
    visit.ask("prepare")
    visit.ask("forget")


def record() -> dict[str, Any]:
    """The events of the page's API, and what they answer in one visit after the other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # rounding differs by the number of threads
    try:
        with TemporaryDirectory() as place:
            folder = Path(place)
            with serving(RecordedDomain(folder)) as served:
                visit = Visit(served.address, folder)
                for part in (before_anything, explore, compare, regions, find, wall, links):
                    part(visit)
                visit.client.close()
    finally:
        torch.set_num_threads(threads)
    answered = json.loads(json.dumps({"events": visit.events, "steps": visit.steps}))
    return with_numbered_sets(answered)


def laid_out(value: Any, floors: int = 4, indent: str = "") -> str:
    """A value as JSON with a line for each answer, to read what changed in a new record."""
    if not floors or not value or not isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    inner = f"\n{indent} "
    if isinstance(value, list):
        parts = [laid_out(part, floors - 1, indent + " ") for part in value]
        return f"[{inner}{f',{inner}'.join(parts)}\n{indent}]"
    parts = [
        f"{json.dumps(key)}: {laid_out(part, floors - 1, indent + ' ')}"
        for key, part in value.items()
    ]
    return f"{{{inner}{f',{inner}'.join(parts)}\n{indent}}}"


def main() -> None:
    """Write the record anew."""
    with TemporaryDirectory() as cache:
        os.environ["GCD_CACHE"] = cache
        RECORD.write_text(laid_out(record()) + "\n", "utf-8")


if __name__ == "__main__":
    main()
