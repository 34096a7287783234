"""How far the loss of a sorting transformer is quadratic around w*: what its curvature looks like from further away.

For weights w* + s·z, z normal, the mean of 2·ΔL/s² is the trace of the Hessian where s is small enough, whatever the
dimension; where it grows with s the loss rises faster than its quadratic. The last s is 1/√γ, as far as the
localisation lets a flat direction go, so that λ̂ at that γ sees the loss there. Then the second-order prediction at the
last checkpoint with the Hessian of more and more lists, since that of few predicts too little.

OMP_NUM_THREADS=1 python benchmarks/beyond_second_order.py runs/sorting-quick --variant "2 heads" --seed 0
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from ontogeny.core.rng import generator
from ontogeny.metrics import second_order_llc
from ontogeny.store import Store, read_zarr
from ontogeny.studies.sorting.settings import PRESETS
from ontogeny.studies.sorting.study import training_chunk
from ontogeny.studies.sorting.train import data_of, loaded

SAMPLES = (32, 128, 512)
LISTS, PAIRS = 512, 6
"""Of the data set, and directions z, each taken both ways so that the gradient cancels."""


def main() -> None:
    """One line for each checkpoint, with the error over directions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="of `ontogeny run sorting`")
    parser.add_argument("--variant", default="2 heads")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    settings = PRESETS[json.loads(read_zarr(asked.folder / "results.zarr").attrs["settings"])["preset"]]
    (variant,) = (one for one in settings.variants if one.name == asked.variant)
    trained = Store(asked.folder, settings.identity()).load(training_chunk(settings, variant, asked.seed).key)
    rows = data_of(settings, variant)[:LISTS]
    scales = [3e-4, 1e-3, 3e-3, settings.localization**-0.5]
    print(f"{'step':>6}  " + "  ".join(f"{f's = {s:.0e}':>16}" for s in scales) + "   2·ΔL/s², loss/weight²")
    for place, step in enumerate(trained["step"].values):
        model = loaded(variant, trained["weights"].values[place])
        center = parameters_to_vector(model.parameters()).detach().clone()
        found = []
        with torch.no_grad():
            here = float(variant.loss(model, rows).mean())
            for s in scales:
                stream, rises = generator(0, "directions"), []
                for _ in range(PAIRS):
                    z = torch.randn(center.shape, generator=stream) * s
                    both = []
                    for sign in (1, -1):
                        vector_to_parameters(center + sign * z, model.parameters())
                        both.append(float(variant.loss(model, rows).mean()) - here)
                    rises.append(sum(both) / s**2)
                vector_to_parameters(center, model.parameters())
                values = torch.tensor(rises, dtype=torch.float64)
                found.append(f"{float(values.mean()):9.0f} ± {float(values.std()) / PAIRS**0.5:4.0f}")
        print(f"{int(step):6d}  " + "  ".join(f"{one:>16}" for one in found), flush=True)
    for samples in SAMPLES:
        told = second_order_llc(
            loaded(variant, trained["weights"].values[-1]),
            data_of(settings, variant),
            variant.loss,
            n_beta=settings.n_beta,
            localization=settings.localization,
            samples=samples,
            steps=20,
            batch_size=64,
            seed=settings.seed,
        )
        value, error = (float(told[name]) for name in ("second_order_llc", "second_order_llc_se"))
        print(f"second order with the Hessian of {samples} lists: {value:.2f} ± {error:.2f}", flush=True)


if __name__ == "__main__":
    main()
