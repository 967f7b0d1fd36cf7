"""The samples of a search in a file, so that later runs need not ask again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from gcd_core.errors import GCDError
from gcd_core.files import atomic_write, read_safetensors
from gcd_core.method.models import Models
from gcd_core.method.samples import Question, Samples
from gcd_core.method.settings import Settings

FORMAT = "gcd-samples-1"


def keep_samples(file: Path, samples: Samples) -> None:
    """Write a search's samples to one safetensors file, whole or not at all.

    Raises a GCDError if the file cannot be written.
    """
    assert samples.image is not None  # `tables` searches the ball
    tensors = {
        "image": samples.image.cpu().contiguous(),
        "z_sem": samples.z_sem.contiguous(),
        "logits": samples.logits.contiguous(),
        "distances": samples.distances.contiguous(),
    }
    about = {"question": asdict(samples.question), "source_probability": samples.source_probability}
    with atomic_write(file) as place:
        save_file(tensors, place, {"format": FORMAT, "about": json.dumps(about)})


def kept_samples(
    file: Path, domain: Models, image: Tensor, label: str, settings: Settings
) -> Samples:
    """Read samples that `keep_samples` wrote, for a search with these settings.

    Raises a GCDError if the file is damaged, or its samples answer another question.

    Parameters
    ----------
    domain : Models
        Encodes the source image anew: the file holds no z_T.
    image : Tensor (1, C, S, S)
        The search's source.
    """
    try:
        header, tensors = read_safetensors(file)
        about = json.loads(header["about"])
        question = Question(**about["question"])
        probability = float(about["source_probability"])
        z_sem, logits, distances = (tensors[name] for name in ("z_sem", "logits", "distances"))
        source = tensors["image"]
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        raise GCDError(f"{file.name} holds no samples of `tables`; delete it.") from None
    same = question == Question.of(domain, label, settings) and torch.equal(source, image.cpu())
    if not same or not len(z_sem) == len(logits) == len(distances):
        raise GCDError(
            f"The samples in {file.name} were asked with other settings, or around another image; "
            "name another --out, or delete the file to ask anew."
        )
    latent = domain.generator.encode(image, question.solver, question.steps)
    return Samples(question, image, latent, probability, z_sem, logits, distances)
