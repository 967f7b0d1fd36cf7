"""The numbers of a walk of many images, and the files that it is saved as."""

from __future__ import annotations

import io
import json
from pathlib import Path as FilePath
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import torch
from torch import Tensor

from gcd_core.classifiers.cache import fingerprint
from gcd_core.errors import GCDError
from gcd_core.files import atomic_write
from gcd_core.images.drawing import encode_png, overlay, save_png
from gcd_core.method.curve_quantiles import curve_quantiles, mean_map
from gcd_core.method.second_opinion import DISAGREED, share_that_follows
from gcd_core.report.captions import about_direction, caption
from gcd_core.ui.session.batch_walk import BatchItem, BatchWalk
from gcd_core.ui.session.session import Session
from gcd_core.ui.views.exports import rows_as_csv
from gcd_core.ui.views.payload import model_fingerprints, positives_of

FORMATS = ("csv", "json", "zip")


def row(piece: BatchItem) -> dict[str, Any]:
    """One image's numbers, for machines."""
    before, after = piece.oracle or (None, None)
    return {
        "image": piece.name,
        "before": piece.before,
        "after": piece.after,
        "flipped": piece.flipped,
        "met": piece.convincing,
        "counted": piece.counts,
        "premise_missing": piece.missing,
        "unlike": piece.unlike,
        "unreproduced": piece.unreproduced,
        "alpha": piece.alpha,
        "lpips": piece.lpips,
        "completeness_error_logit": piece.completeness_error,
        "oracle_before": before,
        "oracle_after": after,
        "opinion": piece.opinion,
    }


def alike_of(wall: BatchWalk) -> list[BatchItem]:
    """The images whose maps and curves are averaged: those that count; all where none does."""
    return [piece for piece in wall.pieces if piece.counts] or wall.pieces


def numbers(wall: BatchWalk) -> dict[str, Any]:
    """What the tab shows in numbers, for machines."""
    pieces = wall.pieces
    counted = [piece for piece in pieces if piece.counts]
    flips = [piece for piece in counted if piece.flipped]
    opinions = [piece.opinion for piece in flips if piece.opinion is not None]
    answer: dict[str, Any] = {
        "state": wall.state,
        "label": wall.label,
        "direction": wall.direction,
        "images": len(wall.images),
        "done": len(pieces),
        "premise_missing": sum(bool(piece.missing) for piece in pieces),
        "unlike": sum(bool(piece.unlike) for piece in pieces),
        "counted": len(counted),
        "flips": len(flips),
        "flip_rate": len(flips) / len(counted) if counted else None,
        "oracle_flip_rate": share_that_follows(opinions),
        "oracle_disagreed": opinions.count(DISAGREED),
        "rates": {name: {"flips": f, "images": n} for name, (f, n) in wall.rates.items()},
        "rows": [row(piece) for piece in pieces],
    }
    if pieces:
        spread = curve_quantiles([piece.curve for piece in alike_of(wall)])
        answer["fan"] = {
            "alphas": spread.alphas.tolist(),
            **dict(zip(("lower", "median", "upper"), spread.quartiles.tolist(), strict=True)),
        }
    return answer


def save_wall(session: Session, wall: BatchWalk, file_format: str) -> FilePath:
    """Write what the tab shows to the session's folder, which goes when the visitor does.

    As `csv`, a row for each image; as `json` the numbers in full, with the target and with what
    tells the images, the directions and the models from others; as `zip` both, each image before
    and after (whose text says that it is synthetic, and of what), its map, and the mean maps.
    Images are of their own size, 512 pixels a side at most. While the walk is running the file's
    name says that it is of what there is so far.

    Raises
    ------
    GCDError
        If the format is another.
    """
    if file_format not in FORMATS:
        known = ", ".join(FORMATS)
        raise GCDError(f"A wall is written as one of {known}, not as {file_format!r}.")
    now = session.directions  # maybe noted on since
    now = now if now.vectors is wall.directions.vectors else wall.directions
    columns = about_direction(
        wall.direction, now, positives_of(session), session.service.domain.change_words
    )
    rows = rows_as_csv([row(piece) | does_here(columns, piece) for piece in wall.pieces])
    in_full = json.dumps(numbers_in_full(wall), indent=1)
    so_far = "-so-far" if wall.running else ""
    file = session.folder / f"many-images-{wall.label}-{wall.direction}{so_far}.{file_format}"
    if file_format != "zip":
        with atomic_write(file) as place:
            place.write_text(rows if file_format == "csv" else in_full, encoding="utf-8")
        return file
    with atomic_write(file) as place, ZipFile(place, "w", ZIP_DEFLATED) as archive:
        archive.writestr("images.csv", rows)
        archive.writestr("numbers.json", in_full)
        for name, data in _pictures(wall).items():
            archive.writestr(name, data)
    return file


def numbers_in_full(wall: BatchWalk) -> dict[str, Any]:
    """Return what the tab shows in numbers, with the target and what tells all from others.

    An image's `fingerprint` is the one that Compare's file calls `image`.
    """
    domain, found = wall.service.domain, numbers(wall)
    for piece, told in zip(wall.pieces, found["rows"], strict=True):
        told["fingerprint"] = fingerprint(piece.source)[0].hex()
    target = {"counterfactual": domain.counterfactual, "margin": domain.margin}
    return found | {
        "target": target,
        "fingerprints": model_fingerprints(domain, wall.directions),
    }


def _pictures(wall: BatchWalk) -> dict[str, bytes]:
    """Return the mean maps, and each image before and after with its map, as PNG by file name."""
    domain, alike = wall.service.domain, alike_of(wall)
    middle = torch.cat([piece.source for piece in alike]).mean(0, keepdim=True)
    found = {
        f"mean-{kind}.png": _png(middle, mean_map([getattr(piece, kind) for piece in alike]))
        for kind in ("change", "heat")
    }
    for i, piece in enumerate(wall.pieces, start=1):
        place_of = [(wall.direction, piece.alpha)]
        about = ", ".join(caption(domain, wall.label, piece.after, place_of))
        buffer = io.BytesIO()
        original, changed = (picture / 255 for picture in piece.pictures)
        save_png(changed, buffer, {"Description": about})
        found[f"{i:02d}-original.png"] = encode_png(original)
        found[f"{i:02d}-{wall.direction}.png"] = buffer.getvalue()
        found[f"{i:02d}-{wall.direction}-map.png"] = _png(original, piece.heat)
    return found


def does_here(columns: dict[str, str], piece: BatchItem) -> dict[str, str]:
    """The columns about a direction, beside an image that moved along it or against it."""
    if piece.alpha >= 0 or not columns["does"]:
        return columns
    return columns | {"does": f"Against it: {columns['does']}"}


def _png(image: Tensor, heat: Tensor) -> bytes:
    """A map over an image, as a PNG."""
    buffer = io.BytesIO()
    overlay(image, heat, 0.7).save(buffer, format="PNG")
    return buffer.getvalue()
