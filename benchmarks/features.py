"""Functional FT-LLCs per minute and peak memory, against a plain loop over devinterp 2.0.1 with a custom loss.

    OMP_NUM_THREADS=1 python benchmarks/features.py --peer2-python PATH [--features 8] [--draws 100] [--burn-in 100]

PATH is a Python that has the peer (`pip install devinterp==2.0.1`). The model has the sizes of the quick preset and its
initial weights: what is timed does not depend on training. Both sides sample the weights upstream of the site, for the
same directions, thresholds, data, nβ, γ, ε, chains and steps; ours by BAOAB in one process, the peer by SGLD, one
direction after another, its loss written as a user would: the activation by a hook of the whole forward pass, the
target by a pass at w* on the same minibatch. Its own 32 batches for the baseline are part of it. Printed are both
sides' figures as JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from ontogeny.core.rng import generator
from ontogeny.features import Functional, Site, estimate_features, random_directions
from ontogeny.features.common import CommonGround
from ontogeny.features.feature import Projection
from ontogeny.inputs.attention_only import AttentionOnly
from ontogeny.sampling.calibration import Calibration
from ontogeny.studies.feature_targeted.settings import PRESETS

PEER = Path(__file__).with_name("features_peer.py")
SOURCE = Path(__file__).resolve().parents[1] / "src"


def main() -> None:
    """Both sides, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer2-python", required=True, help="a Python that has devinterp 2.0.1")
    parser.add_argument("--features", type=int, default=8)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--burn-in", type=int, default=100)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    settings = PRESETS["quick"]
    trained = settings.trained
    assert trained is not None
    model = AttentionOnly(trained.config(settings.positions))
    tokens = torch.randint(trained.vocabulary, (settings.sequences, settings.positions), generator=generator(0, "data"))
    rows, site = random_directions(asked.features, trained.width), Site(settings.layer, settings.hook)
    frozen = Calibration(
        "baoab", 80.0, 100.0, 1e-5, 20.0, asked.burn_in, settings.batch_size, settings.chains, 10**9, False, 1.0,
        True, 0,
    )  # fmt: skip
    began = time.perf_counter()
    found = estimate_features(
        model, tokens, rows, site, loss=Functional(), calibration=frozen, draws=asked.draws, progress=False
    )
    seconds = time.perf_counter() - began
    ours = {
        "features_per_minute": 60.0 * asked.features / seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "llc": found["llc"].values.tolist(),
    }
    common = CommonGround(model, tokens, site, Functional())
    thetas = common.thresholds([Projection(row) for row in rows])
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "problem.npz"
        weights = {f"w/{name}": value.detach().numpy() for name, value in model.state_dict().items()}
        np.savez(
            kept, tokens=tokens.numpy(), rows=rows.numpy(), thetas=thetas.numpy(), sampled=list(common.components),
            **weights,
        )  # fmt: skip
        given = {
            "layer": settings.layer, "sizes": trained.config(settings.positions).to_dict(), "draws": asked.draws,
            "burn_in": asked.burn_in, "chains": frozen.chains, "batch_size": frozen.batch_size,
            "n_beta": frozen.n_beta, "localization": frozen.localization, "step_size": frozen.step_size,
        }  # fmt: skip
        done = subprocess.run(
            [asked.peer2_python, str(PEER), str(kept), "--settings", json.dumps(given)],
            env={"PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise SystemExit(f"the peer failed: {done.stderr.strip().splitlines()[-1]}")
    print(json.dumps({"ours": ours, "devinterp 2.0.1": json.loads(done.stdout.strip().splitlines()[-1])}, indent=1))


if __name__ == "__main__":
    main()
