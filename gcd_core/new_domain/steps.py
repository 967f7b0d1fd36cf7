"""The parts of a new domain: which command each one runs, with which options."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from gcd_core.domains.check import inspect_domain
from gcd_core.domains.opening import load_domain
from gcd_core.errors import GCDError
from gcd_core.evaluation.result_tables import FOLDER as RESULTS
from gcd_core.files import write_json
from gcd_core.generators.device import choose_device
from gcd_core.generators.weights import CONFIG_NAME, STEM, WEIGHTS_NAME
from gcd_core.images.dataset import ImageFiles, load_split
from gcd_core.method.directions import DirectionSet, load_directions
from gcd_core.method.prior_search import MIN_IMAGES, SETTLED
from gcd_core.method.repeatability import repeatability_of
from gcd_core.method.verification import tried_of
from gcd_core.new_domain.card import write_card
from gcd_core.new_domain.data import TABLE, chosen_rows, prepare, read_table, write_table
from gcd_core.new_domain.domain_file import file_of, write_domain_file
from gcd_core.new_domain.plan import Round
from gcd_core.new_domain.walk_range import choose_range
from gcd_core.new_domain.work import Step, Work, options
from gcd_core.training.classifier import Task

PREPARED = "images.zip"
ANSWERS = "answers.csv"  # of the classifier, to the pictures that are learned from
ASKED_AT_ONCE = 64
ROUND = "round.txt"  # in a training's folder that is made anew each round: of which one it is
FEWEST_CODES = 100  # pictures of a label that codes are measured on
SAVES = 10.0  # minutes between two checkpoints, at most


def data(work: Work, planned: Round, minutes: float) -> None:
    """Decode the pictures once, at the generator's size."""
    design = work.plan.design
    shape = design.size, design.channels, design.fit
    count, unusable = prepare(
        work.data, work.folder, *shape, mirror=design.mirror, most=design.most
    )
    print(f"{count} pictures prepared, {len(unusable)} could not be decoded")
    work.state["figures"]["unusable"] = len(unusable) + len(work.data.unusable)


def network(name: str, work: Work, planned: Round, minutes: float) -> None:
    """Train the classifier, or the second opinion, from the labels."""
    design, second = work.plan.design, name == "oracle"
    tasks = work.sections.tasks(work.data)
    words = ["train", "classifier", *_of_data(work), *_shape(work)]
    for task in tasks.values():
        words += ["--label", task]
    words += options(
        [
            ("--architecture", "resnet" if second else "densenet"),
            ("--options", design.classifier_options[second]),
            ("--seed", int(second)),
            ("--minutes", minutes),
            ("--epochs", design.steps),
            ("--device", work.device),
            ("--out", work.folder / name),
        ]
    )
    work.run(words)


def codec(work: Work, planned: Round, minutes: float) -> None:
    """Train the codec, from the bundled one's weights."""
    design = work.plan.design
    begin = Path(design.begin) / WEIGHTS_NAME if design.begin else None
    words = ["train", "vae", *_of_data(work), *_shape(work)]
    words += options(
        [
            ("--latent-channels", design.latent_channels),
            ("--widths", design.widths),
            ("--batch", design.batch),
            ("--lr", design.codec_rate),
            ("--begin-with", begin),
            ("--minutes", minutes),
            ("--steps", design.steps),
            ("--device", work.device),
            ("--out", work.folder / "codec"),
        ]
    )
    work.run(words)


def diffae(work: Work, planned: Round, minutes: float) -> None:
    """Train the diffusion autoencoder; in a later round, the same one further."""
    design, total = work.plan.design, work.state["totals"]["diffae"]
    words = ["train", "diffae", *_of_data(work), "--decorrelate", "--semantic-mean"]
    answers = work.folder / ANSWERS
    if not (work.task.remote or answers.is_file() or (work.folder / "diffae").is_dir()):
        _ask_about_all(work, answers)
    words += options(
        [
            ("--codec", work.folder / "codec"),
            ("--z-sem", design.z_sem),
            ("--model-channels", design.model_channels),
            ("--channel-mult", design.channel_mult),
            ("--attention", [design.attention]),
            ("--max-weight", 20),
            ("--augmentations", design.augmentations),
            ("--answers", answers if answers.is_file() else None),
            ("--batch", design.diffae_batch),
            ("--lr", design.rate),
            ("--begin-with", design.begin),
            ("--minutes", total),
            ("--steps", design.steps and design.steps * (1 + work.number)),
            ("--grid-minutes", total),  # at the end alone: it takes minutes on a CPU
            ("--device", work.device),
            ("--out", work.folder / "diffae"),
        ]
    )
    work.run(words)


def _ask_about_all(work: Work, path: Path) -> None:
    """Ask the classifier about the pictures to learn from; write the log-odds of each question.

    What z_sem has to tell of them no direction can miss.
    """
    design, sections = work.plan.design, work.sections
    if sections.classifier is None:  # it was trained here
        own = _tables_of(work)["classifier"] | {"weights": "classifier.safetensors"}
        sections = replace(sections, classifier=own, folder=work.folder / "classifier")
    classifier, _ = sections.open(str(choose_device(work.device)))
    assert classifier is not None
    pictures, table = load_split(
        work.folder / PREPARED, work.folder / TABLE, "train", design.size, design.channels
    )
    odds = []
    for batch in pictures.split(ASKED_AT_ONCE):
        logits = classifier(batch.float() / 255)
        odds.append(torch.stack([classifier.logit(logits, name) for name in sections.labels], 1))
    columns = [f"question {number}" for number in range(len(sections.labels))]
    rows = [
        {"file": file} | dict(zip(columns, map(str, answers), strict=True))
        for file, answers in zip(table["file"], torch.cat(odds).tolist(), strict=True)
    ]
    write_table(path, rows)


def distilled(work: Work, planned: Round, minutes: float) -> None:
    """Distil the decoder of this round's diffusion autoencoder, from the last round's."""
    design, out = work.plan.design, work.folder / "distilled"
    before = work.folder / "distilled-before"
    marker, now = out / ROUND, str(work.number)
    if out.is_dir() and not (marker.is_file() and marker.read_text() == now):
        shutil.rmtree(before, ignore_errors=True)
        out.rename(before)
    out.mkdir(exist_ok=True)
    marker.write_text(now)
    begin = before if (before / CONFIG_NAME).is_file() else design.begin
    words = ["train", "distilled", *_of_data(work)]
    words += options(
        [
            ("--of", work.folder / "diffae"),
            ("--begin-with", begin),
            ("--radius", design.radius),
            ("--minutes", minutes),
            ("--steps", design.steps),
            ("--export-minutes", min(SAVES, max(0.5, minutes / 2))),
            ("--device", work.device),
            ("--out", out),
        ]
    )
    work.run(words)


def decoder(work: Work, planned: Round, minutes: float) -> None:
    """Train the codec's decoder further; the codes stay what they are."""
    design, total = work.plan.design, work.state["totals"]["decoder"]
    words = ["train", "vae", *_of_data(work), *_shape(work)]
    words += options(
        [
            ("--decoder-of", work.folder / "distilled"),
            ("--batch", design.batch),
            ("--lr", design.codec_rate / 2),
            ("--minutes", total),
            ("--steps", design.steps and design.steps * (1 + work.number)),
            ("--device", work.device),
            ("--out", work.folder / "decoder"),
        ]
    )
    work.run(words)


def assemble(work: Work, planned: Round, minutes: float) -> None:
    """Put the networks into the stage; what belonged to an older generator goes."""
    stage = work.stage
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    last = "decoder" if "decoder" in [part.name for part in planned.parts] else "distilled"
    for file in sorted((work.folder / last).glob(f"{STEM}*")):
        shutil.copyfile(file, stage / file.name)
    work.sections.copy_files(stage)
    for name in work.task.trained:
        shutil.copyfile(
            work.folder / name / "classifier.safetensors", stage / f"{name}.safetensors"
        )
    work.state["figures"].pop("walk", None)
    describe(work)


def calibrate(work: Work, planned: Round, minutes: float) -> None:
    """Measure what codes and usual pictures are like, on some of them."""
    rows = read_table(work.folder / TABLE)
    effort = planned.effort
    few = _few(rows, "train", effort.train) + _few(rows, "val", effort.val)
    write_table(work.folder / "few.csv", few)
    words = ["calibrate", "--domain", str(work.stage), "--device", work.device]
    words += ["--data", str(work.folder / PREPARED), "--labels", str(work.folder / "few.csv")]
    for task in work.sections.tasks(work.data).values():
        own = [row for row in few if row["split"] == "train" and _counts(task, row)]
        if len(own) >= FEWEST_CODES:
            words += ["--label", task]
    words += ["--codes", str(work.stage / "codes.safetensors")]
    work.run([*words, "--out", str(work.stage / "off_distribution.safetensors")])
    describe(work)


def examples(work: Work, planned: Round, minutes: float) -> None:
    """Make synthetic examples."""
    words = ["train", "examples", "--domain", str(work.stage), *_of_data(work)]
    words += options(
        [
            ("--candidates", planned.effort.candidates),
            ("--sure", len(work.task.labels) > 1),
            ("--steps", 20),
            ("--device", work.device),
            ("--out", work.stage / "examples"),
        ]
    )
    work.run(words)


def find(work: Work, planned: Round, minutes: float) -> None:
    """Find the directions of a question over drawn codes, or over the pictures where that fails.

    Codes that are drawn belong to no picture. A generator of few minutes may draw nothing that the
    classifier knows from them; then the pictures themselves are asked about.
    """
    out, effort = work.stage / file_of(work.label), planned.effort
    _search(work, planned, out, effort.queries, ["--sampling", "prior"])
    rows = _rows_of(work, work.label)
    learned = sum(row["split"] == "train" for row in read_table(rows))
    count = min(learned, effort.images(work.task))
    if count >= MIN_IMAGES and not is_settled(load_directions(out)):
        other = work.folder / f"over-images-{out.name}"
        images = ["--images", str(work.data.source), "--labels", str(rows), "--split", "train"]
        _search(work, planned, other, count, ["--sampling", "images", *images])
        better = max((out, other), key=lambda path: rank(load_directions(path)))
        print(f"{work.label}: the search over {'pictures' if better == other else 'codes'} counts")
        better.replace(out)
        other.unlink(missing_ok=True)
    describe(work)


def _search(work: Work, planned: Round, out: Path, queries: int, sampling: list[str]) -> None:
    effort = planned.effort
    words = ["find", "--domain", str(work.stage), "--label", work.label, "--device", work.device]
    words += options(
        [
            ("--samples", queries),
            ("--n-h", min(effort.n_h, work.plan.design.z_sem)),
            ("--n-ways", effort.n_ways),
            ("--out", out),
        ]
    )
    work.run([*words, *sampling])


def is_settled(directions: DirectionSet) -> bool:
    """Whether another search would find the same g, and it flips all examples."""
    share, cosine = rank(directions)
    return share >= 1.0 and cosine >= SETTLED


def rank(directions: DirectionSet) -> tuple[float, float]:
    """The share of examples that g flips, and the cosine expected with another search's g."""
    confidence, tried = repeatability_of(directions), tried_of(directions.metadata).get("g")
    share = tried.flipped / tried.n if tried is not None and tried.n else 0.0
    return share, confidence.cosine if confidence is not None else 0.0


def walk(work: Work, planned: Round, minutes: float) -> None:
    """Choose alpha_max and the margin on validation pictures."""
    domain = load_domain(work.stage, work.device)
    pictures = {}
    for label in work.task.labels:
        files = ImageFiles(work.data.source, _rows_of(work, label), "val", planned.effort.walked)
        pictures[label] = [picture for _, picture in files.load(domain.load_picture)]
    chosen = choose_range(domain, pictures)
    print(chosen)
    work.state["figures"]["walk"] = {"alpha_max": chosen.alpha_max, "margin": chosen.margin}
    describe(work)


def measure(work: Work, planned: Round, minutes: float) -> None:
    """Measure reconstruction, directions and classifiers on test pictures."""
    results, effort = work.stage / RESULTS, planned.effort
    results.mkdir(exist_ok=True)
    original = ["--labels", str(work.folder / "original.csv"), "--split", "test"]
    limit = ["--limit", str(effort.evaluated)]
    _evaluate(work, "reconstruction", ["--reconstruction", *original, *limit])
    for label in work.task.labels:
        own = ["--labels", str(_rows_of(work, label)), "--split", "test", *limit]
        directions = ["--directions", str(work.stage / file_of(label)), "--direction", "g"]
        _evaluate(work, f"{file_of(label, '')}-g", [*directions, *own, "--summary"])
    if work.task.measured:
        words = ["--classifiers", *original]
        for task in work.sections.tasks(work.data).values():
            words += ["--target", task]
        _evaluate(work, "classifiers", words)
    describe(work)


def sanity(work: Work, planned: Round, minutes: float) -> None:
    """Make a few checks of whether the first question's explanations can be trusted."""
    effort, label = planned.effort, work.task.labels[0]
    path = work.stage / "sanity.json"
    words = ["sanity", "--domain", str(work.stage), "--images", str(work.data.source)]
    words += ["--labels", str(_rows_of(work, label)), "--split", "val", "--limit", "32"]
    words += ["--samples", str(effort.samples), "--walks", "4", "--only", *effort.checks]
    work.run([*words, "--label", label, "--device", work.device, "--json", str(path)])
    _rename_domain(path, work.stage.name)
    describe(work)


def finish(work: Work, planned: Round, minutes: float) -> None:
    """Write the card, check the domain as a whole, and put it in its place."""
    write_card(work, planned)
    if work.data.unusable and (work.folder / "unusable.txt").is_file():
        shutil.copyfile(work.folder / "unusable.txt", work.stage / "unusable.txt")
    if problems := inspect_domain(work.stage, work.device).problems:
        raise GCDError(f"The domain does not open: {' '.join(problems)}")
    work.publish()


def describe(work: Work) -> None:
    """Write domain.toml as far as the stage's files go."""
    write_domain_file(
        work.stage,
        work.sections,
        work.plan.design,
        walk=work.state["figures"].get("walk", {}),
        trained=_tables_of(work),
        credit=work.credit,
        pictures=len(chosen_rows(work.data, work.plan.design.most)),
    )


STEPS: dict[str, Step] = {
    "data": data,
    "classifier": partial(network, "classifier"),
    "oracle": partial(network, "oracle"),
    "codec": codec,
    "diffae": diffae,
    "distilled": distilled,
    "decoder": decoder,
    "assemble": assemble,
    "calibrate": calibrate,
    "examples": examples,
    "find": find,
    "walk": walk,
    "measure": measure,
    "sanity": sanity,
    "finish": finish,
}


def _of_data(work: Work) -> list[str]:
    """The options of what to learn from."""
    return ["--data", str(work.folder / PREPARED), "--labels", str(work.folder / TABLE)]


def _shape(work: Work) -> list[str]:
    design = work.plan.design
    return ["--size", str(design.size), "--channels", str(design.channels)]


def _few(rows: list[dict[str, str]], split: str, most: int) -> list[dict[str, str]]:
    """At most so many rows of a split, evenly spread."""
    own = [row for row in rows if row["split"] == split]
    return own if len(own) <= most else [own[i * len(own) // most] for i in range(most)]


def _rows_of(work: Work, label: str) -> Path:
    """A table of the source's pictures that a question makes sense for."""
    original = work.folder / "original.csv"
    task = work.sections.tasks(work.data).get(label)
    if task is None:
        return original
    path = work.folder / f"original-{file_of(label, '.csv')}"
    if not path.is_file():
        write_table(path, [row for row in read_table(original) if _counts(task, row)])
    return path


def _counts(task: str, row: dict[str, str]) -> bool:
    """Whether a row is of one of a task's two sides."""
    target = Task.parse(task).target(row["label"])
    return target == target  # NaN is unlike itself


def _tables_of(work: Work) -> dict[str, dict[str, Any]]:
    """The tables of the networks that were trained here, by "classifier" and "oracle"."""
    tables = {}
    for name in work.task.trained:
        text = (work.folder / name / "classifier.toml").read_text(encoding="utf-8")
        tables[name] = tomllib.loads(text)["classifier"] | {"weights": f"{name}.safetensors"}
    return tables


def _evaluate(work: Work, name: str, words: list[str]) -> None:
    """Run `evaluate` into a file of the stage's results."""
    path = work.stage / RESULTS / f"{name}.json"
    common = ["evaluate", "--domain", str(work.stage), "--images", str(work.data.source)]
    work.run([*common, *words, "--device", work.device, "--json", str(path)])
    _rename_domain(path, work.stage.name)


def _rename_domain(path: Path, name: str) -> None:
    """Write the domain's name in the place of its folder's path."""
    content = json.loads(path.read_text(encoding="utf-8"))
    write_json(path, content | {"domain": re.sub(r".*/", "", name)}, indent=2)
