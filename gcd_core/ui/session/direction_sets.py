"""The sets of directions that a visitor found or loaded, kept side by side under their names."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict

from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet

BUNDLED = "bundled"  # the name of the domain's own
MAX_SETS_KEPT = 12  # of all labels together
MAX_NAME_LENGTH = 40  # letters of a name


class Sets:
    """Sets of directions by label and name. The name "bundled" stands for the domain's own set.

    At most 12 are kept: the oldest that is not in use is dropped. Threads may share an object.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._kept: OrderedDict[tuple[str, str], DirectionSet] = OrderedDict()
        self._used: dict[str, str] = {}
        self._noted: dict[str, DirectionSet] = {}  # the domain's own with a visitor's notes

    def names(self, label: str) -> list[str]:
        """Return the names of a label's kept sets, the oldest first."""
        return [name for own, name in self._kept if own == label]

    def newest(self, label: str) -> str:
        """Return the name of a label's newest kept set; "bundled" if it has none."""
        return [BUNDLED, *self.names(label)][-1]

    def used(self, label: str) -> str:
        """Return the name of the set that is in use for a label; at first "bundled"."""
        return self._used.get(label, BUNDLED)

    def get(self, label: str, name: str) -> DirectionSet:
        """Return a kept set. Raises a GCDError if no set has this name."""
        if (label, name) not in self._kept:
            known = ", ".join([BUNDLED, *self.names(label)])
            raise GCDError(f"There are no directions named {name!r}: choose one of {known}.")
        return self._kept[label, name]

    def name_of(self, label: str, directions: DirectionSet) -> str | None:
        """Return the name that a set is kept under; None if it is not kept."""
        vectors = directions.vectors  # which a note on it leaves as they are
        return next((n for n in self.names(label) if self._kept[label, n].vectors is vectors), None)

    def in_use(self, label: str) -> DirectionSet | None:
        """Return the set that is in use for a label; None if it is the domain's own, unnoted."""
        name = self.used(label)
        return self.noted(label) if name == BUNDLED else self._kept[label, name]

    def noted(self, label: str) -> DirectionSet | None:
        """Return the domain's own set with the visitor's notes; None where there are none."""
        return self._noted.get(label)

    def note(self, label: str, name: str, directions: DirectionSet) -> None:
        """Put a set with another note in the place of itself, kept ones or "bundled"."""
        with self._lock:
            if name == BUNDLED:
                self._noted[label] = directions
            else:
                self.get(label, name)
                self._kept[label, name] = directions

    def keep(self, label: str, name: str, directions: DirectionSet) -> str:
        """Keep a set and return its name. A number is added if another set has the name."""
        with self._lock:
            name = self._free(label, tidy(name))
            self._kept[label, name] = directions
            spare = [key for key in self._kept if self.used(key[0]) != key[1]]
            while len(self._kept) > MAX_SETS_KEPT and spare[:1] != [(label, name)]:
                del self._kept[spare.pop(0)]
            return name

    def keep_once(self, label: str, name: str, directions: DirectionSet) -> str:
        """Keep a set that may be kept already, maybe with notes, and return its name."""
        return self.name_of(label, directions) or self.keep(label, name, directions)

    def use(self, label: str, name: str) -> None:
        """Use a kept set for a label, or "bundled". Raises a GCDError if no set has this name."""
        with self._lock:
            if name != BUNDLED:
                self.get(label, name)
            self._used[label] = name

    def rename(self, label: str, name: str, other: str) -> str:
        """Rename a kept set and return its new name. A number is added if another set has it.

        Raises a GCDError if no set has this name.
        """
        with self._lock:
            self.get(label, name)
            if tidy(other) == name:
                return name
            other = self._free(label, tidy(other))
            self._kept = OrderedDict(
                ((own, other if (own, kept) == (label, name) else kept), value)
                for (own, kept), value in self._kept.items()
            )
            if self._used.get(label) == name:
                self._used[label] = other
            return other

    def clear(self) -> None:
        """Drop all sets."""
        self._kept.clear()
        self._used.clear()
        self._noted.clear()

    def _free(self, label: str, name: str) -> str:
        taken, free, number = {BUNDLED, *self.names(label)}, name, 2
        while free in taken:
            free, number = f"{name} {number}", number + 1
        return free


def tidy(name: str) -> str:
    """Make a name one line of at most 40 letters; "directions" if nothing is left of it."""
    name = "".join(letter for letter in " ".join(name.split()) if letter.isprintable())
    return name[:MAX_NAME_LENGTH].strip() or "directions"


def file_name(domain: str, label: str, name: str) -> str:
    """Return the file name of a set, without characters that could make it a path."""
    safe = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "directions"
    return f"{domain}-{label}{'' if name == BUNDLED else f'-{safe}'}.safetensors"
