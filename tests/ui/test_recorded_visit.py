"""The page's API answers as it did when `recorded_visit.json` was written.

For changes that are to leave the answers alone. Where one is meant to change them,
`python -m tests.ui.record_visit` writes the record anew.
"""

import json

import pytest

from tests.ui.answers import differences, plain, with_numbered_sets
from tests.ui.record_visit import RECORD, record


@pytest.mark.slow
def test_the_page_answers_a_visit_as_recorded() -> None:
    recorded, now = json.loads(RECORD.read_text("utf-8")), record()
    found = list(differences(recorded, now))
    assert not found, "\n".join(found)
    early = "/use_so_far"  # of a search over codes, which this visit has not: tabs/test_find.py
    assert {f"/{step.split()[1]}" for step in now["steps"]} | {early} == now["events"].keys()


@pytest.mark.parametrize(
    "now, count",
    [
        ({"a": [1, 0.5004], "b": "60 % of 3"}, 0),
        ({"a": [1, 0.5], "b": "61 % of 3"}, 0),
        ({"a": [1, 0.502], "b": "62 % of 3"}, 2),
        ({"a": [2, 0.5], "b": "60 % of 4"}, 2),
        ({"a": [True, 0.5], "b": "60 % of three"}, 2),
        ({"a": [1], "b": "60 % of 3"}, 1),
        ({"a": [1, None]}, 2),
        ({"a": [1, 0.5], "b": "60 % of 3", "c": None}, 1),
    ],
)
def test_what_differs_is_found(now: dict, count: int) -> None:
    assert len(list(differences({"a": [1, 0.5], "b": "60 % of 3"}, now))) == count


def test_an_answer_is_recorded_without_tags_addresses_and_times() -> None:
    html = '<p class="x">a<b>60&thinsp;%</b><img src="data:image/png;base64,AA" alt="c"></p>'
    answer = {"__type__": "update", "eta": 1.5, "value": html}
    assert plain(answer) == {"eta": None, "value": "a 60 % c"}


def test_sets_are_told_apart_whatever_the_processor_makes_of_their_last_bits() -> None:
    def visit(*sets: str) -> list:
        return [{"fingerprints": {"directions": 64 * one, "image": 64 * "c"}} for one in sets]

    one, other = (with_numbered_sets(visit(*sets)) for sets in ("aba", "dbd"))
    assert one == other and one[0] != one[1] and one[0]["fingerprints"]["image"] == 64 * "c"
    assert with_numbered_sets(visit(*"aab")) != one
