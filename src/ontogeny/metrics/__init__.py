"""What is measured at a checkpoint beside the LLC: circuits of attention heads, the order in them, curvature."""

from ontogeny.inputs.sequences import sample_sequences
from ontogeny.metrics.circuits import full_circuits, sum_of_heads
from ontogeny.metrics.curvature import (
    curvature_of_dense,
    empirical_fisher_trace,
    extreme_eigenvalues,
    fisher_trace,
    hessian_rank,
    hessian_trace,
    rank_ranges,
    second_order_llc,
    spectral_density,
)
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
    "curvature_of_dense",
    "empirical_fisher_trace",
    "extreme_eigenvalues",
    "fisher_trace",
    "full_circuits",
    "head_overlap",
    "hessian_rank",
    "hessian_trace",
    "matrix_rank",
    "mean_overlap",
    "mean_symmetry",
    "opposition",
    "owners",
    "participation_ratio",
    "rank_ranges",
    "regions",
    "sample_sequences",
    "second_order_llc",
    "spectral_density",
    "sum_of_heads",
    "translational_symmetry",
]
