"""Which directions change the open picture alike, and which change other places, in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gcd_core.images.drawing import difference
from gcd_core.method.attribution import DISAGREE, map_agreement
from gcd_core.method.path import Path
from gcd_core.ui.session.session import Session
from gcd_core.ui.views.payload import way_of
from gcd_core.wording import enumerated

ALIKE = 0.9  # correlation of two changes, from which on they are called alike


def changes_of(paths: Mapping[str, Path]) -> dict[str, Tensor]:
    """The difference (H, W) of counterfactual and source along each direction that flips."""
    return {
        name: difference(path.counterfactual_image, path.source)
        for name, path in paths.items()
        if path.counterfactual_flips
    }


def alike_and_elsewhere(changes: Mapping[str, Tensor]) -> tuple[list[str], list[str]]:
    """Compare the first change with the others, as far as it is clear.

    Parameters
    ----------
    changes : mapping of str to Tensor (H, W)
        By direction.

    Returns
    -------
    alike : list of str
        Whose correlation with the first is 0.9 or more.
    elsewhere : list of str
        Whose strengths have a rank correlation below 0.3 with the first's (`map_agreement`).
    """
    first, *others = changes
    flat = {name: change.flatten().double() for name, change in changes.items()}
    alike = [
        name
        for name in others
        if float(torch.corrcoef(torch.stack([flat[first], flat[name]]))[0, 1]) >= ALIKE
    ]
    agreements = {name: map_agreement(changes[first], changes[name]) for name in others}
    elsewhere = [
        name
        for name, agreement in agreements.items()
        if agreement is not None and agreement < DISAGREE and name not in alike
    ]
    return alike, elsewhere


def likeness_line(session: Session) -> str:
    """Return the sentence as HTML, of the decoded paths in sight; "" where nothing is clear."""
    image = session.image
    changes = {} if image is None else changes_of(image.ready_paths())
    for name in session.weak_directions:  # folded out of sight
        changes.pop(name, None)
    if len(changes) < 2:
        return ""
    first = next(iter(changes))
    alike, elsewhere = alike_and_elsewhere(changes)
    parts = []
    if alike:
        parts.append(f"{listed([first, *alike], session)} change this picture alike")
    if elsewhere:
        verb = "changes" if len(elsewhere) == 1 else "change"
        others = listed(elsewhere, session)
        parts.append(f"{others} {verb} other places than {listed([first], session)}")
    return f'<p class="gcd-likeness">{"; ".join(parts)}.</p>' if parts else ""


def listed(names: Sequence[str], session: Session) -> str:
    """Names of directions of the set in use as HTML: "g, h1 and h2"."""
    return enumerated([way_of(session, name) for name in names])
