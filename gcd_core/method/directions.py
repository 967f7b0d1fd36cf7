"""Global counterfactual directions: from the proxy's gradient and Hessian, and from a file."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from gcd_core.errors import GCDError
from gcd_core.files import atomic_write, read_safetensors
from gcd_core.generators.base import Generator
from gcd_core.method.loss import cf_loss
from gcd_core.method.models import Models
from gcd_core.method.proxy import NETWORKS, Proxy

FORMAT = "gcd-directions-1"
MAX_FILE_BYTES = 64 * 1024**2
NAME = re.compile(r"g|[hw][1-9][0-9]{0,3}")
PROXY = "proxy."
REACH_POINTS = 12  # on each side of the source, where a direction's reach is measured
REPEATABILITY = "repeatability"  # among a set's figures: cosine expected with another search's g
LIKE = 0.7  # absolute cosine from which on two directions are nearly the same
FLAT = 1e-2  # cosine with the logit's gradient below which that says nothing of an eigenvector


@dataclass(frozen=True)
class Direction:
    """A unit vector in the semantic space along which +alpha raises the label's logit.

    Attributes
    ----------
    name : str
        "g", "h1", "h2", ..., "w1", "w2", ...
    vector : Tensor (D,)
        float32, of norm 1.
    label : str
        The label it was found for.
    eigenvalue : float or None
        Of an h-direction: the curvature of the CF loss along it.
    """

    name: str
    vector: Tensor
    label: str
    eigenvalue: float | None = None


@dataclass(frozen=True)
class DirectionSet:
    """The directions that one search found, best kept together in one file.

    Attributes
    ----------
    names : list of str
        "g" and then "h1", "h2", ... by falling absolute eigenvalue, and "w1", "w2", ..., the
        independent ways, as they were found.
    vectors : Tensor (k, D)
        One unit vector per name, float32, on the CPU.
    metadata : dict
        What JSON can hold: domain, label, identities of generator and classifier, seed, settings,
        and `figures`, numbers by name: what the search cost, and the proxy's validation loss.
    eigenvalues : list of (float or None)
        One per name.
    z_sem : Tensor (1, D) or None
        The semantic code that was searched around: the source image's, or where it was carried to,
        or the mean of the domain's.
    proxy : Proxy or None
        The network whose derivatives the directions are.

    Examples
    --------
    >>> found.directions.names, found.directions["g"].vector
    >>> found.directions.save("pneumonia.safetensors")
    """

    names: list[str]
    vectors: Tensor
    metadata: dict[str, Any]
    eigenvalues: list[float | None] = field(default_factory=list)
    z_sem: Tensor | None = None
    proxy: Proxy | None = None

    def __post_init__(self) -> None:
        if not self.eigenvalues:
            object.__setattr__(self, "eigenvalues", [None] * len(self.names))

    @property
    def label(self) -> str:
        """The label that the directions were found for."""
        return self.metadata["label"]

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[Direction]:
        return (self[name] for name in self.names)

    def __getitem__(self, name: str) -> Direction:
        """Return one direction by its name; a GCDError lists the names there are."""
        if name not in self.names:
            raise GCDError(f"There is no direction {name!r}; there are {', '.join(self.names)}.")
        i = self.names.index(name)
        return Direction(name, self.vectors[i], self.label, self.eigenvalues[i])

    def proxy_logit(self, z_sem: Tensor) -> Tensor | None:
        """Return the logit (N,) that the proxy expects of codes (N, D), or None without a proxy."""
        if self.proxy is None:
            return None
        with torch.no_grad():
            return self.proxy(z_sem.detach().float().cpu())[:, 0]

    def reach(self, alpha_max: float) -> Tensor | None:
        """Return how far each direction moves the proxy's logit (k,); None without one to ask.

        It is the largest ``|logit(z_sem + alpha v) - logit(z_sem)|`` that the proxy expects, in
        log-odds, over 12 evenly spaced alphas on each side of the source up to `alpha_max`. None
        where the set has no proxy, or no source code to start from.
        """
        if self.z_sem is None:
            return None
        alphas = torch.linspace(-alpha_max, alpha_max, 2 * REACH_POINTS + 1)
        codes = self.z_sem + alphas[:, None, None] * self.vectors  # (alphas, k, D)
        here, logits = self.proxy_logit(self.z_sem), self.proxy_logit(codes.flatten(0, 1))
        if here is None or logits is None:
            return None
        return (logits.view(len(alphas), -1) - here).abs().amax(0)

    def likeness(self, name: str) -> tuple[str, float] | None:
        """Which direction before it a direction is much like, or the reverse of.

        Returns
        -------
        (str, float) or None
            Of those before it in the set the one whose cosine with it has the largest absolute
            value, and that cosine; None where none is above 0.7.
        """
        at = self.names.index(name)
        if not at:
            return None
        cosines = F.cosine_similarity(self.vectors[:at], self.vectors[at : at + 1])
        nearest = int(cosines.abs().argmax())
        cosine = float(cosines[nearest])
        return (self.names[nearest], cosine) if abs(cosine) > LIKE else None

    def save(self, path: str | Path) -> None:
        """Write the directions, their proxy and their metadata to one safetensors file.

        The file appears whole or not at all.

        Raises
        ------
        GCDError
            If the file cannot be written.
        """
        tensors = {"vectors": self.vectors.contiguous()}
        if self.z_sem is not None:
            tensors["z_sem"] = self.z_sem.contiguous()
        if self.proxy is not None:
            state = self.proxy.state_dict()
            tensors |= {PROXY + name: value.contiguous() for name, value in state.items()}
        about = self.metadata | {"names": self.names, "eigenvalues": self.eigenvalues}
        header = {"format": FORMAT, "about": json.dumps(about, allow_nan=False)}
        with atomic_write(path, make_folder=True) as place:
            save_file(tensors, place, header)


def derive_directions(
    proxy: Proxy, z_sem: Tensor, sign: int, lam: float, n_h: int, radius: float
) -> tuple[list[str], Tensor, list[float | None]]:
    """Take g and h1..hk from the derivatives of the proxy's CF loss at the source.

    g is the gradient (Eq. 3), h the eigenvectors of the Hessian by falling absolute eigenvalue
    (Eq. 4). Each is turned so that +alpha raises the proxy's logit: by its slope at the source, or,
    for an eigenvector along which the logit is flat there, by its values at both ends of the ball.

    Parameters
    ----------
    proxy : Proxy
    z_sem : Tensor (1, D)
        The source's semantic code.
    sign : {+1, -1}
        The way of the logit to the flip, as of `flip_sign`.
    lam : float
        Weight of the distance in the CF loss.
    n_h : int
        How many eigenvectors to keep, 0 to D.
    radius : float
        Of the ball that the proxy knows.

    Returns
    -------
    names : list of str
    vectors : Tensor (1 + n_h, D)
        Unit vectors.
    eigenvalues : list of (float or None)

    Raises
    ------
    GCDError
        If the proxy is flat at the source, so that there is no gradient.
    """
    with torch.inference_mode(False), torch.enable_grad():
        source = z_sem[0].detach().clone()

        def loss(z: Tensor) -> Tensor:
            logits, distances = proxy(z[None]).unbind(1)
            return cf_loss(logits, distances, sign, lam)[0]

        slope = torch.func.grad(lambda z: proxy(z[None])[0, 0])(source)
        gradient = torch.func.grad(loss)(source)
        if not gradient.norm() > 0:
            raise GCDError(
                "The proxy is flat around this image, so there is no direction to find; search in "
                "a larger radius or with more samples."
            )
        vectors = [gradient / gradient.norm()]
        eigenvalues: list[float | None] = [None]
        if n_h:
            hessian = torch.func.jacrev(torch.func.grad(loss))(source).double()
            values, basis = torch.linalg.eigh((hessian + hessian.T) / 2)
            kept = values.abs().argsort(descending=True)[:n_h]
            vectors += list(basis.T[kept].float())
            eigenvalues += values[kept].tolist()

        slope_size = slope.norm()

        def upward(vector: Tensor) -> Tensor:
            rise = slope @ vector
            if rise.abs() <= FLAT * slope_size:
                ends = torch.stack([source + radius * vector, source - radius * vector])
                high, low = proxy(ends)[:, 0]
                rise = high - low
            return vector if rise >= 0 else -vector

        stacked = torch.stack([upward(vector) for vector in vectors]).detach()
    names = ["g", *(f"h{i}" for i in range(1, len(vectors)))]
    return names, stacked / stacked.norm(dim=1, keepdim=True), eigenvalues


def curvature_directions(
    proxy: Proxy, z_sem: Tensor, lam: float, n_h: int, factor: Tensor, g: Tensor
) -> tuple[list[Tensor], list[float]]:
    """The axes, beside g, along which the CF loss bends most for how far the code moves.

    Eigenvectors of L^T H L, H the Hessian of the proxy's CF loss (Eq. 4) and L L^T the covariance
    of the domain's codes, in the plane orthogonal to g in that metric; carried back by L.

    Parameters
    ----------
    proxy : Proxy
    z_sem : Tensor (1, D)
        Where the Hessian is taken.
    lam : float
        Weight of the distance in the CF loss.
    n_h : int
        How many to return, by falling absolute eigenvalue.
    factor : Tensor (D, D)
        L, lower triangular.
    g : Tensor (D,)

    Returns
    -------
    vectors : list of Tensor (D,)
        Unit vectors; +alpha raises the proxy's logit.
    eigenvalues : list of float
    """
    with torch.inference_mode(False), torch.enable_grad():
        source = z_sem[0].detach().clone()

        def loss(z: Tensor) -> Tensor:
            logits, distances = proxy(z[None]).unbind(1)
            return cf_loss(logits, distances, 1, lam)[0]

        hessian = torch.func.jacrev(torch.func.grad(loss))(source).double().detach()
        slope = torch.func.grad(lambda z: proxy(z[None])[0, 0])(source).detach()
    factor = factor.double()
    along = torch.linalg.solve_triangular(factor, g.double()[:, None], upper=False)[:, 0]
    along = along / along.norm()
    beside = torch.eye(len(g), dtype=torch.float64) - torch.outer(along, along)
    bent = beside @ factor.T @ (hessian + hessian.T) @ factor @ beside / 2
    values, basis = torch.linalg.eigh(bent)
    kept = values.abs().argsort(descending=True)[:n_h]
    vectors = []
    for axis in basis.T[kept]:
        vector = (factor @ axis).float()
        vector = vector / vector.norm()
        vectors.append(vector if slope @ vector >= 0 else -vector)
    return vectors, values[kept].tolist()


def load_directions(path: str | Path, domain: Models | None = None) -> DirectionSet:
    """Read directions that `DirectionSet.save` wrote.

    Parameters
    ----------
    path : str or Path
    domain : Models, optional
        Where they are to be used; its generator must be the one that they were found with.

    Returns
    -------
    DirectionSet

    Raises
    ------
    GCDError
        If the file is missing, larger than 64 MiB, not such a file, damaged, or made with another
        generator than the domain's.
    """
    path = Path(path)
    if not path.is_file():
        raise GCDError(f"There is no file {path.name}; give one that `save` wrote.")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise GCDError(
            f"{path.name} has {size / 1024**2:.0f} MiB; files of directions have "
            f"{MAX_FILE_BYTES // 1024**2} at most, so this is another kind of file."
        )
    try:
        header, tensors = read_safetensors(path)
    except (SafetensorError, OSError) as error:
        raise GCDError(
            f"{path.name} is not a safetensors file or is cut short; give one that `save` wrote."
        ) from error
    directions = _directions(path.name, header, tensors)
    if domain is not None:
        check_generator(directions, domain)
    return directions


def check_generator(directions: DirectionSet, domain: Models) -> None:
    """Refuse directions that were found with another generator than the domain's."""
    check_made_with(directions, domain.generator, domain.name)


def check_made_with(directions: DirectionSet, generator: Generator, name: str) -> None:
    """Refuse directions that were found with another generator than this one, the domain `name`'s.

    Raises
    ------
    GCDError
        Naming both generators.
    """
    found, here = directions.metadata.get("generator"), generator.identity
    size, size_here = directions.vectors.shape[1], generator.z_sem_size
    if size != size_here or found != here:
        raise GCDError(
            f"These directions belong to the generator {found} of "
            f"{directions.metadata.get('domain')} (semantic codes of {size} numbers); "
            f"{name} has the generator {here} ({size_here} numbers). Find them again here."
        )


def _directions(file: str, header: dict[str, str], tensors: dict[str, Tensor]) -> DirectionSet:
    """Build the set from what a file holds, every part checked."""
    if header.get("format") != FORMAT:
        raise GCDError(
            f"{file} holds no directions: its format is {header.get('format', 'unknown')!r}, not "
            f"{FORMAT!r}. Give a file that `save` wrote."
        )
    try:
        names, eigenvalues, metadata = _read_metadata(header)
        for name, value in tensors.items():
            if value.dtype != torch.float32 or not bool(value.isfinite().all()):
                raise _Damaged(f"{name[:80]} is not made of finite float32 numbers")
        vectors = tensors.pop("vectors", torch.empty(0))
        if vectors.ndim != 2 or len(vectors) != len(names) or not vectors.numel():
            raise _Damaged(f"vectors {tuple(vectors.shape)} for {len(names)} names")
        if not bool((vectors.norm(dim=1) - 1).abs().max() < 1e-3):
            raise _Damaged("its directions are not of length 1")
        z_sem = tensors.pop("z_sem", None)
        if z_sem is not None and z_sem.shape != (1, vectors.shape[1]):
            raise _Damaged(f"a source code of shape {tuple(z_sem.shape)}")
        proxy = _read_proxy(tensors, vectors.shape[1])
    except _Damaged as error:
        raise GCDError(f"{file} is damaged ({error}); save the directions again.") from error
    return DirectionSet(names, vectors, metadata, eigenvalues, z_sem, proxy)


class _Damaged(Exception):
    """A part of a file of directions is not what it should be; the message says which."""


def _read_metadata(
    header: dict[str, str],
) -> tuple[list[str], list[float | None], dict[str, Any]]:
    """Names, eigenvalues and the rest of the metadata in a file's header."""
    try:
        about = json.loads(header["about"])
        names, eigenvalues = about.pop("names"), about.pop("eigenvalues")
        label = about["label"]
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise _Damaged("its metadata cannot be read") from error
    if not isinstance(label, str) or not _are_names(names):
        raise _Damaged("its label or names are not text as expected")
    if not _are_eigenvalues(eigenvalues, len(names)):
        raise _Damaged("its eigenvalues are not one number or null per direction")
    if not _are_figures(about.get("figures", {})):
        raise _Damaged("its figures are not numbers")
    return names, eigenvalues, about


def _read_proxy(tensors: dict[str, Tensor], z_sem_size: int) -> Proxy | None:
    """The proxy in a file's tensors that are left, if there is one."""
    if not tensors:
        return None
    state = {name.removeprefix(PROXY): value for name, value in tensors.items()}
    state.setdefault("slope", torch.zeros(z_sem_size))  # files of earlier versions have none
    networks = {name.split(".")[1] for name in state if name.startswith("networks.")}
    proxy = Proxy(z_sem_size, min(len(networks), NETWORKS))
    try:
        proxy.load_state_dict(state)
    except RuntimeError as error:
        raise _Damaged("its proxy has other layers than expected") from error
    return proxy


def _are_names(names: Any) -> bool:
    """Whether these are different names of directions."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return False
    return len(set(names)) == len(names) and all(NAME.fullmatch(name) for name in names)


def _are_eigenvalues(values: Any, n: int) -> bool:
    """Whether these are n numbers or Nones."""
    if not isinstance(values, list) or len(values) != n:
        return False
    return all(value is None or type(value) in (int, float) for value in values)


def _are_figures(figures: Any) -> bool:
    """Whether these are numbers by name."""
    if not isinstance(figures, dict):
        return False
    numbers = (type(value) in (int, float) and math.isfinite(value) for value in figures.values())
    return all(numbers)
