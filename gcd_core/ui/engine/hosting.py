"""What a hosting service adds: the GPU decorator of Hugging Face Spaces, where there is one."""

from __future__ import annotations

from collections.abc import Callable

try:
    import spaces
except ImportError:
    spaces = None

# On a Space with shared GPUs a decorated function runs in a process of its own, from which it can
# neither report progress nor be cancelled.
RUNS_IN_PROCESS = spaces is None or not spaces.config.Config.zero_gpu

# Seconds of a GPU that a call may take. A visitor's share is counted by what was asked for, and who
# asks for less waits less.
ENCODE, MOVE, PATH, SEARCH = 15, 10, 60, 240


def gpu(function: Callable, seconds: int) -> Callable:
    """Let a function ask for a GPU of the Space; elsewhere it is the function as it is.

    What it is given and returns goes from one process to another, and so may not lie on the GPU.
    """
    return function if spaces is None else spaces.GPU(duration=seconds)(function)
