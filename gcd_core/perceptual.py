"""LPIPS, the perceptual distance between two images, ready offline."""

import hashlib
import threading
import warnings
from collections.abc import Callable

import torch
from cachetools import LRUCache
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from gcd_core.errors import GCDError
from gcd_core.files import bundled

BACKBONE = bundled("checkpoints") / "lpips" / "alexnet.safetensors"
KEPT = 32  # images whose features are kept, about 0.6 MB each at 128 pixels


class LPIPS:
    """Learned Perceptual Image Patch Similarity, version 0.1 (Zhang et al., CVPR 2018).

    Parameters
    ----------
    net : {"alex", "vgg"}
        Backbone. AlexNet is bundled with this project; VGG16 is downloaded by torchvision on first
        use.
    device : str or torch.device
        Where it runs.

    Raises
    ------
    GCDError
        If `net` is neither of the two, or the bundled backbone is missing.
    """

    def __init__(self, net: str = "alex", device: str | torch.device = "cpu") -> None:
        import lpips

        if net not in ("alex", "vgg"):
            raise GCDError(f"LPIPS has no backbone {net!r}; choose 'alex' or 'vgg'.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.network = lpips.LPIPS(net=net, pnet_rand=net == "alex", verbose=False)
        if net == "alex":
            _load_backbone(self.network)
        self.network = self.network.eval().requires_grad_(False).to(device)
        self.network.to(memory_format=torch.channels_last)  # a CPU pools faster so
        self._normalised = lpips.normalize_tensor
        self._kept: LRUCache[bytes, tuple[Tensor, ...]] = LRUCache(KEPT)
        self._keeping = threading.Lock()
        self.device = torch.device(device)
        self.identity = f"lpips-{net}"

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the distance of each image of `a` to its partner in `b`.

        The features of `b` are kept for a while, as one source is compared with many images.

        Parameters
        ----------
        a : Tensor (N, C, H, W)
            Images in [0, 1]; C is 1 or 3.
        b : Tensor (N, C, H, W) or (1, C, H, W)
            Images in [0, 1]; a single one is compared with every `a`.

        Returns
        -------
        Tensor (N,)
            Distances, 0 for equal images; float32, on the CPU if `a` is.
        """
        layers = zip(
            self._features(a), self._features_of_sources(b), self.network.lins, strict=True
        )
        distances = [lin((x - y).square()).mean((1, 2, 3)) for x, y, lin in layers]
        return torch.stack(distances).sum(0).to(a.device)

    def inside(self, a: Tensor, b: Tensor, masks: Tensor) -> Tensor:
        """Return the distance of each image of `a` to its partner in `b`, inside a mask.

        The mean over the mask's pixels of the distance of the features there, each layer's map
        brought to the images' size bilinearly (as the authors' `spatial=True`).

        Parameters
        ----------
        a, b : Tensor (N, C, H, W)
            In [0, 1]; C is 1 or 3.
        masks : Tensor (N, H, W), bool
            With a pixel at least each.

        Returns
        -------
        Tensor (N,)
            float32, on the CPU if `a` is.
        """
        size = a.shape[-2:]
        layers = zip(self._features(a), self._features(b), self.network.lins, strict=True)
        maps = [
            functional.interpolate(lin((x - y).square()), size, mode="bilinear")[:, 0]
            for x, y, lin in layers
        ]
        total = torch.stack(maps).sum(0)
        weights = masks.to(total)
        return ((total * weights).sum((1, 2)) / weights.sum((1, 2))).to(a.device)

    def _features_of_sources(self, images: Tensor) -> list[Tensor]:
        """As `_features`, from what is kept where these images came before; not in training."""
        if torch.is_grad_enabled() or self.device.type != "cpu" or len(images) > KEPT:
            return self._features(images)
        keys = [_digest(image) for image in images.cpu()]
        with self._keeping:
            found = {key: self._kept[key] for key in keys if key in self._kept}
        new = {
            key: image for key, image in zip(keys, images.cpu(), strict=True) if key not in found
        }
        if new:
            made = self._features(torch.stack(list(new.values())))
            found |= zip(new, zip(*(layer.split(1) for layer in made), strict=True), strict=True)
            with self._keeping:
                self._kept.update({key: found[key] for key in new})
        return [torch.cat(maps) for maps in zip(*(found[key] for key in keys), strict=True)]

    def _features(self, images: Tensor) -> list[Tensor]:
        """The five maps of the backbone (N, C, h, w), each pixel of unit length."""
        maps = self.network.net(self.network.scaling_layer(self._scaled(images)))
        return [self._normalised(features) for features in maps]

    def _scaled(self, images: Tensor) -> Tensor:
        """[0, 1] with 1 or 3 channels to [-1, 1] with 3, the channels last."""
        images = images.to(self.device, torch.float32) * 2 - 1
        images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        return images.contiguous(memory_format=torch.channels_last)


def _digest(image: Tensor) -> bytes:
    """What tells an image apart from every other."""
    digest = hashlib.blake2b(image.contiguous().numpy().tobytes())
    digest.update(repr((image.dtype, image.shape)).encode())
    return digest.digest()


def _load_backbone(network: nn.Module) -> None:
    """Give LPIPS the bundled AlexNet; its own package has the linear layers on top alone."""
    if not BACKBONE.is_file():
        raise GCDError(
            f"The LPIPS backbone {BACKBONE} is missing; checkpoints/lpips/README.md says how to "
            "make it."
        )
    state = {name: value.float() for name, value in load_file(BACKBONE).items()}
    keys = network.load_state_dict(state, strict=False)
    if keys.unexpected_keys or any(name.startswith("net.") for name in keys.missing_keys):
        raise GCDError(f"{BACKBONE} is not the AlexNet of LPIPS; see its README.md.")


@torch.inference_mode()
def pairwise_distances(images: Tensor, perceptual: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Return the distance between every two of N images, such as one image's counterfactuals.

    Parameters
    ----------
    images : Tensor (N, C, H, W)
        In [0, 1].
    perceptual : callable
        `LPIPS`, or any other symmetric distance of its form.

    Returns
    -------
    Tensor (N, N)
        Symmetric, with zeros on its diagonal; float32, on the CPU.
    """
    count = len(images)
    rows, columns = torch.triu_indices(count, count, offset=1)
    matrix = torch.zeros(count, count)
    if count > 1:
        distances = perceptual(images[rows], images[columns]).float().cpu()
        matrix[rows, columns] = distances
        matrix[columns, rows] = distances
    return matrix
