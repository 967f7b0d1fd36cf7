"""The BlackBox protocol, and what every classifier shares: counting, a budget, kept answers."""

import hashlib
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from gcd_core.classifiers.cache import AnswerStore, fingerprint
from gcd_core.classifiers.output_check import OutputCheck
from gcd_core.classifiers.preprocessing import Keys, Preprocessing
from gcd_core.errors import GCDError

ANSWER_KEYS: Keys = {"labels": list | str, "output": str}  # what a classifier answers
OUTPUTS = ("sigmoid", "softmax", "probabilities", "numbers")
LABELS = 100_000  # the most that a range stands for


class NoAnswer(GCDError):
    """The classifier did not answer: it is away, refuses, or may not be asked any more."""


class BudgetExceeded(NoAnswer):
    """More images than the classifier's budget allows were to be asked; none of them was."""


class BlackBox(Protocol):
    """What the method may know of a classifier: images in, logits out.

    Every error that a caller can mend is a `GCDError`; `NoAnswer` where the model is away, refuses,
    or may not be asked any more, and then nothing that was answered before is lost.
    """

    @property
    def labels(self) -> tuple[str, ...]:
        """What the columns of the logits stand for."""

    @property
    def output(self) -> str:
        """How logits become probabilities: "sigmoid", "softmax" or "probabilities".

        The last is where the model gave probabilities only. Of "numbers" nothing is known without
        a question (`Question`).
        """

    @property
    def identity(self) -> str:
        """Changes when the weights or the settings do."""

    @property
    def remote(self) -> bool:
        """Whether asking may cost money or time at another's machine."""

    @property
    def queries(self) -> int:
        """Images asked so far; it only grows."""

    @property
    def cache_hits(self) -> int:
        """Images answered without asking, from what had been answered before."""

    @property
    def budget(self) -> int | None:
        """The most that `queries` may become, where there is a limit."""

    def __call__(self, images: Tensor) -> Tensor:
        """Logits (N, L), float32, of images (N, C, H, W) in [0, 1]; on the device of `images`."""

    def index(self, label: str) -> int:
        """The column of `label`; a GCDError names the labels there are."""

    def logit(self, logits: Tensor, label: str) -> Tensor:
        """The log-odds (N,) of `label`."""

    def probability(self, logits: Tensor, label: str) -> Tensor:
        """The probability (N,) of `label`, in [0, 1]."""


@runtime_checkable
class WhiteBox(BlackBox, Protocol):
    """A black box that also gives the gradient of its logits with respect to the pixels."""

    def differentiable(self, images: Tensor) -> Tensor:
        """Logits (N, L), float32, of images (N, C, H, W), through which a gradient flows back.

        Counted as queries, within the budget, never taken from the cache. A GCDError where the
        network lets no gradient through.
        """


class SharedBudget(Protocol):
    """A budget of queries that several processes share."""

    def check(self, count: int) -> None:
        """Raise BudgetExceeded if the budget does not allow so many queries more."""

    def take(self, count: int) -> None:
        """Reserve so many queries; raises as `check`."""

    def give_back(self, count: int) -> None:
        """Return so many reserved queries to the budget: they were not answered."""


class Classifier(ABC):
    """What every kind of classifier shares; a kind adds `answer`.

    Parameters
    ----------
    labels : sequence of str
        One name per column of the answer.
    output : {"sigmoid", "softmax", "probabilities", "numbers"}
        What the answer is: logits of independent labels, logits of classes that exclude each
        other, probabilities (of either sort), or numbers in units of their own.
    identity : str
        Changes when the weights or the settings do.

    Attributes
    ----------
    remote : bool
        Whether asking may cost money or time at another's machine; answers are kept by default.
    preprocessing : Preprocessing
        What is done to an image before the model is given it; nothing by default.
    batch_size : int or None
        Images per request or forward pass; None is any number.
    queries : int
        Images that the model answered in this process. A request that failed and was repeated
        counts once.
    cache_hits : int
        Images answered without asking the model.
    budget : int or None
        The most that `queries` may become.
    shared_budget : SharedBudget or None
        What is asked in its place where other processes spend the same budget.
    cache : AnswerStore or None
        Where answers are kept; None asks about every image, every time.

    Raises
    ------
    GCDError
        If a label is repeated or missing, or `output` is not one of these.
    """

    remote = False
    batch_size: int | None = None
    preprocessing = Preprocessing()

    def __init__(self, labels: tuple[str, ...], output: str, identity: str) -> None:
        if not all(isinstance(label, str) for label in labels):
            raise GCDError(f"A classifier's labels are names, not {list(labels)}.")
        if not labels or len(set(labels)) != len(labels):
            raise GCDError(f"A classifier needs labels, each once, not {list(labels)}.")
        if output not in OUTPUTS:
            raise GCDError(f"A classifier's output is one of {OUTPUTS}, not {output!r}.")
        if output == "softmax" and len(labels) < 2:
            raise GCDError(f"A softmax needs two labels at least, not {list(labels)}.")
        self.labels = tuple(labels)
        self.output = output
        self.identity = identity
        self.queries = self.cache_hits = 0
        self.budget: int | None = None
        self.shared_budget: SharedBudget | None = None
        self.cache: AnswerStore | None = None
        self._check_output = OutputCheck(output)
        self._lock = threading.Lock()  # for the counters
        self._asking = threading.Lock()  # so that two threads do not pay for the same answer

    @abstractmethod
    def answer(self, images: Tensor) -> Tensor:
        """The raw output (N, L) for `batch_size` images at most, as `shown` returned them."""

    def shown(self, images: Tensor) -> Tensor:
        """What the model sees of images (N, C, H, W) in [0, 1]: the key of kept answers."""
        return images

    def __call__(self, images: Tensor) -> Tensor:
        """Ask the classifier.

        Parameters
        ----------
        images : Tensor (N, C, H, W)
            In [0, 1].

        Returns
        -------
        Tensor (N, L)
            Logits, float32, on the device of `images`. Where the classifier gives probabilities,
            their log-odds, the probabilities clamped to [1e-6, 1 - 1e-6].

        Raises
        ------
        GCDError
            If the shape of the images or of the answer is not as above, an answer is no number, or
            the answers are not what `output` says (`OutputCheck`).
        BudgetExceeded
            If the images that no answer is known for are more than the budget leaves; before any
            of them is asked.
        """
        if images.ndim != 4:
            raise GCDError(f"A classifier expects images (N, C, H, W), not {tuple(images.shape)}.")
        if not len(images):
            return torch.empty(0, len(self.labels), device=images.device)
        shown = self.shown(images)
        raw = self._all(shown) if self.cache is None else self._missing(shown, self.cache)
        raw = raw.to(images.device)
        return raw.clamp(1e-6, 1 - 1e-6).logit() if self.output == "probabilities" else raw

    def _all(self, images: Tensor) -> Tensor:
        """Ask about every image."""
        self._check_budget(len(images))
        parts = images.split(self.batch_size or len(images))
        return torch.cat([self._ask(part) for part in parts])

    def _missing(self, images: Tensor, cache: AnswerStore) -> Tensor:
        """Ask about the images that have no kept answer; keep each batch's answers at once."""
        keys = fingerprint(images)
        known = cache.get(self.identity, keys, len(self.labels))
        missing = {key: image for key, image in zip(keys, images, strict=True) if key not in known}
        asked, keys_missing = 0, list(missing)
        size = self.batch_size or len(images)
        try:
            self._check_budget(len(missing))
            for start in range(0, len(keys_missing), size):
                batch = keys_missing[start : start + size]
                # Another thread or process may have asked since, or be asking just now.
                with self._asking, cache.claimed(self.identity, batch):
                    known |= cache.get(self.identity, batch, len(self.labels))
                    batch = [key for key in batch if key not in known]
                    if batch:
                        rows = self._ask(torch.stack([missing[key] for key in batch])).cpu()
                        fresh = dict(zip(batch, rows, strict=True))
                        cache.put(self.identity, fresh)
                        known |= fresh
                        asked += len(batch)
        except NoAnswer as error:
            raise type(error)(f"{error} {cache.assurance}") from error
        with self._lock:
            self.cache_hits += len(images) - asked
        return torch.stack([known[key] for key in keys])

    def _ask(self, images: Tensor) -> Tensor:
        """Ask about a batch, count it, and check the answer: (N, L), float32."""
        with self._counted(len(images)):
            raw = self.in_rows(self.answer(images).float())
        if raw.shape != (len(images), len(self.labels)):
            raise GCDError(
                f"The classifier answered {tuple(raw.shape)} to {len(images)} images; its "
                f"{len(self.labels)} labels ask for {(len(images), len(self.labels))}."
            )
        if not raw.isfinite().all():
            raise GCDError("The classifier answered something that is no number (NaN or infinite).")
        self._check_output(raw)
        return raw

    @property
    def notice(self) -> str:
        """What a person has to know of the answers so far; "" where there is nothing."""
        return self._check_output.notice

    def in_rows(self, raw: Tensor) -> Tensor:
        """Answers (N, L) of those that have dimensions of one beside, such as (N, L, 1, 1)."""
        sides = [side for side in raw.shape[1:] if side != 1]
        rows = sides == [len(self.labels)] or (not sides and len(self.labels) == 1)
        return raw.reshape(len(raw), -1) if raw.ndim and rows else raw

    @contextmanager
    def _counted(self, count: int) -> Iterator[None]:
        """Reserve `count` queries; give them back where the model does not answer."""
        with self._lock:
            if self.shared_budget is not None:
                self.shared_budget.take(count)
            else:
                self._check_budget(count)
            self.queries += count
        try:
            yield
        except BaseException:
            with self._lock:
                self.queries -= count
                if self.shared_budget is not None:
                    self.shared_budget.give_back(count)
            raise

    def _check_budget(self, count: int) -> None:
        if self.shared_budget is not None:
            self.shared_budget.check(count)
        elif self.budget is not None and self.queries + count > self.budget:
            raise exceeded(self.budget, self.queries, count)

    def index(self, label: str) -> int:
        """The column of `label`; a GCDError names the labels there are."""
        if label not in self.labels:
            raise GCDError(f"The classifier has no label {label!r}; it has {list(self.labels)}.")
        return self.labels.index(label)

    def logit(self, logits: Tensor, label: str) -> Tensor:
        """The log-odds (N,) of `label`: its column, or z_l - logsumexp(the others) of a softmax."""
        return log_odds_of(logits, self.index(label), self.output)

    def probability(self, logits: Tensor, label: str) -> Tensor:
        """The probability (N,) of `label`, in [0, 1]: the sigmoid of its log-odds."""
        return self.logit(logits, label).sigmoid()


def preprocessing_of(classifier: BlackBox) -> Preprocessing:
    """What a black box says that it does to an image first; nothing where it does not say."""
    return getattr(classifier, "preprocessing", Preprocessing())


def notice_of(classifier: BlackBox) -> str:
    """What a black box says that a person has to know of its answers; "" where it says nothing."""
    return getattr(classifier, "notice", "")


def log_odds_of(logits: Tensor, column: int, output: str) -> Tensor:
    """The log-odds (N,) of a column: itself, or z_l - logsumexp(the others) of a softmax."""
    own = logits[..., column]
    if output != "softmax":
        return own
    others = torch.cat([logits[..., :column], logits[..., column + 1 :]], dim=-1)
    return own - others.logsumexp(-1)


def exceeded(budget: int, queries: int, count: int) -> BudgetExceeded:
    """Return the error for asking more images than a budget leaves."""
    return BudgetExceeded(
        f"The classifier may be asked about {budget} images each time the program runs; {queries} "
        f"were asked, and {count} more are wanted. To ask more, raise 'budget' in the classifier's "
        "table of domain.toml."
    )


def check_keys(
    table: Mapping[str, Any],
    required: Keys,
    optional: Keys,
    where: str = "table",
) -> None:
    """Refuse a table with keys missing, unknown or of the wrong type, naming each of them.

    `where` names a table inside the classifier's, which has no `kind` of its own.
    """
    own: Keys = {"kind": str} if where == "table" else {}
    known = own | required | optional
    problems = [
        f"The classifier's {where} lacks the key {key!r}; add it."
        for key in required
        if key not in table
    ]
    for key, value in table.items():
        if key not in known:
            problems.append(
                f"The classifier's {where} has no key {key!r}; it knows {sorted(known)}."
            )
            continue
        truth = isinstance(value, bool)
        if not isinstance(value, known[key]) or (truth and known[key] is not bool):
            name = getattr(known[key], "__name__", str(known[key]))
            problems.append(f"The classifier's key {key!r} must be {name}, not {value!r}.")
    if problems:
        raise GCDError(" ".join(problems))


def names_of(labels: list[str] | str) -> tuple[str, ...]:
    """Labels as a table gives them: a list, or a range "0:81" of the numbers from 0 to 80."""
    if not isinstance(labels, str):
        return tuple(labels)
    start, colon, stop = labels.partition(":")
    if not (colon and start.isdecimal() and stop.isdecimal() and int(start) < int(stop) <= LABELS):
        raise GCDError(
            "A classifier's 'labels' are a list of names, or a range such as \"0:81\" for the "
            f"numbers from 0 to 80, not {labels!r}."
        )
    return tuple(str(number) for number in range(int(start), int(stop)))


def check_batch_size(batch_size: int) -> None:
    """Refuse a batch size below 1."""
    if batch_size < 1:
        raise GCDError(f"A classifier's batch_size is 1 or more, not {batch_size}.")


def digest_of(table: Mapping[str, Any], *parts: bytes) -> str:
    """Return a classifier's identity: the first 16 hex digits of the SHA-256 of table and files."""
    digest = hashlib.sha256()
    for part in (json.dumps(table, sort_keys=True, default=str).encode(), *parts):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]
