"""Of which kind a picture is, against the densities of normal codes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from gcd_core.errors import GCDError
from gcd_core.method.code_statistics import (
    CodeStatistics,
    load_code_statistics,
    save_code_statistics,
)
from gcd_core.method.other_kinds import MIN_VARIANCE, OtherKinds

MEANS = np.array([[0.0, 0, 0], [3, 0, 0], [0, 4, 0], [0, 0, 5]])
NAMES = ("cat", "dog", "fox", "owl")


def animals(n: int = 200) -> tuple[torch.Tensor, list[str]]:
    numbers = np.random.default_rng(0)
    spread = numbers.standard_normal((3, 3)) / 2 + np.eye(3)
    codes = [mean + numbers.standard_normal((n, 3)) @ spread for mean in MEANS]
    return torch.tensor(np.concatenate(codes)).float(), [name for name in NAMES for _ in range(n)]


def test_the_shares_are_those_of_normal_codes_with_one_covariance():
    codes, kinds = animals()
    found = OtherKinds.measured(codes, kinds, {"cat", "dog"})
    assert found is not None and found.names == NAMES and found.own.tolist() == [1, 1, 0, 0]
    each = codes.double().view(4, -1, 3)
    within = sum(np.cov(one.numpy().T) for one in each) / 4
    within += MIN_VARIANCE * np.trace(within) / 3 * np.eye(3)
    densities = [
        MultivariateNormal(one.mean(0), torch.tensor(within)).log_prob(codes.double())
        for one in each
    ]
    expected = torch.stack(densities, dim=1).softmax(1)
    np.testing.assert_allclose(found.shares(codes), expected, atol=1e-4)


def test_a_picture_is_foreign_where_none_of_the_own_kinds_is_likely():
    codes, kinds = animals()
    found = OtherKinds.measured(codes, kinds, {"cat", "dog"})
    assert found is not None
    for mean, name in zip(MEANS, NAMES, strict=True):
        foreign = found.foreign(torch.tensor(mean)[None].float())
        assert foreign == (None if name in ("cat", "dog") else name)


def test_kinds_of_few_images_count_for_nothing():
    codes, kinds = animals(100)
    assert OtherKinds.measured(codes[:-1], kinds[:-1], {"cat"}).names == NAMES[:3]
    assert OtherKinds.measured(codes, kinds, NAMES) is None, "there is no other one"
    assert OtherKinds.measured(codes, kinds, {"cow"}) is None, "there is no own one"


def test_a_file_gives_them_back_and_damage_is_refused(tmp_path):
    codes, kinds = animals()
    found = OtherKinds.measured(codes, kinds, {"fox"})
    statistics = replace(CodeStatistics.assumed(3, None), others=found)
    file = tmp_path / "codes.safetensors"
    save_code_statistics(file, {"a": statistics, "b": CodeStatistics.assumed(3, None)}, "g")
    loaded = load_code_statistics(file, "g")
    assert loaded["b"].others is None and loaded["a"].others.names == NAMES
    assert torch.equal(loaded["a"].others.shares(codes), found.shares(codes))
    assert statistics.identity == CodeStatistics.assumed(3, None).identity, "codes are drawn alike"
    for spoilt in (
        {"means": found.means[:, :2]},
        {"covariance": -torch.eye(3)},
        {"own": found.own.float()},
        {"names": NAMES[:3]},
    ):
        others = replace(found, **spoilt)
        save_code_statistics(file, {"a": replace(statistics, others=others)}, "g")
        with pytest.raises(GCDError, match="calibrate"):
            load_code_statistics(file, "g")
