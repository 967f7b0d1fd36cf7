"""Two sets of directions side by side, in the Compare tab: whether two searches agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from html import escape
from pathlib import Path as FilePath
from typing import Any

import gradio as gr

from gcd_core.errors import GCDError
from gcd_core.files import atomic_write
from gcd_core.method.changes import LITTLE, RATHER
from gcd_core.method.directions import DirectionSet
from gcd_core.method.repeatability import repeatability_of
from gcd_core.method.set_likeness import Match, matches
from gcd_core.method.verification import tried_of
from gcd_core.ui.frames import shown_names
from gcd_core.ui.session.direction_sets import BUNDLED, file_name
from gcd_core.ui.session.notes import named
from gcd_core.ui.session.open_image import NamedSet, OpenImage
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.session.set_comparison import SetComparison, Side, Walked
from gcd_core.ui.tabs.handler import Answer, SaveButtons, Tab, connect, html
from gcd_core.ui.views import charts
from gcd_core.ui.views.compared import counterfactual_row, numbers_list, verdict_of
from gcd_core.ui.views.data_urls import drawn
from gcd_core.ui.views.direction_rows import after_others
from gcd_core.ui.views.exports import rows_as_csv
from gcd_core.ui.views.figures import image_tag
from gcd_core.ui.views.html import caution
from gcd_core.ui.views.payload import (
    fingerprints,
    label_names,
    premise_of,
    question_of,
    target_of,
    way_of,
)
from gcd_core.ui.views.vocabulary import said, short_way, told
from gcd_core.wording import Worded, signed

FORMATS = ("csv", "json")
PROBLEM = "There are no two sets to compare yet"
REMEDY = "find directions, or load a file of them, in Find directions"
MISSED = 0.1  # a cosine that lies so far below the one that a search expected is remarked on


# -- in numbers ------------------------------------------------------------------------------------


def numbers_of(image: OpenImage, comparison: SetComparison) -> dict[str, Any]:
    """Return what is known of both sets so far, for machines."""
    one, other = (side.directions for side in comparison.sides)
    rows = []
    for match in matches(one, other):
        if match.name not in shown_names(one):
            continue
        row: dict[str, Any] = {"direction": match.name, **match._asdict()}
        del row["name"]
        if match.name in comparison.names:
            row["sides"] = [
                side_numbers(image, comparison, match.name, i) for i in range(len(comparison.sides))
            ]
        rows.append(row)
    return {
        "state": comparison.state,
        "label": image.label,
        "image_name": image.opened.name,
        "sets": [side.name for side in comparison.sides],
        "expected_cosines": [expected_of(side.directions) for side in comparison.sides],
        "rows": rows,
        "only_in_second": [
            match._asdict() for match in matches(other, one) if match.cosine is None
        ],
        "target": target_of(image),
        "fingerprints": fingerprints(image),
    }


def expected_of(directions: DirectionSet) -> float | None:
    """Return the cosine with the g of another search that a set expects; None where unknown."""
    found = repeatability_of(directions)
    return None if found is None else found.cosine


def side_numbers(image: OpenImage, comparison: SetComparison, name: str, i: int) -> dict[str, Any]:
    """Return what a direction of one side does to the image, and did to others."""
    side, walked = comparison.sides[i], comparison.walked.get((name, i))
    own = comparison.called(name, i)
    tried = tried_of(side.directions.metadata).get(own)
    row: dict[str, Any] = {"set": side.name}
    if walked is not None:
        before = image.opened.source.oracle
        first = None if before is None else before[image.index]
        row |= counterfactual_row(
            own, walked.path, first, walked.oracle, premise_of(image, image.label)
        )
    return row | {"tried": None if tried is None else asdict(tried)}


def table_of(numbers: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each direction of each set, for a table."""
    columns = ("flipped", "applies", "met", "alpha", "probability", "lpips", "oracle", "opinion")
    rows = []
    for row in numbers["rows"]:
        alike = {key: row[key] for key in ("direction", "cosine", "nearest", "nearest_cosine")}
        for side in row.get("sides") or [{"set": numbers["sets"][0], "tried": None}]:
            tried = side["tried"] or {}
            count = tried and tried["positives"] + tried["negatives"]
            flips = tried and tried["positives_flipped"] + tried["negatives_flipped"]
            rows.append(
                {"set": side["set"], **alike}
                | {key: side.get(key) for key in columns}
                | {"tried_images": count or None, "tried_flips": flips if count else None}
                | {"tried_followed": tried.get("agreed")}
            )
    return rows


def save_sets(
    folder: FilePath,
    domain: str,
    numbers: dict[str, Any],
    file_format: str,
    is_whole: bool,
) -> FilePath:
    """Write a comparison of two sets to the session's folder, as "csv" or "json".

    The name of one that is not whole yet says so. Raises a GCDError if the format is another.
    """
    if file_format not in FORMATS:
        raise GCDError(
            f"A comparison of sets is written as {' or '.join(FORMATS)}, not {file_format!r}."
        )
    stem = FilePath(file_name(domain, numbers["label"], "two sets")).stem
    file = folder / f"{stem}{'' if is_whole else '-so-far'}.{file_format}"
    text = rows_as_csv(table_of(numbers)) if file_format == "csv" else json.dumps(numbers, indent=1)
    with atomic_write(file) as place:
        place.write_text(text, encoding="utf-8")
    return file


# -- to read ---------------------------------------------------------------------------------------


def likeness_words(cosine: float) -> str:
    """How alike two directions of a cosine are."""
    if abs(cosine) < LITTLE:
        return "little alike"
    if cosine < 0:
        return "rather the reverse" if cosine > -RATHER else "nearly the reverse"
    return "rather alike" if cosine < RATHER else "nearly the same"


def verdict_on_g(comparison: SetComparison) -> str:
    """Whether both sets have the same g, and whether that was expected, as HTML."""
    first, second = comparison.sides
    match = {one.name: one for one in matches(first.directions, second.directions)}.get("g")
    if match is None or match.cosine is None:
        return ""
    number, words = signed(match.cosine), likeness_words(match.cosine)
    names = f"{escape(first.name)} and {escape(second.name)}"
    parts = [
        '<p class="gcd-sets-verdict"><b>'
        + said(
            f"The main ways of {names} are {words} ({number}; 1 is the same).",
            f"g of {names}: cosine {number}, {words}.",
        )
        + "</b></p>"
    ]
    for side in comparison.sides:
        found = repeatability_of(side.directions)
        if found is None:
            continue
        parts.append(f'<p class="gcd-quiet">{escape(side.name)}: {told(found.sentence)}</p>')
        if match.cosine < found.cosine - MISSED:
            parts.append(
                caution(
                    Worded(
                        f"That is below the {found.cosine:.2f} which {side.name} expects of "
                        "another search with the same settings and as many samples.",
                        f"That is below the {found.cosine:.2f} which {side.name} expects of "
                        "another search of the same kind, of as many pictures.",
                    )
                )
            )
    return "".join(parts)


def side_card(image: OpenImage, comparison: SetComparison, name: str, i: int, wait: str) -> str:
    """What a direction of one side makes of the image, as HTML."""
    side: Side = comparison.sides[i]
    walked: Walked | None = comparison.walked.get((name, i))
    title, verdict, css, body = f"<b>{escape(side.name)}</b>", "", "", ""
    if walked is not None:
        numbers = side_numbers(image, comparison, name, i)
        css, text = verdict_of(numbers)
        verdict = f"<em>{text}</em>"
        shown = image_tag(drawn(walked.picture), "the changed picture")
        body = shown + numbers_list(numbers, label_names(image)[1], question_of(image))
    elif comparison.state == "running":
        body = f'<div class="gcd-wait"><span></span>{wait}</div>'
    else:
        body = '<div class="gcd-wait">not walked</div>'
    tried = tried_of(side.directions.metadata).get(comparison.called(name, i))
    text = "Not tried on other pictures." if tried is None else f"{tried.sentence}."
    return (
        f'<div class="gcd-set-side gcd-direction-card {css}"><header>{title}{verdict}</header>'
        f'{body}<p class="gcd-quiet">{told(text)}</p></div>'
    )


def match_words(match: Match, comparison: SetComparison) -> str:
    """How alike two directions that go together are, as HTML; which is nearer, if another is."""
    first, second = comparison.sides
    assert match.cosine is not None
    told_of = f"<b>{signed(match.cosine)}</b> {likeness_words(match.cosine)}"
    nearer = ""
    if match.nearest != match.partner and abs(match.nearest_cosine) > abs(match.cosine) + 0.05:
        other = short_way(match.nearest, second.directions)
        nearer = (
            f'<p class="gcd-quiet">{escape(first.name)}&rsquo;s is nearer to {other} of '
            f"{escape(second.name)}: {signed(match.nearest_cosine)}</p>"
        )
    return f"<p>{said('likeness', 'cosine')} {told_of}</p>{nearer}"


def only_in_one(comparison: SetComparison) -> str:
    """Which directions one set alone has, and the nearest of the other, as HTML."""
    lines = []
    for side, other in (comparison.sides, comparison.sides[::-1]):
        for match in matches(side.directions, other.directions):
            if match.cosine is not None or match.name not in shown_names(side.directions):
                continue
            own = short_way(match.name, side.directions)
            nearest = short_way(match.nearest, other.directions)
            lines.append(
                f"<li>{own}, only in {escape(side.name)}: nearest in {escape(other.name)} is "
                f"{nearest} ({said('', 'cosine ')}{signed(match.nearest_cosine)}, "
                f"{likeness_words(match.nearest_cosine)})</li>"
            )
    return f'<ul class="gcd-only">{"".join(lines)}</ul>' if lines else ""


def shown(image: OpenImage, comparison: SetComparison, after: str = "") -> str:
    """Both sets side by side, as HTML; `after` is who goes first while a path is awaited."""
    first, second = comparison.sides
    by_name = {one.name: one for one in matches(first.directions, second.directions)}
    rows = []
    waiting = False
    for name in comparison.names:
        cells = []
        for i in range(len(comparison.sides)):
            doing = said("following the way", "following the direction") + after
            wait = "" if waiting else doing
            waiting = waiting or (name, i) not in comparison.walked
            cells.append(side_card(image, comparison, name, i, wait))
        title = way_of(image, name, first.directions)
        rows.append(
            '<article class="gcd-card gcd-set-row"><header>'
            f"<h3>{title}</h3>{match_words(by_name[name], comparison)}"
            f"</header>{''.join(cells)}</article>"
        )
    before = image.opened.source.probabilities[image.index]
    head = (
        f'<div class="gcd-sets-head">{image_tag(drawn(image.opened.pixels), "the opened picture")}'
        f"<div><p>{escape(image.opened.name)}: {escape(label_names(image)[1])} "
        f"{charts.percent(before, question_of(image))}. One picture of each: the first that flips "
        "surely, or the nearest to a flip.</p>"
        f"{verdict_on_g(comparison)}</div></div>"
    )
    none = ""
    if not comparison.names:
        ways = said("ways", "directions")
        none = f'<p class="gcd-quiet">The two sets have no {ways} of the same name.</p>'
    return f'{head}<div class="gcd-set-rows">{"".join(rows)}</div>{none}{only_in_one(comparison)}'


class SetComparisonPanel(Tab):
    """The choice of two sets, and what they do to the open image."""

    def __init__(self, visitors: Visitors) -> None:
        super().__init__(visitors)
        self.numbers = gr.JSON(label="facts", visible=False)
        with gr.Accordion("Two sets side by side", open=False, elem_id="two-sets") as self.box:
            with gr.Row(elem_id="two-sets-choice"):
                # The handlers check the names: a client of the API may know more than is offered.
                free: dict[str, Any] = {"allow_custom_value": True, "min_width": 120}
                self.first = gr.Dropdown(
                    [BUNDLED], value=BUNDLED, label="First set", elem_id="first-set", **free
                )
                self.second = gr.Dropdown(
                    [BUNDLED], value=None, label="Second set", elem_id="second-set", **free
                )
            with gr.Row(elem_id="two-sets-do"):
                self.start = gr.Button("Compare the two", size="sm", elem_id="compare-sets")
                self.cancel = gr.Button("Cancel", size="sm", elem_id="cancel-sets")
                self.saves = SaveButtons("sets", FORMATS)
            self.price = html("sets-price")
            self.result = html("sets-result")

    # -- which ----------------------------------------------------------------------------------

    def _sets(self, session: Session, names: tuple[str | None, str | None]) -> list[NamedSet]:
        """The two chosen sets. Raises a GCDError where there are no two."""
        sets = [(name, named(session, name)) for name in names if name]
        found = [(name, directions) for name, directions in sets if directions is not None]
        if len(found) < 2:
            raise GCDError(f"{PROBLEM}: {REMEDY}.")
        if found[0][0] == found[1][0]:
            raise GCDError("These are one set: choose another one beside it.")
        return found

    def _choices(self, session: Session) -> list[str]:
        """The sets of the explained label."""
        own = session.sets.names(session.label)
        return [BUNDLED, *own] if named(session, BUNDLED) is not None else own

    def _offer(self, session: Session) -> Answer:
        """The choice: at first the set in use and the newest beside it, then what was compared."""
        names = self._choices(session)
        image = session.image
        used = session.sets.used(session.label)
        first = used if used in names else next(iter(names), None)
        second = next((name for name in reversed(names) if name != first), None)
        compared = None if image is None else image.compared_sets
        if compared is not None and {side.name for side in compared.sides} <= set(names):
            first, second = (side.name for side in compared.sides)
        return {
            self.first: gr.update(choices=names, value=first),
            self.second: gr.update(choices=names, value=second),
            self.price: self._price(session, first, second),
        }

    def _price(self, session: Session, first: str | None, second: str | None) -> str:
        """What comparing them costs, where it does; or that there are no two sets."""
        if len(self._choices(session)) < 2:
            text = Worded(
                "There is one set here. Find others, or load a file of them, in Find directions.",
                "There is one set here. Find others, or load a file of them, in Find ways.",
            )
            return f'<p class="gcd-quiet">{told(text)}</p>'
        image = session.image
        if self.service.classifier_is_free or image is None or not first or not second:
            return ""
        if first == second:
            return ""
        asked = image.queries_for_sets(self._sets(session, (first, second)))
        left = self.service.queries_left
        return caution(f"The classifier is asked about up to {asked} pictures{left}.")

    # -- handlers -------------------------------------------------------------------------------

    def tell_price(self, first: str | None, second: str | None, request: gr.Request) -> Answer:
        """What comparing these two costs."""
        return {self.price: self._price(self.session(request), first, second)}

    def come_back(self, request: gr.Request) -> Iterator[Answer]:
        """Offers the sets that there are, and what was compared; goes on where that is free."""
        session = self.session(request)
        image = session.image
        compared = None if image is None else image.compared_sets
        if image is None or compared is None:
            yield self._offer(session) | {self.result: "", self.numbers: None}
            return
        opened = {self.box: gr.update(open=True)}
        yield self._offer(session) | self._shown(image, compared) | opened
        if compared.state == "running" and self.service.classifier_is_free:
            yield from self._follow(session, image, compared)

    def compare_sets(
        self, first: str | None, second: str | None, request: gr.Request
    ) -> Iterator[Answer]:
        """Two sets of the explained label, side by side on the open image, streaming."""
        session = self.session(request)
        image = session.open_next("There is nothing to compare yet", "open an image first")
        comparison = image.compare_sets(self._sets(session, (first, second)))
        yield self._shown(image, comparison)
        yield from self._follow(session, image, comparison)

    def _follow(
        self, session: Session, image: OpenImage, comparison: SetComparison
    ) -> Iterator[Answer]:
        """What there is after each walk."""
        try:
            for first in comparison.follow():
                if session.image is not image:
                    break
                yield self._shown(image, comparison, "" if first is None else after_others(*first))
        except GCDError:
            if session.image is image:
                raise
        if session.image is not image:  # another one was opened
            yield {self.result: ""}
        elif comparison.cancelled:
            yield self._shown(image, comparison)

    def _shown(self, image: OpenImage, comparison: SetComparison, after: str = "") -> Answer:
        """All that the panel shows of a comparison."""
        return {
            self.numbers: numbers_of(image, comparison),
            self.result: shown(image, comparison, after),
        }

    def stop(self, request: gr.Request) -> Answer:
        """Ends the comparison of two sets before its next pictures; what there is stays."""
        image = self.session(request).image
        comparison = None if image is None else image.compared_sets
        if image is None or comparison is None or comparison.state != "running":
            raise GCDError("No two sets are being compared: there is nothing to cancel.")
        comparison.cancel()
        return {self.numbers: numbers_of(image, comparison)}

    def save(self, file_format: str, request: gr.Request) -> Answer:
        """Writes the last comparison of two sets as `csv` or `json`."""
        session = self.session(request)
        image = session.image
        if image is None or image.compared_sets is None:
            raise GCDError("There is nothing to save yet: compare two sets first.")
        numbers = numbers_of(image, image.compared_sets)
        is_whole = image.compared_sets.state == "done"
        file = save_sets(session.folder, self.domain.name, numbers, file_format, is_whole)
        return {self.numbers: numbers, self.saves.file: str(file)}

    def bind(self) -> None:
        """Connects the components."""
        sets = [self.first, self.second]
        connect(
            self.start.click, self.compare_sets, sets, [self.numbers, self.result], "compare_sets"
        )
        connect(self.cancel.click, self.stop, None, self.numbers, "cancel_sets")
        self.saves.bind(self.save, self.numbers, "save_sets")
        if not self.service.classifier_is_free:
            for chosen in sets:
                connect(chosen.input, self.tell_price, sets, self.price, newest_only=True)

    @property
    def offered(self) -> list[Any]:
        """What `come_back` answers with."""
        return [self.numbers, self.box, self.first, self.second, self.price, self.result]
