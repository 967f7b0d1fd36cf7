"""Maps held against each other on a classifier whose reasons are known."""

from types import SimpleNamespace

import pytest
import torch

from gcd_core.evaluation import metrics
from gcd_core.evaluation.known_reasons import LUNG_FIELDS, RegionReader
from gcd_core.evaluation.maps import COMPARED, compare_maps, mass_inside, summarise_maps
from gcd_core.method.walk import walk
from tests.ui.fakes import HAZE, FakeDomain, draw


def test_cells_point_better_than_what_follows_the_path(tmp_path):
    domain = FakeDomain(tmp_path, examples=0)
    codes = 1.2 * torch.randn(30, 10, generator=torch.Generator().manual_seed(5))
    reader = RegionReader.fitted_to(draw(codes), [LUNG_FIELDS["right upper"]])
    domain.classifier, domain.labels = reader, ("bright",)
    path = walk(domain, draw(codes[:1]), torch.eye(10)[HAZE], label="bright", n=9)
    before = reader.queries
    maps = compare_maps(reader, path)
    assert tuple(maps) == COMPARED and reader.queries - before == 512 + 3 * 102
    assert maps["cells"].cout > max(maps["bb_lig"].cout, maps["difference"].cout) + 0.04
    assert maps["cells"].cout_back > max(maps["bb_lig"].cout_back, maps["difference"].cout_back)
    assert abs(maps["cells"].completeness_error) < 1e-4
    assert maps["difference"].completeness_error is None
    change = (path.counterfactual_image - path.source)[0, 0]
    assert maps["difference"].gini == pytest.approx(metrics.gini(change))


def test_their_means():
    def outcome(error, cout):
        return SimpleNamespace(gini=0.5, completeness_error=error, cout=cout, cout_back=0.0)

    first = {method: outcome(-0.2, 0.1) for method in COMPARED}
    second = {method: outcome(0.4, 0.3) for method in COMPARED}
    first["difference"].completeness_error = second["difference"].completeness_error = None
    means = summarise_maps([first, second])
    assert means["cells"]["completeness_error"] == pytest.approx(0.3)
    assert means["bb_lig"]["cout"] == pytest.approx(0.2)
    assert means["difference"]["completeness_error"] is None


def test_the_mass_inside_is_of_absolute_values():
    heat, inside = torch.zeros(4, 4), torch.zeros(4, 4, dtype=torch.bool)
    inside[:2] = True
    assert mass_inside(heat, inside)[0] == 0
    heat[0, 1], heat[3, 3] = -3.0, 1.0
    assert mass_inside(heat, inside) == (0.75, 1.0)
    heat[3, 3] = 5.0
    assert mass_inside(heat, inside) == (0.375, 0.0)
