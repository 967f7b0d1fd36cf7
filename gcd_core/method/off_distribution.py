"""Is this an image of the domain at all? A score from what the generator makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.files import atomic_write, read_safetensors
from gcd_core.generators.base import Latent
from gcd_core.method.code_statistics import CodeStatistics, coarse
from gcd_core.method.models import Models
from gcd_core.method.other_kinds import OtherKinds
from gcd_core.wording import Worded

FORMAT = "gcd-off-distribution-1"
SHAPES = {"mean": 1, "std": 1, "centre": 1, "spread": 1, "threshold": 0}
FEATURES = 3
BATCH = 16
MIN_IMAGES = 20
# Times the threshold. Of the bundled domains' test images 132 were scored: ten lie above it,
# two of these above this; of radiographs upside down the least lies at 1.36, of faces at 2.1.
FAR = 1.3


def is_far(score: float, threshold: float) -> bool:
    """Whether an off-distribution score is so far above the threshold that answers mean nothing."""
    return score > FAR * threshold


def unlike_words(score: float, threshold: float) -> str:
    """A warning of an image whose off-distribution score is above the threshold, in both words.

    A milder one where it is not `is_far` above: a few of the domain's own images are.
    """
    if not is_far(score, threshold):
        told = "the models learned from: take the answers with care"
        return Worded(
            f"Not quite like the images that {told} (off-distribution score {score:.1f}, usual up "
            f"to {threshold:.1f}).",
            f"Not quite like the pictures that {told} ({score:.1f}, usual up to {threshold:.1f}).",
        )
    told = "the models learned from: the answers may mean nothing"
    numbers = f"{score:.1f}, usual up to {threshold:.1f}"
    return Worded(
        f"Unlike the images that {told} (off-distribution score {numbers}).",
        f"Unlike the pictures that {told} ({numbers}).",
    )


@dataclass(frozen=True)
class OffDistribution:
    """How far an image is from those of the domain, and from where on to warn.

    Three things are large where a generator meets what it was not trained on: LPIPS between the
    image and its reconstruction, the distance of z_sem from its mean over the training images (in
    standard deviations), and the mean square of z_T, which holds what z_sem cannot say. The
    logarithm of each is standardised over the domain's validation images; what lies above their
    mean is summed up as a Euclidean norm.

    Examples
    --------
    >>> off = domain.off_distribution
    >>> bool(off.score(domain, image) > off.threshold)
    """

    # (D,): of z_sem over the training images.
    mean: Tensor
    std: Tensor
    # (3,): mean and standard deviation of the three logarithms over the validation images.
    centre: Tensor
    spread: Tensor
    threshold: float  # the score that a given share of the validation images stays below
    generator: str  # identity of the generator that it was calibrated with

    def score_of(self, distances: Tensor, latent: Latent) -> Tensor:
        """The scores (N,), 0 or more, of images with their latents.

        Parameters
        ----------
        distances : Tensor (N,)
            LPIPS between each image and its reconstruction.
        latent : Latent
            Of the images, encoded with the generator's default solver and steps.
        """
        features = _features(distances, latent, self.mean, self.std)
        return _above((features - self.centre) / self.spread)

    def code_distance(self, z_sem: Tensor) -> Tensor:
        """How far codes (N, D) lie from those of the training images (N,).

        In standard deviations, root mean square over the axes: about 1 for an image like them.
        """
        return ((z_sem.float().cpu() - self.mean) / self.std).square().mean(1).sqrt()

    @torch.inference_mode()
    def score(self, domain: Models, images: Tensor) -> Tensor:
        """The scores (N,), 0 or more, of images (N, C, S, S) in [0, 1]: encoded and decoded."""
        distances, latent = _reconstructed(domain, images)
        return self.score_of(distances, latent)

    def save(self, path: str | Path) -> None:
        """Write it to a safetensors file, which appears whole or not at all."""
        tensors = {
            "mean": self.mean,
            "std": self.std,
            "centre": self.centre,
            "spread": self.spread,
            "threshold": torch.tensor(self.threshold),
        }
        with atomic_write(path) as place:
            save_file(tensors, place, {"format": FORMAT, "generator": self.generator})


def load_off_distribution(path: str | Path, generator: str) -> OffDistribution:
    """Read what `OffDistribution.save` wrote.

    Raises a GCDError if the file is missing, damaged, of another kind, or calibrated with another
    generator.

    Parameters
    ----------
    path : str or Path
    generator : str
        Identity of the generator that it is to be used with.
    """
    path = Path(path)
    try:
        header, tensors = read_safetensors(path)
    except (SafetensorError, OSError) as error:
        raise GCDError(
            f"{path} is missing or no whole safetensors file; make it with `calibrate`."
        ) from error
    fits = header.get("format") == FORMAT and {k: v.ndim for k, v in tensors.items()} == SHAPES
    if not fits or not all(bool(v.isfinite().all()) for v in tensors.values()):
        raise GCDError(f"{path} holds no calibration; make it with `calibrate`.")
    sizes = [len(tensors[name]) for name in ("mean", "std", "centre", "spread")]
    if sizes[0] != sizes[1] or sizes[2:] != [FEATURES, FEATURES]:
        raise GCDError(f"{path} is damaged: its vectors differ in length; make it again.")
    if header.get("generator") != generator:
        raise GCDError(
            f"{path} was calibrated with the generator {header.get('generator')}, not with this "
            f"one, {generator}; run `calibrate` again."
        )
    threshold = tensors.pop("threshold").item()
    return OffDistribution(**tensors, threshold=threshold, generator=generator)


def calibrate(
    domain: Models,
    train: Tensor,
    validation: Tensor,
    false_alarms: float = 0.03,
    progress: Callable[[int, int], None] | None = None,
) -> OffDistribution:
    """Measure a domain's own images.

    Parameters
    ----------
    domain : Models
    train : Tensor (N, C, S, S)
        Images in [0, 1], or uint8 up to 255, for the mean and deviation of z_sem.
    validation : Tensor (M, C, S, S)
        Others, of the same form, that the threshold is set on; 20 or more.
    false_alarms : float
        Share of the validation images that lie above the threshold, between 0 and 1.
    progress : callable, optional
        Called with (images done, images in all).

    Raises
    ------
    GCDError
        If there are too few images, or the share is none.
    """
    if len(train) < 2 or len(validation) < MIN_IMAGES:
        raise GCDError(
            f"{len(train)} training and {len(validation)} validation images are too few to "
            f"calibrate on; give {MIN_IMAGES} or more of each."
        )
    if not 0 < false_alarms < 1:
        raise GCDError(f"A share of false alarms lies between 0 and 1, unlike {false_alarms}.")
    total, done = len(train) + len(validation), 0
    codes, features = [], []
    with torch.inference_mode():
        for batch in train.split(BATCH):
            codes.append(domain.generator.encode_semantic(_as_float(batch)).cpu())
            done += len(batch)
            if progress is not None:
                progress(done, total)
        mean, std = torch.cat(codes).mean(0), torch.cat(codes).std(0).clamp(min=1e-6)
        for batch in validation.split(BATCH):
            distances, latent = _reconstructed(domain, _as_float(batch))
            features.append(_features(distances, latent, mean, std))
            done += len(batch)
            if progress is not None:
                progress(done, total)
    measured = torch.cat(features)
    centre, spread = measured.mean(0), measured.std(0).clamp(min=1e-6)
    scores = _above((measured - centre) / spread)
    threshold = scores.quantile(1 - false_alarms).item()
    return OffDistribution(mean, std, centre, spread, threshold, domain.generator.identity)


@torch.inference_mode()
def measure_codes(
    domain: Models,
    train: Tensor,
    targets: Mapping[str, Tensor],
    kinds: Sequence[str] | None = None,
) -> dict[str, CodeStatistics]:
    """Measure what the codes of a domain's images are like, for each label's question.

    Parameters
    ----------
    domain : Models
    train : Tensor (N, C, S, S)
        Images in [0, 1], or uint8 up to 255.
    targets : mapping of str to Tensor (N,)
        By label, which of its question's two kinds each image is of: 1, 0, or NaN for an image that
        the question makes no sense for. Of a label that is not there, all images count.
    kinds : sequence of str, optional
        Of what kind each image is: by them pictures of a kind that a question makes no sense for
        are known.

    Raises
    ------
    GCDError
        If a label has fewer than 100.
    """
    batches = [_as_float(batch) for batch in train.split(BATCH)]
    codes = torch.cat([domain.generator.encode_semantic(batch).float().cpu() for batch in batches])
    pictures = torch.cat([coarse(batch) for batch in batches])
    found = {}
    for label in domain.labels:
        if label not in targets:
            found[label] = CodeStatistics.measured(codes, pictures)
            continue
        kept = ~targets[label].isnan()
        positive = targets[label][kept] > 0.5
        own = CodeStatistics.measured(codes[kept], pictures[kept], positive)
        if kinds is not None:
            asked = {kind for kind, counts in zip(kinds, kept.tolist(), strict=True) if counts}
            own = replace(own, others=OtherKinds.measured(codes, kinds, asked))
        found[label] = own
    return found


def _reconstructed(domain: Models, images: Tensor) -> tuple[Tensor, Latent]:
    """LPIPS (N,) between images and their reconstructions, and their latents."""
    latent = domain.generator.encode(images)
    again = domain.generator.decode(latent)
    return domain.perceptual(again, images.to(again.device)), latent


def _features(distances: Tensor, latent: Latent, mean: Tensor, std: Tensor) -> Tensor:
    """The three logarithms (N, 3)."""
    z_sem, z_T = latent.z_sem.float().cpu(), latent.z_T.float().cpu()
    columns = [
        distances.float().cpu(),
        ((z_sem - mean) / std).square().mean(1),
        z_T.square().mean((1, 2, 3)),
    ]
    return torch.stack(columns, dim=1).clamp(min=1e-8).log()


def _above(standardised: Tensor) -> Tensor:
    """Norm (N,) of what is above the mean: nobody warns of an image that is too ordinary."""
    return standardised.clamp(min=0).norm(dim=1)


def _as_float(images: Tensor) -> Tensor:
    return images.float() / 255 if images.dtype == torch.uint8 else images.float()
