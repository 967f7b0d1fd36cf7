"""The curve of an opened image: what was measured on its line, what was expected, and the gaps."""

from __future__ import annotations

from html import escape
from itertools import pairwise

import torch
from torch import Tensor

from gcd_core.method.settings import BALL
from gcd_core.ui.frames import alpha_grid, line_vector
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.views import charts
from gcd_core.ui.views.charts import Points
from gcd_core.ui.views.figures import SAVE
from gcd_core.ui.views.maps import line_words
from gcd_core.ui.views.payload import label_names, question_of
from gcd_core.ui.views.vocabulary import said, term, told
from gcd_core.wording import Worded

DRAWN_GAP = 0.05  # of probability, between the measured curve and the picture shown in full
PROXY_GAP = 0.15  # between the proxy's and the classifier's probability, from which a line says so


def curve_card(image: OpenImage) -> str:
    """Return the curve of classifier and proxy on the line through the current picture."""
    if not image.names:
        return ""
    sliders, alphas = image.sliders, image.sliders.alphas
    measured, proxy = measured_curve(image), proxy_curve(image)
    probability = sliders.current.probabilities[image.index]
    at, most = place_on_line(image)
    question = question_of(image)
    plot = charts.curve(
        measured,
        proxy,
        (at, probability),
        most,
        label_names(image),
        sliders.moved if len(alphas) < 2 else "",
        question,
    )
    positive, sentence = escape(label_names(image)[1]), curve_gap(image)
    gap = f'<p class="gap">{told(sentence)}</p>' if sentence else ""
    name = said(": ", " along ") + line_words(list(alphas) or [sliders.moved], image.directions)
    keys = f'<i class="measured"></i>{term("classifier")}'
    if proxy:
        keys += f'<i class="proxy"></i>{term("proxy" if has_networks(image) else "slope")}'
    return (
        f'<div class="gcd-card"><h2><span>{positive}{name}</span><small>{keys}</small>'
        f"{SAVE}</h2>{plot}{gap}</div>"
    )


def place_on_line(image: OpenImage) -> tuple[float, float]:
    """Return where the picture is on its line, and how far the line is drawn to either side.

    Along one direction the place is its alpha. Along several it is the distance in z_sem from the
    image's code, with the sign of the direction that moved most.
    """
    sliders, alpha_max = image.sliders, image.service.domain.alpha_max
    alphas = sliders.alphas
    if len(alphas) < 2:
        return alphas.get(sliders.moved, 0.0), alpha_max
    _, place = line_vector(image.directions, alphas)
    return place, max(alpha_max, abs(place))


def measured_curve(image: OpenImage) -> Points:
    """Return (alpha, probability) where the classifier was asked on the picture's line.

    Empty before the line is decoded.
    """
    alphas = image.sliders.alphas
    path = image.flips.known_in_full(alphas)
    if path is None and len(alphas) < 2:
        path = image.paths.get(next(iter(alphas), image.sliders.moved))
    elif path is None:
        path, _ = image.maps.line() or (None, 0)
    if path is None:
        return []
    return sorted(zip(path.alphas.tolist(), path.probabilities.tolist(), strict=True))


def proxy_curve(image: OpenImage) -> Points:
    """Return (alpha, probability) as the proxy predicts it on the picture's line.

    Empty if the directions have no proxy. The proxy of a search over codes knows the logit's mean
    over all z_T; what the picture's own is at rest is known, so the curve starts from there.
    """
    directions, name, alphas = image.directions, image.sliders.moved, image.sliders.alphas
    if name not in image.names:
        return []
    _, most = place_on_line(image)
    if len(alphas) > 1:
        return _expected(image, line_vector(directions, alphas)[0], most)
    if name not in image.expected:
        image.expected[name] = _expected(image, directions[name].vector, most)
    return image.expected[name]


@torch.inference_mode()
def _expected(image: OpenImage, vector: Tensor, most: float) -> list[tuple[float, float]]:
    """What the proxy predicts along a unit vector (D,), as far as `most`; empty without one."""
    directions = image.directions
    z_sem = image.opened.latent.z_sem
    steps = torch.tensor(alpha_grid(most)).to(z_sem)
    places = torch.cat([z_sem, z_sem + steps[:, None] * vector.to(z_sem)])
    expected = directions.proxy_logit(places)
    if expected is None:
        return []
    at_rest, logits = expected[0], expected[1:]
    settings = directions.metadata.get("settings")
    sampling = settings.get("sampling", BALL) if isinstance(settings, dict) else BALL
    if sampling != BALL:
        own = image.opened.source.probabilities[image.index]
        logits = logits + torch.logit(torch.as_tensor(own), eps=1e-6) - at_rest
    return list(zip(steps.tolist(), torch.sigmoid(logits.float()).tolist(), strict=True))


def value_here(image: OpenImage, points: Points) -> float | None:
    """Return a curve's probability at the picture, linear between its points; None without."""
    at, _ = place_on_line(image)
    for (left, low), (right, high) in pairwise(points):
        if left <= at <= right:
            return low + (high - low) * (at - left) / (right - left)
    return None


def has_networks(image: OpenImage) -> bool:
    """Whether networks were trained as the proxy of the directions in use, not a line fitted."""
    proxy = image.directions.proxy
    return proxy is not None and len(proxy.networks) > 0


def misses_picture(image: OpenImage) -> bool:
    """Whether the curve of quick drawings is far from the answer to the picture shown in full."""
    current, drawn = image.sliders.current, value_here(image, measured_curve(image))
    if drawn is None or current.live:
        return False
    if image.flips.known_in_full(image.sliders.alphas) is not None:
        return False
    return abs(drawn - current.probabilities[image.index]) >= DRAWN_GAP


def curve_gap(image: OpenImage) -> str:
    """Return in a sentence that a curve misses the answer to the picture; "" where none does.

    The measured curve is of the fast decoder's pictures where there is one.
    """
    drawn = value_here(image, measured_curve(image))
    if drawn is not None and misses_picture(image):
        shown = question_of(image).shown
        told = f"{shown(drawn)} here; the picture in full gets"
        probability = image.sliders.current.probabilities[image.index]
        return Worded(
            f"The curve is of the distilled decoder: {told} {shown(probability)}.",
            f"The curve is of quick drawings: {told} {shown(probability)}.",
        )
    return proxy_gap(image)


def proxy_gap(image: OpenImage) -> str:
    """Return that the proxy expected another answer to the picture shown; "" where it is near."""
    shown, expected = question_of(image).shown, value_here(image, proxy_curve(image))
    probability = image.sliders.current.probabilities[image.index]
    if expected is None or abs(expected - probability) < PROXY_GAP:
        return ""
    told = f"expected {shown(expected)} here; the classifier says {shown(probability)}."
    by = "proxy" if has_networks(image) else "linear fit"
    return Worded(f"The {by} {told}", f"The search {told}")
