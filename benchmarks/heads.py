"""All heads of a model as `ontogeny run attention-heads` measures them, against a loop over devinterp 2.0.1.

    python benchmarks/heads.py --peer-python PATH --cache FOLDER [--rounds 2]

PATH is a Python that has the peer (`pip install devinterp==2.0.1 transformers datasets`, an environment of its own).
The model has the sizes of the study's preset `quick` (two layers of eight heads, width 128, context 128, vocabulary
1000), is trained a little and kept in FOLDER; λ̂ of each of its 16 heads on one data set of 512 rows, 2 chains × 100
draws from w* on, nβ = 30, γ = 200, SGLD with ε = 1e-3, batches of 4 rows: the preset's setting, one thread on both
sides, which take turns in one run.

- ontogeny: one call of `og.measure` with one worker process, whose start, checks, statuses and store all count, the
  paired baseline and R̂ with them.
- devinterp, default: `llc` head by head with its loss on 3 batches of an observable after each draw; bare: without.
  Imports, the model and its data set are loaded before the clock starts.

Printed are tasks (λ̂ of one head) a minute, the best of the rounds, and how far the two sides' λ̂ are apart. The peer's
λ̂ subtracts the mean loss of as many batches as there are draws; both average the way from w* in, as the paper does.
With --quick, a tiny model, to see that it runs (its figures mean nothing).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from refined import LOCALIZATION, N_BETA, STEP_SIZE, Peer, check_same
from refined_models import Bundle, bundle

CHAINS, DRAWS, BATCH = 2, 100, 4
MODEL = "attention-heads"


def ours(model: Bundle, draws: int, seed: int) -> tuple[float, np.ndarray]:
    """Seconds of one call for all heads, and λ̂ of each."""
    import ontogeny as og

    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = og.measure(
            model.model,
            og.Checkpoints.from_iterable([(0, model.model.state_dict())]),
            {"text": model.rows},
            og.NextToken(),
            "heads",
            out=Path(folder, "heads"),
            n_beta=N_BETA,
            localization=LOCALIZATION,
            kernel="sgld",
            step_size=STEP_SIZE,
            burn_in=0,
            chains=CHAINS,
            draws=draws,
            batch_size=BATCH,
            seed=seed,
            workers=1,
            progress=False,
        )
        return time.perf_counter() - began, found.llc.values.ravel()


def theirs(peer: Peer, model: Bundle, draws: int, seed: int, observables: bool) -> tuple[float, np.ndarray]:
    """The same by the peer's `llc`, head by head."""
    more: dict[str, Any] = {"chains": CHAINS, "batch_size": BATCH, "observables": observables}
    batches = min(draws, len(model.rows) // BATCH)
    found = [
        peer.ask(
            model=model.folder.name, component=head, draws=draws, seed=seed, n_beta=N_BETA, localization=LOCALIZATION,
            step_size=STEP_SIZE, baseline_batches=batches, **more,
        )
        for head in model.components
    ]  # fmt: skip
    return sum(one["seconds"] for one in found), np.array([one["llc"] for one in found])


def main() -> None:
    """Measure by turns, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="a Python that has devinterp 2.0.1")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the trained model")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a tiny model and few draws, to see that it runs")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.cache.mkdir(parents=True, exist_ok=True)
    model = bundle(MODEL, asked.cache, asked.quick)
    peer = Peer(asked.peer_python, asked.cache, 1)
    check_same(model, peer)
    draws = 20 if asked.quick else DRAWS
    ways = {
        "devinterp, default": lambda seed: theirs(peer, model, draws, seed, True),
        "devinterp, bare": lambda seed: theirs(peer, model, draws, seed, False),
        "ontogeny": lambda seed: ours(model, draws, seed),
    }
    peer.ask(model=model.folder.name, component=model.components[0], draws=2)  # its first call
    found: dict[str, list[tuple[float, np.ndarray]]] = {name: [] for name in ways}
    for seed in range(asked.rounds):
        for name, way in ways.items():
            found[name].append(way(seed))
    peer.close()
    reference = np.mean([llcs for _, llcs in found["ontogeny"]], 0)
    best = {name: min(seconds for seconds, _ in rounds) for name, rounds in found.items()}
    print(f"\n| way | s for {len(model.components)} heads | tasks a minute | ontogeny's ÷ | λ̂ of heads ÷ ontogeny's |")
    print("|---|---|---|---|---|")
    for name, rounds in found.items():
        ratio = np.mean([llcs for _, llcs in rounds], 0) / reference
        rate = 60 * len(model.components) / best[name]
        print(
            f"| {name} | {best[name]:.1f} | {rate:.1f} | {best[name] / best['ontogeny']:.2f} "
            f"| {np.median(ratio):.3f} ({ratio.min():.3f} to {ratio.max():.3f}) |"
        )


if __name__ == "__main__":
    main()
