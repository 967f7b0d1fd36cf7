"""Queries, budget and kept answers, which every kind of classifier has."""

import threading

import pytest
import torch
from safetensors.torch import save_file

from gcd_core.classifiers import load_classifier
from gcd_core.classifiers.architectures import build_network
from gcd_core.classifiers.base import BudgetExceeded, Classifier, NoAnswer
from gcd_core.classifiers.cache import AnswerCache
from gcd_core.errors import GCDError


class Mean(Classifier):
    """The mean of each image; remembers which batches it was asked."""

    def __init__(self, identity: str = "mean", batch_size: int | None = None) -> None:
        super().__init__(("mean",), "sigmoid", identity)
        self.batch_size, self.asked, self.fail_at = batch_size, [], None

    def answer(self, images):
        if len(self.asked) == self.fail_at:
            raise NoAnswer("The endpoint is away.")
        self.asked.append(len(images))
        return images.mean((1, 2, 3))[:, None]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "answers.sqlite3"


def cached(path, **settings) -> Mean:
    box = Mean(**settings)
    box.cache = AnswerCache(path)
    return box


def test_without_a_cache_every_image_is_asked_every_time():
    box, images = Mean(batch_size=3), torch.rand(1, 1, 4, 4).repeat(7, 1, 1, 1)
    box(images)
    box(images)
    assert box.asked == [3, 3, 1] * 2 and (box.queries, box.cache_hits) == (14, 0)


def test_with_a_cache_an_image_is_asked_once(path):
    images = torch.rand(7, 1, 4, 4)
    several = torch.cat([images, images[:2]])
    box = cached(path, batch_size=3)
    assert torch.allclose(box(several)[:, 0], several.mean((1, 2, 3)))
    assert box.asked == [3, 3, 1] and (box.queries, box.cache_hits) == (7, 2)
    again = cached(path)
    assert torch.equal(again(several.flip(0)), box(several).flip(0))
    assert again.asked == [] and (again.queries, again.cache_hits) == (0, 9)
    assert cached(path, identity="other")(images).shape == (7, 1)


def test_another_identity_asks_anew(path):
    images = torch.rand(3, 1, 4, 4)
    cached(path)(images)
    other = cached(path, identity="other")
    other(images)
    assert other.queries == 3


def test_what_was_answered_before_a_failure_is_not_asked_again(path):
    images = torch.rand(8, 1, 4, 4)
    box = cached(path, batch_size=2)
    box.fail_at = 3
    with pytest.raises(NoAnswer, match=r"is away.*already is lost: the same command"):
        box(images)
    assert box.queries == 6
    after = cached(path, batch_size=2)
    after(images)
    assert after.asked == [2] and after.cache_hits == 6


@pytest.mark.parametrize("answer", [[[float("nan")]], [[1.0, 2.0]]])
def test_nonsense_is_not_kept(path, answer):
    box = cached(path)
    box.answer = lambda images: torch.tensor(answer)
    with pytest.raises(GCDError):
        box(torch.zeros(1, 1, 4, 4))
    good = cached(path)
    good(torch.zeros(1, 1, 4, 4))
    assert good.queries == 1


def test_the_budget_is_checked_before_asking():
    box = Mean(batch_size=2)
    box.budget = 5
    box(torch.rand(3, 1, 4, 4))
    with pytest.raises(BudgetExceeded, match=r"about 5 images.*3 were asked.*3 more.*'budget'"):
        box(torch.rand(3, 1, 4, 4))
    assert box.asked == [2, 1] and box.queries == 3
    box(torch.rand(2, 1, 4, 4))
    assert box.queries == 5


def test_known_answers_are_outside_the_budget(path):
    images = torch.rand(6, 1, 4, 4)
    cached(path)(images[:4])
    box = cached(path)
    box.budget = 2
    box(images)
    box(images)
    assert (box.queries, box.cache_hits) == (2, 10)
    with pytest.raises(BudgetExceeded, match="goes on from there"):
        box(torch.rand(1, 1, 4, 4))


def test_a_failed_request_leaves_the_budget():
    box = Mean()
    box.budget, box.fail_at = 3, 0
    with pytest.raises(NoAnswer):
        box(torch.rand(3, 1, 4, 4))
    box.fail_at = None
    box(torch.rand(3, 1, 4, 4))
    assert box.queries == 3


def in_threads(count: int, work) -> None:
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_never_spend_more_than_the_budget():
    box, start = Mean(), threading.Barrier(8)
    box.budget, refused = 20, []

    def work():
        start.wait()
        for _ in range(5):
            try:
                box(torch.rand(1, 1, 4, 4))
            except BudgetExceeded:
                refused.append(1)

    in_threads(8, work)
    assert box.queries == sum(box.asked) == 20 and len(refused) == 20


def test_threads_do_not_pay_twice_for_the_same_images(path):
    box, start, images = cached(path, batch_size=2), threading.Barrier(6), torch.rand(10, 1, 4, 4)
    rows = []

    def work():
        start.wait()
        rows.append(box(images))

    in_threads(6, work)
    assert box.queries == sum(box.asked) == 10 and box.cache_hits == 50
    assert all(torch.equal(row, rows[0]) for row in rows) and len(rows) == 6


def test_no_images_are_no_question(path):
    for box in (Mean(), cached(path)):
        assert box(torch.zeros(0, 1, 4, 4)).shape == (0, 1) and box.asked == []


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setenv("GCD_CACHE", str(tmp_path / "cache"))
    options = {"width": 8, "blocks": [1, 1]}
    save_file(build_network("resnet", 1, 2, options).state_dict(), tmp_path / "c.safetensors")
    return {
        "kind": "safetensors",
        "architecture": "resnet",
        "options": options,
        "weights": "c.safetensors",
        "labels": ["a", "b"],
        "output": "sigmoid",
        "size": 32,
        "channels": 1,
    }


def test_a_local_kind_has_a_budget_and_a_cache_if_it_is_asked_to(table, tmp_path):
    plain = load_classifier(table, tmp_path)
    assert plain.budget is None and plain.cache is None
    images = torch.rand(2, 1, 32, 32)
    expected = plain(images)
    assert not (tmp_path / "cache").exists()
    box = load_classifier(table | {"budget": 2, "cache": True}, tmp_path)
    assert box.identity == plain.identity and box.budget == 2
    assert torch.equal(box(images), expected)
    again = load_classifier(table | {"budget": 0, "cache": True}, tmp_path)
    assert torch.equal(again(images), expected) and again.cache_hits == 2
    nearly = images + 1e-6  # float32 pixels count in full where nothing is sent
    with pytest.raises(BudgetExceeded):
        again(nearly.clamp(0, 1))


@pytest.mark.parametrize(
    "change, named",
    [
        ({"budget": -1}, "budget"),
        ({"budget": 1.5}, "'budget' must be int"),
        ({"budget": True}, "'budget' must be int"),
        ({"cache": 1}, "'cache' must be bool"),
        ({"cache": "yes"}, "'cache' must be bool"),
    ],
)
def test_wrong_settings_are_named(table, tmp_path, change, named):
    with pytest.raises(GCDError, match=named):
        load_classifier(table | change, tmp_path)
