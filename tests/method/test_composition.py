"""The source with the generator's change put in: exact at rest, and at every size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import uniform_filter

from gcd_core.classifiers.preprocessing import Preprocessing
from gcd_core.errors import GCDError
from gcd_core.images.picture import Picture
from gcd_core.method.composition import compose, local_deviation, resample
from gcd_core.method.directions import Direction
from gcd_core.method.region import region_weights
from gcd_core.method.search import find_directions
from gcd_core.method.walk import walk, walk_many
from tests.fakes import LinearDomain, unit

WAY = unit(8, 3)
G = Direction("g", WAY, "a")
SIZES = [(8, 8), (14, 14), (25, 40), (128, 128)]


@pytest.fixture
def domain() -> LinearDomain:
    return LinearDomain(lambda z_sem: 3 * z_sem @ WAY)


def picture(domain: LinearDomain, size: tuple[int, int], levels: int = 255) -> Picture:
    """A picture of noise at a size, in steps of the bits of a file."""
    noise = torch.Generator().manual_seed(size[1])
    pixels = (torch.rand(1, 1, *size, generator=noise) * levels).round() / levels
    view = pixels if size == (8, 8) else domain.image(1)
    return Picture(pixels, view, 8 if levels == 255 else 16)


@pytest.mark.parametrize("levels", [255, 65535])
@pytest.mark.parametrize("size", SIZES)
def test_at_rest_it_is_the_source_bit_for_bit(domain, size, levels):
    source = picture(domain, size, levels)
    path = walk(domain, source, WAY, "a", detail="source")
    rest = int((path.alphas == 0).nonzero())
    assert path.detail == "source" and torch.equal(path.images[rest], source.view[0])
    assert torch.equal(path.picture(rest), source.pixels)
    assert float(path.distances[rest]) == 0
    other = int(path.alphas.abs().argmax())
    assert not torch.equal(path.picture(other), source.pixels)
    assert path.picture(other).shape == source.pixels.shape


def lost_contrast(after: np.ndarray, before: np.ndarray, side: int) -> np.ndarray:
    """1 - m by SciPy's filters, of grey images (S, S)."""

    def deviation(image: np.ndarray) -> np.ndarray:
        mean = uniform_filter(image, side, mode="mirror")
        return np.sqrt((uniform_filter(image**2, side, mode="mirror") - mean**2).clip(0))

    ratio = (deviation(after) + 0.01) / (deviation(before) + 0.01)
    return uniform_filter((1 - ratio / 0.7).clip(0), side, mode="mirror")


@pytest.mark.parametrize(("size", "side"), [((16, 16), 3), ((40, 27), 5), ((33, 64), 9)])
def test_a_local_deviation_is_scipys(size, side):
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(side))
    deviations = local_deviation(images, side).double().numpy()
    wide = images.double().numpy()
    mean, squares = (uniform_filter(x, side, mode="mirror", axes=(2, 3)) for x in (wide, wide**2))
    np.testing.assert_allclose(deviations, np.sqrt((squares - mean**2).clip(0)), atol=2e-5)


def test_a_point_is_the_source_and_what_changed(domain):
    image = domain.image(2)
    path = walk(domain, image, WAY, "a", detail="source")
    latent = domain.generator.encode(image)
    before = domain.generator.draw(latent.z_sem) + latent.z_T
    for k, alpha in enumerate(path.alphas):
        after = domain.generator.draw(latent.z_sem + alpha * WAY) + latent.z_T
        lost = lost_contrast(after[0, 0].double().numpy(), before[0, 0].double().numpy(), 3)
        kept = torch.from_numpy(1 - lost).float()
        expected = (kept * image + after - kept * before).clamp(0, 1)
        torch.testing.assert_close(path.images[k], expected[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(path.picture(k), path.images[k][None])


def test_where_contrast_stays_the_change_is_added_and_where_it_goes_the_source_goes_too():
    noise = torch.Generator().manual_seed(0)
    source = 0.3 + 0.4 * torch.rand(1, 1, 28, 28, generator=noise)
    baseline = 0.3 + 0.4 * torch.rand(1, 1, 28, 28, generator=noise)
    brighter = compose(source, baseline).shown(baseline + 0.1)
    torch.testing.assert_close(brighter, source + 0.1)
    even = compose(source, baseline).shown(torch.full_like(baseline, 0.6))
    assert even.std() < 0.2 * source.std() and even.mean() == pytest.approx(0.6, abs=0.02)
    added = source + 0.6 - baseline  # what remained without it: both pictures' details
    assert added.std() > source.std()


def test_a_reconstruction_with_errors_does_not_stand_between(domain):
    """A generator that draws everything darker: only the decoded path shows it."""
    draw = domain.generator.draw
    domain.generator.decode = lambda latent, *_: draw(latent.z_sem) + latent.z_T - 0.1
    image = domain.image(2)
    ours = walk(domain, image, WAY, "a", detail="source")
    decoded = walk(domain, image, WAY, "a", detail="decoded")
    assert torch.equal(ours.images[0], image[0])
    torch.testing.assert_close(decoded.images[0], image[0] - 0.1)
    assert ours.logits[0] == pytest.approx(float(domain.classifier(image)[0, 0]), abs=1e-5)


@pytest.mark.parametrize("size", [(14, 14), (25, 40), (5, 6)])
def test_a_change_is_brought_to_another_size_as_pillow_does(size):
    change = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    theirs = Image.fromarray(change[0, 0].numpy()).resize(size[::-1], Image.Resampling.BICUBIC)
    ours = resample(change, size)[0, 0].numpy()
    np.testing.assert_allclose(ours, np.asarray(theirs), atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_outside_a_region_every_pixel_stays(domain, size):
    source = picture(domain, size)
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:6, 1:5] = True
    path = walk(domain, source, WAY, "a", region=mask, detail="source")
    shown = path.picture(int(path.alphas.abs().argmax()))
    height, width = size
    rows = (torch.arange(height) + 0.5) * 8 / height
    columns = (torch.arange(width) + 0.5) * 8 / width
    large = mask[rows.long()][:, columns.long()]
    assert torch.equal(shown[..., ~large], source.pixels[..., ~large])
    inside = region_weights(large[None])[0, 0] == 1
    assert inside.any() and not torch.equal(shown[..., inside], source.pixels[..., inside])


class Seen:
    """A classifier of its own size that keeps what it is shown, and reads how bright that is."""

    labels, output, identity = ("a", "b"), "sigmoid", "seen"
    queries = cache_hits = 0
    budget, remote = None, False

    def __init__(self, size: int | None) -> None:
        self.preprocessing, self.shown = Preprocessing(size and (size, size)), []

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        self.shown.append(images)
        bright = 20 * (images.mean((1, 2, 3)) - 0.5)
        return torch.stack([bright, bright], 1)

    def index(self, label: str) -> int:
        return self.labels.index(label)

    def logit(self, logits: torch.Tensor, label: str) -> torch.Tensor:
        return logits[:, self.index(label)]

    def probability(self, logits: torch.Tensor, label: str) -> torch.Tensor:
        return self.logit(logits, label).sigmoid()


@pytest.mark.parametrize(
    ("size", "sees"), [(32, (32, 32)), (None, (64, 48)), (8, (8, 8)), (64, (64, 64))]
)
def test_a_classifier_sees_the_pictures_own_pixels(domain, size, sees):
    noise = torch.rand(1, 1, 64, 48, generator=torch.Generator().manual_seed(0))
    source = Picture(0.3 + 0.4 * noise, domain.image(1))  # nothing is clipped
    domain.classifier = Seen(size)
    path = walk(domain, source, WAY, "a", detail="source")
    first, batch = domain.classifier.shown[:2]
    assert first.shape[-2:] == batch.shape[-2:] == sees
    if size == 8:
        assert torch.equal(first, source.view)
        return
    # Composed at the classifier's size or at the picture's own and then shrunk: the same to it.
    whole = torch.cat([path.picture(k) for k in range(len(batch))])
    if size is not None:
        whole = torch.nn.functional.interpolate(
            whole, sees, mode="bilinear", antialias=True, align_corners=False
        )
    answers = domain.classifier.probability(domain.classifier(whole), "a")
    torch.testing.assert_close(answers, path.probabilities[: len(batch)], atol=1e-3, rtol=0)


def test_it_costs_no_query_and_no_evaluation_more_than_a_decoded_walk(domain):
    costs = []
    for detail in ("decoded", "source"):
        before = domain.generator.evaluations, domain.classifier.queries
        walk(domain, domain.image(1), WAY, "a", detail=detail, choice="lowest-loss")
        after = domain.generator.evaluations, domain.classifier.queries
        costs.append([b - a for a, b in zip(before, after, strict=True)])
    assert costs[0] == costs[1]


def test_a_search_decodes_one_picture_more(domain):
    ours = find_directions(domain, domain.image(1), "a", detail="source")
    decoded = find_directions(domain, domain.image(1), "a", detail="decoded")
    assert ours.evaluations == decoded.evaluations + 1 and ours.queries == decoded.queries
    assert ours.directions.metadata["settings"]["detail"] == "source"
    assert torch.dot(ours.directions["g"].vector, decoded.directions["g"].vector) > 0.99


def test_many_pictures_are_walked_as_one_is(domain):
    sources = [picture(domain, (14, 14)), domain.image(3)]
    paths = walk_many(domain, sources, G, "a", detail="source")
    for source, path in zip(sources, paths, strict=True):
        alone = walk(domain, source, G, "a", detail="source")
        torch.testing.assert_close(path.images, alone.images)
        torch.testing.assert_close(path.picture(-1), alone.picture(-1))
        assert path.refined == alone.refined


def test_what_does_not_fit_is_refused(domain):
    with pytest.raises(GCDError, match="detail is source or decoded, not 'fine'"):
        walk(domain, domain.image(1), WAY, "a", detail="fine")
    colour = Picture(torch.rand(1, 3, 20, 20), domain.image(1))
    with pytest.raises(GCDError, match="expects a picture"):
        walk(domain, colour, WAY, "a")
    assert compose(domain.image(1)).detail == "decoded"
