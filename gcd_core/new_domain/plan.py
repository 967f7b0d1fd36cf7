"""What is done, how long each part takes, and what can be seen when.

Training is given minutes; all else takes what it takes, which is computed from a few seconds of
timing on this machine. So a plan is: from the minutes of a round take what is no training, and
share the rest among the trainings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from gcd_core.errors import GCDError
from gcd_core.files import bundled

GREY, COLOUR = "chest-xray", "blood-cells"  # the bundled domains whose generators are begun with
SIZES = (128, 160, 192, 256)
FIRST_ROUND = 1 / 3  # of the minutes, after which there is a domain that opens
CLASSIFIER_SHARE, CLASSIFIER_MOST = 0.045, 8.0  # of the minutes, and minutes, for each classifier
LEAST_TRAINING = 0.4  # share of a round that its trainings take at least
WANTED_TRAINING = 0.55  # below this share less is searched and measured
LEARNED = (250, 25)  # pictures of train, and of val and test each, that a minute allows
LEVELS = (1.0, 0.5, 0.25)  # of what a round searches and measures, until enough is for training
TRAININGS = {  # shares of a round's training time
    "first": {"codec": 0.3, "diffae": 0.5, "distilled": 0.2},
    "only": {"codec": 0.25, "diffae": 0.5, "distilled": 0.15, "decoder": 0.1},
    "later": {"diffae": 0.65, "distilled": 0.2, "decoder": 0.15},
}
SMALL_BATCH, LARGE_BATCH = 8, 32  # of the diffusion autoencoder, on a CPU and on a GPU
IMAGES_PER_QUERY = 8  # pictures asked about in the time in which a drawn code is decoded and asked
BETTER = 30.0  # minutes, the fewest for which two rounds are made
ENCODE, DECODE, DISTILLED = 8, 8, 2  # evaluations of the U-Net
SLACK = 1.3  # what a computed time is multiplied by: reading files, writing, opening a domain
START = 8.0  # seconds that opening a domain's networks and a data set takes, for each part


@dataclass(frozen=True)
class Speeds:
    """Seconds for one picture on this machine, in the batches that the commands use.

    Attributes
    ----------
    read : float
        Decoding a file of the data.
    semantic : float
        Encoding to z_sem, the codec's encoder included.
    evaluation : float
        One evaluation of the U-Net.
    picture : float
        The codec's decoder.
    perceptual : float
        LPIPS to another picture.
    classifier : float
        One question.
    """

    read: float
    semantic: float
    evaluation: float
    picture: float
    perceptual: float
    classifier: float

    def scaled(self, size: int) -> Speeds:
        """The same for pictures of another size than 128: what is computed goes by the area."""
        area = (size / SIZES[0]) ** 2
        costs = {name: value * area for name, value in asdict(self).items()}
        return Speeds(**costs | {"read": self.read, "classifier": self.classifier})

    @property
    def asked(self) -> float:
        """One decoded picture by the distilled decoder, compared and asked about."""
        return DISTILLED * self.evaluation + self.picture + self.perceptual + self.classifier

    @property
    def inverted(self) -> float:
        """One picture's code and z_T."""
        return self.semantic + ENCODE * self.evaluation

    @property
    def decoded(self) -> float:
        """One picture by the solver of many steps."""
        return DECODE * self.evaluation + self.picture


@dataclass(frozen=True)
class Design:
    """The networks and how they learn; the tests have a smaller one.

    Attributes
    ----------
    batch : int
        Pictures of a step of the codec.
    diffae_batch : int
        Of a step of the diffusion autoencoder. In as many minutes of a CPU small batches make so
        many more steps that far more is learned (docs/lab-notes.md); a GPU is not busy with them.
    begin : str or None
        Folder with the generator that codec, DiffAE and distilled decoder begin with.
    steps : int or None
        Stop each training after so many steps, if sooner.
    most : tuple of int, or None
        Pictures of train, and of each other split, that are learned from, at most.
    """

    size: int
    channels: int
    fit: str = "stretch"
    latent_channels: int = 16
    widths: tuple[int, ...] = (32, 96, 160)
    model_channels: int = 96
    channel_mult: tuple[int, ...] = (1, 2, 2)
    attention: int = 8
    z_sem: int = 64
    batch: int = 32
    diffae_batch: int = SMALL_BATCH
    codec_rate: float = 6e-4
    rate: float = 4e-4
    augmentations: int = 1
    mirror: bool = False
    begin: str | None = None
    steps: int | None = None
    classifier_options: tuple[str, str] = ("{}", "{}")
    radius: float = 8.0
    most: tuple[int, int] | None = None

    @classmethod
    def of(
        cls,
        size: int,
        channels: int,
        fit: str,
        mirror: bool,
        minutes: float = math.inf,
        device: str = "cpu",
    ) -> Design:
        """The one that stands on the bundled generator for grey or colour pictures.

        It learns from so many pictures as the minutes allow to be encoded.
        """
        most = None
        if math.isfinite(minutes):
            train, held = (round(each * minutes) for each in LEARNED)
            most = (max(1000, train), max(100, held))
        return cls(
            size,
            channels,
            fit,
            latent_channels=16 if channels == 1 else 8,
            diffae_batch=LARGE_BATCH if device.startswith("cuda") else SMALL_BATCH,
            attention=size // 16,
            mirror=mirror,
            begin=str(bundled("checkpoints") / (GREY if channels == 1 else COLOUR)),
            most=most,
        )


@dataclass(frozen=True)
class Effort:
    """How much a round searches and measures, in pictures and queries."""

    queries: int
    n_h: int
    n_ways: int
    candidates: int  # synthetic pictures that the examples are chosen from
    walked: int  # pictures that alpha_max is chosen on
    evaluated: int  # test pictures of each measurement
    checks: tuple[str, ...]  # of `sanity`
    samples: int  # of each search that `sanity` makes
    train: int  # pictures that codes are measured on, at most
    val: int  # pictures that the off-distribution score is set on, at most

    def images(self, task: Task) -> int:
        """Pictures of the data that a search asks about where drawn codes give no g.

        Nothing is decoded for them, so they may be more, unless asking may cost something.
        """
        many = self.queries if task.remote else IMAGES_PER_QUERY * self.queries
        return min(many, task.counts["train"])

    def smaller(self, share: float) -> Effort:
        """A share of it, and no less than figures mean something; without checks below a half."""
        least = {"queries": 64, "candidates": 12, "walked": 8, "evaluated": 16}
        least |= {"samples": 32, "train": 200, "val": 30}
        numbers = {
            name: max(min(lowest, getattr(self, name)), round(share * getattr(self, name)))
            for name, lowest in least.items()
        }
        return replace(self, **numbers, checks=self.checks if share >= 0.5 else ())


EFFORTS = {
    "first": Effort(128, 0, 0, 24, 16, 16, (), 64, 1000, 40),
    "only": Effort(256, 0, 4, 24, 16, 32, ("gap",), 64, 1000, 60),
    "later": Effort(512, 4, 4, 96, 32, 64, ("gap", "repeat"), 64, 4000, 200),
}


@dataclass(frozen=True)
class Part:
    """One part of a round.

    Attributes
    ----------
    name : str
        Such as "diffae", or "find" with the label behind a colon.
    minutes : float
        That it takes, as far as the timing can tell.
    given : float
        Those of them that it trains; 0 where it is no training.
    """

    name: str
    minutes: float
    given: float = 0.0


@dataclass(frozen=True)
class Round:
    """Parts in their order, after which there is a better domain."""

    kind: str  # "first", "only" or "later"
    parts: tuple[Part, ...]
    effort: Effort

    @property
    def minutes(self) -> float:
        """Of all parts."""
        return sum(part.minutes for part in self.parts)


@dataclass(frozen=True)
class Task:
    """What a plan is made for.

    Attributes
    ----------
    counts : dict
        Pictures in `train`, `val` and `test`.
    labels : sequence of str
        Questions.
    trained : sequence of str
        Of "classifier" and "oracle", those that are trained here.
    measured : bool
        Whether labels tell how good the classifier is.
    remote : bool
        Whether the classifier is asked over a network.
    """

    counts: dict[str, int]
    labels: Sequence[str]
    trained: Sequence[str] = ()
    measured: bool = False
    remote: bool = False

    @property
    def pictures(self) -> int:
        """In all splits."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Plan:
    """The rounds, and the disk that they take.

    Attributes
    ----------
    minutes : float
        Asked for.
    disk : float
        Bytes of the work folder and the domain.
    """

    minutes: float
    rounds: tuple[Round, ...]
    disk: float = 0.0
    design: Design = field(default_factory=lambda: Design(128, 1))


def make_plan(minutes: float, task: Task, speeds: Speeds, design: Design) -> Plan:
    """Plan a new domain.

    Two rounds, the first a third of the minutes long; one where that leaves its trainings too
    little.

    Raises a GCDError if the minutes are too few for one round.
    """
    check_minutes(minutes)
    rounds: tuple[Round, ...] = ()
    if minutes >= BETTER:
        first = make_round("first", minutes * FIRST_ROUND, minutes, task, speeds, design)
        later = make_round("later", minutes * (1 - FIRST_ROUND), minutes, task, speeds, design)
        rounds = (first, later)
    if not rounds or any(_too_short(one) for one in rounds):
        rounds = (make_round("only", minutes, minutes, task, speeds, design),)
    return Plan(minutes, _checked(rounds, minutes), disk_of(task, design), design)


def plan_more(minutes: float, task: Task, speeds: Speeds, design: Design) -> Plan:
    """Plan so many minutes more for a domain that is there. Raises as `make_plan`."""
    check_minutes(minutes)
    later = make_round("later", minutes, minutes, task, speeds, design)
    return Plan(minutes, _checked((later,), minutes), disk_of(task, design), design)


def make_round(
    kind: str, minutes: float, whole: float, task: Task, speeds: Speeds, design: Design
) -> Round:
    """Share the minutes of a round; `whole` are those of the whole plan.

    Where trainings would get too little, less is searched and measured. Trainings of a round that
    is too short all the same get few minutes, or fewer than 0.
    """
    made = []
    for level in LEVELS:
        effort = EFFORTS[kind].smaller(level)
        made.append(_round_of(kind, effort, minutes, whole, task, speeds, design))
        if not _too_short(made[-1], WANTED_TRAINING):
            break
    return made[-1]


def _round_of(
    kind: str,
    effort: Effort,
    minutes: float,
    whole: float,
    task: Task,
    speeds: Speeds,
    design: Design,
) -> Round:
    seconds = overheads(kind, effort, task, speeds, design)
    taken = {name: spent / 60 for name, spent in seconds.items()}
    given = {}
    if kind != "later":
        each = min(CLASSIFIER_MOST, CLASSIFIER_SHARE * whole)
        given = {name: each for name in task.trained}
    left = minutes - sum(taken.values()) - sum(given.values())
    shares = TRAININGS[kind]
    given |= {name: left * share for name, share in shares.items()}
    parts = [
        Part(name, taken.get(name, 0.0) + given.get(name, 0.0), given.get(name, 0.0))
        for name in seconds
    ]
    return Round(kind, tuple(parts), effort)


def order(kind: str, task: Task, effort: Effort) -> list[str]:
    """The names of a round's parts."""
    before = ["data", *task.trained] if kind != "later" else []
    searches = [f"find:{label}" for label in task.labels]
    after = ["assemble", "calibrate", "examples", *searches, "walk", "measure"]
    checks = ["sanity"] if effort.checks else []
    return [*before, *TRAININGS[kind], *after, *checks, "finish"]


def overheads(
    kind: str, effort: Effort, task: Task, speeds: Speeds, design: Design
) -> dict[str, float]:
    """Seconds that each part of a round takes besides the minutes that it is given."""
    own = speeds.scaled(design.size)
    n, asked = task.pictures, len(task.labels)
    train = min(effort.train, task.counts["train"])
    val = min(effort.val, task.counts["val"])
    held = task.counts["val"] + task.counts["test"]
    gone = own.inverted + own.decoded + own.perceptual + own.classifier  # encoded and back
    walk = own.inverted + 14 * own.asked  # points, and the bisection's
    measured = walk + gone + 30 * own.classifier  # with a map
    seconds = {
        "data": n * own.read,
        "codec": task.counts["train"] * own.semantic + held * (own.semantic + own.picture),
        "diffae": (2 + design.augmentations) * task.counts["train"] * own.semantic,
        "distilled": 32 * (own.inverted + 2 * own.decoded),
        "decoder": held * (own.semantic + own.picture + own.perceptual),
        "assemble": 0.0,
        "calibrate": 2 * train * own.semantic + val * gone,
        "examples": effort.candidates * (2 * own.semantic + 20 * own.evaluation + gone),
        "walk": asked * effort.walked * walk,
        "measure": effort.evaluated * (gone + asked * measured)
        + (held * own.classifier if task.measured else 0),
        "finish": 0.0,
    }
    looked = own.read + own.semantic + own.perceptual + own.classifier  # at a picture as it is
    search = 1.5 * effort.queries * own.asked + effort.images(task) * looked + 2 * 8 * walk
    seconds |= {f"find:{label}": search for label in task.labels}
    if kind != "later" and not task.remote:  # what z_sem learns to tell
        seconds["diffae"] += task.counts["train"] * own.classifier
    if effort.checks:
        searches = 5 if "repeat" in effort.checks else 0
        seconds["sanity"] = 32 * gone + searches * (effort.samples * own.asked + 8 * walk)
    for name in task.trained:
        seconds[name] = n * own.classifier
    return {name: SLACK * seconds[name] + START for name in order(kind, task, effort)}


def queries_of(planned: Round, task: Task) -> int:
    """Pictures that a round asks the classifier about, at most.

    All pictures of train, unless asking may cost something, examples, two searches a question with
    their tries, walks with their bisections, and measurements with a map of 25 queries each.
    """
    effort, asked = planned.effort, len(task.labels)
    walked, mapped = 15, 26
    searched = effort.candidates + 12 + asked * (effort.queries + effort.images(task))
    searched += 2 * asked * 8 * walked
    measured = effort.walked * asked * walked + effort.evaluated * (2 + asked * (walked + mapped))
    labelled = task.counts["test"] if task.measured else 0
    if planned.kind != "later" and not task.remote:
        labelled += task.counts["train"]
    checked = 64 if effort.checks else 0
    if "repeat" in effort.checks:
        checked += 5 * (effort.samples + 8 * walked + 4 * walked)
    return searched + measured + labelled + checked


def disk_of(task: Task, design: Design) -> float:
    """Bytes of the work folder and the domain: prepared pictures, checkpoints, two generators."""
    pictures = task.pictures * design.size**2 * design.channels * 0.8
    weights = 4 * 15e6 * (design.model_channels / 96) ** 2  # of a generator, as float32
    kept = 128 * 1024 * 96.0  # of the distilled decoder's pool
    return pictures + 12 * weights + kept + 100e6


def check_minutes(minutes: float) -> None:
    """Refuse minutes that are no positive number."""
    if not 0 < minutes < math.inf:
        raise GCDError(f"--minutes must be positive, not {minutes:g}.")


def _too_short(planned: Round, share: float = LEAST_TRAINING) -> bool:
    trained = sum(part.given for part in planned.parts)
    return trained < share * planned.minutes or _starved(planned)


def _starved(planned: Round) -> bool:
    """Whether a training gets less than half a minute."""
    return min(part.given for part in planned.parts if part.name in TRAININGS[planned.kind]) < 0.5


def _checked(rounds: tuple[Round, ...], minutes: float) -> tuple[Round, ...]:
    for planned in rounds:
        if _too_short(planned):
            other = sum(part.minutes - part.given for part in planned.parts)
            raise GCDError(
                f"{minutes:g} minutes are too few on this machine: what is no training takes "
                f"{other:.0f} of them. Give --minutes {math.ceil(2 * other + 5)} or more."
            )
    return rounds


def to_json(plan: Plan) -> dict[str, Any]:
    """The plan as JSON has it; `from_json` reads it."""
    return asdict(plan)


def from_json(table: dict[str, Any]) -> Plan:
    """Read what `to_json` gave and JSON kept."""
    rounds = tuple(
        Round(
            one["kind"],
            tuple(Part(**part) for part in one["parts"]),
            Effort(**{**one["effort"], "checks": tuple(one["effort"]["checks"])}),
        )
        for one in table["rounds"]
    )
    kept = table["design"]
    lists = ("widths", "channel_mult", "classifier_options")
    changed: dict[str, Any] = {name: tuple(kept[name]) for name in lists}
    changed["most"] = tuple(kept["most"]) if kept["most"] else None
    changed["diffae_batch"] = kept.get("diffae_batch", kept["batch"])  # older plans had one batch
    design = Design(**{**kept, **changed})
    return Plan(table["minutes"], rounds, table["disk"], design)
