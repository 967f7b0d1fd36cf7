"""What a search has asked, and the question that its answers belong to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.generators.base import Latent
from gcd_core.method.composition import DECODED, resolve_detail
from gcd_core.method.models import Models
from gcd_core.method.perturbation import Answers
from gcd_core.method.region import region_identity
from gcd_core.method.settings import BALL, Settings

FIRST_SAMPLES = 256  # at most, around the source, before it moves to the decision boundary


@dataclass(frozen=True)
class Question:
    """What decides every sample's answer: two searches that agree in it can share samples.

    `sampling` says where the codes come from, and `codes` which statistics they are drawn from.
    What follows holds for the ball alone. `first` is how many samples lie around the source before
    it moves to the decision boundary, by a proxy that `lam` was the weight of; both are None where
    it stays where it is. `region` is the identity of the mask that changes are confined to; None
    for none. `detail` says what the classifier was shown; see `Composition`.
    """

    label: str
    radius: float
    seed: int
    antithetic: bool
    solver: str | None
    steps: int | None
    generator: str
    classifier: str
    perceptual: str
    first: int | None = None
    lam: float | None = None
    region: str | None = None
    detail: str = DECODED
    sampling: str = BALL
    codes: str | None = None

    @classmethod
    def of(
        cls,
        domain: Models,
        label: str,
        settings: Settings,
        masks: Tensor | None = None,
        detail: str | None = None,
    ) -> Question:
        """The question that a search with these settings asks."""
        shared = cls(
            label=label,
            radius=float(settings.radius),
            seed=settings.seed,
            antithetic=settings.antithetic,
            solver=settings.solver,
            steps=settings.steps,
            generator=domain.generator.identity,
            classifier=domain.classifier.identity,
            perceptual=domain.perceptual.identity,
            sampling=settings.sampling,
        )
        if settings.sampling != BALL:  # codes of their own, decoded and shown as they are
            statistics = domain.code_statistics(label)
            return replace(shared, radius=0.0, antithetic=True, codes=statistics.identity)
        return replace(
            shared,
            first=min(FIRST_SAMPLES, settings.n_samples // 2) if settings.boundary else None,
            lam=float(settings.lam) if settings.boundary else None,
            region=region_identity(masks),
            detail=resolve_detail(domain, detail),
        )


@dataclass(frozen=True)
class Samples:
    """What a search has asked so far; pass it as `resume` to go on without asking again.

    Attributes
    ----------
    question : Question
    image : Tensor (1, C, H, W) or None
        The source; None where codes were drawn from the domain's.
    latent : Latent or None
        The source's codes.
    source_probability : float or None
        The classifier's for the source image.
    z_sem : Tensor (N, D)
        The codes asked about.
    logits, distances : Tensor (N,)
        The label's log-odds; LPIPS to the source, or to the picture of the mean code.
    boundary : Tensor (1, D) or None
        Where the decision boundary was met, once the source has moved there.
    """

    question: Question
    image: Tensor | None
    latent: Latent | None
    source_probability: float | None
    z_sem: Tensor
    logits: Tensor
    distances: Tensor
    boundary: Tensor | None = None

    @property
    def centre(self) -> Tensor:
        """The code (1, D) that the newest samples lie around, where derivatives are taken."""
        if self.boundary is not None:
            return self.boundary
        return self.z_sem.mean(0, keepdim=True) if self.latent is None else self.latent.z_sem.cpu()

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, rows: slice) -> Samples:
        """Return a part of the samples."""
        return replace(
            self,
            z_sem=self.z_sem[rows],
            logits=self.logits[rows],
            distances=self.distances[rows],
        )

    def joined(self, z_sem: Tensor, answers: Answers) -> Samples:
        """Return the samples with a batch more."""
        return replace(
            self,
            z_sem=torch.cat([self.z_sem, z_sem]),
            logits=torch.cat([self.logits, answers.logits]),
            distances=torch.cat([self.distances, answers.distances]),
        )


def check_resume(resume: Samples, question: Question, image: Tensor | None = None) -> None:
    """Refuse samples that answer another question, or belong to another image."""
    then, now = asdict(resume.question), asdict(question)
    for name, value in {"sampling": question.sampling, **now}.items():  # it decides the others
        if name == "lam" and question.first is None:
            continue
        if then[name] != value:
            raise GCDError(
                f"These samples were asked with {name} {then[name]!r}, not {value!r}; resume with "
                "the same, or search anew."
            )
    if image is not None and (
        resume.image is None or not torch.equal(resume.image.cpu(), image.cpu())
    ):
        raise GCDError("These samples belong to another image; resume with that, or search anew.")
