"""The settings of a search: one place for their names, defaults and limits."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, TypedDict

from gcd_core.errors import GCDError
from gcd_core.generators.diffae.solvers import DISTILLED

VALIDATION_PART = 9  # one part in nine of the samples validates the proxy: as many at least
# The smallest that a search takes.
MIN_SETTINGS = {"n_samples": VALIDATION_PART, "n_h": 0, "lam": 0, "n_ways": 0}
PRIOR, IMAGES, BALL = "prior", "images", "ball"
SAMPLINGS = (PRIOR, IMAGES, BALL)
OF_THE_BALL = {"n_samples": 1024, "n_ways": 0}  # where the settings are another sampling's
MAX_WAYS = 4  # a quarter of the picture each


@dataclass(frozen=True)
class Settings:
    """How `find_directions` searches; a domain's are its `[search]` table.

    Attributes
    ----------
    radius : float
        Of the n-ball of perturbations in z_sem, for `sampling` "ball".
    n_samples : int
        Codes to decode and ask about, at most; 9 or more.
    n_h : int
        Eigenvectors of the Hessian to keep, 0 to the size of z_sem. Outside of the ball they need
        512 samples.
    lam : float
        Weight of LPIPS, both in the CF loss (Eq. 1) and in the proxy's loss.
    solver : str or None
        Of the generator, for the inversion and the perturbations alike; "distilled" where there is
        a distilled decoder. None is the generator's own.
    steps : int or None
        Network evaluations to decode one image with; None are the solver's own.
    antithetic : bool
        Whether each second perturbation mirrors the one before it.
    boundary : bool
        Whether to look for the directions at the decision boundary: a first g, from a part of the
        samples, carries the source there, the others are drawn around that point, and gradient and
        Hessian are taken at it. Far from the boundary a saturated classifier is flat.
    n_ways : int
        Directions by place to add, 0 to 4: each is looked for in one quarter of the picture,
        a change elsewhere costs more (`directions_by_place`). They take no query, and need another
        sampling than "ball".
    sampling : {"prior", "images", "ball"}
        Where the codes come from that are asked about: drawn from what the codes of the domain's
        images are like, with a drawn z_T each; the codes of images that are given; or a ball
        around one source image's, as in the paper.
    seed : int
        Repeats a search.
    batch_size : int or None
        Perturbations decoded at a time, which is how long a cancel may take; None suits the device.
    settle : float or None
        Stop before `n_samples` once g has settled: g is learned from 32, 64, 128, ... samples (in
        the ball, 128, 256, ...), and the search ends when the cosine between it and another
        search's reaches this number. That cosine is expected from the samples' halves, or, in the
        ball, is the one with g of half as many. By default 0.95 outside of the ball, and all
        samples in it.
    """

    radius: float
    n_samples: int = 1024
    n_h: int = 8
    lam: float = 1.0
    solver: str | None = "ddim"
    steps: int | None = 20
    antithetic: bool = True
    boundary: bool = False
    n_ways: int = 0
    sampling: str = PRIOR
    seed: int = 0
    batch_size: int | None = None
    settle: float | None = None

    def changed(self, **changes: Any) -> Settings:
        """Return the settings with those changes that are not None.

        The ball in the place of another sampling brings numbers that suit it: 1,024 samples and
        no directions by place. Another solver than these settings' own brings its own steps where
        one of the two is the distilled decoder, whose steps are no other solver's.

        Raises
        ------
        TypeError
            If there is no setting of a name.
        """
        known = {field.name for field in fields(self)}
        if unknown := sorted(set(changes) - known):
            raise TypeError(f"There is no setting {unknown[0]!r}; there are {', '.join(known)}.")
        given = {name: value for name, value in changes.items() if value is not None}
        if given.get("sampling") == BALL != self.sampling:
            given = OF_THE_BALL | given
        solver = given.get("solver", self.solver)
        if "steps" not in given and solver != self.solver and DISTILLED in (solver, self.solver):
            return replace(self, **given, steps=None)
        return replace(self, **given)

    def check(self, z_sem_size: int) -> None:
        """Refuse what no search can be made with, for semantic codes of `z_sem_size` numbers.

        Raises
        ------
        GCDError
            Naming the first setting that does not fit, and what would.
        """
        if self.settle is not None and not 0 < self.settle < 1:
            raise GCDError(
                f"settle is a cosine between 0 and 1 to reach, such as 0.99, not {self.settle}."
            )
        for name in ("n_samples", "n_h", "n_ways", "seed"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise GCDError(f"{name} is {value!r}; give a whole number.")
        if self.n_samples < MIN_SETTINGS["n_samples"]:
            raise GCDError(
                f"{self.n_samples} samples cannot train a proxy and validate it; take "
                f"{VALIDATION_PART} or more (1,024 are usual)."
            )
        if not MIN_SETTINGS["n_h"] <= self.n_h <= z_sem_size:
            raise GCDError(f"{self.n_h} h-directions are not to be had; take 0 to {z_sem_size}.")
        if not 0 <= self.seed < 2**63:
            raise GCDError(f"The seed {self.seed} is out of range; take 0 or more, below 2**63.")
        if not MIN_SETTINGS["lam"] <= self.lam < math.inf:
            raise GCDError(f"The weight of LPIPS, lam, is {self.lam}; give 0 or a positive number.")
        check_radius(self.radius)
        check_steps(self.steps, self.batch_size)
        self._check_sampling()

    def _check_sampling(self) -> None:
        """Refuse a sampling that does not exist, or that cannot do what the others ask."""
        if self.sampling not in SAMPLINGS:
            raise GCDError(f"The sampling is {', '.join(SAMPLINGS)}, not {self.sampling!r}.")
        if not MIN_SETTINGS["n_ways"] <= self.n_ways <= MAX_WAYS:
            raise GCDError(f"{self.n_ways} directions by place are not to be had; take 0 to 4.")
        if self.n_ways and self.sampling == BALL:
            raise GCDError(
                "Directions by place are found with sampling 'prior' or 'images'; in the ball, "
                "take n_ways = 0."
            )
        # Half of the samples lead to the boundary.
        least = 2 * VALIDATION_PART
        if self.boundary and self.sampling == BALL and self.n_samples < least:
            raise GCDError(
                f"{self.n_samples} samples are too few to search at the decision boundary; take "
                f"{least} or more (1,024 are usual)."
            )


class SettingChanges(TypedDict, total=False):
    """Settings of a search by name, as `find_directions` takes them beside `n_samples`."""

    n_h: int | None
    radius: float | None
    lam: float | None
    seed: int | None
    solver: str | None
    steps: int | None
    batch_size: int | None
    antithetic: bool | None
    boundary: bool | None
    n_ways: int | None
    sampling: str | None
    settle: float | None


def check_radius(radius: float) -> None:
    """Refuse a radius that is not a positive number."""
    if not (math.isfinite(radius) and radius > 0):
        raise GCDError(f"The radius {radius} is no size of a ball; give a positive number.")


def check_steps(steps: int | None, batch_size: int | None) -> None:
    """Refuse fewer than 2 solver steps, or an empty batch."""
    if steps is not None and steps < 2:
        raise GCDError(f"{steps} solver step(s) cannot invert an image; take 2 or more.")
    if batch_size is not None and batch_size < 1:
        raise GCDError(f"A batch of {batch_size} images holds nothing; take 1 or more.")
