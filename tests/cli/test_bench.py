"""The benchmark: its counts against arithmetic, its agreement on known answers."""

import json
import sys
from dataclasses import replace

import pytest
import torch

import gcd_core
from gcd_core.__main__ import main
from gcd_core.domains.finding import BUNDLED
from gcd_core.evaluation import paper_comparison, speed
from gcd_core.evaluation.outcomes import Cost
from tests.evaluation.domain import linear_domain

pytestmark = pytest.mark.slow

PAGE = """
import argparse, http.server
parser = argparse.ArgumentParser()
for name in ("--domain", "--host", "--device"):
    parser.add_argument(name)
parser.add_argument("--port", type=int)
arguments = parser.parse_args()
http.server.HTTPServer(
    (arguments.host, arguments.port), http.server.SimpleHTTPRequestHandler
).serve_forever()
"""


@pytest.fixture(scope="module")
def domain(tmp_path_factory):
    return linear_domain(tmp_path_factory.mktemp("images"), examples=3)


@pytest.fixture(autouse=True)
def loaded(domain, monkeypatch, request):
    if "bundled" not in request.node.name:
        monkeypatch.setattr(gcd_core, "load_domain", lambda name, device: domain, raising=False)


@pytest.fixture(scope="module")
def result(domain):
    images = torch.cat([domain.load_image(path) for path in domain.examples])
    size = paper_comparison.Size(
        samples=480, paper_samples=32, paper_images=2, paper_points=16, growth=()
    )
    return paper_comparison.compare(domain, images, "a", size)


def test_the_papers_cost_is_what_the_protocol_says(result):
    find, transfer, maps = (result[key]["paper"] for key in ("find", "transfer", "bb_lig"))
    assert find["evaluations"] == pytest.approx(100 + 480 * 250)
    assert transfer["evaluations"] + maps["evaluations"] == pytest.approx(64_100)
    assert find["queries"] == pytest.approx(1 + 480)
    assert transfer["queries"] + maps["queries"] == pytest.approx(1 + 2 * 128)
    assert all(result[key]["scaled"] for key in ("find", "transfer", "bb_lig"))


def test_our_cost_is_what_the_domain_says(result):
    assert result["find"]["ours"]["evaluations"] == 5 + 5 * 480
    assert result["transfer"]["ours"]["evaluations"] == 5 + 5 * (7 + 4)  # 4 halvings
    assert result["bb_lig"]["ours"]["evaluations"] == 0
    assert result["bb_lig"]["ours"]["queries"] == 0
    ratios = result["find"]["ratio"]
    assert ratios["evaluations"] == pytest.approx(120_100 / (5 + 5 * 480))
    assert result["bb_lig"]["ratio"]["evaluations"] is None


def test_the_domains_own_search_of_few_queries_stands_beside_the_papers(domain):
    own = replace(domain, search=domain.search.changed(sampling="prior"))
    images = torch.cat([domain.load_image(path) for path in domain.examples])
    size = paper_comparison.Size(
        samples=32, paper_samples=9, paper_images=1, paper_points=5, growth=(), live_images=2
    )
    few = paper_comparison.compare(own, images, "a", size)
    tries = 2 * len(domain.examples)  # g is tried on each example, in two steps
    assert few["few"]["samples"] == 64
    assert few["few"]["ours"]["queries"] == 64 + tries
    assert few["few"]["paper"] == few["find"]["paper"] and few["few"]["scaled"]
    assert few["agreement"]["find"]["flip_rate_few"] == 1


def test_equal_answers_agree(result):
    agreement = result["agreement"]
    assert agreement["find"]["cosine_g"] > 0.99
    assert agreement["find"]["logit_rank_correlation"] > 0.99
    assert agreement["find"]["samples"] == 32
    assert set(agreement["find"]["flip_rate_of_g"]) == {"paper", "ours_same_samples", "ours"}
    assert agreement["transfer"]["flip_rate_paper"] == agreement["transfer"]["flip_rate_ours"] == 1
    # The same points but for the grid: 16 against 7, and 0.1 / 25 of brightness.
    assert agreement["transfer"]["lpips_between_counterfactuals"] < 0.1
    assert agreement["bb_lig"]["rank_correlation"] > 0.7


def test_the_live_decoder_is_compared_with_the_full_one(domain, result):
    live = result["agreement"]["live"]
    assert (live["images"], live["points"]) == (3, 3 * 7)
    assert (live["evaluations_full"], live["evaluations_live"]) == (5, 2)
    off = 0.1 / 2**2 - 0.1 / 5**2  # of brightness, everywhere
    assert live["mae"] == pytest.approx(off, abs=1e-4)
    assert live["lpips"] == pytest.approx(off, abs=1e-4)
    generator, classifier = domain.generator, domain.classifier
    changed = classifier(torch.full((1, 1, 16, 16), 0.5 + off))[0, 0]
    same = classifier(torch.full((1, 1, 16, 16), 0.5))[0, 0]
    assert live["logit_difference"] == pytest.approx(abs(changed - same).item(), abs=1e-3)
    assert live["logit_rank_correlation"] > 0.999
    generator.live_solver = None
    try:
        images = domain.load_image(domain.examples[0])
        assert paper_comparison._agreement_of_decoders(domain, images, None, "a") is None
    finally:
        del generator.live_solver


def test_what_is_not_scaled_says_so(domain):
    images = domain.load_image(domain.examples[0])
    size = paper_comparison.Size(samples=16, paper_samples=16, paper_images=1, growth=())
    result = paper_comparison.compare(domain, images, "a", size)
    assert not result["find"]["scaled"] and not result["transfer"]["scaled"]
    assert result["find"]["paper"]["evaluations"] == 100 + 16 * 250
    assert set(result["agreement"]["find"]["flip_rate_of_g"]) == {"paper", "ours"}


def test_lengthened_scales_all_but_the_fixed_part():
    cost, fixed = Cost(100 + 250, 1 + 1, 3.0), Cost(100, 1, 1.0)
    assert paper_comparison._lengthened(cost, fixed, 4) == Cost(100 + 1000, 1 + 4, 9.0)
    assert paper_comparison._lengthened(cost, fixed, 4, keep=False) == Cost(1000, 4, 8.0)


def test_growth_counts_every_size(domain):
    rows = paper_comparison.growth(domain, domain.load_image(domain.examples[0]), "a", (16, 32))
    assert [(row["samples"], row["evaluations"]) for row in rows] == [(16, 85), (32, 165)]


def test_slider_latency_is_in_milliseconds_and_in_order(domain):
    latency = speed.slider_latency(domain, domain.load_image(domain.examples[0]), moves=20)
    assert latency["moves"] == 20
    for name in ("full", "live"):
        assert 0 < latency[name]["p50_ms"] <= latency[name]["p95_ms"]
    assert latency["ratio"] == latency["full"]["p50_ms"] / latency["live"]["p50_ms"]


def test_matmul_share_counts_the_work_of_decoding(domain):
    share = speed.matmul_share(domain, domain.load_image(domain.examples[0]), batch=4)
    # The linear generator decodes with one product of (batch, 8) and (8, 256).
    assert share["gflop_per_image"] == pytest.approx(2 * 8 * 256 / 1e9)
    assert share["share_of_fp32"] == pytest.approx(share["gflops"] / share["fp32_gflops"])


def test_start_up_waits_for_the_page(domain, tmp_path):
    app = tmp_path / "app.py"
    app.write_text(PAGE)
    started = speed.start_up(domain, app, timeout=30)
    assert 0 < started["seconds"] < 30
    if sys.platform == "linux":
        assert started["idle_memory_mib"] > 1
    app.write_text("raise SystemExit(1)")
    assert speed.start_up(domain, app, timeout=30) is None


def test_short_form_has_counts_and_agreement_but_no_seconds(domain, tmp_path, capsys):
    out = tmp_path / "bench.json"
    assert main(["bench", "--domain", "linear", "--short", "--json", str(out)]) == 0
    text = out.read_text()
    result = json.loads(text)
    assert "seconds" not in text and "memory" not in text
    assert result["find"]["paper"]["evaluations"] == 100 + 32 * 250
    assert result["transfer"]["paper"]["evaluations"] == 32_100
    assert result["agreement"]["find"]["cosine_g"] > 0.9
    printed = capsys.readouterr().out
    assert "scaled by count" in printed and "seconds" not in printed


def test_the_papers_side_decodes_whatever_ours_shows(domain, tmp_path):
    out = tmp_path / "bench.json"
    assert (
        main(["bench", "--domain", "linear", "--short", "--detail", "source", "--json", str(out)])
        == 0
    )
    result = json.loads(out.read_text())
    assert result["detail"] == "source" and domain.detail == "decoded"
    assert result["find"]["paper"]["evaluations"] == 100 + 32 * 250
    assert result["find"]["ours"]["evaluations"] == 5 + 5 * (32 + 1)  # the source is decoded too
    assert result["transfer"]["ours"]["evaluations"] == 5 + 5 * (7 + 4)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--samples", "0"], "--samples"),
        (["--samples", "64", "--paper-samples", "100"], "cannot be more"),
        (["--split", "test"], "--images"),
        (["--label", "nothing"], "'nothing'"),
        (["--paper-images", "0"], "--paper-images"),
    ],
)
def test_bad_settings_are_told_in_one_line(domain, capsys, options, message):
    assert main(["bench", "--domain", "linear", *options]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") and message in printed and printed.count("\n") == 1


@pytest.mark.nightly
@pytest.mark.skipif(
    not (BUNDLED / "chest-xray" / "domain.toml").is_file(), reason="the bundled domain is missing"
)
def test_short_form_on_the_bundled_domain(tmp_path):
    """Our settings cost a small part of the paper's and answer alike, on the real networks."""
    out = tmp_path / "bench.json"
    assert main(["bench", "--domain", "chest-xray", "--short", "--json", str(out)]) == 0
    result = json.loads(out.read_text())
    assert result["find"]["paper"]["evaluations"] == 100 + 32 * 250
    assert result["transfer"]["paper"]["evaluations"] == 32_100
    assert result["bb_lig"]["ours"]["evaluations"] == 0
    assert result["find"]["ratio"]["evaluations"] > 10
    assert result["agreement"]["find"]["logit_rank_correlation"] > 0.8
    assert result["agreement"]["transfer"]["lpips_between_counterfactuals"] < 0.1
    assert result["agreement"]["bb_lig"]["rank_correlation"] > 0.5
