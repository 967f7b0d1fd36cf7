"""Carries a plan out, part after part, so that it can be killed and started again anywhere.

All that is done lies in a work folder beside the domain: prepared pictures, the trainings'
checkpoints, the domain as it is being made (`stage`), and `state.json`, which names the parts that
are finished. The domain's own folder is only replaced by a whole one.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from gcd_core.errors import GCDError
from gcd_core.files import write_json
from gcd_core.new_domain.classifier import Sections
from gcd_core.new_domain.data import DataSet
from gcd_core.new_domain.plan import Part, Plan, Round, Task, from_json, to_json
from gcd_core.new_domain.plan_text import words
from gcd_core.new_domain.progress import ProgressLine

STATE, CLOCK, LOG = "state.json", "clock.json", "log.txt"
WORK, NEW, OLD = ".work", ".new", ".old"  # what follows the domain's name beside its folder
TICK = 10.0  # seconds between two notes of the time spent
FASTER, SLOWER = 0.3, 1.5  # of the minutes planned for a training, when the rest takes other time
Step = Callable[["Work", Round, float], None]


@dataclass
class Work:
    """What the parts work with.

    Attributes
    ----------
    place : Path
        Folder of the domain.
    data, sections, plan, task
        What there is, and what is to be done.
    command : str
        The command line, for the card.
    device : str
    credit : str
        Whose pictures these are.
    run : callable
        Runs a command of this project, given as its words.
    finished : callable
        Called with each part's key once it is noted as done.
    """

    place: Path
    data: DataSet
    sections: Sections
    plan: Plan
    task: Task
    run: Callable[[list[str]], None]
    command: str = ""
    device: str = "auto"
    credit: str = ""
    finished: Callable[[str], None] = lambda key: None
    state: dict[str, Any] = field(default_factory=dict)
    label: str = ""  # that the part of now is of

    @property
    def folder(self) -> Path:
        """The work folder."""
        return work_folder(self.place)

    @property
    def stage(self) -> Path:
        """The domain as it is being made; it has the domain's own name."""
        return self.folder / "stage" / self.place.name

    @property
    def number(self) -> int:
        """How many rounds were finished, all plans together."""
        return self.state["rounds"]

    def begin(self, settings: dict[str, Any]) -> None:
        """Take a new work folder, or the state of an earlier one with the same settings.

        Raises a GCDError where the settings are others.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        _repair(self.place)
        self.state = read_state(self.place) or {
            "settings": settings,
            "plan": to_json(self.plan),
            "done": [],
            "given": {},
            "totals": {},
            "figures": {},
            "spent": 0.0,
            "rounds": 0,
        }
        check_settings(self.place, self.state["settings"], settings)
        self.plan = from_json(self.state["plan"])
        clock = self.folder / CLOCK
        if clock.is_file():  # newer than the state, after a kill within a part
            noted = json.loads(clock.read_text(encoding="utf-8"))["spent"]
            self.state["spent"] = max(self.state["spent"], noted)
        self.save()

    def extend(self, plan: Plan) -> None:
        """Go on from a finished plan with another one."""
        self.plan = plan
        self.state["before"] = self.state.get("before", 0.0) + self.state["spent"]
        self.state |= {"plan": to_json(plan), "done": [], "given": {}, "spent": 0.0}
        self.save()

    def save(self) -> None:
        """Write the state, whole."""
        write_json(self.folder / STATE, self.state)
        write_json(self.folder / CLOCK, {"spent": self.state["spent"]})

    @property
    def over(self) -> bool:
        """Whether every part of the plan is done."""
        return all(key in self.state["done"] for key, _, _ in self._parts())

    def go(self, steps: dict[str, Step], stream: TextIO) -> None:
        """Do what is left of the plan."""
        last = [0.0]

        def tick(seconds: float) -> None:
            if seconds - last[0] >= TICK:
                last[0] = seconds
                write_json(self.folder / CLOCK, {"spent": self.state["spent"] + seconds})

        line = ProgressLine(stream, self.plan.minutes, tick)
        for key, planned, part in self._parts():
            if key in self.state["done"]:
                continue
            minutes = self._given(key, planned, part)
            last[0] = 0.0
            self.label = part.name.partition(":")[2]
            about = part.minutes - part.given + minutes
            told = line.part(words(part.name), about, self.state["spent"] / 60)
            with self._timed(), told, self._logged(key):
                steps[part.name.partition(":")[0]](self, planned, minutes)
            gc.collect()  # a training's networks hold on to each other
            self.state["done"].append(key)
            if part.name == "finish":
                self.state["rounds"] += 1
            self.save()
            self.finished(key)

    def _parts(self) -> Iterator[tuple[str, Round, Part]]:
        for number, planned in enumerate(self.plan.rounds, 1):
            for part in planned.parts:
                yield f"{number} {part.name}", planned, part

    def _given(self, key: str, planned: Round, part: Part) -> float:
        """The minutes that a training gets now: what is left of its round, shared as planned.

        Noted when it begins, so that one that is started again gets the same.
        """
        if not part.given:
            return 0.0
        if key not in self.state["given"]:
            rounds = self.plan.rounds
            end = sum(r.minutes for r in rounds[: rounds.index(planned) + 1])
            prefix = key.split(" ")[0]
            ahead = [p for p in planned.parts if f"{prefix} {p.name}" not in self.state["done"]]
            other = sum(p.minutes - p.given for p in ahead)
            share = (end - self.state["spent"] / 60 - other) / sum(p.given for p in ahead)
            minutes = part.given * min(SLOWER, max(FASTER, share))
            self.state["given"][key] = minutes
            totals = self.state["totals"]
            totals[part.name] = totals.get(part.name, 0.0) + minutes
            self.save()
        return self.state["given"][key]

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Add the block's seconds to those spent, whether it ends or fails."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.state["spent"] += time.monotonic() - start
            write_json(self.folder / CLOCK, {"spent": self.state["spent"]})

    @contextmanager
    def _logged(self, key: str) -> Iterator[None]:
        """Send what commands print to the log; an error says where it lies."""
        with open(self.folder / LOG, "a", encoding="utf-8") as log:
            log.write(f"\n== {key}\n")
            try:
                with redirect_stdout(log), redirect_stderr(log):
                    yield
            except GCDError as error:
                raise GCDError(
                    f"{key.split(' ', 1)[1]}: {error} What was printed is in {self.folder / LOG}; "
                    "the same command goes on from here."
                ) from error

    def publish(self) -> None:
        """Put a copy of the stage in the domain's place, whole."""
        new, old = beside(self.place, NEW), beside(self.place, OLD)
        for stale in (new, old):
            shutil.rmtree(stale, ignore_errors=True)
        shutil.copytree(self.stage, new)
        if self.place.exists():
            self.place.rename(old)
        new.rename(self.place)
        shutil.rmtree(old, ignore_errors=True)


def work_folder(place: Path) -> Path:
    """The work folder of a domain's folder."""
    return beside(place, WORK)


def beside(place: Path, suffix: str) -> Path:
    """A folder beside the domain's, of its name and a suffix."""
    return place.with_name(place.name + suffix)


def read_state(place: Path) -> dict[str, Any] | None:
    """The state of a domain that was begun here; None where none was.

    Raises a GCDError if the file is damaged.
    """
    path = work_folder(place) / STATE
    if not path.is_file():
        return None
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        from_json(state["plan"])
    except (ValueError, KeyError, TypeError) as error:
        raise GCDError(f"{path} is damaged; delete {path.parent} to start afresh.") from error
    return state


def check_settings(place: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with other settings than a domain was begun with."""
    changed = [name for name in now if then.get(name) != now[name]]
    if changed:
        told = "; ".join(f"{n}: {then.get(n)!r} then, {now[n]!r} now" for n in changed)
        raise GCDError(
            f"{place} was begun with other settings ({told}). Give the former ones to go on, or "
            f"another name, or delete {work_folder(place)} to start afresh."
        )


def check_place(place: Path) -> None:
    """Refuse a place where no domain can be made.

    Raises a GCDError if its parent is not there or cannot be written, or there is something in it
    that was not made here.
    """
    parent = place.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise GCDError(f"{place} cannot be written; name a folder within one that exists.")
    begun = (work_folder(place) / STATE).is_file()
    if not begun and place.exists() and (not place.is_dir() or any(place.iterdir())):
        raise GCDError(
            f"{place} is there already, and its work folder {work_folder(place)} is not, so it "
            "cannot be made better; give another name."
        )


def check_disk(place: Path, plan: Plan) -> None:
    """Refuse a disk that is too small."""
    free = shutil.disk_usage(place.absolute().parent).free
    if free < plan.disk:
        raise GCDError(
            f"The disk of {place} has {free / 1e9:.1f} GB free; {plan.disk / 1e9:.1f} GB are "
            "needed."
        )


def _repair(place: Path) -> None:
    """Put a domain back that a kill took between the two steps of its replacement."""
    new, old = beside(place, NEW), beside(place, OLD)
    if not place.exists() and old.exists():
        (new if new.exists() else old).rename(place)
    for stale in (new, old):
        shutil.rmtree(stale, ignore_errors=True)


def options(pairs: Sequence[tuple[str, object]]) -> list[str]:
    """Options as words; those of None are left out, lists have a word for each item."""
    words_: list[str] = []
    for name, value in pairs:
        if value is None or value is False:
            continue
        words_.append(name)
        if isinstance(value, list | tuple):
            words_ += [str(one) for one in value]
        elif value is not True:
            words_.append(str(value))
    return words_
