"""A discriminator of patches: it teaches a decoder fine detail that L1 and LPIPS do not see."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    """Scores the patches of a picture: high for a true one, low for a reconstruction.

    PatchGAN (Isola et al., CVPR 2017): fully convolutional, each score sees 38 x 38 pixels, so
    that it judges texture and not what the picture shows. Every convolution is divided by its
    largest singular value (spectral normalisation: Miyato et al., ICLR 2018), which keeps the
    scores' slope bounded.

    Parameters
    ----------
    channels : int
        Of the pictures.
    width : int
        Of the first layer's features; each layer has twice the features at half the resolution.
    """

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        widths = (channels, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(
            nn.Sequential(
                spectral_norm(nn.Conv2d(narrow, wide, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)
            )
            for narrow, wide in pairwise(widths)
        )
        self.last = spectral_norm(nn.Conv2d(widths[-1], 1, 3, padding=1))

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores (N, 1, S/8, S/8) of images (N, C, S, S) in [0, 1], and each layer's features."""
        features = []
        x = images
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return self.last(x), features


def hinge_loss(true: Tensor, false: Tensor) -> Tensor:
    """The discriminator's loss: scores of true pictures below 1, of false ones above -1.

    The hinge loss of adversarial training (Lim & Ye, 2017; Miyato et al., ICLR 2018, Eq. 16).
    """
    return F.relu(1 - true).mean() + F.relu(1 + false).mean()


def generator_losses(
    discriminator: Discriminator, images: Tensor, drawn: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the adversarial and the feature-matching loss of pictures (N, C, S, S).

    The adversarial loss is the mean score with its sign turned (Miyato et al., 2018, Eq. 17).
    Feature matching (Salimans et al., 2016; in this form, L1 over all layers, pix2pixHD: Wang et
    al., CVPR 2018, Eq. 4) is how far the features of `drawn` are from those of the `images` that
    they stand for. The gradient reaches `drawn` alone, not the discriminator.
    """
    with torch.no_grad():
        _, wanted = discriminator(images)
    discriminator.requires_grad_(False)
    scores, features = discriminator(drawn)
    discriminator.requires_grad_(True)
    matching = [F.l1_loss(own, other) for own, other in zip(features, wanted, strict=True)]
    return -scores.mean(), torch.stack(matching).mean()
