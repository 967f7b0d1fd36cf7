"""The page as a program sees it: every event by its name, through gradio_client."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from zipfile import ZipFile

import gradio as gr
import numpy as np
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from gradio_client.utils import Status
from PIL import Image, ImageDraw

from gcd_core.errors import GCDError
from gcd_core.images.drawing import to_pil
from gcd_core.method.directions import load_directions
from gcd_core.ui.page import ExplorerPage, launch_settings
from gcd_core.ui.serve import own_images
from gcd_core.ui.server.app import Site
from gcd_core.ui.tabs.explore.region import why_no_bridge
from gcd_core.ui.tabs.handler import report_errors
from tests.scans import SECRETS, dicom
from tests.ui.conftest import Served, free_port
from tests.ui.fakes import FakeDomain, draw, save_ways
from tests.ui.waiting import Held, wait_for

pytestmark = pytest.mark.slow

PATIENT = {"timeout": 120}
NAMES = {
    "/open_image",
    "/move",
    "/to_flip",
    "/heatmap",
    "/find_directions",
    "/compare",
    "/save_directions",
    "/load_directions",
}


@pytest.fixture
def client(served: Served):
    client = Client(served.address, verbose=False, httpx_kwargs=PATIENT)
    yield client
    client.close()


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A drawn radiograph that is none of the examples."""
    file = tmp_path / "mine.png"
    to_pil(draw(torch.tensor([[1.0, 0.5, 0.2, 1.0, 0, 0, 0, 0]]))).resize((300, 260)).save(file)
    return file


def test_every_event_has_its_name(client: Client):
    endpoints = client.view_api(print_info=False, return_format="dict")["named_endpoints"]
    assert set(endpoints) >= NAMES
    answers = [value["label"] for endpoint in endpoints.values() for value in endpoint["returns"]]
    assert not [label for label in answers if label.startswith("value_")]


def mask(*box: int) -> str:
    """A region as a client sends it: white in a box (left, top, right, bottom), black outside."""
    picture = Image.new("L", (128, 128))
    ImageDraw.Draw(picture).rectangle(box, fill=255)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def test_a_region_is_painted_suggested_tried_and_reported(client: Client, picture: Path):
    client.predict(handle_file(picture), api_name="/open_image")
    lungs, corner = mask(18, 30, 112, 104), mask(0, 0, 19, 19)
    assert client.predict(corner, api_name="/paint_region") == {"share": 400 / 128**2}
    flips = client.predict(lungs, api_name="/try_region")[0]
    stays = client.predict(corner, api_name="/try_region")[0]
    assert flips["flipped"] and not stays["flipped"]
    assert flips["method"] == "gcd"
    assert [tried["name"] for tried in stays["regions"]] == ["Region 1", "Region 2"]
    anew = client.predict(lungs, "rcsb", api_name="/try_region")[0]
    assert anew["flipped"] and anew["method"] == anew["direction"] == "rcsb"
    assert abs(anew["alpha"]) == 1 and len(anew["regions"]) == 3
    with pytest.raises(AppError, match="not in the list of choices"):
        client.predict(lungs, "paint", api_name="/try_region")
    suggested = client.predict(api_name="/suggest_region")[0]
    assert 0.2 < suggested["share"] < 0.4
    assert client.predict(suggested["mask"], api_name="/try_region")[0]["flipped"]
    for wrong, problem in (
        ("", "Nothing is painted"),
        (mask(0, 0, 127, 127), "whole picture"),
        (lungs[:-41], "damaged"),
        ("data:image/png;base64,AAAA", "not a picture"),
        ("file:///etc/passwd", "no picture"),
    ):
        with pytest.raises(AppError, match=problem):
            client.predict(wrong, api_name="/try_region")
    client.predict(api_name="/report")
    assert client.predict(api_name="/forget_regions") == ""


def test_many_images_are_walked_and_one_of_them_opened(client: Client, picture: Path, tmp_path):
    client.predict(handle_file(picture), api_name="/open_image")
    spoilt = tmp_path / "notes.png"
    spoilt.write_text("no picture")
    second = tmp_path / "second.png"
    to_pil(draw(torch.tensor([[-1.0, 0.1, 0.3, 0.5, 0, 0, 0, 0]]))).save(second)
    files = [handle_file(file) for file in (picture, spoilt, second)]
    facts = client.predict(files, "g", api_name="/walk_images")[0]
    assert facts["state"] == "done" and facts["images"] == facts["done"] == 2
    assert len(facts["skipped"]) == 1 and len(facts["rows"]) == 2
    assert set(facts["rates"]) >= {"g", "h1"} and len(facts["fan"]["median"]) == 25
    assert facts["flip_rate"] == sum(row["flipped"] for row in facts["rows"]) / 2
    _, file = client.predict(api_name="/save_wall")
    lines = Path(file).read_text().splitlines()
    assert lines[0].startswith("image,before,after,flipped") and len(lines) == 3
    _, file = client.predict("zip", api_name="/save_wall")
    with ZipFile(file) as archive:
        names = set(archive.namelist())
        assert {"images.csv", "numbers.json", "mean-change.png", "02-g.png"} <= names
        with Image.open(archive.open("01-g.png")) as changed:
            assert "SYNTHETIC" in changed.text["Description"]
    opened = client.predict(1, api_name="/open_piece")[0]
    assert opened["before"]["pneumonia"] == pytest.approx(facts["rows"][1]["before"])
    examples = client.predict(None, "h1", api_name="/walk_images")[0]
    assert [row["image"] for row in examples["rows"]][:2] == ["Example 1", "Example 2"]
    for wrong, problem in (((None, "z9"), "z9"), (([handle_file(spoilt)], "g"), "None of these")):
        with pytest.raises(AppError, match=problem):
            client.predict(*wrong, api_name="/walk_images")
    with pytest.raises(AppError, match="no such image"):
        client.predict(99, api_name="/open_piece")
    with pytest.raises(AppError, match="nothing to cancel"):
        client.predict(api_name="/cancel_walk")


def test_the_operators_images_take_the_examples_place(tmp_path: Path, picture: Path):
    folder = tmp_path / "own"
    folder.mkdir()
    picture.rename(folder / "secret-name.png")
    (tmp_path / "domain").mkdir()
    site = Site(FakeDomain(tmp_path / "domain", examples=1), images=own_images(folder))
    port = free_port()
    site.launch(server_port=port, prevent_thread_lock=True, quiet=True)
    try:
        client = Client(f"http://127.0.0.1:{port}", verbose=False, httpx_kwargs=PATIENT)
        client.predict(0, "none", 0.5, "side", api_name="/open_example")
        facts = client.predict(None, "g", api_name="/walk_images")[0]
        assert [row["image"] for row in facts["rows"]] == ["Image 1"]
        assert "secret" not in str(facts)
        client.close()
    finally:
        site.close()
    assert own_images(None) is None
    with pytest.raises(GCDError, match="neither a folder nor a zip"):
        own_images(tmp_path / "nowhere")


def test_where_no_bridge_can_be_had_a_sentence_says_why(tmp_path: Path, monkeypatch):
    domain = FakeDomain(tmp_path, examples=1)
    assert why_no_bridge(domain) == ""
    monkeypatch.delattr(type(domain.classifier), "differentiable")
    assert "answers and no more" in why_no_bridge(domain)
    monkeypatch.setattr(type(domain), "bridge", None)
    assert "has no bridge" in why_no_bridge(domain)


def test_the_numbers_come_alone(client: Client, picture: Path):
    opened = client.predict(handle_file(picture), api_name="/open_image")[0]
    assert client.predict(api_name="/facts") == {k: v for k, v in opened.items() if k != "image"}
    moved = client.predict({"g": -4.0, "h1": 1.0}, api_name="/go")
    assert moved["alphas"] == {"g": -4.0, "h1": 1.0, "h2": 0, "h3": 0, "h4": 0}
    assert moved["after"] != opened["after"] and "<" not in str(moved)
    for wrong in ({"h9": 1.0}, {"g": "far"}, {"g": None}, [1.0]):
        with pytest.raises(AppError, match=r"no direction|give a number|by direction"):
            client.predict(wrong, api_name="/go")
    assert client.predict(api_name="/facts")["alphas"] == moved["alphas"]


def test_open_move_flip_and_map(client: Client, picture: Path):
    opened = client.predict(handle_file(picture), api_name="/open_image")[0]
    assert opened["image_name"] == "mine.png"
    assert opened["directions"] == ["g", "h1", "h2", "h3", "h4"]
    assert set(opened["before"]) == {"pneumonia", "bacterial"}
    assert opened["lpips"] == pytest.approx(0, abs=1e-3)
    moved = client.predict(g=-4.0, h1=1.0, api_name="/move")[0]
    assert moved["alphas"] == {"g": -4.0, "h1": 1.0, "h2": 0, "h3": 0, "h4": 0}
    assert moved["after"]["pneumonia"] < opened["after"]["pneumonia"]
    assert moved["lpips"] > 0.01
    assert moved["image"].startswith("data:image/png;base64,")
    flipped = client.predict(direction="g", api_name="/to_flip")[0]
    assert flipped["flipped"] is True and flipped["alphas"]["h1"] == 0
    before, after = flipped["before"]["pneumonia"], flipped["after"]["pneumonia"]
    assert (before >= 0.5) != (after >= 0.5)
    mapped = client.predict(overlay="bb_lig", opacity=0.5, api_name="/heatmap")[0]
    assert mapped["map"].startswith("data:image/png") and "completeness_error" in mapped
    mapped = client.predict(overlay="cells", api_name="/heatmap")[0]
    assert mapped["map"].startswith("data:image/png") and mapped["queries"] == 512
    swept = client.predict(api_name="/sweep")[0]
    animation = base64.b64decode(swept["gif"].removeprefix("data:image/gif;base64,"))
    assert Image.open(io.BytesIO(animation)).n_frames > 20


def test_a_dicom_file_opens_and_its_name_is_not_shown(client: Client, tmp_path: Path):
    scan = tmp_path / "Musterfrau_Erika"  # as archives write them: no extension
    drawing = np.asarray(to_pil(draw(torch.tensor([[1.0, 0.5, 0.2, 1.0, 0, 0, 0, 0]]))))
    inverse = (4095 - drawing.astype(np.uint16) * 16).astype(np.uint16)
    shown = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
    scan.write_bytes(dicom(inverse, PhotometricInterpretation="MONOCHROME1", **shown))
    answer = client.predict(handle_file(scan), api_name="/open_image")
    assert answer[0]["image_name"] == "DICOM"
    assert not any(secret in str(answer) for secret in SECRETS)
    plain = tmp_path / "plain.png"
    Image.fromarray(drawing).save(plain)
    same = client.predict(handle_file(plain), api_name="/open_image")[0]
    assert answer[0]["before"] == pytest.approx(same["before"], abs=0.02)
    film = tmp_path / "film.dcm"
    film.write_bytes(dicom(np.concatenate([inverse] * 3), NumberOfFrames=3, Rows=len(inverse)))
    with pytest.raises(AppError, match="3 frames"):
        client.predict(handle_file(film), api_name="/open_image")


def test_a_report_of_what_is_on_screen(client: Client, picture: Path):
    with pytest.raises(AppError, match="nothing to report"):
        client.predict(api_name="/report")
    client.predict(handle_file(picture), api_name="/open_image")
    moved = client.predict(g=-4.0, h1=1.0, api_name="/move")[0]
    numbers, file = client.predict(api_name="/report")
    assert numbers["report"] == "pdf" and Path(file).name == "report-pneumonia.pdf"
    data = Path(file).read_bytes()
    assert data.startswith(b"%PDF")
    _, png = client.predict(file_format="png", api_name="/report")
    assert Image.open(png).size[0] == pytest.approx(1654, abs=1)
    with pytest.raises(AppError, match="written as one of"):
        client.predict(file_format="../x", api_name="/report")
    pypdf = pytest.importorskip("pypdf", reason="the package pypdf is missing")
    pages = [page.extract_text() for page in pypdf.PdfReader(file).pages]
    text = " ".join(" ".join(pages).split())
    before, after = (round(100 * moved[when]["pneumonia"]) for when in ("before", "after"))
    assert f"Pneumonia {before} %; changed" in text and f", {after} %: the prediction" in text
    assert "changed along g by −4.00 and h1 by +1.00" in text and "mine.png" in text
    assert f"LPIPS {moved['lpips']:.3f}" in text
    assert "Drawn chest" in text and "brightness" in text and "Not a medical device" in text


def test_compare_says_it_for_every_direction(client: Client, picture: Path):
    client.predict(handle_file(picture), api_name="/open_image")
    answer = client.predict(api_name="/compare")[0]
    assert [row["direction"] for row in answer["rows"]] == ["g", "h1", "h2", "h3", "h4"]
    assert {"flipped", "alpha", "lpips"} <= set(answer["rows"][0])
    matrix = np.array(answer["lpips"], dtype=float)  # nan where one of the two does not flip
    assert matrix.shape == (5, 5) and np.array_equal(matrix, matrix.T, equal_nan=True)
    flips = np.array([row["flipped"] for row in answer["rows"]])
    assert (np.isfinite(matrix) == np.outer(flips, flips)).all()
    assert np.array(answer["cosines"]).diagonal() == pytest.approx(np.ones(5))


def test_find_save_and_load(client: Client, picture: Path, tmp_path: Path):
    client.predict(handle_file(picture), api_name="/open_image")
    job = client.submit(samples=64, radius=3.0, k=2, api_name="/find_directions")
    answer = job.result(timeout=300)[0]
    assert answer["state"] == "done" and answer["directions"] == ["g", "h1", "h2"]
    assert answer["queries"] >= 64
    states = [output[0]["state"] for output in job.outputs()]
    assert "running" in states
    assert answer["set"] == "from mine.png, seed 0"
    still = client.predict(g=0, api_name="/move")[0]
    assert still["set"] == "bundled" and len(still["directions"]) == 5, "it waits to be used"
    used = client.predict(name=answer["set"], api_name="/use_directions")[0]
    assert used["set"] == answer["set"] and used["directions"] == ["g", "h1", "h2"]
    file = Path(client.predict(api_name="/save_directions")[0])
    assert file.name == "drawn-chest-pneumonia-from-mine.png-seed-0.safetensors"
    assert load_directions(file).names == ["g", "h1", "h2"]
    second = client.submit(samples=32, k=1, seed=1, api_name="/find_directions").result(timeout=300)
    assert second[0]["set"] == "from mine.png, seed 1"
    for name, count in ((second[0]["set"], 2), (answer["set"], 3), ("bundled", 5)):
        now = client.predict(name=name, api_name="/use_directions")[0]
        assert now["set"] == name and len(now["directions"]) == count
        assert client.predict(direction="g", api_name="/to_flip")[0]["set"] == name
        assert client.predict(api_name="/compare")[0]["set"] == name
    with pytest.raises(AppError, match="not in the list of choices"):
        client.predict(name="nothing", api_name="/use_directions")
    renamed = client.predict(name=answer["set"], other="Mine", api_name="/rename_directions")[0]
    assert renamed["set"] == "Mine"
    assert client.predict(name="Mine", api_name="/use_directions")[0]["set"] == "Mine"
    assert client.predict(api_name="/use_bundled")[0]["set"] == "bundled"
    client.predict(handle_file(picture), api_name="/open_image")
    loaded = client.predict(handle_file(file), api_name="/load_directions")[0]
    assert loaded["directions"] == ["g", "h1", "h2"]


def test_ways_are_moved_followed_compared_and_saved_as_h_are(
    client: Client, picture: Path, tmp_path: Path
):
    client.predict(handle_file(picture), api_name="/open_image")
    save_ways(tmp_path / "ways.safetensors")
    loaded = client.predict(handle_file(tmp_path / "ways.safetensors"), api_name="/load_directions")
    names = ["g", "h1", "w1", "w2"]
    assert loaded[0]["directions"] == names and loaded[0]["folded"] == ["h1", "w2"]
    at = client.predict(g=1.0, w1=2.5, api_name="/move")[0]
    assert at["alphas"] == {"g": 1.0, "h1": 0, "w1": 2.5, "w2": 0} and at["lpips"] > 0
    flipped = client.predict(direction="w1", api_name="/to_flip")[0]
    assert flipped["moved"] == "w1" and flipped["alphas"]["g"] == 0
    assert client.predict(overlay="bb_lig", api_name="/heatmap")[0]["map"].startswith("data:")
    assert client.predict(api_name="/sweep")[0]["moved"] == "w1"
    assert client.predict(api_name="/report")[0]["report"] == "pdf"
    compared = client.predict(api_name="/compare")[0]
    assert [row["direction"] for row in compared["rows"]] == names
    saved = load_directions(client.predict(name="ways", api_name="/save_directions")[0])
    assert saved.names == names and saved.metadata["settings"]["n_ways"] == 3
    other = client.predict(label="bacterial", api_name="/explain")[0]
    assert "w1" not in other["alphas"] and other["folded"] == []
    again = client.predict(label="pneumonia", api_name="/explain")[0]
    assert again["alphas"] == dict.fromkeys(names, 0)


def test_a_search_can_be_cancelled(served: Served, client: Client, picture: Path):
    client.predict(handle_file(picture), api_name="/open_image")
    generator = served.visitors.service.domain.generator
    generator.seconds_per_image = 0.02
    try:
        job = client.submit(samples=4096, api_name="/find_directions")
        deadline = time.monotonic() + 60
        while not any(output[0].get("done") for output in job.outputs()):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        client.predict(api_name="/cancel_search")
        assert job.result(timeout=60)[0]["state"] == "cancelled"
    finally:
        generator.seconds_per_image = 0.001


@pytest.mark.parametrize("what", ["example", "file", "bad file"])
def test_a_press_is_carried_out_on_the_image_that_is_being_opened(
    served: Served, client: Client, picture: Path, monkeypatch: pytest.MonkeyPatch, what: str
):
    client.predict(example=3, api_name="/open_example")
    if what == "bad file":
        picture.write_bytes(b"not a picture")
    service = served.visitors.service
    room, name = (service.examples, "open") if what == "example" else (service, "read")
    held = Held(getattr(room, name))
    monkeypatch.setattr(room, name, held)
    if what == "example":
        opening = client.submit(example=4, api_name="/open_example")
    else:
        opening = client.submit(handle_file(picture), api_name="/open_image")
    assert held.called.wait(60)
    pressed = client.submit(direction="g", api_name="/to_flip")
    wait_for(lambda: pressed.status().code == Status.PROCESSING)
    held.go_on.set()
    if what == "bad file":
        with pytest.raises(AppError, match="could not be opened"):
            pressed.result(timeout=60)
        facts = client.predict(api_name="/facts")
        assert facts["image_name"] == "Example 4" and not any(facts["alphas"].values())
        return
    assert opening.result(timeout=60)[0]["alphas"]["g"] == 0
    answer, facts = pressed.result(timeout=60)[0], client.predict(api_name="/facts")
    expected = "Example 5" if what == "example" else "mine.png"
    assert answer["image_name"] == facts["image_name"] == expected
    assert answer["flipped"] and answer["alphas"]["g"] == facts["alphas"]["g"] != 0


@pytest.mark.parametrize("content", [b"not a picture", b"\x89PNG\r\n\x1a\n broken", b""])
def test_a_bad_file_is_refused_and_nothing_is_lost(
    client: Client, picture: Path, tmp_path: Path, content: bytes
):
    opened = client.predict(handle_file(picture), api_name="/open_image")[0]
    bad = tmp_path / "bad.png"
    bad.write_bytes(content)
    with pytest.raises(AppError) as refused:
        client.predict(handle_file(bad), api_name="/open_image")
    assert "picture" in str(refused.value) and "Traceback" not in str(refused.value)
    still = client.predict(g=0, api_name="/move")[0]
    assert still["image_name"] == "mine.png" and still["before"] == opened["before"]


def test_bad_settings_and_files_of_directions_are_refused(
    client: Client, picture: Path, tmp_path: Path
):
    client.predict(handle_file(picture), api_name="/open_image")
    with pytest.raises(AppError, match="0 samples"):
        client.predict(samples=0, api_name="/find_directions")
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"nothing")
    with pytest.raises(AppError, match="not a safetensors file"):
        client.predict(handle_file(bad), api_name="/load_directions")
    assert client.predict(g=1.0, api_name="/move")[0]["directions"][0] == "g"


def test_visitors_do_not_see_each_other_and_leave_nothing(served: Served, picture: Path):
    one = Client(served.address, verbose=False, httpx_kwargs=PATIENT)
    two = Client(served.address, verbose=False, httpx_kwargs=PATIENT)
    one.predict(handle_file(picture), api_name="/open_image")
    with pytest.raises(AppError, match="open an image first"):
        two.predict(g=1.0, api_name="/move")
    session = served.visitors.session(one.session_hash)
    folder = session.folder
    assert session.image is not None and folder.exists()
    one.close(), two.close()
    deadline = time.monotonic() + 60
    while session.image is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert session.image is None and not folder.exists()


def test_a_domain_with_nothing_ready_opens_all_the_same(tmp_path: Path, picture: Path):
    domain = FakeDomain(tmp_path, examples=0)
    domain.ready_directions = lambda label: None
    page = ExplorerPage(domain)
    port = free_port()
    page.launch(
        server_name="127.0.0.1",
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        **launch_settings(),
    )
    client = Client(f"http://127.0.0.1:{port}", verbose=False, httpx_kwargs=PATIENT)
    try:
        arrived = client.predict(api_name="/arrive")
        assert arrived[0]["directions"] == [] and "Open a radiograph" in arrived[1]
        opened = client.predict(handle_file(picture), api_name="/open_image")
        assert opened[0]["image_name"] == "mine.png"
        for name in ("/compare", "/save_directions"):
            with pytest.raises(AppError, match="yet"):
                client.predict(api_name=name)
    finally:
        client.close()
        page.close()
        page.visitors.close()


def test_inputs_that_a_handler_checks_itself_are_checked_as_gradio_does() -> None:
    with gr.Blocks():
        inputs = [gr.Slider(-1, 1), gr.Radio(["a", "b"])]
    seen = []

    def handler(number: float, choice: str, request: str) -> str:
        """Of the API."""
        seen.append((number, choice, request))
        return choice

    def several(number: float, choice: str):
        yield from (number, choice)

    own = report_errors(handler, inputs)
    assert (own.__name__, own.__doc__) == ("handler", "Of the API.")
    assert own(0.5, "a", "somebody") == "a" and seen == [(0.5, "a", "somebody")]
    for bad in ((2.0, "a"), (0.5, "c")):
        with pytest.raises(gr.Error):
            own(*bad, "somebody")
    assert len(seen) == 1
    assert list(report_errors(several, inputs)(0.5, "b")) == [0.5, "b"]
    with pytest.raises(gr.Error):
        list(report_errors(several, inputs)(0.5, "c"))
