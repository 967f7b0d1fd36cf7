"""What the page asks of a domain's networks: what goes in and comes out can leave the process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gcd_core.bridge.paths import rcsb
from gcd_core.domains.opening import Domain
from gcd_core.errors import Cancel
from gcd_core.generators.base import BatchProgress, Latent
from gcd_core.method.counterfactual import LOWEST_LOSS
from gcd_core.method.directions import Direction, DirectionSet
from gcd_core.method.repeatability import with_repeatability
from gcd_core.method.search import find_directions
from gcd_core.method.settings import Settings
from gcd_core.method.walk import Path, bisect, walk
from gcd_core.ui.engine.worker import Urgency
from gcd_core.ui.frames import LINE_POINTS, Frame, Opened, Opinion, alpha_grid

ORACLE_BATCH = 8  # pictures of a path


class SecondOpinion:
    """Asks an oracle when its turn has come.

    Parameters
    ----------
    domain : Domain
        Whose oracle, where it has one, is asked.
    ask : callable
        Takes pictures (N, C, H, W) and returns the oracle's opinion of each.
    in_turn : callable
        Runs a function with arguments at an urgency.
    """

    def __init__(
        self,
        domain: Domain,
        ask: Callable[[Tensor], list[Opinion]],
        in_turn: Callable[..., Any],
    ) -> None:
        self._domain, self._ask, self._in_turn = domain, ask, in_turn

    def of(self, image: Tensor) -> Opinion | None:
        """The opinion of an image (1, C, H, W), for who waits for it; None without an oracle."""
        if self._domain.oracle is None:
            return None
        return self._in_turn(Urgency.LIVE, self._ask, image)[0]

    def of_path(self, path: Path) -> list[Opinion]:
        """Those of all pictures of a path; none without an oracle, or where it may cost."""
        oracle = self._domain.oracle
        if oracle is None or oracle.remote or oracle.budget is not None:
            return []
        found: list[Opinion] = []
        for part in path.images.split(ORACLE_BATCH):
            found += self._in_turn(Urgency.PATH, self._ask, part)
        return found

    def on(self, frame: Frame) -> Frame:
        """Add the opinion to a picture that was decoded in full, unless it has one."""
        if frame.live or frame.oracle is not None or self._domain.oracle is None:
            return frame
        return replace(frame, oracle=self.of(frame.image))


class DecodeRequest(NamedTuple):
    """A picture to decode.

    Attributes
    ----------
    latent : Latent
        Of one picture.
    source : Tensor (1, C, H, W)
        What its LPIPS is measured to.
    still : callable
        Says when its turn has come whether anybody wants it any more.
    """

    latent: Latent
    source: Tensor
    still: Callable[[], bool] = lambda: True


class DecodeBatcher:
    """Decodes what is still wanted of a list, in one batch.

    Parameters
    ----------
    decode : callable
        Takes latents of N pictures, their sources (N, C, H, W) and a solver; returns N frames.
    solver : callable
        Returns the generator's, None to decode as well as it can.
    """

    def __init__(
        self,
        decode: Callable[[Latent, Tensor, str | None], list[Frame]],
        solver: Callable[[], str | None],
    ) -> None:
        self._decode, self._solver = decode, solver

    def __call__(self, wanted: list[DecodeRequest]) -> list[Frame | None]:
        """Return a frame for each that is still wanted, None for the others."""
        still = [one.still() for one in wanted]
        chosen = [one for one, yes in zip(wanted, still, strict=True) if yes]
        if not chosen:
            return [None] * len(wanted)
        latents = [one.latent for one in chosen]
        together = Latent(
            torch.cat([latent.z_sem for latent in latents]),
            torch.cat([latent.z_T for latent in latents]),
        )
        sources = torch.cat([one.source for one in chosen])
        frames = iter(self._decode(together, sources, self._solver()))
        return [next(frames) if yes else None for yes in still]


QUICK_POINTS = 5  # of a walk that only says whether there is a flip
BACKGROUND_BATCH = 4  # on a CPU, so that background work can soon give way to a live move


class Networks:
    """A domain's generator, classifier, oracle and LPIPS, as the page uses them.

    Parameters
    ----------
    domain : Domain
    """

    def __init__(self, domain: Domain) -> None:
        self.domain = domain

    @property
    def _batch_size(self) -> int | None:
        return None if "cuda" in str(self.domain.device) else BACKGROUND_BATCH

    def frames(self, images: Tensor, sources: Tensor, live: bool = False) -> list[Frame]:
        """Ask the classifier and LPIPS about pictures of sources, both (N, C, H, W)."""
        classifier = self.domain.classifier
        logits = classifier(images)
        columns = [classifier.probability(logits, label).tolist() for label in self.domain.labels]
        distances = self.domain.perceptual(images, sources).tolist()
        pictures = images.cpu().split(1)
        rows = zip(pictures, zip(*columns, strict=True), distances, strict=True)
        return [Frame(picture.clone(), row, distance, live) for picture, row, distance in rows]

    @torch.inference_mode()
    def ask_oracle(self, images: Tensor) -> list[Opinion]:
        """The oracle's probabilities of each image (N, C, H, W); there must be an oracle."""
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
    def narrow(self, path: Path, direction: Direction, latent: Latent) -> Path:
        """Find the smallest convincing change of a path by bisection."""
        return bisect(self.domain, [path], direction, latent)[0]

    @torch.inference_mode()
    def encode(self, image: Tensor) -> tuple[Latent, Frame]:
        """Encode an image (1, C, H, W), and ask about it; the latent comes to the CPU."""
        latent = self.domain.generator.encode(image).to("cpu")
        return latent, self.frames(image, image)[0]

    @torch.inference_mode()
    def decode(self, latent: Latent, sources: Tensor, solver: str | None) -> list[Frame]:
        """Decode latents of sources (N, C, H, W), and ask about the pictures."""
        images = self.domain.generator.decode(latent, solver)
        return self.frames(images, sources, live=solver is not None)

    def walk(
        self,
        opened: Opened,
        direction: Direction,
        label: str,
        progress: BatchProgress | None,
        cancel: Cancel | None,
        region: Tensor | None = None,
    ) -> Path:
        """Decode the path along a direction, both ways, at every stop; in a region if given."""
        return walk(
            self.domain,
            opened.image,
            direction,
            label,
            alphas=torch.tensor(alpha_grid(self.domain.alpha_max)),
            latent=opened.latent,
            batch_size=self._batch_size,
            progress=progress,
            cancel=cancel,
            region=region,
        )

    def steer(
        self,
        image: Tensor,
        label: str,
        region: Tensor,
        progress: BatchProgress | None,
        cancel: Cancel | None,
    ) -> Path:
        """Change an image inside a mask (S, S) by the domain's bridge."""
        return rcsb(self.domain, image, label, region, progress=progress, cancel=cancel)

    def walk_toward(
        self,
        image: Tensor,
        direction: Direction,
        label: str,
        quickly: bool,
        progress: BatchProgress | None,
        cancel: Cancel | None,
    ) -> Path:
        """Walk an image toward its flip alone: the domain's points, or quickly a few."""
        few: dict[str, Any] = {
            "n": QUICK_POINTS,
            "solver": self.domain.generator.live_solver,
            "choice": LOWEST_LOSS,
        }
        return walk(
            self.domain,
            image,
            direction,
            label,
            batch_size=self._batch_size,
            progress=progress,
            cancel=cancel,
            **(few if quickly else {}),
        )

    def try_walk(
        self,
        opened: Opened,
        direction: Direction,
        label: str,
        progress: BatchProgress | None,
        cancel: Cancel | None,
        region: Tensor,
    ) -> Path:
        """Decode every other stop of a path in a region, by the fast decoder."""
        return walk(
            self.domain,
            opened.image,
            direction,
            label,
            alphas=torch.tensor(alpha_grid(self.domain.alpha_max)[::2]),
            latent=opened.latent,
            solver=self.domain.generator.live_solver,
            batch_size=self._batch_size,
            progress=progress,
            cancel=cancel,
            choice=LOWEST_LOSS,
            region=region,
        )

    def walk_line(
        self,
        opened: Opened,
        vector: Tensor,
        length: float,
        label: str,
        progress: BatchProgress | None,
        cancel: Cancel | None,
    ) -> Path:
        """Decode the line along a unit vector (D,), as far as `length`, by the fast decoder."""
        return walk(
            self.domain,
            opened.image,
            vector,
            label,
            alphas=torch.linspace(0, length, LINE_POINTS),
            latent=opened.latent,
            solver=self.domain.generator.live_solver,
            batch_size=self._batch_size,
            progress=progress,
            cancel=cancel,
            choice=LOWEST_LOSS,
        )

    def find(self, image: Tensor, label: str, settings: Settings, **hooks: Any) -> DirectionSet:
        """Search an image for directions, and measure how repeatable they are."""
        found = find_directions(self.domain, image, label, settings=settings, **hooks)
        return with_repeatability(found, settings.lam, hooks.get("cancel"))
