import pytest

from gcd_core.classifiers.questions import Question
from gcd_core.errors import GCDError
from gcd_core.new_domain.questions import (
    Asked,
    class_questions,
    default_questions,
    is_negative,
    match,
)


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("smile=happy", Asked("smile", ("happy",))),
        ("senior = 50:81", Asked("senior", ("50:81",))),
        ("any=happy, surprise", Asked("any", ("happy", "surprise"))),
        ("mature=ig against neutrophil", Asked("mature", ("ig",), ("neutrophil",))),
        ("ill=effusion from 0.3", Asked("ill", ("effusion",), (), 0.3)),
        ("x=a against b,c from 0.2", Asked("x", ("a",), ("b", "c"), 0.2)),
    ],
)
def test_a_question_is_read(text, asked) -> None:
    assert Asked.parse(text) == asked
    label = Question.read(asked.name, asked.table())
    assert (label.of or (asked.name,)) == asked.of
    assert label.against == asked.against and label.threshold == asked.threshold


@pytest.mark.parametrize(
    ("text", "only_for"),
    [
        ("mature=ig against neutrophil", "ig and neutrophil"),
        ("x=a_b against c,d", "a b, c and d"),
        ("smile=happy", None),
        ("old=50:81 against 0:49", None),
        (f"x={'a' * 40} against {'b' * 40}", None),
    ],
)
def test_one_kind_against_another_says_of_what_pictures_it_means_something(text, only_for) -> None:
    assert Asked.parse(text).table().get("only_for") == only_for


@pytest.mark.parametrize("text", ["smile", "=happy", "a=b from 2", "a=b from 1.2.3", "a= "])
def test_what_is_no_question_is_refused(text) -> None:
    with pytest.raises(GCDError, match=r"--question is|threshold lies between"):
        Asked.parse(text)


def test_tasks_name_classes() -> None:
    classes = ("ig", "neutrophil", "platelet")
    assert Asked.parse("m=IG against Neutrophil").task(classes, ["a"]) == "m=ig:neutrophil"
    assert Asked.parse("m=ig").task(classes, []) == "m=ig:neutrophil,platelet"
    assert Asked.parse("m=happy").task(classes, ["happy", "sad"]) is None
    assert Asked.parse("m=1").task(classes, ["0", "1", "2"]) == "m=neutrophil:ig,platelet"
    assert Asked.parse("m=ig,neutrophil,platelet").task(classes, []) is None


def test_outputs_are_of_classes_by_name_or_by_place() -> None:
    assert match(["B", "a"], ["a", "b"]) == {"B": "b", "a": "a"}
    assert match(["0", "1"], ["a", "b"]) == {"0": "a", "1": "b"}
    assert match(["0", "1", "2"], ["a", "b"]) == {}


def test_of_two_classes_the_finding_is_asked_for() -> None:
    assert default_questions(["ill", "normal"], True) == [Asked("ill", ("ill",))]
    assert default_questions(["cat", "dog"], True) == [Asked("dog", ("dog",))]
    assert [a.name for a in default_questions(["x", "y"], False)] == ["x", "y"]
    assert class_questions(["healthy", "sick"]) == [Asked("sick", ("sick",), ("healthy",))]


def test_too_many_outputs_are_refused() -> None:
    with pytest.raises(GCDError, match=r"has 7 outputs.*choose up to 6 by --question"):
        default_questions(list("abcdefg"), True)


@pytest.mark.parametrize("name", ["No Finding", "notumor", "no_tumor", "noncovid", "Normal", "0"])
def test_a_class_of_nothing_is_no_question(name) -> None:
    asked = default_questions([name, "b", "c"], True)
    assert is_negative(name) and [one.name for one in asked] == ["b", "c"]


@pytest.mark.parametrize("name", ["nodule", "nose", "tumor", "nothing else", "1"])
def test_a_finding_is_one(name) -> None:
    assert not is_negative(name)
