"""A plan in words."""

from gcd_core.new_domain.plan import Plan

WORDS = {
    "data": "reading the pictures",
    "classifier": "train the classifier",
    "oracle": "train the second opinion",
    "codec": "train the codec (pictures to latents and back)",
    "diffae": "train the diffusion autoencoder (codes)",
    "distilled": "train the fast decoder",
    "decoder": "train the codec's decoder further (sharper pictures)",
    "assemble": "put the domain together",
    "calibrate": "measure what codes and usual pictures are like",
    "examples": "make synthetic examples",
    "walk": "choose how far a walk goes",
    "measure": "measure it on test pictures",
    "sanity": "check whether it can be trusted",
    "finish": "write the card, check, and put it in its place",
}


def told(plan: Plan, first: str) -> str:
    """The plan for a person below `first`: a line for each part, and what can be seen when."""
    lines = [first, ""]
    at = 0.0
    for number, planned in enumerate(plan.rounds, 1):
        lines.append(f"round {number}, {planned.minutes:.0f} minutes:")
        for part in planned.parts:
            at += part.minutes
            lines.append(f"  {part.minutes:6.1f} min  until {at:5.0f}  {words(part.name)}")
        last = number == len(plan.rounds)
        lines.append(
            f"  after {at:.0f} minutes the domain opens"
            + (", with its card and verdict." if last else "; the next round makes it better.")
        )
    lines.append(f"disk: {plan.disk / 1e9:.1f} GB, of which the domain takes about 0.07")
    return "\n".join(lines)


def words(name: str) -> str:
    """A part's name for a person."""
    kind, _, label = name.partition(":")
    return f"find directions of {label!r}" if kind == "find" else WORDS[kind]
