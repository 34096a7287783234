"""Does the answer hang on (nβ, γ)? The cut-point tests of a finished study repeated at other settings.

    python benchmarks/superposition_settings.py runs/superposition-quick

Only the jumping seeds are measured again, at each setting with ε(2.4·nβ + γ) = 0.12, where 2.4 is the largest Hessian
eigenvalue met at S = 0.7, a burn-in of three relaxation times 1/(εγ), and 30 of them (8000 at least) as draws. Printed
for each setting: mean over seeds of the LLC at the inflection minus at random cuts (level) and of the rise across it,
each with its one-sided p in the plain, detrended and same-third variants, and how many of the estimates after the
network represents something are ok, below the baseline, and prior-dominated.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path

import torch

from ontogeny.analysis.cut_points import cut_point_test
from ontogeny.analysis.sigmoid import start_of_representation
from ontogeny.analysis.trajectories import classify_trajectories
from ontogeny.core.rng import numpy_generator
from ontogeny.store import read_zarr
from ontogeny.studies.superposition import measure
from ontogeny.studies.superposition.checkpoints import assemble, chunks
from ontogeny.studies.superposition.settings import PRESETS
from ontogeny.studies.superposition.statements import fit_jumps, usable_llc

GRID = ((1000, 100), (1000, 10), (1000, 1000), (100, 100), (100, 10), (100, 1), (30, 200), (30, 10), (30, 1))


def main() -> None:
    """Print one line a setting."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    torch.set_num_threads(1)
    trajectory = read_zarr(folder / "results.zarr", "trajectory")
    fits, start = fit_jumps(trajectory), start_of_representation(trajectory["feature_norm"])
    kinds = classify_trajectories(trajectory["effective_rank"], start=start)
    textbook = (fits["accepted"] & (kinds["kind"] == "plateau_then_jump")).values
    trajectory, fits, start = (one.isel(seed=textbook) for one in (trajectory, fits, start))
    print(f"{trajectory.sizes['seed']} seeds; p: plain, detrended, same third")
    for n_beta, gamma in GRID:
        step_size = 0.12 / (2.4 * n_beta + gamma)
        relaxation = 1 / (step_size * gamma)
        settings = replace(
            PRESETS["quick"],
            n_beta=float(n_beta),
            localization=float(gamma),
            step_size=step_size,
            burn_in=max(2000, math.ceil(3 * relaxation)),
            draws=max(8000, math.ceil(30 * relaxation)),
        )
        found = assemble([measure.measure(part) for part in chunks(settings, trajectory, fits["inflection"])])
        late = found["step"] >= start
        words = {
            text: int(((found[variable] == word) & late).sum())
            for text, variable, word in (
                ("ok", "status", "ok"),
                ("below baseline", "regime", "below_baseline"),
                ("prior-dominated", "regime", "prior_dominated"),
            )
        }
        tests = cut_point_test(
            usable_llc(found),
            fits["inflection"],
            rng=numpy_generator(0, "cut points"),
            llc_se=found["llc_se"],
            start=start,
        )
        cells = []
        for statistic in ("level", "rise"):
            cell = tests.sel(statistic=statistic)
            difference = float(cell["mean_difference"].sel(variant="plain"))
            p = " ".join(f"{value:.4f}" for value in cell["p_value"].values)
            cells.append(f"{statistic} {difference:+7.3f} (p {p})")
        counts = ", ".join(f"{text} {count}" for text, count in words.items())
        print(f"nβ {n_beta:5d}  γ {gamma:5d}  {'  '.join(cells)}  of {int(late.sum())}: {counts}", flush=True)


if __name__ == "__main__":
    main()
