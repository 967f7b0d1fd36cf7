"""Questions about a classifier's outputs: what a label of a domain asks, as log-odds.

Whatever the question, its log-odds are 0 where the answer changes: at the threshold, or where the
other class wins. So all that is made with a black box (flips, margins, CF loss, maps) follows it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gcd_core.classifiers.base import (
    BlackBox,
    Keys,
    WhiteBox,
    digest_of,
    log_odds_of,
    notice_of,
    preprocessing_of,
)
from gcd_core.classifiers.output_check import SUMS_TO_ONE
from gcd_core.errors import GCDError
from gcd_core.wording import percent

QUESTION_KEYS: Keys = {
    "of": str | list,
    "against": str | list,
    "threshold": float,
    "spread": float,
    "scale": str,
    "expected": bool,
}
NEAREST = 1e-7  # to 0 and 1 that a probability is told from them


@dataclass(frozen=True)
class Question:
    """What a label asks of a classifier's outputs.

    Attributes
    ----------
    name : str
        The label's.
    of : tuple of str
        Names of outputs, or ranges such as "50:81" (81 is not in it): of the outputs' names where
        these are numbers, else of their places from 0. Several outputs are summed. None is the
        output of the label's own name.
    against : tuple of str
        As `of`: the other class, or classes; the log-odds are of the one given either.
    threshold : float or None
        From where on the answer is yes: a probability, 0.5 by default; with a `spread`, a number
        in the output's own unit.
    spread : float or None
        Of a number in its own unit: what counts as one unit of log-odds.
    scale : str
        The number's unit in words, such as "years".
    expected : bool
        Whether the number is the mean of the outputs' names, weighted by their probabilities.

    Raises
    ------
    GCDError
        If these contradict each other.
    """

    name: str
    of: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    threshold: float | None = None
    spread: float | None = None
    scale: str = ""
    expected: bool = False

    def __post_init__(self) -> None:
        if self.spread is None:
            if self.expected or self.scale:
                key = "expected" if self.expected else "scale"
                raise GCDError(f"{key!r} is of a number, which needs a threshold and a spread too.")
            if self.threshold is not None and not 0 < self.threshold < 1:
                raise GCDError(
                    f"the threshold {self.threshold:g} is no probability between 0 and 1; that of "
                    "a number needs a spread too."
                )
        elif not 0 < self.spread < math.inf or self.threshold is None or self.against:
            raise GCDError(
                "a 'spread' is above 0, and of a number with a threshold, not of one class against "
                "another."
            )
        if self.threshold is not None and not math.isfinite(self.threshold):
            raise GCDError(f"the threshold is a number, not {self.threshold}.")

    @classmethod
    def read(cls, name: str, table: Mapping[str, Any]) -> Question:
        """Read the keys of a label's table; others are not looked at."""
        given = {key: table[key] for key in QUESTION_KEYS if key in table}
        for key in ("of", "against"):
            if key in given:
                names = [given[key]] if isinstance(given[key], str) else given[key]
                if not names or not all(isinstance(one, str) for one in names):
                    raise GCDError(f"{key!r} is a name of an output, or a list of such.")
                given[key] = tuple(names)
        return cls(name, **given)

    @property
    def is_plain(self) -> bool:
        """Whether it asks for the output of its own name, at a probability of 0.5."""
        return self == Question(self.name)

    @property
    def third(self) -> str:
        """The label under which it is asked whether a third class wins."""
        return f"{self.name}: a third class"

    def shown(self, probability: float) -> str:
        """A probability of the question, 0.5 at the threshold, in the output's own scale."""
        return f"{self.number(probability)} {self.scale}".rstrip()

    def number(self, probability: float) -> str:
        """The same without the number's unit."""
        if self.threshold is None:
            return percent(probability)
        if self.spread is None:
            if probability in (0, 1):
                return percent(probability)
            return percent(1 / (1 + math.exp(-_logit(probability) - _logit(self.threshold))))
        return f"{self.threshold + self.spread * _logit(probability):.{self.digits}f}"

    @property
    def digits(self) -> int:
        """Digits of a number after its point: about a tenth of its spread is told."""
        return 0 if self.spread is None else max(0, 1 - math.floor(math.log10(self.spread)))


PLAIN = Question("")  # shows probabilities as they are


@dataclass(frozen=True)
class _Reading:
    """A question on a classifier with these outputs: the columns that it reads."""

    question: Question
    output: str
    own: list[int]
    against: list[int]
    others: list[int]  # neither of both
    numbers: Tensor  # the columns' names, where they are numbers

    def log_odds(self, logits: Tensor) -> Tensor:
        """The question's log-odds (N,) of the classifier's logits (N, L)."""
        question, threshold = self.question, self.question.threshold
        if question.spread is not None:
            assert threshold is not None
            return (self._number(logits) - threshold) / question.spread
        if self.against:
            weights = _log_weights(logits, self.output)
            odds = weights[:, self.own].logsumexp(1) - weights[:, self.against].logsumexp(1)
        elif len(self.own) == 1:
            odds = log_odds_of(logits, self.own[0], self.output)
        elif self.output == "softmax":
            odds = logits[:, self.own].logsumexp(1) - logits[:, self.others].logsumexp(1)
        else:
            odds = self._sum(logits).clamp(1e-6, 1 - 1e-6).logit()
        return odds if threshold is None else odds - _logit(threshold)

    def third(self, logits: Tensor) -> Tensor:
        """How far the highest of the other classes lies above both; above 0 where it wins."""
        weights = _log_weights(logits, self.output)
        return weights[:, self.others].amax(1) - weights[:, self.own + self.against].amax(1)

    def _number(self, logits: Tensor) -> Tensor:
        if not self.question.expected:
            return logits[:, self.own[0]]
        softmax = self.output == "softmax"
        weights = logits[:, self.own].softmax(1) if softmax else logits[:, self.own].sigmoid()
        return (weights * self.numbers.to(weights)).sum(1) / weights.sum(1)

    def _sum(self, logits: Tensor) -> Tensor:
        total = logits[:, self.own].sigmoid().sum(1)
        if (total > 1 + SUMS_TO_ONE).any():
            raise GCDError(
                f"The outputs of {self.question.name!r} do not exclude each other: their "
                f"probabilities sum to {total.max().item():.2f}. Ask for one of them."
            )
        return total


def _passed_on(name: str) -> Any:
    """An attribute of what is asked, to read and to set."""
    return property(
        lambda self: getattr(self.asked, name),
        lambda self, value: setattr(self.asked, name, value),
    )


class Questioned:
    """A black box whose labels are questions about another's outputs; see `BlackBox`.

    One class against another adds a label that says whether a third class wins (`Question.third`).

    Parameters
    ----------
    asked : BlackBox
        What is asked, counted and kept answers of.
    questions : sequence of Question

    Raises
    ------
    GCDError
        If the outputs that a question names are not there, or do not allow it.
    """

    output = "sigmoid"
    queries, cache_hits = _passed_on("queries"), _passed_on("cache_hits")
    budget, shared_budget = _passed_on("budget"), _passed_on("shared_budget")
    cache, batch_size = _passed_on("cache"), _passed_on("batch_size")

    def __init__(self, asked: BlackBox, questions: Sequence[Question]) -> None:
        self.asked = asked
        self._readings = [reading_of(question, asked) for question in questions]
        self._thirds = [r for r in self._readings if r.against and r.others]
        self.labels = tuple(
            [q.name for q in questions] + [r.question.third for r in self._thirds],
        )
        told = {question.name: asdict(question) for question in questions}
        self.identity = digest_of(told, asked.identity.encode())
        self.preprocessing = preprocessing_of(asked)
        self.remote = asked.remote

    @property
    def notice(self) -> str:
        """What a person has to know of the answers of what is asked."""
        return notice_of(self.asked)

    def __call__(self, images: Tensor) -> Tensor:
        """The log-odds (N, Q) of the questions, of images (N, C, H, W) in [0, 1]."""
        return self.read(self.asked(images))

    def read(self, logits: Tensor) -> Tensor:
        """The log-odds (N, Q) of the questions, of what was answered (N, L)."""
        columns = [reading.log_odds(logits) for reading in self._readings]
        return torch.stack(columns + [reading.third(logits) for reading in self._thirds], dim=1)

    def index(self, label: str) -> int:
        """The column of `label`; a GCDError names the labels there are."""
        if label not in self.labels:
            raise GCDError(f"The classifier has no label {label!r}; it has {list(self.labels)}.")
        return self.labels.index(label)

    def logit(self, logits: Tensor, label: str) -> Tensor:
        """The log-odds (N,) of `label`."""
        return logits[..., self.index(label)]

    def probability(self, logits: Tensor, label: str) -> Tensor:
        """The sigmoid (N,) of the log-odds of `label`: 0.5 at the threshold."""
        return self.logit(logits, label).sigmoid()


class OpenQuestioned(Questioned):
    """The same of a white box: the gradient flows through the questions."""

    asked: WhiteBox

    def differentiable(self, images: Tensor) -> Tensor:
        """Log-odds (N, Q) through which a gradient flows back to the images; see `WhiteBox`."""
        return self.read(self.asked.differentiable(images))


def questioned(classifier: BlackBox, questions: Sequence[Question]) -> BlackBox:
    """The classifier with these questions as labels; itself where all of them are its own labels.

    Raises
    ------
    GCDError
        If it has not the outputs for one.
    """
    for question in questions:
        reading_of(question, classifier)
    if all(question.is_plain for question in questions):
        return classifier
    kind = OpenQuestioned if isinstance(classifier, WhiteBox) else Questioned
    return kind(classifier, questions)


def as_far_as_it_can(classifier: BlackBox, questions: Sequence[Question]) -> BlackBox:
    """The same for a second opinion: the questions that it has the outputs for, or none.

    One that has a label of a question's name, and not its outputs, is asked for that.
    """
    found = []
    for question in questions:
        for asked in (question, Question(question.name)):
            try:
                reading_of(asked, classifier)
            except GCDError:
                continue
            found.append(asked)
            break
    return questioned(classifier, found) if found else classifier


def network_of(classifier: BlackBox) -> BlackBox:
    """What is asked in the end, without the questions."""
    return classifier.asked if isinstance(classifier, Questioned) else classifier


def reading_of(question: Question, classifier: BlackBox) -> _Reading:
    """The columns that a question reads; a GCDError says why it cannot be asked."""
    labels, output = classifier.labels, classifier.output
    named = question.of or (labels if question.expected else (question.name,))
    own, against = (_columns(names, classifier) for names in (named, question.against))
    others = [i for i in range(len(labels)) if i not in own + against]
    if set(own) & set(against):
        raise GCDError(f"{labels[min(set(own) & set(against))]!r} is on both sides.")
    several = len(own) > 1 or len(against) > 1
    is_number = question.spread is not None and not question.expected
    if is_number != (output == "numbers"):
        raise GCDError(
            "the classifier answers numbers: write the threshold, and a spread."
            if output == "numbers"
            else 'a spread is of a classifier with output = "numbers", or of the expected number.'
        )
    if (several or question.expected) and output in ("sigmoid", "numbers"):
        raise GCDError(
            f"several outputs are summed where they exclude each other, which those of output = "
            f"{output!r} do not; ask for one."
        )
    if several and not others and not against and not question.expected:
        raise GCDError("these are all of the classifier's outputs, so the answer is always yes.")
    numbers = torch.zeros(len(own))
    if question.expected:
        try:
            numbers = torch.tensor([float(labels[i]) for i in own])
        except ValueError as error:
            raise GCDError(
                "the expected number needs outputs whose names are numbers, not "
                f"{labels[own[0]]!r}."
            ) from error
    return _Reading(question, output, own, against, others, numbers)


def _columns(named: Sequence[str], classifier: BlackBox) -> list[int]:
    """The outputs' places of names and ranges, each once."""
    labels, found = classifier.labels, []
    for name in named:
        start, colon, stop = name.partition(":")
        if (
            name in labels
            or not colon
            or not all(part.isdecimal() or not part for part in (start, stop))
        ):
            found.append(classifier.index(name))
            continue
        numbers = (
            [int(x) for x in labels] if all(x.isdecimal() for x in labels) else range(len(labels))
        )
        first, last = int(start or min(numbers)), int(stop or max(numbers) + 1)
        within = [i for i, number in enumerate(numbers) if first <= number < last]
        if not within or len(within) != last - first:
            raise GCDError(
                f"the range {name!r} is not within the outputs {min(numbers)}:{max(numbers) + 1}."
            )
        found += within
    return list(dict.fromkeys(found))


def _log_weights(logits: Tensor, output: str) -> Tensor:
    """Logits or log-probabilities, whichever are compared between classes."""
    return F.logsigmoid(logits) if output == "probabilities" else logits


def _logit(probability: float) -> float:
    probability = min(max(probability, NEAREST), 1 - NEAREST)
    return math.log(probability / (1 - probability))
