"""Domains of the hub: what is fetched of them, and what they may not do here."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from gcd_core.domains.finding import Entry, fetch_domain, is_complete, list_domain
from gcd_core.domains.opening import load_domain
from gcd_core.domains.sharing import pull
from gcd_core.errors import GCDError
from gcd_core.hub import HubPath
from tests.hub_server import REPO, HubServer


@pytest.mark.parametrize("under", ["", "domains/tiny/"])
@pytest.mark.slow
def test_a_domain_is_opened_from_the_hub(server: HubServer, tiny: Path, under: str) -> None:
    server.add_folder(REPO, tiny, under)
    server.repos[REPO][f"{under}training.pt"] = b"what no domain.toml names stays where it is"
    name = f"hf://{REPO}/{under}".rstrip("/")
    domain = load_domain(name, device="cpu")
    assert domain.generator.identity == load_domain(tiny, device="cpu").generator.identity
    assert len(domain.examples) == 2
    assert domain.classifier(domain.load_image(domain.examples[0])).shape == (1, 2)
    assert not server.asked("GET", "training.pt")
    server.stop()
    again = load_domain(name, device="cpu")
    assert again.folder == domain.folder


def test_weights_named_on_the_hub_are_downloaded_when_the_domain_is_opened(
    server: HubServer, tiny: Path
) -> None:
    identity = load_domain(tiny, device="cpu").generator.identity
    index = "generator.safetensors.index.json"
    for shard in tiny.glob("generator-*.safetensors"):
        state = {k: v.float() for k, v in load_file(shard).items()}
        torch.save(state, tiny / "generator.pt")
        shard.unlink()
    (tiny / index).unlink()
    torch.save(
        {"conds_mean": torch.zeros(1, 16), "conds_std": torch.ones(1, 16)}, tiny / "latent.pt"
    )
    for name in ("generator.pt", "latent.pt"):
        server.repos["author/weights"][name] = (tiny / name).read_bytes()
        (tiny / name).unlink()
    toml = (tiny / "domain.toml").read_text()
    weights = '{ repo = "author/weights", file = "generator.pt" }'
    latent = 'latent_statistics = { repo = "author/weights", file = "latent.pt" }'
    toml = toml.replace(f'weights = "{index}"', f"weights = {weights}\n{latent}")
    (tiny / "domain.toml").write_text(toml)
    domain = load_domain(tiny, device="cpu")
    assert domain.generator.identity == identity
    mean, std = domain.z_sem_statistics
    assert torch.equal(mean, torch.zeros(16)) and torch.equal(std, torch.ones(16))


@pytest.mark.parametrize("kind", ["python", "torchscript", "exported", "http", "hf-inference"])
def test_a_domain_of_the_hub_runs_no_code_and_sends_nothing_away(
    server: HubServer, tiny: Path, kind: str, monkeypatch
) -> None:
    toml = (tiny / "domain.toml").read_text()
    (tiny / "domain.toml").write_text(toml.replace('kind = "safetensors"', f'kind = "{kind}"', 1))
    server.add_folder(REPO, tiny)
    refusal = rf"\[classifier\] is of kind '{kind}'.*GCD_TRUST_CODE=1"
    with pytest.raises(GCDError, match=refusal):
        load_domain(f"hf://{REPO}", device="cpu")
    with pytest.raises(GCDError, match=refusal):
        pull(HubPath(REPO), tiny.parent / "mine")
    assert not (tiny.parent / "mine").exists()
    monkeypatch.setenv("GCD_TRUST_CODE", "1")
    with pytest.raises(GCDError) as error:  # as the rest of the table belongs to another kind
        load_domain(f"hf://{REPO}", device="cpu")
    assert "GCD_TRUST_CODE" not in str(error.value)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret.safetensors"])
def test_a_domain_of_the_hub_reads_no_file_but_its_own(server: HubServer, tiny: Path, name) -> None:
    toml = (tiny / "domain.toml").read_text()
    (tiny / "domain.toml").write_text(toml.replace('"classifier.safetensors"', f'"{name}"', 1))
    server.add_folder(REPO, tiny)
    with pytest.raises(GCDError, match="outside its folder; a domain from the hub may not"):
        load_domain(f"hf://{REPO}", device="cpu")


def test_a_repository_without_a_domain_is_none(server: HubServer) -> None:
    server.repos[REPO]["README.md"] = b"nothing"
    with pytest.raises(GCDError, match=r"holds no domain\.toml"):
        fetch_domain(HubPath(REPO))


def test_a_list_of_domains_reads_their_domain_toml_and_nothing_else(
    server: HubServer, tiny: Path
) -> None:
    server.add_folder(REPO, tiny, "domains/tiny/")
    source = f"hf://{REPO}/domains/tiny"
    assert list_domain(source) == Entry(source, "tiny", "Drawn squares", "")
    assert all("domain.toml" in seen.path for seen in server.seen)
    (tiny / "domain.toml").write_text('name = 7\ndescription = "Squares."')
    entry = list_domain(str(tiny))
    assert entry == Entry(str(tiny), tiny.name, tiny.name, "Squares.")
    with pytest.raises(GCDError, match=r"holds no domain\.toml"):
        list_domain(f"hf://{REPO}")
    with pytest.raises(GCDError, match="There is no domain 'no-such'"):
        list_domain("no-such")


def test_a_bundled_domain_is_complete_where_its_files_are_there() -> None:
    assert is_complete("chest-xray") and is_complete("chest-xray-vae")
    assert not is_complete("celeba-128") and not is_complete("no-such")
