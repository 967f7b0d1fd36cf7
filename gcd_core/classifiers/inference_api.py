"""Kind "hf-inference": a model served by the Hugging Face hub's inference API, or at an endpoint.

In domain.toml::

    [classifier]
    kind = "hf-inference"
    model = "owner/name"
    labels = ["cat", "dog"]
    output = "probabilities"

`model` is a repository of the hub or the URL of an inference endpoint, `provider` who serves it
(the account's choice, if left out). The token is the hub client's: `$HF_TOKEN`, or that of a login.
With `output = "probabilities"` the scores are what the model's own pipeline makes of them; with
"sigmoid" or "softmax" the API is asked for logits (`function_to_apply`: none), which not every
provider can.

The API gives the `top_k` highest scores, by default as many as there are labels. A label that an
answer leaves out ends the search with a message: to put the lowest probability in its place would
show the proxy a plateau that is not there. Raise `top_k` to the number of the model's classes.

`version` is the operator's word for the state of the model: change it when the model changes.
"""

from pathlib import Path
from typing import Any, Literal

import httpx2
import torch
from huggingface_hub import InferenceClient, get_token
from huggingface_hub.errors import HfHubHTTPError, InferenceTimeoutError

from gcd_core.classifiers.base import ANSWER_KEYS, Keys, check_keys
from gcd_core.classifiers.preprocessing import PICTURE_KEYS
from gcd_core.classifiers.remote import RemoteClassifier
from gcd_core.classifiers.retry import Failure
from gcd_core.errors import GCDError

KEYS: Keys = {"model": str} | ANSWER_KEYS
OPTIONAL_KEYS: Keys = PICTURE_KEYS | {
    "provider": str,
    "top_k": int,
    "timeout": int | float,
    "retries": int,
    "version": str,
}


class InferenceApiClassifier(RemoteClassifier):
    """A model asked through `huggingface_hub.InferenceClient`; see the module's description.

    Parameters
    ----------
    table : dict
        The `[classifier]` table, as `load` checked it.
    """

    def __init__(self, table: dict[str, Any]) -> None:
        secrets = [token] if (token := get_token()) else []
        super().__init__(table, table["model"], secrets)
        self.top_k = table.get("top_k", len(self.labels))
        if self.top_k < len(self.labels):
            raise GCDError(
                f"A top_k of {self.top_k} leaves out some of {len(self.labels)} labels; raise it."
            )
        self._function: Literal["none"] | None = None if self.output == "probabilities" else "none"
        self._client = InferenceClient(
            table["model"], provider=table.get("provider"), timeout=self.timeout
        )

    def post(self, pictures: list[bytes]) -> list[list[Any]]:
        """Ask about one picture, which is all that the API takes at a time."""
        try:
            found = self._client.image_classification(
                pictures[0], function_to_apply=self._function, top_k=self.top_k
            )
        except InferenceTimeoutError as error:
            raise Failure(f"did not answer within {self.timeout:g} s") from error
        except HfHubHTTPError as error:
            status, headers = error.response.status_code, error.response.headers
            text = error.server_message or str(error)
            raise self.refusal(status, headers.get("retry-after"), text) from error
        except (httpx2.RequestError, ConnectionError) as error:
            raise self.unreachable(error) from error
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            # of an answer that the client cannot read, but also of a provider or task it refuses
            reason = self.shortened(f"{type(error).__name__}: {error}")
            raise Failure(f"gives nothing that can be used ({reason})", nonsense=True) from error
        return [self.by_label([(element.label, element.score) for element in found])]


def load(table: dict[str, Any], folder: Path, device: str | torch.device) -> InferenceApiClassifier:
    """Describe the model; nothing is asked yet. See `load_classifier`."""
    check_keys(table, KEYS, OPTIONAL_KEYS)
    return InferenceApiClassifier(table)
