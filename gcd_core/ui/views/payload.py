"""What a session says in numbers: the answers of the API, and what the charts draw."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch

from gcd_core.domains.cautions import cautions, unreproduced
from gcd_core.method.directions import DirectionSet
from gcd_core.method.loss import THRESHOLD
from gcd_core.method.repeatability import unrepeatable
from gcd_core.ui.frames import Frame, alpha_grid
from gcd_core.ui.session.heatmaps import line_vector
from gcd_core.ui.session.regions import Tried
from gcd_core.ui.session.session import Session
from gcd_core.ui.views.charts import Points, crosses
from gcd_core.ui.views.data_urls import drawn
from gcd_core.wording import percent


def label_names(session: Session, label: str | None = None) -> tuple[str, str]:
    """A label's negative and positive, as a doctor reads them; by default the explained one's."""
    return session.service.domain.label_names[label or session.label]


def flipped(session: Session) -> bool:
    """Whether a move took the prediction to the other side of the source's.

    A reconstruction alone may do so too, of an image that the generator does not know; that is no
    counterfactual.
    """
    opened, current = session.opened, session.current
    if opened is None or current is None or not session.alphas:
        return False
    i = session.index
    return crosses(opened.source.probabilities[i], current.probabilities[i])


def cautions_of(session: Session) -> list[str]:
    """What a reader must know of the explained label before a flip means anything."""
    opened, current, domain = session.opened, session.current, session.service.domain
    if opened is None or current is None:
        return []
    before = dict(zip(domain.labels, opened.source.probabilities, strict=True))
    after = dict(zip(domain.labels, current.probabilities, strict=True))
    found = cautions(domain.label_info, session.label, before, after if session.alphas else None)
    return found + unrepeatable(session.directions)


def reconstruction_flips(session: Session) -> bool:
    """Whether the classifier takes the picture at rest, the image's reconstruction, for another."""
    opened, i = session.opened, session.index
    return opened is not None and crosses(
        opened.source.probabilities[i], opened.rest.probabilities[i]
    )


def reconstruction_caution(session: Session) -> str:
    """What must be known where encoding and decoding alone moves the classifier; else nothing."""
    opened, i = session.opened, session.index
    if opened is None:
        return ""
    return unreproduced(opened.source.probabilities[i], opened.rest.probabilities[i])


def oracle_follows(session: Session) -> bool | None:
    """Whether the oracle, too, changed its mind at a flip; None without one, or where none is."""
    opened, current, i = session.opened, session.current, session.index
    if opened is None or current is None or not flipped(session):
        return None
    if opened.source.oracle is None or current.oracle is None:
        return None
    before, after = opened.source.oracle[i], current.oracle[i]
    return None if before is None or after is None else crosses(before, after)


def convincing(session: Session, margin: float) -> bool:
    """Whether the picture is flipped, and lies that far beyond the threshold, 0 to 0.5."""
    current = session.current
    if current is None or not flipped(session):
        return False
    return abs(current.probabilities[session.index] - THRESHOLD) >= margin


def state_payload(session: Session) -> dict[str, Any]:
    """What the page shows in numbers and words, for machines."""
    opened, current = session.opened, session.current
    answer: dict[str, Any] = {
        "label": session.label,
        "directions": session.names,
        "folded": session.folded,
        "set": session.sets.used(session.label),
    }
    if opened is not None and current is not None:
        labels = session.service.domain.labels
        answer |= {
            "image_name": opened.name,
            "notice": opened.notice,
            "fitted": opened.fitted,
            "cautions": cautions_of(session),
            "off_distribution": opened.off_distribution_score,
            "alphas": {n: session.alphas.get(n, 0.0) for n in session.names},
            "moved": session.moved,
            "before": dict(zip(labels, opened.source.probabilities, strict=True)),
            "after": dict(zip(labels, current.probabilities, strict=True)),
            "flipped": flipped(session),
            "reconstruction_flips": reconstruction_flips(session),
            "reconstruction_caution": reconstruction_caution(session),
            "oracle": {
                "before": opinion(opened.source, labels),
                "after": opinion(current, labels),
                "follows": oracle_follows(session),
            },
            "lpips": current.distance,
            "in_full": not current.live,
        }
    return answer


def payload_of(session: Session, **more: object) -> dict[str, Any]:
    """Everything that the page shows, for machines; the picture as a data address.

    The page itself gets no picture here, as its HTML has it.

    Parameters
    ----------
    session : Session
    **more
        What an event adds.
    """
    current = session.current
    picture = {} if current is None else {"image": drawn(current.image)}
    return session.sent_pictures.without_pictures(state_payload(session) | picture | more)


def verdict(tried: Tried, source_probability: float, positive: str) -> str:
    """What came of a region, in a sentence."""
    path = tried.path
    before, after = (
        percent(source_probability),
        percent(float(path.probabilities[path.counterfactual])),
    )
    if path.counterfactual_flips:
        return f"Changing only this region turns {positive} {before} into {after}."
    return f"Changing only this region cannot: {positive} {before} comes as far as {after}."


def opinion(frame: Frame, labels: Sequence[str]) -> dict[str, float | None] | None:
    """The oracle's probabilities of a picture by label; None where it was not asked."""
    return None if frame.oracle is None else dict(zip(labels, frame.oracle, strict=True))


def ways_found(directions: DirectionSet) -> tuple[int, int]:
    """How many independent ways a search looked for, and how many it found.

    A file that does not say what was looked for, as older ones, looked for none.
    """
    settings = directions.metadata.get("settings")
    wanted = settings.get("n_ways") if isinstance(settings, dict) else None
    found = sum(name.startswith("w") for name in directions.names)
    return wanted if type(wanted) is int else 0, found


def line_name(session: Session) -> str:
    """What the line through the current picture is along: "g", or "g + h1"."""
    return " + ".join(session.alphas) or session.moved


def place_on_line(session: Session) -> tuple[float, float]:
    """Where the picture is on that line, and how far the line is to be drawn either way.

    Along one direction that is its alpha, signed; along several, the distance from the image's code
    in z_sem, 0 or more.
    """
    alpha_max = session.service.domain.alpha_max
    if len(session.alphas) < 2 or session.directions is None:
        return session.alphas.get(session.moved, 0.0), alpha_max
    _, length = line_vector(session.directions, session.alphas)
    return length, max(alpha_max, length)


def measured_curve(session: Session) -> Points:
    """The classifier's answers on the line through the current picture, as (alpha, probability).

    Along several directions they are known once that line has been followed, as far as it goes.
    """
    if len(session.alphas) < 2:
        path = session.path(line_name(session))
    else:
        line = session.line()
        path = None if line is None else line[0]
    if path is None:
        return []
    return list(zip(path.alphas.tolist(), path.probabilities.tolist(), strict=True))


@torch.inference_mode()
def proxy_curve(session: Session) -> Points:
    """The proxy's prediction on the line through the current picture, to either side of the image.

    Pairs (alpha, probability), or none where the directions come without a proxy.
    """
    opened, directions, name = session.opened, session.directions, session.moved
    if directions is None or opened is None or name not in session.names:
        return []
    _, most = place_on_line(session)
    several = len(session.alphas) > 1
    vector = line_vector(directions, session.alphas)[0] if several else directions[name].vector
    z_sem = opened.latent.z_sem
    steps = torch.tensor(alpha_grid(most)).to(z_sem)
    logits = directions.proxy_logit(z_sem + steps[:, None] * vector.to(z_sem))
    if logits is None:
        return []
    return list(zip(steps.tolist(), torch.sigmoid(logits.float()).tolist(), strict=True))


def proxy_here(session: Session, proxy: Points) -> float | None:
    """The proxy's probability at the current picture, linear between its points; None without."""
    at, _ = place_on_line(session)
    for (left, low), (right, high) in pairwise(proxy):
        if left <= at <= right:
            return low + (high - low) * (at - left) / (right - left)
    return None
