"""What is said of brightness and contrast: their share of the change, the answer without them."""

from __future__ import annotations

from html import escape

from gcd_core.method.exposure import is_doubtful
from gcd_core.method.loss import crosses
from gcd_core.report.captions import exposure_words, without_exposure_words
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.views.payload import flipped, label_names, question_of
from gcd_core.ui.views.vocabulary import term
from gcd_core.wording import percent_of_all


def exposure_line(image: OpenImage) -> str:
    """Return, as HTML, how much of the change is brightness and contrast; "" before a move.

    With what the classifier says without them, where it was asked.
    """
    if not image.sliders.alphas:
        return ""
    css = " doubtful" if flip_is_doubtful(image) else ""
    channels, without = image.opened.image.shape[-3], without_words(image)
    more = exposure_words(image.exposure.share, channels, without)
    name = term("exposure" if channels == 1 else "colour_exposure", more)
    flips = flips_without(image)
    verdict = {True: ", flips without it", False: ", no flip without it", None: ""}[flips]
    share = escape(percent_of_all(image.exposure.share))
    return (
        f'<div class="gcd-number gcd-exposure{css}"><span>of it {name}</span>'
        f"<b>{share}{verdict}</b></div>"
    )


def flips_without(image: OpenImage) -> bool | None:
    """Whether a flip stays one without brightness and contrast; None where that is not known."""
    known, i = image.exposure.get(), image.index
    if known is None or not flipped(image):
        return None
    before, after = (one.probabilities[i] for one in (image.opened.source, known))
    return crosses(before, after)


def exposure_is_asked(image: OpenImage) -> bool:
    """Whether the page will ask about a flip without brightness and contrast, and has not yet."""
    return image.exposure.get() is None and image.service.classifier_is_free


def exposure_caution(image: OpenImage) -> str:
    """Return the same as plain text, where a flip may be made of them; else ""."""
    if not image.sliders.alphas or not flip_is_doubtful(image):
        return ""
    channels = image.opened.image.shape[-3]
    return exposure_words(image.exposure.share, channels, without_words(image))


def flip_is_doubtful(image: OpenImage) -> bool:
    """Whether brightness and contrast may be what made the flip, as `is_doubtful` has it."""
    known, i = image.exposure.get(), image.index
    before, after = image.opened.source.probabilities[i], image.sliders.current.probabilities[i]
    without = None if known is None else known.probabilities[i]
    return is_doubtful(image.exposure.share, before, after, without)


def without_words(image: OpenImage) -> str:
    """Return what the classifier says without them in a sentence; "" where it was not asked."""
    known, i = image.exposure.get(), image.index
    if known is None:
        return ""
    before, after = image.opened.source.probabilities[i], known.probabilities[i]
    positive, question = label_names(image)[1], question_of(image)
    return without_exposure_words(positive, before, after, flipped(image), question)
