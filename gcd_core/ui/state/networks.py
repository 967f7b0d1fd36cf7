"""What the page asks of a domain's networks: what goes in and comes out can leave the process."""

from __future__ import annotations

from typing import Any

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
from gcd_core.method.walk import Path, narrow, walk
from gcd_core.ui.state.frames import Frame, Opened, Opinion
from gcd_core.ui.state.positions import LINE_POINTS, alpha_grid

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
        return narrow(self.domain, [path], direction, latent)[0]

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
