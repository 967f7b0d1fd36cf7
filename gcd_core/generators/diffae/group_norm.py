"""Group normalization that computes in float32."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GroupNorm(nn.GroupNorm):
    """Group normalization (Wu & He, 2018); of a CPU's bfloat16 by way of float32.

    There PyTorch's own kernel takes three to six times as long where the channels come last: more
    than the convolutions around it. Training gains nothing, and is left to PyTorch.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) to the same shape and type."""
        if x.dtype is not torch.bfloat16 or x.is_cuda or torch.is_grad_enabled():
            return super().forward(x)
        gain, shift = self.weight.float(), self.bias.float()
        return F.group_norm(x.float(), self.num_groups, gain, shift, self.eps).to(x.dtype)
