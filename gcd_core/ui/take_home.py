"""The report of what is on screen, for a visitor to take home."""

from __future__ import annotations

from pathlib import Path as FilePath

from gcd_core.errors import GCDError
from gcd_core.method.attribution import Attribution
from gcd_core.report.content import Report
from gcd_core.report.page import write_report
from gcd_core.ui.numbers import cautions_of, place_on_line, proxy_curve, reconstruction_flips
from gcd_core.ui.state.session import Session


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
    opened = moves.opened
    told = [f"The original was {opened.fitted}."] if opened.fitted else []
    if reconstruction_flips(session):
        told.append("The reconstruction alone already changes the classifier's answer.")
    return Report.of(
        session.explorer.domain,
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
        warnings=[*([opened.notice] if opened.notice else []), *told, *cautions_of(session)],
    )


def save_report(session: Session, file_format: str) -> FilePath:
    """Write the report to the session's folder, which goes when the visitor does."""
    file = session.folder / f"report-{session.label}.{file_format}"
    write_report(file, report_of(session), file_format)
    return file
