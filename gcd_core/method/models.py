"""What the method needs of a domain and its models, as protocols.

A domain of `gcd_core.domains` meets them, and so does anything else that has these attributes: the
method asks for no file, no configuration and no particular network.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from gcd_core.classifiers.base import BlackBox
from gcd_core.generators.base import Generator
from gcd_core.method.code_statistics import CodeStatistics
from gcd_core.method.places import Atlas
from gcd_core.method.settings import Settings


class PerceptualDistance(Protocol):
    """How different two pictures look, such as LPIPS."""

    @property
    def identity(self) -> str:
        """Changes when the distance does: samples measured with another are not mixed."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Distances (N,), 0 or more and 0 for equal images, float, on the device of `a`.

        `a` (N, C, H, W) and `b` (N, C, H, W) or (1, C, H, W) are in [0, 1]; a single `b` is
        compared with every `a`.
        """


class Models(Protocol):
    """The models of one kind of image, and the settings that suit them.

    The method changes nothing of it but the counters of generator and classifier.
    """

    @property
    def name(self) -> str:
        """What messages and files call it."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The classifier's labels that can be explained."""

    @property
    def device(self) -> str:
        """Where generator and classifier work, as torch names it."""

    @property
    def generator(self) -> Generator:
        """Turns images into latents and back; its errors are `GCDError`s."""

    @property
    def classifier(self) -> BlackBox:
        """The one being explained; each image that it is asked about counts as a query."""

    @property
    def perceptual(self) -> PerceptualDistance:
        """The distance in the CF loss (Eq. 1)."""

    @property
    def oracle(self) -> BlackBox | None:
        """A second opinion that no search asks; None where there is none."""

    def code_statistics(self, label: str) -> CodeStatistics:
        """What the codes of the images are like for which a label's question makes sense."""

    def example_images(self, most: int, label: str = "") -> list[Tensor]:
        """Up to so many of its images (1, C, S, S) in [0, 1], to try directions on.

        With a label, those of which its question means something.
        """

    @property
    def places(self) -> Atlas:
        """Its own places of a picture by name, such as "right lower lung field"; may be empty."""

    @property
    def search(self) -> Settings:
        """The defaults of a search."""

    @property
    def alpha_max(self) -> float:
        """How far a walk goes along a unit direction in z_sem; above 0."""

    @property
    def walk_points(self) -> int:
        """Images that a walk decodes by default, its start included; 2 or more."""

    @property
    def counterfactual(self) -> str:
        """Which point of a walk is the counterfactual by default: "smallest" or "lowest-loss"."""

    @property
    def margin(self) -> float:
        """How far beyond the threshold a convincing probability lies by default; 0 to 0.5."""

    @property
    def detail(self) -> str:
        """What images show by default: "source" or "decoded"; see `Composition`."""
