"""Global counterfactual directions: move images until a classifier changes its mind about them.

The names below are the public interface; each is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gcd_core.bridge.paths import rcsb
    from gcd_core.bridge.rcsb import Steering
    from gcd_core.domains.opening import Domain, load_domain
    from gcd_core.errors import Cancelled, GCDError
    from gcd_core.generators import load_generator
    from gcd_core.generators.base import Latent
    from gcd_core.images.picture import Picture
    from gcd_core.method.another import Another, another_counterfactual
    from gcd_core.method.attribution import Attribution, bb_lig, explain_path
    from gcd_core.method.directions import Direction, DirectionSet, load_directions
    from gcd_core.method.exposure import exposure_of, without_exposure
    from gcd_core.method.path import Path
    from gcd_core.method.samples import Samples
    from gcd_core.method.search import find_directions
    from gcd_core.method.search_run import Found, Progress
    from gcd_core.method.settings import Settings
    from gcd_core.method.walk import walk

__version__ = "0.7.0"  # the only place: pyproject.toml, /health and the change log follow it

_HOME = {
    "gcd_core.bridge.paths": ("rcsb",),
    "gcd_core.bridge.rcsb": ("Steering",),
    "gcd_core.domains.opening": ("Domain", "load_domain"),
    "gcd_core.errors": ("Cancelled", "GCDError"),
    "gcd_core.generators": ("load_generator",),
    "gcd_core.generators.base": ("Latent",),
    "gcd_core.images.picture": ("Picture",),
    "gcd_core.method.another": ("Another", "another_counterfactual"),
    "gcd_core.method.attribution": ("Attribution", "bb_lig", "explain_path"),
    "gcd_core.method.directions": ("Direction", "DirectionSet", "load_directions"),
    "gcd_core.method.exposure": ("exposure_of", "without_exposure"),
    "gcd_core.method.samples": ("Samples",),
    "gcd_core.method.search": ("find_directions",),
    "gcd_core.method.search_run": ("Found", "Progress"),
    "gcd_core.method.settings": ("Settings",),
    "gcd_core.method.path": ("Path",),
    "gcd_core.method.walk": ("walk",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Another",
    "Attribution",
    "Cancelled",
    "Direction",
    "DirectionSet",
    "Domain",
    "Found",
    "GCDError",
    "Latent",
    "Path",
    "Picture",
    "Progress",
    "Samples",
    "Settings",
    "Steering",
    "another_counterfactual",
    "bb_lig",
    "explain_path",
    "exposure_of",
    "find_directions",
    "load_directions",
    "load_domain",
    "load_generator",
    "rcsb",
    "walk",
    "without_exposure",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE[name]), name)


def __dir__() -> list[str]:
    return __all__
