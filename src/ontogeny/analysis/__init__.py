"""Measurements over checkpoints and seeds become statements: events, jumps, drift, association, clusters, stages."""

from ontogeny.analysis.aligned import event_aligned, paired_rise
from ontogeny.analysis.association import associations
from ontogeny.analysis.change_points import change_points
from ontogeny.analysis.cluster_agreement import Agreement, cluster_stability, group_agreement
from ontogeny.analysis.clusters import cluster_curves, majority_vote, transfer_clusters
from ontogeny.analysis.combination import combined_detection
from ontogeny.analysis.cut_points import CutSettings, cut_point_test, detectable_effect
from ontogeny.analysis.detection import detection
from ontogeny.analysis.drift import compare_drifts, drift
from ontogeny.analysis.emergence import emergence_against_jump, feature_emergence
from ontogeny.analysis.events import EventRules, event_table, find_events
from ontogeny.analysis.explained import explained_by_trend
from ontogeny.analysis.factors import factor_analysis
from ontogeny.analysis.intervals import (
    DifferenceInterval,
    MeanInterval,
    RatioInterval,
    bootstrap_t_interval,
    difference_interval,
    ratio_interval,
    t_interval,
)
from ontogeny.analysis.proportions import class_fractions, clopper_pearson
from ontogeny.analysis.separation import (
    AreaDifference,
    Correlation,
    Separation,
    area_difference,
    below_medians,
    correlation,
    separation,
)
from ontogeny.analysis.sigmoid import AcceptanceRule, fit_sigmoids, sigmoid, start_of_representation, start_of_rise
from ontogeny.analysis.stages import find_stages
from ontogeny.analysis.trajectories import CLASSES, TrajectoryThresholds, classify_trajectories, rank_before_plateau
from ontogeny.analysis.turning_points import TurnRules, turning_points
from ontogeny.analysis.variance import variance_components

__all__ = [
    "CLASSES",
    "AcceptanceRule",
    "Agreement",
    "AreaDifference",
    "Correlation",
    "CutSettings",
    "DifferenceInterval",
    "EventRules",
    "MeanInterval",
    "RatioInterval",
    "Separation",
    "TrajectoryThresholds",
    "TurnRules",
    "area_difference",
    "associations",
    "below_medians",
    "bootstrap_t_interval",
    "change_points",
    "class_fractions",
    "classify_trajectories",
    "clopper_pearson",
    "cluster_curves",
    "cluster_stability",
    "combined_detection",
    "compare_drifts",
    "correlation",
    "cut_point_test",
    "detectable_effect",
    "detection",
    "difference_interval",
    "drift",
    "emergence_against_jump",
    "event_aligned",
    "event_table",
    "explained_by_trend",
    "factor_analysis",
    "feature_emergence",
    "find_events",
    "find_stages",
    "fit_sigmoids",
    "group_agreement",
    "majority_vote",
    "paired_rise",
    "rank_before_plateau",
    "ratio_interval",
    "separation",
    "sigmoid",
    "start_of_representation",
    "start_of_rise",
    "t_interval",
    "transfer_clusters",
    "turning_points",
    "variance_components",
]
