"""Pictures that are nobody's, the same on every machine: what conversions are compared on."""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.face_api.graph import SIDE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `pictures`."""
    parser.add_argument("--out", type=Path, required=True, help="file of 8 x 128 x 128 x 3 bytes")


def main(args: argparse.Namespace) -> None:
    """Write the pictures, one after the other, RGB."""
    args.out.write_bytes(pictures().tobytes())


def pictures() -> NDArray[np.uint8]:
    """Return 8 pictures (8, 128, 128, 3), RGB bytes: gradients, waves, ellipses and a drawn face.

    They are computed from whole numbers alone, so that no machine rounds otherwise.
    """
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.int64)
    red, green, blue = 2 * x, 2 * y, 254 - (x + y)
    gradients = _rgb(red, green, blue)
    rings = _rgb((x - 60) ** 2 + (y - 70) ** 2 >> 5, (x - 64) ** 2 >> 4, (y - 50) ** 2 >> 4)
    waves = _rgb(_wave(3 * x + y), _wave(2 * y - x), _wave(x + 5 * y))
    noise = ((x // 8 + 1) * 7919 + (y // 8 + 1) * 104_729 + (x // 8) * (y // 8) * 331) % 256
    blocks = _rgb(noise, (noise * 5 + 90) % 256, (noise * 11 + 30) % 256)
    faces = [
        _face((224, 172, 140), 4, 10),
        _face((120, 80, 60), 10, 4),
        _face((240, 205, 180), 1, 18),
    ]
    mixed = (faces[0].astype(np.int64) + 2 * waves.astype(np.int64)) // 3
    return np.stack([gradients, rings, waves, blocks, *faces, mixed.astype(np.uint8)])


def _rgb(red: NDArray, green: NDArray, blue: NDArray) -> NDArray[np.uint8]:
    return np.clip(np.stack([red, green, blue], axis=-1), 0, 255).astype(np.uint8)


def _wave(phase: NDArray) -> NDArray:
    """A wave of parabolas of period 64, 0 to 255: smooth, and of whole numbers."""
    place = phase % 64 - 32
    return 255 - place * place // 4


def _face(skin: tuple[int, int, int], opening: int, smile: int) -> NDArray[np.uint8]:
    """A head, hair, eyes, a nose and a mouth, all of them ellipses; each smoothed a little."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.int64)
    picture = _rgb(90 + x // 2, 110 + y // 3, 160 - y // 4).astype(np.int64)

    def draw(colour: tuple[int, int, int], cx: int, cy: int, rx: int, ry: int) -> None:
        inside = ((x - cx) * ry) ** 2 + ((y - cy) * rx) ** 2 <= (rx * ry) ** 2
        picture[inside] = colour

    draw((60, 45, 35), 64, 52, 44, 46)
    draw(skin, 64, 70, 38, 50)
    for eye in (48, 80):
        draw((245, 245, 245), eye, 58, 8, 5)
        draw((50, 40, 40), eye, 58, 4, 4)
        draw((70, 50, 40), eye, 48, 9, 2)
    draw((max(skin[0] - 30, 0), max(skin[1] - 30, 0), max(skin[2] - 30, 0)), 64, 74, 5, 9)
    draw((170, 70, 70), 64, 94, 8 + smile, 3 + opening)
    draw((250, 245, 240), 64, 93, 6 + smile, max(opening, 1))
    for axis in (0, 1):
        sides = np.roll(picture, 1, axis) + np.roll(picture, -1, axis)
        picture = (2 * picture + sides) // 4
    return picture.astype(np.uint8)
