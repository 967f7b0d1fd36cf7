"""A session in numbers: the answers of the page's API, and the values of its charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gcd_core.classifiers.base import notice_of
from gcd_core.classifiers.cache import fingerprint
from gcd_core.classifiers.questions import PLAIN, Question
from gcd_core.domains.cautions import (
    Caution,
    cautions,
    found_otherwise,
    missing_premise,
    of_another_kind,
    premise_between,
    unreproduced,
)
from gcd_core.domains.opening import Domain
from gcd_core.method.changes import told
from gcd_core.method.directions import DirectionSet
from gcd_core.method.loss import THRESHOLD, crosses
from gcd_core.method.no_flip import no_flip
from gcd_core.method.path import Path
from gcd_core.method.repeatability import unrepeatable
from gcd_core.method.second_opinion import DISAGREED, STAYS, second_opinion
from gcd_core.report.captions import direction_name
from gcd_core.ui.frames import Frame
from gcd_core.ui.session.open_image import OpenImage
from gcd_core.ui.session.regions import Tried
from gcd_core.ui.session.session import Session
from gcd_core.ui.views.charts import Premise
from gcd_core.ui.views.data_urls import drawn
from gcd_core.ui.views.vocabulary import way
from gcd_core.wording import PLAIN as PLAIN_WORDS
from gcd_core.wording import Worded, enumerated, signed, worded


def label_names(shown: Session | OpenImage, label: str | None = None) -> tuple[str, str]:
    """Return a label's negative and positive name; by default those of the explained label."""
    return shown.service.domain.label_names[label or shown.label]


def question_of(shown: Session | OpenImage, label: str | None = None) -> Question:
    """Return what a label asks; by default the explained one."""
    return shown.service.domain.label_info[label or shown.label].question


def flipped(image: OpenImage) -> bool:
    """Whether a move took the answer to the other side of the source's, which had one.

    A label that means nothing of the source (`missing_premise`) had no answer that could flip, and
    one that means nothing of the changed picture has none now.
    """
    return crossed(image) and not premise_missing(image) and not takes_premise(image)


def answers_yes(image: OpenImage) -> bool:
    """Whether the classifier takes the original for the explained label."""
    return image.opened.source.probabilities[image.index] >= THRESHOLD


def crossed(image: OpenImage) -> bool:
    """Whether a move took the probability to the other side of the source's.

    At rest this is False. The reconstruction alone may change the prediction, where the generator
    cannot draw the image; that is not a counterfactual.
    """
    i, sliders = image.index, image.sliders
    return bool(sliders.alphas) and crosses(
        image.opened.source.probabilities[i], sliders.current.probabilities[i]
    )


def cautions_of(image: OpenImage) -> list[str]:
    """Return what a reader must know before a flip of the explained label means anything."""
    return [*label_cautions(image), *other_cautions(image)]


def label_cautions(image: OpenImage) -> list[Caution]:
    """Return those about the label itself, the gravest first: they stand by the pictures."""
    domain, sliders = image.service.domain, image.sliders
    before = dict(zip(domain.labels, image.opened.source.probabilities, strict=True))
    after = dict(zip(domain.labels, sliders.current.probabilities, strict=True))
    found = cautions(domain.label_info, image.label, before, after if sliders.alphas else None)
    foreign = foreign_kind(image)
    return found if foreign is None else [foreign, *found]


def foreign_kind(image: OpenImage) -> Caution | None:
    """Return a warning of a picture unlike both kinds that the explained label tells apart."""
    domain = image.service.domain
    only_for = domain.label_info[image.label].only_for
    if not only_for:
        return None
    statistics = domain.code_statistics(image.label)
    return of_another_kind(only_for, statistics, image.opened.latent.z_sem)


def is_unlike(image: OpenImage) -> bool:
    """Whether the picture is unlike what the models or the label are for: a flip may mean nothing.

    Then it is told beside the picture.
    """
    return image.is_far or foreign_kind(image) is not None


def other_cautions(image: OpenImage) -> list[str]:
    """Return those about the classifier and the directions."""
    domain = image.service.domain
    noticed = notice_of(domain.classifier)
    found = [noticed] if noticed else []
    found += unrepeatable(image.directions)
    return found + found_otherwise(image.directions, domain.detail)


def premise_missing(image: OpenImage) -> str:
    """What the explained label is asked of only, where the original lacks it; else ""."""
    domain = image.service.domain
    before = dict(zip(domain.labels, image.opened.source.probabilities, strict=True))
    return missing_premise(domain.label_info, image.label, before)


def takes_premise(image: OpenImage) -> bool:
    """Whether the changed picture lacks what the explained label is asked of only."""
    premise = premise_of(image, image.label)
    return premise is not None and premise.after < THRESHOLD <= premise.before


def premise_of(image: OpenImage, label: str) -> Premise | None:
    """What must hold for a label to mean anything, before and now; None where nothing must."""
    domain = image.service.domain
    found = premise_between(domain.label_info, label, image.label)
    if found is None:
        return None
    name, negated = found
    i, info = domain.labels.index(name), domain.label_info[name]
    before, after = (
        1 - frame.probabilities[i] if negated else frame.probabilities[i]
        for frame in (image.opened.source, image.sliders.current)
    )
    return Premise(name, info.negative if negated else info.positive, before, after, negated)


def reconstruction_flips(image: OpenImage) -> bool:
    """Whether the classifier's prediction for the reconstruction differs from the source's."""
    i, opened = image.index, image.opened
    return crosses(opened.source.probabilities[i], opened.reconstruction.probabilities[i])


def reconstruction_caution(image: OpenImage) -> str:
    """Return a warning if the reconstruction alone moves the classifier; else ""."""
    i, opened = image.index, image.opened
    before, again = opened.source.probabilities[i], opened.reconstruction.probabilities[i]
    return unreproduced(before, again, question_of(image))


def opinion_of_flip(image: OpenImage) -> str | None:
    """What `second_opinion` says of the flip; None without a flip or without an oracle.

    That the two disagreed from the start is said without a flip too.
    """
    i, source, current = image.index, image.opened.source, image.sliders.current
    before = None if source.oracle is None else source.oracle[i]
    after = None if current.oracle is None else current.oracle[i]
    if before is None:
        return None
    if crosses(source.probabilities[i], before):
        return DISAGREED
    if after is None or not flipped(image):
        return None
    return second_opinion(source.probabilities[i], before, after)


def moves_alone(image: OpenImage) -> bool:
    """Whether a change takes the second opinion to the other side, and not the classifier."""
    i, source, current = image.index, image.opened.source, image.sliders.current
    if source.oracle is None or current.oracle is None or opinion_of_flip(image) is not None:
        return False
    before, after = source.oracle[i], current.oracle[i]
    if before is None or after is None or crossed(image):
        return False
    return crosses(before, after)


def first_disagreement(image: OpenImage) -> Caution:
    """Return what is said where the second opinion disagrees about the source; else ""."""
    if opinion_of_flip(image) != DISAGREED:
        return Caution("")
    opinions = image.opened.source.oracle
    opinion = None if opinions is None else opinions[image.index]
    assert opinion is not None  # or it could not disagree
    says = f"{label_names(image)[1]} {question_of(image).shown(opinion)}"
    whole = f"The second opinion disagrees about the original: {says}."
    return Caution(whole, short=f"The second opinion says {says}.")


def flip_clause(image: OpenImage) -> str:
    """Return how the picture changed where it flipped, and in which place; "" where that is unsure.

    "if darker in both lungs" only where the change in that place alone was asked about and flips,
    and all of the change but that does not; else "mostly darker in both lungs".
    """
    known = image.changed_place
    if not flipped(image) or not known.parts:
        return ""
    i, alone, rest = image.index, known.alone, known.rest
    before, flips = image.opened.source.probabilities[i], False
    if alone is not None and rest is not None:
        flips = crosses(before, alone[i]) and not crosses(before, rest[i])
    words = image.service.domain.change_words
    return f"{'if' if flips else 'mostly'} {told(known.parts, words)}"


def flip_sentence(image: OpenImage) -> str:
    """Return the answers before and after a flip, and `flip_clause`; "" where that is ""."""
    clause = flip_clause(image)
    if not clause:
        return ""
    i, shown = image.index, question_of(image).shown
    before, after = image.opened.source.probabilities[i], image.sliders.current.probabilities[i]
    change = f"{label_names(image)[1]} {shown(before)} \N{RIGHTWARDS ARROW} {shown(after)}"
    if clause.startswith("if "):
        return f"{change} {clause}."
    alone, rest = image.changed_place.alone, image.changed_place.rest
    tested = ""
    if alone is not None and rest is not None:
        tested = f" That place alone: {shown(alone[i])}; all but that place: {shown(rest[i])}."
    return f"{change}; {clause}.{tested}"


def convincing(image: OpenImage, margin: float) -> bool:
    """Whether the picture crossed the threshold, and lies `margin` or more from it."""
    probability = image.sliders.current.probabilities[image.index]
    return crossed(image) and abs(probability - THRESHOLD) >= margin


def target_of(image: OpenImage) -> dict[str, Any]:
    """Return what a counterfactual is to reach: how it is chosen, and how far from the threshold.

    `probability` is what the explained label's must fall to, or rise to, from this image.
    """
    domain = image.service.domain
    rises = image.opened.source.probabilities[image.index] < THRESHOLD
    return {
        "counterfactual": domain.counterfactual,
        "margin": domain.margin,
        "probability": THRESHOLD + domain.margin if rises else THRESHOLD - domain.margin,
    }


def fingerprints(image: OpenImage) -> dict[str, str]:
    """Return what tells the picture, the directions and the models from others, in hexadecimals."""
    models = model_fingerprints(image.service.domain, image.directions)
    return {"image": fingerprint(image.opened.image)[0].hex()} | models


def model_fingerprints(domain: Domain, directions: DirectionSet) -> dict[str, str]:
    """Return what tells the directions and the models from others, in hexadecimals."""
    return {
        "directions": fingerprint(directions.vectors.float()[None])[0].hex(),
        "generator": domain.generator.identity,
        "classifier": domain.classifier.identity,
        "perceptual": domain.perceptual.identity,
    }


def positives_of(shown: Session | OpenImage) -> dict[str, str]:
    """Return the positive answer of each label of the domain."""
    return {label: names[1] for label, names in shown.service.domain.label_names.items()}


def way_of(shown: Session | OpenImage, name: str, directions: DirectionSet | None = None) -> str:
    """Return a direction's name as HTML, as `way`: in the domain's own words.

    Of the set in use, or of another one.
    """
    found = shown.directions if directions is None else directions
    return way(name, found, positives_of(shown), shown.service.domain.change_words)


def why_no_flip(path: Path, image: OpenImage) -> str:
    """Return why a path of the image does not flip, in sentences; "" where it does.

    How near it came, whether a stronger walk would, and whether the generator fails to draw what
    the classifier reads.
    """
    found = no_flip(path)
    if found is None:
        return ""
    shown = f"{label_names(image)[1]} {question_of(image).shown(found.probability)}"
    nearest = Worded(f"nearest: {shown} at alpha {signed(found.alpha)}.", f"nearest: {shown}.")
    parts = [nearest, found.sentence, *filter(None, [reconstruction_caution(image)])]
    return Worded(" ".join(parts), " ".join(worded(part, PLAIN_WORDS) for part in parts))


def missed_target(image: OpenImage) -> str:
    """Return a sentence where *To flip* led to less than what was wanted; else ""."""
    target, sliders = image.sliders.target, image.sliders
    if target is None or not sliders.alphas:
        return ""
    called = direction_name(sliders.moved, image.directions, PLAIN_WORDS)
    if not crossed(image):
        path = image.paths.get(sliders.moved)
        found = None if path is None else no_flip(path)
        more = f" {found.sentence}" if found else ""
        plain = f" {worded(found.sentence, PLAIN_WORDS)}" if found else ""
        return Worded(
            f"Along {sliders.moved} the answer does not change: this is the nearest point.{more}",
            f"{called}: the answer does not change. This is the nearest point.{plain}",
        )
    if convincing(image, target):
        return ""
    shown, i = question_of(image).shown, image.index
    rises = sliders.current.probabilities[i] >= THRESHOLD
    wanted = THRESHOLD + target if rises else THRESHOLD - target
    start = f"{label_names(image)[1]} {shown(wanted)} was wanted; "
    most = f"{shown(sliders.current.probabilities[i])} is the most convincing."
    return Worded(f"{start}along {sliders.moved} {most}", f"{start}{called}: {most}")


def missed_in_short(image: OpenImage) -> str:
    """Return the same in a few words, for a narrow page, where `missed_target` says something."""
    if not crossed(image):
        return "No flip: this is the nearest point"
    shown, after = question_of(image).shown, image.sliders.current.probabilities[image.index]
    target = image.sliders.target or 0.0
    wanted = THRESHOLD + target if after >= THRESHOLD else THRESHOLD - target
    return f"{shown(wanted)} was wanted, {shown(after)} is reached"


def other_sentence(image: OpenImage) -> str:
    """Return what came of the search for another counterfactual that is shown; "" where none is."""
    other = image.others.here
    if other is None:
        return ""
    asked = f"the classifier was asked {other.queries} times"
    called = [direction_name(name, image.directions, PLAIN_WORDS) for name in other.avoided]
    plain, names = enumerated(called), enumerated(other.avoided)
    if not flipped(image):
        return Worded(
            f"Without {names} no flip; {other.queries} queries. The nearest found is shown.",
            f"Without {plain} no flip; {asked}. The nearest found is shown.",
        )
    return Worded(
        f"Without {names}; {other.queries} queries.",
        f"Without {plain}; {asked}.",
    )


def other_payload(image: OpenImage) -> dict[str, Any] | None:
    """Return the same as JSON holds it; None where none is shown."""
    other = image.others.here
    if other is None:
        return None
    return {
        "avoided": list(other.avoided),
        "queries": other.queries,
        "flipped": flipped(image),
        "sentence": other_sentence(image),
    }


def state_payload(session: Session) -> dict[str, Any]:
    """Return what the page shows, in numbers and words, as JSON holds it."""
    image = session.image
    answer: dict[str, Any] = {
        "label": session.label,
        "directions": [],
        "folded": [],
        "set": session.sets.used(session.label),
    }
    return answer if image is None else answer | _image_payload(image)


def _image_payload(image: OpenImage) -> dict[str, Any]:
    """Return the part of `state_payload` about the open image."""
    opened, sliders, labels = image.opened, image.sliders, image.service.domain.labels
    current = sliders.current
    return {
        "directions": image.names,
        "folded": image.weak_directions,
        "image_name": opened.name,
        "notice": opened.notice,
        "fitted": opened.fitted,
        "cautions": cautions_of(image),
        "off_distribution": opened.off_distribution_score,
        "alphas": {n: sliders.alphas.get(n, 0.0) for n in image.names},
        "moved": sliders.moved,
        "missed_target": missed_target(image),
        "sentence": flip_sentence(image),
        "before": dict(zip(labels, opened.source.probabilities, strict=True)),
        "after": dict(zip(labels, current.probabilities, strict=True)),
        "flipped": flipped(image),
        "premise_missing": premise_missing(image),
        "reconstruction_flips": reconstruction_flips(image),
        "reconstruction_caution": reconstruction_caution(image),
        "oracle": {
            "before": opinion(opened.source, labels),
            "after": opinion(current, labels),
            "opinion": opinion_of_flip(image),
        },
        "lpips": current.distance,
        "exposure": exposure_payload(image),
        "in_full": not current.live,
    }


def exposure_payload(image: OpenImage) -> dict[str, Any]:
    """Return how much of the change is brightness and contrast, as JSON holds it.

    `without` has the classifier's probabilities of the change without them, by label, and
    `flips_without` whether that flips; None where it was not asked.
    """
    known, i = image.exposure.get(), image.index
    if known is None:
        return {"share": image.exposure.share, "without": None, "flips_without": None}
    return {
        "share": image.exposure.share,
        "without": dict(zip(image.service.domain.labels, known.probabilities, strict=True)),
        "flips_without": crosses(image.opened.source.probabilities[i], known.probabilities[i]),
    }


def payload_of(session: Session, **more: object) -> dict[str, Any]:
    """Return `state_payload`, the picture as a data address, and what an event adds.

    The page itself gets no picture here: its HTML has it.
    """
    image = session.image
    picture = {} if image is None else {"image": drawn(image.sliders.current.picture)}
    return session.sent_pictures.without_pictures(state_payload(session) | picture | more)


def verdict(
    tried: Tried, source_probability: float, positive: str, question: Question = PLAIN
) -> str:
    """Say in a sentence whether changing a region alone flips the prediction."""
    path = tried.path
    before, after = (
        question.shown(source_probability),
        question.shown(float(path.probabilities[path.counterfactual])),
    )
    if path.counterfactual_flips:
        return f"Changing only this region turns {positive} {before} into {after}."
    way = "rises" if path.sign > 0 else "falls"
    moves = f"{before} {way} to {after}, and no further in what was tried"
    if before == after:
        moves = f"stays at {after}"
    return f"Changing only this region does not change the answer: {positive} {moves}."


def doubts_about(tried: Tried, question: Question = PLAIN, premise: str = "") -> list[str]:
    """Say, in a sentence each, why a flip within a region may not mean much; most often nothing.

    `premise` is what the label is asked of only, where the original lacks it (`premise_missing`).
    """
    path = tried.path
    doubts: list[str] = []
    if not path.counterfactual_flips:
        return doubts
    if premise:
        doubts.append(f"The original has no {premise}: the answer meant nothing before.")
    if not tried.convincing:
        after = float(path.probabilities[path.counterfactual])
        wanted = path.threshold + path.margin * (1 if after >= path.threshold else -1)
        doubts.append(f"It misses the certainty that was wanted, {question.shown(wanted)}.")
    if not tried.plausible:
        doubts.append(
            "The region does not look like one of a real picture: the generator redraws it "
            f"{tried.redrawing:.1f} times worse than the original's."
        )
    if tried.opinion == STAYS:
        doubts.append("The second opinion does not follow.")
    if tried.opinion == DISAGREED:
        doubts.append("The second opinion disagreed from the start.")
    return doubts


def opinion(frame: Frame, labels: Sequence[str]) -> dict[str, float | None] | None:
    """Return the oracle's probabilities of a picture by label; None if it was not asked."""
    return None if frame.oracle is None else dict(zip(labels, frame.oracle, strict=True))
