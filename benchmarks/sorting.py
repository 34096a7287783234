"""The sorting study's LLC against devinterp 1.3.2: one two-head model, 30 checkpoints, 4 x 200 draws, batches of 16.

    OMP_NUM_THREADS=1 python benchmarks/sorting.py --peer-python PATH --out FOLDER [--steps 2000] [--seeds 6]

PATH is a Python that has the peer (`pip install devinterp==1.3.2`). The model is trained here and kept in FOLDER.
Printed are the seconds for the whole-model λ̂ of all 30 checkpoints, ours by as many processes as there are cores, as
the study makes them, and the peer's one after another (measured on three of them, times ten); and at the last
checkpoint λ̂, its spread over seeds and what each side says of its error. Both sample the same lists from the same
weights at the study's nβ, γ, ε and burn-in, ours by BAOAB, the peer by SGLD, whose flat directions take 430 steps to
come to 95 % of their variance; so it is run again with a burn-in of 1000. The peer's baseline is the loss over all
lists, which it accepts.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ontogeny.sampling.estimate import estimate_llc
from ontogeny.studies.sorting.estimates import AT_ONCE, Around, measure_whole
from ontogeny.studies.sorting.settings import BASELINE, FROZEN, PRESETS, SortingSettings, Variant
from ontogeny.studies.sorting.train import Training, data_of, loaded, steps_of, train

PEER = Path(__file__).with_name("sorting_peer.py")
SOURCE = Path(__file__).resolve().parents[1] / "src"
PEER_CHECKPOINTS = 3


def trained(folder: Path, settings: SortingSettings, variant: Variant) -> np.ndarray:
    """Flat weights (checkpoint, weight); trained once, then read."""
    kept = folder / f"weights-{variant.steps}.npy"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        np.save(kept, train(Training(settings, variant, 0))["weights"].values)
    return np.load(kept)


def ours(task: Around) -> list[tuple[float, float, str]]:
    """(λ̂, its error, its status) of some checkpoints, side by side as the study measures them."""
    found = measure_whole(task)
    return list(zip(found["llc"].values, found["llc_se"].values, found["status"].values, strict=True))


def _groups(weights: np.ndarray) -> list[np.ndarray]:
    return [weights[first : first + AT_ONCE] for first in range(0, len(weights), AT_ONCE)]


def again(settings: SortingSettings, variant: Variant, weights: np.ndarray, seed: int) -> tuple[float, float]:
    """(λ̂, its error) of the same lists, with other random streams of the sampler."""
    found = estimate_llc(
        loaded(variant, weights),
        data_of(settings, variant),
        variant.loss,
        n_beta=settings.n_beta,
        localization=settings.localization,
        **settings.sampler,
        seed=seed,
        progress=False,
    )
    return float(found["llc"]), float(found["llc_se"])


def peer(python: str, weights: Path, settings: SortingSettings, seed: int, **other: float) -> dict[str, Any]:
    """One call of the peer in its own interpreter; imports and model are not in its seconds."""
    given = {"n_beta": settings.n_beta, "localization": settings.localization, **settings.sampler, **other}
    command = [python, str(PEER), str(weights), "--settings", json.dumps(given), "--seed", str(seed)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"the peer's side failed: {done.stderr.strip() or done.returncode}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--out", type=Path, required=True, help="where the trained weights are kept")
    parser.add_argument("--steps", type=int, default=2000, help="of training")
    parser.add_argument("--seeds", type=int, default=6, help="of the sampler, at the last checkpoint")
    asked = parser.parse_args()
    settings = replace(PRESETS["variants"], early=18, linear=12)
    variant = replace(settings.variant(BASELINE), steps=asked.steps)
    weights, steps = trained(asked.out, settings, variant), steps_of(settings, variant)

    tasks = [Around(settings, variant, (FROZEN,) * len(rows), rows) for rows in _groups(weights)]
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores) as pool:
        list(pool.map(abs, range(cores)))  # processes are there before the clock starts; their imports are not
        began = time.perf_counter()
        found = [one for group in pool.map(ours, tasks) for one in group]
        seconds = time.perf_counter() - began
    began = time.perf_counter()
    again(settings, variant, weights[-1], 0)
    one = time.perf_counter() - began
    statuses = sorted({status for *_, status in found})
    print(f"ours: {len(steps)} checkpoints on {cores} cores in {seconds:.0f} s, one alone {one:.1f} s; "
          f"statuses {', '.join(statuses)}")  # fmt: skip

    saved, calls = asked.out / "peer.npz", []
    for place in np.linspace(0, len(steps) - 1, PEER_CHECKPOINTS).round().astype(int):
        model, data = loaded(variant, weights[place]), data_of(settings, variant)
        np.savez(saved, flat=weights[place], data=data.numpy(), heads=variant.heads)
        call = peer(asked.peer_python, saved, settings, 0)
        calls.append(call["seconds"])
        loss = float(variant.loss(model, data).mean().detach())
        assert abs(call["baseline"] - loss) < 1e-4, (call["baseline"], loss)
        print(f"step {steps[place]}: ours {found[place][0]:.2f} ± {found[place][1]:.2f} ({found[place][2]}); "
              f"peer {call['llc']:.2f}, between chains {call['reported']:.2f}, {call['seconds']:.1f} s")  # fmt: skip
    whole = np.mean(calls) * len(steps)
    print(f"peer: {whole:.0f} s for {len(steps)} checkpoints, from {PEER_CHECKPOINTS}; {whole / seconds:.1f} x ours")

    mine = [again(settings, variant, weights[-1], seed) for seed in range(asked.seeds)]
    rows = [("ours", [one[0] for one in mine], [one[1] for one in mine])]
    for name, other in (("peer", {}), ("peer, burn-in 1000", {"burn_in": 1000})):
        theirs = [peer(asked.peer_python, saved, settings, seed, **other) for seed in range(asked.seeds)]
        rows.append((name, [one["llc"] for one in theirs], [one["reported"] for one in theirs]))
    for name, llc, claimed in rows:
        print(f"{name}, last checkpoint, {asked.seeds} seeds: {np.mean(llc):.2f}, spread {np.std(llc, ddof=1):.2f}, "
              f"said {np.mean(claimed):.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
