"""How a generator with steps is sampled: solver and steps, and what a distilled decoder is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from gcd_core.errors import GCDError
from gcd_core.generators.diffae.solvers import DISTILLED, SOLVERS, T, check_solver, find_solver


@dataclass(frozen=True)
class Sampling:
    """Solver and steps where the caller names none (the configuration's ``sampling``)."""

    solver: str = "ddim"
    encode_steps: int = 20
    decode_steps: int = 20

    @classmethod
    def from_config(cls, table: Mapping) -> Sampling:
        """Check the table; raise :class:`GCDError` naming what is wrong."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(table) - set(known))
        if unknown:
            raise GCDError(
                f"The configuration's 'sampling' has the unknown key {unknown[0]!r}; "
                f"remove it (known: {', '.join(known)})."
            )
        check_solver(table.get("solver", cls.solver))
        return cls(**table)


@dataclass(frozen=True)
class Distilled:
    """What a distilled decoder stands in for, and when it acts (the configuration's ``distilled``).

    ``times`` are those of its DDIM steps, descending, two or more; it was trained to arrive where
    ``solver`` does in as many ``steps`` (for an image's own code: at the image), from the z_T which
    that solver's inversion gives.
    """

    times: tuple[int, ...]
    solver: str
    steps: int

    @classmethod
    def from_config(cls, table: Mapping) -> Distilled:
        """Check the table; raise :class:`GCDError` naming what is wrong."""
        names = [field.name for field in fields(cls)]
        if not isinstance(table, Mapping) or sorted(table) != sorted(names):
            raise GCDError(
                f"The configuration's 'distilled' is {table!r:.60}; it needs {', '.join(names)}."
            )
        find_solver(str(table["solver"]))
        times = table["times"]
        whole = isinstance(times, (list, tuple)) and all(type(t) is int for t in times)
        if not whole or len(times) < 2 or sorted(set(times), reverse=True) != list(times):
            raise GCDError(
                f"The 'times' of 'distilled' are {times!r}; give 2 whole numbers or more, "
                "descending."
            )
        if not 0 <= times[-1] <= times[0] < T:
            raise GCDError(f"The 'times' of 'distilled' are {times!r}; they lie from 0 to {T - 1}.")
        if type(table["steps"]) is not int or table["steps"] < 1:
            raise GCDError(f"The 'steps' of 'distilled' are {table['steps']!r}; give 1 or more.")
        return cls(tuple(times), table["solver"], table["steps"])


def check_sampling(sampling: Sampling, distilled: Distilled | None) -> None:
    """Refuse the solver ``"distilled"`` as a generator's default where it has no such decoder."""
    if sampling.solver == DISTILLED and distilled is None:
        raise GCDError(
            "The configuration's 'sampling' names the solver 'distilled', but there is no "
            f"distilled decoder; choose one of {', '.join(SOLVERS)}."
        )


def find_distilled(distilled: Distilled | None, steps: int | None) -> Distilled:
    """Return the distilled decoder of a generator.

    Raises a GCDError if it has none, or ``steps`` are given and not those that it takes.
    """
    if distilled is None:
        raise GCDError(
            f"This generator has no distilled decoder; choose one of {', '.join(SOLVERS)}, or "
            "make one with `train distilled`."
        )
    n = len(distilled.times)
    if steps not in (None, n):
        raise GCDError(
            f"The distilled decoder takes {n} steps, not {steps!r}; leave them out, or choose "
            "another solver."
        )
    return distilled
