"""The report of what is on screen, for a visitor to take home."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path as FilePath

from gcd_core.errors import GCDError
from gcd_core.method.attribution import explain_path
from gcd_core.report.content import Curve, LabelChange, Report, identity_rows, settings_rows
from gcd_core.report.page import write_report
from gcd_core.ui.session import Session


def report_of(session: Session, proxy: Sequence[tuple[float, float]]) -> Report:
    """What a session shows: the current picture, all sliders, the moved direction's curve and map.

    proxy: the proxy's prediction along that direction, as (alpha, probability).

    Raises
    ------
    GCDError
        Where no image is open or its label has no directions, or the path cannot be decoded.
    """
    if session.opened is None or session.directions is None:
        raise GCDError("There is nothing to report yet: open an image and move a slider first.")
    path = session.path_now(session.moved)
    current, positions = session.still()
    domain, opened, index = session.explorer.domain, session.opened, session.index
    label, moved = session.label, path.direction_name
    heat = explain_path(path)
    alphas = [(name, positions[name]) for name in session.names if name in positions]
    return Report(
        title=domain.label_info[label].title,
        domain=domain.title,
        labels=[
            LabelChange(*domain.label_names[name], before, after)
            for name, before, after in zip(
                domain.labels, opened.source.probabilities, current.probabilities, strict=True
            )
        ],
        explained=index,
        source=opened.image,
        changed=current.image,
        heat=heat.map,
        alphas=alphas,
        distance=current.distance,
        curve=Curve(
            moved,
            list(zip(path.alphas.tolist(), path.probabilities.tolist(), strict=True)),
            proxy,
            (positions.get(moved, 0.0), current.probabilities[index]),
            alone=all(name == moved for name, _ in alphas),
            threshold=path.threshold,
        ),
        completeness_error=heat.completeness_error,
        settings=settings_rows(domain, label, session.directions, alphas),
        identities=identity_rows(domain, session.directions),
        warnings=[opened.notice] if opened.notice else [],
        notice=domain.notice,
        date=datetime.date.today(),
    )


def save_report(
    session: Session, proxy: Sequence[tuple[float, float]], file_format: str
) -> FilePath:
    """Write the report to the session's folder, which goes when the visitor does."""
    file = session.folder / f"report-{session.label}.{file_format}"
    write_report(file, report_of(session, proxy), file_format)
    return file
