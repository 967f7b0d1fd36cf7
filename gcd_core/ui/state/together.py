"""Pictures that several visitors want at the same time, decoded at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gcd_core.generators.base import Latent
from gcd_core.ui.state.frames import Frame


class Wanted(NamedTuple):
    """A picture to decode.

    Attributes
    ----------
    latent : Latent
        Of one picture.
    source : Tensor (1, C, H, W)
        What its LPIPS is measured to.
    still : callable
        Says when its turn has come whether anybody wants it any more.
    """

    latent: Latent
    source: Tensor
    still: Callable[[], bool] = lambda: True


class Together:
    """Decodes what is still wanted of a list, in one batch.

    Parameters
    ----------
    decode : callable
        Takes latents of N pictures, their sources (N, C, H, W) and a solver; returns N frames.
    solver : callable
        Returns the generator's, None to decode as well as it can.
    """

    def __init__(
        self,
        decode: Callable[[Latent, Tensor, str | None], list[Frame]],
        solver: Callable[[], str | None],
    ) -> None:
        self._decode, self._solver = decode, solver

    def __call__(self, wanted: list[Wanted]) -> list[Frame | None]:
        """Return a frame for each that is still wanted, None for the others."""
        still = [one.still() for one in wanted]
        chosen = [one for one, yes in zip(wanted, still, strict=True) if yes]
        if not chosen:
            return [None] * len(wanted)
        latents = [one.latent for one in chosen]
        together = Latent(
            torch.cat([latent.z_sem for latent in latents]),
            torch.cat([latent.z_T for latent in latents]),
        )
        sources = torch.cat([one.source for one in chosen])
        frames = iter(self._decode(together, sources, self._solver()))
        return [next(frames) if yes else None for yes in still]
