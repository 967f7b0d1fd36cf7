"""The notebook of the documents runs from top to bottom, in small, and shows what it says."""

import json
from pathlib import Path

import matplotlib
import pytest

from gcd_core.domains.finding import bundled_domains

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = json.loads((ROOT / "docs/quickstart.ipynb").read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
SAMPLES = "N_SAMPLES = 128\n"  # of its search; 64 do here


def test_no_output_is_kept() -> None:
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)


@pytest.mark.slow
@pytest.mark.bundled
@pytest.mark.skipif("chest-xray" not in bundled_domains(), reason="no chest-xray domain here")
def test_it_runs_from_top_to_bottom(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    matplotlib.use("Agg")
    plt = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(ROOT / "docs")  # where Jupyter runs it
    monkeypatch.syspath_prepend(ROOT)
    drawn = []
    monkeypatch.setattr(plt, "show", lambda: drawn.append(plt.gcf()))
    names: dict = {}
    sources = ["".join(cell["source"]) for cell in CODE]
    assert sum(SAMPLES in source for source in sources) == 1
    for number, source in enumerate(sources):
        cell = source.replace(SAMPLES, "N_SAMPLES = 64\n")
        exec(compile(cell, f"cell {number}", "exec"), names)  # what Jupyter does
    plt.close("all")

    path, k = names["path"], names["k"]
    before, after = path.source_probability, path.probabilities[k].item()
    assert (before >= 0.5) != (after >= 0.5) and abs(after - 0.5) >= names["domain"].margin
    assert len(drawn) == 2 and len(drawn[1].axes) == 3
    assert names["maps"]["cells"].queries == 512
    assert names["own"].vector @ names["g"].vector > 0.5
    assert sum(names["flips"]) >= 10, "of the 12 examples"
    assert "oracle flip rate" in capsys.readouterr().out
