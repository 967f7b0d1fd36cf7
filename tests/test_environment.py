"""The `GCD_*` variables: read, and refused by their names."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gcd_core.environment import FRAMES, Environment
from gcd_core.errors import GCDError

ROOT = Path(__file__).resolve().parents[1]
VARIABLE = re.compile(r"GCD_[A-Z_]+[A-Z]")
COUNTS = ("visitors", "idle_minutes", "searches", "uploads", "upload_mb", "uploads_kept_mb")
ONE, ZERO = "give a whole number of 1 or more.", "give a whole number of 0 or more."
SITES = "give a list of sites, with spaces between."
GPUS = "give the GPUs of a search, such as 0.5."


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable is set."""
    for name in os.environ:
        if name.startswith("GCD_"):
            monkeypatch.delenv(name)


def test_each_setting_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "cache": ("/a", Path("/a")),
        "max_side": ("512", 512),
        "trust_code": ("1", True),
        "ray_address": ("ray://a:1", "ray://a:1"),
        "ray_gpus": ("0.5", 0.5),
        "domain": ("hf://a/b", "hf://a/b"),
        "images": ("/b.zip", Path("/b.zip")),
        "log": ("1", True),
        "metrics": ("1", True),
        "auth": ("doctor:a:secret", "doctor:a:secret"),
        "frame_ancestors": ("'none'", "'none'"),
        "searches_waiting": ("0", 0),
        "keep_minutes": ("0", 0),
        **{name: (" 7 ", 7) for name in COUNTS},
    }
    assert given.keys() == Environment.model_fields.keys()
    for name, (text, _) in given.items():
        monkeypatch.setenv(f"GCD_{name.upper()}", text)
    assert Environment().model_dump() == {name: value for name, (_, value) in given.items()}
    for name in given:
        monkeypatch.setenv(f"GCD_{name.upper()}", "")
    bare = Environment()
    assert (bare.visitors, bare.searches_waiting, bare.frame_ancestors) == (64, 16, FRAMES)
    assert bare.keep_minutes == 15
    assert not (bare.cache or bare.trust_code or bare.auth or bare.log or bare.metrics)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        *(("VISITORS", text, ONE) for text in ("0", "-1", "1.5", "many", "9" * 12, "\u0665")),
        *((name.upper(), "0", ONE) for name in COUNTS),
        ("SEARCHES_WAITING", "-1", ZERO),
        *(("FRAME_ANCESTORS", text, SITES) for text in ("x; script-src *", "a\nb", "a, b", "\xe9")),
        *(("RAY_GPUS", text, GPUS) for text in ("many", "-1", "nan", "1e9")),
        *((name, "perhaps", "give 1 or 0.") for name in ("LOG", "METRICS", "TRUST_CODE")),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(
    name: str, text: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"GCD_{name}", text)
    with pytest.raises(GCDError) as refused:
        Environment()
    assert str(refused.value) == f"GCD_{name} is {text!r}; {told}"


@pytest.mark.parametrize("text", ["secret", ":secret", "secret:"])
def test_a_password_is_never_repeated(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCD_AUTH", text)
    with pytest.raises(GCDError, match=r"GCD_AUTH is .*NAME:PASSWORD") as refused:
        Environment()
    assert "secret" not in str(refused.value)
    assert "secret" not in repr(Environment(auth="doctor:secret"))


def test_no_variable_is_read_elsewhere_and_hosting_describes_them_all() -> None:
    known = {f"GCD_{name.upper()}" for name in Environment.model_fields}
    told = set(VARIABLE.findall((ROOT / "docs/hosting.md").read_text(encoding="utf-8")))
    assert told == known
    for path in ROOT.glob("gcd_core/**/*.py"):
        text = path.read_text(encoding="utf-8")
        assert set(VARIABLE.findall(text)) <= known, path
        assert not re.search(r"environ\b.*GCD_|getenv.*GCD_", text), path
