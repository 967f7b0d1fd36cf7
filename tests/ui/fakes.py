"""A small domain with drawn "radiographs" and a known classifier: fast, and the same everywhere."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path as File
from typing import ClassVar

import torch
from torch import Tensor

from gcd_core.bridge.rcsb import Steering
from gcd_core.classifiers.preprocessing import Preprocessing
from gcd_core.domains.opening import Check, Label
from gcd_core.generators.base import Latent
from gcd_core.images.drawing import to_pil
from gcd_core.images.picture import Picture, load_picture
from gcd_core.images.reading import load_image
from gcd_core.method.code_statistics import CodeStatistics
from gcd_core.method.composition import compose, resample
from gcd_core.method.counterfactual import MARGIN, SMALLEST
from gcd_core.method.directions import DirectionSet
from gcd_core.method.path import Path
from gcd_core.method.proxy import Proxy
from gcd_core.method.settings import Settings
from tests.bridge.fakes import known_bridge

SIZE, CODE = 128, 10
HAZE, RIGHT, HEART, HEIGHT = range(4)  # what the first numbers of the code do


def draw(z_sem: Tensor) -> Tensor:
    """Two lungs, a heart and a spine (N, 1, SIZE, SIZE), from codes (N, CODE)."""
    line = torch.linspace(-1, 1, SIZE)
    y, x = torch.meshgrid(line, line, indexing="ij")
    z = z_sem[:, :, None, None]

    def blob(cx, cy, rx, ry, sharp=9.0):
        return torch.sigmoid(sharp * (1 - ((x - cx) / rx) ** 2 - ((y - cy) / ry) ** 2))

    drop = 0.04 * z[:, HEIGHT]
    body = blob(0.0, 0.25, 0.92, 1.25, 12)
    right, left = blob(-0.4, drop, 0.3, 0.62), blob(0.42, drop, 0.27, 0.6)
    heart = blob(0.12, 0.32 + drop, 0.24 + 0.03 * z[:, HEART], 0.34, 6)
    spine = torch.exp(-((x / 0.09) ** 2))
    ribs = 0.05 * torch.cos(15 * (y + 0.35 * (x.abs() - 0.4) ** 2 * 2)) * (right + left)
    cloud = 0.5 + 0.25 * torch.sin(7 * x + 3) * torch.sin(6 * y + 1) + 0.25 * torch.sin(13 * x * y)
    haze = 0.34 * torch.sigmoid(z[:, HAZE]) * cloud * (right + left)
    patch = 0.3 * torch.sigmoid(z[:, RIGHT] - 1) * blob(-0.38, 0.36, 0.2, 0.22, 4) * right
    air = 0.42 * (right + left)
    image = 0.62 * body - air + ribs + haze + patch + 0.2 * heart * body + 0.12 * spine * body
    return image.clamp(0, 1)[:, None]


class FakeGenerator:
    """Encodes what it can measure, and keeps the rest in z_T."""

    image_size, channels, z_sem_size = SIZE, 1, CODE
    device = torch.device("cpu")
    identity = "drawn"
    sampling = distilled = live_solver = None

    def __init__(self, seconds_per_image: float = 0.0) -> None:
        self.seconds_per_image = seconds_per_image
        self.evaluations = 0

    def encode_semantic(self, images: Tensor) -> Tensor:
        z_sem = torch.zeros(len(images), CODE)
        z_sem[:, HAZE] = 20 * (lungs(images) - 0.33)
        z_sem[:, RIGHT] = 10 * (images[:, 0, 80:100, 30:50].mean((1, 2)) - 0.4)
        return z_sem

    def encode(self, images: Tensor, solver=None, steps=None, z_sem=None) -> Latent:
        z_sem = self.encode_semantic(images) if z_sem is None else z_sem
        self.evaluations += 20 * len(images)
        return Latent(z_sem, images - draw(z_sem))

    def draw_noise(self, n: int, generator: torch.Generator) -> Tensor:
        return 0.01 * torch.randn(n, 1, SIZE, SIZE, generator=generator)

    def decode(
        self, latent: Latent, solver=None, steps=None, batch_size=None, progress=None
    ) -> Tensor:
        time.sleep(self.seconds_per_image * len(latent))
        self.evaluations += 20 * len(latent)
        return (draw(latent.z_sem) + latent.z_T).clamp(0, 1)


def lungs(images: Tensor) -> Tensor:
    """Mean brightness (N,) where the lungs are."""
    return (images[:, 0, 36:96, 24:54].mean((1, 2)) + images[:, 0, 36:96, 78:106].mean((1, 2))) / 2


class FakeClassifier:
    """Cloudy lungs are pneumonia; a cloudier right lower lobe is bacterial."""

    labels = ("pneumonia", "bacterial")
    output, identity, remote = "sigmoid", "brightness", False

    def __init__(self) -> None:
        self.queries, self.cache_hits, self.budget = 0, 0, None

    def __call__(self, images: Tensor) -> Tensor:
        self.queries += len(images)
        patch = images[:, 0, 80:100, 30:50].mean((1, 2))
        return torch.stack([45 * (lungs(images) - 0.36), 25 * (patch - 0.42)], 1)

    def differentiable(self, images: Tensor) -> Tensor:
        return self(images)

    def index(self, label: str) -> int:
        return self.labels.index(label)

    def logit(self, logits: Tensor, label: str) -> Tensor:
        return logits[:, self.index(label)]

    def probability(self, logits: Tensor, label: str) -> Tensor:
        return torch.sigmoid(self.logit(logits, label))


class LargerClassifier(FakeClassifier):
    """The same of pictures of twice the generator's size; keeps the sizes that it was shown."""

    size = 2 * SIZE
    preprocessing = Preprocessing(size=(2 * SIZE, 2 * SIZE))

    def __init__(self) -> None:
        super().__init__()
        self.sizes: set[tuple[int, ...]] = set()

    def __call__(self, images: Tensor) -> Tensor:
        self.sizes.add(tuple(images.shape[-2:]))
        return super().__call__(torch.nn.functional.avg_pool2d(images, images.shape[-1] // SIZE))


def own_picture(size: tuple[int, int], seed: int = 3) -> Picture:
    """A drawing with a fine grain, at a size of its own and as the generator sees it."""
    noise = torch.Generator().manual_seed(seed)
    drawing = resample(draw(torch.randn(1, CODE, generator=noise)), size)
    grain = 0.03 * torch.randn(1, 1, *size, generator=noise)
    pixels = ((drawing + grain).clamp(0, 1) * 255).round() / 255
    return Picture(pixels, resample(pixels, (SIZE, SIZE)).clamp(0, 1))


class FakeDistance:
    """A stand-in for LPIPS: the difference of two pictures, coarse and fine."""

    identity = "coarse"

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        coarse = torch.nn.functional.avg_pool2d((a - b).abs(), 8)
        return coarse.flatten(1).mean(1) * 2


class FakeDomain:
    """What the page needs of a domain, in a folder of the test's own."""

    name = "drawn-chest"
    title = "Drawn chest"
    description = "Drawings, for tests of the page."
    notice = "Nothing here is a patient's."
    credit = "Drawn by this test."
    oracle = None
    places: ClassVar = {}
    change_words: ClassVar = {}
    synthetic_examples, ages, upright = False, None, False
    off_distribution = None
    sanity = (Check("gap", True, "Nothing is lost."), Check("marker", False, "<b>Lost</b>."))
    map_mass: ClassVar = {}  # not measured
    better_map = "bb_lig"
    bridge, steering = known_bridge(lambda x, t: x), Steering(steps=6, tau=0.1, strength=0.05)
    labels = ("pneumonia", "bacterial")
    label_info: ClassVar = {
        "pneumonia": Label("pneumonia", "Pneumonia", "Normal", "Pneumonia"),
        "bacterial": Label("bacterial", "Kind of pneumonia", "Viral", "Bacterial"),
    }
    label_names: ClassVar = {
        name: (label.negative, label.positive) for name, label in label_info.items()
    }
    fit = "stretch"
    alpha_max = 6.0
    walk_points = 33
    counterfactual, margin, detail = SMALLEST, MARGIN, "decoded"
    device = torch.device("cpu")

    def __init__(self, folder: File, seconds_per_image: float = 0.0, examples: int = 12) -> None:
        self.folder = folder
        self.generator = FakeGenerator(seconds_per_image)
        self.classifier, self.perceptual = FakeClassifier(), FakeDistance()
        self.search = Settings(radius=3.0, n_samples=192, n_h=4, antithetic=False, sampling="ball")
        self.examples = []
        noise = torch.Generator().manual_seed(7)
        for i in range(examples):
            z_sem = 1.2 * torch.randn(1, CODE, generator=noise)
            grain = 0.02 * torch.randn(1, 1, SIZE, SIZE, generator=noise)
            file = folder / f"example-{i:02d}.png"
            to_pil((draw(z_sem) + grain).clamp(0, 1)).save(file)
            self.examples.append(file)

    def load_image(self, source) -> Tensor:
        return load_image(source, SIZE, 1)

    def code_statistics(self, label: str) -> CodeStatistics:
        return CodeStatistics.assumed(CODE, None)

    def example_images(self, most: int, label: str = "") -> list[Tensor]:
        return [self.load_image(path) for path in self.examples[:most]]

    def load_picture(self, source, max_side=1024) -> Picture:
        return load_picture(source, SIZE, 1, max_side=max_side)

    def ready_directions(self, label: str) -> DirectionSet:
        """The code's own axes, slightly mixed: 4 h-directions for pneumonia, 8 for the other."""
        main, count = {"pneumonia": (HAZE, 4), "bacterial": (RIGHT, 8)}[label]
        vectors = torch.zeros(count + 1, CODE)
        vectors[0, main], vectors[0, HEART] = 0.95, 0.1
        others = [axis for axis in (HAZE, RIGHT, HEART, HEIGHT, *range(4, CODE)) if axis != main]
        for i, axis in enumerate(others[:count]):
            vectors[i + 1, axis], vectors[i + 1, main] = 0.9, 0.2
        vectors = torch.nn.functional.normalize(vectors, dim=1)
        names = ["g", *(f"h{i + 1}" for i in range(count))]
        about = {"label": label, "domain": self.name, "generator": self.generator.identity}
        return DirectionSet(names, vectors, about)


class PriorDomain(FakeDomain):
    """The same, whose searches draw codes as its images have them; it knows what codes draw."""

    def __init__(self, folder: File, **options) -> None:
        super().__init__(folder, **options)
        self.search = Settings(radius=3.0, n_samples=128, n_h=0, n_ways=4, sampling="prior")

    def code_statistics(self, label: str) -> CodeStatistics:
        changes = draw(torch.eye(CODE)) - draw(torch.zeros(1, CODE))
        drawing = torch.nn.functional.avg_pool2d(changes, SIZE // 16).flatten(1).T
        return CodeStatistics(torch.zeros(CODE), torch.eye(CODE), drawing)


class WithoutExamples(PriorDomain):
    """The same with nothing to open; directions are tried on pictures that the page lacks."""

    def __init__(self, folder: File, **options) -> None:
        super().__init__(folder, **options)
        self.tried_on, self.examples = self.examples, []

    def example_images(self, most: int, label: str = "") -> list[Tensor]:
        return [self.load_image(path) for path in self.tried_on[:most]]


def composed_path(size: tuple[int, int], channels: int, detail: str) -> Path:
    """A path of drawings of 1 or 3 channels, over a source of another size with a fine grain."""
    noise = torch.Generator().manual_seed(11)
    codes = torch.randn(channels, CODE, generator=noise)
    alphas = torch.linspace(-4, 4, 9)
    way = torch.zeros(CODE)
    way[HAZE], way[RIGHT], way[HEART] = 1.0, 0.5, 1.0
    decoded = torch.stack([draw(codes + alpha * way)[:, 0] for alpha in alphas])
    grain = 0.04 * torch.randn(1, channels, *size, generator=noise)
    pixels = (resample(decoded[4:5], size) + grain).clamp(0, 1)
    pixels = (255 * pixels).round() / 255
    picture = Picture(pixels, resample(pixels, (SIZE, SIZE)).clamp(0, 1))
    composition = compose(picture, decoded[4:5] if detail == "source" else None)
    probabilities = torch.sigmoid(alphas)
    return Path(
        alphas=alphas,
        images=composition.shown(decoded),
        logits=alphas,
        probabilities=probabilities,
        all_probabilities=probabilities[:, None],
        distances=alphas.abs() / 10,
        losses=alphas.abs(),
        label="pneumonia",
        labels=("pneumonia",),
        direction_name="g",
        source=picture.view,
        source_probability=0.4,
        sign=1,
        decoded=decoded,
        composition=composition,
    )


def save_ways(file: File) -> None:
    """Write directions of the drawn domain whose proxy reads two axes: g, and the way w1.

    h1 and w2 hardly move it.
    """
    proxy = Proxy(CODE)
    for network in proxy.networks:
        layers = [layer for layer in network if isinstance(layer, torch.nn.Linear)]
        for layer in layers:  # two units a layer, the rest asleep
            torch.nn.init.zeros_(layer.weight)
            torch.nn.init.zeros_(layer.bias)
        layers[0].weight.data[0, HAZE] = layers[0].weight.data[1, RIGHT] = 1.0
        for layer in layers[1:-1]:
            layer.weight.data[0, 0] = layer.weight.data[1, 1] = 4.0
            layer.bias.data[:2] = -2.0
        layers[-1].weight.data[0, :2] = 20.0
    about = {"label": "pneumonia", "domain": FakeDomain.name, "settings": {"n_ways": 3}}
    about["generator"] = FakeGenerator.identity
    axes, names = [HAZE, HEIGHT, RIGHT, HEART], ["g", "h1", "w1", "w2"]
    vectors = torch.eye(CODE)[axes]
    DirectionSet(names, vectors, about, z_sem=torch.zeros(1, CODE), proxy=proxy).save(file)


def digest(image: Tensor) -> str:
    """A short name for what a picture (1, C, H, W) looks like."""
    return hashlib.sha256(to_pil(image).tobytes()).hexdigest()[:12]
