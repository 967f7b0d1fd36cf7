"""What pip installs, by either way: the same packages in the same bounds."""

import re
import tomllib
from pathlib import Path

import gcd_core

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]


def required(file: str) -> set[str]:
    """The requirements in a file, without comments."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return {line.partition("#")[0].strip() for line in lines} - {""}


def test_requirements_are_the_projects_dependencies_with_dicom_and_the_tests() -> None:
    tests = {line for line in EXTRAS["test"] if not line.startswith("onnx")}
    assert required("requirements.txt") == {*PROJECT["dependencies"], *EXTRAS["dicom"], *tests}


def test_optional_requirements_are_the_extras_for_classifiers_tables_and_clusters() -> None:
    kinds = {*EXTRAS["onnx"], *EXTRAS["transformers"], *EXTRAS["xray"], *EXTRAS["tables"]}
    kinds |= {*EXTRAS["ray"]}
    of_tests = {line for line in EXTRAS["test"] if line.startswith("onnx")}
    assert required("requirements-optional.txt") == kinds | of_tests


def test_every_package_is_installed_with_what_comes_with_it() -> None:
    settings = PYPROJECT["tool"]["setuptools"]
    folders = {path.parent for path in ROOT.glob("gcd_core/**/__init__.py")}
    names = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert {*settings["packages"]} == names | {"gcd_core.assets", "gcd_core.checkpoints"}
    for package, patterns in settings["package-data"].items():
        folder = ROOT / settings["package-dir"][package]
        for pattern in patterns:
            assert [*folder.glob(pattern)], f"nothing in {folder} is {pattern}"


def test_the_container_is_made_of_what_is_here_and_is_not_root() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    for name in copied:
        assert (ROOT / name).exists(), f"{name} is copied, and is not here"
        assert f"!{name}" in let_in, f"{name} is copied, and kept out of the build"
    user = next(line.split()[1] for line in lines if line.startswith("USER "))
    assert user.split(":")[0] not in ("0", "root")
    assert lines.index(f"USER {user}") < next(i for i, x in enumerate(lines) if x[:4] == "CMD ")
    assert any("/health" in line for line in lines)


def test_the_checks_of_ci_are_those_of_the_developers_extra() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    for requirement in EXTRAS["dev"]:
        assert f"'{requirement}'" in script


def test_there_is_one_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changes, re.MULTILINE).group(1)
    source = PYPROJECT["tool"]["setuptools"]["dynamic"]["version"]
    assert PROJECT["dynamic"] == ["version"] and source == {"attr": "gcd_core.__version__"}
    assert newest == gcd_core.__version__
