"""The weights of a TensorFlow.js model: a manifest in JSON and files of raw numbers."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gcd_core.errors import GCDError


@dataclass(frozen=True)
class Weight:
    """One weight as it is stored: `stored * scale + minimum` are its numbers."""

    stored: NDArray  # uint8 where it is quantised, else float32
    scale: float = 1.0
    minimum: float = 0.0

    @property
    def quantised(self) -> bool:
        """Whether `stored` holds bytes."""
        return self.stored.dtype == np.uint8

    @property
    def values(self) -> NDArray[np.float32]:
        """The numbers, float32, computed in double precision as TensorFlow.js does."""
        if not self.quantised:
            return self.stored
        return (self.stored * np.float64(self.scale) + self.minimum).astype(np.float32)

    def transposed(self, *axes: int) -> "Weight":
        """Return the weight with its axes in another order."""
        stored = np.ascontiguousarray(self.stored.transpose(axes))
        return Weight(stored, self.scale, self.minimum)


def read_weights(manifest: Path) -> dict[str, Weight]:
    """Return all weights that a manifest (`NAME-weights_manifest.json`) names, by name.

    The files of numbers lie beside the manifest. Nothing is unpickled.

    Raises
    ------
    GCDError
        If the manifest is not one, a file is missing or too short or too long, or a weight is of
        another kind than float32, whole or quantised to bytes.
    """
    weights = {}
    try:
        for group in json.loads(manifest.read_text(encoding="utf-8")):
            data = b"".join((manifest.parent / path).read_bytes() for path in group["paths"])
            offset = 0
            for entry in group["weights"]:
                weights[entry["name"]], offset = _read(entry, data, offset)
            if offset != len(data):
                raise GCDError(f"{manifest} describes {offset} bytes; there are {len(data)}.")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GCDError(f"{manifest} and its files cannot be read as weights: {error}.") from error
    return weights


def _read(entry: dict, data: bytes, offset: int) -> tuple[Weight, int]:
    """Return the weight that begins at `offset`, and where it ends."""
    quantised = entry.get("quantization")
    kind = quantised["dtype"] if quantised else entry["dtype"]
    if entry["dtype"] != "float32" or kind not in ("float32", "uint8"):
        raise GCDError(f"The weight {entry['name']} is of the kind {kind}, not float32 or uint8.")
    count = int(np.prod(entry["shape"]))
    stored = np.frombuffer(data, np.dtype(kind).newbyteorder("<"), count, offset)
    stored = stored.reshape(entry["shape"])
    end = offset + stored.nbytes
    if not quantised:
        return Weight(stored), end
    return Weight(stored, quantised["scale"], quantised["min"]), end
