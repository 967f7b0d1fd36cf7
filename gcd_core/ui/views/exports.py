"""Files to download: the report, a comparison, and a path as a table."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import torch

from gcd_core.bridge.paths import NAME as RCSB
from gcd_core.errors import GCDError
from gcd_core.files import atomic_write
from gcd_core.images.drawing import encode_png, overlay, save_png
from gcd_core.method.attribution import explain_path
from gcd_core.method.loss import cf_loss
from gcd_core.method.path import Path
from gcd_core.report.captions import about_direction, caption, direction_name
from gcd_core.report.content import Report, TriedRegion
from gcd_core.report.page import write_report
from gcd_core.ui.frames import Alphas, Frame, line_vector
from gcd_core.ui.session.flips import SAME_ALPHA
from gcd_core.ui.session.heatmaps import HeatMap
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.session.session import Session
from gcd_core.ui.views.curve import place_on_line, proxy_curve, proxy_gap
from gcd_core.ui.views.exposure import exposure_caution, flips_without
from gcd_core.ui.views.payload import (
    cautions_of,
    doubts_about,
    first_disagreement,
    label_names,
    moves_alone,
    positives_of,
    premise_missing,
    question_of,
    reconstruction_caution,
    verdict,
)
from gcd_core.wording import EXPERT, PLAIN, VOCABULARIES, percent_of_all

TRIES = 3  # to find the sliders at rest, with the map of where they stand


def report_of(session: Session, words: str = EXPERT) -> Report:
    """Return the report of the open image: picture, slider position, curve and heat map.

    Of the one that is being opened, where there is one: it is waited for.
    The map is that of cells where it is chosen and known, or where the page leads with it (then the
    classifier may be asked freely), else BB-LIG. It is written in one of the `VOCABULARIES`.

    Raises a GCDError if no image is open, its label has no directions, or the path cannot be
    decoded.
    """
    remedy = "open an image and move a slider first"
    image = session.open_next("There is nothing to report yet", remedy)
    opened, maps, i = image.opened, image.maps, image.index
    kinds = {session.display.overlay, session.service.leading_map}
    current, positions, heat, error = at_rest(session, image, "cells" in kinds)
    path = line_of(image, positions)
    before, after = (
        None if frame.oracle is None else frame.oracle[i] for frame in (opened.source, current)
    )
    return Report.of(
        session.service.domain,
        image.directions,
        path,
        heat.map,
        error,
        source=opened.pixels,
        changed=current.picture,
        before=opened.source.probabilities,
        after=current.probabilities,
        distance=current.distance,
        alphas=[(name, positions[name]) for name in image.names if name in positions],
        here=place_on_line(image)[0],
        proxy=proxy_curve(image),
        oracle=None if before is None or after is None else (before, after),
        warnings=warnings_of(image),
        regions=tried_regions(image),
        map_method=heat.kind,
        agreement=maps.agreement(),
        exposure=image.exposure.share if positions else None,
        flips_without=flips_without(image),
        name=opened.name,
        synthetic=image.example is not None and session.service.domain.synthetic_examples,
        margin=image.sliders.target,
        words=words,
    )


def at_rest(
    session: Session, image: OpenImage, cells: bool
) -> tuple[Frame, Alphas, HeatMap, float]:
    """Return the picture in full, where the sliders stand, the map there, and its error.

    The map of cells where `cells` says so and it is known or leads, else BB-LIG. Where the sliders
    go on meanwhile, it begins anew. Raises a GCDError if they do so again and again.
    """
    maps = image.maps
    for _ in range(TRIES):
        if session.service.leading_map == "cells":
            maps.cells_now()
        current, positions = image.sliders.still()
        if len(positions) > 1:
            maps.line_now()
        elif positions:
            image.sliders.path_now(next(iter(positions)))
        heat = maps.get("cells") if cells else None
        heat = heat or maps.get("bb_lig")
        if heat is not None and heat.completeness_error is not None:
            return current, positions, heat, heat.completeness_error
    raise GCDError("The picture changed while the report was made: ask again once it rests.")


def line_of(image: OpenImage, alphas: Alphas) -> Path:
    """Return the line through a position, every point by the full decoder.

    Along several directions, where asking costs, it is the one that its map and curve asked about.
    """
    known = None
    if len(alphas) > 1 and not image.service.classifier_is_free:
        known = image.maps.line_now()
    return known or image.flips.line_in_full(alphas)


def warnings_of(image: OpenImage) -> list[str]:
    """Return what a reader of the report must know, the gravest first."""
    opened, cautions = image.opened, cautions_of(image)
    told = [  # the gravest first
        cautions.pop(0) if premise_missing(image) else "",
        opened.notice,
        first_disagreement(image),
        exposure_caution(image),
        reconstruction_caution(image),
        *cautions,
        proxy_gap(image),
        "The second opinion changes its answer where the classifier does not."
        if moves_alone(image)
        else "",
        f"The networks see the original {opened.fitted}." if opened.fitted else "",
    ]
    return [*filter(None, told)]


def tried_regions(image: OpenImage) -> list[TriedRegion]:
    """Return what there is to report of the regions that were tried, the newest first."""
    before, question = image.opened.source.probabilities[image.index], question_of(image)
    positive, premise, found = label_names(image)[1], premise_missing(image), []
    for tried in reversed(image.regions.kept):
        path, doubts = tried.path, doubts_about(tried, question, premise)
        after = float(path.probabilities[path.counterfactual])
        found.append(
            TriedRegion(
                f"{tried.name}, {percent_of_all(tried.share)} of the picture",
                " ".join([verdict(tried, before, positive, question), *doubts]),
                None if path.direction_name == RCSB else float(path.alphas[path.counterfactual]),
                path.direction_name,
                tried.mask,
                path.picture(path.counterfactual),
                question.shown(before),
                question.shown(after),
            )
        )
    return found


def save_report(session: Session, file_format: str, words: str = EXPERT) -> FilePath:
    """Write the report to the session's folder, which is deleted when the visitor leaves.

    Raises a GCDError where `words` is none of the `VOCABULARIES`.
    """
    if words not in VOCABULARIES:
        raise GCDError(f"A report is written in {' or '.join(VOCABULARIES)} words, not {words!r}.")
    file = session.folder / f"report-{session.label}.{file_format}"
    write_report(file, report_of(session, words), file_format)
    return file


COMPARISONS = ("csv", "json", "zip")


def save_comparison(folder: FilePath, image: OpenImage, file_format: str) -> FilePath:
    """Write the last comparison of an image to a folder.

    Raises a GCDError if the format is another, or nothing was compared yet.

    Parameters
    ----------
    folder : pathlib.Path
        The session's: it is deleted when the visitor leaves.
    file_format : {"csv", "json", "zip"}
        "csv" has a row for each direction, with what it does and what is noted on it, "json" all
        numbers. "zip" has both and every picture; the text in each changed picture's file says that
        it is synthetic.
    """
    numbers = image.compared
    if not numbers:
        raise GCDError("There is nothing to save yet: compare first.")
    if file_format not in COMPARISONS:
        raise GCDError(
            f"A comparison is written as one of {', '.join(COMPARISONS)}, not {file_format!r}."
        )
    names, positives = [row["direction"] for row in numbers["rows"]], positives_of(image)
    kinds = image.service.domain.change_words
    rows = [
        row | about_direction(row["direction"], image.directions, positives, kinds)
        for row in numbers["rows"]
    ]
    file = folder / f"comparison-{numbers['label']}.{file_format}"
    if file_format == "zip":
        paths = image.ready_paths()
        pictures = _pictures(image, [paths[name] for name in names])
        with atomic_write(file) as place, ZipFile(place, "w", ZIP_DEFLATED) as archive:
            archive.writestr("comparison.csv", rows_as_csv(rows))
            archive.writestr("comparison.json", json.dumps(numbers, indent=1))
            for name, data in pictures.items():
                archive.writestr(name, data)
        return file
    text = rows_as_csv(rows) if file_format == "csv" else json.dumps(numbers, indent=1)
    with atomic_write(file) as place:
        place.write_text(text, encoding="utf-8")
    return file


def save_path(session: Session) -> FilePath:
    """Write the line through the picture shown as CSV to the same folder, a row for each point.

    Columns: `alpha` (along several directions the distance in z_sem), the probability of each
    label, `lpips` to the source, `cf_loss` (the label's logit toward the flip plus lambda times
    LPIPS, Eq. 1 of the paper), `shown` (1 for the picture shown, which has a row of its own where
    it lies between two points), `direction`, and `name`, what the page calls that. Along several
    directions a column for each says how far along it the point lies. Raises a GCDError if no image
    is open, or the line cannot be decoded.
    """
    image = session.open_next("There is no direction to follow yet")
    frame, alphas = image.sliders.still()
    path = line_of(image, alphas)
    columns = path.all_probabilities.tolist(), path.distances.tolist(), path.losses.tolist()
    points = dict(zip(path.alphas.tolist(), zip(*columns, strict=True), strict=True))
    several = len(alphas) > 1
    here = line_vector(image.directions, alphas)[1] if several else sum(alphas.values())
    if all(abs(alpha - here) > SAME_ALPHA for alpha in points):
        own = dict(zip(session.service.domain.labels, frame.probabilities, strict=True))
        logit = torch.tensor(own[path.label]).double().clamp(1e-12, 1 - 1e-12).logit()
        distance = torch.tensor(frame.distance)
        loss = cf_loss(logit, distance, path.sign, session.service.domain.search.lam)
        points[here] = [own[label] for label in path.labels], frame.distance, float(loss)
    names = list(alphas) if several else [path.direction_name]
    called = " + ".join(direction_name(name, image.directions, PLAIN) for name in names)
    rows = [
        {
            "alpha": alpha,
            **dict(zip(path.labels, probabilities, strict=True)),
            "lpips": distance,
            "cf_loss": loss,
            "shown": int(abs(alpha - here) <= SAME_ALPHA),
            "direction": path.direction_name,
            "name": called,
        }
        | {f"alpha_{name}": alpha * alphas[name] / here for name in names if several}
        for alpha, (probabilities, distance, loss) in sorted(points.items())
    ]
    file = session.folder / f"path-{session.label}-{'-'.join(names)}.csv"
    with atomic_write(file) as place:
        place.write_text(rows_as_csv(rows), encoding="utf-8")
    return file


def rows_as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows with the same keys as CSV with a header; None leaves its field empty."""
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


def _pictures(image: OpenImage, paths: Sequence[Path]) -> dict[str, bytes]:
    """Return the original, and each path's counterfactual and map, as PNG by file name.

    Counterfactuals in 16 bits too, where the opened file had more than 8.
    """
    domain, opened = image.service.domain, image.opened
    deep = opened.picture is not None and opened.picture.bits > 8
    found = {"original.png": encode_png(opened.pixels)}
    for path in paths:
        i, name = path.counterfactual, path.direction_name
        alpha, probability = path.alphas[i].item(), path.probabilities[i].item()
        about = {
            "Description": ", ".join(caption(domain, path.label, probability, [(name, alpha)]))
        }
        for ending, bits in {"": 8, "-16bit": 16}.items() if deep else [("", 8)]:
            buffer = io.BytesIO()
            save_png(path.picture(i), buffer, about, bits)
            found[f"{name}{ending}.png"] = buffer.getvalue()
        buffer = io.BytesIO()
        overlay(opened.pixels, explain_path(path, until=i).map, 0.65).save(buffer, format="PNG")
        found[f"{name}-map.png"] = buffer.getvalue()
    return found
