"""The documents say what is true: commands, options, settings, keys and links in them exist."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest

import gcd_core
from gcd_core.__main__ import COMMANDS
from gcd_core.classifiers.registry import KINDS
from gcd_core.domains import file as domain_file
from gcd_core.environment import Environment
from gcd_core.evaluation.paper import TABLES
from gcd_core.evaluation.sanity_checks import CHECKS
from tests.tiny_domain import write_tiny_domain

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted(ROOT.glob("docs/*.md"))
CARDS = sorted(ROOT.glob("checkpoints/*/README.md"))
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS, *CARDS]
}
SUBJECTS = {
    "quickstart",
    "method",
    "command-line",
    "domains",
    "classifiers",
    "images",
    "hosting",
    "clusters",
    "results",
    "glossary",
    "architecture",
    "lab-notes",
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
VARIABLE = re.compile(r"GCD_[A-Z_]*[A-Z]")


def blocks(name: str, language: str) -> list[str]:
    """The fenced blocks of a document in one language; "" is of those without."""
    return [body for found, body in FENCE.findall(TEXTS[name]) if found == language]


def anchors(text: str) -> set[str]:
    """The names that GitHub gives a document's headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    plain = [re.sub(r"[`*]|\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def section(name: str, heading: str) -> str:
    """What stands below a heading, up to the next of its level."""
    level = heading.split(" ")[0]
    after = TEXTS[name].partition(f"\n{heading}\n")[2]
    assert after, f"{name} has no heading {heading!r}"
    return re.split(rf"^{level} ", after, maxsplit=1, flags=re.MULTILINE)[0]


def parser_of(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    importlib.import_module(COMMANDS[command][0]).add_arguments(parser)
    return parser


def command_of(words: list[str]) -> str:
    """The command that the words after `python -m gcd_core` begin with."""
    return " ".join(words[:2]) if words[0] == "train" else words[0]


def command_lines() -> list[tuple[str, str]]:
    """Every command line of the documents, with the name of its document."""
    found = []
    for name in TEXTS:
        for body in blocks(name, ""):
            for line in body.replace("\\\n", " ").splitlines():
                if line.startswith("python -m gcd_core "):
                    found.append((name, line.partition("gcd_core ")[2]))
    return found


def test_the_readme_is_one_page() -> None:
    assert len(TEXTS["README.md"].encode()) <= 7 * 1024


@pytest.mark.parametrize("name", [n for n in TEXTS if n.startswith("checkpoints/")])
def test_a_card_is_short_and_names_data_licence_and_limits(name: str) -> None:
    text = TEXTS[name]
    assert len(text.encode()) <= 8 * 1024
    if name != "checkpoints/lpips/README.md":
        for word in ("licence", "limits"):
            assert re.search(rf"^## .*{word}", text, re.MULTILINE | re.IGNORECASE), word


def test_there_is_a_document_for_each_subject_which_says_for_whom() -> None:
    assert {path.stem for path in DOCS} == SUBJECTS
    for path in DOCS:
        first = TEXTS[f"docs/{path.name}"].split("\n\n")[1].replace("\n", " ")
        assert first.startswith("For "), f"{path.name} begins {first[:60]!r}"
        assert f"docs/{path.name}" in TEXTS["README.md"]


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name: str) -> None:
    for link in LINK.findall(FENCE.sub("", TEXTS[name])):
        if link.startswith(("http:", "https:")):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / name).parent / file if file else ROOT / name
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize(("name", "line"), command_lines())
def test_a_command_line_is_one(name: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    command = command_of(words)
    if command == "COMMAND":
        return
    assert command in COMMANDS, f"{name}: {line}"
    known = parser_of(command)._option_string_actions
    for word in words:
        if word.startswith("--"):
            assert word in known, f"{name}: {command} has no {word}"


def test_every_command_is_documented() -> None:
    text, readme = TEXTS["docs/command-line.md"], TEXTS["README.md"]
    for command in COMMANDS:
        assert f"`{command}`" in text or f"gcd_core {command} " in text, command
        assert f"`{command.split()[0]}`" in readme, command


def test_options_in_a_commands_section_are_its_own() -> None:
    text = TEXTS["docs/command-line.md"]
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    checked = 0
    for body in sections:
        heading = body.splitlines()[0]
        commands = [c for word in heading.split(" and ") for c in COMMANDS if c.split()[0] == word]
        known = {o for c in commands for o in parser_of(c)._option_string_actions}
        for option in re.findall(r"`(--[a-z0-9-]+)", body):
            shared = heading.startswith(("merge", "What all", "The page"))
            assert shared or option in known, f"{heading}: {option}"
            checked += 1
    assert checked > 80


def test_settings_are_those_that_the_code_reads() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("gcd_core/**/*.py"))
    settings = {f"GCD_{name.upper()}" for name in Environment.model_fields}
    told = set(VARIABLE.findall(section("docs/hosting.md", "## Settings")))
    assert set(VARIABLE.findall(code)) | settings == told
    for name, text in TEXTS.items():
        assert set(VARIABLE.findall(text)) <= told, name


def test_the_keys_of_domain_toml_are_documented() -> None:
    text = TEXTS["docs/domains.md"]
    tables = {
        "**At the top**": domain_file.TOP,
        "**`[generator]`**": domain_file.GENERATOR,
        "**`[labels.NAME]`**": domain_file.LABEL,
        "**`[search]`**": domain_file.SEARCH,
        "**`[walk]`**": domain_file.WALK,
        "**`[bridge]`**": domain_file.BRIDGE,
    }
    for heading, (required, optional) in tables.items():
        body = text.partition(f"\n{heading}")[2]
        body = re.split(r"\n(?:\*\*|## )", body)[0]
        first = " ".join(row.split("|")[1] for row in body.splitlines() if row.startswith("|"))
        told = {key: star for key, star in re.findall(r"`(\w+)`( \*)?", first)}
        sections = {key for key, kind in (required | optional).items() if kind is dict}
        assert set(told) == (set(required) | set(optional)) - sections, heading
        assert {key for key, star in told.items() if star} == set(required) - sections, heading


def test_the_kinds_of_classifiers_checks_and_tables_are_documented() -> None:
    kinds = section("docs/classifiers.md", "## The kinds").partition("###")[0]
    assert set(re.findall(r"`([a-z-]+)`(?=[,| ])", kinds)) >= set(KINDS)
    checks = section("docs/command-line.md", "## sanity")
    assert set(re.findall(r"^\| `(\w+)` \|", checks, re.MULTILINE)) == set(CHECKS)
    rows = re.findall(r"^\| (`.*?) \|", section("docs/command-line.md", "## tables"), re.MULTILINE)
    assert {name.strip("` ") for row in rows for name in row.split(",")} == set(TABLES)


@pytest.mark.parametrize("name", TEXTS)
def test_toml_is_toml_and_python_uses_public_names(name: str) -> None:
    for body in blocks(name, "toml"):
        tomllib.loads(body)
    for body in blocks(name, "python"):
        for node in ast.walk(ast.parse(body)):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "gcd":
                assert node.attr in gcd_core.__all__, f"{name}: gcd.{node.attr}"


def test_the_readmes_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (body,) = blocks("README.md", "python")
    assert len(body.splitlines()) <= 10
    tiny = write_tiny_domain(tmp_path / "tiny")
    replaced = {"chest-xray": str(tiny), '"pneumonia"': '"ill"', "64)": "32)", "[5]": "[1]"}
    for word, other in replaced.items():
        assert word in body
        body = body.replace(word, other)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(body, "README.md", "exec"), names)
    assert names["changed"].shape == names["image"].view.shape and names["heat"].shape == (32, 32)
    assert (tmp_path / "pneumonia.safetensors").is_file()


def test_markers_of_results_come_in_pairs() -> None:
    for name, text in TEXTS.items():
        begun = re.findall(r"<!-- (results:[\w-]+ [\w-]+|/results) -->", text)
        assert begun[1::2] == ["/results"] * (len(begun) // 2), name
        assert all(mark.startswith("results:") for mark in begun[::2]), name
        assert len(begun) % 2 == 0, name
