"""From what a person gives to a domain: read, ask, plan, refuse what cannot work, then do it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TextIO

import torch

from gcd_core.classifiers import BlackBox
from gcd_core.errors import GCDError
from gcd_core.generators.device import choose_device
from gcd_core.images.dataset import ImageFiles
from gcd_core.images.reading import load_image
from gcd_core.new_domain.classifier import (
    Given,
    Sections,
    agreement,
    check_answers,
    sections_of,
)
from gcd_core.new_domain.data import DataSet, is_coloured, read_data
from gcd_core.new_domain.plan import (
    SIZES,
    Design,
    Plan,
    Speeds,
    Task,
    from_json,
    make_plan,
    plan_more,
    told,
)
from gcd_core.new_domain.steps import STEPS
from gcd_core.new_domain.timing import measure_speeds
from gcd_core.new_domain.verdict import verdict_of
from gcd_core.new_domain.work import (
    Work,
    check_disk,
    check_place,
    check_settings,
    read_state,
)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
LARGER = 240.0  # minutes without a GPU from which on a larger size than 128 is worth it
CHECKED = 128  # pictures of known classes that the classifier is asked about
DISAGREES = 0.4  # share below which its outputs are named in another order than they have


@dataclass(frozen=True)
class Request:
    """What a person asks for; the command's options.

    Attributes
    ----------
    place : Path
        Folder of the domain to be; its name is the domain's.
    data : Path
    given : Given
        Of the classifier.
    minutes : float
    labels : Path or None
        The data's table.
    size : int or None
        None is chosen by the data and the minutes.
    design : callable or None
        For tests: makes the networks' design in the place of that of the bundled generator.
    speeds : Speeds or None
        For tests: in the place of the timing.
    adjust : callable
        For tests: changes a plan.
    command : str
        The command line, for the card.
    """

    place: Path
    data: Path
    given: Given
    minutes: float
    labels: Path | None = None
    size: int | None = None
    fit: str = "stretch"
    mirror: bool = False
    credit: str = ""
    device: str = "auto"
    design: Callable[[int, int], Design] | None = None
    speeds: Speeds | None = None
    adjust: Callable[[Plan], Plan] = lambda plan: plan
    command: str = ""


@dataclass(frozen=True)
class Prepared:
    """A request that was looked at and can be carried out."""

    data: DataSet
    sections: Sections
    task: Task
    design: Design
    speeds: Speeds
    plan: Plan
    said: tuple[str, ...] = field(default=())  # what a person should know first

    @property
    def text(self) -> str:
        """The plan in words."""
        return told(self.plan, "\n".join(self.said))


def prepare_request(request: Request) -> Prepared:
    """Look at everything that can be known in seconds, and plan.

    Raises a GCDError for whatever would only fail later; the message says what to do.
    """
    if not NAME.fullmatch(request.place.name):
        raise GCDError(
            f"{request.place.name!r} is no name for a domain; take letters, digits, - and _."
        )
    check_place(request.place)
    device = str(choose_device(request.device))
    data = read_data(request.data, request.labels)
    coloured = is_coloured(data.look(64))
    size = choose_size(data, request, device)
    channels = 3 if coloured else 1
    if request.design is not None:
        design = request.design(size, channels)
    else:
        design = Design.of(size, channels, request.fit, request.mirror)
    sections = sections_of(request.given, data, size, channels, device)
    classifier, oracle = sections.open(device)
    said = [_of_data(data, design), *data.warnings(), *sections.told]
    if classifier is not None and not classifier.remote:
        said += check_answers(classifier, data.look(design.size), sections)
        said += _agrees(classifier, data, sections, design)
    tasks = sections.tasks(data)
    task = task_of(data, sections, tasks, bool(oracle), design.mirror)
    said += _of_opinion(task, sections, tasks, bool(oracle))
    speeds = request.speeds or measure_speeds(data, design, classifier, device)
    plan = request.adjust(make_plan(request.minutes, task, speeds, design))
    check_disk(request.place, plan)
    return Prepared(data, sections, task, design, speeds, plan, tuple(said))


def make_domain(
    request: Request,
    run: Callable[[list[str]], None],
    stream: TextIO,
    dry: bool = False,
    finished: Callable[[str], None] = lambda key: None,
) -> list[str]:
    """Make a domain, go on with one that was begun, or make a finished one better.

    Parameters
    ----------
    run : callable
        Runs a command of this project, given as its words.
    stream : text file
        Where the plan and the progress are told.
    dry : bool
        Only tell the plan.
    finished : callable
        Called with each part's key once it is done.

    Returns
    -------
    list of str
        The verdict, a sentence each; none of a dry run.

    Raises
    ------
    GCDError
        As of `prepare_request`, or where a part fails; the same command goes on from there.
    """
    state = read_state(request.place)
    if state is not None:  # before anything is asked or timed
        check_settings(request.place, state["settings"], _settings_given(request))
    prepared = prepare_request(request)
    work = Work(
        place=request.place,
        data=prepared.data,
        sections=prepared.sections,
        plan=prepared.plan,
        task=prepared.task,
        run=run,
        command=request.command,
        device=request.device,
        credit=request.credit,
        finished=finished,
    )
    if state is not None:
        work.plan = from_json(state["plan"])
    if dry:
        stream.write(_going_on(state, prepared) + "\n")
        return []
    work.begin(_settings_given(request) | {"pictures": prepared.data.fingerprint()})
    if work.over:
        more = request.adjust(
            plan_more(request.minutes, prepared.task, prepared.speeds, work.plan.design)
        )
        work.extend(more)
        stream.write(told(more, f"{request.place} is finished; this makes it better.") + "\n")
    else:
        stream.write(_going_on(state, prepared) + "\n")
    work.go(STEPS, stream)
    unusable = work.state["figures"].get("unusable", 0)
    channels = work.plan.design.channels
    found = verdict_of(request.place, prepared.task.labels, channels, unusable)
    return [finding.sentence for finding in found]


def choose_size(data: DataSet, request: Request, device: str) -> int:
    """The side of the generator's pictures.

    128, unless it was asked for, or the data are larger and there is a GPU or much time.

    Raises a GCDError if what was asked for is none of 128, 160, 192 and 256.
    """
    if request.design is not None:
        return request.size or SIZES[0]
    if request.size is not None:
        if request.size not in SIZES:
            raise GCDError(f"--size is one of {', '.join(map(str, SIZES))}, not {request.size}.")
        return request.size
    typical = sorted(min(pair) for pair in data.sides)[len(data.sides) // 2]
    if typical >= 1.5 * SIZES[1] and (
        (torch.device(device).type == "cuda" and request.minutes >= 20) or request.minutes >= LARGER
    ):
        return SIZES[1]
    return SIZES[0]


def task_of(
    data: DataSet, sections: Sections, tasks: dict[str, str], oracle: bool, mirror: bool = False
) -> Task:
    """What is planned for: counts, questions, and which networks are trained."""
    trained = ["classifier"] if sections.classifier is None else []
    if tasks and not oracle:
        trained.append("oracle")
    counts = {split: len(data.of_split(split)) for split in ("train", "val", "test")}
    counts["train"] *= 2 if mirror else 1
    return Task(counts, tuple(sections.labels), tuple(trained), bool(tasks))


def _settings_given(request: Request) -> dict[str, object]:
    """What may not change between two calls for one domain."""
    return {
        "data": str(request.data.resolve()),
        "labels": request.labels and str(request.labels.resolve()),
        "classifier": request.given.text,
        "question": [repr(asked) for asked in request.given.questions],
        "size": request.size,
        "fit": request.fit,
        "mirror": request.mirror,
    }


def _going_on(state: dict | None, prepared: Prepared) -> str:
    """The plan; of a domain that was begun, the plan of then and how far it is."""
    if state is None:
        return prepared.text
    plan = from_json(state["plan"])
    done = len(state["done"])
    every = sum(len(one.parts) for one in plan.rounds)
    if done == every:
        return f"finished: {done} parts; the same command with --minutes makes it better."
    shown = replace(prepared, plan=plan).text
    return f"{shown}\n\ngoing on: {done} of {every} parts are done"


def _of_data(data: DataSet, design: Design) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in data.counts.items())
    colour = "colour" if design.channels == 3 else "grey"
    return (
        f"{len(data.rows)} pictures in {colour}, made {design.size} x {design.size}"
        f"{f'; classes: {counts}' if counts else '; no classes'}; {data.split_by}"
    )


def _agrees(classifier: BlackBox, data: DataSet, sections: Sections, design: Design) -> list[str]:
    """How far the classifier's answers are those of the labels; refuse another order of outputs."""
    tasks = sections.tasks(data)
    if not tasks:
        return []
    rows = data.draw(CHECKED)
    files = ImageFiles(data.source, names=[row["file"] for row in rows])
    images = dict(files.load(lambda source: load_image(source, design.size, 3, design.fit)))
    known = [row for row in rows if row["file"] in images]
    pictures = torch.cat([images[row["file"]] for row in known])
    shares = agreement(classifier, pictures, [row["label"] for row in known], tasks)
    for label, share in shares.items():
        if share < DISAGREES:
            raise GCDError(
                f"The classifier puts only {share:.0%} of the pictures on the side of {label!r} "
                "that their labels say: its outputs have another order (--outputs), or it is given "
                "pictures otherwise than it was trained (a TOML file)."
            )
    return [f"its answers to {k!r} agree with the labels in {v:.0%}" for k, v in shares.items()]


def _of_opinion(task: Task, sections: Sections, tasks: dict[str, str], oracle: bool) -> list[str]:
    """Where a second opinion comes from."""
    if oracle:
        return []
    without = [name for name in sections.labels if name not in tasks]
    if not without:
        return []
    named = ", ".join(without)
    return [f"no second opinion on {named}: no classes of the data are of these outputs"]


__all__ = ["Prepared", "Request", "make_domain", "prepare_request"]
