"""The Globality tab: one direction over many images, and what they have alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from html import escape
from typing import Any

import gradio as gr
import torch
from torch import Tensor

from gcd_core.classifiers.questions import PLAIN, Question
from gcd_core.errors import GCDError
from gcd_core.images.dataset import ImageFiles
from gcd_core.images.drawing import AMOUNT, at_most, encode_png, overlay
from gcd_core.images.picture import Picture
from gcd_core.method.bisection import BISECTION_STEPS
from gcd_core.method.counterfactual import SMALLEST
from gcd_core.method.curve_quantiles import curve_quantiles, mean_map
from gcd_core.method.directions import DirectionSet
from gcd_core.report.captions import map_meaning, only_for_words
from gcd_core.ui.frames import SLIDERS, shown_names
from gcd_core.ui.gradio_workarounds import without_temp_copy
from gcd_core.ui.session.batch_walk import MAX_IMAGES, BatchItem, BatchWalk, start_batch_walk
from gcd_core.ui.session.direction_sets import BUNDLED
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.session.walked_images import WalkedImages
from gcd_core.ui.tabs.direction_sets import to_explore
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.handler import (
    LIVE,
    Answer,
    SaveButtons,
    Tab,
    connect,
    html,
)
from gcd_core.ui.views import charts
from gcd_core.ui.views.data_urls import data_address, drawn
from gcd_core.ui.views.figures import image_tag
from gcd_core.ui.views.html import caution
from gcd_core.ui.views.maps import completeness
from gcd_core.ui.views.payload import label_names, question_of, way_of
from gcd_core.ui.views.vocabulary import opinion_words, said, way, written
from gcd_core.ui.views.wall_files import FORMATS, alike_of, numbers, save_wall
from gcd_core.wording import PLAIN as PLAIN_WORDS
from gcd_core.wording import Worded, duration, percent_of_all, worded

TILE_SIDE = 88  # of a picture on the wall, in pixels
ELSEWHERE = Worded(
    "The directions of these walks are not in use any more: the picture is opened unchanged.",
    "The ways of these walks are not in use any more: the picture is opened unchanged.",
)
FRAMES = (  # what a tile's frame says, by its CSS class
    '<p class="gcd-quiet gcd-frames"><span><i class="yes"></i>flips</span>'
    '<span><i class="barely"></i>flips, less sure than wanted</span>'
    '<span><i class="no"></i>no flip</span>'
    '<span><i class="odd"></i>not counted</span></p>'
)
TICK = 2.0  # seconds, after which the time is told anew
FEWEST_FOR_A_BAND = 4  # curves, of which one speaks of the half in the middle
CHANGE_SCALE = '<div class="scale most"><span>little</span><i></i><span>changed most</span></div>'
WAYS = said("ways", "directions")
TO_COME = (
    '<p class="gcd-quiet">Here will stand: every image before and after, how many flip, what '
    f"changed in all of them, and how many images each of the other {WAYS} flips.</p>"
)


# -- what is shown ---------------------------------------------------------------------------------


def subject(
    names: tuple[str, str], used: str, directions: DirectionSet | None, only_for: str = ""
) -> str:
    """What would be walked, as HTML.

    Parameters
    ----------
    names : (str, str)
        The label's negative and positive name.
    used : str
        What the set of directions is called.
    directions : DirectionSet or None
        The set; None or one without names where the label has none.
    only_for : str
        Of what the label means something, as of `Label`.
    """
    if directions is None or not directions.names:
        text = f"There are no {WAYS} for this label yet: find or load some first."
        return f'<p class="gcd-quiet">{text}</p>'
    asked = f"{escape(names[0])} or {escape(names[1])}"
    text = (
        f'<p class="gcd-quiet">{asked}, {WAYS}: {escape(used)}. Each image is '
        f"{said('changed in one way', 'walked along one direction')} toward its flip: does it "
        "hold for all?</p>"
    )
    only = f'<p class="only-for">{escape(only_for_words(only_for))}</p>' if only_for else ""
    return text + only + written(directions)


def progress_html(wall: BatchWalk | None) -> str:
    """How far the walks are."""
    if wall is None:
        return charts.meter(0, "Ready", "no walk is running here")
    done, total = len(wall.pieces), len(wall.images)
    if wall.state == "failed":
        return charts.meter(wall.fraction, "The walk stopped", wall.error)
    if wall.state == "cancelled":
        return charts.meter(wall.fraction, "Cancelled: what there is stays", f"{done} of {total}")
    if wall.state == "done":
        return charts.meter(1, "Done", f"{total} image{'s' if total != 1 else ''}")
    so_far = f"{duration(time.monotonic() - wall.began)} so far"
    left = so_far if wall.eta is None else f"about {duration(wall.eta)} left"
    what = f"Image {done + 1} of {total}"
    if done == total:
        what = f"Trying the others: {wall.quick_done} of {wall.quick_total} quick walks"
    return charts.meter(wall.fraction, what, left)


def tile(piece: BatchItem, number: int, positive: str, question: Question = PLAIN) -> str:
    """One image on the wall: what it was, what it became, and whether that flips."""
    css, verdict, mark = "no", ", no flip", ""
    if piece.flipped:
        css, verdict = ("yes", "") if piece.convincing else ("barely", ", less sure than wanted")
        mark = opinion_words(piece.opinion, said("2nd opinion ", "oracle "))
    if piece.flipped and piece.unreproduced:
        css, verdict = "barely", f"{verdict}. {worded(piece.unreproduced, PLAIN_WORDS)}"
        mark = '<em class="not">by what is not drawn</em>'
    if piece.unlike:  # graver than what the question is asked of
        css, verdict = "odd", f"{verdict}. {worded(piece.unlike, PLAIN_WORDS)}"
        mark = '<em class="not">unlike: not counted</em>'
    elif piece.missing:
        css, verdict = "odd", f", the classifier sees no {piece.missing} in the original"
        mark = f'<em class="not">{escape(piece.missing)} not seen</em>'
    after = charts.missed if piece.flipped and not piece.convincing else charts.percent
    words = (
        f"{piece.name}: {positive} {question.shown(piece.before)} to "
        f"{question.shown(piece.after)}{verdict}"
    )
    return (
        f'<button type="button" class="gcd-tile {css}" data-piece="{number}" '
        f'title="{escape(words)}" aria-label="{escape(words)}">'
        f"{''.join(_tile_picture(picture) for picture in piece.pictures)}"
        f"<span><b>{escape(piece.name)}</b>{charts.percent(piece.before, question)} &rarr; "
        f"{after(piece.after, question)}{mark}</span>"
        "</button>"
    )


def _tile_picture(picture: Tensor) -> str:
    """A picture (1, C, H, W), uint8, as small as it is on the wall."""
    return f'<img src="{data_address(encode_png(at_most(picture / 255, TILE_SIDE)))}" alt="">'


def mean_completeness(pieces: list[BatchItem]) -> str:
    """How much the maps leave unexplained on average, as HTML."""
    errors = [abs(piece.completeness_error) for piece in pieces]
    totals = [abs(float(piece.heat.sum()) - piece.completeness_error) for piece in pieces]
    error, change = sum(errors) / len(errors), sum(totals) / len(totals)
    return completeness(error, change + error)


def not_counted(pieces: list[BatchItem], title: str, only_for: str = "") -> str:
    """Say, as HTML, which images of a label of that title count in no rate, and why; "" if none.

    And that others may be of another kind than those that it means something for.
    """
    missing = [piece.missing for piece in pieces if piece.missing and not piece.unlike]
    unlike = sum(bool(piece.unlike) for piece in pieces)
    told = ""
    if missing:
        start, them = _images_are(len(missing))
        told = caution(
            f"{start} not counted: {title} is asked of {missing[0]} only, and the classifier sees "
            f"none in {them}."
        )
    if unlike:
        start, them = _images_are(unlike)
        told += caution(
            f"{start} not counted: unlike what the models or the question are for, so that the "
            f"answers may mean nothing of {them}."
        )
    if only_for and len(pieces) > len(missing) + unlike:
        rest = "Images that only resemble them may pass unnoticed, and count."
        told += f'<p class="gcd-quiet">{escape(only_for_words(only_for))} {rest}</p>'
    return told


def not_drawn(pieces: list[BatchItem]) -> str:
    """Remark, as HTML, on flips by something that the generator does not draw; "" without any."""
    odd = sum(piece.flipped and bool(piece.unreproduced) for piece in pieces if piece.counts)
    if not odd:
        return ""
    start = "In 1 of these flips" if odd == 1 else f"In {odd} of these flips"
    return caution(
        f"{start} the classifier reacts to something that the generator does not reproduce: what "
        "flips may not be what one sees."
    )


def _images_are(count: int) -> tuple[str, str]:
    """So many images as a sentence begins, and what stands for them later."""
    return ("1 image is", "it") if count == 1 else (f"{count} images are", "them")


def hardly_followed(facts: dict[str, Any]) -> str:
    """Remark, as HTML, that the second opinion follows in fewer than half of the flips; else ""."""
    share = facts["oracle_flip_rate"]
    if share is None or share >= 0.5:
        return ""
    return caution(
        f"The second opinion follows in {percent_of_all(share)} only: most of these flips may be "
        "tricks on the first classifier."
    )


def rates_told(facts: dict[str, Any]) -> str:
    """How many images flip, and in how many of them the second opinion follows, as HTML.

    Of those that count: of the others the answer means nothing.
    """
    done, flips = facts["counted"], facts["flips"]
    if not done:
        return ""
    images, verb = ("image", "flips") if done == 1 else ("images", "flip")
    told = f"<b>{flips} of {done}</b> {images} {verb}"
    if flips:
        told += f" ({charts.percent(facts['flip_rate'])})"
    share = facts["oracle_flip_rate"]
    if share is None:
        return f"{told}."
    counted = flips - facts["oracle_disagreed"]
    told += f"; the second opinion follows in <b>{round(share * counted)} of {counted}</b>"
    return f"{told}." if counted == flips else f"{told} about which it agreed at first."


def summary(
    wall: BatchWalk,
    positive: str,
    alpha_max: float,
    title: str = "",
    called: Callable[[str], str] | None = None,
    only_for: str = "",
) -> str:
    """What all images have alike: rates, mean maps, curves, and the other directions' rates.

    `called` says what a direction is called, as HTML; by default `way` of the wall's directions.
    `only_for` says of what the label means something.
    """
    called = called or partial(way, directions=wall.directions)
    pieces = wall.pieces
    if not pieces:
        return ""
    facts, alike = numbers(wall), alike_of(wall)
    judged = any(piece.oracle is not None for piece in pieces)
    mean = torch.cat([piece.source for piece in alike]).mean(0, keepdim=True)
    change = mean_map([piece.change for piece in alike])
    heat = mean_map([piece.heat for piece in alike])
    maps = (
        f"<figure>{image_tag(drawn(overlay(mean, change, palette=AMOUNT)), 'mean change')}"
        f"<figcaption>{said('What changed', 'Mean |difference|')}</figcaption>"
        f"{CHANGE_SCALE}</figure>"
        f"<figure>{image_tag(drawn(overlay(mean, heat)), 'mean heat map')}"
        f"<figcaption>{said('On the way', 'Mean BB-LIG')}</figcaption>"
        f'<div class="scale"><i></i><span>{escape(map_meaning(positive))}</span></div>'
        f"{mean_completeness(alike)}</figure>"
    )
    curves = [piece.curve for piece in alike]
    walked = called(wall.direction)
    walks = [wall.direction, *(wall.others if wall.quick_total else [])]
    bars = [
        (called(name), *wall.rates.get(name, (0, 0)))
        for name in wall.directions.names
        if name in walks
    ]
    sureness = said("How sure it stays of its first answer", "The original prediction")
    lines = said("line: the middle image, band: half of all", "median and quartiles")
    if len(curves) < FEWEST_FOR_A_BAND:
        lines = said(f"the middle of {len(curves)}", f"median of {len(curves)}")
    return (
        '<div class="gcd-alike">'
        f'<div class="gcd-card"><h2>{walked}<small>{escape(positive)}</small></h2>'
        f'<div class="gcd-told{" judged" if judged else ""}">{rates_told(facts)}'
        f"{hardly_followed(facts)}{not_drawn(pieces)}"
        f"{not_counted(pieces, title or positive, only_for)}</div>"
        f'<div class="gcd-means">{maps}</div>{lies_over(alike, positive)}</div>'
        f'<div class="gcd-card"><h2>{sureness}'
        f"<small>{lines}</small></h2>"
        f"{charts.fan(curves, curve_quantiles(curves), alpha_max)}</div>"
        f'<div class="gcd-card"><h2>{said("Every way", "Every direction")}'
        f"<small>images that flip</small></h2>{charts.rates(bars)}"
        f'<p class="gcd-quiet">{walked} in full; the others quickly, in a few points. '
        f"{found_within(wall)}</p></div></div>"
    )


def found_within(wall: BatchWalk) -> str:
    """Say, as HTML, how exactly the walk finds the smallest change that flips an image."""
    domain = wall.service.domain
    if domain.counterfactual != SMALLEST:
        return ""
    step = domain.alpha_max / (domain.walk_points - 1) / 2**BISECTION_STEPS
    alpha = said("strength", "alpha")
    return (
        f"What flips an image is found to {step:.2f} of {alpha}; <i>Explore</i> looks closer, and "
        "may find a slightly smaller change."
    )


def lies_over(alike: list[BatchItem], positive: str) -> str:
    """Say, as HTML, what lies under the mean maps, and which ways the images were changed."""
    up, down = (sum(sign * piece.alpha > 0 for piece in alike) for sign in (1, -1))
    told = "" if len(alike) == 1 else f"The pictures of all {len(alike)}, laid over each other."
    if up and down:
        told += f" {up} changed toward {positive}, {down} away from it."
    return f'<p class="gcd-quiet">{escape(told)}</p>' if told else ""


def land(opened: OpenImage, wall: BatchWalk, piece: BatchItem) -> bool:
    """Move an opened image of the wall to its counterfactual, if the direction is still in use."""
    name = wall.direction
    if name not in opened.names:
        return False
    if not torch.equal(opened.directions[name].vector, wall.directions[name].vector):
        return False
    opened.sliders.move({name: piece.alpha}, name)
    return True


class GlobalityTab(Tab):
    """The components of the tab and its handlers.

    Parameters
    ----------
    visitors : Visitors
    explore : ExploreTab
        Where an image of the wall is opened.
    images : ImageFiles, optional
        What is walked where a visitor gives no files; by default the domain's examples.
    """

    def __init__(
        self, visitors: Visitors, explore: ExploreTab, images: ImageFiles | None = None
    ) -> None:
        super().__init__(visitors)
        self.explore, self.images = explore, WalkedImages(self.service, images)
        self.numbers = gr.JSON(label="facts", visible=False)
        self.piece = gr.Number(0, label="piece", precision=0, visible=False)
        self.open = gr.Button(visible="hidden", elem_id="open-piece")
        first = self.domain.labels[0]
        ready = self.service.ready_directions(first)
        with gr.Row(elem_id="globality"):
            with gr.Column(elem_id="globality-what", min_width=280):
                # What a new visitor's first answer says stands there from the start.
                only = self.domain.label_info[first].only_for
                said_first = subject(self.domain.label_names[first], BUNDLED, ready, only)
                self.subject = html("subject", said_first, elem_id="globality-subject")
                self.files = without_temp_copy(
                    gr.File(
                        label=f"Images, up to {MAX_IMAGES} (none: {self.images.others})",
                        file_count="multiple",
                        elem_id="globality-files",
                        height=150,
                    )
                )
                self.direction = gr.Radio(
                    list(SLIDERS) if ready is None else shown_names(ready),
                    value="g",
                    label="Direction",
                    elem_id="globality-direction",
                )
                with gr.Row(elem_id="globality-do"):
                    self.start = gr.Button(
                        "Walk all", variant="primary", size="md", elem_id="walk-images"
                    )
                    self.again = gr.Button("Same again", size="md", elem_id="walk-again")
                    self.cancel = gr.Button("Cancel", size="md", elem_id="cancel-walk")
                with gr.Row(elem_id="globality-save"):
                    self.saves = SaveButtons("globality", FORMATS)
                self.progress = html("progress", progress_html(None), elem_id="globality-progress")
            with gr.Column(elem_id="globality-shown", min_width=420):
                self.summary = html("summary", TO_COME, elem_id="globality-summary")
                self.wall = html("wall", js_on_load="gcd.wall(element)")

    # -- handlers -------------------------------------------------------------------------------

    def subject_html(self, request: gr.Request) -> Answer:
        """What would be walked: the label, the set of directions, and the directions in it."""
        session = self.session(request)
        used = session.sets.used(session.label)
        only = self.domain.label_info[session.label].only_for
        told = subject(label_names(session), used, session.directions, only)
        if not session.names:
            return {self.subject: told, self.direction: gr.update(choices=[], value=None)}
        chosen = "g" if session.image is None else session.image.sliders.moved
        wall = session.wall
        if wall is not None and wall.running and wall.direction in session.names:
            chosen = wall.direction  # what is walked is what is chosen, whatever moves meanwhile
        choice = gr.update(choices=session.names, value=chosen)
        return {self.subject: told, self.direction: choice}

    def walk_images(
        self, files: list[str] | None, direction: str | None, request: gr.Request
    ) -> Iterator[Answer]:
        """Walks many images along one direction, streaming; without files, the server's own.

        Those are the examples, unless whoever runs the server named others.

        The last answer holds every image's numbers, the curves' quartiles, and how many images each
        direction flips.
        """
        session = self._free(request)
        names, images, skipped = self.images.chosen(files, session.uploads)
        if skipped:
            gr.Warning(f"{len(skipped)} could not be opened: {', '.join(skipped)[:300]}")
        examples = not files and self.images.own is None
        yield from self._walked(session, names, images, direction, skipped, request, examples)

    def walk_again(self, direction: str | None, request: gr.Request) -> Iterator[Answer]:
        """Walks the images of the last walk once more, along another direction or toward another.

        As `walk_images` else.
        """
        session = self._free(request)
        last = session.wall
        if last is None:
            raise GCDError("Nothing was walked yet: choose images and walk all of them first.")
        names, images, examples = last.names, last.images, last.of_examples
        yield from self._walked(session, names, images, direction, [], request, examples)

    def _free(self, request: gr.Request) -> Session:
        """The visitor's session, if it has directions and nothing is walked."""
        session = self.session(request)
        if not session.names:
            raise GCDError("There are no directions for this label yet: find or load some first.")
        if session.wall is not None and session.wall.running:
            raise GCDError(BatchWalk.busy)
        return session

    def _walked(
        self,
        session: Session,
        names: Sequence[str],
        images: Sequence[Tensor | Picture],
        direction: str | None,
        skipped: list[str],
        request: gr.Request,
        of_examples: bool,
    ) -> Iterator[Answer]:
        """Begins a walk, and shows it to its end."""
        task = names, images, session.directions, direction or "g", session.label, session
        session.wall = start_batch_walk(self.service, *task)
        session.wall.of_examples = of_examples
        yield from self._followed(session, session.wall, skipped, request)

    def go_on(self, request: gr.Request) -> Iterator[Answer]:
        """Shows a walk that was begun before the page was loaded anew, to its end."""
        session = self.session(request)
        if session.wall is None:
            yield {}
        else:
            yield from self._followed(session, session.wall, [], request)

    def _followed(
        self, session: Session, wall: BatchWalk, skipped: list[str], request: gr.Request
    ) -> Iterator[Answer]:
        """Shows a walk until it ends, or the page has gone."""
        label, seen, taken, ticked = wall.label, -1, 0, 0.0
        positive, tiles = label_names(session, label)[1], list[str]()
        info = self.domain.label_info[label]
        asked_of = info.title, partial(way_of, session, directions=wall.directions), info.only_for
        while self.visitors.holds(request.session_hash, session):
            running, now = wall.running, wall.changed_since(seen, 1.0)
            taken = self.taken(taken, session, request)
            if now != seen or taken or not running:
                first, seen = seen < 0, now
                fresh = wall.pieces[len(tiles) :]
                asked = question_of(session, label)
                tiles += [tile(p, len(tiles) + i, positive, asked) for i, p in enumerate(fresh)]
                answer: Answer = {
                    self.numbers: numbers(wall) | {"skipped": skipped},
                    self.progress: progress_html(wall),
                    self.summary: summary(wall, positive, self.domain.alpha_max, *asked_of),
                }
                if fresh or first:  # what was walked before goes
                    answer[self.wall] = f'{FRAMES}<div class="gcd-wall">{"".join(tiles)}</div>'
                yield answer
                ticked = time.monotonic()
            elif time.monotonic() - ticked >= TICK:
                yield {self.progress: progress_html(wall)}
                ticked = time.monotonic()
            if not running:
                break
        if wall.state == "failed":
            raise GCDError(wall.error)

    def stop(self, request: gr.Request) -> Answer:
        """Ends the walk before its next batch; what there is stays."""
        wall = self.session(request).wall
        if wall is None or not wall.running:
            raise GCDError("No walk of many images is running: there is nothing to cancel.")
        wall.cancel()
        return {self.numbers: numbers(wall)}

    def open_piece(
        self, piece: float, overlay: str, opacity: float, view: str, request: gr.Request
    ) -> Answer:
        """Opens an image of the wall in Explore, by its number from 0, at its counterfactual.

        Where the wall's directions are not in use any more, it is opened unchanged, as is told.
        """
        session = self.session(request, overlay, opacity, view)
        wall = session.wall
        if wall is None or not 0 <= int(piece) < len(wall.pieces):
            raise GCDError("There is no such image on the wall: walk some first.")
        image, name = wall.images[int(piece)], wall.names[int(piece)]
        height, width = image.size if isinstance(image, Picture) else (1, 1)
        if session.label != wall.label:
            session.explain(wall.label)
        if wall.of_examples:
            opened = session.open_example(int(piece))
        else:
            opened = session.open_image(image, name, aspect=width / height)
        if opened is not None and not land(opened, wall, wall.pieces[int(piece)]):
            gr.Warning(ELSEWHERE, title="Not at its flip")
        return self.explore.layout.show_everything(session) | {self.tabs: to_explore()}

    def save(self, file_format: str, request: gr.Request) -> Answer:
        """Writes what the wall shows as `csv`, `json`, or with all its pictures as `zip`."""
        session = self.session(request)
        if session.wall is None or not session.wall.pieces:
            raise GCDError("There is nothing to save yet: walk some images first.")
        file = save_wall(session, session.wall, file_format)
        return {self.numbers: numbers(session.wall), self.saves.file: str(file)}

    def bind(self, tabs: gr.Tabs, tab: gr.Tab) -> None:
        """Connects the components."""
        layout, self.tabs = self.explore.layout, tabs
        connect(tab.select, self.subject_html, None, [self.subject, self.direction])
        walked = [self.numbers, self.progress, self.summary, self.wall]
        connect(self.again.click, self.walk_again, self.direction, walked, "walk_again")
        connect(
            self.start.click,
            self.walk_images,
            [self.files, self.direction],
            walked,
            "walk_images",
        ).then(lambda: None, None, self.files, api_visibility="private", **LIVE)
        connect(self.cancel.click, self.stop, None, self.numbers, "cancel_walk")
        connect(
            self.explore.arrived.success,
            self.go_on,
            None,
            walked,
        )
        opened = connect(
            self.open.click,
            self.open_piece,
            [self.piece, *layout.display],
            [*layout.everything, tabs],
            "open_piece",
            js="gcd.withPiece",
        )
        self.explore.then_prepare(opened, "open_piece")
        self.saves.bind(self.save, self.numbers, "save_wall")
