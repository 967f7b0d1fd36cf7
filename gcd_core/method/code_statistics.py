"""What the semantic codes of a domain's images are like: mean, covariance, and what they draw."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from gcd_core.errors import GCDError
from gcd_core.files import atomic_write, read_safetensors
from gcd_core.method.other_kinds import OtherKinds

FORMAT = "gcd-code-statistics-1"
COARSE_SIDE = 16  # pixels of a side of the coarse pictures that codes are held against
MIN_VARIANCE = 1e-3  # of the mean variance, added to each axis: no axis is without any
MIN_IMAGES = 100
PARTS = ("mean", "covariance", "drawing")
OTHERS = ("own", "means", "covariance")
DAMAGED = (LookupError, ValueError, AttributeError, TypeError, RecursionError)


@dataclass(frozen=True, eq=False)
class CodeStatistics:
    """Mean and covariance of z_sem over images, and how each of its numbers changes the picture.

    The images are those for which a question makes sense, such as all pneumonias where *bacterial
    or viral* is asked. No code of a single image is kept.

    Attributes
    ----------
    mean : Tensor (D,)
    covariance : Tensor (D, D)
    drawing : Tensor (P, D) or None
        The linear map from codes to `coarse` pictures of P values that fits best (least squares).
        None where no image was seen: then all axes count the same.
    n_images : int
        How many were measured; 0 where mean and covariance are assumed.
    kinds : tuple of CodeStatistics
        Mean and covariance of each of the two kinds that the question tells apart, without a
        drawing; empty where nobody told which image is of which.
    others : OtherKinds or None
        Which codes are of another kind than these; None where nobody told.
    """

    mean: Tensor
    covariance: Tensor
    drawing: Tensor | None = None
    n_images: int = 0
    kinds: tuple[CodeStatistics, ...] = ()
    others: OtherKinds | None = None

    @classmethod
    def measured(
        cls, codes: Tensor, pictures: Tensor, positive: Tensor | None = None
    ) -> CodeStatistics:
        """Measure codes (N, D) of images, and their `coarse` pictures (N, P).

        `positive` (N,), bool, says which of two kinds an image is of. The kinds are measured where
        each has 100 images.

        Raises
        ------
        GCDError
            If there are fewer than 100, or a number is none.
        """
        if len(codes) < MIN_IMAGES:
            raise GCDError(
                f"{len(codes)} images are too few to say what codes are like; give {MIN_IMAGES} or "
                "more for each question."
            )
        if not bool(codes.isfinite().all() and pictures.isfinite().all()):
            raise GCDError("A code or a picture holds something that is no finite number.")
        codes, pictures = codes.double(), pictures.double()
        mean, covariance = _moments(codes)
        crossed = (codes - mean).T @ (pictures - pictures.mean(0)) / (len(codes) - 1)
        drawing = torch.linalg.solve(covariance, crossed).T
        kinds: list[CodeStatistics] = []
        if positive is not None and MIN_IMAGES <= positive.sum() <= len(codes) - MIN_IMAGES:
            for own in (codes[positive], codes[~positive]):
                own_mean, own_covariance = _moments(own)
                kinds.append(cls(own_mean.float(), own_covariance.float(), None, len(own)))
        return cls(mean.float(), covariance.float(), drawing.float(), len(codes), tuple(kinds))

    @classmethod
    def assumed(cls, z_sem_size: int, moments: tuple[Tensor, Tensor] | None) -> CodeStatistics:
        """Codes of independent normal numbers, of which mean and deviation (D,) may be known.

        Without them, of mean 0 and deviation 1, as whitened codes are.
        """
        if moments is None:
            return cls(torch.zeros(z_sem_size), torch.eye(z_sem_size))
        mean, deviation = moments
        return cls(mean.float().cpu(), torch.diag(deviation.float().cpu().square()))

    @cached_property
    def identity(self) -> str:
        """A short hash of what codes are drawn by: samples drawn from others are not mixed."""
        digest = hashlib.sha256()
        for statistics in (self, *self.kinds):
            for part in PARTS:
                value = getattr(statistics, part)
                digest.update(b"" if value is None else value.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def radius(self) -> float:
        """The typical distance of a code from the mean."""
        return float(self.covariance.diagonal().sum().sqrt())

    @cached_property
    def factor(self) -> Tensor:
        """The lower triangle L (D, D) with L L^T = covariance; z = mean + L w has w ~ N(0, I)."""
        return torch.linalg.cholesky(self.covariance.double()).float()

    @cached_property
    def picture_change(self) -> Tensor:
        """How much picture a step of w makes, (D, D): the mean of its diagonal is 1.

        w^T M w is the mean squared change of the coarse picture along w. The identity where nothing
        is known of it.
        """
        return self.picture_change_in(None)

    def picture_change_in(self, region: Tensor | None) -> Tensor:
        """As `picture_change`, of a region's share alone.

        `region` (16, 16) weighs the coarse pixels, 0 to 1; None is all of them.
        """
        if self.drawing is None:
            return torch.eye(len(self.mean))
        along = self.drawing @ self.factor
        scale = along.square().sum(0).mean().clamp(min=1e-12)
        if region is not None:
            channels = len(along) // region.numel()
            along = along * region.flatten().sqrt().repeat(channels)[:, None]
        return along.T @ along / scale

    def whitened(self, codes: Tensor) -> Tensor:
        """The numbers w (N, D) of codes (N, D)."""
        centred = (codes.float().cpu() - self.mean).T
        return torch.linalg.solve_triangular(self.factor, centred, upper=False).T

    def coloured(self, w: Tensor) -> Tensor:
        """The codes (N, D) of numbers w (N, D)."""
        return self.mean + w @ self.factor.T

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n codes (n, D) of N(mean, covariance), each second one mirrored at the mean.

        The first of each pair are orthogonal in w, D at a time, of lengths as a normal vector has
        them: so few codes see every axis alike. Where the kinds are known, codes are drawn of each
        by itself, two pairs in turn: what lies between two kinds is like no image.
        """
        if self.kinds:
            seeds = torch.randint(2**62, (len(self.kinds),), generator=generator).tolist()
            each = [
                kind.draw(4 * -(-n // 4), torch.Generator().manual_seed(seed)).unflatten(0, (-1, 4))
                for kind, seed in zip(self.kinds, seeds, strict=True)
            ]
            return torch.stack(each, dim=1).flatten(0, 2)[:n]
        size, pairs = len(self.mean), (n + 1) // 2
        drawn: list[Tensor] = []
        while sum(map(len, drawn)) < pairs:
            axes, _ = torch.linalg.qr(torch.randn(size, size, generator=generator))
            lengths = torch.randn(size, size, generator=generator).norm(dim=1, keepdim=True)
            drawn.append(axes.T * lengths)
        half = torch.cat(drawn)[:pairs]
        return self.coloured(torch.stack([half, -half], dim=1).flatten(0, 1)[:n])

    def distance(self, codes: Tensor) -> Tensor:
        """How far codes (N, D) lie from the data (N,): Mahalanobis' distance over sqrt(D).

        About 1 for an image of the kind.
        """
        return self.whitened(codes).square().mean(1).sqrt()


def _moments(codes: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,) and covariance (D, D) of codes (N, D), with a little variance on each axis."""
    mean = codes.mean(0)
    covariance = (codes - mean).T @ (codes - mean) / (len(codes) - 1)
    floor = MIN_VARIANCE * covariance.diagonal().mean()
    return mean, covariance + floor * torch.eye(codes.shape[1], dtype=codes.dtype)


def coarse(images: Tensor) -> Tensor:
    """What a coarse look at images (N, C, S, S) tells, (N, P): of each of 16 x 16 squares.

    The deviation of each channel, which tells textures and edges, and the mean: of a grey picture
    itself (P = 2 * 256), of a colour picture of the differences between its channels (P = 5 * 256),
    which no change of the light moves.
    """
    images = images.float()
    mean = F.adaptive_avg_pool2d(images, COARSE_SIDE)
    squares = F.adaptive_avg_pool2d(images.square(), COARSE_SIDE)
    deviation = (squares - mean.square()).clamp(min=0).sqrt()
    if images.shape[1] == 3:
        mean = mean[:, :2] - mean[:, 1:]
    return torch.cat([mean, deviation], dim=1).flatten(1)


def save_code_statistics(
    path: str | Path, by_label: Mapping[str, CodeStatistics], generator: str
) -> None:
    """Write the statistics of each label's question to a safetensors file, whole or not at all.

    `generator` is the identity of the generator whose codes they are of.
    """
    tensors = {
        f"{label}.{part}": value.contiguous()
        for label, statistics in by_label.items()
        for part in PARTS
        if (value := getattr(statistics, part)) is not None
    }
    for label, statistics in by_label.items():
        for part in ("mean", "covariance") if statistics.kinds else ():
            each = [getattr(kind, part) for kind in statistics.kinds]
            tensors[f"{label}.kinds.{part}"] = torch.stack(each)
        if statistics.others is not None:
            for part in OTHERS:
                tensors[f"{label}.others.{part}"] = getattr(statistics.others, part).contiguous()
    counts = {label: statistics.n_images for label, statistics in by_label.items()}
    header = {"format": FORMAT, "generator": generator, "n_images": json.dumps(counts)}
    known = {k: one.others.names for k, one in by_label.items() if one.others is not None}
    if known:
        header["others"] = json.dumps(known)
    with atomic_write(path) as place:
        save_file(tensors, place, header)


def load_code_statistics(path: str | Path, generator: str) -> dict[str, CodeStatistics]:
    """Read what `save_code_statistics` wrote, by label.

    Parameters
    ----------
    path : str or Path
    generator : str
        Identity of the generator that they are to be used with.

    Raises
    ------
    GCDError
        If the file is missing, damaged, of another kind, or of another generator.
    """
    path = Path(path)
    try:
        header, tensors = read_safetensors(path)
        counts, known = json.loads(header["n_images"]), json.loads(header.get("others", "{}"))
        found = {
            label: CodeStatistics(
                tensors[f"{label}.mean"],
                tensors[f"{label}.covariance"],
                tensors.get(f"{label}.drawing"),
                count,
                _kinds(tensors, label),
                _others(tensors, label, known.get(label)),
            )
            for label, count in counts.items()
        }
    except (SafetensorError, OSError, *DAMAGED) as e:
        raise GCDError(
            f"{path} is missing or holds no statistics of codes; make it with `calibrate`."
        ) from e
    if header.get("format") != FORMAT or not all(map(_is_sound, found.values())):
        raise GCDError(f"{path} holds no statistics of codes; make it with `calibrate`.")
    if header.get("generator") != generator:
        raise GCDError(
            f"{path} is of the generator {header.get('generator')}, not of this one, {generator}; "
            "run `calibrate` again."
        )
    return found


def _kinds(tensors: Mapping[str, Tensor], label: str) -> tuple[CodeStatistics, ...]:
    """The kinds of a label's question in a file; none where it does not tell them."""
    if f"{label}.kinds.mean" not in tensors:
        return ()
    parts = (tensors[f"{label}.kinds.{part}"] for part in ("mean", "covariance"))
    return tuple(CodeStatistics(*each) for each in zip(*parts, strict=True))


def _others(
    tensors: Mapping[str, Tensor], label: str, names: list[str] | None
) -> OtherKinds | None:
    """The other kinds of a label's question in a file; None where it does not tell them."""
    if names is None:
        return None
    if not all(isinstance(name, str) for name in names):
        raise ValueError(names)
    return OtherKinds(tuple(names), *(tensors[f"{label}.others.{part}"] for part in OTHERS))


def _is_sound(statistics: CodeStatistics) -> bool:
    """Whether the shapes fit each other, the count is one and the covariance too."""
    others = statistics.others
    if others is not None and not (
        others.is_sound and others.means.shape[1:] == statistics.mean.shape
    ):
        return False
    if any(kind.mean.shape != statistics.mean.shape for kind in statistics.kinds):
        return False
    if not all(map(_is_sound, statistics.kinds)):
        return False
    mean, covariance, drawing = (getattr(statistics, part) for part in PARTS)
    if type(statistics.n_images) is not int or statistics.n_images < 0:
        return False
    if mean.ndim != 1 or not len(mean):
        return False
    size = len(mean)
    if covariance.shape != (size, size) or (drawing is not None and drawing.shape[1:] != (size,)):
        return False
    if drawing is not None and (not len(drawing) or len(drawing) % COARSE_SIDE**2):
        return False
    given = [value for value in (mean, covariance, drawing) if value is not None]
    if not all(v.dtype == torch.float32 and bool(v.isfinite().all()) for v in given):
        return False
    return bool(torch.linalg.cholesky_ex(covariance.double()).info == 0)
