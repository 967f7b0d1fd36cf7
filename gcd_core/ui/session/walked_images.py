"""The images that are walked: a visitor's files, those of the server, or the examples."""

from __future__ import annotations

from pathlib import Path as FilePath

from torch import Tensor

from gcd_core.classifiers.base import preprocessing_of
from gcd_core.errors import GCDError
from gcd_core.images.dataset import ImageFiles
from gcd_core.images.picture import Picture
from gcd_core.images.reading import shown_name
from gcd_core.method.composition import SOURCE
from gcd_core.ui.engine.service import ModelService
from gcd_core.ui.frames import CARD_SIDE
from gcd_core.ui.session.batch_walk import MAX_IMAGES
from gcd_core.ui.session.uploads import UploadTally


class WalkedImages:
    """Reads what is to be walked.

    Parameters
    ----------
    service : ModelService
    own : ImageFiles, optional
        What is walked where a visitor gives no files; by default the domain's examples.
    """

    def __init__(self, service: ModelService, own: ImageFiles | None = None) -> None:
        self.service, self.own = service, own

    @property
    def others(self) -> str:
        """What is walked where no files are given."""
        return "the examples" if self.own is None else f"the {len(self.own.names)} of this server"

    def chosen(
        self, files: list[str] | None, uploads: UploadTally
    ) -> tuple[list[str], list[Tensor | Picture], list[str]]:
        """Return names and images, and the names of the files that cannot be opened.

        A visitor's files are deleted. Raises a GCDError where there are too many, or none opens.
        """
        if not files and self.own is not None:
            own = [image for _, image in self.own.load(self._load)]
            return [f"Image {i + 1}" for i in range(len(own))], own, []
        if not files:
            pictures = [self._load(path) for path in self.service.domain.examples[:MAX_IMAGES]]
            return [f"Example {i + 1}" for i in range(len(pictures))], pictures, []
        try:
            return self._read([FilePath(file) for file in files], uploads)
        finally:
            for file in files:  # a visitor's pictures live in the session only
                FilePath(file).unlink(missing_ok=True)

    def _load(self, file: FilePath | bytes) -> Tensor | Picture:
        """Read one of the server's own images."""
        if self.service.domain.detail == SOURCE:
            return self.service.domain.load_picture(file, self._side)
        return self.service.domain.load_image(file)

    @property
    def _side(self) -> int:
        """Pixels of a picture's longer side that are kept: the wall's, or the classifier's."""
        return max(
            (CARD_SIDE, *(preprocessing_of(self.service.domain.classifier).resized_to or ()))
        )

    def _read(
        self, files: list[FilePath], uploads: UploadTally
    ) -> tuple[list[str], list[Tensor | Picture], list[str]]:
        """Do so of a visitor's files."""
        names, skipped = list[str](), list[str]()
        images: list[Tensor | Picture] = []
        if len(files) > MAX_IMAGES:
            raise GCDError(f"{len(files)} images are too many at a time here; take {MAX_IMAGES}.")
        for path in files:
            data = path.read_bytes()
            uploads.take(len(data))
            try:
                read = self.service.read(data, self._side)
            except GCDError:
                skipped.append(shown_name(path.name, data))
                continue
            whole = self.service.domain.detail == SOURCE
            images.append(read.picture if whole else read.picture.view)
            names.append(numbered(read.name(path.name), names))
        if not images:
            raise GCDError("None of these files could be opened as an image.")
        return names, images, skipped


def numbered(name: str, taken: list[str]) -> str:
    """A name that no image before has: files of several patients may all be called "DICOM"."""
    free, number = name, 2
    while free in taken:
        free, number = f"{name} {number}", number + 1
    return free
