"""Coverage: does the 95 % interval hold the exact λ̂(nβ, γ) as often as it says? And the spread against the error.

Each repetition is a whole estimate with nothing chosen by hand but (nβ, γ): its own seed, calibration, minibatches.

    python benchmarks/coverage.py --repetitions 200
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

PROBLEMS = ("logistic", "softmax 3", "radial quartic", "uneven", "sum")
TARGET_SE, N_BETA, LOCALIZATION = 0.03, 1000.0, 1.0


def estimate(task):
    """One estimate, in a worker process."""
    import torch

    import ontogeny as og
    from ontogeny.validation.problem import with_data
    from ontogeny.validation.problems import problem

    torch.set_num_threads(1)
    name, seed = task
    one = problem(name.removesuffix(", batches of a tenth"))
    given = {"model": one.potential}
    if name.endswith("tenth"):
        model, data, loss_fn = with_data(one, 960, 0)
        given = {"model": model.float(), "data": data, "loss_fn": loss_fn, "batch_size": 96}
    found = og.estimate_llc(
        **given,
        n_beta=N_BETA,
        localization=LOCALIZATION,
        target_se=TARGET_SE,
        max_draws=400_000,
        seed=seed,
        progress=False,
    )
    exact = one.exact(N_BETA, LOCALIZATION)
    return name, float(found.llc), float(found.llc_se), exact, found.status.item()


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--problems", nargs="+", default=list(PROBLEMS))
    arguments = parser.parse_args()
    began = time.perf_counter()
    print(f"λ̂({N_BETA:g}, {LOCALIZATION:g}), target {TARGET_SE:.0%}, {arguments.repetitions} repetitions a problem\n")
    print("| problem | exact | mean of estimates | in the 95 % interval | mean z | sd of z | sd / mean s.e. | ok |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        for name in arguments.problems:
            rows = list(pool.map(estimate, [(name, seed) for seed in range(arguments.repetitions)], chunksize=10))
            llc, se, exact = (np.array([row[i] for row in rows]) for i in (1, 2, 3))
            z = (llc - exact) / se
            share, ok = np.mean(np.abs(z) < 1.96), np.mean([row[4] == "ok" for row in rows])
            print(
                f"| {name} | {exact[0]:.4f} | {llc.mean():.4f} ± {llc.std(ddof=1) / len(llc) ** 0.5:.4f} | {share:.1%} "
                f"| {z.mean():+.2f} | {z.std(ddof=1):.2f} | {llc.std(ddof=1) / se.mean():.2f} | {ok:.0%} |",
                flush=True,
            )
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
