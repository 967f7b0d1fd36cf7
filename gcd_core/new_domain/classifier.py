"""From what `--classifier` names to the tables of domain.toml, and whether it can be explained.

A file, a `module:function`, a hub repository or a folder of transformers, a TOML file with the
tables of domain.toml, or `train`.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gcd_core.classifiers import BlackBox, load_classifier
from gcd_core.classifiers.network import TorchClassifier
from gcd_core.classifiers.output_check import are_distributions, fill_probabilities
from gcd_core.classifiers.questions import as_far_as_it_can, questioned
from gcd_core.domains.file import CLASSIFIERS, Label, read_toml
from gcd_core.errors import GCDError
from gcd_core.new_domain.data import DataSet
from gcd_core.new_domain.questions import (
    Asked,
    class_questions,
    default_questions,
    is_negative,
)
from gcd_core.new_domain.shown_as import best_way, known_pictures, sentence, sides_to_try
from gcd_core.training.classifier import Task

TRAIN = "train"
FILE_KINDS = {
    ".onnx": "onnx",
    ".pt2": "exported",
    ".ts": "torchscript",
    ".torchscript": "torchscript",
}
STATES = (".safetensors", ".pth", ".ckpt", ".tar")
ASKED = 32  # pictures that it is asked about before anything is trained
STILL = 1e-3  # standard deviation of log-odds below which every answer is the same
FILES = "files"  # of a TOML file: what else the classifier's own code reads
TOP = ("title", "description", "notice", "credit")  # of a TOML file, taken over as they are
CONFIG = "config.json"  # of a folder of transformers


@dataclass(frozen=True)
class Sections:
    """What domain.toml will say of classifier, second opinion and labels.

    Attributes
    ----------
    classifier : dict or None
        Its table; None where it is trained here.
    labels : dict
        Name of each label to its table.
    questions : tuple of Asked
        The same as questions.
    folder : Path
        Where the files lie that the tables name.
    files : tuple of str
        These, relative to the folder.
    oracle : dict or None
        The second opinion's table, where one was given.
    top : dict
        Title, description, notice and credit, where a TOML file gave them.
    told : tuple of str
        What was taken for granted, in sentences.
    """

    classifier: dict[str, Any] | None
    labels: dict[str, dict[str, Any]]
    questions: tuple[Asked, ...]
    folder: Path
    files: tuple[str, ...] = ()
    oracle: dict[str, Any] | None = None
    top: dict[str, str] = field(default_factory=dict)
    told: tuple[str, ...] = ()

    def copy_files(self, folder: Path) -> None:
        """Put the files that the tables name into a domain's folder."""
        for name in self.files:
            source, place = self.folder / name, folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, place, dirs_exist_ok=True)
            else:
                shutil.copyfile(source, place)

    def open(self, device: str) -> tuple[BlackBox | None, BlackBox | None]:
        """The classifier and the second opinion with their questions; None where there is none."""
        questions = [Label.read(name, table).question for name, table in self.labels.items()]
        classifier = oracle = None
        if self.classifier is not None:
            classifier = questioned(
                load_classifier(self.classifier, self.folder, device), questions
            )
        if self.oracle is not None:
            opened = load_classifier(self.oracle, self.folder, device)
            oracle = as_far_as_it_can(opened, questions)
        return classifier, oracle

    def tasks(self, data: DataSet) -> dict[str, str]:
        """By label, which classes are positive and negative; labels of no class are left out."""
        if self.classifier is None:
            outputs: Sequence[str] = data.classes
        else:
            outputs = _outputs_named(self.classifier)
        found = {asked.name: asked.task(data.classes, outputs) for asked in self.questions}
        return {name: task for name, task in found.items() if task is not None}


@dataclass(frozen=True)
class Given:
    """What the command line says of the classifier.

    Attributes
    ----------
    text : str
        `--classifier`.
    questions : sequence of Asked
        `--question`.
    architecture : str or None
        `--architecture`, of a file that holds weights alone.
    outputs : list of str or str or None
        `--outputs`: names, or a range such as "0:81".
    output : str or None
        `--answers`: sigmoid, softmax, probabilities or numbers.
    """

    text: str
    questions: tuple[Asked, ...] = ()
    architecture: str | None = None
    outputs: list[str] | str | None = None
    output: str | None = None


def sections_of(given: Given, data: DataSet, size: int, channels: int, device: str) -> Sections:
    """The tables of a classifier.

    Parameters
    ----------
    size, channels : int
        Of what a classifier is given whose file does not say it.

    Raises
    ------
    GCDError
        If there is no such file, or it cannot be opened, or a question cannot be asked.
    """
    if given.text == TRAIN:
        return _trained(given, data)
    path = Path(given.text)
    if path.suffix == ".toml":
        return _of_toml(given, path)
    told: list[str] = []
    table, folder, files = _table_of(given, path, size, channels)
    unsaid = table["kind"] != "transformers" and "labels" not in table
    if unsaid:
        table |= _outputs_of(given, table, folder, data, device, told)
    opened = load_classifier(table, folder, device)
    exclusive = opened.output in ("softmax", "probabilities") and len(opened.labels) > 1
    questions = given.questions or default_questions(opened.labels, exclusive)
    labels = {asked.name: asked.table() for asked in questions}
    made = Sections(table, labels, tuple(questions), folder, files)
    if unsaid:
        sides = [table["size"]] if "size" in _shape_of(path) else sides_to_try(data, table["size"])
        known = known_pictures(data, made.tasks(data), max(sides))
        if known is not None:
            table |= best_way(table, labels, folder, device, known, sides)
        told.append(sentence(table, seen=known is not None))
    return replace(made, classifier=table, told=tuple(told))


def check_answers(classifier: BlackBox, pictures: Tensor, sections: Sections) -> list[str]:
    """Ask about a few pictures (N, 3, S, S); a sentence for each question.

    Raises a GCDError if a question gets the same answer for everything.
    """
    with torch.inference_mode():
        logits = classifier(pictures[:ASKED])
    told = []
    for name in sections.labels:
        odds = classifier.logit(logits, name).float()
        if not bool(odds.isfinite().all()):
            raise GCDError(f"The classifier answers {name!r} with numbers that are not finite.")
        if odds.std() < STILL:
            raise GCDError(
                f"The classifier answers {name!r} the same for all of {len(odds)} pictures "
                f"(log-odds {odds.mean():.3f}), so nothing can change its mind. Is it given the "
                "pictures as it was trained (scale, mean, std: in a TOML file)?"
            )
        yes = int((odds > 0).sum())
        told.append(f"asked {name!r} of {len(odds)} pictures: {yes} yes, {len(odds) - yes} no")
        if yes in (0, len(odds)):
            told[-1] += " (all the same side: choose another threshold, or see whether it is right)"
    return told


def _trained(given: Given, data: DataSet) -> Sections:
    """The tables of a classifier that is trained here, from the labels."""
    if len(data.classes) < 2:
        raise GCDError(
            "--classifier train learns from labels, and the data have only one class: put the "
            "classes into folders, or give a labels.csv with a column 'label'."
        )
    questions = given.questions or class_questions(data.classes)
    for asked in questions:
        if asked.threshold is not None:
            raise GCDError(f"{asked.name!r}: a classifier that is trained here has no threshold.")
        if asked.task(data.classes, data.classes) is None:
            raise GCDError(
                f"{asked.name!r} asks for {', '.join(asked.of + asked.against)}; the classes are "
                f"{', '.join(data.classes)}."
            )
    plain = ("title", "negative", "positive")
    labels = {a.name: {key: a.table()[key] for key in plain} for a in questions}
    return Sections(None, labels, tuple(questions), Path())


def _of_toml(given: Given, path: Path) -> Sections:
    """The tables that a TOML file holds: those of domain.toml, or one classifier's alone."""
    content, folder = read_toml(path), path.parent
    if "classifier" not in content:
        kind = {"kind": "http"} if "url" in content else {}
        content = {"classifier": {**kind, **content}}
    known = {*CLASSIFIERS, "labels", FILES, *TOP}
    if unknown := sorted(content.keys() - known):
        raise GCDError(f"{path} has no key {unknown[0]!r}; it knows {', '.join(sorted(known))}.")
    for name in ("classifier", "oracle", "labels"):
        if name in content and not isinstance(content[name], dict):
            raise GCDError(f"{path}: {name!r} is a table, [{name}].")
    labels = content.get("labels", {})
    if labels and given.questions:
        raise GCDError(f"{path} has [labels.*], so it asks the questions; leave --question out.")
    if not labels:
        opened = load_classifier(content["classifier"], folder)
        exclusive = opened.output in ("softmax", "probabilities") and len(opened.labels) > 1
        questions = given.questions or default_questions(opened.labels, exclusive)
        labels = {asked.name: asked.table() for asked in questions}
    asked = tuple(_asked(name, table, path) for name, table in labels.items())
    named = [content[name] for name in CLASSIFIERS if name in content]
    beside = _listed(content.get(FILES, []), folder, path)
    used = [name for table in named for name in _files_in(table, folder)]
    files = tuple(dict.fromkeys([*used, *beside]))
    top = {key: str(content[key]) for key in TOP if key in content}
    return Sections(content["classifier"], labels, asked, folder, files, content.get("oracle"), top)


def _listed(names: Any, folder: Path, path: Path) -> list[str]:
    """The `files` of a TOML file; a GCDError if one is not there."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise GCDError(f"{path}: {FILES!r} is a list of names.")
    _check_inside(names, folder)
    for name in names:
        if not (folder / name).is_file():
            raise GCDError(f"{folder / name}, one of {FILES!r} in {path}, does not exist.")
    return names


def _asked(name: str, table: Any, path: Path) -> Asked:
    """A label's table as a question."""
    keys = {"title": str, "negative": str, "positive": str}
    if not isinstance(table, dict) or not all(isinstance(table.get(k), t) for k, t in keys.items()):
        raise GCDError(f"{path}: [labels.{name}] needs a title, negative and positive.")
    question = Label.read(name, {k: v for k, v in table.items() if k != "directions"}).question
    return Asked(name, question.of or (name,), question.against, question.threshold)


def _table_of(
    given: Given, path: Path, size: int, channels: int
) -> tuple[dict[str, Any], Path, tuple[str, ...]]:
    """A table without what only the opened file can say; the folder and the files it names."""
    text, suffix = given.text, path.suffix.lower()
    shape = {"size": size, "channels": channels}
    if path.is_file():
        if suffix in FILE_KINDS or (suffix == ".pt" and not given.architecture):
            kind = FILE_KINDS.get(suffix, "torchscript")
            table = {"kind": kind, "model": path.name}
            beside = [f"{path.name}.data", f"{path.stem}.data"] if kind == "onnx" else []
            files = [path.name, *(name for name in beside if (path.parent / name).is_file())]
            own = _shape_of(path) if kind == "onnx" else {}
            return table | shape | own, path.parent, tuple(files)
        if suffix in (*STATES, ".pt"):
            if not given.architecture:
                raise GCDError(
                    f"{path} holds weights alone; name their network with --architecture, such as "
                    "torchvision-resnet18."
                )
            kind = "safetensors" if suffix == ".safetensors" else "torch"
            table = {"kind": kind, "architecture": given.architecture, "weights": path.name}
            return table | shape, path.parent, (path.name,)
        raise GCDError(
            f"{path} is no kind of classifier that is known; give .onnx, .pt, .pt2, .safetensors "
            "or .toml."
        )
    if (path / CONFIG).is_file():
        table = {"kind": "transformers", "model": path.name}
        return table, path.absolute().parent, (path.name,)
    if ":" in text:
        module = f"{text.split(':')[0].replace('.', '/')}.py"
        files = [module] if Path(module).is_file() else []
        return {"kind": "python", "callable": text} | shape, Path(), tuple(files)
    if suffix or path.exists() or text.count("/") != 1 or text.startswith(("/", ".")):
        raise GCDError(
            f"There is no classifier {text!r}; give a file, module:function, a hub repository "
            "(owner/name), a TOML file, or train."
        )
    return {"kind": "transformers", "model": text}, Path(), ()


def _shape_of(path: Path) -> dict[str, int]:
    """The side and the channels that an ONNX file says of its input, as far as it does."""
    try:
        import onnxruntime as ort

        (source,) = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).get_inputs()
        shape = source.shape
    except Exception:  # opening it as a classifier says what is wrong
        return {}
    if len(shape) != 4:
        return {}
    place = 1 if shape[1] in (1, 3) else 3
    side = shape[2]
    found = {"channels": shape[place], "size": side}
    return {key: value for key, value in found.items() if isinstance(value, int)}


def _outputs_of(
    given: Given,
    table: Mapping[str, Any],
    folder: Path,
    data: DataSet,
    device: str,
    told: list[str],
) -> dict[str, Any]:
    """Names and kind of the outputs of a file that does not say them, from its answers."""
    shape, raw = _first_answers(given, table, folder, data, device)
    count = raw.shape[1]
    names: list[str] | str
    if given.outputs is not None:
        names = given.outputs
    elif count == len(data.classes) > 1:
        names = list(data.classes)
        told.append(
            f"its {count} outputs were taken for the classes in the order of the alphabet "
            f"({', '.join(names)}); otherwise give --outputs."
        )
    elif count == 1 and len(data.classes) == 2:
        first, second = data.classes
        names = [first if is_negative(second) and not is_negative(first) else second]
        told.append(f"its output was taken for {names[0]!r}; otherwise give --outputs NAME.")
    else:
        names = f"0:{count}"
        told.append(
            f"its outputs have no names, so they are 0 to {count - 1}; --outputs names them."
        )
    output = given.output
    if output is None:
        inside = fill_probabilities(raw.min().item(), raw.max().item(), raw.numel())
        output = "probabilities" if inside or are_distributions(raw) else "softmax"
        output = "sigmoid" if output == "softmax" and count == 1 else output
        told.append(f"its answers were taken for {output}; otherwise give --answers.")
    return {"labels": names, "output": output} | shape


def _first_answers(
    given: Given, table: Mapping[str, Any], folder: Path, data: DataSet, device: str
) -> tuple[dict[str, int], Tensor]:
    """Size and channels that a network takes, its file's own first, and what it answers (N, L).

    Raises a GCDError of the first try if it takes none of them.
    """
    said = _shape_of(folder / str(table.get("model", "")))
    sides = [table["size"]] if "size" in said else sides_to_try(data, table["size"])
    channels = (
        [table["channels"]] if "channels" in said else [table["channels"], 4 - table["channels"]]
    )
    failed: Exception | None = None
    for side, colours in itertools.product(sides, channels):
        shape = {"size": side, "channels": colours}
        try:
            opened = _opened_unnamed(given, {**table, **shape}, folder, data, device)
            with torch.inference_mode():
                return shape, opened.answer(data.look(side, ASKED)).float().flatten(1)
        except Exception as error:  # a network of a file may raise anything
            failed = failed or error
    if isinstance(failed, GCDError):
        raise failed
    reason = (str(failed).strip().splitlines() or ["no reason given"])[-1]
    raise GCDError(f"The classifier cannot be asked: {reason}") from failed


def _opened_unnamed(
    given: Given, table: Mapping[str, Any], folder: Path, data: DataSet, device: str
) -> TorchClassifier:
    """Open a classifier whose outputs are not named yet, to see what it answers.

    A file of weights alone is of a network of so many outputs; these are tried.
    """
    counts = [1]
    if "weights" in table:
        counts = list(dict.fromkeys([len(data.classes) or 2, 1, 2]))
    names = [given.outputs] if given.outputs is not None else [f"0:{n}" for n in counts]
    for labels in names:
        whole = {**table, "labels": labels, "output": "numbers"}
        try:
            opened = load_classifier(whole, folder, device)
        except GCDError as error:
            if labels != names[-1]:
                continue
            many = "weights" in table and given.outputs is None
            raise GCDError(
                f"{error}{' Name its outputs with --outputs.' if many else ''}"
            ) from error
        assert isinstance(opened, TorchClassifier)  # as of all kinds but transformers and http
        return opened
    raise GCDError("The classifier has no outputs.")


def agreement(
    classifier: BlackBox, pictures: Tensor, labels: Sequence[str], tasks: Mapping[str, str]
) -> dict[str, float]:
    """By label, the share of pictures that the classifier puts where their class belongs.

    A share far below a half says that outputs are named in another order than they have. Labels
    with fewer than eight pictures that count are left out.
    """
    with torch.inference_mode():
        logits = classifier(pictures)
    shares = {}
    for name, text in tasks.items():
        targets = torch.tensor([Task.parse(text).target(value) for value in labels])
        counts = ~targets.isnan()
        if int(counts.sum()) >= 8:
            said = (classifier.logit(logits, name) > 0).float()
            shares[name] = (said[counts] == targets[counts]).float().mean().item()
    return shares


def _outputs_named(table: Mapping[str, Any]) -> list[str]:
    """The names of a table's outputs; of a range or of none, those that a number gives."""
    labels = table.get("labels", [])
    return list(labels) if isinstance(labels, list) else []


def _files_in(table: Mapping[str, Any], folder: Path) -> list[str]:
    """Files and folders within `folder` that a table names, and the file of a `callable`."""
    found = []
    for key, value in table.items():
        if not isinstance(value, str) or key in ("kind", "url"):
            continue
        name = f"{value.split(':')[0].replace('.', '/')}.py" if key == "callable" else value
        _check_inside([name], folder)
        if name and (folder / name).exists():
            found.append(name)
    return found


def _check_inside(names: Sequence[str], folder: Path) -> None:
    """Refuse names that lead out of a folder."""
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise GCDError(f"{name} lies outside of {folder}; put it beside the TOML file.")


def value_text(value: Any) -> str:
    """A value as TOML has it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key_text(k)} = {value_text(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(value_text(one) for one in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def key_text(name: str) -> str:
    """A key as TOML has it: bare where it may be."""
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else json.dumps(name, ensure_ascii=False)
