"""The report of what is on screen, for a visitor to take home."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from gcd_core.errors import GCDError
from gcd_core.files import atomic_write
from gcd_core.images.drawing import encode_png, overlay, save_png
from gcd_core.method.attribution import Attribution, explain_path
from gcd_core.method.walk import Path
from gcd_core.report.captions import caption
from gcd_core.report.content import Report
from gcd_core.report.page import write_report
from gcd_core.ui.session.session import Session
from gcd_core.ui.views.payload import (
    cautions_of,
    label_names,
    place_on_line,
    proxy_curve,
    reconstruction_caution,
    verdict,
)
from gcd_core.wording import percent


def report_of(session: Session) -> Report:
    """What a session shows: the current picture, all sliders, the curve and map that lead there.

    Raises
    ------
    GCDError
        Where no image is open or its label has no directions, or the path cannot be decoded.
    """
    moves, maps = session.moves, session.maps
    if moves is None or maps is None or moves.directions is None:
        raise GCDError("There is nothing to report yet: open an image and move a slider first.")
    path = moves.path_now(moves.moved)
    current, positions = moves.still()
    if len(positions) > 1:
        maps.line_now()
        line = maps.line()
        path = path if line is None else line[0]
    heat = maps.heat("bb_lig")
    if not isinstance(heat, Attribution):
        raise GCDError("The picture is still being decoded: try again in a moment.")
    opened, i = moves.opened, session.index
    before = None if opened.source.oracle is None else opened.source.oracle[i]
    after = None if current.oracle is None else current.oracle[i]
    told = [f"The original was {opened.fitted}."] if opened.fitted else []
    if caution := reconstruction_caution(session):
        told.append(caution)
    regions = [] if session.regions is None else session.regions.kept
    positive, probability = label_names(session)[1], opened.source.probabilities[i]
    of_regions = [
        f"{tried.name}, {percent(tried.share)} of the picture: "
        + verdict(tried, probability, positive)
        for tried in regions
    ]
    return Report.of(
        session.service.domain,
        moves.directions,
        path,
        heat,
        source=opened.image,
        changed=current.image,
        before=opened.source.probabilities,
        after=current.probabilities,
        distance=current.distance,
        alphas=[(name, positions[name]) for name in moves.names if name in positions],
        here=place_on_line(session)[0],
        proxy=proxy_curve(session),
        oracle=None if before is None or after is None else (before, after),
        warnings=[
            *([opened.notice] if opened.notice else []),
            *told,
            *cautions_of(session),
            *of_regions,
        ],
    )


def save_report(session: Session, file_format: str) -> FilePath:
    """Write the report to the session's folder, which goes when the visitor does."""
    file = session.folder / f"report-{session.label}.{file_format}"
    write_report(file, report_of(session), file_format)
    return file


COMPARISONS = ("csv", "json", "zip")


def save_comparison(session: Session, numbers: dict[str, Any], file_format: str) -> FilePath:
    """Write what Compare shows to the session's folder, which goes when the visitor does.

    Parameters
    ----------
    session : Session
    numbers : dict
        What `compare` answered last.
    file_format : {"csv", "json", "zip"}
        A row for each direction; all numbers; or both with every picture, each of which says in its
        file's text that it is synthetic, and of what.

    Raises
    ------
    GCDError
        If the format is another, or another image or set was opened since.
    """
    if file_format not in COMPARISONS:
        raise GCDError(
            f"A comparison is written as one of {', '.join(COMPARISONS)}, not {file_format!r}."
        )
    names = [row["direction"] for row in numbers["rows"]]
    file = session.folder / f"comparison-{numbers['label']}.{file_format}"
    if file_format == "zip":
        paths = [session.path(name) for name in names]
        if numbers["label"] != session.label or session.opened is None or None in paths:
            raise GCDError("Another image or label was opened since: compare again.")
        pictures = _pictures(session, [path for path in paths if path is not None])
        with atomic_write(file) as place, ZipFile(place, "w", ZIP_DEFLATED) as archive:
            archive.writestr("comparison.csv", rows_as_csv(numbers["rows"]))
            archive.writestr("comparison.json", json.dumps(numbers, indent=1))
            for name, data in pictures.items():
                archive.writestr(name, data)
        return file
    text = rows_as_csv(numbers["rows"]) if file_format == "csv" else json.dumps(numbers, indent=1)
    with atomic_write(file) as place:
        place.write_text(text, encoding="utf-8")
    return file


def save_path(session: Session) -> FilePath:
    """Write the path along the moved direction as CSV, a row for each point, to the same folder.

    Columns: `alpha`, the probability of each label, `lpips` to the source, `cf_loss`.

    Raises
    ------
    GCDError
        Where no image is open, or the path cannot be decoded.
    """
    path = session.path_now(session.moved)
    every = path.all_probabilities.tolist()
    rows = [
        {
            "alpha": alpha,
            **dict(zip(path.labels, probabilities, strict=True)),
            "lpips": distance,
            "cf_loss": loss,
        }
        for alpha, probabilities, distance, loss in zip(
            path.alphas.tolist(), every, path.distances.tolist(), path.losses.tolist(), strict=True
        )
    ]
    file = session.folder / f"path-{session.label}-{path.direction_name}.csv"
    with atomic_write(file) as place:
        place.write_text(rows_as_csv(rows), encoding="utf-8")
    return file


def rows_as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of one form as CSV with a header; None leaves its field empty."""
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


def _pictures(session: Session, paths: Sequence[Path]) -> dict[str, bytes]:
    """The original, and of each path the counterfactual and its map, as PNG by file name."""
    domain, opened = session.service.domain, session.opened
    assert opened is not None
    found = {"original.png": encode_png(opened.image)}
    for path in paths:
        i, name = path.counterfactual, path.direction_name
        alpha, probability = path.alphas[i].item(), path.probabilities[i].item()
        about = {
            "Description": ", ".join(caption(domain, path.label, probability, [(name, alpha)]))
        }
        buffer = io.BytesIO()
        save_png(path.counterfactual_image, buffer, about)
        found[f"{name}.png"] = buffer.getvalue()
        buffer = io.BytesIO()
        overlay(opened.image, explain_path(path, until=i).map, 0.65).save(buffer, format="PNG")
        found[f"{name}-map.png"] = buffer.getvalue()
    return found
