"""What codes are like: measured, drawn from, kept in a file, against numpy."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gcd_core.errors import GCDError
from gcd_core.method.code_statistics import (
    FORMAT,
    MIN_VARIANCE,
    CodeStatistics,
    coarse,
    load_code_statistics,
    save_code_statistics,
)

SIZE = 6


def codes_and_pictures(n=400, seed=0, picture=256):
    """Correlated codes (n, 6), and pictures that hang on them linearly but for a little noise."""
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(SIZE, SIZE))
    codes = random.normal(size=(n, SIZE)) @ mixed + random.normal(size=SIZE)
    drawn = random.normal(size=(picture, SIZE))
    pictures = codes @ drawn.T + 0.3 + 0.01 * random.normal(size=(n, picture))
    return codes, pictures, drawn


def measured(**options):
    codes, pictures, _ = codes_and_pictures(**options)
    return CodeStatistics.measured(torch.tensor(codes), torch.tensor(pictures))


def test_mean_and_covariance_are_numpys_but_for_a_little_on_each_axis():
    codes, _, _ = codes_and_pictures()
    statistics = measured()
    expected = np.cov(codes.T)
    expected += MIN_VARIANCE * np.trace(expected) / SIZE * np.eye(SIZE)
    np.testing.assert_allclose(statistics.mean, codes.mean(0), rtol=1e-5)
    np.testing.assert_allclose(statistics.covariance, expected, rtol=1e-5, atol=1e-6)
    assert statistics.n_images == 400
    assert statistics.radius == pytest.approx(np.trace(expected) ** 0.5, rel=1e-5)


def test_an_axis_that_no_image_uses_keeps_a_covariance_that_can_be_inverted():
    codes, pictures, _ = codes_and_pictures()
    codes[:, 2] = 1.5
    statistics = CodeStatistics.measured(torch.tensor(codes), torch.tensor(pictures))
    assert np.linalg.eigvalsh(statistics.covariance.numpy()).min() > 0
    assert bool(statistics.whitened(torch.tensor(codes)).isfinite().all())


def test_drawing_is_the_least_squares_map():
    codes, pictures, drawn = codes_and_pictures()
    centred = codes - codes.mean(0)
    expected = np.linalg.lstsq(centred, pictures - pictures.mean(0), rcond=None)[0].T
    drawing = measured().drawing.numpy()
    assert np.abs(expected - drawn).max() < 0.01, "the reference finds what was drawn"
    # The little on each axis shrinks it by about a thousandth of the mean axis.
    assert np.linalg.norm(drawing - expected) < 0.02 * np.linalg.norm(expected)


def test_white_numbers_are_white_and_lead_back():
    codes = torch.tensor(codes_and_pictures()[0]).float()
    statistics = measured()
    w = statistics.whitened(codes)
    floor = MIN_VARIANCE * np.trace(np.cov(codes.numpy().T)) / SIZE
    inverse_factor = np.linalg.inv(statistics.factor.double().numpy())
    expected = np.eye(SIZE) - floor * inverse_factor @ inverse_factor.T
    np.testing.assert_allclose(np.cov(w.numpy().T), expected, atol=0.002)
    torch.testing.assert_close(statistics.coloured(w), codes, atol=1e-4, rtol=1e-4)
    inverse = np.linalg.inv(statistics.covariance.double().numpy())
    centred = codes.double().numpy() - statistics.mean.double().numpy()
    expected = np.sqrt(np.einsum("ni,ij,nj->n", centred, inverse, centred) / SIZE)
    np.testing.assert_allclose(statistics.distance(codes), expected, rtol=1e-3)


def test_picture_change_is_the_squared_change_of_the_picture_of_a_step():
    statistics = measured()
    change = statistics.picture_change.double().numpy()
    assert np.trace(change) / SIZE == pytest.approx(1, rel=1e-5)
    factor = np.linalg.cholesky(statistics.covariance.double().numpy())
    steps = np.random.default_rng(1).normal(size=(20, SIZE))
    moved = ((statistics.drawing.double().numpy() @ factor @ steps.T) ** 2).sum(0)
    np.testing.assert_allclose(
        np.einsum("ni,ij,nj->n", steps, change, steps) / moved,
        np.full(20, 1 / ((statistics.drawing.double().numpy() @ factor) ** 2).sum(0).mean()),
        rtol=1e-4,
    )


@pytest.mark.parametrize("channels", [1, 5])
def test_the_picture_change_of_two_halves_is_that_of_the_whole(channels):
    statistics = measured(picture=256 * channels)
    upper = torch.zeros(16, 16)
    upper[:8] = 1
    halves = [statistics.picture_change_in(mask) for mask in (upper, 1 - upper)]
    torch.testing.assert_close(sum(halves), statistics.picture_change, atol=1e-5, rtol=1e-4)
    rows = np.tile(upper.flatten().numpy() > 0, channels)
    along = (statistics.drawing @ statistics.factor).double().numpy()
    expected = along[rows].T @ along[rows] / (along**2).sum(0).mean()
    np.testing.assert_allclose(halves[0], expected, rtol=1e-3, atol=1e-5)


def test_without_images_all_axes_count_the_same():
    plain = CodeStatistics.assumed(3, None)
    assert torch.equal(plain.covariance, torch.eye(3)) and not plain.mean.any()
    known = CodeStatistics.assumed(2, (torch.tensor([1.0, 2.0]), torch.tensor([0.5, 3.0])))
    assert known.covariance.tolist() == [[0.25, 0], [0, 9]] and known.mean.tolist() == [1, 2]
    assert torch.equal(known.picture_change, torch.eye(2)) and known.n_images == 0


def test_codes_are_drawn_in_mirrored_pairs_that_see_every_axis_alike():
    statistics = measured()
    drawn = statistics.draw(12, torch.Generator().manual_seed(4))
    pairs = (drawn - statistics.mean).view(6, 2, SIZE)
    torch.testing.assert_close(pairs[:, 0], -pairs[:, 1], atol=1e-4, rtol=1e-4)
    firsts = statistics.whitened(drawn)[::2]
    gram = firsts @ firsts.T
    assert (gram - gram.diagonal().diag()).abs().max() < 1e-3 * gram.diagonal().mean()
    more = statistics.draw(31, torch.Generator().manual_seed(4))
    assert len(more) == 31 and torch.equal(more[:12], drawn)
    assert not torch.equal(statistics.draw(12, torch.Generator().manual_seed(5)), drawn)


def test_codes_are_drawn_of_the_mean_and_the_covariance():
    statistics = measured()
    drawn = statistics.draw(20_000, torch.Generator().manual_seed(0)).double().numpy()
    np.testing.assert_allclose(drawn.mean(0), statistics.mean, atol=1e-4)
    white = statistics.whitened(torch.tensor(drawn).float()).double().numpy()
    np.testing.assert_allclose(np.cov(white.T), np.eye(SIZE), atol=0.03)
    # Lengths as of a normal vector: of their squares (chi-squared) the mean is D, the variance 2 D.
    squares = (white[::2] ** 2).sum(1)
    assert squares.mean() == pytest.approx(SIZE, rel=0.03)
    assert squares.var() == pytest.approx(2 * SIZE, rel=0.1)


def two_kinds(n=300):
    """Codes (2n, 6) of two kinds that lie apart, their pictures, and which are of the first."""
    codes, pictures, _ = codes_and_pictures(n=2 * n)
    positive = torch.arange(2 * n) % 2 == 0
    codes[positive.numpy()] += 8 * np.eye(SIZE)[2]
    return torch.tensor(codes), torch.tensor(pictures), positive


def test_each_kind_has_its_own_mean_and_covariance():
    codes, pictures, positive = two_kinds()
    statistics = CodeStatistics.measured(codes, pictures, positive)
    assert len(statistics.kinds) == 2
    for kind, own in zip(statistics.kinds, (codes[positive], codes[~positive]), strict=True):
        expected = np.cov(own.numpy().T)
        expected += MIN_VARIANCE * np.trace(expected) / SIZE * np.eye(SIZE)
        np.testing.assert_allclose(kind.mean, own.numpy().mean(0), rtol=1e-5)
        np.testing.assert_allclose(kind.covariance, expected, rtol=1e-5, atol=1e-6)
        assert kind.n_images == 300 and kind.drawing is None
    plain = CodeStatistics.measured(codes, pictures)
    assert not plain.kinds and torch.equal(plain.covariance, statistics.covariance)
    assert plain.identity != statistics.identity
    few = torch.arange(600) < 99
    assert not CodeStatistics.measured(codes, pictures, few).kinds, "99 of a kind are too few"


def test_codes_are_drawn_of_each_kind_in_turn_and_not_between_them():
    codes, pictures, positive = two_kinds()
    statistics = CodeStatistics.measured(codes, pictures, positive)
    drawn = statistics.draw(4000, torch.Generator().manual_seed(0))
    of_first = (torch.arange(4000) // 4 % 2 == 0).numpy()
    for kind, own in zip(statistics.kinds, (drawn[of_first], drawn[~of_first]), strict=True):
        pairs = (own - kind.mean).view(-1, 2, SIZE)
        torch.testing.assert_close(pairs[:, 0], -pairs[:, 1], atol=1e-4, rtol=1e-4)
        white = kind.whitened(own).double().numpy()
        np.testing.assert_allclose(np.cov(white.T), np.eye(SIZE), atol=0.08)
    more = statistics.draw(5000, torch.Generator().manual_seed(0))
    assert torch.equal(more[:4000], drawn), "a longer search begins with the same codes"
    halves = torch.arange(4000) // 2 % 2 == 0
    assert of_first[halves.numpy()].mean() == 0.5, "each half of the pairs sees both kinds"


def test_a_coarse_look_is_the_mean_and_deviation_of_squares():
    images = torch.rand(3, 1, 64, 64)
    squares = images.double().numpy().reshape(3, 16, 4, 16, 4)
    expected = [squares.mean((2, 4)).reshape(3, -1), squares.std((2, 4)).reshape(3, -1)]
    np.testing.assert_allclose(coarse(images), np.concatenate(expected, 1), atol=1e-5)


def test_a_coarse_look_at_colours_does_not_see_the_light():
    images = 0.2 + 0.5 * torch.rand(2, 3, 32, 32)
    assert coarse(images).shape == (2, 5 * 256)
    torch.testing.assert_close(coarse(images + 0.2), coarse(images), atol=2e-3, rtol=0)
    redder = images + torch.tensor([0.2, 0.0, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(
        coarse(redder)[:, :256], coarse(images)[:, :256] + 0.2, atol=1e-5, rtol=0
    )


def test_too_few_images_and_numbers_that_are_none_are_refused():
    codes, pictures, _ = map(torch.tensor, codes_and_pictures(n=100))
    CodeStatistics.measured(codes, pictures)
    with pytest.raises(GCDError, match=r"99 images are too few .* give 100"):
        CodeStatistics.measured(codes[:99], pictures[:99])
    for spoilt in ((codes / 0, pictures), (codes, pictures.log())):
        with pytest.raises(GCDError, match="no finite number"):
            CodeStatistics.measured(*spoilt)


def test_a_file_gives_back_what_was_written(tmp_path):
    kinds = CodeStatistics.measured(*two_kinds())
    given = {"a": measured(), "b.c": CodeStatistics.assumed(3, None), "d": kinds}
    file = tmp_path / "codes.safetensors"
    save_code_statistics(file, given, "generator-1")
    loaded = load_code_statistics(file, "generator-1")
    assert list(loaded) == ["a", "b.c", "d"] and len(loaded["d"].kinds) == 2
    for label, statistics in given.items():
        assert loaded[label].identity == statistics.identity
        assert loaded[label].n_images == statistics.n_images
        assert torch.equal(loaded[label].covariance, statistics.covariance)
    assert loaded["b.c"].drawing is None
    assert torch.equal(loaded["a"].drawing, given["a"].drawing)
    with pytest.raises(GCDError, match=r"generator generator-1, not of this one, other; run"):
        load_code_statistics(file, "other")


def test_other_numbers_have_another_identity():
    statistics = measured()
    assert statistics.identity == measured().identity
    assert statistics.identity != measured(seed=1).identity
    without = CodeStatistics(statistics.mean, statistics.covariance)
    assert without.identity != statistics.identity


SOUND = {
    "a.mean": torch.zeros(3),
    "a.covariance": torch.eye(3),
    "a.drawing": torch.ones(256, 3),
}
HEADER = {"format": FORMAT, "generator": "g", "n_images": '{"a": 200}'}


def test_the_sound_file_that_the_damaged_ones_are_made_of_is_read(tmp_path):
    save_file(SOUND, tmp_path / "f.safetensors", HEADER)
    assert load_code_statistics(tmp_path / "f.safetensors", "g")["a"].n_images == 200


@pytest.mark.parametrize(
    "tensors",
    [
        {"a.mean": None},
        {"a.covariance": None},
        {"a.mean": torch.zeros(4)},
        {"a.mean": torch.zeros(1, 3)},
        {"a.mean": torch.zeros(())},
        {"a.mean": torch.zeros(0), "a.covariance": torch.zeros(0, 0), "a.drawing": None},
        {"a.mean": torch.tensor([0.0, torch.nan, 0.0])},
        {"a.covariance": torch.eye(4)},
        {"a.covariance": torch.eye(3)[0]},
        {"a.covariance": -torch.eye(3)},
        {"a.covariance": torch.zeros(3, 3)},
        {"a.covariance": torch.full((3, 3), torch.inf)},
        {"a.covariance": torch.eye(3) + torch.eye(3).roll(1, 0)},
        {"a.drawing": torch.ones(256, 4)},
        {"a.drawing": torch.ones(256)},
        {"a.drawing": torch.ones(255, 3)},
        {"a.drawing": torch.ones(0, 3)},
        {"a.drawing": torch.full((256, 3), torch.nan)},
        {"a.drawing": torch.ones(256, 3, 1)},
        {"a.mean": torch.zeros(3, dtype=torch.int64)},
        {"a.covariance": torch.eye(3, dtype=torch.complex64)},
        {"a.kinds.mean": torch.zeros(2, 3)},
        {"a.kinds.mean": torch.zeros(2, 3), "a.kinds.covariance": torch.eye(3)[None]},
        {"a.kinds.mean": torch.zeros(1, 3), "a.kinds.covariance": -torch.eye(3)[None]},
        {"a.kinds.mean": torch.zeros(1, 4), "a.kinds.covariance": torch.eye(4)[None]},
        {"a.kinds.mean": torch.zeros(()), "a.kinds.covariance": torch.zeros(())},
    ],
)
def test_damaged_numbers_are_refused_in_a_sentence(tmp_path, tensors):
    file = tmp_path / "f.safetensors"
    held = {name: value for name, value in (SOUND | tensors).items() if value is not None}
    save_file(held, file, HEADER)
    with pytest.raises(GCDError, match="holds no statistics of codes; make it with `calibrate`"):
        load_code_statistics(file, "g")


@pytest.mark.parametrize(
    "header",
    [
        {"format": "gcd-directions-1"},
        {"format": None},
        {"n_images": None},
        {"n_images": "{"},
        {"n_images": "7"},
        {"n_images": "[]"},
        {"n_images": '{"b": 3}'},
        {"n_images": '{"a": "many"}'},
        {"n_images": '{"a": null}'},
        {"n_images": "[" * 100_000},
        {"n_images": '{"a": 1e999}'},
        {"n_images": '{"a": -5}'},
    ],
)
def test_a_damaged_header_is_refused_in_a_sentence(tmp_path, header):
    file = tmp_path / "f.safetensors"
    save_file(
        SOUND, file, {name: value for name, value in (HEADER | header).items() if value is not None}
    )
    with pytest.raises(GCDError, match="holds no statistics of codes; make it with `calibrate`"):
        load_code_statistics(file, "g")


def test_a_file_of_another_generator_or_of_none_is_refused(tmp_path):
    file = tmp_path / "f.safetensors"
    save_file(SOUND, file, {k: v for k, v in HEADER.items() if k != "generator"})
    with pytest.raises(GCDError, match="is of the generator None, not of this one, g"):
        load_code_statistics(file, "g")


@pytest.mark.parametrize("content", [None, b"", b"\x00" * 7, b"\x93NUMPY and more", b"{" * 5000])
def test_what_is_no_such_file_is_refused_in_a_sentence(tmp_path, content):
    file = tmp_path / "f.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(GCDError, match="is missing or holds no statistics of codes; make it with"):
        load_code_statistics(file, "g")


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    whole, cut = tmp_path / "whole.safetensors", tmp_path / "cut.safetensors"
    save_file(SOUND, whole, HEADER)
    content = whole.read_bytes()
    for length in range(0, len(content) - 1, 97):
        cut.write_bytes(content[:length])
        with pytest.raises(GCDError, match="holds no statistics of codes"):
            load_code_statistics(cut, "g")


def test_a_folder_is_no_file_of_statistics(tmp_path):
    with pytest.raises(GCDError, match="holds no statistics of codes"):
        load_code_statistics(tmp_path, "g")
