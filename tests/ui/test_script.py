"""The page's JavaScript: all of it in assets, which Python names and does not write."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gcd_core.ui import page
from gcd_core.ui.page import ASSETS, SCRIPTS, launch_settings

UI = Path(page.__file__).parent
FILES = sorted(UI.rglob("*.py"))
SCRIPTS_TEXT = [(ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS]
CALL = re.compile(r"gcd\.(\w+)(\([^;\n]*\))?")  # a function of a script, or what a call of it gives
TEMPLATE = "html_template"
SIGNS = ("=>", "addEventListener", "querySelector", "document.", "window.", "setTimeout")


def test_no_two_scripts_give_a_name() -> None:
    given = [re.search(r"^  return \{([^}]*)\};\n\}\)\(\)", text, re.M) for text in SCRIPTS_TEXT]
    names = [name.split(":")[0].strip() for found in given if found for name in found[1].split(",")]
    assert {"openedBy", "sourcePicture", "film"} <= set(names)
    assert sorted(names) == sorted(set(names))


def literals(tree: ast.AST) -> Iterator[str]:
    """Every string of a module but its docstrings; of an f-string its fixed text."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if isinstance(text, str) and id(node) not in docstrings:
            yield text


def scripts(tree: ast.AST) -> Iterator[str]:
    """What a module gives as `js` or `js_on_load`, and in a template of HTML as `${...}`.

    A value in an f-string stands as 0.
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.keyword) or node.arg not in ("js", "js_on_load", TEMPLATE):
            continue
        given = node.value.body if isinstance(node.value, ast.IfExp) else node.value
        parts = given.values if isinstance(given, ast.JoinedStr) else [given]
        text = "".join(str(part.value) if isinstance(part, ast.Constant) else "0" for part in parts)
        yield from re.findall(r"\$\{(.*?)\}", text) if node.arg == TEMPLATE else [text]


def of(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return path.relative_to(UI).as_posix()


def written_here(text: str) -> list[str]:
    """The strings of a module that are JavaScript, and more than a call of page.js."""
    tree = ast.parse(text)
    suspect = [s for s in literals(tree) if any(sign in s for sign in SIGNS)]
    return suspect + [s for s in scripts(tree) if not CALL.fullmatch(s)]


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_module_holds_javascript(path: Path):
    assert written_here(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "SWITCH = \"element.addEventListener('click', e => e.target.focus())\"",
        'x.click(f, js="() => 3")',
        'x.click(f, js="() => 3" if y else None)',
        "x.click(f, js=f\"(...rest) => ['{name}', ...rest]\")",
        'gr.HTML(js_on_load="const at = 50; place(at)")',
        'gr.HTML(js_on_load="gcd.fade(element); gcd.more()")',
        'gr.HTML(html_template="${value.trim()}")',
    ],
)
def test_javascript_would_be_found(text: str):
    assert written_here(text)


def test_what_python_names_is_what_the_script_defines():
    """And what one script calls of another."""
    defined: set[str] = set()
    for text in SCRIPTS_TEXT:
        returned = re.search(r"return \{([^}]*)\};\s*\}\)\(\)\)?;\s*$", text)
        if returned:
            defined |= {name.strip() for name in returned.group(1).split(",")}
    named = {CALL.fullmatch(s).group(1) for path in FILES for s in scripts(of(path))}
    page = launch_settings()["head"]
    named |= {name for name in re.findall(r"\bgcd\.(\w+)\(", page)}
    assert named == defined


def test_the_script_comes_with_the_page_whole():
    assert all(text in launch_settings()["head"] for text in SCRIPTS_TEXT)
    assert not any("</script" in text.lower() for text in SCRIPTS_TEXT)  # would end it there
    assert {file.name for file in ASSETS.glob("*.js")} == set(SCRIPTS)
