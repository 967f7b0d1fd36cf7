"""What classifiers across a network share: 8-bit pictures, retries, answers that are checked."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import torch
from torch import Tensor

from gcd_core.classifiers.base import Classifier, NoAnswer, check_batch_size, digest_of, names_of
from gcd_core.classifiers.preprocessing import Preprocessing
from gcd_core.classifiers.retry import Failure, Patience
from gcd_core.errors import GCDError
from gcd_core.images.drawing import encode_png

QUOTED = 300  # characters of an endpoint's own text that a message repeats
HIDDEN = "***"
AS_SENT = {"mean": 0, "std": 1}  # PNG
HANDLING = ("timeout", "retries", "batch_size")  # keys of a table that change no answer


class RemoteClassifier(Classifier):
    """A classifier that is asked by sending it PNG files; a kind adds `post`.

    Parameters
    ----------
    table : dict
        The `[classifier]` table, as `load` checked it. Its `PICTURE_KEYS` say what is
        sent; without them the image stays as it is. Its `batch_size` is the number of images per
        request.
    address : str
        The endpoint's; messages name it without what may be secret.
    secrets : sequence of str
        What no message may repeat.

    Raises
    ------
    GCDError
        If a number in the table is out of its range.
    """

    remote = True
    batch_size: int

    def __init__(
        self,
        table: dict[str, Any],
        address: str,
        secrets: Sequence[str] = (),
    ) -> None:
        super().__init__(names_of(table["labels"]), table["output"], endpoint_identity(table))
        self.preprocessing = Preprocessing.from_table(table | AS_SENT)
        self.batch_size = table.get("batch_size", 1)
        check_batch_size(self.batch_size)
        self.name = shown_address(address)
        self.patience, self.timeout = patience_of(table), timeout_of(table)
        self._secrets = sorted(secrets, key=len, reverse=True)

    @abstractmethod
    def post(self, pictures: list[bytes]) -> list[list[Any]]:
        """Send PNG files; return one row of scores per picture, in the labels' order.

        Raises a `Failure` where it is worth asking again, and a `NoAnswer` where it is not.
        """

    def shown(self, images: Tensor) -> Tensor:
        """The pixels that are sent: uint8 (N, C, H, W), on the CPU."""
        images = self.preprocessing.picture(images.detach().float().cpu())
        return (images.clamp(0, 1) * 255).round().to(torch.uint8)

    def answer(self, images: Tensor) -> Tensor:
        """Ask about a batch (N, C, H, W), uint8, until there is an answer that makes sense."""
        pictures = [encode_png(image / 255) for image in images]
        return self.patience.ask(lambda: self._rows(self.post(pictures), len(images)), self.name)

    def refusal(self, status: int, retry_after: str | None, text: str) -> Failure | NoAnswer:
        """What to raise for an answer that is no success: its status, header and own text."""
        reason = f"(status {status}): {self.shortened(text) or 'no more is said'}"
        if status in (408, 429) or status >= 500:
            return Failure(f"could not answer {reason}", self.patience.wanted(retry_after))
        return NoAnswer(f"The endpoint {self.name} refuses to answer {reason}")

    def unreachable(self, error: Exception) -> Failure:
        """What to raise where the connection cannot be made, or breaks."""
        reason = self.shortened(str(error)) or type(error).__name__
        return Failure(f"cannot be reached, or hung up ({reason})")

    def nonsense(self, why: str, text: str = "") -> Failure:
        """What to raise for an answer that cannot be used; the message quotes its text."""
        quoted = f": {self.shortened(text)}" if text else ""
        return Failure(f"answered nonsense: {self.shortened(why)}{quoted}", nonsense=True)

    def shortened(self, text: str) -> str:
        """An endpoint's text on one line, without secrets and control characters."""
        for secret in self._secrets:
            for form in (secret, quote(secret, safe="")):
                text = text.replace(form, HIDDEN)
        text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        return text if len(text) <= QUOTED else text[:QUOTED] + "..."

    def by_label(self, scores: list[tuple[Any, Any]]) -> list[Any]:
        """Scores in the labels' order, from pairs of a label and its score."""
        given = [label for label, _ in scores]
        missing = [label for label in self.labels if given.count(label) != 1]
        if missing:
            raise self.nonsense(f"it should have the label {missing[0]!r} once; it has {given}")
        return [scores[given.index(label)][1] for label in self.labels]

    def _rows(self, rows: list[list[Any]], count: int) -> Tensor:
        """Return the rows as numbers (N, L); refuse rows that cannot be an answer."""
        if len(rows) != count:
            raise self.nonsense(f"{len(rows)} answers to {count} images")
        for row in rows:
            if len(row) != len(self.labels):
                raise self.nonsense(f"{len(row)} scores for {len(self.labels)} labels")
            for score in row:
                if isinstance(score, bool) or not isinstance(score, int | float):
                    raise self.nonsense(f"a score is no number but {score!r}")
                if not abs(score) < 1e30:  # NaN, infinite, or more than a float32 holds
                    raise self.nonsense(f"a score is {score}")
                if self.output == "probabilities" and not -1e-3 <= score <= 1 + 1e-3:
                    raise self.nonsense(
                        f"a probability is {score}; if these are logits, the output is 'sigmoid' "
                        "or 'softmax'"
                    )
        return torch.tensor(rows, dtype=torch.float32)


def endpoint_identity(table: dict[str, Any]) -> str:
    """A classifier's identity: whatever decides its answers. Environment variables do not."""
    deciding = {key: value for key, value in table.items() if key not in HANDLING}
    return digest_of(deciding)


def patience_of(table: dict[str, Any]) -> Patience:
    """How often `retries` (7, if left out) lets a request be repeated."""
    retries = table.get("retries", 7)
    if retries < 0:
        raise GCDError(f"A classifier's retries are 0 or more, not {retries}.")
    return Patience(tries=retries + 1)


def timeout_of(table: dict[str, Any]) -> float:
    """Seconds to wait for an answer: `timeout` (30, if left out)."""
    timeout = float(table.get("timeout", 30.0))
    if not 0 < timeout < float("inf"):
        raise GCDError(f"A classifier's timeout is a positive number of seconds, not {timeout}.")
    return timeout


def shown_address(address: str) -> str:
    """An address without what may be secret: its user, password and query."""
    split = urlsplit(address)
    if not split.scheme:
        return address
    return f"{split.scheme}://{split.netloc.rpartition('@')[2]}{split.path}"
