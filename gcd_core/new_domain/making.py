"""From what a person gives to a domain: read, ask, plan, refuse what cannot work, then do it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
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
from gcd_core.new_domain.data import SPLITS, DataSet, chosen_rows, is_coloured, read_data
from gcd_core.new_domain.domain_file import file_of
from gcd_core.new_domain.plan import (
    SIZES,
    Design,
    Plan,
    Speeds,
    Task,
    check_minutes,
    from_json,
    make_plan,
    plan_more,
    queries_of,
)
from gcd_core.new_domain.plan_text import told
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
class Looked:
    """What was seen of a request in seconds.

    Attributes
    ----------
    data, sections, task, design
        The pictures, the tables of domain.toml, what is to be planned for, and the networks.
    classifier : BlackBox or None
        None where it is trained here.
    said : tuple of str
        What a person should know first.
    """

    data: DataSet
    sections: Sections
    task: Task
    design: Design
    classifier: BlackBox | None
    said: tuple[str, ...]


def look(request: Request, then: Design | None = None, dry: bool = False) -> Looked:
    """Look at the pictures and ask the classifier about a few.

    Of a domain that was begun, `then` is its design, and the classifier is not asked again; one
    across a network is not asked in a `dry` run, as it may cost something.

    Raises a GCDError for whatever would only fail later; the message says what to do.
    """
    if not NAME.fullmatch(request.place.name):
        raise GCDError(
            f"{request.place.name!r} is no name for a domain; take letters, digits, - and _."
        )
    check_place(request.place)
    check_minutes(request.minutes)
    device = str(choose_device(request.device))
    data = read_data(request.data, request.labels)
    size = choose_size(data, request, device)
    channels = 3 if is_coloured(data.look(64)) else 1
    if then is not None:
        design = then
    elif request.design is not None:
        design = request.design(size, channels)
    else:
        more = request.minutes, device
        design = Design.of(size, channels, request.fit, request.mirror, *more)
    size, channels = design.size, design.channels
    sections = sections_of(request.given, data, size, channels, device)
    if len({file_of(name) for name in sections.labels}) < len(sections.labels):
        raise GCDError(f"The questions {list(sections.labels)} have names too much alike.")
    classifier, oracle = sections.open(device)
    said = [_of_data(data, design), *data.warnings(), *sections.told]
    if then is None and classifier is not None and not (dry and classifier.remote):
        said += check_answers(classifier, data.look(design.size), sections)
        said += _agrees(classifier, data, sections, design)
    tasks = sections.tasks(data)
    remote = classifier is not None and classifier.remote
    task = task_of(data, sections, tasks, bool(oracle), design, remote)
    said += _of_opinion(sections, tasks, bool(oracle))
    return Looked(data, sections, task, design, classifier, tuple(said))


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
        As of `look`, if the minutes or the disk are too small, or where a part fails; the same
        command goes on from there.
    """
    state = read_state(request.place)
    if state is not None:  # before anything is asked or timed
        check_settings(request.place, state["settings"], _settings_given(request))
    then = None if state is None else from_json(state["plan"]).design
    looked = look(request, then, dry)
    plan, words = _plan(request, looked, state)
    stream.write(words + "\n")
    if dry:
        return []
    work = Work(
        place=request.place,
        data=looked.data,
        sections=looked.sections,
        plan=plan,
        task=looked.task,
        run=run,
        command=request.command,
        device=request.device,
        credit=request.credit,
        finished=finished,
    )
    work.begin(_settings_given(request) | {"pictures": looked.data.fingerprint()})
    if work.over:
        work.extend(plan)
    work.go(STEPS, stream)
    unusable = work.state["figures"].get("unusable", 0)
    channels = work.plan.design.channels
    found = verdict_of(request.place, looked.task.labels, channels, unusable)
    return [finding.sentence for finding in found]


def _plan(request: Request, looked: Looked, state: dict | None) -> tuple[Plan, str]:
    """The plan to carry out, and what is told of it.

    Of a domain that was begun it is the plan of then; of a finished one, one for so many minutes
    more.
    """
    if state is not None:
        then = from_json(state["plan"])
        done, every = len(state["done"]), sum(len(one.parts) for one in then.rounds)
        if done < every:
            going = f"going on: {done} of {every} parts are done"
            if request.minutes != then.minutes:
                going += f"; the plan of {then.minutes:g} minutes holds until it is finished"
            return then, told(then, "\n".join(looked.said)) + f"\n\n{going}"
        design = then.design
    else:
        design = looked.design
    device = str(choose_device(request.device))
    speeds = request.speeds or measure_speeds(looked.data, design, looked.classifier, device)
    making = make_plan if state is None else plan_more
    plan = request.adjust(making(request.minutes, looked.task, speeds, design))
    check_disk(request.place, plan)
    first = "\n".join(looked.said)
    if state is not None:
        first = f"{request.place} is finished; this makes it better."
    asked = sum(queries_of(one, looked.task) for one in plan.rounds)
    first += f"\nthe classifier is asked about up to {asked:,} pictures"
    return plan, told(plan, first)


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
    data: DataSet,
    sections: Sections,
    tasks: dict[str, str],
    oracle: bool,
    design: Design,
    remote: bool = False,
) -> Task:
    """What is planned for: counts, questions, and which networks are trained."""
    trained = ["classifier"] if sections.classifier is None else []
    if tasks and not oracle:
        trained.append("oracle")
    rows = chosen_rows(data, design.most)
    counts = {split: sum(row["split"] == split for row in rows) for split in SPLITS}
    counts["train"] *= 2 if design.mirror else 1
    return Task(counts, tuple(sections.labels), tuple(trained), bool(tasks), remote)


def _settings_given(request: Request) -> dict[str, object]:
    """What may not change between two calls for one domain."""
    return {
        "data": str(request.data.resolve()),
        "labels": request.labels and str(request.labels.resolve()),
        "classifier": request.given.text,
        "architecture": request.given.architecture,
        "outputs": request.given.outputs,
        "answers": request.given.output,
        "question": [repr(asked) for asked in request.given.questions],
        "size": request.size,
        "fit": request.fit,
        "mirror": request.mirror,
    }


def _of_data(data: DataSet, design: Design) -> str:
    counts = ", ".join(f"{name} {count}" for name, count in data.counts.items())
    colour = "colour" if design.channels == 3 else "grey"
    learned = len(chosen_rows(data, design.most))
    part = (
        f"; {learned} of them are used, for the minutes' sake" if learned < len(data.rows) else ""
    )
    return (
        f"{len(data.rows)} pictures in {colour}, made {design.size} x {design.size}{part}"
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


def _of_opinion(sections: Sections, tasks: dict[str, str], oracle: bool) -> list[str]:
    """Where a second opinion comes from."""
    if oracle:
        return []
    without = [name for name in sections.labels if name not in tasks]
    if not without:
        return []
    named = ", ".join(without)
    return [f"no second opinion on {named}: no classes of the data are of these outputs"]
