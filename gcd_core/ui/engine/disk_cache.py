"""Opened examples and their decoded paths, kept on disk.

The files may be deleted at any time. A damaged file is made anew.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from dataclasses import asdict, replace
from pathlib import Path as FilePath
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from gcd_core.classifiers.cache import cache_folder, fingerprint
from gcd_core.domains.opening import Domain
from gcd_core.errors import GCDError
from gcd_core.files import atomic_write
from gcd_core.generators.base import Latent
from gcd_core.images.picture import Picture
from gcd_core.method.composition import SOURCE, compose, view_of
from gcd_core.method.directions import Direction
from gcd_core.method.path import Path
from gcd_core.ui.engine.decoded_paths import DecodedPath
from gcd_core.ui.frames import Frame, Opened, alpha_grid

LOG = logging.getLogger(__name__)
CACHE_FORMAT = 4  # a file of another format is not read; also raised where paths are walked anew
MAX_CACHE_BYTES = 2**30  # of all files together
FOLDER = "examples"
MAX_PIXEL = 255.0  # pictures of a path are kept as they are shown, in 8 bits
PATH_TENSORS = ("alphas", "logits", "probabilities", "all_probabilities", "distances", "losses")
PATH_FACTS = (
    *("label", "labels", "direction_name", "source_probability", "source_probabilities", "sign"),
    *("threshold", "choice", "margin", "refined"),
)
FRAME_FACTS = ("probabilities", "distance", "oracle")


class DiskCache:
    """Keeps opened examples and their paths in a folder, under names made from what they depend on.

    Where the folder cannot be written, the log says so once, and nothing is kept.

    Parameters
    ----------
    folder : pathlib.Path, optional
        By default "examples" in `cache_folder()`.
    most : int
        Bytes of all files; those that were read longest ago make room.
    """

    def __init__(self, folder: FilePath | None = None, most: int = MAX_CACHE_BYTES) -> None:
        self._writes, self._lock = True, threading.Lock()
        self.most = most
        try:
            self.folder = cache_folder() / FOLDER if folder is None else folder
        except RuntimeError:  # this user has no home
            self.folder, self._writes = FilePath(os.devnull), False

    def opened(self, domain: Domain, image: Tensor | Picture, name: str) -> Opened | None:
        """Return an opened image (1, C, S, S) or picture, or None where it is not kept."""
        view = view_of(image)
        kept = self._read(opened_key(domain, view))
        if kept is None:
            return None
        tensors, facts = kept
        pictures = {"source": view, "rest": tensors["rest"]}
        for values in facts.values():  # what was a tuple is a list in JSON
            values["probabilities"] = tuple(values["probabilities"])
            values["oracle"] = values["oracle"] and tuple(values["oracle"])
        frames = {which: Frame(picture, **facts[which]) for which, picture in pictures.items()}
        latent = Latent(tensors["z_sem"], tensors["z_T"]).to(domain.generator.device)
        opened = Opened(name, view, latent, frames["source"], frames["rest"])
        if "fast" not in tensors:
            return opened
        compositions = compose(image, tensors["rest"]), compose(image, tensors["fast"])
        source = replace(opened.source, decoded=tensors["rest"], composition=compositions[0])
        picture = image if isinstance(image, Picture) else None
        return replace(opened, source=source, picture=picture, compositions=compositions)

    def keep_opened(self, domain: Domain, opened: Opened) -> None:
        """Keep an opened image."""
        frames = {"source": opened.source, "rest": opened.reconstruction}
        facts = {
            which: {name: getattr(frame, name) for name in FRAME_FACTS}
            for which, frame in frames.items()
        }
        latent = opened.latent.to("cpu")
        tensors = {"rest": opened.reconstruction.image, "z_sem": latent.z_sem, "z_T": latent.z_T}
        if opened.compositions is not None:
            fast = opened.compositions[1].baseline
            assert fast is not None
            tensors["fast"] = fast
        self._write(opened_key(domain, opened.image), tensors, facts)

    def played(
        self, domain: Domain, opened: Opened, direction: Direction, label: str
    ) -> DecodedPath | None:
        """Return an image's path along a direction, or None where it is not kept."""
        kept = self._read(path_key(domain, opened.image, direction, label))
        if kept is None:
            return None
        tensors, facts = kept
        opinions = [tuple(opinion) for opinion in facts.pop("opinions")]
        film = bytes(tensors.pop("film").numpy()).decode()
        tensors["images"] = tensors["images"].float() / MAX_PIXEL
        decoded = tensors.pop("decoded", None)
        facts |= {"labels": tuple(facts["labels"]), "refined": tuple(facts["refined"])}
        fields: dict[str, Any] = {**tensors, **facts, "source": opened.image}
        path = Path(**fields)
        if decoded is not None:
            composition, at_rest = opened.composition(), path.alphas == 0
            decoded = decoded.float()
            assert composition.baseline is not None
            decoded[at_rest] = composition.baseline
            images = composition.shown(decoded)
            path = replace(path, images=images, decoded=decoded, composition=composition)
        return DecodedPath(path, film, opinions)

    def keep_path(
        self, domain: Domain, opened: Opened, direction: Direction, label: str, played: DecodedPath
    ) -> None:
        """Keep a path with what the browser plays and the oracle's opinions."""
        path = played.path
        tensors = {name: getattr(path, name) for name in PATH_TENSORS}
        tensors["images"] = (path.images.clamp(0, 1) * MAX_PIXEL).round().to(torch.uint8)
        tensors["film"] = torch.frombuffer(bytearray(played.film.encode()), dtype=torch.uint8)
        if path.detail == SOURCE and path.decoded is not None:
            tensors["decoded"] = path.decoded.half()
        facts = {name: getattr(path, name) for name in PATH_FACTS}
        facts["opinions"] = played.opinions
        self._write(path_key(domain, opened.image, direction, label), tensors, facts)

    def has_path(self, domain: Domain, image: Tensor, direction: Direction, label: str) -> bool:
        """Whether the path of an image (1, C, H, W) along a direction is kept."""
        return self._file(path_key(domain, image, direction, label)).is_file()

    # -- files ------------------------------------------------------------------------------

    def _file(self, key: str) -> FilePath:
        return self.folder / f"{key}.safetensors"

    def _read(self, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        file = self._file(key)
        if not file.is_file():
            return None
        try:
            with safe_open(file, "pt") as kept:
                tensors = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118
                facts = json.loads(kept.metadata()["facts"])
            os.utime(file)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            LOG.warning("%s cannot be read (%s): it is made anew.", file, error)
            return None
        return tensors, facts

    def _write(self, key: str, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        if not self._writes:
            return
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        try:
            with atomic_write(self._file(key), make_folder=True) as place:
                save_file(whole, place, {"facts": json.dumps(facts)})
            self._make_room()
        except (GCDError, OSError) as error:
            self._writes = False
            LOG.warning("The examples' paths cannot be kept, and are decoded anew: %s", error)

    def _make_room(self) -> None:
        with self._lock:
            files = [(file, file.stat()) for file in self.folder.glob("*.safetensors")]
            excess = sum(stat.st_size for _, stat in files) - self.most
            for file, stat in sorted(files, key=lambda entry: entry[1].st_mtime):
                if excess <= 0:
                    return
                file.unlink(missing_ok=True)
                excess -= stat.st_size


def opened_key(domain: Domain, image: Tensor) -> str:
    """Return the file name of an opened image (1, C, H, W): a digest of what it depends on."""
    return _digest(_made_with(domain, image), "opened")


def path_key(domain: Domain, image: Tensor, direction: Direction, label: str) -> str:
    """Return the file name of a path: a digest of what it depends on."""
    vector = fingerprint(direction.vector.float()[None])[0].hex()
    walk = [alpha_grid(domain.alpha_max), domain.counterfactual, domain.margin]
    return _digest(_made_with(domain, image), label, direction.name, vector, walk)


def _made_with(domain: Domain, image: Tensor) -> list[Any]:
    oracle, sampling = domain.oracle, domain.generator.sampling
    return [
        CACHE_FORMAT,
        fingerprint(image)[0].hex(),
        domain.generator.identity,
        None if sampling is None else asdict(sampling),
        domain.classifier.identity,
        None if oracle is None else oracle.identity,
        domain.perceptual.identity,
        list(domain.labels),
        domain.detail,
    ]


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
