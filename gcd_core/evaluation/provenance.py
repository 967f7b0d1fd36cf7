"""Where a figure comes from: the networks, the directions, the images, the machine and the day."""

import datetime
import hashlib
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from gcd_core.domains.opening import Domain
from gcd_core.images.dataset import ImageFiles
from gcd_core.method.directions import Direction

CPU_INFO = Path("/proc/cpuinfo")


def digest(*parts: bytes) -> str:
    """16 hexadecimal digits of the SHA-256 of all parts, one after the other."""
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def networks_of(domain: Domain) -> dict[str, str]:
    """The identities of a domain's generator, classifier and oracle; "" where it has no oracle."""
    return {
        "generator": domain.generator.identity,
        "classifier": domain.classifier.identity,
        "oracle": "" if domain.oracle is None else domain.oracle.identity,
    }


def identity_of_directions(directions: Iterable[Direction]) -> str:
    """A short hash of directions' vectors, in their order; their names do not count."""
    return digest(*(direction.vector.numpy().tobytes() for direction in directions))


def measured(domain: Domain, files: ImageFiles | None = None) -> dict[str, Any]:
    """The day, the machine and the images of a measurement, for its JSON file.

    Returns
    -------
    dict
        `date`, as YYYY-MM-DD; `machine`, as of `machine_of`; and `images`, as of
        `ImageFiles.about`, or None where no files were given.
    """
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine_of(domain.device),
        "images": None if files is None else files.about(),
    }


def machine_of(device: str) -> dict[str, Any]:
    """The machine: `cpu` and `gpu` by name (no GPU: None), `cores`, `threads` of torch, `torch`.

    The GPU is named only where `device` is one.
    """
    on_gpu = torch.device(device).type == "cuda"
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if on_gpu else None,
        "torch": torch.__version__,
    }


def _cpu_name() -> str:
    """The processor's name; Python knows it on most systems, but not on Linux."""
    if CPU_INFO.is_file():
        for line in CPU_INFO.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
