"""Where networks run, and in which precision: chosen by what the hardware can do."""

from __future__ import annotations

import torch

from gcd_core.errors import GCDError

PRECISIONS = ("auto", "fp32", "bf16")


def choose_device(device: str | torch.device) -> torch.device:
    """Resolve ``"auto"`` to the GPU if there is one, else the CPU.

    Raises a GCDError if the device is none that torch knows, or a GPU where there is none.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(device)
    except RuntimeError:
        raise GCDError(f"{device!r} is no device; choose 'auto', 'cpu' or 'cuda'.") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise GCDError(
            "The device 'cuda' was asked for but there is no GPU; choose 'cpu' or 'auto'."
        )
    return device


def choose_precision(precision: str, device: torch.device) -> str:
    """Resolve ``"auto"`` to ``"bf16"`` where ``device`` multiplies it natively, else ``"fp32"``.

    Raises a GCDError if ``precision`` is none of ``PRECISIONS``.
    """
    if precision not in PRECISIONS:
        raise GCDError(f"{precision!r} is no precision; choose one of {', '.join(PRECISIONS)}.")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        # Not what oneDNN supports: it runs bf16 by emulation too, slower than fp32.
        capabilities = torch.cpu.get_capabilities()
        native = capabilities.get("amx_bf16", False) or capabilities.get("avx512_bf16", False)
    return "bf16" if native else "fp32"
