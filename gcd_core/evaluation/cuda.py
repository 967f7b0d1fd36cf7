"""Checks that need a GPU: its speed, its pictures, its memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gcd_core.domains.opening import Domain, load_domain
from gcd_core.errors import GCDError
from gcd_core.evaluation.speed import fastest, matmul_share

BATCH = 16  # images of a step of the U-Net
CLOSE = 0.02  # mean absolute difference of pixels, in [0, 1], that bf16 may make
SMALL_STEP = 0.05  # of the largest noise predicted, that another way of computing a step may make
LEAST_SHARE = 0.25  # of the rate of matrix products


@dataclass(frozen=True)
class Finding:
    """The result of one check."""

    name: str
    good: bool | None  # none where it could not be tried
    sentence: str  # what was found
    figures: dict[str, Any]  # JSON can hold them


def check_device(domain: Domain, image: Tensor) -> Iterator[Finding]:
    """Try a domain's networks on its device, one thing after the other.

    What cannot be tried there is told, and does not end the others.

    Parameters
    ----------
    image : Tensor (1, C, S, S)
        In [0, 1].
    """
    for check in (matrix_products, agreement, compiled, graphed, halving):
        try:
            with torch.inference_mode():
                yield check(domain, image)
        except (RuntimeError, GCDError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            yield Finding(check.__name__, None, f"could not be tried: {reason}", {})


def matrix_products(domain: Domain, image: Tensor) -> Finding:
    """How near decoding comes to the device's own rate."""
    share = matmul_share(domain, image)
    own = share["share_of_bf16"]
    sentence = f"decoding runs at {own:.0%} of the rate of bf16 matrix products"
    return Finding("matrix_products", own >= LEAST_SHARE, sentence, share)


def agreement(domain: Domain, image: Tensor) -> Finding:
    """Whether the device draws the picture that the CPU draws, and the classifier agrees."""
    here = load_domain(domain.folder, device="cpu")
    latent = here.generator.encode(image)
    pictures = [d.generator.decode(latent.to(d.device)).cpu() for d in (domain, here)]
    apart = (pictures[0] - pictures[1]).abs().mean().item()
    own, other = (
        d.classifier(picture).cpu() for d, picture in zip((domain, here), pictures, strict=True)
    )
    logits = (own - other).abs().max().item()
    sentence = f"pictures differ from the CPU's by {apart:.4f} on average, logits by {logits:.3f}"
    return Finding("agreement", apart <= CLOSE, sentence, {"pixels": apart, "logits": logits})


def compiled(domain: Domain, image: Tensor) -> Finding:
    """What torch.compile would bring to a step of the U-Net."""
    step = _step(domain, image)
    return _compared("compiled", "torch.compile", step, torch.compile(step), domain)


def graphed(domain: Domain, image: Tensor) -> Finding:
    """What a CUDA graph would bring to a step of the U-Net."""
    if torch.device(domain.device).type != "cuda":
        raise GCDError("CUDA graphs need a GPU of NVIDIA's.")
    step = _step(domain, image)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()

    def replay() -> Tensor:
        graph.replay()
        return result

    return _compared("graphed", "a CUDA graph", step, replay, domain)


def halving(domain: Domain, image: Tensor) -> Finding:
    """Whether a batch too large for the memory is halved, and comes to the same pictures."""
    latent = domain.generator.encode(image).repeat(BATCH)
    calm = domain.generator.decode(latent, batch_size=1).cpu()
    with limited_memory(domain) as refused:
        tight = domain.generator.decode(latent, batch_size=BATCH).cpu()
    apart = (calm - tight).abs().mean().item()
    if not refused():
        return Finding("halving", None, "the memory was never too small", {"pixels": apart})
    sentence = f"a batch of {BATCH} ran out of memory, was halved, and differs by {apart:.4f}"
    return Finding("halving", apart <= CLOSE, sentence, {"pixels": apart})


@contextmanager
def limited_memory(domain: Domain) -> Iterator[Callable[[], bool]]:
    """Limit a GPU's free memory; yields a function that tells how often it was too little."""
    device = torch.device(domain.device)
    if device.type != "cuda":
        raise GCDError("Its memory is no GPU's.")
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(device).total_memory
    before = torch.cuda.memory_stats(device).get("num_ooms", 0)
    torch.cuda.set_per_process_memory_fraction(
        min(1.0, (torch.cuda.memory_reserved(device) + 2**26) / total), device
    )
    try:
        yield lambda: torch.cuda.memory_stats(device).get("num_ooms", 0) > before
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)


def _step(domain: Domain, image: Tensor) -> Callable[[], Tensor]:
    latent = domain.generator.encode(image).repeat(BATCH).to(domain.device)
    predict = getattr(domain.generator, "predict_noise", None)
    if predict is None:
        raise GCDError("The generator has no U-Net.")
    times = torch.full((BATCH,), 500, device=domain.device)
    return lambda: predict(latent.z_T, times, latent.z_sem)


def _compared(
    name: str, what: str, step: Callable[[], Tensor], other: Callable[[], Tensor], domain: Domain
) -> Finding:
    device = torch.device(domain.device)
    plain, changed = step().float(), other().float()
    apart = ((plain - changed).abs().max() / plain.abs().max()).item()
    ratio = fastest(step, device) / fastest(other, device)
    sentence = f"{what} makes a step {ratio:.2f} times as fast; it differs by {apart:.4f}"
    return Finding(name, apart <= SMALL_STEP, sentence, {"ratio": ratio, "difference": apart})
