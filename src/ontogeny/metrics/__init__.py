"""What is measured at a checkpoint beside the LLC: what heads do, their circuits, the order in them, curvature."""

from ontogeny.inputs.sequences import sample_sequences
from ontogeny.metrics.attention_scores import attention_scores, repeated_tokens
from ontogeny.metrics.circuits import full_circuits, sum_of_heads
from ontogeny.metrics.composition import composition_scores
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
from ontogeny.metrics.in_context_learning import in_context_learning_score
from ontogeny.metrics.ngram_baselines import NGram, ngram_baselines
from ontogeny.metrics.structure import (
    head_overlap,
    matrix_rank,
    mean_overlap,
    mean_symmetry,
    participation_ratio,
    translational_symmetry,
)
from ontogeny.metrics.tokens_in_context import (
    classify_heads,
    head_types,
    most_affected,
    multigram_migrations,
    pattern_shares,
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
    "NGram",
    "anti_states",
    "attention_scores",
    "classify_heads",
    "composition_scores",
    "crystallization",
    "crystallization_by_chance",
    "curvature_of_dense",
    "empirical_fisher_trace",
    "extreme_eigenvalues",
    "fisher_trace",
    "full_circuits",
    "head_overlap",
    "head_types",
    "hessian_rank",
    "hessian_trace",
    "in_context_learning_score",
    "matrix_rank",
    "mean_overlap",
    "mean_symmetry",
    "most_affected",
    "multigram_migrations",
    "ngram_baselines",
    "opposition",
    "owners",
    "participation_ratio",
    "pattern_shares",
    "rank_ranges",
    "regions",
    "repeated_tokens",
    "sample_sequences",
    "second_order_llc",
    "spectral_density",
    "sum_of_heads",
    "translational_symmetry",
]
