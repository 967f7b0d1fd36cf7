"""Writes the model card: data, limits, figures, and how the domain came to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gcd_core.evaluation.provenance import machine_of
from gcd_core.evaluation.result_tables import fill_in
from gcd_core.files import atomic_write
from gcd_core.generators.device import choose_device
from gcd_core.new_domain.data import chosen_rows
from gcd_core.new_domain.plan import Round
from gcd_core.new_domain.verdict import verdict_of

if TYPE_CHECKING:
    from gcd_core.new_domain.work import Work

CARD = """# {name}

A domain of GCD Explorer, for research and teaching about explanations of classifiers: a generator,
the classifier to explain, directions and examples. {size}x{size}, {colour}. Made by `new-domain`.

## Verdict

{verdict}

## Data

Learned from {pictures} pictures ({splits}). {classes}

{credit}

The examples are synthetic: decoded from blends of two pictures' codes.

## Licence

Of the data: see above. Weights and directions are derived from them; what may be done with these
is for the data's licence to say. The code is under the MIT licence.

## Intended use and limits

For research and teaching. Not for decisions about people.

- A counterfactual shows what changes this classifier's mind, not what causes anything.
- The generator has learned these pictures alone. Of others the page warns, and its answers mean
  little.
- Details finer than the generator draws are kept from the picture itself; a classifier that reads
  them is not explained.
{second}

## Results

### Reconstruction

<!-- results:reconstruction {name} -->
<!-- /results -->

### Directions

<!-- results:directions {name} -->
<!-- /results -->
{classifiers}{sanity}
## How it came to be

```
{command}
```

{minutes:.0f} minutes in all, on {machine}.
"""
TABLE = """
### {title}

<!-- results:{table} {name} -->
<!-- /results -->
"""
OPINION = """- The second opinion may have learned from the same pictures as the classifier, and
  take the same wrong cues."""
NO_OPINION = (
    "- There is no second opinion: nobody but the classifier says that a flip means anything."
)


def write_card(work: Work, planned: Round) -> None:
    """Write README.md into the stage; its figures are those of `results/`."""
    stage, design = work.stage, work.plan.design
    unusable = work.state["figures"].get("unusable", 0)
    findings = verdict_of(stage, work.task.labels, design.channels, unusable)
    counts = work.data.counts
    has_oracle = "oracle" in work.task.trained or work.sections.oracle is not None
    parts = {
        "classifiers": ("Classifier and second opinion", work.task.measured),
        "sanity": ("Can it be trusted?", bool(planned.effort.checks)),
    }
    tables = {
        name: TABLE.format(title=title, table=name, name=stage.name) if wanted else ""
        for name, (title, wanted) in parts.items()
    }
    text = CARD.format(
        name=stage.name,
        size=design.size,
        colour="in colour" if design.channels == 3 else "in grey",
        verdict="\n".join(f"- {finding.sentence}" for finding in findings),
        pictures=f"{len(chosen_rows(work.data, design.most))} of {len(work.data.rows)}",
        splits=work.data.split_by,
        classes="Classes: " + ", ".join(f"{k} {n}" for k, n in counts.items()) + "."
        if counts
        else "They have no labels.",
        credit=work.credit or work.sections.top.get("credit", "Their source is not written yet."),
        second=OPINION if has_oracle else NO_OPINION,
        command=work.command,
        minutes=(work.state.get("before", 0.0) + work.state["spent"]) / 60,
        machine=_machine(work.device),
        **tables,
    )
    filled = fill_in(text, stage.parent)
    with atomic_write(stage / "README.md") as place:
        place.write_text(filled, encoding="utf-8")


def _machine(device: str) -> str:
    """The machine in words."""
    machine = machine_of(str(choose_device(device)))
    cores = f"{machine['threads']} of {machine['cores']} cores"
    return machine["gpu"] or f"{machine['cpu']}, {cores}"
