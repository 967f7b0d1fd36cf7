"""The tables of documents, written from the JSON files that measurements left.

A domain keeps what was measured of it in `results/*.json` of its folder, written by the option
`--json` of a command, and what `sanity` says in the file that its `domain.toml` names. A document
says where a table belongs:

    <!-- results:directions chest-xray -->
    <!-- /results -->

The table's name and the domain's folder stand in the first line; what lies between the two lines is
written here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gcd_core.domains.file import read_domain_file
from gcd_core.domains.opening import Domain, load_domain
from gcd_core.errors import GCDError
from gcd_core.evaluation.markdown import markdown
from gcd_core.evaluation.paper import BASELINES
from gcd_core.evaluation.paper import TABLES as MADE
from gcd_core.evaluation.provenance import identity_of_directions, networks_of
from gcd_core.evaluation.published import FRACTIONS

FOLDER = "results"
OPENING = re.compile(r"<!-- results:(\S+) (\S+) -->")
CLOSING = "<!-- /results -->"
NONE = "–"
NOT_MEASURED = "Not measured yet."
# What tells a file of each table: the keys that it has.
KEYS = {
    "directions": {"directions", "label"},
    "reconstruction": {"reconstruction"},
    "classifiers": {"classifiers"},
    "sanity": {"checks"},
    "bench": {"find", "transfer", "bb_lig"},
    "tables": {"tables", "label"},
}
# Of the tables that `tables` made: figures with other digits than three, and those in percent.
DIGITS = {"alpha": 2, "FID": 1, "sFID": 1, "FVA": 1, "complexity": 2}
IN_PERCENT = ("FR", "oracle", "FVA", "FR_std", "oracle_std", "FVA_std")


@dataclass(frozen=True)
class Measurement:
    """What one file says."""

    file: str  # its name, within the domain's folder
    content: dict[str, Any]  # as the command wrote it

    @property
    def source(self) -> str:
        """Which file, when, on which machine and which images: one part of a sentence."""
        measured = self.content.get("measured")
        if not measured:
            return f"`{self.file}` (older than the notes of day, machine and networks)"
        machine = measured["machine"]
        where = (
            machine["gpu"] or f"{machine['cpu']}, {machine['threads']} of {machine['cores']} cores"
        )
        return f"`{self.file}` ({measured['date']}, {where}{_described(measured['images'])})"


def read_measurements(folder: Path) -> list[Measurement]:
    """Read all that was measured of the domain in a folder.

    Raises a GCDError if a file is no JSON object.
    """
    files = sorted((folder / FOLDER).glob("*.json"))
    sanity = read_domain_file(folder).get("sanity")
    if sanity:
        files.append(folder / sanity)
    found = []
    for file in files:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict):
            raise GCDError(f"{file} is not what a command's --json writes; make it anew.")
        found.append(Measurement(file.relative_to(folder).as_posix(), content))
    return found


def stale_files(folder: Path) -> list[str]:
    """Say which files were measured with other networks or directions than the folder's.

    Parameters
    ----------
    folder : Path
        Of the domain, which is opened if there is anything to hold against it.

    Returns
    -------
    list of str
        A sentence for each difference. A file that names no networks is passed by.
    """
    found = [m for m in read_measurements(folder) if "identity" in m.content]
    if not found:
        return []
    domain = load_domain(folder, device="cpu")
    problems = []
    for measurement in found:
        then = measurement.content["identity"]
        now = networks_of(domain) | _directions_now(domain, measurement.content)
        problems += [
            f"{folder.name}/{measurement.file} was measured with the {part} {then[part]}; "
            f"{domain.name} has {now[part] or 'none'}."
            for part in then
            if then[part] != now[part]
        ]
    return problems


def _directions_now(domain: Domain, content: dict[str, Any]) -> dict[str, str]:
    """The identity of the domain's directions that a file measured; "" where it lacks one."""
    if KEYS["directions"] <= content.keys():
        label, names = content["label"], list(content["directions"])
    elif KEYS["tables"] <= content.keys():
        label = content["label"]
        names = next(iter(content["settings"].values()))["directions"]
    else:
        return {"directions": ""}
    ready = domain.ready_directions(label) if label in domain.labels else None
    if ready is None or not set(names) <= set(ready.names):
        return {"directions": ""}
    return {"directions": identity_of_directions(ready[name] for name in names)}


def fill_in(text: str, checkpoints: Path) -> str:
    """Return a document with its tables as the files have them.

    Raises a GCDError if a mark names no table or no domain, or has no end.

    Parameters
    ----------
    text : str
        In Markdown.
    checkpoints : Path
        The folder of the domains' folders.
    """
    parts, place = [], 0
    while opening := OPENING.search(text, place):
        end = text.find(CLOSING, opening.end())
        following = OPENING.search(text, opening.end())
        if end < 0 or (following and following.start() < end):
            raise GCDError(f"{opening[0]} has no {CLOSING} behind it.")
        table = make_table(opening[1], checkpoints / opening[2])
        parts += [text[place : opening.end()], f"\n{table}\n"]
        place = end
    return "".join([*parts, text[place:]])


def make_table(name: str, folder: Path) -> str:
    """Return one table of a domain in Markdown, and below it which files it is from.

    Without a file for it, it is the sentence NOT_MEASURED. Raises a GCDError if there is no such
    table or no such domain, or a file cannot be read.
    """
    if name not in TABLES:
        raise GCDError(f"There is no table {name!r}; the tables are {', '.join(TABLES)}.")
    kind, rows_of = TABLES[name]
    found = [m for m in read_measurements(folder) if KEYS[kind] <= m.content.keys()]
    if not found:
        return f"\n{NOT_MEASURED}\n"
    rows, used = rows_of(found)
    if not rows:
        return f"\n{NOT_MEASURED}\n"
    sources = "; ".join(dict.fromkeys(m.source for m in used))
    return f"\n{markdown(rows, list(rows[0]), aligned=False)}\n\nFrom {sources}.\n"


# -- the tables: each takes the measurements of its kind, and returns those that it used too -----

Rows = tuple[list[dict[str, Any]], Iterable[Measurement]]


Key = tuple[str, str, str]  # label, direction, detail


def _best_measured(found: list[Measurement]) -> dict[Key, Measurement]:
    """Of each label, direction and detail, the file of the most images."""
    best: dict[Key, Measurement] = {}
    for measurement in found:
        content = measurement.content
        for name, own in content["directions"].items():
            key = content["label"], name, content.get("detail", "decoded")
            if key not in best or own["n"] > best[key].content["directions"][name]["n"]:
                best[key] = measurement
    return best


def _directions(found: list[Measurement]) -> Rows:
    """Each direction's counterfactuals and maps."""
    best, rows = _best_measured(found), []
    for (label, name, detail), measurement in sorted(best.items(), key=_in_order):
        own = measurement.content["directions"][name]
        rows.append(
            {
                "label": f"`{label}`",
                "direction": name,
                "detail": detail,
                "margin": f"{measurement.content['margin']:g}",
                "n": own["n"],
                "flip rate": _percent(own["flip_rate"]),
                "oracle flip rate": _percent(own["oracle_flip_rate"]),
                "alpha": _number(own["alpha"], 2),
                "LPIPS": _number(own["lpips"], 3),
                "L1": _number(own["l1"], 3),
                "fine power": _percent(own.get("fine_power")),
                "FID(oracle)": _number(own.get("fid_oracle"), 1),
                "manifold LPIPS": _number(own["manifold_lpips"], 3),
                "Gini BB-LIG": _number(own["gini_bb_lig"], 2),
                "Gini difference": _number(own["gini_difference"], 2),
            }
        )
    return rows, best.values()


def _counterfactuals(found: list[Measurement]) -> Rows:
    """The two choices of the counterfactual on the same walks along g."""
    best = {key: m for key, m in _best_measured(found).items() if key[1] == "g"}
    rows = []
    for (label, name, detail), measurement in sorted(best.items(), key=_in_order):
        content = measurement.content
        own = content["directions"][name]
        for choice in ("smallest", "lowest-loss"):
            chosen = own if choice == content["counterfactual"] else own[choice.replace("-", "_")]
            rows.append(
                {
                    "label": f"`{label}`",
                    "detail": detail,
                    "counterfactual": choice,
                    "n": own["n"],
                    "flip rate": _percent(chosen["flip_rate"]),
                    "oracle flip rate": _percent(chosen["oracle_flip_rate"]),
                    "alpha": _number(chosen["alpha"], 2),
                    "LPIPS": _number(chosen["lpips"], 3),
                    "L1": _number(chosen["l1"], 3),
                }
            )
    return rows, best.values()


def _reconstruction(found: list[Measurement]) -> Rows:
    """How well the generator gives pictures back, in each way of sampling."""
    rows = [
        {
            "solver, steps": row["sampling"],
            "n": row["n"],
            "evaluations": _number(row["evaluations"], 0),
            "MAE": _number(row["mae"], 4),
            "SSIM": _number(row["ssim"], 3),
            "LPIPS": _number(row["lpips"], 4),
            **{f"`{label}` kept": _percent(v) for label, v in row["agreement"].items()},
        }
        for measurement in found
        for row in measurement.content["reconstruction"]
    ]
    return rows, found


def _classifiers(found: list[Measurement]) -> Rows:
    """How well classifier and oracle tell the labels apart, and how sure they may be."""
    rows = [
        {
            "network": network,
            "label": f"`{label}`",
            "n": own["n"],
            "AUROC": _number(own["auroc"], 4),
            "accuracy": _percent(own["accuracy"]),
            "ECE": _number(own["ece"], 3),
        }
        for measurement in found
        for network, labels in measurement.content["classifiers"].items()
        for label, own in labels.items()
    ]
    return rows, found


def _sanity(found: list[Measurement]) -> Rows:
    """Whether the domain's explanations can be trusted."""
    rows = [
        {
            "label": f"`{measurement.content['label']}`",
            "detail": measurement.content.get("detail", "decoded"),
            "check": f"`{check['name']}`",
            "passes": "yes" if check["passed"] else "no",
            "what it says": check["sentence"],
        }
        for measurement in found
        for check in measurement.content["checks"]
    ]
    return rows, found


def _bench(found: list[Measurement]) -> Rows:
    """What the paper's protocol costs, and what the domain's fast settings do."""
    rows = []
    for measurement in found:
        content = measurement.content
        searched = f"find, {content['find']['samples']:,} samples"
        works = {"find": searched, "transfer": "walk, an image", "bb_lig": "BB-LIG, an image"}
        if "few" in content:
            works["few"] = f"find over drawn codes, {content['few']['samples']} samples"
        for key, work in works.items():
            paper, ours, ratio = (content[key][side] for side in ("paper", "ours", "ratio"))
            for unit in paper:
                rows.append(
                    {
                        "work": work,
                        "unit": unit,
                        "the paper's protocol": _count(paper[unit]),
                        "the domain's settings": _count(ours[unit]),
                        "ratio": _ratio(ratio[unit]),
                        "the paper's side": f"scaled; ran: {content[key]['measured_on']}"
                        if content[key]["scaled"]
                        else "ran whole",
                    }
                )
    return rows, found


def _of_tables(number: str) -> Callable[[list[Measurement]], Rows]:
    """One of the tables that `tables` made, of all labels; without columns that nothing is in."""

    def make(found: list[Measurement]) -> Rows:
        used = [m for m in found if number in m.content["tables"]]
        rows = [
            {"label": f"`{m.content['label']}`", **row}
            for m in used
            for row in m.content["tables"][number]
        ]
        names = list(dict.fromkeys(name for row in rows for name in row))
        filled = [name for name in names if any(row.get(name) is not None for row in rows)]
        said = {"label", "class", "dataset", "task"}  # a label's own is said once
        if "task" not in filled:
            filled = [name for name in filled if name == "label" or name not in said]
        return [{name: _cell(number, name, row.get(name)) for name in filled} for row in rows], used

    return make


def _cell(table: str, name: str, value: Any) -> str:
    """A figure of the paper's tables as it is written."""
    if value is None or isinstance(value, str):
        return NONE if value is None else value
    if isinstance(value, float):
        plain = name.partition("(")[0].partition("_std")[0]
        if name in IN_PERCENT and table not in FRACTIONS:
            return f"{value:.1f}"
        return _number(value, DIGITS.get(plain, 3))
    return f"{value:,}"


# The mark `table-1` is Table 1, `baselines` the one that is not the paper's.
OF_TABLES = [name if name == BASELINES else f"table-{name}" for name in MADE]

# Name of each table: of which files it is made, and how.
TABLES: dict[str, tuple[str, Callable[[list[Measurement]], Rows]]] = {
    "directions": ("directions", _directions),
    "counterfactuals": ("directions", _counterfactuals),
    "reconstruction": ("reconstruction", _reconstruction),
    "classifiers": ("classifiers", _classifiers),
    "sanity": ("sanity", _sanity),
    "bench": ("bench", _bench),
    **{name: ("tables", _of_tables(name.removeprefix("table-"))) for name in OF_TABLES},
}


def _in_order(item: tuple[Key, Measurement]) -> tuple[str, bool, str, str]:
    """By label; g, then the ways, then the h-directions."""
    label, name, detail = item[0]
    return label, name.startswith("h"), name, detail


def _described(images: dict[str, Any] | None) -> str:
    """The images of a measurement as the end of a part of a sentence; empty without any."""
    if images is None:
        return ""
    counts = ", ".join(f"{n} {label}" for label, n in images["labels"].items())
    split = f" of the split {images['split']}" if images["split"] else ""
    return f"; {images['n']} images{split}" + (f": {counts}" if counts else "")


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f} %".replace("100.0", "100")


def _number(value: float | None, digits: int) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _ratio(value: float | None) -> str:
    """Three digits, and whole from 100 on."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _count(value: float) -> str:
    """A count or seconds: whole from 10 on."""
    return f"{value:,.0f}" if value >= 10 or float(value).is_integer() else f"{value:.2f}"
