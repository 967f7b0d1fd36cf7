"""What a session says in numbers: the answers of the API, and what the charts draw."""

from __future__ import annotations

from typing import Any

import torch

from gcd_core.method.directions import DirectionSet
from gcd_core.ui.addresses import drawn
from gcd_core.ui.charts import Points, crosses
from gcd_core.ui.state.frames import latent_at
from gcd_core.ui.state.positions import alpha_grid
from gcd_core.ui.state.session import Session


def label_names(session: Session, label: str | None = None) -> tuple[str, str]:
    """A label's negative and positive, as a doctor reads them; by default the explained one's."""
    return session.explorer.domain.label_names[label or session.label]


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


def can_flip(session: Session, name: str) -> bool:
    """Whether the path along a direction flips the prediction; True while that is unknown."""
    path = session.path(name)
    return path is None or bool(path.flipped)


def numbers_of(session: Session, **more: object) -> dict[str, Any]:
    """Everything that the page shows, for machines; the picture as a data address.

    Parameters
    ----------
    session : Session
    **more
        What an event adds.
    """
    opened, current = session.opened, session.current
    answer: dict[str, Any] = {
        "label": session.label,
        "directions": session.names,
        "folded": session.folded,
    }
    if opened is not None and current is not None:
        labels = session.explorer.domain.labels
        answer |= {
            "image_name": opened.name,
            "notice": opened.notice,
            "off_distribution": opened.foreign,
            "alphas": {n: session.alphas.get(n, 0.0) for n in session.names},
            "moved": session.moved,
            "before": dict(zip(labels, opened.source.probabilities, strict=True)),
            "after": dict(zip(labels, current.probabilities, strict=True)),
            "flipped": flipped(session),
            "lpips": current.distance,
            "in_full": not current.live,
            "image": drawn(current.image),
        }
    return answer | more


def ways_found(directions: DirectionSet) -> tuple[int, int]:
    """How many independent ways a search looked for, and how many it found.

    A file that does not say what was looked for, as older ones, looked for none.
    """
    settings = directions.metadata.get("settings")
    wanted = settings.get("n_ways") if isinstance(settings, dict) else None
    found = sum(name.startswith("w") for name in directions.names)
    return wanted if type(wanted) is int else 0, found


def measured_curve(session: Session) -> Points:
    """The classifier's answers along the moved direction alone, as (alpha, probability)."""
    path = session.path(session.moved)
    if path is None:
        return []
    return list(zip(path.alphas.tolist(), path.probabilities.tolist(), strict=True))


@torch.inference_mode()
def proxy_curve(session: Session) -> Points:
    """The proxy's prediction along the moved direction, from where the other sliders stand.

    Pairs (alpha, probability), or none where the directions come without a proxy.
    """
    opened, directions, name = session.opened, session.directions, session.moved
    if directions is None or opened is None or name not in session.names:
        return []
    others = {n: alpha for n, alpha in session.alphas.items() if n != name}
    z_sem = latent_at(opened, directions, others).z_sem
    alphas = alpha_grid(session.explorer.domain.alpha_max)
    steps = torch.tensor(alphas).to(z_sem)[:, None]
    logits = directions.proxy_logit(z_sem + steps * directions[name].vector.to(z_sem))
    if logits is None:
        return []
    return list(zip(alphas, torch.sigmoid(logits.float()).tolist(), strict=True))
