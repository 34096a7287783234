"""Feature-targeted LLCs: features as directions or functions of an activation, losses that target them, baselines."""

from ontogeny.features.baselines import feature_baselines
from ontogeny.features.common import FeatureProblem, feature_problem
from ontogeny.features.directions import interleaved, random_directions, sae_directions
from ontogeny.features.estimate import calibrate_features, estimate_features
from ontogeny.features.losses import Behavioral, Functional, Natural
from ontogeny.features.second_order import second_order_features
from ontogeny.features.sites import Site, activations

__all__ = [
    "Behavioral",
    "FeatureProblem",
    "Functional",
    "Natural",
    "Site",
    "activations",
    "calibrate_features",
    "estimate_features",
    "feature_baselines",
    "feature_problem",
    "interleaved",
    "random_directions",
    "sae_directions",
    "second_order_features",
]
