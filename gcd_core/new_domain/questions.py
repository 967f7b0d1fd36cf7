"""What is asked of the classifier: questions as people write them, and what they say of classes.

`smile=happy` asks for one output, `any=happy,surprise` for the sum of two, `mature=ig against
neutrophil` for one class or the other, `ill=effusion from 0.3` at another threshold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gcd_core.domains.file import MAX_ONLY_FOR
from gcd_core.errors import GCDError

MOST = 6  # questions: each takes a search and its measurements
NEGATIVE_WORDS = ("normal", "healthy", "negative", "control", "none", "no", "benign", "0", "false")
NO_FINDING = re.compile(r"(?:no|not)[ _-].*|non.*|no(?:tumou?r|finding|disease|lesion)s?")
FORM = re.compile(
    r"\s*(?P<name>[^=]+?)\s*=\s*(?P<of>.+?)"
    r"(?:\s+against\s+(?P<against>.+?))?(?:\s+from\s+(?P<threshold>[0-9.]+))?\s*"
)


@dataclass(frozen=True)
class Asked:
    """A question: a label of the domain to be.

    Attributes
    ----------
    name : str
        The label's.
    of, against : tuple of str
        Names of the classifier's outputs (or ranges such as "50:81"); `against` may be empty.
    threshold : float or None
        The probability from which on the answer is yes; None is 0.5.
    """

    name: str
    of: tuple[str, ...]
    against: tuple[str, ...] = ()
    threshold: float | None = None

    @classmethod
    def parse(cls, text: str) -> Asked:
        """Read `NAME=OUTPUT[,...] [against OUTPUT[,...]] [from THRESHOLD]`."""
        found = FORM.fullmatch(text)
        of, against = (_names(found[part]) if found else () for part in ("of", "against"))
        if not found or not of:
            raise GCDError(
                "--question is NAME=OUTPUT[,OUTPUT...] [against OUTPUT] [from THRESHOLD], such as "
                f"'smile=happy', not {text!r}."
            )
        try:
            threshold = float(found["threshold"]) if found["threshold"] else None
        except ValueError:
            threshold = 0.0
        if threshold is not None and not 0 < threshold < 1:
            raise GCDError(f"{text!r}: a threshold lies between 0 and 1.")
        return cls(found["name"], of, against, threshold)

    def table(self) -> dict[str, Any]:
        """The keys of its `[labels.NAME]` table."""
        title = self.name.replace("_", " ").capitalize()
        others = ", ".join(self.against)
        made: dict[str, Any] = {
            "title": title,
            "negative": others.replace("_", " ").capitalize() or f"Not {title.lower()}",
            "positive": title,
        }
        if self.of != (self.name,):
            made["of"] = self.of[0] if len(self.of) == 1 else list(self.of)
        if self.against:
            made["against"] = self.against[0] if len(self.against) == 1 else list(self.against)
            if only_for := self._only_for():
                made["only_for"] = only_for
        if self.threshold is not None:
            made["threshold"] = self.threshold
        return made

    def _only_for(self) -> str:
        """Of what pictures A against B means something; "" where that is no short list of names."""
        kinds = [name.replace("_", " ") for name in (*self.of, *self.against)]
        told = f"{', '.join(kinds[:-1])} and {kinds[-1]}"
        named = all(re.search("[A-Za-z]", kind) for kind in kinds)
        return told if named and len(told) <= MAX_ONLY_FOR else ""

    def task(self, classes: Sequence[str], outputs: Sequence[str]) -> str | None:
        """Say which classes are positive and negative, as `train classifier` takes it.

        An output is of the class of its own name (capital letters do not count), or, where there
        are as many of both and none has such a name, of that in its place. None where an output
        is of no class, or no class is left for the other side.
        """
        classes_of = match(outputs, classes)
        sides = []
        for names in (self.of, self.against):
            side = [classes_of.get(name) or _equal(name, classes) for name in names]
            if None in side:
                return None
            sides.append([name for name in side if name is not None])
        positives, negatives = sides
        negatives = negatives or [name for name in classes if name not in positives]
        if not negatives:
            return None
        return f"{self.name}={','.join(positives)}:{','.join(negatives)}"


def default_questions(outputs: Sequence[str], exclusive: bool) -> list[Asked]:
    """Each output; of two that exclude each other the one that names a finding.

    Raises a GCDError if there are more than six.
    """
    if exclusive and len(outputs) == 2:
        yes = 0 if is_negative(outputs[1]) and not is_negative(outputs[0]) else 1
        return [Asked(outputs[yes], (outputs[yes],))]
    asked = [name for name in outputs if not (exclusive and is_negative(name))]
    if len(asked) > MOST:
        raise GCDError(
            f"The classifier has {len(asked)} outputs ({', '.join(asked[:4])}, ...), and each "
            f"question takes a search; choose up to {MOST} by --question NAME=OUTPUT."
        )
    return [Asked(name, (name,)) for name in asked]


def class_questions(classes: Sequence[str]) -> list[Asked]:
    """What a classifier that is trained here is asked: each class against all others.

    Of two classes, the one that names a finding against the other. Raises as `default_questions`.
    """
    if len(classes) == 2:
        (chosen,) = default_questions(classes, exclusive=True)
        other = next(name for name in classes if name != chosen.name)
        return [Asked(chosen.name, chosen.of, (other,))]
    return default_questions(classes, exclusive=True)


def is_negative(name: str) -> bool:
    """Whether a class's name says that there is nothing."""
    found = name.strip().lower()
    return found in NEGATIVE_WORDS or NO_FINDING.fullmatch(found) is not None


def match(outputs: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """The class that each output is of: by name, or by place where no name fits."""
    named = {name: found for name in outputs if (found := _equal(name, classes))}
    if named or len(outputs) != len(classes):
        return named
    return dict(zip(outputs, classes, strict=True))


def _equal(name: str, classes: Sequence[str]) -> str | None:
    return next((one for one in classes if one.casefold() == name.casefold()), None)


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())
