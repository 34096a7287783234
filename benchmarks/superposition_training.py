"""What kinds of trajectory a training configuration gives: the trial behind the study's canonical settings.

    python benchmarks/superposition_training.py [--seeds 200] [--sparsity 0.7] [--decay 0.8] [--scale 0.1]
                                                [--learning-rate 3e-3] [--steps 8000] [--batch 128]

Trains that many seeds (rounded up to twenties), looks at the weights alone, and prints how many seeds are of which kind
with exact binomial intervals, how many features are represented at the end, the plateau's rank, when the features that
stay emerge, and when the rank jumps. No LLC is measured.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace

import numpy as np
import torch
import xarray as xr

from ontogeny.analysis.emergence import feature_emergence
from ontogeny.analysis.proportions import class_fractions
from ontogeny.analysis.sigmoid import start_of_representation
from ontogeny.analysis.trajectories import CLASSES, classify_trajectories
from ontogeny.studies.superposition.measure import SeedGroup, train
from ontogeny.studies.superposition.settings import PRESETS, SEEDS_A_GROUP


def main() -> None:
    """Print the table of one configuration."""
    canonical = PRESETS["quick"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--sparsity", type=float, default=canonical.sparsity)
    parser.add_argument("--decay", type=float, default=canonical.importance_decay)
    parser.add_argument("--scale", type=float, default=canonical.init_scale)
    parser.add_argument("--learning-rate", type=float, default=canonical.learning_rate)
    parser.add_argument("--steps", type=int, default=canonical.train_steps)
    parser.add_argument("--batch", type=int, default=canonical.train_batch)
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = replace(
        canonical,
        sparsity=given.sparsity,
        importance_decay=given.decay,
        init_scale=given.scale,
        learning_rate=given.learning_rate,
        train_steps=given.steps,
        train_batch=given.batch,
    )
    groups = [train(SeedGroup(settings, first)) for first in range(0, given.seeds, SEEDS_A_GROUP)]
    trajectory = xr.concat(groups, "seed")
    kinds = classify_trajectories(
        trajectory["effective_rank"], start=start_of_representation(trajectory["feature_norm"])
    )
    emergence = feature_emergence(trajectory["feature_norm"])
    print(vars(given))
    fractions = class_fractions(kinds["kind"], CLASSES)
    for kind in CLASSES:
        one = fractions.sel(kind=kind)
        share, low, high = (float(one[name]) for name in ("fraction", "low", "high"))
        print(f"{kind:18} {int(one['count']):4d}  {share:.3f}  [{low:.3f}, {high:.3f}]")
    counts = Counter(emergence["represented"].sum("feature").values.tolist())
    print("features represented at the end:", dict(sorted(counts.items())))
    jumping = (kinds["kind"] == "plateau_then_jump").values
    for text, values in (
        ("plateau rank, jumping seeds", kinds["plateau_rank"].values[jumping]),
        ("jump step, jumping seeds", kinds["jump_step"].values[jumping]),
        ("emergence step of features that stay, all seeds", emergence["emergence"].values.ravel()),
    ):
        known = values[np.isfinite(values)]
        quartiles = np.percentile(known, [5, 25, 50, 75, 95]).round(3).tolist() if len(known) else "none"
        print(f"{text} (5, 25, 50, 75, 95 %): {quartiles}")


if __name__ == "__main__":
    main()
