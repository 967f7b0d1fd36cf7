"""The house as its imports show it: one way up, no circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Rooms by floor, the lowest first; a module imports from its own floor and from those below.
FLOORS = (
    ("errors", "checks", "environment", "files", "wording", "pickles", "traced"),
    ("images",),
    ("generators", "classifiers", "perceptual", "hub"),
    ("method",),
    ("bridge",),
    ("domains",),
    ("distributed",),
    ("__init__", "report", "training", "evaluation"),
    ("new_domain",),
    ("ui", "cli"),
    ("__main__", "app"),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# The same within the page; what else lies right under gcd_core/ui is on the lowest floor.
PAGE_FLOORS = (
    ("metrics", "frames", "gradio_workarounds"),
    ("engine",),
    ("session",),
    ("views",),
    ("tabs",),
    ("page",),
    ("server",),
    ("serve",),
)
PAGE_FLOOR_OF = {room: floor for floor, rooms in enumerate(PAGE_FLOORS) for room in rooms}
FORBIDDEN = (  # imports that lead down, but past a floor
    ("gcd_core.ui.views.", "gcd_core.ui.engine."),
    ("gcd_core.ui.tabs.", "gcd_core.ui.engine."),
    ("gcd_core.ui.server.", "gcd_core.ui.engine."),
    ("gcd_core.ui.views.charts", "gcd_core.evaluation."),
)


def module_name(path: Path) -> str:
    """The dotted name of a file, of a package's `__init__.py` the package's own."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_name(path): path for path in [*ROOT.glob("gcd_core/**/*.py"), ROOT / "app.py"]}


def imports_of(name: str, text: str) -> set[str]:
    """The project's modules that a module's text names: everywhere in it, and in strings too.

    That includes imports within functions and under TYPE_CHECKING, and what `importlib` is given.
    """
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} imports relatively"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & FILES.keys()) or {str(node.module)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
    return (found & FILES.keys()) - {name}


GRAPH = {name: imports_of(name, path.read_text(encoding="utf-8")) for name, path in FILES.items()}


def room(name: str) -> str:
    """The room of a module: the folder or file right under the package."""
    parts = name.split(".")
    return parts[0] if parts[0] == "app" else (parts[1] if len(parts) > 1 else "__init__")


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a circle, or none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_there_is_no_circle() -> None:
    assert circle_in(GRAPH) == []


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_module_imports_from_no_higher_floor(name: str) -> None:
    floor = FLOOR_OF[room(name)]
    higher = [other for other in GRAPH[name] if FLOOR_OF[room(other)] > floor]
    assert higher == []


def page_floor(name: str) -> int | None:
    """The floor of a module within the page; None of one that is not the page's."""
    parts = name.split(".")
    return PAGE_FLOOR_OF.get(parts[2], 0) if parts[:2] == ["gcd_core", "ui"] and parts[2:] else None


@pytest.mark.parametrize("name", [name for name in sorted(FILES) if page_floor(name) is not None])
def test_a_module_of_the_page_imports_from_no_higher_floor_of_it(name: str) -> None:
    own = page_floor(name)
    assert [other for other in GRAPH[name] if (page_floor(other) or 0) > own] == []


@pytest.mark.parametrize("who, whom", FORBIDDEN)
def test_nobody_reaches_past_a_floor(who: str, whom: str) -> None:
    reaching = [name for name in FILES if name.startswith(who)]
    assert reaching
    assert [(n, o) for n in reaching for o in GRAPH[n] if o.startswith(whom)] == []


@pytest.mark.parametrize(
    "text",
    [
        "from gcd_core.ui.page import ExplorerPage",
        "from gcd_core.ui import page",
        "if TYPE_CHECKING:\n    from gcd_core.ui.page import ExplorerPage",
        "def f():\n    import gcd_core.ui.page",
        'KINDS = {"page": "gcd_core.ui.page"}',
    ],
)
def test_every_way_to_import_is_seen(text: str) -> None:
    assert imports_of("gcd_core.method.walk", text) == {"gcd_core.ui.page"}


def test_a_circle_would_be_found() -> None:
    assert set(circle_in(GRAPH | {"gcd_core.errors": {"gcd_core.ui.page"}})) >= {"gcd_core.errors"}


LONGEST = {ast.FunctionDef: 60, ast.ClassDef: 250}  # lines, without the docstring
LAYOUT = ("gcd_core.ui.",)  # where functions that only lay out components may be longer


def lines_of(node: ast.FunctionDef | ast.ClassDef) -> int:
    """How many lines a definition has, its own docstring apart."""
    first = node.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(node) else 0
    return node.end_lineno - node.lineno + 1 - docstring


@pytest.mark.parametrize("name", sorted(FILES))
def test_nothing_is_too_long_to_read(name: str) -> None:
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if type(node) in LONGEST:
            layout = name.startswith(LAYOUT) and node.name.startswith(("_build", "build"))
            assert layout or lines_of(node) <= LONGEST[type(node)], node.name
