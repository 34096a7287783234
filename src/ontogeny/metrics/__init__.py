"""What is measured at a checkpoint beside the LLC: circuits of attention heads, and the order in them."""

from ontogeny.metrics.circuits import full_circuits, sum_of_heads
from ontogeny.metrics.structure import (
    head_overlap,
    matrix_rank,
    mean_overlap,
    mean_symmetry,
    participation_ratio,
    translational_symmetry,
)
from ontogeny.metrics.vocabulary import (
    anti_states,
    crystallization,
    crystallization_by_chance,
    opposition,
    owners,
    regions,
)

__all__ = [
    "anti_states",
    "crystallization",
    "crystallization_by_chance",
    "full_circuits",
    "head_overlap",
    "matrix_rank",
    "mean_overlap",
    "mean_symmetry",
    "opposition",
    "owners",
    "participation_ratio",
    "regions",
    "sum_of_heads",
    "translational_symmetry",
]
