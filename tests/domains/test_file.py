"""domain.toml: its keys, their kinds and their limits."""

import math
import re
import tomllib
from pathlib import Path
from types import UnionType

import pytest

from gcd_core.domains.file import SEARCH, find_problems
from gcd_core.images.reading import FITS
from gcd_core.method.settings import MIN_SETTINGS, Settings


def search_problems(**section: object) -> list[str]:
    return find_problems(Path(), {"search": {"radius": 2.0} | section})["search"]


def test_the_keys_of_a_search_are_its_settings() -> None:
    required, optional = SEARCH
    assert required == {"radius": float}
    kinds: dict[str, type | UnionType] = {"n_samples": int, "n_h": int, "lam": float}
    kinds |= {"boundary": bool, "n_ways": int, "sampling": str}
    assert optional == kinds | {"solver": str, "steps": int, "antithetic": bool}
    assert search_problems(lam=1, antithetic=False) == []
    assert search_problems(seed=1) == [
        "[search] has no key 'seed'; it knows antithetic, boundary, lam, n_h, n_samples, n_ways, "
        "radius, sampling, solver, steps."
    ]


@pytest.mark.parametrize("name", MIN_SETTINGS)
def test_a_search_and_domain_toml_have_one_limit(name: str) -> None:
    least = MIN_SETTINGS[name]
    assert search_problems(**{name: least}) == []
    assert search_problems(**{name: least - 1}) == [
        f"[search]: {name} is {least - 1}; take {least} or more."
    ]
    Settings(radius=2.0).changed(**{name: least}).check(z_sem_size=16)
    with pytest.raises(ValueError, match=str(least - 1)):
        Settings(radius=2.0).changed(**{name: least - 1}).check(z_sem_size=16)


@pytest.mark.parametrize("number", ["inf", "nan", "-1.0", "true", "'1'", "1" + 400 * "0"])
def test_what_is_no_number_of_use_is_one_problem(number: str) -> None:
    walk = tomllib.loads(f"alpha_max = {number}\npoints = 4")
    (problem,) = find_problems(Path(), {"walk": walk})["walk"]
    assert "alpha_max" in problem
    (problem,) = search_problems(lam=walk["alpha_max"])
    assert "lam" in problem


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('counterfactual = "nearest"', "'nearest'; choose one of smallest, lowest-loss"),
        ("margin = 0.6", "margin 0.6"),
        ("margin = -0.1", "margin -0.1"),
        ("margin = nan", "margin nan"),
        ("margin = true", "'margin' in .walk. must be a number"),
        ("counterfactual = 1", "'counterfactual' in .walk. must be text"),
    ],
)
def test_the_counterfactual_of_a_walk_is_checked(line: str, message: str) -> None:
    walk = tomllib.loads(f"alpha_max = 3.0\npoints = 4\n{line}")
    (problem,) = find_problems(Path(), {"walk": walk})["walk"]
    assert re.search(message, problem)


@pytest.mark.parametrize("line", ['counterfactual = "lowest-loss"', "margin = 0", "margin = 0.5"])
def test_both_counterfactuals_and_every_margin_are_taken(line: str) -> None:
    walk = tomllib.loads(f"alpha_max = 3.0\npoints = 4\n{line}")
    assert find_problems(Path(), {"walk": walk})["walk"] == []


def label(**more: object) -> dict[str, object]:
    return {"title": "T", "negative": "no", "positive": "yes", **more}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"a": label(given="b")}, "no label 'b' for it to be given"),
        ({"a": label(given="a")}, "a is given a, which goes in a circle"),
        ({"a": label(given="b"), "b": label(given="a")}, "a is given b is given a"),
        ({"a": label(given=1)}, "'given' in .* must be text"),
        ({"a": label(auroc=0.4)}, "auroc is 0.4; it lies between 0.5 and 1"),
        ({"a": label(auroc=1.1)}, "auroc is 1.1"),
        ({"a": label(only_for=" ")}, "only_for says of what pictures .* in 1 to 80 letters"),
        ({"a": label(only_for="x" * 81)}, "only_for says of what pictures"),
        ({"a": label(only_for=["a"])}, "'only_for' in .* must be text"),
    ],
)
def test_a_labels_condition_and_auroc_are_checked(labels: dict, message: str) -> None:
    problems = find_problems(Path(), {"labels": labels})["labels"]
    assert problems and re.search(message, problems[0])


def test_a_label_may_have_a_condition_and_an_auroc() -> None:
    labels = {"a": label(auroc=0.99), "b": label(given="a", auroc=0.5), "c": label(given="b")}
    labels["d"] = label(only_for="neutrophils and eosinophils")
    assert find_problems(Path(), {"labels": labels})["labels"] == []


def test_a_fit_is_one_of_three() -> None:
    assert any(
        "choose one of stretch, pad, crop" in p for p in find_problems(Path(), {"fit": "x"})["file"]
    )
    for fit in FITS:
        assert not any("fit" in p for p in find_problems(Path(), {"fit": fit})["file"])


@pytest.mark.parametrize(
    "ages", [[5, 1], [1], [1, 2, 3], ["1", "5"], [-1, 5], [True, 5], [1, math.nan]]
)
def test_ages_are_two_numbers_the_smaller_first(ages: list) -> None:
    problems = find_problems(Path(), {"ages": ages})["file"]
    assert any("'ages' are two numbers" in problem for problem in problems)
    for sound in ([1, 5], [0, 0.5]):
        assert not any("ages" in said for said in find_problems(Path(), {"ages": sound})["file"])


def test_kinds_of_change_have_words_of_their_own() -> None:
    table: dict = {"changes": {"smoother": "hazier", "different": "altered"}}
    assert find_problems(Path(), table)["changes"] == []
    for wrong, says in (
        ({"wider": "larger"}, "There is no kind of change 'wider'; there are brighter, darker"),
        ({"darker": ""}, "The word for 'darker' is a text of 1 to 30 letters"),
        ({"darker": "a\nb"}, "The word for 'darker'"),
        ({"darker": 3}, "The word for 'darker'"),
        ({"sharper": "x" * 31}, "The word for 'sharper'"),
    ):
        (told,) = find_problems(Path(), {"changes": wrong})["changes"]
        assert told.startswith(f"[changes]: {says}")


def test_places_are_boxes_of_shares() -> None:
    table = {"places": {"left lung": [0.1, 0.9, 0.5, 0.9]}}
    assert find_problems(Path(), table)["places"] == []
    assert find_problems(Path(), {})["places"] == []
    (told,) = find_problems(Path(), {"places": {"left lung": [0.9, 0.1, 0.5, 0.9]}})["places"]
    assert told.startswith("[places]: The place 'left lung' is a box")
