"""What an operator sets by environment variables: all `GCD_*`, read and checked in one place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from gcd_core.errors import GCDError

PREFIX = "GCD_"
MAX_COUNT = 10**9
FRAMES = "'self' https://huggingface.co https://*.huggingface.co https://*.hf.space"
# A description completes the sentence "GCD_... is ...; give ..." of a value that cannot be used.
Count = Annotated[int, Field(ge=1, le=MAX_COUNT, description="a whole number of 1 or more")]
Count0 = Annotated[int, Field(ge=0, le=MAX_COUNT, description="a whole number of 0 or more")]
Side = Annotated[int, Field(ge=1, le=4096, description="a whole number from 1 to 4096")]
Switch = Annotated[bool, Field(description="1 or 0")]
Gpus = Annotated[float, Field(ge=0, le=1024, description="the GPUs of a search, such as 0.5")]
# Visible ASCII without the comma and the semicolon, either of which would end the header's list.
Sites = Annotated[
    str, Field(pattern=r"^[ -+\--:<-~]+$", description="a list of sites, with spaces between")
]
Password = Annotated[  # which no message repeats
    str | None,
    Field(pattern=r"(?s)^[^:]+:.", repr=False, description="NAME:PASSWORD, with both of them"),
]


class Environment(BaseSettings):
    """The settings of this process: `visitors` is the variable `GCD_VISITORS`, and so on.

    A variable that is not set, or empty, has its default. A keyword argument goes before a
    variable.

    Raises
    ------
    GCDError
        If a value cannot be used; the sentence names the variable.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True)

    cache: Path | None = None  # folder of what is kept on disk between runs
    max_side: Side = 1024  # pixels of the longest side that is kept of a picture
    # Whether a domain from the hub may run code, and send images elsewhere.
    trust_code: Switch = False
    ray_address: str | None = None  # of the cluster that makes the page's searches
    ray_gpus: Gpus = 0.0  # of each of those searches
    domain: str | None = None  # which the page shows, where its command names none
    # A folder or zip that Globality walks in the place of the domain's examples.
    images: Path | None = None
    # Whether each event is logged, and whether `/metrics` answers.
    log: Switch = False
    metrics: Switch = False
    # "NAME:PASSWORD" that every request must bring (HTTP Basic), but for `/health`.
    auth: Password = None
    # Which sites may show the page in a frame, as `frame-ancestors` names them.
    frame_ancestors: Sites = FRAMES
    # At a time. A further one takes the place of one who has been idle for two minutes, or is asked
    # to come again.
    visitors: Count = 64
    # After which a visitor's images and directions are dropped, though its tab is open.
    idle_minutes: Count = 60
    # For which a visit is kept after its page was closed, loaded anew or cut off, for the same
    # browser tab to come back to; 0 keeps none.
    keep_minutes: Count0 = 15
    searches: Count = 1  # that run at a time
    searches_waiting: Count0 = 16  # that wait for others to end; a further one is refused
    uploads: Count = 240  # files that a visitor may open within an hour
    upload_mb: Count = 1024  # megabytes (2^20 bytes) of them
    # Megabytes of files that were sent, and are not opened yet, of all visitors.
    uploads_kept_mb: Count = 2048

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            fault = error.errors()[0]
            name = str(fault["loc"][0])
            field = type(self).model_fields[name]
            told = repr(fault["input"]) if field.repr else "unusable"
            sentence = f"{PREFIX}{name.upper()} is {told}; give {field.description}."
            raise GCDError(sentence) from None
