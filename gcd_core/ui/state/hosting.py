"""What a hosting service adds: the GPU decorator of Hugging Face Spaces, where there is one."""

from __future__ import annotations

from collections.abc import Callable

try:
    import spaces
except ImportError:
    spaces = None

# On a Space with shared GPUs a decorated function runs in a process of its own, from which it can
# neither report progress nor be cancelled.
CALLS_BACK = spaces is None or not spaces.config.Config.zero_gpu


def gpu(function: Callable) -> Callable:
    """Let a function ask for a GPU of the Space; elsewhere it is the function as it is."""
    return function if spaces is None else spaces.GPU(function)
