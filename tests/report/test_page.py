"""The page to take home: what stands on it, where, and what never does."""

import datetime
import functools
import io
import re
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from gcd_core.domains.file import Label
from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet
from gcd_core.report import page as pages
from gcd_core.report.content import (
    Curve,
    LabelChange,
    Report,
    TriedRegion,
    identity_rows,
    label_changes,
    position,
    settings_rows,
)
from gcd_core.report.page import NOTICE, notice, shown_labels, write_report
from gcd_core.report.regions import SIDE, TOP, surrounds
from gcd_core.wording import PLAIN
from tests.fields_words import FIELDS_WORDS

ALPHAS = [i / 8 - 2 for i in range(33)]
MODELS = ("generator", "classifier", "perceptual")
LONG = "Enlarged cardiomediastinum with an extraordinarily long name that no line can hold at all"


def example(count: int = 2, channels: int = 1, **changes: object) -> Report:
    """A report of `count` labels on an image whose left half is white."""
    source = torch.zeros(1, channels, 32, 32)
    source[..., :16] = 1
    if channels == 3:
        source[:, 1:] = 0
    labels = [LabelChange("Normal", "Pneumonia", 0.9, 0.25)]
    labels += [
        LabelChange("no", f"Finding {i}", i / 50, (i * 7 % 50) / 50) for i in range(1, count)
    ]
    curve = Curve("g", [(a, 1 / (1 + 2 ** (-3 * a))) for a in ALPHAS], (), (-1.5, 0.25))
    return replace(
        Report(
            title="Pneumonia",
            domain="Chest radiographs",
            labels=labels,
            explained=0,
            source=source,
            changed=source.flip(-1),
            heat=torch.randn(32, 32, generator=torch.Generator().manual_seed(0)),
            alphas=[("g", -1.5)],
            distance=0.1234,
            curve=curve,
            completeness_error=-0.0456,
            settings=[("Domain", "chest-xray"), ("Solver", "ddim, 20 steps")],
            identities=[("Generator", "c752ec85f18120cc"), ("Classifier", "596d0f406d29c0d5")],
            notice="Nothing here is a patient's.",
            name="mine.png",
            time=datetime.datetime(2026, 3, 7, 14, 5, tzinfo=datetime.UTC),
            margin=0.25,
        ),
        **changes,
    )


def crowded(count: int, channels: int = 1) -> Report:
    """One with everything too long and too many."""
    plain = example(count, channels)
    return replace(
        plain,
        title=LONG,
        domain=LONG * 2,
        labels=[replace(label, positive=f"{LONG} {label.positive}") for label in plain.labels],
        alphas=[(f"h{i}", 1.25 * i) for i in range(1, 9)],
        warnings=["This looks like a colour photograph.", f"{LONG}: {LONG}, {LONG}."],
        settings=[(LONG, LONG)] * 5,
        identities=[("Generator", "c" * 300)] * 4,
        notice=LONG * 2,
    )


def drawn(report: Report) -> np.ndarray:
    """The PNG's pixels (rows, columns, 3)."""
    buffer = io.BytesIO()
    write_report(buffer, report, "png")
    return np.asarray(Image.open(buffer).convert("RGB")).astype(int)


def pdf(report: Report) -> bytes:
    buffer = io.BytesIO()
    write_report(buffer, report)
    return buffer.getvalue()


@functools.cache
def plain_pdf() -> bytes:
    """The PDF of `example()`."""
    return pdf(example())


def text_of(report: Report) -> str:
    """What a reader of the PDF can search, white space made even."""
    pypdf = pytest.importorskip("pypdf", reason="the package pypdf is missing")
    document = pypdf.PdfReader(io.BytesIO(pdf(report)))
    assert len(document.pages) == 2
    told = " ".join(page.extract_text() for page in document.pages)
    return " ".join(told.split()).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


def millimetres(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """The pixel at a place on the first page."""
    return image[round(y / 594 * len(image)), round(x / 210 * image.shape[1])]


def near(image: np.ndarray, colour: str) -> np.ndarray:
    """Which pixels (rows, columns) have a colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(image - wanted) <= 2).all(-1)


@pytest.mark.parametrize("count", [1, 40])
def test_the_pdf_is_two_a4_pages_of_vectors(count):
    data = pdf(example(count))
    assert data.startswith(b"%PDF-1.") and data.rstrip().endswith(b"%%EOF")
    assert re.search(rb"/Count 2\b", data)
    box = re.search(rb"/MediaBox \[ ?([\d. ]+) ?\]", data).group(1).split()
    assert [float(n) / 72 * 25.4 for n in box] == pytest.approx([0, 0, 210, 297], abs=0.1)
    assert data.count(b"/Subtype /Image") <= 6, "text, bars and curves are not pictures"


def test_the_pdf_says_what_is_on_screen():
    text = text_of(example(2, warnings=["This is a colour photograph."]))
    for part in (
        "Pneumonia: what would change the classifier's mind",
        "Pneumonia 90 %; changed along g by −1.50, 25 %: the prediction flips.",
        "Wanted: Pneumonia 25 % or less. This was met.",
        "32 × 32 pixels",
        "mine.png",
        "page 1 of 2",
        "This is a colour photograph.",
        "Counterfactual",
        "BB-LIG heat map",
        "Finding 1",
        "90 % → 25 % · flips",
        "LPIPS 0.123",
        "Completeness error −0.046",
        "c752ec85f18120cc",
        "596d0f406d29c0d5",
        "ddim, 20 steps",
        "threshold",
        "7 March 2026, 14:05 UTC",
        "Research use only. Not a medical device",
        "Nothing here is a patient's.",
    ):
        assert part in text
    assert NOTICE.split(":")[0] in text and text.count("mine.png") == 2


def test_a_synthetic_original_says_so():
    assert "Original, synthetic" in text_of(example(synthetic=True))
    assert "Original, synthetic" not in text_of(example())


def test_there_is_one_disclaimer():
    usual = notice(example())
    assert usual.count("edical device") == 1 and "Nothing here is a patient's." in usual
    own = "For teaching. Not a medical device; not for diagnosis."
    assert notice(example(notice=own)) == f"{own} {NOTICE}"
    assert text_of(example(notice=own)).count("edical device") == 1


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (0.9, 0.25, "Wanted: Pneumonia 25 % or less. This was met."),
        (0.9, 0.4, "Wanted: Pneumonia 25 % or less. This was missed."),
        (0.1, 0.75, "Wanted: Pneumonia 75 % or more. This was met."),
        (0.1, 0.6, "Wanted: Pneumonia 75 % or more. This was missed."),
    ],
)
def test_the_target_is_told_and_whether_it_was_met(before: float, after: float, told: str):
    report = example(1, labels=[LabelChange("Normal", "Pneumonia", before, after)])
    assert report.target == told
    assert replace(report, alphas=[]).target == "" == replace(report, margin=None).target


def test_in_plain_words_no_word_of_the_field_is_read():
    about = {"settings": {"n_samples": 300, "lam": 1.0, "solver": "ddim"}, "seed": 2**62 + 1}
    named = {"g": "Main way", "h1": "Way 1", "w1": "Upper left"}
    curve = Curve("g + w1", [(a, 0.5) for a in ALPHAS], [(-2, 0.1), (2, 0.9)], (-1.5, 0.25))
    found = DirectionSet(["g"], torch.eye(1, 4), {"label": "a"} | about)
    domain = SimpleNamespace(
        title="Chests",
        label_info={"a": SimpleNamespace(title="Pneumonia")},
        **{part: SimpleNamespace(identity=part[:3]) for part in MODELS},
    )
    for moved in ([("g", -1.5), ("w1", 1.0)], []):
        report = example(
            words=PLAIN,
            called=named,
            curve=curve,
            alphas=moved,
            oracle=(0.9, 0.3),
            settings=settings_rows(domain, "a", found, moved, PLAIN),
            identities=identity_rows(domain, found, PLAIN),
        )
        text = text_of(report)
        assert not FIELDS_WORDS.findall(text)
        assert str(2**62 + 1) in text and "300 pictures" in text
    assert "Perceptual" not in text, "its name is a word of the field"
    text = text_of(replace(report, steered=True, alphas=[("rcsb", -1.0)]))
    assert "drawn anew" in text and not FIELDS_WORDS.findall(text)


@pytest.mark.slow
def test_a_prediction_that_stays_is_not_called_a_counterfactual():
    labels = [LabelChange("Normal", "Pneumonia", 0.9, 0.6)]
    text = text_of(example(1, labels=labels, alphas=[("g", -0.5), ("h2", 1.0), ("h3", -0.25)]))
    assert "the prediction stays as it was" in text and "Counterfactual Pneumonia" not in text
    assert "changed along g by −0.50, h2 by +1.00 and h3 by −0.25" in text
    assert "encoded and decoded without a change" in text_of(example(1, alphas=[]))


def test_the_curve_is_of_the_line_along_all_directions():
    curve = replace(example().curve, direction="g + h1", proxy=[(-2, 0.1), (2, 0.9)])
    text = text_of(example(curve=curve, alphas=[("g", -1.5), ("h1", 1.0)]))
    assert "Pneumonia along g + h1" in text and "classifier" in text and "proxy" in text
    assert "distance in z_sem, along all together" in text


def test_what_a_bridge_drew_is_no_walk():
    curve = replace(example().curve, direction="rcsb", here=(-1.0, 0.25))
    text = text_of(example(curve=curve, alphas=[("rcsb", -1.0)], steered=True, region=0.18))
    assert "drawn anew by the bridge, inside 18 % of the picture alone, 25 %" in text
    assert "Change 100 % of what the bridge made" in text and "Alpha" not in text
    assert "on the way to the change" in text and "along a direction" not in text
    text = text_of(example(region=0.18))
    assert "changed along g by −1.50, inside 18 % of the picture alone" in text


@pytest.mark.slow
def test_the_png_is_two_a4_pages_at_200_dpi():
    assert drawn(example()).shape[:2] == pytest.approx((2 * 2339, 1654), abs=2)


@pytest.mark.parametrize(
    "report",
    [
        example(5, 3),
        example(14, warnings=["One."]),
        crowded(2),
        crowded(5, 3),
        crowded(40),
    ],
    ids=["5", "14", "crowded 2", "crowded 5", "crowded 40"],
)
def test_nothing_leaves_the_margins_or_runs_into_the_foot(report, monkeypatch):
    monkeypatch.setattr(pages, "DPI", 100)
    ink = (drawn(report) < 250).any(-1)
    first, ink = ink[: len(ink) // 2], ink[len(ink) // 2 :]
    height, width = ink.shape
    inside = slice(round(15 / 210 * width), round(195 / 210 * width))
    rows = slice(round(12 / 297 * height), round(291 / 297 * height))
    for page in (first, ink):
        assert not page[:, : inside.start].any() and not page[:, inside.stop :].any()
        assert not page[: rows.start].any() and not page[rows.stop :].any()
    above_foot = slice(*(round(y / 297 * height) for y in (pages.FOOT - 2, pages.FOOT - 0.5)))
    assert not ink[above_foot].any()
    above_notice = slice(*(round(y / 297 * height) for y in (275.5, 276.5)))
    assert not ink[above_notice].any() and not first[above_notice].any()
    gutter = slice(*(round(x / 210 * width) for x in (102, 109)))
    middle = slice(*(round(y / 297 * height) for y in (185, pages.FOOT - 0.5)))
    assert not ink[middle, gutter].any(), "the columns keep apart"


def regions(count: int, words: str = "") -> list[TriedRegion]:
    """Some whose change is white inside the upper left quarter, and nothing elsewhere."""
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[:16, 16:] = True
    changed = example().source.masked_fill(mask, 1.0)
    return [
        TriedRegion(
            f"Region {i}, 25 % of the picture",
            f"{words}Told {i}.",
            -2.0 if i > 1 else None,
            "g + h1",
            mask,
            changed,
            "90 %",
            "25 %",
        )
        for i in range(1, count + 1)
    ]


@pytest.mark.parametrize(("count", "sheets"), [(0, 2), (1, 3), (3, 3), (4, 4)])
def test_each_region_that_was_tried_has_its_pictures(count: int, sheets: int, monkeypatch):
    monkeypatch.setattr(pages, "DPI", 100)
    report = example(2, regions=regions(count))
    assert re.search(rb"/Count %d\b" % sheets, pdf(report))
    image = drawn(report)
    assert round(image.shape[0] / image.shape[1] * 210 / 297) == sheets
    if not count:
        return
    third = image[2 * len(image) // sheets : 3 * len(image) // sheets]
    scale = len(third) / 297
    rows = slice(round((TOP + 3) * scale), round((TOP + 1 + SIDE) * scale))
    outline = near(third, "#40d9ff")[rows].any(0).nonzero()[0] / scale  # in millimetres
    for i in range(2):  # original and changed have it
        left = 17 + i * (SIDE + 4)
        assert ((outline > left + SIDE / 2 - 1) & (outline < left + SIDE)).any()
    assert not (outline > 17 + 2 * (SIDE + 4)).any(), "the difference has none"
    inside = third[round((TOP + 2 + SIDE / 4) * scale), round((17 + 1.75 * SIDE + 4) * scale)]
    assert (inside > 250).all(), "white, as it was changed"


def test_what_came_of_a_region_is_told_in_its_words(monkeypatch):
    pypdf = pytest.importorskip("pypdf", reason="the package pypdf is missing")
    for words, name in (("plain", "by Main way + Way 1"), ("expert", "by g + h1")):
        document = pypdf.PdfReader(io.BytesIO(pdf(example(2, words=words, regions=regions(2)))))
        told = " ".join(document.pages[2].extract_text().split())
        assert "page 3 of 3" in told and told.count(name) == 2
        for part in (
            "Region 1, 25 % of the picture: changed inside of the outline",
            "Told 1.",
            "Region 2",
            "Told 2.",
        ):
            assert part in told
        strength = {"plain": "strength", "expert": "alpha"}[words]
        assert told.count(f"{name}, {strength} −2.00") == 1
        assert told.count("yellow brighter, green darker") == 2
        assert told.count("Pneumonia 90 %") == told.count("Pneumonia 25 %") == 2


def test_a_region_around_its_outline_is_said_to_lie_outside_of_it() -> None:
    mask = torch.zeros(24, 24, dtype=torch.bool)
    mask[4:12, 4:12] = True
    left = mask.clone()
    left[:, :8] = True
    assert [surrounds(one) for one in (mask, ~mask, left)] == [False, True, False]
    pypdf = pytest.importorskip("pypdf", reason="the package pypdf is missing")
    around = replace(regions(1)[0], mask=~regions(1)[0].mask)
    text = pypdf.PdfReader(io.BytesIO(pdf(example(2, regions=[around])))).pages[2].extract_text()
    assert "changed outside of the outline" in " ".join(text.split())


def test_regions_stay_within_the_margins(monkeypatch):
    monkeypatch.setattr(pages, "DPI", 100)
    ink = (drawn(example(2, regions=regions(3, f"{LONG} " * 9), title=LONG)) < 250).any(-1)
    third = ink[2 * len(ink) // 3 :]
    rows, columns = third.any(1).nonzero()[0] / 100 * 25.4, third.any(0).nonzero()[0] / 100 * 25.4
    assert rows[0] > 12 and rows[-1] < 287 and columns[0] > 15 and columns[-1] < 195


@pytest.mark.slow
@pytest.mark.parametrize("words", ["plain", "expert"])
def test_the_second_page_is_not_half_empty(words: str, monkeypatch):
    monkeypatch.setattr(pages, "DPI", 100)
    report = example(2, words=words, oracle=(0.9, 0.3), settings=[("Way", f"{LONG} " * 3)])
    ink = (drawn(report) < 250).any(-1)
    rows = ink[len(ink) // 2 :].any(1).nonzero()[0] / 100 * 25.4  # in millimetres
    assert rows[-1] > 225 and np.diff(rows).max() < 20
    assert text_of(report).count("that no line can hold at all") == 3, "settings are whole"


@pytest.mark.slow
def test_pictures_are_the_images():
    image = drawn(example())
    side = pages.HALF
    assert side >= 0.95 * pages.INNER / 2, "half of the page's width for each"
    top = next(
        y for y in np.arange(45, 60, 0.1) if millimetres(image, pages.MARGIN + 70, y).max() < 9
    )
    for place, left, right in ((0, 255, 0), (1, 0, 255)):
        x = pages.MARGIN + place * (side + pages.GAP)
        assert (millimetres(image, x + 0.2 * side, top + side / 2) == left).all()
        assert (millimetres(image, x + 0.8 * side, top + side / 2) == right).all()
    x, below = pages.MARGIN, top + side + 30  # the left half grew darker, the right half brighter
    red, _, blue = np.moveaxis(
        np.array([millimetres(image, x + s * side, below) for s in (0.2, 0.8)]), 1, 0
    )
    assert blue[0] > red[0] and red[1] > blue[1]


@pytest.mark.slow
def test_colour_stays():
    image = drawn(example(channels=3))
    assert near(image, "#ff0000").sum() > 10_000


@pytest.mark.parametrize("before, after", [(0.9, 0.25), (0.1, 1.0)])
@pytest.mark.slow
def test_bars_are_as_long_as_probabilities(before, after):
    image = drawn(example(1, labels=[LabelChange("no", "yes", before, after)]))
    column = slice(0, round((pages.MARGIN + pages.COLUMN + 1) / 210 * image.shape[1]))
    for colour, share in ((pages.BEFORE, before), (pages.ACCENT, after)):
        longest = near(image[:, column], colour).sum(1).max()
        wanted = share * pages.COLUMN / 210 * image.shape[1]
        assert longest == pytest.approx(wanted, abs=4)  # the threshold's tick covers some pixels


def test_too_many_labels_are_cut_to_those_that_change_most():
    report = example(40)
    shown = shown_labels(report)
    assert shown[0] == 0 and len(set(shown)) == 12
    change = [abs(label.after - label.before) for label in report.labels]
    left_out = set(range(40)) - set(shown)
    assert min(change[i] for i in shown[1:]) >= max(change[i] for i in left_out)
    assert shown_labels(example(12)) == list(range(12))
    moved = replace(report, explained=31)
    assert shown_labels(moved)[0] == 31
    assert "12 of 40 labels" in text_of(report)


def test_long_names_are_cut_where_they_end():
    text = text_of(crowded(40))
    assert "12 of 40 labels" in text, "warnings take no room of the numbers'"
    assert text.count("…") > 5
    assert ": what would change the classifier's mind" in text


def test_names_are_text_and_no_formulas():
    name = r"$\frac{1}{0}$ & 50 % <b>#_^{"
    report = example(2, labels=[LabelChange(name, name, 0.9, 0.1)], title=name)
    assert name in text_of(report)


@pytest.mark.slow
def test_the_same_report_is_the_same_file():
    assert pdf(example()) == plain_pdf(), "no time, no random number"
    about = re.findall(rb"/(?:Author|CreationDate|ModDate|Title|Producer)\b", plain_pdf())
    assert about == []


@pytest.mark.slow
def test_files_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    file = tmp_path / "r.pdf"
    write_report(file, example())
    assert file.read_bytes() == plain_pdf()
    with pytest.raises(GCDError, match="'exe'"):
        write_report(tmp_path / "r.exe", example(), "exe")
    with pytest.raises(GCDError, match="cannot be written"):
        write_report(tmp_path / "nowhere" / "r.pdf", example())
    monkeypatch.setattr(pages, "_foot", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(file, example())
    assert [path.name for path in tmp_path.iterdir()] == ["r.pdf"]
    assert file.read_bytes().startswith(b"%PDF")


@pytest.mark.slow
def test_threads_do_not_disturb_each_other():
    wanted, results = plain_pdf(), []
    threads = [threading.Thread(target=lambda: results.append(pdf(example()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [wanted] * 2


def test_a_position_names_every_direction_moved_along():
    assert position([]) == "at the start: encoded and decoded only"
    assert position([("g", -1.5), ("h2", 0.25)]) == "−1.50 g, +0.25 h2"


def test_settings_and_identities(tmp_path):
    from gcd_core.generators.sampling import Sampling
    from gcd_core.method.directions import DirectionSet
    from tests.evaluation.domain import CODE, linear_domain

    domain = linear_domain(tmp_path)
    about = {"label": "a", "seed": 5, "settings": {"n_samples": 300, "radius": 8.0, "lam": 1.0}}
    found = DirectionSet(["g"], torch.eye(1, CODE), about | {"classifier": "abc"})
    rows = dict(settings_rows(domain, "a", found, [("g", -1.5)]))
    assert rows["Domain"] == "linear" and rows["Position"] == "−1.50 g" and "Solver" not in rows
    assert rows["Directions found by"] == "samples 300, radius 8, λ 1" and rows["Seed"] == "5"
    domain.generator.sampling = Sampling("ddim", 100, 250)
    assert dict(settings_rows(domain, "a", found, []))["Solver"].startswith("ddim, 100 steps")
    identities = dict(identity_rows(domain, found))
    assert identities["Generator"] == domain.generator.identity
    assert identities["Directions found for"] == "abc"
    strange = DirectionSet(["g"], torch.eye(1, CODE), {"label": "a", "settings": "x", "seed": "y"})
    assert dict(settings_rows(domain, "a", strange, []))["Directions found by"] == "not recorded"


def test_the_map_of_cells_is_named_and_where_it_differs_from_bb_lig_that_is_said():
    text = text_of(example(2, map_method="cells", agreement=0.12))
    assert "Map of cells" in text and "BB-LIG heat map" not in text
    assert "point to different places (rank correlation +0.12)" in text and "Look at both." in text
    assert "different places" not in text_of(example(2, map_method="cells", agreement=0.31))
    assert "different places" not in text_of(example(2))


def test_the_share_of_brightness_and_contrast_is_told_in_full():
    assert "46 % is one brightness curve" in text_of(example(2, exposure=0.46))
    for flips, words in ((True, "curve: flips without"), (False, "curve: no flip without")):
        assert words in text_of(example(2, exposure=0.46, flips_without=flips))
    colours = text_of(example(2, 3, exposure=0.46, flips_without=False))
    assert "46 % is one curve of brightness and colour: no flip without" in colours
    assert "brightness curve" not in text_of(example(2))


def asked_where_ill(before: float, after: float, words: str = "expert") -> str:
    """The text of a report on a kind, 34 % to 51 %, of an illness with two probabilities."""
    ill = LabelChange("Normal", "Pneumonia", before, after)
    kind = LabelChange("Viral", "Bacterial", 0.34, 0.51, premise=ill)
    return text_of(example(labels=[ill, kind], explained=1, margin=None, words=words))


def test_what_meant_nothing_of_the_original_is_no_flip():
    text = asked_where_ill(0.1, 0.9)
    assert "51 %: the prediction now applies." in text
    assert "34 % → 51 % · now applies" in text and "34 % → 51 % · flips" not in text
    assert "Counterfactual" not in text.replace("Counterfactual report", "")
    assert "the answer now applies." in asked_where_ill(0.1, 0.9, PLAIN)
    still = asked_where_ill(0.1, 0.2)
    assert "34 % → 51 % · only if Pneumonia" in still and "flips" not in still
    assert "the prediction stays as it was, and means nothing." in still
    lost = asked_where_ill(0.9, 0.2)
    assert "34 % → 51 % · only if Pneumonia" in lost
    assert "34 % → 51 % · flips" in asked_where_ill(0.9, 0.8)


@pytest.mark.parametrize(("was", "now", "told"), [(0.1, 0.9, "only if Cat"), (0.9, 0.1, "")])
def test_of_two_kinds_the_other_question_means_nothing_of_a_third(was, now, told):
    names = {"dog": ("Cat", "Dog"), "bird": ("Cat", "Bird")}
    info = {label: Label(label, label, *ends, only_for="pets") for label, ends in names.items()}
    domain = SimpleNamespace(labels=tuple(names), label_names=names, label_info=info)
    dog, bird = label_changes(domain, "dog", (was, 0.01), (now, 0.06))
    assert dog.premise is None and bird.outcome(0.5) == (told or "now applies")
    assert bird.premise == LabelChange("Dog", "Cat", pytest.approx(1 - was), pytest.approx(1 - now))


def test_few_bars_have_both_answers_at_their_ends():
    text = asked_where_ill(0.1, 0.9)
    assert "Viral" in text and "Normal" in text


def test_it_says_of_what_pictures_the_answer_means_something():
    told = text_of(example(only_for="neutrophils and eosinophils"))
    assert "Asked only of neutrophils and eosinophils." in told
    assert "Asked only of" not in text_of(example())


@pytest.mark.parametrize(("error", "large"), [(0.1, False), (0.39, True), (-0.39, True)])
def test_a_map_that_leaves_much_out_says_so(error: float, large: bool):
    heat = torch.zeros(32, 32)
    heat[0, 0] = 1.0 + error  # of a change of 1
    report = example(heat=heat, completeness_error=error)
    assert ("do not rely on the map alone" in text_of(report)) == large
    plain = text_of(replace(report, words=PLAIN))
    assert f"What the map leaves out {round(100 * abs(error))} %" in plain
    assert ("large: do not rely on the map alone" in plain) == large
    assert "did not matter" not in plain
