"""Images measured batch by batch, as the parts of the command `evaluate` measure them."""

from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from gcd_core.domains.opening import Domain
from gcd_core.evaluation.outcomes import DirectionsOnBatches, Evaluation, batches_of, gathered
from gcd_core.method.directions import Direction


def measured(
    measure: Callable[..., Evaluation], images: Iterable[tuple[str, Tensor]], batch_size: int = 8
) -> Evaluation:
    """What `DirectionsOnBatches` or `BridgeOnBatches` says of named images."""
    batches, first = [], 0
    for names, batch in batches_of(images, batch_size):
        batches.append(measure(names, batch, first))
        first += len(names)
    return gathered(batches)


def evaluated(
    domain: Domain,
    images: Iterable[tuple[str, Tensor]],
    directions: Sequence[Direction],
    label: str,
    batch_size: int = 8,
    **settings: object,
) -> Evaluation:
    """What directions do to named images."""
    return measured(DirectionsOnBatches(domain, directions, label, **settings), images, batch_size)
