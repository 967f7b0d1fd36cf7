"""Pictures of PIL as tensors, to look at what the package drew."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def from_pil(image: Image.Image) -> Tensor:
    """A grey or RGB picture as a tensor (1, C, H, W), float32 in [0, 1], size unchanged."""
    array = np.asarray(image, dtype=np.float32) / 255
    return torch.from_numpy(array).reshape(*array.shape[:2], -1).permute(2, 0, 1)[None].contiguous()
