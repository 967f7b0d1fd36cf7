"""Networks run as one call each, beside a page's other threads."""

from __future__ import annotations

import threading
import warnings

import torch
from torch import Tensor, nn


class Traced:
    """A network that runs as one TorchScript program where no gradient is wanted.

    PyTorch gives Python's interpreter back at each layer and asks for it again after. Where other
    threads are at work too, as in a page, a network of a hundred layers waits for it a hundred
    times. A program of TorchScript runs without the interpreter. It computes the same.

    It is made at the first call, from the network's weights then: they must not change after.

    Parameters
    ----------
    network : nn.Module
        On the CPU, in evaluation mode. Takes tensors (N, ...) and returns a tensor; what it does
        must not depend on their values.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._program: torch.jit.ScriptModule | None = None
        self._making = threading.Lock()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return what the network makes of inputs; by itself where one of them wants gradients."""
        if torch.is_grad_enabled() and any(one.requires_grad for one in inputs):
            return self.network(*inputs)
        with self._making:
            if self._program is None:
                self._program = self._traced(inputs)
        return self._program(*inputs)

    @torch.inference_mode(False)
    @torch.no_grad()
    def _traced(self, inputs: tuple[Tensor, ...]) -> torch.jit.ScriptModule:
        """The program; two examples of zeros are followed, as a batch of one may be any size."""
        examples = tuple(one.new_zeros(2, *one.shape[1:]) for one in inputs)
        with warnings.catch_warnings():
            # PyTorch would rather compile, for which a user's machine would need a C++ compiler.
            warnings.simplefilter("ignore")
            return torch.jit.freeze(torch.jit.trace(self.network, examples, check_trace=False))
