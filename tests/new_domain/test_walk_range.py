"""alpha_max and margin on the linear domain, whose log-odds are known at every alpha."""

import math
from dataclasses import replace

import pytest

from gcd_core.domains.file import Label
from gcd_core.errors import GCDError
from gcd_core.method.directions import DirectionSet
from gcd_core.new_domain import walk_range as module
from gcd_core.new_domain.walk_range import alpha_of, choose_range
from tests.evaluation.domain import WAY, linear_domain, source_image

SLOPE = 3.0  # of the log-odds along WAY


@pytest.mark.parametrize(
    ("reached", "alpha"),
    [
        ([1.0] * 20, 2.0),  # the least
        ([*[3.1] * 19, 9.0], 3.5),  # 95 % of them, rounded up to a half
        ([3.0] * 20, 3.0),
        ([*[3.1] * 18, math.inf, math.inf], 12.0),  # fewer than 95 % flip at all
        ([11.8] * 20, 12.0),
    ],
)
def test_alpha_max_is_where_most_flip(reached, alpha) -> None:
    assert alpha_of(reached) == alpha


def ready(oracle: bool):
    """The linear domain with WAY as its g, and pictures with the log-odds of their codes."""
    domain = linear_domain()
    labels = {"a": Label("a", "A", "no", "yes", directions="a.safetensors")}
    domain = replace(domain, label_info=labels, oracle=domain.oracle if oracle else None)
    domain._ready["a"] = DirectionSet(["g"], WAY[None], {"label": "a"})
    images = [source_image(domain.generator, seed) for seed in range(10)]
    odds = [domain.classifier(image)[0, 0].item() for image in images]
    return domain, images, odds


def test_without_a_second_opinion_the_margin_is_moderate() -> None:
    domain, images, odds = ready(oracle=False)
    chosen = choose_range(domain, {"a": images})
    assert chosen.margin == 0.4 and chosen.flipped == 1
    beyond = math.log(0.9 / 0.1)
    farthest = max((abs(one) + beyond) / SLOPE for one in odds)
    assert chosen.alpha_max == max(module.LEAST, math.ceil(farthest / 0.5) * 0.5)


def test_the_margin_is_the_smallest_that_the_second_opinion_follows(monkeypatch) -> None:
    """The oracle reads a way 30 degrees off: here it follows most flips, but not all of them."""
    domain, images, _ = ready(oracle=True)
    shares = []
    for margin in module.MARGINS:
        monkeypatch.setattr(module, "MARGINS", (margin,))
        paths = module.walk_many(
            replace(domain, alpha_max=12.0, walk_points=13),
            images,
            domain.ready_directions("a")["g"],
            "a",
            margin=0.45,
        )
        followed = [module._follows(domain.oracle, replace(p, margin=margin), "a") for p in paths]
        shares.append(sum(followed) / len(followed))
    assert shares == sorted(shares)  # the surer the classifier, the more it follows
    monkeypatch.undo()
    wanted = shares[1]
    monkeypatch.setattr(module, "FOLLOWS", wanted)
    first = next(m for m, s in zip(module.MARGINS, shares, strict=True) if s >= wanted)
    assert choose_range(domain, {"a": images}).margin == first


def test_a_margin_that_a_quarter_of_the_pictures_miss_is_taken_and_no_more(monkeypatch) -> None:
    """The second opinion asks for more than there is: the largest that enough pictures reach."""
    domain, images, _ = ready(oracle=True)
    monkeypatch.setattr(module, "FOLLOWS", 1.1)
    misses = {0.25: 1, 0.35: 1, 0.4: 2, 0.45: 3}  # of ten pictures
    rank = {}

    def flip_at(path, margin):
        place = rank.setdefault(id(path), len(rank))
        return math.inf if place < misses[margin] else 1.0

    monkeypatch.setattr(module, "flip_at", flip_at)
    assert choose_range(domain, {"a": images}).margin == 0.4, "eight of ten reach it"
    misses |= dict.fromkeys(misses, 3)
    rank.clear()
    assert choose_range(domain, {"a": images}).margin == 0.25, "none is reached by enough"


def test_a_domain_without_directions_is_refused() -> None:
    with pytest.raises(GCDError, match="No label of the domain has directions"):
        choose_range(linear_domain(), {"a": []})
