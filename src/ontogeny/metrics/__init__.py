"""What is measured at a checkpoint beside the LLC: what attention heads do, their circuits, and the order in them."""

from ontogeny.metrics.attention_scores import attention_scores, repeated_tokens
from ontogeny.metrics.circuits import full_circuits, sum_of_heads
from ontogeny.metrics.composition import composition_scores
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
from ontogeny.metrics.vocabulary import anti_states, crystallization, opposition, owners, regions

__all__ = [
    "NGram",
    "anti_states",
    "attention_scores",
    "classify_heads",
    "composition_scores",
    "crystallization",
    "full_circuits",
    "head_overlap",
    "head_types",
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
    "regions",
    "repeated_tokens",
    "sum_of_heads",
    "translational_symmetry",
]
