import json
from pathlib import Path

import pytest

from gcd_core.new_domain.verdict import beside, verdict_of

GOOD = {
    "side": 0.98,
    "lpips": 0.04,
    "flips": 0.97,
    "follows": 0.7,
    "auroc": 0.95,
}


def write(folder: Path, **changes) -> Path:
    figures = GOOD | changes
    results = folder / "results"
    results.mkdir(exist_ok=True)
    rows = [{"agreement": {"ill": figures["side"]}, "lpips": figures["lpips"]}]
    flips = {"flip_rate": figures["flips"], "oracle_flip_rate": figures["follows"], "n": 64}
    networks = {"classifier": {"ill": {"auroc": figures["auroc"]}}}
    (results / "reconstruction.json").write_text(json.dumps({"reconstruction": rows}))
    (results / "ill-g.json").write_text(json.dumps(flips))
    (results / "classifiers.json").write_text(json.dumps({"classifiers": networks}))
    return folder


def test_a_good_domain_is_good_in_everything(tmp_path) -> None:
    found = verdict_of(write(tmp_path), ["ill"], 1)
    assert len(found) == 5 and all(finding.good for finding in found)
    assert found[0].sentence == (
        "Reconstructions keep 98 % of the classifier's answers to 'ill' (good)."
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"side": 0.96}, "keep 96 %"),
        ({"lpips": 0.051}, "LPIPS of reconstructions is 0.051 (coarse, wanted 0.05"),
        ({"flips": 0.94}, "g flips 94 % of 64 test pictures"),
        ({"follows": 0.59}, "follows in 59 %"),
        ({"follows": None}, "Nobody gives a second opinion"),
        ({"auroc": 0.85}, "is 0.850 (low"),
    ],
)
def test_what_is_not_good_is_told_with_what_would_mend_it(tmp_path, change, words) -> None:
    (bad,) = [f for f in verdict_of(write(tmp_path, **change), ["ill"], 1) if not f.good]
    assert words in bad.sentence and bad.mend


def test_colours_may_be_coarser(tmp_path) -> None:
    assert all(f.good for f in verdict_of(write(tmp_path, lpips=0.08), ["ill"], 3))
    assert not all(f.good for f in verdict_of(write(tmp_path, lpips=0.081), ["ill"], 3))


def test_no_flip_needs_no_second_opinion(tmp_path) -> None:
    found = verdict_of(write(tmp_path, flips=0.0, follows=None), ["ill"], 1, unusable=31)
    assert not any("second opinion on" in finding.told for finding in found)
    assert found[-1].sentence.startswith("31 files were no pictures")


def test_a_share_does_not_read_as_the_one_that_it_misses() -> None:
    assert [beside(x, 0.97) for x in (0.9688, 0.97, 0.94)] == ["96.9 %", "97 %", "94 %"]
