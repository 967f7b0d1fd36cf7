"""What every test gets, the same random numbers each time, and a hub for those that ask for one."""

import os
import socket
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # one core each: before torch counts them
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

from tests.hub_server import PART, HubServer


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing that a test keeps is the user's."""
    os.environ["GCD_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A hub of its own for each test, and no way to any other."""
    look_up = socket.getaddrinfo

    def only_here(host, *args, **kwargs):
        if host not in ("127.0.0.1", "localhost", b"127.0.0.1", b"localhost"):
            raise OSError(f"a test was to reach {host}")
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", only_here)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    monkeypatch.delenv("GCD_TRUST_CODE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", PART)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    huggingface_hub.utils.close_session()
    with HubServer() as made:
        monkeypatch.setenv("HF_ENDPOINT", made.url)
        yield made
    huggingface_hub.utils.close_session()
