"""The Globality tab: pictures on the wall and in the file that goes home."""

from __future__ import annotations

import io
import re
from base64 import b64decode
from zipfile import ZipFile

import pytest
from PIL import Image

from gcd_core.images.drawing import to_pil
from gcd_core.ui.session.batch_walk import start_batch_walk
from gcd_core.ui.session.session import Session
from gcd_core.ui.tabs.globality import save_wall, tile
from tests.ui.fakes import own_picture

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
