"""The report of a session: what is on screen, all of it of one moment."""

from __future__ import annotations

import csv
import datetime
import io
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from gcd_core.errors import GCDError
from gcd_core.method.attribution import explain_path
from gcd_core.report.captions import exposure_words
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.frames import line_vector
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.views import curve, exports
from gcd_core.ui.views.exports import _pictures, report_of, save_path, save_report
from gcd_core.wording import PLAIN, percent
from tests.ui.fakes import own_picture
from tests.ui.waiting import wait_for_paths


@pytest.fixture
def session(visitors: Visitors, service: ModelService) -> Session:
    session = visitors.session("somebody")
    image = service.domain.load_image(service.domain.examples[1])
    session.open_image(image, "Musterfrau.png", notice="A word of warning.")
    return session


def test_it_holds_what_is_on_screen(session: Session):
    image = session.image
    frame = image.sliders.move({"g": -3.0, "h2": 1.0}, "g")
    report = report_of(session)
    assert report.changed is frame.image and report.source is image.opened.image
    assert [label.after for label in report.labels] == list(frame.probabilities)
    assert [label.before for label in report.labels] == list(image.opened.source.probabilities)
    assert [label.positive for label in report.labels] == ["Pneumonia", "Bacterial"]
    assert report.alphas == [("g", -3.0), ("h2", 1.0)] and report.distance == frame.distance
    assert report.curve.direction == "g + h2" and report.curve.proxy == []
    assert report.curve.here == (
        pytest.approx(line_vector(image.directions, {"g": -3.0, "h2": 1.0})[1]),
        frame.probabilities[0],
    )
    assert report.curve.measured[0][0] == -6.0, "the line goes on at either side"
    path, end = image.maps.line()
    attribution = explain_path(path, until=end)
    assert torch.equal(report.heat, attribution.map)
    assert report.completeness_error == attribution.completeness_error
    tone = exposure_words(image.exposure.share, 1)
    assert report.warnings == ["A word of warning.", tone] and image.exposure.share > 0.25
    assert report.time.date() == datetime.date.today()
    assert report.name == image.opened.name and report.margin is None and report.target == ""
    assert report.name == "Musterfrau.png", "its owner's to keep"


def test_it_prints_the_map_that_the_page_leads_with(session: Session):
    session.service.domain.better_map = "cells"
    session.image.sliders.move({"g": -3.0}, "g")
    report = report_of(session)
    assert report.map_method == "cells"
    assert torch.equal(report.heat, session.image.maps.get("cells").map)
    assert report.agreement is not None, "the other one is there too"


def test_the_gravest_warning_is_the_first(session: Session):
    domain = session.service.domain
    kind = replace(domain.label_info["bacterial"], given="pneumonia", auroc=0.7)
    domain.label_info = {**domain.label_info, "bacterial": kind}
    session.explain("bacterial")
    image = session.image
    well = replace(image.opened.source, probabilities=(0.01, 0.3))
    image.opened = replace(image.opened, source=well)
    report = report_of(session)
    assert "asked of Pneumonia only; in the original" in report.warnings[0]
    assert report.warnings[1] == "A word of warning." and "is weak here" in report.warnings[-1]
    assert report.labels[1].premise == report.labels[0]


def test_one_direction_alone_and_none_at_all(session: Session):
    assert report_of(session).alphas == []
    session.image.sliders.move({"h1": 2.0})
    report = report_of(session)
    assert report.curve.direction == "h1" and report.curve.here[0] == 2.0
    assert report.curve.measured[0][0] == -6.0 and report.curve.measured[-1][0] == 6.0


def test_it_waits_for_a_move_that_is_under_way(session: Session, monkeypatch: pytest.MonkeyPatch):
    image = session.image
    image.sliders.path_now("g")
    decode, entered, released = session.service.decode_live, threading.Event(), threading.Event()

    def slow(*args):
        entered.set()
        assert released.wait(60)
        return decode(*args)

    monkeypatch.setattr(session.service, "decode_live", slow)
    mover = threading.Thread(target=image.sliders.move, args=({"g": -1.234}, "g"))
    mover.start()
    assert entered.wait(60)
    with pytest.raises(GCDError, match="still being decoded"):
        image.sliders.still(patience=0.1)
    reports: list = []
    reader = threading.Thread(target=lambda: reports.append(report_of(session)))
    reader.start()
    released.set()
    reader.join(60), mover.join(60)
    assert reports[0].alphas == [("g", -1.234)]
    assert reports[0].changed is image.sliders.current.image


@pytest.mark.slow
def test_it_is_written_to_the_sessions_own_folder(session: Session):
    file = save_report(session, "pdf")
    assert file.parent == session.folder and file.read_bytes().startswith(b"%PDF")
    session.close()
    assert not file.exists()


def test_there_is_nothing_to_report_without_an_image_or_directions(visitors: Visitors):
    session = visitors.session("somebody")
    with pytest.raises(GCDError, match="nothing to report"):
        report_of(session)


def test_the_path_goes_home_as_a_table(session: Session):
    session.image.sliders.move({"h1": 1.9})
    path = session.image.sliders.path_now("h1")
    file = save_path(session)
    assert file.name == "path-pneumonia-h1.csv" and file.parent == session.folder
    with file.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    columns = ["alpha", "pneumonia", "bacterial", "lpips", "cf_loss", "shown", "direction", "name"]
    assert list(rows[0]) == columns
    assert {(row["direction"], row["name"]) for row in rows} == {("h1", "Way 1")}
    (shown,) = [row for row in rows if row["shown"] == "1"]  # between two points of the path
    rows.remove(shown)
    frame = session.image.sliders.current
    assert (float(shown["alpha"]), float(shown["lpips"])) == (1.9, frame.distance)
    assert float(shown["pneumonia"]) == frame.probabilities[0]
    for name, values in {
        "alpha": path.alphas,
        "pneumonia": path.probabilities,
        "bacterial": path.all_probabilities[:, 1],
        "lpips": path.distances,
        "cf_loss": path.losses,
    }.items():
        assert [float(row[name]) for row in rows] == values.tolist()


def test_a_mixs_line_goes_home_with_how_far_along_each_direction(session: Session):
    moved = {"g": -3.0, "h2": 1.0}
    session.image.sliders.move(moved)
    file = save_path(session)
    assert file.name == "path-pneumonia-g-h2.csv"
    with file.open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert {row["direction"] for row in rows} == {"g + h2"}
    (shown,) = [row for row in rows if row["shown"] == "1"]
    vector, length = line_vector(session.directions, moved)
    assert float(shown["alpha"]) == pytest.approx(length)
    assert float(shown["pneumonia"]) == session.image.sliders.current.probabilities[0]
    for row in rows:
        place = [float(row[f"alpha_{name}"]) * session.directions[name].vector for name in moved]
        torch.testing.assert_close(sum(place), float(row["alpha"]) * vector)
    rows.remove(shown)
    far = rows[-1]  # asked of the picture at that place
    alone = {name: float(far[f"alpha_{name}"]) for name in moved}
    expected = session.image.sliders.frame_in_full(alone).probabilities[0]
    assert float(far["pneumonia"]) == pytest.approx(expected, abs=1e-4)


def test_where_asking_costs_a_mix_goes_home_as_it_was_asked_for_the_curve(session: Session):
    classifier = session.service.domain.classifier
    wait_for_paths(session)  # they ask it too
    classifier.budget = 10_000
    session.image.sliders.move({"g": -3.0, "h2": 1.0})
    line = session.image.maps.line_now()
    session.image.sliders.still()
    before = classifier.queries
    with save_path(session).open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table))
    assert classifier.queries == before, "nothing more is asked"
    assert [float(row["alpha"]) for row in rows] == sorted(line.alphas.tolist())
    (shown,) = [row for row in rows if row["shown"] == "1"]
    assert float(shown["alpha"]) == pytest.approx(float(line.alphas[-1]))
    assert line.alphas[-1] < 0, "on g's side"


def test_a_report_in_plain_words_lists_how_far_along_each_way(session: Session):
    session.image.sliders.move({"g": -3.0, "h2": 1.0})
    settings = dict(report_of(session, PLAIN).settings)
    assert settings["Strength"] == "\N{MINUS SIGN}3.00 Main way, +1.00 Way 2"
    session.image.sliders.move({"g": -3.0})
    assert "Strength" not in dict(report_of(session, PLAIN).settings), "with the numbers"


def test_a_report_says_what_was_expected_and_a_second_opinion_that_moves_alone(
    session: Session, monkeypatch: pytest.MonkeyPatch
):
    session.image.sliders.move({"g": -1.0})
    quiet = report_of(session).warnings
    assert not any("expected" in told or "second opinion" in told for told in quiet)
    frame, _ = session.image.sliders.still()
    far = 0.9 if frame.probabilities[0] < 0.5 else 0.1
    monkeypatch.setattr(curve, "proxy_curve", lambda _: [(-6.0, far), (6.0, far)])
    monkeypatch.setattr(exports, "moves_alone", lambda _: True)
    told = report_of(session, PLAIN).warnings
    said = f"The search expected {percent(far)} here; the classifier says "
    assert any(warning.startswith(said) for warning in told)
    assert any("second opinion changes its answer where the classifier" in one for one in told)


def test_a_deep_files_counterfactual_goes_home_in_16_bits(visitors: Visitors):
    visitors.service.domain.detail = "source"
    session = visitors.session("owner")
    deep = replace(own_picture((300, 200)), bits=16)
    for picture, names in ((deep, {"g.png", "g-16bit.png"}), (own_picture((300, 200)), {"g.png"})):
        session.open_image(picture, "mine.dcm")
        path = session.image.sliders.path_now("g")
        found = _pictures(session.image, [path])
        assert found.keys() == names | {"original.png", "g-map.png"}
        for name in names:
            levels = np.asarray(Image.open(io.BytesIO(found[name])))
            most = 65535 if "16bit" in name else 255
            assert levels.dtype == ("uint16" if most > 255 else "uint8")
            whole = path.picture(path.counterfactual)[0, 0].numpy()
            np.testing.assert_allclose(levels / most, whole, atol=0.51 / most)
