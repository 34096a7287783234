"""Curvature of the loss at w*: traces, ranks, spectra, Fisher matrices, and what second order predicts of λ̂."""

from ontogeny.metrics.curvature.dense import curvature_of_dense
from ontogeny.metrics.curvature.density import extreme_eigenvalues, spectral_density
from ontogeny.metrics.curvature.fisher import empirical_fisher_trace, fisher_trace
from ontogeny.metrics.curvature.ranges import rank_ranges
from ontogeny.metrics.curvature.rank import hessian_rank
from ontogeny.metrics.curvature.second_order import second_order_llc
from ontogeny.metrics.curvature.trace import hessian_trace

__all__ = [
    "curvature_of_dense",
    "empirical_fisher_trace",
    "extreme_eigenvalues",
    "fisher_trace",
    "hessian_rank",
    "hessian_trace",
    "rank_ranges",
    "second_order_llc",
    "spectral_density",
]
