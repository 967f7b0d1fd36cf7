"""Several domains in one server, as browsers and programs meet them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from gcd_core.domains.finding import list_domain
from gcd_core.ui import serve
from gcd_core.ui.server.app import Site
from tests.tiny_domain import write_tiny_domain
from tests.ui.conftest import Hosted, free_port
from tests.ui.fakes import FakeDomain
from tests.ui.test_page import NAMES
from tests.ui.waiting import wait_for

PATIENT = {"timeout": 120}


def client(address: str) -> Client:
    return Client(address, verbose=False, httpx_kwargs=PATIENT)


def opened(hosted: Hosted) -> Client:
    """A client of the second domain."""
    hosted.loader.may.set()
    return client(hosted.cells)


@pytest.mark.slow
def test_a_domain_is_loaded_when_it_is_first_opened_and_once(hosted: Hosted):
    root = client(hosted.address)
    assert set(root.view_api(return_format="dict")["named_endpoints"]) >= NAMES
    root.predict(0, api_name="/open_example")
    assert root.predict(-1.0, 2.0, api_name="/move")[0]["alphas"]["h1"] == 2.0
    assert "domains/cells/" in httpx.get(hosted.address).text
    assert hosted.loader.loaded == []

    waiting = httpx.get(hosted.cells)
    assert waiting.status_code == 200 and "Loading Blood cells &hellip;" in waiting.text
    wait_for(lambda: hosted.loader.loaded == ["cells"])
    assert "Loading" in httpx.get(hosted.cells).text
    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(httpx.get, hosted.cells + "config", timeout=60) for _ in "abcd"]
        assert root.predict(1.0, api_name="/move")[0]["alphas"]["g"] == 1.0  # meanwhile
        hosted.loader.may.set()
        assert {answer.result().status_code for answer in answers} == {200}
    page = httpx.get(hosted.cells)
    assert "Loading" not in page.text and "Blood cells" in page.text
    assert hosted.loader.loaded == ["cells"]


@pytest.mark.slow
def test_the_second_domain_answers_as_the_first_does_in_colour(hosted: Hosted, tmp_path: Path):
    cells, root = opened(hosted), client(hosted.address)
    ours = set(root.view_api(return_format="dict")["named_endpoints"])
    assert set(cells.view_api(return_format="dict")["named_endpoints"]) == ours
    arrived = cells.predict(api_name="/arrive")[0]
    assert arrived["image_name"] == "Example 1" and set(arrived["before"]) == {"ill"}
    picture = tmp_path / "mine.png"
    Image.new("RGB", (50, 40), (200, 60, 120)).save(picture)
    assert (
        cells.predict(handle_file(picture), api_name="/open_image")[0]["image_name"] == "mine.png"
    )
    (session,) = hosted.visitors()._sessions.values()
    assert session.image.opened.image.shape == (1, 3, 32, 32)
    asked = cells.submit(samples=64, k=2, steps=2, sampling="ball", api_name="/find_directions")
    found = asked.result(timeout=300)
    assert found[0]["state"] == "done" and found[0]["directions"][:3] == ["g", "h1", "h2"]
    file = Path(cells.predict(api_name="/save_directions")[0])
    assert file.name == "Cells-ill-from-mine.png-seed-0.safetensors"
    with pytest.raises(AppError, match="no directions to move along yet"):
        cells.predict(g=1.0, api_name="/move")
    cells.predict(api_name="/use_directions")
    assert cells.predict(g=1.0, api_name="/move")[0]["alphas"]["g"] == 1.0
    for overlay in ("bb_lig", "difference"):
        mapped = cells.predict(overlay=overlay, opacity=0.5, api_name="/heatmap")[0]
        assert mapped["map"].startswith("data:image/png")
    assert Path(cells.predict(api_name="/report")[1]).read_bytes().startswith(b"%PDF")
    with pytest.raises(AppError, match="generator"):
        root.predict(handle_file(file), api_name="/load_directions")


@pytest.mark.slow
def test_a_client_of_the_second_domain_cannot_name_a_file_of_the_servers(hosted: Hosted):
    hosted.loader.may.set()
    secret = hosted.folder / "examples" / "example-0.png"
    data = [{"path": str(secret), "meta": {"_type": "gradio.FileData"}}, "none", 0.5, "side"]
    for address in (f"{hosted.address}/", hosted.cells):
        call = f"{address}gradio_api/call/open_image"
        event = httpx.post(call, json={"data": data}, timeout=60).json()["event_id"]
        answer = httpx.get(f"{call}/{event}", timeout=60).text
        assert "event: error" in answer and "image_name" not in answer
        assert secret.exists()


@pytest.mark.slow
def test_who_leaves_the_second_domain_leaves_nothing(hosted: Hosted):
    cells = opened(hosted)
    cells.predict(0, api_name="/open_example")
    session = hosted.visitors().session(cells.session_hash)
    assert session.image is not None and session.folder.exists()
    cells.close()
    wait_for(lambda: session.image is None and not session.folder.exists())


@pytest.mark.slow
def test_a_domain_that_cannot_be_loaded_says_so_and_can_be_tried_again(hosted: Hosted):
    weights = hosted.folder / "classifier.safetensors"
    hidden = weights.rename(hosted.folder / "hidden")
    hosted.loader.may.set()
    failed = httpx.get(hosted.cells + "config", timeout=60)
    assert failed.status_code == 503 and "classifier.safetensors" in failed.json()["detail"]
    page = httpx.get(hosted.cells)
    assert page.status_code == 503 and "could not be opened" in page.text
    assert "classifier.safetensors" in page.text and "Traceback" not in page.text
    assert hosted.loader.loaded == ["cells"]
    hidden.rename(weights)
    again = httpx.get(hosted.cells + "?again")
    assert again.status_code == 303 and again.headers["location"] == "./"
    assert httpx.get(hosted.cells + "config", timeout=60).status_code == 200
    assert hosted.loader.loaded == ["cells"] * 2


@pytest.mark.slow
def test_addresses_beside_the_pages(hosted: Hosted):
    plain = httpx.get(hosted.cells.rstrip("/"))
    assert plain.is_redirect and plain.headers["location"] == "cells/"
    assert httpx.get(f"{hosted.address}/domains/others/").status_code == 404
    assert hosted.loader.loaded == []


@pytest.mark.slow
def test_behind_a_proxy_the_pages_know_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As behind a proxy that serves all of it below a path, which it takes away."""
    monkeypatch.setenv("GRADIO_ROOT_PATH", "/service")
    folder = write_tiny_domain(tmp_path / "tiny")
    site = Site(FakeDomain(tmp_path, examples=0), [list_domain(str(folder))])
    port = free_port()
    place = {"server_name": "127.0.0.1", "server_port": port}
    site.launch(**place, prevent_thread_lock=True, quiet=True)
    try:
        for stripped in ("", "/service"):
            config = httpx.get(f"http://127.0.0.1:{port}{stripped}/domains/tiny/config", timeout=60)
            assert config.json()["root"].endswith(f":{port}/service/domains/tiny")
        forwarded = {"x-forwarded-host": "a.hf.space", "x-forwarded-proto": "https"}
        page = httpx.get(f"http://127.0.0.1:{port}/domains/tiny/config", headers=forwarded)
        assert page.json()["root"] == "https://a.hf.space/service/domains/tiny"
    finally:
        site.close()


@pytest.mark.slow
def test_one_domain_has_the_page_that_it_always_had(tmp_path: Path):
    site = Site(FakeDomain(tmp_path, examples=0))
    try:
        assert not site.offers
        shown = [
            block.value
            for block in site.root.blocks.values()
            if "gcd-header" in str(getattr(block, "value", ""))
        ]
        assert len(shown) == 1 and "gcd-menu" not in shown[0] and "Drawn chest" in shown[0]
    finally:
        site.close()


# -- which domains -----------------------------------------------------------------------------


class Launched(Exception):
    """What would be served."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch):
    """What `python app.py` with some arguments would serve: the first domain and the others."""

    class Noted:
        def __init__(self, first, others, load, stored, images, settings) -> None:
            raise Launched(first, [entry.source for entry in others])

    monkeypatch.setattr(serve, "Site", Noted)
    monkeypatch.setattr(serve, "load_domain", lambda name, device: name)
    monkeypatch.delenv("GCD_DOMAIN", raising=False)

    def start(*arguments: str) -> tuple:
        monkeypatch.setattr("sys.argv", ["app.py", *arguments])
        with pytest.raises(Launched) as launched:
            serve.main()
        return launched.value.args

    return start


def test_by_itself_it_offers_the_bundled_domains_whose_weights_are_there(
    started, monkeypatch: pytest.MonkeyPatch
):
    first, others = started()
    assert (first, others) == ("chest-xray", ["blood-cells"])
    monkeypatch.setattr(serve, "OFFERED", ("celeba-128", "chest-xray-vae", "no-such", "chest-xray"))
    assert started() == ("chest-xray-vae", ["chest-xray"])
    monkeypatch.setattr(serve, "OFFERED", ("no-such",))
    assert started() == ("blood-cells", [])


def test_it_offers_what_it_is_asked_for(started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = str(write_tiny_domain(tmp_path))
    assert started("--domain", folder) == (folder, [])
    asked = ("--domain", folder, "--domain", "chest-xray", "--domain", folder)
    assert started(*asked) == (folder, ["chest-xray"])
    monkeypatch.setenv("GCD_DOMAIN", folder)
    assert started() == (folder, [])
    assert started("--domain", "chest-xray-vae") == ("chest-xray-vae", [])


def test_a_domain_that_is_none_ends_it_with_a_sentence(started, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.argv", ["app.py", "--domain", "chest-xray", "--domain", "no-such"])
    with pytest.raises(SystemExit, match="error: There is no domain 'no-such'"):
        serve.main()
