"""Answers of classifiers, kept on disk by classifier and image, so that none is paid for twice.

Only hashes and numbers are kept, never an image. The file may be deleted at any time.
"""

import hashlib
import logging
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from gcd_core.environment import Environment

LOG = logging.getLogger(__name__)
FILE = "answers.sqlite3"
PATIENCE = 30.0  # seconds to wait for another process that is writing
TABLE = """CREATE TABLE IF NOT EXISTS answers (
    classifier TEXT, image BLOB, answer BLOB, PRIMARY KEY (classifier, image)
) WITHOUT ROWID"""
CLAIMS = """CREATE TABLE IF NOT EXISTS claims (
    classifier TEXT, image BLOB, who TEXT, until REAL, PRIMARY KEY (classifier, image)
) WITHOUT ROWID"""
LEASE = 600.0  # seconds after which a claim lapses, should who made it hang
CLAIM_POLL_SECONDS = 0.05  # seconds between two looks at whether a claim was given up
T = TypeVar("T")


def cache_folder() -> Path:
    """Where this user's answers are kept.

    `$GCD_CACHE`, or `$XDG_CACHE_HOME/gcd-explorer`, or `~/.cache/gcd-explorer`.
    """
    own = Environment().cache
    if own is not None:
        return own
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = chosen if chosen.is_absolute() else Path("~/.cache").expanduser()
    return base / "gcd-explorer"


def fingerprint(images: Tensor) -> list[bytes]:
    """SHA-256 of each image (N, C, H, W): its shape, its type and every pixel."""
    images = images.detach().cpu()
    if images.is_floating_point():
        images = images.float()
    kind = f"{images.dtype} {tuple(images.shape[1:])} ".encode()
    return [
        hashlib.sha256(kind + image.contiguous().numpy().tobytes()).digest() for image in images
    ]


class AnswerStore(Protocol):
    """Where a classifier's answers are kept, by its identity and the images' fingerprints."""

    @property
    def assurance(self) -> str:
        """The sentence for a search that stopped early: which answers are kept."""

    def get(self, classifier: str, images: Iterable[bytes], labels: int) -> dict[bytes, Tensor]:
        """The answers (L,) that are known of these images."""

    def put(self, classifier: str, answers: Mapping[bytes, Tensor]) -> None:
        """Keep answers (L,)."""

    def claimed(self, classifier: str, images: Sequence[bytes]) -> AbstractContextManager[None]:
        """Wait until no other process asks about these images, and claim them."""


class AnswerCache:
    """A file of answers that several threads and processes may share.

    Each `put` is one transaction, so that whoever is killed, and whenever, leaves a whole file. A
    file that is damaged is set aside, and one that cannot be written is replaced by memory; both
    with a warning, as no search should end for its cache.

    Parameters
    ----------
    path : Path, optional
        The SQLite file; by default `answers.sqlite3` in `cache_folder()`.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.RLock()
        self._file: sqlite3.Connection | None = None
        self.path: Path | None = path
        if path is None:
            try:
                self.path = cache_folder() / FILE
            except RuntimeError as error:  # this user has no home
                self._forget_the_file(error)

    @property
    def assurance(self) -> str:
        """The sentence for a search that stopped early: which answers are kept."""
        if self.path is None:
            return "What was answered already is kept as long as this program runs."
        return (
            "Nothing that was answered already is lost: the same command or search goes on from "
            "there, and asks only what is missing."
        )

    def get(self, classifier: str, images: Iterable[bytes], labels: int) -> dict[bytes, Tensor]:
        """The answers (L,) that are known of these images, by their fingerprints."""

        def look(file: sqlite3.Connection) -> dict[bytes, bytes]:
            found = {}
            for image in images:
                row = file.execute(
                    "SELECT answer FROM answers WHERE classifier = ? AND image = ?",
                    (classifier, image),
                ).fetchone()
                if row is not None:
                    found[image] = row[0]
            return found

        images = list(images)
        answers = {
            image: torch.from_numpy(np.frombuffer(answer, "<f4").astype(np.float32))
            for image, answer in self._with_file(look).items()
            if isinstance(answer, bytes) and len(answer) == 4 * labels
        }
        return {image: answer for image, answer in answers.items() if answer.isfinite().all()}

    def put(self, classifier: str, answers: Mapping[bytes, Tensor]) -> None:
        """Keep answers (L,) by their images' fingerprints; they are on disk on return."""
        rows = [
            (classifier, image, answer.detach().cpu().numpy().astype("<f4").tobytes())
            for image, answer in answers.items()
        ]

        def write(file: sqlite3.Connection) -> None:
            with file:
                file.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", rows)

        self._with_file(write)

    @contextmanager
    def claimed(self, classifier: str, images: Sequence[bytes]) -> Iterator[None]:
        """Wait until no other process asks about these images, and claim them.

        What a process claimed that is gone is free, and so is what was claimed ten minutes ago.
        """
        who = own_name(str(threading.get_ident()))
        while not self.claim(who, classifier, images):
            time.sleep(CLAIM_POLL_SECONDS)
        try:
            yield
        finally:
            self.release(who)

    def claim(self, who: str, classifier: str, images: Sequence[bytes]) -> bool:
        """Claim all of these images for an owner; claim none and return False if one is taken."""
        now = time.time()

        def write(file: sqlite3.Connection) -> bool:
            file.execute(CLAIMS)
            with file:
                file.execute("BEGIN IMMEDIATE")
                for image in images:
                    row = file.execute(
                        "SELECT who, until FROM claims WHERE classifier = ? AND image = ?",
                        (classifier, image),
                    ).fetchone()
                    if row is not None and row[0] != who and row[1] > now and is_there(row[0]):
                        return False
                rows = [(classifier, image, who, now + LEASE) for image in images]
                file.executemany("INSERT OR REPLACE INTO claims VALUES (?, ?, ?, ?)", rows)
            return True

        return self._with_file(write)

    def release(self, who: str) -> None:
        """Release all claims of an owner."""

        def write(file: sqlite3.Connection) -> None:
            with file:
                file.execute("DELETE FROM claims WHERE who = ?", (who,))

        self._with_file(write)

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _with_file(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Call a function with the open database, or with the one in memory that replaces it."""
        with self._lock:
            for repair in (self._set_aside, self._forget_the_file):
                try:
                    return act(self._opened())
                except (sqlite3.OperationalError, OSError) as error:  # locked, full, read-only
                    self._forget_the_file(error)
                except sqlite3.DatabaseError as error:
                    repair(error)
            return act(self._opened())

    def _opened(self) -> sqlite3.Connection:
        if self._file is None:
            if self.path is not None:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = sqlite3.connect(
                self.path or ":memory:", timeout=PATIENCE, check_same_thread=False
            )
            self._file.execute(TABLE)
        return self._file

    def _forget_the_file(self, error: Exception) -> None:
        """Use a database in memory from now on."""
        LOG.warning(
            "The classifier's answers cannot be kept in %s (%s), only as long as this program "
            "runs; GCD_CACHE names another folder.",
            self.path or "the home folder",
            error,
        )
        self.close()
        self.path = None

    def _set_aside(self, error: Exception) -> None:
        """Rename a damaged file and its journal, and begin a new file."""
        self.close()
        assert self.path is not None  # nothing damages what is in memory
        if _is_whole(self.path):  # another process was faster
            return
        aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
        LOG.warning("%s is damaged (%s); it is now %s.", self.path, error, aside.name)
        try:
            os.replace(self.path, aside)
            self.path.with_name(self.path.name + "-journal").unlink(missing_ok=True)
        except OSError as stuck:
            self._forget_the_file(stuck)


def own_name(who: str) -> str:
    """Return a name for a thread of this process that no other process uses."""
    return f"{socket.gethostname()}:{os.getpid()}:{who}"


def is_there(who: str) -> bool:
    """Whether a claim's owner may still run; False for an ended process of this host."""
    host, _, rest = who.rpartition(":")[0].rpartition(":")
    if host != socket.gethostname() or not rest.isdigit():
        return True
    try:
        os.kill(int(rest), 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is there, and another user's
        return True
    return True


def _is_whole(path: Path) -> bool:
    file = sqlite3.connect(path, timeout=PATIENCE)
    try:
        return file.execute("PRAGMA quick_check").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        return False
    finally:
        file.close()
