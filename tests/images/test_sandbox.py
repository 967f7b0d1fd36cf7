"""Visitors' files in a process that may die of them: the same pixels, and no harm done."""

import io
import os
import signal
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from gcd_core.images import sandbox_worker
from gcd_core.images.dicom import NO_WINDOW, STRETCHED
from gcd_core.images.limits import ImageError
from gcd_core.images.mask import load_mask
from gcd_core.images.reading import load_image
from gcd_core.images.sandbox import GAVE_UP, IsolatedReader
from tests.scans import dicom

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def file_of(pixels: np.ndarray, file_format: str = "PNG", **more) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **more)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def reader():
    reader = IsolatedReader()
    yield reader
    reader.close()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_it_sees_the_same_pixels(reader, channels, fit):
    data = file_of(PIXELS)
    picture = reader.picture(data, 32, channels, fit)
    assert torch.equal(picture.picture.view, load_image(data, 32, channels, fit))
    assert (picture.shape, picture.photograph, picture.dicom) == ((60, 40), True, False)
    assert picture.name("a.png") == "a.png"


def test_it_can_begin_before_the_first_file():
    reader = IsolatedReader()
    try:
        reader.begin()
        process = reader._process
        assert process is not None and process.poll() is None
        reader.mask(file_of(np.full((8, 8), 255, np.uint8)), 8)
        assert reader._process is process, "the same one reads"
    finally:
        reader.close()
    assert process.poll() is not None


def test_of_dicom_the_name_is_not_shown(reader):
    data = dicom(PIXELS[..., 0])
    picture = reader.picture(data, 32, 1)
    assert torch.equal(picture.picture.view, load_image(data, 32, 1))
    assert picture.dicom and picture.name("Doe^Jane.dcm") == "DICOM"


def test_masks_too(reader):
    data = file_of((PIXELS[:40, :40, 0] > 128).astype(np.uint8) * 255)
    assert torch.equal(reader.mask(data, 40), load_mask(data, 40))
    with pytest.raises(ImageError, match="two"):
        reader.mask(file_of(PIXELS[:40, :40, 0]), 40)


@pytest.mark.parametrize("data", [b"", b"no picture", file_of(PIXELS)[:200]])
def test_what_is_no_picture_is_told_in_the_same_words(reader, data):
    with pytest.raises(ImageError) as here:
        load_image(data, 32, 1)
    with pytest.raises(ImageError) as there:
        reader.picture(data, 32, 1)
    assert str(here.value) == str(there.value)


def test_a_process_that_dies_takes_one_file_with_it_and_no_more(reader):
    assert reader.picture(file_of(PIXELS), 32, 1)
    first = reader._process
    os.kill(first.pid, signal.SIGSTOP)  # as a codec that hangs
    dying = threading.Timer(0.2, os.kill, (first.pid, signal.SIGKILL))
    dying.start()
    with pytest.raises(ImageError, match="far longer"):
        reader.picture(file_of(PIXELS), 32, 1)
    assert reader.picture(file_of(PIXELS), 32, 1).shape == (60, 40)
    assert reader._process is not first


def test_what_is_to_be_told_of_a_picture_comes_along():
    reader = IsolatedReader()
    ramp = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
    assert reader.picture(dicom(ramp, WindowCenter=9e4, WindowWidth=5), 32, 1).notes == (NO_WINDOW,)
    assert reader.picture(dicom(ramp), 32, 1).notes == (STRETCHED,)
    assert reader.picture(dicom(ramp, WindowCenter=512, WindowWidth=1024), 32, 1).notes == ()
    reader.close()


def test_who_only_waits_is_ended_too(monkeypatch):
    reader = IsolatedReader()
    assert reader.picture(file_of(PIXELS), 32, 1)  # of a busy machine its start may take longer
    monkeypatch.setattr("gcd_core.images.sandbox.MAX_WAIT_SECONDS", 1.0)
    os.kill(reader._process.pid, signal.SIGSTOP)
    with pytest.raises(ImageError) as told:
        reader.picture(file_of(PIXELS), 32, 1)
    assert str(told.value) == GAVE_UP
    reader.close()


STAND_IN = """
import sys
from gcd_core.images import sandbox_worker

def endless(*_):
    while True:
        pass

def large(*_):
    return bytearray(sandbox_worker.MAX_MEMORY_BYTES + 2**28)

sandbox_worker.MAX_CPU_SECONDS = 1
sandbox_worker.read_pixels = {work}
sandbox_worker.main()
"""


@pytest.mark.parametrize(
    ("work", "told"), [("endless", "far longer"), ("large", "too much memory")]
)
def test_time_and_memory_of_a_file_are_bounded(monkeypatch, tmp_path, work, told):
    (tmp_path / "stand_in.py").write_text(STAND_IN.format(work=work))
    monkeypatch.setattr("gcd_core.images.sandbox.WORKER_MODULE", "stand_in")
    monkeypatch.syspath_prepend(tmp_path)
    reader = IsolatedReader()
    with pytest.raises(ImageError, match=told):
        reader.picture(b"x", 32, 1)
    reader.close()


def test_an_error_that_no_reader_foresaw_is_a_sentence(monkeypatch):
    monkeypatch.setattr(sandbox_worker, "read_pixels", lambda *_: 1 / 0)
    answer = sandbox_worker.answer_to(
        {"kind": "picture", "size": 8, "channels": 1, "fit": "pad", "max_side": 8}, b"x"
    )
    assert answer == ({"error": sandbox_worker.DAMAGED}, b"")


def test_the_process_knows_no_secret_of_the_servers(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    reader = IsolatedReader()
    reader.picture(file_of(PIXELS), 32, 1)
    with open(f"/proc/{reader._process.pid}/environ", encoding="utf-8") as environment:
        assert "hf_secret" not in environment.read()
    reader.close()
