"""Untrusted pictures, decoded in a separate process with limits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcd_core.images.limits import ImageError
from gcd_core.images.picture import Picture
from gcd_core.images.reading import MAX_SIDE
from gcd_core.images.sandbox_worker import receive, send

WORKER_MODULE = "gcd_core.images.sandbox_worker"
MAX_WAIT_SECONDS = 30.0  # seconds for one file, where the process waits instead of computing
GAVE_UP = "The file takes far longer to decode than a picture may; export it again, as PNG."


@dataclass(frozen=True)
class ReadFile:
    """A decoded file.

    Attributes
    ----------
    picture : Picture
        As of `load_picture`.
    shape : (int, int)
        Width and height of the picture itself, turned upright.
    photograph : bool
        Whether it has colour that a person would notice.
    dicom : bool
        Whether the file is DICOM, whose name is not to be shown.
    notes : tuple of str
        What a person has to know of it, a sentence each.
    age : float or None
        The patient's in years, where a DICOM file tells it.
    """

    picture: Picture
    shape: tuple[int, int]
    photograph: bool
    dicom: bool
    notes: tuple[str, ...] = ()
    age: float | None = None

    def name(self, file: str) -> str:
        """The file's name where others may see it; DICOM files often have the patient's."""
        return "DICOM" if self.dicom else file


class IsolatedReader:
    """Decodes files one after another in a process of its own, begun with the first or before.

    A file that computes for more than 5 seconds or takes more than 1 GiB ends that process, not
    this one: the file is refused, and the next one is decoded by a new process.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def begin(self) -> None:
        """Begin the process, so that the first file does not wait for it."""
        with self._turn:
            self._running()

    def picture(
        self,
        data: bytes,
        size: int,
        channels: int,
        fit: str = "stretch",
        max_side: int = MAX_SIDE,
    ) -> ReadFile:
        """Decode a picture as `load_picture` does.

        Raises
        ------
        ImageError
            As `load_picture`; and if it takes too long or too much memory.
        """
        request: dict[str, Any] = {"kind": "picture", "size": size, "channels": channels}
        told, numbers = self._ask(request | {"fit": fit, "max_side": max_side}, data)
        values = torch.from_numpy(np.frombuffer(numbers, dtype="<f4").astype(np.float32))
        tall, wide = (int(side) for side in told["size"])
        view, pixels = values.split([channels * size**2, channels * tall * wide])
        width, height = told["shape"]
        return ReadFile(
            Picture(
                pixels.reshape(1, channels, tall, wide),
                view.reshape(1, channels, size, size),
                int(told["bits"]),
            ),
            (int(width), int(height)),
            bool(told["photograph"]),
            bool(told["dicom"]),
            tuple(told["notes"]),
            told["age"],
        )

    def mask(self, data: bytes, size: int) -> Tensor:
        """Decode a mask (S, S) as `load_mask` does; the errors are those of `picture`."""
        _, bits = self._ask({"kind": "mask", "size": size}, data)
        marked = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), count=size * size)
        return torch.from_numpy(marked.reshape(size, size).astype(bool))

    def close(self) -> None:
        """End the process."""
        with self._turn:
            self._end()

    def _ask(self, request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
        with self._turn:
            answer = self._answer(request, data)
        if answer is None:
            raise ImageError(GAVE_UP)
        if "error" in answer[0]:
            raise ImageError(answer[0]["error"])
        return answer

    def _answer(self, request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes] | None:
        """Return the process's answer; None where the process ended."""
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        watch = threading.Timer(MAX_WAIT_SECONDS, process.kill)
        watch.daemon = True
        watch.start()
        try:
            send(process.stdin, request, data)
            answer = receive(process.stdout)
        except OSError:  # it died while it was told
            answer = None
        finally:
            watch.cancel()
        if answer is None:
            self._end()
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        """The process; begun where there is none, or none any more."""
        if self._process is None or self._process.poll() is not None:
            self._process = begin()
        return self._process

    def _end(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not told yet to a process that is no more
                    pipe.close()
        self._process = None


def begin() -> subprocess.Popen[bytes]:
    """Start the process with an environment that holds none of the server's secrets."""
    home = str(Path(__file__).parents[2])
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LANG") if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", WORKER_MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # codecs quote what a file holds
        env=kept | {"PYTHONPATH": os.pathsep.join([home, *filter(None, sys.path)])},
    )
