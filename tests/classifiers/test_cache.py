"""Answers on disk: whose they are, and what a damaged or forbidden file does."""

import logging
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from gcd_core.classifiers.cache import FILE, LEASE, AnswerCache, cache_folder, fingerprint

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "deep" / "answers.sqlite3"


def same(found: dict, expected: dict) -> bool:
    return found.keys() == expected.keys() and all(
        torch.equal(found[key], expected[key]) for key in found
    )


def test_answers_come_back_exactly_from_another_object(path):
    answers = {A: torch.randn(3), B: torch.tensor([1e-30, -1e30, 0.1])}
    AnswerCache(path).put("one", answers)
    found = AnswerCache(path).get("one", [A, B, C], 3)
    assert same(found, answers) and found[A].dtype == torch.float32


def test_another_classifier_or_number_of_labels_has_other_answers(path):
    cache = AnswerCache(path)
    cache.put("one", {A: torch.ones(3)})
    cache.put("two", {A: torch.zeros(3)})
    assert cache.get("three", [A], 3) == {}
    assert cache.get("one", [A], 2) == {}
    assert same(cache.get("one", [A], 3), {A: torch.ones(3)})
    assert same(cache.get("two", [A], 3), {A: torch.zeros(3)})


def test_a_fingerprint_follows_shape_type_and_every_pixel():
    images = torch.rand(2, 1, 4, 6)
    first, second = fingerprint(images)
    assert len(first) == 32 and first != second
    assert fingerprint(images.clone().flip(0)) == [second, first]
    assert fingerprint(images.double()) == [first, second]
    changed = images.clone()
    changed[0, 0, 3, 5] += 1e-7
    assert fingerprint(changed)[0] != first and fingerprint(changed)[1] == second
    assert fingerprint(images.view(2, 1, 6, 4))[0] != first
    zeros = torch.zeros(1, 1, 4, 4)
    assert fingerprint(zeros) != fingerprint(zeros.to(torch.uint8))


def test_only_hashes_and_answers_are_in_the_file(path):
    image = torch.rand(1, 1, 8, 8)
    (key,) = fingerprint(image)
    cache = AnswerCache(path)
    cache.put("one", {key: torch.ones(2)})
    cache.close()
    rows = sqlite3.connect(path).execute("SELECT * FROM answers").fetchall()
    assert rows == [("one", key, torch.ones(2).numpy().tobytes())]
    assert image.numpy().tobytes()[:32] not in path.read_bytes()


def damage_all(path: Path) -> None:
    path.write_bytes(b"this is no database " * 500)


def damage_the_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def damage_the_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [damage_all, damage_the_end, damage_the_middle])
def test_a_damaged_file_is_set_aside(path, damage, caplog):
    cache = AnswerCache(path)
    cache.put("one", {bytes([i, j]) * 16: torch.ones(20) for i in range(20) for j in range(20)})
    cache.close()
    damage(path)
    wreck = path.read_bytes()
    cache = AnswerCache(path)
    with caplog.at_level(logging.WARNING):
        cache.get("one", [bytes([i, i]) * 16 for i in range(20)], 20)
        cache.put("one", {A: torch.zeros(20)})
    assert same(cache.get("one", [A], 20), {A: torch.zeros(20)})
    assert same(AnswerCache(path).get("one", [A], 20), {A: torch.zeros(20)})
    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.read_bytes() == wreck
    assert len(caplog.records) == 1 and aside.name in caplog.text


def test_a_journal_goes_with_its_damaged_file(path):
    path.parent.mkdir()
    damage_all(path)
    journal = path.with_name(path.name + "-journal")
    journal.write_bytes(b"of another file")
    AnswerCache(path).put("one", {A: torch.zeros(2)})
    assert not journal.exists()


def test_a_file_that_another_process_mended_is_used(path):
    ours = AnswerCache(path)
    ours.put("one", {A: torch.ones(2)})
    ours._set_aside(sqlite3.DatabaseError("as if it had been damaged before"))
    assert same(ours.get("one", [A], 2), {A: torch.ones(2)})
    assert list(path.parent.glob("*.damaged-*")) == []


def test_where_no_file_can_be_memory_serves(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    cache = AnswerCache(tmp_path / "file" / "answers.sqlite3")
    assert "Nothing that was answered already is lost" in cache.assurance
    with caplog.at_level(logging.WARNING):
        cache.put("one", {A: torch.ones(2)})
    assert same(cache.get("one", [A], 2), {A: torch.ones(2)})
    assert len(caplog.records) == 1 and "GCD_CACHE" in caplog.text
    assert cache.path is None and "as long as this program runs" in cache.assurance


def test_a_file_of_another_make_is_left_alone(path):
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE answers (question TEXT)")
    other.commit()
    other.close()
    before = path.read_bytes()
    cache = AnswerCache(path)
    cache.put("one", {A: torch.ones(2)})
    assert same(cache.get("one", [A], 2), {A: torch.ones(2)})
    assert path.read_bytes() == before


@pytest.mark.parametrize("answer", [b"short", "text", None, b"\xff" * 8])
def test_what_is_no_answer_is_not_given(path, answer):
    cache = AnswerCache(path)
    cache.put("one", {A: torch.ones(2)})
    file = sqlite3.connect(path)
    file.execute("UPDATE answers SET answer = ?", (answer,))  # the last is NaN twice
    file.commit()
    file.close()
    assert cache.get("one", [A], 2) == {}


def test_threads_share_one_object_and_one_file(path):
    shared, errors = AnswerCache(path), []

    def work(number: int) -> None:
        try:
            cache = shared if number % 2 else AnswerCache(path)
            for i in range(15):
                cache.put("one", {bytes([number, i]) * 16: torch.full((2,), float(i))})
                assert cache.get("one", [bytes([number, i]) * 16], 2)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    keys = [bytes([number, i]) * 16 for number in range(6) for i in range(15)]
    assert len(AnswerCache(path).get("one", keys, 2)) == 90


WRITER = """
import sys, torch
from pathlib import Path
from gcd_core.classifiers.cache import AnswerCache
cache = AnswerCache(Path(sys.argv[1]))
for i in range(50):
    cache.put("one", {bytes([int(sys.argv[2]), i]) * 16: torch.full((2,), float(i))})
"""


@pytest.mark.slow
def test_processes_share_a_file(path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(number)])
        for number in range(2)
    ]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    keys = [bytes([number, i]) * 16 for number in range(2) for i in range(50)]
    assert len(AnswerCache(path).get("one", keys, 2)) == 100


def test_the_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("GCD_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "gcd-explorer"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which its standard says to ignore
    assert cache_folder() == tmp_path / ".cache" / "gcd-explorer"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "gcd-explorer"
    monkeypatch.setenv("GCD_CACHE", str(tmp_path / "ours"))
    assert cache_folder() == tmp_path / "ours"
    assert AnswerCache().path == tmp_path / "ours" / FILE


def test_what_is_being_asked_is_not_asked_by_another(path):
    first, second = AnswerCache(path), AnswerCache(path)
    assert first.claim("one", "c", [A, B]) and first.claim("one", "c", [B])
    assert not second.claim("two", "c", [B]) and second.claim("two", "other", [B])
    assert not second.claim("two", "c", [C, A]), "all or none"
    assert first.claim("three", "c", [C]), "none was left claimed"
    first.release("one")
    assert second.claim("two", "c", [A, B])


def test_claims_of_a_process_that_is_gone_are_free(path, monkeypatch):
    cache = AnswerCache(path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()
    assert cache.claim(f"{host}:{ended.pid}:1", "c", [A]) and cache.claim("me", "c", [A])
    assert cache.claim(f"elsewhere:{ended.pid}:1", "c", [B]) and not cache.claim("me", "c", [B])
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + LEASE + 1)
    assert cache.claim("me", "c", [B]), "it lapses"


def test_two_processes_pay_once_for_the_same_image(path):
    """Both want the same images at the same time; the model counts what it answers."""
    count = path.parent / "asked"
    count.parent.mkdir(exist_ok=True)
    program = f"""
import time, torch
from pathlib import Path
from gcd_core.classifiers.base import Classifier
from gcd_core.classifiers.cache import AnswerCache
class Slow(Classifier):
    batch_size = 4
    def answer(self, images):
        with open({str(count)!r}, "a") as file:
            file.write("x" * len(images))
        time.sleep(0.05)
        return images.mean((1, 2, 3))[:, None]
slow = Slow(("a",), "sigmoid", "slow")
slow.cache = AnswerCache(Path({str(path)!r}))
images = torch.rand(32, 1, 2, 2, generator=torch.Generator().manual_seed(0))
assert torch.equal(slow(images)[:, 0], images.mean((1, 2, 3)))
"""
    both = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert len(count.read_text()) == 32
