"""The About tab: what this is and is not, the method in three pictures, citation, licences."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import gradio as gr

from gcd_core.domains.opening import Check, Domain
from gcd_core.method.counterfactual import LOWEST_LOSS, SMALLEST
from gcd_core.method.loss import THRESHOLD
from gcd_core.ui.views.vocabulary import TERMS, said
from gcd_core.wording import percent, percent_of_all

COUNTERFACTUALS = {  # in plain words and in the field's
    SMALLEST: (
        "the first picture of the way from which on the classifier is clearly of the other opinion",
        "the first point of the walk whose probability lies the margin beyond the threshold, "
        "narrowed by bisection; what the full decoder draws may need a little more",
    ),
    LOWEST_LOSS: (
        "a change that goes well past the point where the answer changes",
        "the point of the walk with the lowest loss, often well past the threshold, where the flip "
        "is plain",
    ),
}
CHECKED = {  # what each check of `sanity` asks, in plain words
    "gap": "Does the answer of most pictures stay as it is when they are only drawn again?",
    "repeat": "Does another search find the same main way?",
    "reasons": "Of classifiers that read one place alone: does a map show that place?",
    "marker": "A classifier that learned a marker in the corner: does the page show it or warn?",
    "exposure": "A classifier that learned how bright pictures are: is that what changes?",
    "scrambled": "Of classifiers that learned nothing: is something else found?",
}
UNLESS = {  # what follows where a check is not passed, in plain words
    "gap": "Part of a changed answer may come from drawing the picture again.",
    "repeat": "Compare several searches before you believe one.",
    "reasons": "Do not take a map for the place that the classifier reads.",
    "marker": "A marker that a classifier learned may go unseen.",
    "exposure": "What changes in a picture may not be what the classifier reads.",
    "scrambled": "What ways and maps show here is partly how the pictures differ among themselves, "
    "whatever the classifier learned.",
}

CITATIONS = """@inproceedings{sobieski2024global,
  title     = {Global Counterfactual Directions},
  author    = {Sobieski, Bartlomiej and Biecek, Przemyslaw},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year      = {2024}
}

@inproceedings{preechakul2022diffusion,
  title     = {Diffusion Autoencoders: Toward a Meaningful and Decodable Representation},
  author    = {Preechakul, Konpat and Chatthee, Nattanat and Wizadwongsa, Suttisak and
               Suwajanakorn, Supasorn},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2022}
}"""

PERTURB = """<svg viewBox="0 0 260 150" role="img" aria-label="Pictures around one are asked about">
<circle class="ball" cx="96" cy="76" r="60"/><circle class="dot you" cx="96" cy="76" r="6"/>
<g class="dot"><circle cx="70" cy="44" r="3.5"/><circle cx="118" cy="40" r="3.5"/>
<circle cx="136" cy="82" r="3.5"/><circle cx="112" cy="114" r="3.5"/>
<circle cx="66" cy="104" r="3.5"/>
<circle cx="52" cy="72" r="3.5"/><circle cx="92" cy="30" r="3.5"/><circle cx="128" cy="60" r="3.5"/>
<circle cx="84" cy="124" r="3.5"/><circle cx="74" cy="66" r="3.5"/></g>
<path class="arrow" d="M164 76h34m-8-6 8 6-8 6"/>
<rect class="box" x="206" y="44" width="44" height="64" rx="8"/>
<path class="view" d="M212 98l10-16 8 10 5-6 9 12z"/>
<circle class="view" cx="238" cy="62" r="5"/></svg>"""

PROXY = """<svg viewBox="0 0 260 150" role="img" aria-label="Ways that lead to another answer">
<path class="level" d="M20 120C60 40 110 30 150 20"/>
<path class="level" d="M40 136C80 70 140 60 186 44"/>
<path class="level" d="M76 142C110 104 170 94 224 76"/>
<circle class="dot you" cx="112" cy="82" r="6"/><path class="arrow g" d="M112 82 70 38m0 11V38h11"/>
<path class="arrow h" d="M112 82l52-20m-11-2 11 2-6 9"/>
<path class="arrow h" d="M112 82 62 102m11 2-11-2 6-9"/>
<g class="expert"><text x="58" y="34">g</text><text x="170" y="62">h</text></g></svg>"""

WALK = """<svg viewBox="0 0 260 150" role="img" aria-label="On the way to another answer">
<line class="axis" x1="20" x2="244" y1="76" y2="76"/>
<path class="walk" d="M24 120C90 118 104 96 128 76S180 32 240 28"/>
<circle class="dot you" cx="40" cy="119" r="6"/>
<circle class="dot flip" cx="150" cy="56" r="6"/>
<text x="30" y="142">image</text><text class="expert" x="162" y="62">counterfactual</text>
<text class="plain" x="162" y="62">what flips it</text>
<text x="204" y="92">50 %</text></svg>"""
QUICKLY = " While a slider moves, the picture is drawn quickly; once it rests, in full."


def step(number: int, picture: str, title: str, text: str) -> str:
    """One step of the method: its number, its drawing and what happens in it, as HTML."""
    return (
        f'<article class="gcd-card gcd-step">{picture}<h2><i>{number}</i>{title}</h2>'
        f"<p>{text}</p></article>"
    )


def checked(check: Check, map_mass: Mapping[str, float]) -> str:
    """What a check of `sanity` found, as HTML; in plain words a question and its answer.

    `map_mass` is as of `Domain`: how much of each map lies in the place that is read.
    """
    sentence = escape(check.sentence)
    question = CHECKED.get(check.name, "")
    if not question:
        return sentence
    answer = f"{question} {'Yes' if check.passed else f'No. {UNLESS[check.name]}'}"
    if check.name == "reasons" and map_mass:
        first = max(map_mass, key=lambda name: map_mass[name])
        shares = [
            f"{TERMS[name].plain} {percent_of_all(share)}" for name, share in map_mass.items()
        ]
        if check.passed:
            answer = f"{question} One does, {TERMS[first].plain}"
        answer = f"{answer.rstrip('.')}. Of each map so much lies there: {', '.join(shares)}"
    return said(escape(f"{answer.rstrip('.')}."), sentence)


def method_steps(domain: Domain) -> str:
    """The method in three steps, as HTML."""
    plain, expert = COUNTERFACTUALS[domain.counterfactual]
    return (
        step(
            1,
            PERTURB,
            "Ask about new pictures",
            said(
                "A network that can draw such pictures makes many new ones, and the classifier is "
                "asked about each. It is not opened for this: only its answers count.",
                "A diffusion autoencoder turns an image into a short semantic code z_sem and a "
                "noise map z_T. Codes like those of the domain's images, or of a ball around one "
                "image's, are drawn and decoded, and the classifier, a black box, is asked about "
                "each picture.",
            ),
        )
        + step(
            2,
            PROXY,
            said("Learn which ways change the answer", "Learn a proxy, read off directions"),
            said(
                "From the answers it is learned which change of a picture changes them most: the "
                "main way. Others change the picture otherwise, or were looked for in one quarter "
                "of it. Every way is tried on examples before it is shown.",
                "The answers are predicted from the code. The slope of that is the direction g, "
                "its curvature gives h1, h2, &hellip; The directions by place w1, w2, &hellip; "
                "follow the slope by what they change in one quarter of the picture each, where a "
                "change elsewhere costs 30 times more. Every direction is tried on examples before "
                "it is shown.",
            ),
        )
        + step(
            3,
            WALK,
            said("Change a picture until the answer flips", "Walk until the prediction flips"),
            said(
                "The ways hold for <em>any</em> picture of this kind. What flips the answer is "
                f"{plain}{how_sure(domain)}. One map shows where the change mattered on the way; "
                "another puts parts of the changed picture into the original and asks which of "
                "them change the answer.",
                "The directions are global: moving <em>any</em> image along them changes the "
                f"prediction. The counterfactual is {expert}. The changes that the classifier "
                "cared about, summed along alpha, are the BB-LIG heat map; the map of cells pastes "
                "parts of the changed picture into the original, one selection after another, and "
                "asks which of them change the logit.",
            )
            + (QUICKLY if domain.generator.live_solver else ""),
        )
    )


def how_sure(domain: Domain) -> str:
    """How sure a flip is to be, and why, as more of the sentence that says what flips it."""
    if domain.counterfactual != SMALLEST or domain.oracle is None:
        return ""
    sure = percent(THRESHOLD + domain.margin)
    return f", here {sure} sure, chosen so that the second opinion most often agrees"


def about(domain: Domain, keep_minutes: int) -> str:
    """The tab's text for a domain.

    Parameters
    ----------
    domain : Domain
    keep_minutes : int
        For which a visit is kept after its page has gone.
    """
    checks = "".join(
        f'<li class="{"yes" if check.passed else "no"}">{checked(check, domain.map_mass)}</li>'
        for check in domain.sanity
    )
    trust = ""
    if checks:
        trust = (
            '<section class="gcd-card"><h2>Can it be trusted?</h2><p>Checks whose right answer is '
            f'known beforehand, made on this domain&rsquo;s own images:</p><ul class="gcd-checks">'
            f"{checks}</ul></section>"
        )
    return f"""<div class="gcd-about">
<section class="gcd-card gcd-warning"><h2>For research only</h2>
<p>GCD Explorer shows <em>what a classifier reacts to</em>. It is <b>not a medical device</b>, it
does not diagnose, and the changed pictures are synthetic: they are no forecast of a patient's
course. {said("What flips the answer", "A counterfactual")} explains this model, not the
disease.</p></section>
<section class="gcd-steps">{method_steps(domain)}</section>{trust}
<div class="gcd-columns"><section class="gcd-card"><h2>This domain</h2>
<p><b>{escape(domain.title)}</b>. {escape(domain.description)} {escape(domain.notice)}</p>
<p>{kept(keep_minutes)} <button type="button" class="gcd-link" data-do="forget-me">Forget
me</button> drops your images, {said("ways", "directions")} and searches now.</p>
<h2>Data and licences</h2>
<p>{escape(domain.credit)} {said("The measure of how much changed", "LPIPS")}: Zhang et al.,
BSD&nbsp;2-Clause.</p></section>
<section class="gcd-card"><h2>Citation</h2><pre>{escape(CITATIONS)}</pre></section></div></div>"""


def kept(minutes: int) -> str:
    """What is kept of a visitor, and for how long."""
    if not minutes:
        return (
            "Your images stay in the memory of this server while the page is open and are dropped "
            "when you leave."
        )
    return (
        "Your images stay in the memory of this server while the page is open, and for "
        f"{minutes} minutes after that. Within that time this tab of your browser finds the "
        "picture that was open last, and where its sliders stood; of the tiles of your other "
        "pictures it finds none: open their files again. Nothing of them is kept on disk."
    )


def build_about(domain: Domain, keep_minutes: int) -> None:
    """Lays out the tab."""
    gr.HTML(about(domain, keep_minutes), apply_default_css=False)
