"""The Globality tab: pictures on the wall and in the file that goes home."""

from __future__ import annotations

import csv
import io
import json
import re
from base64 import b64decode
from dataclasses import replace
from types import SimpleNamespace
from zipfile import ZipFile

import gradio as gr
import pytest
import torch
from PIL import Image

from gcd_core.domains.cautions import unreproduced
from gcd_core.errors import GCDError
from gcd_core.generators.base import Latent
from gcd_core.images.drawing import to_pil
from gcd_core.method.attribution import explain_path
from gcd_core.method.notes import Note
from gcd_core.method.path import Path
from gcd_core.method.walk import walk_many
from gcd_core.ui.session.batch_walk import BatchWalk, redrawn, start_batch_walk
from gcd_core.ui.session.notes import note
from gcd_core.ui.session.registry import Visitors
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs import globality
from gcd_core.ui.tabs.explore.events import ExploreTab
from gcd_core.ui.tabs.globality import (
    ELSEWHERE,
    GlobalityTab,
    lies_over,
    not_counted,
    not_drawn,
    rates_told,
    summary,
    tile,
)
from gcd_core.ui.views.payload import fingerprints
from gcd_core.ui.views.wall_files import does_here, numbers, row, save_wall
from gcd_core.wording import signed
from tests.ui.fakes import SIZE, composed_path, own_picture

pytestmark = pytest.mark.slow


def test_pictures_on_the_wall_and_in_the_zip_are_the_visitors_own(session: Session) -> None:
    domain = session.service.domain
    domain.detail, domain.walk_points = "source", 5
    picture = own_picture((300, 200))
    task = ["a"], [picture], session.directions, "g", session.label
    wall = start_batch_walk(session.service, *task)
    assert wall.wait(60) and wall.state == "done"
    with ZipFile(save_wall(session, wall, "zip")) as archive:
        pictures = {
            name: Image.open(io.BytesIO(archive.read(name)))
            for name in archive.namelist()
            if name.startswith("01-")
        }
    assert {image.size for image in pictures.values()} == {(200, 300)} and len(pictures) == 3
    assert pictures["01-original.png"].tobytes() == to_pil(picture.pixels).tobytes()
    assert "Description" in pictures["01-g.png"].info
    tiles = re.findall('base64,([^"]+)', tile(wall.pieces[0], 0, "Pneumonia"))
    sizes = [Image.open(io.BytesIO(b64decode(data))).size for data in tiles]
    assert sizes == [(59, 88)] * 2, "their shape stays"


def laid_out(visitors: Visitors) -> GlobalityTab:
    """The tab on a page."""
    with gr.Blocks():
        return GlobalityTab(visitors, ExploreTab(visitors))


def walked(session: Session) -> BatchWalk:
    """Two examples along g, finished, as the session's wall."""
    domain = session.service.domain
    domain.walk_points = 9
    images = [domain.load_image(domain.examples[i]) for i in (0, 1)]
    task = ["c", "d"], images, session.directions, "g", session.label
    session.wall = start_batch_walk(session.service, *task)
    assert session.wall.wait(60) and session.wall.state == "done"
    return session.wall


def test_a_tile_opens_at_its_counterfactual(
    visitors: Visitors, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall, told = walked(session), []
    monkeypatch.setattr(gr, "Warning", lambda text, **_: told.append(text))
    with gr.Blocks():
        explore = ExploreTab(visitors)
        tab = GlobalityTab(visitors, explore)
        tab.tabs = gr.Tabs()
    request = SimpleNamespace(session_hash="somebody")
    session.explain("bacterial")  # meanwhile the visitor asked something else
    answer = tab.open_piece(1, "bb_lig", 0.6, "side", request)
    piece, facts = wall.pieces[1], answer[explore.layout.numbers]
    assert facts["label"] == "pneumonia" and facts["image_name"] == "d"
    assert facts["alphas"]["g"] == pytest.approx(piece.alpha, abs=1e-4) != 0
    assert facts["after"]["pneumonia"] == pytest.approx(piece.after, abs=1e-3)
    assert facts["flipped"] == piece.flipped and not told
    own = next(row for row in explore.layout.rows if row.name == "g")
    assert answer[own.slider] == pytest.approx(piece.alpha, abs=1e-4)
    mine = replace(session.directions, vectors=session.directions.vectors.flip(0))
    session.use("pneumonia", session.sets.keep("pneumonia", "mine", mine))
    answer = tab.open_piece(1, "bb_lig", 0.6, "side", request)
    assert not any(answer[explore.layout.numbers]["alphas"].values())
    assert told == [ELSEWHERE]


@pytest.mark.parametrize("of_examples", [True, False])
def test_a_tile_of_an_example_opens_that_example(
    visitors: Visitors, session: Session, of_examples: bool
) -> None:
    wall = walked(session)
    wall.of_examples = of_examples
    with gr.Blocks():
        tab = GlobalityTab(visitors, ExploreTab(visitors))
        tab.tabs = gr.Tabs()
    tab.open_piece(1, "bb_lig", 0.6, "side", SimpleNamespace(session_hash="somebody"))
    assert session.image.example == (1 if of_examples else None)
    assert session.image.sliders.alphas["g"] == pytest.approx(wall.pieces[1].alpha, abs=1e-4)


def test_while_images_are_walked_the_direction_chosen_is_theirs(
    visitors: Visitors, session: Session
) -> None:
    tab = laid_out(visitors)
    request = SimpleNamespace(session_hash="somebody")
    session.image.sliders.move({"h2": 1.0}, "h2")
    assert tab.subject_html(request)[tab.direction]["value"] == "h2"
    session.wall = SimpleNamespace(running=True, direction="h1", cancel=lambda: None)
    assert tab.subject_html(request)[tab.direction]["value"] == "h1"
    session.wall = None


def test_mean_maps_have_legends_and_say_what_they_leave_unexplained(session: Session) -> None:
    wall = walked(session)
    text = summary(wall, "Pneumonia", session.service.domain.alpha_max)
    assert "changed most" in text and "blue: toward Pneumonia, red: away from it" in text
    errors = [abs(piece.completeness_error) for piece in wall.pieces]
    mean = sum(errors) / 2
    assert f">{'below 0.01' if 0 < mean < 0.005 else signed(mean)}<" in text
    assert "not explained" in text
    own = [explain_path(path).completeness_error for path in paths_of(session, wall)]
    assert [row["completeness_error_logit"] for row in numbers(wall)["rows"]] == pytest.approx(own)


def paths_of(session: Session, wall: BatchWalk) -> list[Path]:
    """The walks of a wall's images, made anew."""
    domain, g = session.service.domain, wall.directions["g"]
    return walk_many(domain, list(wall.images), g, wall.label)


def test_a_walls_table_tells_what_a_person_said_since(session: Session) -> None:
    wall = walked(session)
    note(session, "bundled", "g", Note.of("wider heart", "-1", "shortcut"))
    rows = list(csv.DictReader(save_wall(session, wall, "csv").open(encoding="utf-8")))
    assert len(rows) == 2 and all(row["called"] == "wider heart" for row in rows)
    assert {(row["mark"], row["remark"], row["does"]) for row in rows} == {("shortcut", "'-1", "")}


def test_a_walls_numbers_say_what_was_asked_and_of_what(session: Session) -> None:
    """Its file alone tells another run of the same pictures, ways and models from other ones."""
    wall, domain = walked(session), session.service.domain
    told = json.loads(save_wall(session, wall, "json").read_text(encoding="utf-8"))
    with ZipFile(save_wall(session, wall, "zip")) as archive:
        assert json.loads(archive.read("numbers.json")) == told
    assert told["flips"] == numbers(wall)["flips"] and len(told["rows"]) == 2
    assert told["target"] == {"counterfactual": domain.counterfactual, "margin": domain.margin}
    assert told["fingerprints"]["classifier"] == domain.classifier.identity
    for i, piece in enumerate(told["rows"]):
        image = session.open_image(domain.load_image(domain.examples[i]), "e")
        known = fingerprints(image)
        assert piece["fingerprint"] == known.pop("image") and told["fingerprints"] == known
    assert save_wall(session, wall, "csv").name == f"many-images-{wall.label}-g.csv"
    wall.state = "running"
    assert save_wall(session, wall, "csv").name == f"many-images-{wall.label}-g-so-far.csv"
    with pytest.raises(GCDError, match="csv, json, zip"):
        save_wall(session, wall, "../x")


def test_the_same_images_are_walked_again_along_another_direction(
    visitors: Visitors, session: Session
) -> None:
    tab = laid_out(visitors)
    request = SimpleNamespace(session_hash="somebody")
    with pytest.raises(GCDError, match="Nothing was walked yet"):
        list(tab.walk_again("h1", request))
    first = walked(session)
    last = list(tab.walk_again("h1", request))[-1]
    assert session.wall is not first and session.wall.state == "done"
    told = last[tab.numbers]
    assert told["direction"] == "h1" and [row["image"] for row in told["rows"]] == ["c", "d"]
    own = [piece.before for piece in first.pieces]
    assert [row["before"] for row in told["rows"]] == pytest.approx(own)


def test_what_was_walked_before_goes_when_a_walk_begins_and_its_time_is_told(
    session: Session, visitors: Visitors, monkeypatch: pytest.MonkeyPatch
) -> None:
    walked(session)
    tab, request = laid_out(visitors), SimpleNamespace(session_hash="somebody")
    before, images = session.wall, list(session.wall.images)
    begun = BatchWalk(session.service, ["e", "f"], images, before.directions, "h1", "pneumonia")
    begun.began -= 75
    session.wall = begun  # nothing of it is there
    monkeypatch.setattr(globality, "TICK", 0.0)
    answers = tab.go_on(request)
    first, second = next(answers), next(answers)
    assert "gcd-tile" not in first[tab.wall] and not first[tab.summary]
    assert list(second) == [tab.progress]
    assert re.search(r"Image 1 of 2<.*>7[5-9] s so far", second[tab.progress])


def test_rates_are_counted_in_whole_images() -> None:
    facts = {"done": 1, "flip_rate": 1.0, "oracle_flip_rate": None, "oracle_disagreed": 0}
    facts |= {"counted": 1, "flips": 1}
    assert rates_told(facts) == "<b>1 of 1</b> image flips (100&thinsp;%)."
    facts |= {"counted": 6, "flip_rate": 0.5, "oracle_flip_rate": 0.5, "oracle_disagreed": 1}
    told = rates_told(facts | {"flips": 3})
    assert told.startswith(
        "<b>3 of 6</b> images flip (50&thinsp;%); the second opinion follows in "
    )
    assert told.endswith("<b>1 of 2</b> about which it agreed at first.")
    facts |= {"flips": 0, "flip_rate": 0.0, "oracle_flip_rate": None}
    assert rates_told(facts) == "<b>0 of 6</b> images flip."
    assert rates_told(facts | {"counted": 4}) == "<b>0 of 4</b> images flip."


def test_an_image_that_lacks_what_the_label_is_asked_of_is_counted_apart(session: Session) -> None:
    domain = session.service.domain
    kind = replace(domain.label_info["bacterial"], given="pneumonia", title="Kind of pneumonia")
    domain.label_info = {**domain.label_info, "bacterial": kind}
    domain.walk_points = 9
    session.explain("bacterial")
    images = [domain.load_image(domain.examples[i]) for i in (0, 1, 1)]
    images[2] = images[2].flip(-1)
    task = ["a", "b", "c"], images, session.directions, "g", "bacterial"
    wall = start_batch_walk(session.service, *task)
    assert wall.wait(120) and wall.state == "done"
    asked = domain.classifier(torch.cat(images))
    lacking = (domain.classifier.probability(asked, "pneumonia") < 0.5).tolist()
    count = sum(lacking)
    assert 0 < count < 3, "the examples are of both kinds"
    assert [bool(piece.missing) for piece in wall.pieces] == lacking
    assert not any(piece.flipped or piece.convincing for piece in wall.pieces if piece.missing)
    facts = numbers(wall)
    assert facts["premise_missing"] == count and facts["done"] == 3
    flips = sum(row["flipped"] for row in facts["rows"])
    assert facts["flip_rate"] == flips / (3 - count)
    assert {rate["images"] for rate in facts["rates"].values()} == {3 - count}
    assert wall.quick_done == wall.quick_total and wall.fraction == pytest.approx(1)
    told = summary(wall, "Bacterial", domain.alpha_max, "Kind of pneumonia")
    assert f"{count} image" in told and "Kind of pneumonia is asked of Pneumonia only" in told
    tiles = [tile(piece, i, "Bacterial") for i, piece in enumerate(wall.pieces)]
    assert ["no Pneumonia" in text for text in tiles] == lacking


class Noise:
    """An off-distribution score: how much the upper left corner varies."""

    threshold = 0.1

    def score_of(self, distances: torch.Tensor, latent: Latent) -> torch.Tensor:
        assert distances.shape == (1,)
        return latent.z_T[:, 0, :16, :16].std()[None]


def test_a_picture_that_the_models_do_not_know_is_counted_apart(session: Session) -> None:
    domain = session.service.domain
    domain.walk_points, domain.off_distribution = 9, Noise()
    images = [domain.load_image(domain.examples[i]) for i in (0, 1)]
    images[1] = images[1].clone()
    images[1][..., :16, :16] = torch.rand(16, 16)
    task = ["a", "b"], images, session.directions, "g", session.label
    wall = start_batch_walk(session.service, *task)
    assert wall.wait(120) and wall.state == "done"
    first, second = wall.pieces
    assert first.counts and not second.counts and "Unlike" in second.unlike
    facts = numbers(wall)
    assert (facts["counted"], facts["unlike"], facts["premise_missing"]) == (1, 1, 0)
    assert {rate["images"] for rate in facts["rates"].values()} == {1}
    assert facts["flips"] == facts["rates"]["g"]["flips"] == first.flipped
    told = summary(wall, "Pneumonia", domain.alpha_max)
    assert "1 image is not counted" in told and "unlike" in told
    assert "count." not in told
    only = summary(wall, "Pneumonia", domain.alpha_max, only_for="children")
    rest = "Images that only resemble them may pass unnoticed, and count."
    assert f"Asked only of children. {rest}" in only
    assert ["odd" in tile(piece, 0, "Pneumonia") for piece in wall.pieces] == [False, True]
    assert facts["rows"][1]["unlike"] == second.unlike
    both = second._replace(missing="Pneumonia")  # that it is unlike is graver, and told
    assert "unlike: not counted" in tile(both, 0, "Bacterial")
    told = not_counted([first, both], "Kind of pneumonia")
    assert "1 image is not counted: unlike" in told and "asked of" not in told


def test_a_walk_goes_on_while_the_page_is_loaded_anew(visitors: Visitors, session: Session) -> None:
    session.service.domain.walk_points = 9
    tab = laid_out(visitors)
    request, key = SimpleNamespace(session_hash="somebody"), "0" * 32
    visitors.come_back("somebody", key)
    first = tab.walk_images(None, "g", request)
    assert next(first)[tab.numbers]["images"] == len(session.service.domain.examples)
    wall = session.wall
    visitors.leave("somebody")
    again = SimpleNamespace(session_hash="again")
    assert visitors.come_back("again", key) is session and session.wall is wall
    assert list(first) == [], "nothing is sent to a page that another one replaced"
    last = {part: value for answer in tab.go_on(again) for part, value in answer.items()}
    assert wall.state == "done" and len(wall.pieces) == 3
    assert last[tab.wall].count("data-piece") == 3 and "Done" in last[tab.progress]
    stranger = SimpleNamespace(session_hash="stranger")
    assert list(tab.go_on(stranger)) == [{}]


def test_a_walk_is_shown_to_its_end_where_only_the_heartbeat_was_cut_off(
    visitors: Visitors, session: Session
) -> None:
    tab = laid_out(visitors)
    visitors.come_back("somebody", "0" * 32)
    answers = tab.walk_images(None, "g", SimpleNamespace(session_hash="somebody"))
    next(answers)
    visitors.leave("somebody")
    assert session.is_away
    last = list(answers)[-1]
    assert not session.is_away and "Done" in last[tab.progress]
    assert visitors.session("somebody") is session


def test_what_lies_under_the_mean_maps_and_which_ways_images_went_is_told(session: Session) -> None:
    wall = walked(session)
    first, second = wall.pieces
    both = lies_over([first._replace(alpha=1.5), second._replace(alpha=-2.0)], "Pneumonia")
    assert "of all 2, laid over each other" in both
    assert "1 changed toward Pneumonia, 1 away from it" in both
    still = lies_over([first._replace(alpha=1.5), second._replace(alpha=0.0)], "Pneumonia")
    assert "toward" not in still, "one that stays where it is goes no way"
    alike = lies_over([first._replace(alpha=1.5), second._replace(alpha=2.0)], "Pneumonia")
    assert "laid over" in alike and "toward" not in alike
    assert lies_over([first], "Pneumonia") == ""


def test_a_flip_by_what_the_generator_does_not_draw_is_remarked_on(session: Session) -> None:
    wall = walked(session)
    odd = wall.pieces[0]._replace(unreproduced=unreproduced(0.99, 0.02), flipped=True, alpha=-1.0)
    assert "by what is not drawn" in tile(odd, 0, "Pneumonia") and "barely" in tile(odd, 0, "P")
    assert "In 1 of these flips the classifier reacts" in not_drawn([odd, *wall.pieces[1:]])
    assert not_drawn([odd._replace(flipped=False)]) == ""
    told = row(odd)
    assert told["counted"] and "already changes the answer" in told["unreproduced"]
    does = {"does": "Toward Pneumonia: hazier."}
    assert does_here(does, odd)["does"] == "Against it: Toward Pneumonia: hazier."
    assert does_here(does, odd._replace(alpha=1.0)) == does


def test_drawing_an_image_again_is_asked_about_where_that_is_free(session: Session) -> None:
    service, classifier = session.service, session.service.domain.classifier
    path = composed_path((SIZE, SIZE), 1, "source")
    drawn = classifier.probability(classifier(path.composition.baseline), path.label).item()
    for before in (drawn, 1 - drawn):
        told = redrawn(service, replace(path, source_probability=before))
        assert told == unreproduced(before, drawn)
    assert redrawn(service, replace(path, composition=None)) == ""
