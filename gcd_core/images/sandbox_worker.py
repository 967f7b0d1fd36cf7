"""The process that decodes visitors' pictures, under limits of time and memory.

Requests and answers are a length of eight bytes, a JSON header of that length, and then the bytes
that the header announces. It imports no torch, so that it starts fast and its memory is small.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any

import numpy as np

from gcd_core.images.dicom import patient_age
from gcd_core.images.limits import ImageError
from gcd_core.images.mask import read_mask
from gcd_core.images.notes import noting
from gcd_core.images.reading import is_dicom, looks_like_photograph, picture_size, read_pixels

MAX_CPU_SECONDS = 5  # seconds of computing for one file
MAX_MEMORY_BYTES = 2**30  # bytes beyond what the process takes by itself
DAMAGED = "The file is damaged and cannot be decoded; export or download it again."
TOO_LARGE = "The file takes too much memory to decode; save it smaller, or with fewer pixels."


def main() -> None:
    """Answer requests until there are none any more."""
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a codec prints is no answer
    limit_memory()
    while (request := receive(requests)) is not None:
        header, data = request
        limit_time()
        answer, pixels = answer_to(header, data)
        send(answers, answer, pixels)


def answer_to(header: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """A file's pixels as bytes, and what is known of it; or the sentence why it has none."""
    try:
        if header["kind"] == "mask":
            mask = read_mask(data, header["size"])
            return {}, np.packbits(mask).tobytes()
        own = header["size"], header["channels"], header["fit"], header["max_side"]
        with noting() as notes:
            view, pixels, bits = read_pixels(data, *own)
        told = {
            "size": pixels.shape[1:],
            "bits": bits,
            "shape": picture_size(data),
            "photograph": looks_like_photograph(data),
            "dicom": is_dicom(data),
            "age": patient_age(data) if is_dicom(data) else None,
            "notes": notes,
        }
        return told, b"".join(part.astype("<f4").tobytes() for part in (view, pixels))
    except ImageError as error:
        return {"error": str(error)}, b""
    except MemoryError:
        return {"error": TOO_LARGE}, b""
    except Exception:  # a file that a reader does not refuse as it should is refused all the same
        return {"error": DAMAGED}, b""


def send(stream: IO[bytes], header: dict[str, Any], data: bytes) -> None:
    """Write a header and the bytes that follow it."""
    text = json.dumps({**header, "bytes": len(data)}).encode()
    stream.write(len(text).to_bytes(8, "big") + text + data)
    stream.flush()


def receive(stream: IO[bytes]) -> tuple[dict[str, Any], bytes] | None:
    """A header and the bytes that follow it; None where the other side is gone."""
    length = stream.read(8)
    if len(length) < 8:
        return None
    try:
        header = json.loads(stream.read(int.from_bytes(length, "big")))
    except ValueError:
        return None
    data = stream.read(header["bytes"])
    return (header, data) if len(data) == header["bytes"] else None


def limit_memory() -> None:
    """Let no file take more than `MAX_MEMORY_BYTES`, where the system can limit it."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    except (ImportError, OSError, ValueError, IndexError):
        return
    most = pages * resource.getpagesize() + MAX_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def limit_time() -> None:
    """Let the next file compute for `MAX_CPU_SECONDS`; then the system ends the process."""
    try:
        import resource
    except ImportError:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + MAX_CPU_SECONDS
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (most, hard))


if __name__ == "__main__":
    main()
