"""Public reports of people who do this work: each case comes out right, or is told in a sentence.

The cases lie beside the checkout (`../shared/cases`); elsewhere this is skipped. What each stands
for is tested in the rooms of `tests/`, with files made there.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CASES = ROOT.parent / "shared" / "cases"
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?|-?\d+")
TOLD = {  # where a sentence is as good: what it has to name
    "13 chexpert: a patient": "It is in the table, but not in",
    "20 softmax": 'write output = "probabilities"',
    "22 traced": "batch_size = 1",
}
RIGHT = {  # where the script's own words are no number
    "03 palette-segmented": "0.5",
    "09 png": "0.4982",
    "10 tiff": "0.5",
    "11 array": "0.5",
    "14 csv": "[50, 200]",
    "15 csv": "[50, 200]",
    "16 csv": "[50, 200]",
    "17 csv": "[0, 1, 1, 1, 0]",
    "21 onnx": "[3, 2]",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CASES.is_dir(), reason="the cases lie beside the checkout"),
]


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> dict[str, tuple[str, str]]:
    """What is right and what came, by the case's name."""
    place = Path(shutil.copytree(CASES, tmp_path_factory.mktemp("cases") / "cases"))
    for path in [place, *place.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(place / "cases_shown.py")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    blocks = re.findall(r"^(\d\d .*)\n    right: (.*)\n    got:   (.*)$", done.stdout, re.MULTILINE)
    return {name: (right, got) for name, right, got in blocks}


def right_of(name: str, stated: str) -> str:
    return next((right for start, right in RIGHT.items() if name.startswith(start)), stated)


def test_every_case_is_right_or_told(shown) -> None:
    assert len(shown) >= 30
    wrong = {}
    for name, (stated, got) in shown.items():
        if name.startswith("06 window"):
            good = float(got) > 0.1
        elif name.startswith("07 names"):
            good = got.count("'") == 14
        elif name.startswith("19 mobilevit"):
            ours, theirs = got.split("(transformers itself:")
            good = close(ours, theirs)
        elif told := next((told for start, told in TOLD.items() if name.startswith(start)), None):
            good = told in got
        else:
            good = "Error" not in got and close(right_of(name, stated), got)
        if not good:
            wrong[name] = got
    assert wrong == {}


def close(right: str, got: str) -> bool:
    """Whether two texts hold the same numbers, to two in a thousand of the largest."""
    ours, theirs = ([float(n) for n in NUMBER.findall(text)] for text in (right, got))
    return len(ours) == len(theirs) > 0 and all(
        abs(a - b) <= 2e-3 * max(1, *map(abs, ours)) for a, b in zip(ours, theirs, strict=True)
    )
