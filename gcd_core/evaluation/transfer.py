"""Walking many images along one direction at once, for measurements."""

import torch
from torch import Tensor

from gcd_core.counterfactual import Path, cf_loss, cf_sign
from gcd_core.directions import Direction
from gcd_core.domains import Domain
from gcd_core.errors import GCDError
from gcd_core.generators.base import Latent
from gcd_core.perturbation import ask, check_label


@torch.inference_mode()
def walk_many(
    domain: Domain,
    images: Tensor,
    direction: Direction,
    label: str,
    latent: Latent | None = None,
    n: int | None = None,
) -> list[Path]:
    """Walk each image toward its flip; the same paths as `walk` gives, one image after the other.

    The points of all images are decoded in common batches, so that a GPU has enough to do.

    Parameters
    ----------
    domain : Domain
    images : Tensor (N, C, S, S)
        The sources, in [0, 1].
    direction : Direction
    label : str
        What to flip.
    latent : Latent, optional
        The images' latents, where they have been encoded before.
    n : int, optional
        Points on each path, from 0 to the domain's `alpha_max`; by default its `walk_points`.

    Returns
    -------
    list of Path
        One for each image.

    Raises
    ------
    GCDError
        If the label is unknown or the direction does not fit the generator.
    """
    check_label(domain, label)
    if direction.vector.shape != (domain.generator.z_sem_size,):
        raise GCDError(
            f"{direction.name} has {direction.vector.numel()} numbers, but {domain.name} has "
            f"semantic codes of {domain.generator.z_sem_size}; find its directions in this domain."
        )
    latent = latent or domain.generator.encode(images)
    answers = domain.classifier(images)
    probabilities = domain.classifier.probability(answers, label).tolist()
    signs = [-cf_sign(probability) for probability in probabilities]
    positions = torch.linspace(0, domain.alpha_max, n or domain.walk_points)
    count = len(positions)
    along = torch.tensor(signs)[:, None] * positions + 0.0  # no -0.0
    steps = along.to(latent.z_sem)[..., None] * direction.vector.to(latent.z_sem)
    points = Latent(
        (latent.z_sem[:, None] + steps).flatten(0, 1), latent.z_T.repeat_interleave(count, dim=0)
    )
    decoded = domain.generator.decode(points)
    paths = []
    for index, some in enumerate(decoded.split(count)):
        source = images[index : index + 1].float().cpu()
        told = ask(domain, some, source, label)
        paths.append(
            Path(
                alphas=along[index],
                images=told.images,
                logits=told.logits,
                probabilities=told.probabilities[:, domain.classifier.index(label)],
                all_probabilities=told.probabilities,
                distances=told.distances,
                losses=cf_loss(told.logits, told.distances, -signs[index], domain.search.lam),
                label=label,
                labels=tuple(domain.classifier.labels),
                direction_name=direction.name,
                source=source,
                source_probability=probabilities[index],
                sign=signs[index],
            )
        )
    return paths
