"""g and h against known gradients and eigenvectors; files give back what was saved, or refuse."""

import json
from dataclasses import replace

import pytest
import scipy.linalg
import torch
from safetensors.torch import load_file, save_file

from gcd_core.errors import GCDError
from gcd_core.method.directions import (
    DirectionSet,
    curvature_directions,
    derive_directions,
    load_directions,
)
from gcd_core.method.proxy import Proxy
from tests.fakes import LinearDomain

D = 12
AXES = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(0)))[0].T
SOURCE = torch.full((1, D), 0.3)


def derive(logit, distance=lambda d: 0 * d[:, 0], sign=-1, lam=1.0, n_h=0):
    """Directions of functions of (z - source), in the place of a proxy."""

    def proxy(z):
        d = z - SOURCE
        return torch.stack([logit(d), distance(d)], 1)

    return derive_directions(proxy, SOURCE, sign, lam, n_h, radius=2.0)


@pytest.mark.parametrize("sign", [+1, -1])
def test_g_is_the_gradient_and_raises_the_logit(sign):
    names, vectors, eigenvalues = derive(lambda d: 5 * d @ AXES[0] + 1, sign=sign)
    assert (names, eigenvalues) == (["g"], [None])
    torch.testing.assert_close(vectors, AXES[:1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("sign", [+1, -1])
def test_g_is_of_the_whole_cf_loss(sign):
    _, vectors, _ = derive(
        lambda d: d @ AXES[0], lambda d: d @ AXES[1], sign=sign, lam=0.75
    )  # gradient: -sign * a0 + 0.75 * a1, of length 1.25; raises the logit once turned by sign
    expected = (AXES[0] - sign * 0.75 * AXES[1]) / 1.25
    torch.testing.assert_close(vectors[0], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sign", [+1, -1])
def test_h_are_the_hessians_eigenvectors_by_size(sign):
    curvature = torch.zeros(D)
    curvature[:4] = torch.tensor([0.5, -3.0, 2.0, 1.0])
    slopes = torch.zeros(D)
    slopes[:4] = torch.tensor([0.1, 0.1, -0.1, 0.1])

    def logit(d):
        along = d @ AXES.T
        return (along * slopes).sum(1) + (along**2 * curvature).sum(1) / 2

    names, vectors, eigenvalues = derive(logit, sign=sign, n_h=3)
    assert names == ["g", "h1", "h2", "h3"]
    assert eigenvalues[1:] == pytest.approx([3.0 * sign, -2.0 * sign, -1.0 * sign], abs=1e-4)
    expected = torch.stack([AXES[1], -AXES[2], AXES[3]])  # the signs of the slopes
    torch.testing.assert_close(vectors[1:], expected, atol=1e-4, rtol=0)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))
    assert vectors.dtype == torch.float32


@pytest.mark.parametrize("way", [+1, -1])
def test_a_flat_eigenvector_is_turned_by_the_ends_of_the_ball(way):
    def logit(d):
        along = d @ AXES.T
        return along[:, 0] + 4 * along[:, 1] ** 2 + way * along[:, 1] ** 3

    _, vectors, _ = derive(logit, n_h=1)
    torch.testing.assert_close(vectors[1], way * AXES[1], atol=1e-4, rtol=0)


def test_curvature_is_measured_in_the_codes_own_metric_beside_g():
    """Against scipy: the axes u, S^-1-orthogonal to g, of stationary u^T H u / u^T S^-1 u."""
    random = torch.Generator().manual_seed(4)
    mixed = torch.randn(D, D, generator=random)
    covariance = mixed @ mixed.T / D + 0.2 * torch.eye(D)
    bent = torch.randn(D, D, generator=random)
    bent = bent + bent.T
    slope, g = torch.randn(D, generator=random), torch.randn(D, generator=random)
    further = torch.randn(D, D, generator=random)
    further = further + further.T

    def proxy(z):
        d = z - SOURCE
        logit = d @ slope + torch.einsum("ni,ij,nj->n", d, bent, d) / 2
        return torch.stack([logit, torch.einsum("ni,ij,nj->n", d, further, d) / 2], 1)

    factor = torch.linalg.cholesky(covariance)
    vectors, eigenvalues = curvature_directions(proxy, SOURCE, 0.5, 3, factor, g)
    hessian = (0.5 * further - bent).double().numpy()
    inverse = torch.linalg.inv(covariance.double()).numpy()
    beside = scipy.linalg.null_space((inverse @ g.double().numpy())[None])
    values, basis = scipy.linalg.eigh(beside.T @ hessian @ beside, beside.T @ inverse @ beside)
    kept = abs(values).argsort()[::-1][:3]
    assert eigenvalues == pytest.approx(values[kept].tolist(), rel=1e-3)
    for vector, axis in zip(vectors, (beside @ basis[:, kept]).T, strict=True):
        expected = torch.tensor(axis / (axis @ axis) ** 0.5).float()
        assert abs(float(vector @ expected)) == pytest.approx(1, abs=1e-4)
        assert float(vector @ slope) >= 0
        assert abs(float(vector @ torch.tensor(inverse).float() @ g)) < 1e-3 * float(g.norm())


def test_a_file_of_before_there_was_a_slope_is_read(tmp_path):
    """As the version before wrote it: vectors, and a proxy of three networks without `slope`."""
    proxy = Proxy(D)
    proxy.initialise(torch.Generator().manual_seed(0))
    proxy.mean.copy_(torch.tensor([0.5, 0.1]))
    state = {f"proxy.{name}": value for name, value in proxy.state_dict().items()}
    assert not state.pop("proxy.slope").any()
    about = {
        "domain": "linear",
        "label": "a",
        "generator": "linear",
        "classifier": "code",
        "seed": 0,
        "settings": {"n_samples": 1024, "n_ways": 2, "max_cosine": 0.3, "radius": 4.0},
        "figures": {"queries": 1025},
        "names": ["g", "w1"],
        "eigenvalues": [None, None],
    }
    file = tmp_path / "old.safetensors"
    header = {"format": "gcd-directions-1", "about": json.dumps(about)}
    save_file({"vectors": AXES[:2].contiguous(), "z_sem": SOURCE, **state}, file, header)
    loaded = load_directions(file, LinearDomain(lambda z: z[:, 0], D))
    assert loaded.names == ["g", "w1"] and torch.equal(loaded.vectors, AXES[:2])
    codes = SOURCE + AXES
    with torch.no_grad():
        torch.testing.assert_close(loaded.proxy_logit(codes), proxy(codes)[:, 0])
    assert loaded.reach(2.0).shape == (2,)
    loaded.save(tmp_path / "new.safetensors")
    again = load_directions(tmp_path / "new.safetensors")
    assert torch.equal(again.proxy_logit(codes), loaded.proxy_logit(codes))


def test_a_proxy_without_networks_is_kept_in_a_file(tmp_path):
    proxy = Proxy(D, networks=0)
    proxy.slope.copy_(AXES[0])
    proxy.mean.copy_(torch.tensor([1.0, 0.0]))
    about = {"label": "a", "domain": "d", "generator": "g"}
    file = tmp_path / "linear.safetensors"
    DirectionSet(["g"], AXES[:1], about, z_sem=SOURCE, proxy=proxy).save(file)
    loaded = load_directions(file)
    codes = SOURCE + AXES
    torch.testing.assert_close(loaded.proxy_logit(codes), 1 + codes @ AXES[0])
    assert loaded.reach(2.0).tolist() == pytest.approx([2.0], abs=1e-4)


def test_a_flat_proxy_is_refused():
    with pytest.raises(GCDError, match="flat"):
        derive(lambda d: 0 * d[:, 0])


@pytest.fixture
def directions():
    proxy = Proxy(D)
    proxy.initialise(torch.Generator().manual_seed(0))
    names = ["g", "h1", "h2"]
    metadata = {"domain": "linear", "label": "a", "generator": "linear", "seed": 3}
    metadata["settings"] = {"n_samples": 64, "radius": 2.0}
    return DirectionSet(names, AXES[:3], metadata, [None, -2.5, 1.0], SOURCE, proxy)


def test_names_and_items(directions):
    assert len(directions) == 3
    assert [d.name for d in directions] == directions.names
    h1 = directions["h1"]
    assert (h1.label, h1.eigenvalue) == ("a", -2.5)
    assert torch.equal(h1.vector, AXES[1])
    with pytest.raises(GCDError, match=r"h9.*g, h1, h2"):
        directions["h9"]


def test_without_a_proxy():
    bare = DirectionSet(["g"], AXES[:1], {"label": "a"})
    assert bare["g"].eigenvalue is None
    assert bare.proxy_logit(SOURCE) is None


def test_reach_is_the_farthest_that_the_logit_goes_on_either_side():
    class Known:
        """A logit of slope 3 along one axis; along another it falls, but on one side only."""

        def __call__(self, z):
            along = (z - SOURCE) @ AXES.T
            logit = 2 + 3 * along[:, 0] - 5 * (-along[:, 1]).relu()
            return torch.stack([logit, 0 * logit], 1)

    names, tilted = ["g", "h1", "h2", "w1"], 0.6 * AXES[0] + 0.8 * AXES[2]
    vectors = torch.stack([AXES[0], AXES[1], AXES[3], tilted])
    directions = DirectionSet(names, vectors, {"label": "a"}, z_sem=SOURCE, proxy=Known())
    expected = 2.5 * torch.tensor([3.0, 5.0, 0.0, 1.8])
    torch.testing.assert_close(directions.reach(2.5), expected, atol=1e-4, rtol=0)


def test_without_a_proxy_or_a_source_reach_is_not_known(directions):
    assert replace(directions, proxy=None).reach(2.0) is None
    assert replace(directions, z_sem=None).reach(2.0) is None


def test_saved_and_loaded(directions, tmp_path):
    file = tmp_path / "new" / "d.safetensors"
    directions.save(file)
    loaded = load_directions(file)
    assert loaded.names == directions.names
    assert loaded.eigenvalues == directions.eigenvalues
    assert loaded.metadata == directions.metadata
    assert torch.equal(loaded.vectors, directions.vectors)
    assert torch.equal(loaded.z_sem, SOURCE)
    codes = SOURCE + torch.arange(5.0)[:, None] * AXES[0]
    assert torch.equal(loaded.proxy_logit(codes), directions.proxy_logit(codes))
    assert directions.proxy_logit(codes).shape == (5,)
    assert [path.name for path in file.parent.iterdir()] == ["d.safetensors"]

    DirectionSet(["g"], AXES[:1], {"label": "b"}).save(file)  # over the old one, and bare
    again = load_directions(file)
    assert (again.label, again.z_sem, again.proxy) == ("b", None, None)


def test_a_failed_save_leaves_the_old_file(directions, tmp_path, monkeypatch):
    file = tmp_path / "d.safetensors"
    directions.save(file)
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gcd_core.method.directions.save_file", full)
    with pytest.raises(GCDError, match="No space left"):
        directions.save(file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_another_generator_is_refused(directions, tmp_path):
    file = tmp_path / "d.safetensors"
    directions.save(file)
    with pytest.raises(GCDError, match=r"generator linear.*12 numbers.*linear.*8 numbers"):
        load_directions(file, LinearDomain(lambda z: z[:, 0], 8))
    domain = LinearDomain(lambda z: z[:, 0], D)
    assert load_directions(file, domain).names == directions.names
    domain.generator.identity = "retrained"
    with pytest.raises(GCDError, match=r"generator linear.*generator retrained"):
        load_directions(file, domain)


def damage(file, tensors=(), about=(), header=()):
    """Write the file again with some tensors, metadata or header entries replaced."""
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        old = opened.metadata()
    state = load_file(file) | dict(tensors)
    state = {name: value for name, value in state.items() if value is not None}
    old["about"] = json.dumps(json.loads(old["about"]) | dict(about))
    save_file(state, file, old | dict(header))


NAN = AXES[:3].clone()
NAN[1, 1] = torch.nan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tensors": {"vectors": NAN}}, "vectors is not made of finite"),
        ({"tensors": {"vectors": AXES[:3].double()}}, "float32"),
        ({"tensors": {"vectors": 2 * AXES[:3]}}, "length 1"),
        ({"tensors": {"vectors": AXES[:2].clone()}}, r"\(2, 12\) for 3 names"),
        ({"tensors": {"vectors": AXES[0].clone()}}, r"\(12,\) for 3 names"),
        ({"tensors": {"vectors": None}}, "vectors"),
        ({"tensors": {"z_sem": torch.zeros(1, 5)}}, "source code"),
        ({"tensors": {"proxy.networks.0.0.weight": torch.zeros(2, 2)}}, "layers"),
        ({"tensors": {"proxy.more": torch.zeros(2)}}, "layers"),
        ({"about": {"names": ["g", "h1", "<b>"]}}, "names"),
        ({"about": {"names": ["g", "h1", "h1"]}}, "names"),
        ({"about": {"names": "g"}}, "names"),
        ({"about": {"label": 3}}, "label"),
        ({"about": {"eigenvalues": [None]}}, "eigenvalues"),
        ({"about": {"eigenvalues": [None, "x", 1.0]}}, "eigenvalues"),
        ({"about": {"figures": [1]}}, "figures"),
        ({"about": {"figures": {"flip_rate": "high"}}}, "figures"),
        ({"header": {"about": "{"}}, "metadata"),
        ({"header": {"about": "[]"}}, "metadata"),
        ({"header": {"format": "other"}}, "format is 'other'"),
    ],
)
def test_damaged_files_are_refused(directions, tmp_path, change, message):
    file = tmp_path / "d.safetensors"
    directions.save(file)
    damage(file, **change)
    with pytest.raises(GCDError, match=message):
        load_directions(file)


def test_other_files_are_refused(directions, tmp_path):
    file = tmp_path / "d.safetensors"
    with pytest.raises(GCDError, match="no file"):
        load_directions(file)
    file.write_bytes(b"not this")
    with pytest.raises(GCDError, match="not a safetensors"):
        load_directions(file)
    save_file({"vectors": AXES}, file)
    with pytest.raises(GCDError, match="unknown"):
        load_directions(file)
    directions.save(file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(GCDError, match="cut short"):
        load_directions(file)
    with file.open("wb") as big:
        big.truncate(65 * 1024**2)
    with pytest.raises(GCDError, match="65 MiB"):
        load_directions(file)
