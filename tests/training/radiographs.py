"""A data set of drawn pictures, with a table of labels, patients and splits."""

import csv
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image


def write_data_set(folder: Path, counts: dict[str, int], size: int = 32) -> Path:
    """Write `images.zip` and `labels.csv`; return the zip. `counts` gives each split's images."""
    rng = np.random.default_rng(0)
    rows = []
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for split, count in counts.items():
            for index in range(count):
                bright = index % 2
                pixels = rng.integers(0, 60, (size, size)) + 20
                pixels[size // 4 : size // 2, size // 4 : size // 2] += 120 * bright
                path = folder / f"{split}-{index}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(path)
                archive.write(path, f"images/{path.name}")
                path.unlink()
                label = ("normal", "bacterial")[bright]
                rows.append((path.name, label, f"{split}-{index // 2}", split))
    with open(folder / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("file", "label", "patient", "split"), *rows])
    return folder / "images.zip"
