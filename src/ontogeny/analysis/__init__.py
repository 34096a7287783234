"""Measurements over checkpoints and seeds become statements: jumps, kinds of trajectory, emergence, association."""

from ontogeny.analysis.association import associations
from ontogeny.analysis.cut_points import CutSettings, cut_point_test, detectable_effect
from ontogeny.analysis.emergence import emergence_against_jump, feature_emergence
from ontogeny.analysis.intervals import MeanInterval, t_interval
from ontogeny.analysis.proportions import class_fractions, clopper_pearson
from ontogeny.analysis.sigmoid import AcceptanceRule, fit_sigmoids, sigmoid, start_of_representation, start_of_rise
from ontogeny.analysis.trajectories import CLASSES, TrajectoryThresholds, classify_trajectories, rank_before_plateau

__all__ = [
    "CLASSES",
    "AcceptanceRule",
    "CutSettings",
    "MeanInterval",
    "TrajectoryThresholds",
    "associations",
    "class_fractions",
    "classify_trajectories",
    "clopper_pearson",
    "cut_point_test",
    "detectable_effect",
    "emergence_against_jump",
    "feature_emergence",
    "fit_sigmoids",
    "rank_before_plateau",
    "sigmoid",
    "start_of_representation",
    "start_of_rise",
    "t_interval",
]
