"""The report of what is on screen, for a visitor to take home."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path as FilePath

from gcd_core.errors import GCDError
from gcd_core.method.attribution import explain_path
from gcd_core.report.content import Report
from gcd_core.report.page import write_report
from gcd_core.ui.state.session import Session


def report_of(session: Session, proxy: Sequence[tuple[float, float]]) -> Report:
    """What a session shows: the current picture, all sliders, the moved direction's curve and map.

    Parameters
    ----------
    session : Session
    proxy : sequence of (float, float)
        The proxy's prediction along that direction, as (alpha, probability).

    Raises
    ------
    GCDError
        Where no image is open or its label has no directions, or the path cannot be decoded.
    """
    moves = session.moves
    if moves is None or moves.directions is None:
        raise GCDError("There is nothing to report yet: open an image and move a slider first.")
    path = moves.path_now(moves.moved)
    current, positions = moves.still()
    opened = moves.opened
    return Report.of(
        session.explorer.domain,
        moves.directions,
        path,
        explain_path(path),
        source=opened.image,
        changed=current.image,
        before=opened.source.probabilities,
        after=current.probabilities,
        distance=current.distance,
        alphas=[(name, positions[name]) for name in moves.names if name in positions],
        proxy=proxy,
        warnings=[opened.notice] if opened.notice else [],
    )


def save_report(
    session: Session, proxy: Sequence[tuple[float, float]], file_format: str
) -> FilePath:
    """Write the report to the session's folder, which goes when the visitor does."""
    file = session.folder / f"report-{session.label}.{file_format}"
    write_report(file, report_of(session, proxy), file_format)
    return file
