"""Global counterfactual directions: move images until a classifier changes its mind about them.

The names below are the public interface; each is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcd_core.attribution import Attribution, bb_lig, explain_path
    from gcd_core.counterfactual import Path, walk
    from gcd_core.directions import Direction, DirectionSet, load_directions
    from gcd_core.domains import Domain, load_domain
    from gcd_core.errors import Cancelled, GCDError
    from gcd_core.generators import load_generator
    from gcd_core.generators.base import Latent
    from gcd_core.pipeline import Found, Progress, Samples, find_directions

_HOME = {
    "attribution": ("Attribution", "bb_lig", "explain_path"),
    "counterfactual": ("Path", "walk"),
    "directions": ("Direction", "DirectionSet", "load_directions"),
    "domains": ("Domain", "load_domain"),
    "errors": ("Cancelled", "GCDError"),
    "generators": ("load_generator",),
    "generators.base": ("Latent",),
    "pipeline": ("Found", "Progress", "Samples", "find_directions"),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Attribution",
    "Cancelled",
    "Direction",
    "DirectionSet",
    "Domain",
    "Found",
    "GCDError",
    "Latent",
    "Path",
    "Progress",
    "Samples",
    "bb_lig",
    "explain_path",
    "find_directions",
    "load_directions",
    "load_domain",
    "load_generator",
    "walk",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE[name]}"), name)


def __dir__() -> list[str]:
    return __all__
