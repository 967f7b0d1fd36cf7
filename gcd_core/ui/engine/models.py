"""A domain's networks as the page uses them.

What the functions take and return can be sent to another process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gcd_core.bridge.paths import rcsb
from gcd_core.domains.cautions import of_another_kind
from gcd_core.domains.opening import Domain
from gcd_core.errors import Cancel, Cancelled
from gcd_core.generators.base import Latent
from gcd_core.images.picture import Picture
from gcd_core.method.another import Another, another_counterfactual
from gcd_core.method.composition import SOURCE, Composition, compose, view_of
from gcd_core.method.counterfactual import LOWEST_LOSS
from gcd_core.method.directions import Direction, DirectionSet
from gcd_core.method.off_distribution import is_far, unlike_words
from gcd_core.method.orientation import turned
from gcd_core.method.path import Path
from gcd_core.method.repeatability import with_repeatability
from gcd_core.method.search import find_directions
from gcd_core.method.settings import Settings
from gcd_core.method.walk import Walk, bisect, walk, walk_together
from gcd_core.ui.engine.worker import Runner, Urgency
from gcd_core.ui.frames import (
    LINE_POINTS,
    End,
    Ends,
    Frame,
    Opened,
    Opinion,
    alpha_grid,
    latent_at,
)

ORACLE_BATCH = 8  # pictures of a path


class SecondOpinion:
    """Asks the domain's oracle, a second classifier that only judges what the first one says.

    Parameters
    ----------
    domain : Domain
        It need not have an oracle: all opinions are None then.
    ask : callable
        Takes pictures (N, C, H, W) and returns the oracle's opinion of each.
    runner : Runner
        Where and when it is asked.
    """

    def __init__(
        self, domain: Domain, ask: Callable[[Tensor], list[Opinion]], runner: Runner
    ) -> None:
        self._domain, self._ask, self._runner = domain, ask, runner
        self._work = self._ask_together

    def of(self, image: Tensor) -> Opinion | None:
        """Return the oracle's opinion of an image (1, C, H, W); None without an oracle."""
        if self._domain.oracle is None:
            return None
        return self._runner.run_alike(Urgency.LIVE, self._work, image)

    def _ask_together(self, images: list[Tensor]) -> list[Opinion]:
        """The opinions of several visitors' images (1, C, H, W), in batches of one size each."""
        found: dict[int, Opinion] = {}
        for shape in dict.fromkeys(image.shape for image in images):
            chosen = [i for i, image in enumerate(images) if image.shape == shape]
            opinions = self._ask(torch.cat([images[i] for i in chosen]))
            found |= dict(zip(chosen, opinions, strict=True))
        return [found[i] for i in range(len(images))]

    def of_path(self, path: Path) -> list[Opinion]:
        """Return the opinions of a path's pictures; none without an oracle, or if it may cost."""
        oracle = self._domain.oracle
        if oracle is None or oracle.remote or oracle.budget is not None:
            return []
        found: list[Opinion] = []
        for points in torch.arange(len(path.alphas)).split(ORACLE_BATCH):
            pictures = torch.cat([path.asked(int(k), oracle) for k in points])
            found += self._runner.run(Urgency.PATH, self._ask, pictures)
        return found

    def on(self, frame: Frame) -> Frame:
        """Add the opinion to a picture of the full decoder, unless it has one."""
        if frame.live or frame.oracle is not None or self._domain.oracle is None:
            return frame
        return replace(frame, oracle=self.of(frame.asked(self._domain.oracle)))


class DecodeRequest(NamedTuple):
    """A picture to decode."""

    latent: Latent  # of one picture
    # How the picture is made of what is decoded; LPIPS is measured to its source.
    composition: Composition
    # Returns whether the picture is still wanted; called just before it is decoded.
    wanted: Callable[[], bool] = lambda: True


class DecodeBatcher:
    """Decodes several requests in one batch, and skips those that are not wanted any more.

    Parameters
    ----------
    decode : callable
        Takes latents of N pictures, their N compositions and a solver; returns N frames.
    solver : callable
        Returns the generator's solver; None is the full decoder.
    """

    def __init__(
        self,
        decode: Callable[[Latent, list[Composition], str | None], list[Frame]],
        solver: Callable[[], str | None],
    ) -> None:
        self._decode, self._solver = decode, solver

    def __call__(self, requests: list[DecodeRequest]) -> list[Frame | None]:
        """Return a frame for each request that is still wanted, None for the others."""
        wanted = [request.wanted() for request in requests]
        chosen = [request for request, yes in zip(requests, wanted, strict=True) if yes]
        if not chosen:
            return [None] * len(requests)
        latents = Latent(
            torch.cat([request.latent.z_sem for request in chosen]),
            torch.cat([request.latent.z_T for request in chosen]),
        )
        compositions = [request.composition for request in chosen]
        frames = iter(self._decode(latents, compositions, self._solver()))
        return [next(frames) if yes else None for yes in wanted]


class PathsRequest(NamedTuple):
    """The paths of an image along directions."""

    opened: Opened
    directions: Sequence[Direction]
    label: str


QUICK_POINTS = 5  # decoded on a walk that only says whether the prediction flips
# Of probability, between two stops of a path of which the one in the middle is left out: the curve
# is then off by 0.014 at most (see the lab notes).
CURVE_TOLERANCE = 0.04
BACKGROUND_BATCH = 4  # pictures at a time on a CPU, so that urgent work need not wait long


def on_cpu(domain: Domain) -> bool:
    """Whether a domain's networks run on a CPU."""
    return torch.device(domain.device).type == "cpu"


def judged(domain: Domain, label: str, view: Tensor, latent: Latent) -> str:
    """Say if the models or a label are not for an image (1, C, S, S) with its latent; else ""."""
    off, only_for = domain.off_distribution, domain.label_info[label].only_for
    if off is not None:
        drawn = domain.generator.decode(latent).float().cpu()
        score = float(off.score_of(domain.perceptual(drawn, view), latent))
        if is_far(score, off.threshold):
            return unlike_words(score, off.threshold)
    if not only_for:
        return ""
    return of_another_kind(only_for, domain.code_statistics(label), latent.z_sem.cpu()) or ""


class Networks:
    """A domain's generator, classifier, oracle and LPIPS.

    The walks take `progress` and `cancel`, as `walk` does.
    """

    def __init__(self, domain: Domain) -> None:
        self.domain = domain

    def frames(
        self, decoded: Tensor, compositions: Sequence[Composition], live: bool = False
    ) -> list[Frame]:
        """Ask the classifier and LPIPS about what is made of decoded images (N, C, S, S)."""
        classifier, parts = self.domain.classifier, decoded.float().cpu().split(1)
        own = list(zip(compositions, parts, strict=True))
        pictures, asked = zip(
            *(composition.shown_and_asked(part, classifier) for composition, part in own),
            strict=True,
        )
        if len({one.shape for one in asked}) == 1:
            logits = classifier(torch.cat(asked))
        else:
            logits = torch.cat([classifier(one) for one in asked])
        columns = [classifier.probability(logits, label).tolist() for label in self.domain.labels]
        sources = torch.cat([composition.source for composition in compositions])
        distances = self.domain.perceptual(torch.cat(pictures), sources).tolist()
        return [
            Frame(picture.clone(), row, distance, live, decoded=part, composition=composition)
            for picture, row, distance, (composition, part) in zip(
                pictures, zip(*columns, strict=True), distances, own, strict=True
            )
        ]

    @torch.inference_mode()
    def ask(self, images: Tensor) -> list[tuple[float, ...]]:
        """Return the classifier's probabilities of images (N, C, H, W), one for each label."""
        classifier = self.domain.classifier
        logits = classifier(images)
        columns = [classifier.probability(logits, label).tolist() for label in self.domain.labels]
        return list(zip(*columns, strict=True))

    @torch.inference_mode()
    def ask_oracle(self, images: Tensor) -> list[Opinion]:
        """Return the oracle's probabilities of images (N, C, H, W); there must be an oracle."""
        oracle = self.domain.oracle
        assert oracle is not None
        logits = oracle(images)
        columns = [
            oracle.probability(logits, label).tolist()
            if label in oracle.labels
            else [None] * len(images)
            for label in self.domain.labels
        ]
        return list(zip(*columns, strict=True))

    @torch.inference_mode()
    def narrow(self, path: Path, direction: Direction, latent: Latent, fast: bool = False) -> Path:
        """Find the smallest convincing change of a path by bisection, by the path's decoder."""
        solver = self.domain.generator.live_solver if fast else None
        return bisect(self.domain, [path], direction, latent, solver=solver)[0]

    @torch.inference_mode()
    def encode(self, image: Tensor | Picture) -> Opened:
        """Encode an image or a picture, ask about it and about its reconstruction.

        What comes back has no name; its tensors are on the CPU.
        """
        generator, view = self.domain.generator, view_of(image)
        latent = generator.encode(view)
        drawn = generator.decode(latent).float().cpu()
        compositions = None
        if self.domain.detail == SOURCE:
            fast = drawn
            if generator.live_solver is not None:
                fast = generator.decode(latent, generator.live_solver).float().cpu()
            compositions = compose(image, drawn), compose(image, fast)
        source = compositions[0] if compositions else compose(view)
        shown = self.frames(drawn if compositions else view, [source])[0]
        rebuilt = self.frames(drawn, [compose(view)])[0]
        picture = image if isinstance(image, Picture) else None
        latent = latent.to("cpu")
        return Opened("", view, latent, shown, rebuilt, picture=picture, compositions=compositions)

    @torch.inference_mode()
    def encode_and_judge(self, image: Tensor | Picture, label: str) -> tuple[Latent, str]:
        """Encode an image, and say if it is `judged` unlike; the classifier is not asked.

        The tensors are on the CPU.
        """
        view = view_of(image)
        latent = self.domain.generator.encode(view)
        return latent.to("cpu"), judged(self.domain, label, view, latent)

    def looks_turned(self, opened: Opened) -> str:
        """Say that an opened image looks turned, in a domain whose images all stand one way up."""
        off = self.domain.off_distribution
        if off is None or not self.domain.upright:
            return ""
        return turned(self.domain, off, opened.image, opened.latent.z_sem)

    @torch.inference_mode()
    def decode(
        self, latent: Latent, compositions: Sequence[Composition], solver: str | None
    ) -> list[Frame]:
        """Decode N latents, and ask about what their compositions make of that."""
        decoded = self.domain.generator.decode(latent, solver)
        return self.frames(decoded, compositions, live=solver is not None)

    def walk(
        self, opened: Opened, direction: Direction, label: str, fast: bool = False, **options: Any
    ) -> Path:
        """Decode the path along a direction, both ways, at the stops of a slider.

        `fast` takes the fast decoder, and no more stops than the curve needs. Options may have a
        `region` (S, S), bool: outside it the picture does not change.
        """
        options = self._stops(fast) | {"latent": opened.latent} | options
        return self._walk(_source_of(opened, fast), direction, label, **options)

    def walk_all(
        self, wanted: Sequence[PathsRequest], fast: bool = False, **options: Any
    ) -> list[list[Path]]:
        """Decode paths of several images in common batches; each as `walk` gives it."""
        walks = [
            Walk(_source_of(opened, fast), directions, label, opened.latent)
            for opened, directions, label in wanted
        ]
        options = self._stops(fast) | {"batch_size": self.batch_size} | options
        return walk_together(self.domain, walks, **options)

    def _stops(self, fast: bool) -> dict[str, Any]:
        """The options of a walk both ways, at the stops of a slider."""
        options: dict[str, Any] = {"alphas": torch.tensor(alpha_grid(self.domain.alpha_max))}
        if fast:
            solver = self.domain.generator.live_solver
            options |= {"solver": solver, "tolerance": CURVE_TOLERANCE}
        return options

    @torch.inference_mode()
    def ends(
        self,
        opened: Opened,
        directions: DirectionSet,
        names: Sequence[str],
        label: str,
        progress: Callable[[int, int], None] | None = None,
        cancel: Cancel | None = None,
    ) -> dict[str, Ends]:
        """Draw the pictures at both ends of directions, by the fast decoder."""
        far, composition = self.domain.alpha_max, opened.composition(fast=True)
        at, solver = self.domain.labels.index(label), self.domain.generator.live_solver
        places = [(name, alpha) for name in names for alpha in (-far, far)]
        found: list[End] = []
        while len(found) < len(places):
            if cancel is not None and cancel.is_set():
                raise Cancelled
            some = places[len(found) : len(found) + BACKGROUND_BATCH]
            each = [latent_at(opened, directions, {name: alpha}) for name, alpha in some]
            latents = Latent(
                torch.cat([one.z_sem for one in each]), torch.cat([one.z_T for one in each])
            )
            frames = self.decode(latents, [composition] * len(some), solver)
            found += [
                End(alpha, frame.probabilities[at], frame.image)
                for (_, alpha), frame in zip(some, frames, strict=True)
            ]
            if progress is not None:
                progress(len(found), len(places))
        return dict(zip(names, zip(found[::2], found[1::2], strict=True), strict=True))

    def try_walk(self, opened: Opened, direction: Direction, label: str, **options: Any) -> Path:
        """Decode every other stop of a path by the fast decoder."""
        alphas = torch.tensor(alpha_grid(self.domain.alpha_max)[::2])
        options = {"choice": LOWEST_LOSS, "tolerance": None, **options}
        return self.walk(opened, direction, label, fast=True, alphas=alphas, **options)

    def walk_line(
        self, opened: Opened, vector: Tensor, length: float, label: str, **options: Any
    ) -> Path:
        """Decode the line along a unit vector (D,), from 0 to `length`, by the fast decoder."""
        options |= {"latent": opened.latent, **self._quick}
        alphas = torch.linspace(0, length, LINE_POINTS)
        return self._walk(_source_of(opened, True), vector, label, alphas=alphas, **options)

    def walk_toward(
        self,
        image: Tensor | Picture,
        direction: Direction,
        label: str,
        quickly: bool,
        **options: Any,
    ) -> Path:
        """Walk an image toward its flip: the domain's points, or quickly a few."""
        few = {"n": QUICK_POINTS, **self._quick} if quickly else {}
        return self._walk(image, direction, label, **few, **options)

    def _walk(
        self,
        image: Tensor | Picture | Composition,
        direction: Direction | Tensor,
        label: str,
        **options: Any,
    ) -> Path:
        size = self.batch_size
        return walk(self.domain, image, direction, label, batch_size=size, **options)

    @property
    def batch_size(self) -> int | None:
        """Pictures at a time in the background; None on a GPU, which takes as many as a walk."""
        return BACKGROUND_BATCH if on_cpu(self.domain) else None

    @property
    def _quick(self) -> dict[str, Any]:
        return {"solver": self.domain.generator.live_solver, "choice": LOWEST_LOSS}

    def another(
        self,
        opened: Opened,
        directions: DirectionSet,
        label: str,
        avoid: Sequence[str] = (),
        **options: Any,
    ) -> Another:
        """Find a counterfactual that avoids directions, or a region; as `another_counterfactual`.

        By the fast decoder where its error cancels.
        """
        domain = self.domain
        if domain.detail == SOURCE:
            options["solver"] = domain.generator.live_solver
        options["batch_size"] = self.batch_size
        task = opened.walked, directions, label, avoid
        return another_counterfactual(domain, *task, latent=opened.latent, **options)

    def steer(self, image: Tensor, label: str, region: Tensor, **options: Any) -> Path:
        """Change an image (1, C, H, W) inside a mask (S, S) by the domain's bridge."""
        return rcsb(self.domain, image, label, region, **options)

    def find(
        self, image: Tensor | Picture | None, label: str, settings: Settings, **options: Any
    ) -> DirectionSet:
        """Search for directions, and measure how repeatable they are."""
        found = find_directions(self.domain, image, label, settings=settings, **options)
        return with_repeatability(found, settings.lam, options.get("cancel"))


def _source_of(opened: Opened, fast: bool) -> Tensor | Picture | Composition:
    """What a walk starts from: with what was decoded at alpha 0, where that is known."""
    return opened.walked if opened.compositions is None else opened.composition(fast)
