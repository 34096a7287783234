"""What a loss becomes when attention heads are ablated, everywhere or on one path through the model alone."""

from ontogeny.interventions.ablation import ablation_scores, head_means, mean_ablation
from ontogeny.interventions.bracket_sentences import LastToken, bracket_sentences
from ontogeny.interventions.path_patching import path_patching_scores

__all__ = [
    "LastToken",
    "ablation_scores",
    "bracket_sentences",
    "head_means",
    "mean_ablation",
    "path_patching_scores",
]
