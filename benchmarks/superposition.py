"""Ontogeny against devinterp 1.3.2 on the toy model of superposition (n = 6, batch 300), in one run on one machine.

    python benchmarks/superposition.py --peer-python PATH [--threads 1] [--study quick] [--json FILE]

PATH is a Python that has the peer (`pip install devinterp==1.3.2` in an environment of its own). Printed are

- chain-steps per second: the peer (one thread, with the usual loader and with one that fetches a batch at once), ours
  eager, ours compiled, and the ratios; start-up and compilation are left out on both sides;
- time to a standard error of 2 % of λ̂, found as the spread of the estimates over seeds at increasing draws, beside
  what each side claims for itself, and one call of `og.estimate_llc`;
- with --study, the whole study against the time that the peer would need for the same chain-steps.

Both sides sample the same weights on the same data with the study's nβ, γ, ε and burn-in; that λ̂ agrees is checked.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from superposition_ours import (
    TARGET,
    Problem,
    Settings,
    canonical,
    ours_chain_steps_per_second,
    ours_estimates,
    ours_public_call,
)

PEER = Path(__file__).with_name("peer_devinterp.py")
LEVELS = (250, 500, 1000, 2000, 4000, 8000, 16000)  # draws a chain at which the spread over seeds is looked at


# --- the peer, in its own interpreter ---------------------------------------------------------------------------------


def peer(python: str, task: str, problem: Problem, settings: dict[str, Any], *more: str) -> dict[str, Any]:
    """Run one task of peer_devinterp.py with one thread and return what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        weights, data = Path(folder, "weights.npz"), Path(folder, "data.npz")
        np.savez(weights, W=problem.weight, b=problem.bias, importance=problem.importance)
        np.savez(data, x=problem.x)
        command = [python, str(PEER), task, "--weights", str(weights), "--data", str(data)]
        command += ["--settings", json.dumps(settings), "--json", *more]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"the peer's side failed: {done.stderr.strip() or done.returncode}")
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def peer_estimates(python: str, problem: Problem, settings: dict[str, Any], seeds: int, levels: Sequence[int]) -> Any:
    """Have the peer estimate λ̂ with every chain, shape (seeds, levels, chains)."""
    more = ["--seeds", *map(str, range(seeds)), "--draws-at", *map(str, levels)]
    # both loaders give bit-equal draws, so the faster one serves for the statistics
    found = peer(python, "levels", problem, {**settings, "loader": "batched"}, *more)
    return np.array([run["llc_per_chain"] for run in found["runs"]])


# --- time to a standard error -----------------------------------------------------------------------------------------


class TimeToError(NamedTuple):
    """What it takes until the estimates spread by TARGET of λ̂ over seeds."""

    who: str
    chains: int
    llc: float
    llc_se: float
    draws: float | None  # a chain, by spread; None where the spread does not fall
    draws_claimed: float | None  # a chain, by the side's own standard error; None where it reports none
    seconds: float | None
    spread: list[float]  # relative, at each level
    spread_over_claim: float | None  # at the last level, how honest the side's own standard error is
    levels: list[int]
    note: str


def draws_for_target(levels: Sequence[int], spread: np.ndarray) -> float | None:
    """Draws at which a spread that falls as 1/√draws meets TARGET; None where the spread stands far above it.

    Fitted from a quarter of the longest run on: before, a run is no longer than the chains' own relaxation. One spread
    over S seeds is uncertain by 1/√(2(S − 1)), the draws by twice that.
    """
    late = np.asarray(levels) >= max(levels) / 4
    if spread[late][-1] > max(0.8 * spread[late][0], 3 * TARGET):
        return None
    return float(np.exp(np.log(spread[late] ** 2 * np.asarray(levels)[late]).mean()) / TARGET**2)


def ours_time_to_se(
    problem: Problem, settings: Settings, chains: int, compiled: bool, seeds: int, levels: Sequence[int]
) -> TimeToError:
    """Seconds that one checkpoint alone takes to TARGET with this many chains; burn-in counted, compilation not."""
    llc, claimed, per_step = ours_estimates(problem, settings, chains, compiled, seeds, levels)
    spread = llc.std(0, ddof=1) / llc[:, -1].mean()
    draws = draws_for_target(levels, spread)
    own = draws_for_target(levels, claimed.mean(0) / llc[:, -1].mean())
    return TimeToError(
        f"ours, {'compiled' if compiled else 'eager'}, one checkpoint alone",
        chains,
        float(llc[:, -1].mean()),
        float(llc[:, -1].std(ddof=1) / math.sqrt(seeds)),
        draws,
        own,
        None if draws is None else (settings.burn_in + draws) * per_step,
        spread.tolist(),
        float(llc[:, -1].std(ddof=1) / np.sqrt((claimed[:, -1] ** 2).mean())),
        list(levels),
        "" if draws is None or draws <= max(levels) else "extrapolated beyond the longest run",
    )


def peer_time_to_se(
    python: str, problem: Problem, settings: Settings, rate: float, seeds: int, levels: Sequence[int], baseline: str
) -> TimeToError:
    """Do the same for the peer, four chains, at its measured rate; its llc/std is no standard error: no claim."""
    chains = 4
    llc = peer_estimates(python, problem, {**asdict(settings), "chains": chains, "baseline": baseline}, seeds, levels)
    means = llc.mean(2)
    spread = means.std(0, ddof=1) / means[:, -1].mean()
    draws = draws_for_target(levels, spread)
    own = llc[:, -1].std(1, ddof=1).mean()
    return TimeToError(
        f"peer, baseline {baseline}",
        chains,
        float(means[:, -1].mean()),
        float(means[:, -1].std(ddof=1) / math.sqrt(seeds)),
        draws,
        None,
        None if draws is None else chains * (settings.burn_in + draws) / rate,
        spread.tolist(),
        None,
        list(levels),
        f"at {levels[-1]} draws it reports llc/std {own:.2f}, its estimates spread by {means[:, -1].std(ddof=1):.2f}",
    )


def study_seconds(preset: str) -> tuple[float, int]:
    """Wall time of `ontogeny run superposition --preset PRESET` into a fresh folder, and its chain-steps."""
    import xarray as xr

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ontogeny", "run", "superposition", "--preset", preset, "--out", folder]
        begin = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - begin
        results = xr.open_zarr(Path(folder, "results.zarr"))
        a = results.attrs
        per_estimate = int(a["chains"]) * (int(a["draws"]) + int(a["burn_in"]))
        return seconds, results.sizes["seed"] * results.sizes["checkpoint"] * per_estimate


# --- the run ----------------------------------------------------------------------------------------------------------


def _show(entry: TimeToError) -> None:
    steps = "the spread does not fall" if entry.draws is None else f"{entry.draws:.0f} draws a chain"
    cost = "never" if entry.seconds is None else f"{entry.seconds:.2f} s"
    claim = "" if entry.draws_claimed is None else f"; by its own s.e. {entry.draws_claimed:.0f}"
    claim += "" if entry.spread_over_claim is None else f", spread {entry.spread_over_claim:.2f} × its own s.e."
    print(f"  {entry.who}, {entry.chains} chains: λ̂ {entry.llc:.3f} ± {entry.llc_se:.3f}; {cost} ({steps}{claim})")
    if entry.note:
        print(f"    {entry.note}")


def main(argv: list[str] | None = None) -> int:
    """Run the parts asked for and print them."""
    parser = argparse.ArgumentParser(description="Chain-steps per second and time to 2 % against devinterp 1.3.2.")
    parser.add_argument("--peer-python", required=True, help="a Python that has devinterp 1.3.2")
    parser.add_argument("--threads", type=int, default=1, help="threads of ours; the peer has one")
    parser.add_argument("--chains", type=int, nargs="+", default=[128, 320, 1024, 4096], help="sizes tried for ours")
    parser.add_argument("--seeds", type=int, default=16, help="seeds over which estimates spread")
    parser.add_argument("--rates-only", action="store_true", help="leave out the time to 2 %%")
    parser.add_argument("--study", metavar="PRESET", help="also run the whole study with this preset")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    args = parser.parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)  # before torch is imported
    import torch

    from ontogeny.sampling.chains import compiler_available

    torch.set_num_threads(args.threads)
    problem, settings = canonical()
    out: dict[str, Any] = {"settings": asdict(settings), "threads": args.threads, "torch": torch.__version__}
    print(f"settings: {asdict(settings)}; torch {torch.__version__}, {args.threads} thread(s) for ours, 1 for the peer")

    print("\nchain-steps per second")
    peer_rates = {}
    for loader in ("plain", "batched"):
        found = peer(args.peer_python, "rate", problem, {**asdict(settings), "loader": loader})
        out["peer_versions"], peer_rates[loader] = found["versions"], found["chain_steps_per_second"]
    print(f"  peer, usual loader (the yardstick): {peer_rates['plain']:,.0f}")
    print(f"  peer, batch fetched at once:        {peer_rates['batched']:,.0f}")
    ours = {}
    for name, compiled in (("eager", False), ("compiled", True)):
        if compiled and not compiler_available():
            print("  ours, compiled: left out, no C++ compiler was found")
            continue
        rates = {k: ours_chain_steps_per_second(problem, settings, k, compiled) for k in args.chains}
        best = max(rates, key=rates.__getitem__)
        ours[name] = rates[best]
        out[f"ours_{name}_by_chains"] = rates
        print(f"  ours, {name}: {rates[best]:,.0f} at {best} chains = ", end="")
        print(f"{rates[best] / peer_rates['plain']:.0f} × the peer, ", end="")
        print(f"{rates[best] / peer_rates['batched']:.0f} × with its batch fetched at once ", end="")
        print(f"({', '.join(f'{k} chains: {r:,.0f}' for k, r in rates.items())})")
    out["peer_chain_steps_per_second"], out["ours_chain_steps_per_second"] = peer_rates, ours

    if not args.rates_only:
        doubt = 2 / math.sqrt(2 * (args.seeds - 1))
        print(f"\ntime to a standard error of {TARGET:.0%} of λ̂, by spread over {args.seeds} seeds (± {doubt:.0%})")
        fast = "compiled" in ours
        entries = [
            ours_time_to_se(problem, settings, 4, fast, args.seeds, LEVELS),
            ours_time_to_se(problem, settings, 64, fast, args.seeds, [d // 8 for d in LEVELS]),
            peer_time_to_se(args.peer_python, problem, settings, peer_rates["plain"], args.seeds, LEVELS, "full"),
            peer_time_to_se(
                args.peer_python, problem, settings, peer_rates["plain"], args.seeds, LEVELS[:5], "default"
            ),
        ]
        for entry in entries:
            _show(entry)
        public = out["estimate_llc"] = ours_public_call(problem, settings)
        print("  og.estimate_llc from start to end, {chains} chains × {draws} draws: ".format(**public), end="")
        print("λ̂ {llc:.3f} ± {llc_se:.3f} ({status}), {seconds:.2f} s".format(**public))
        four, full = entries[0], entries[2]
        if four.draws is not None and full.seconds is not None:
            many = four.chains * (settings.burn_in + four.draws) / max(ours.values())
            least = min(e.seconds for e in entries[:2] if e.seconds is not None)
            out["ours_seconds_to_target_among_many"] = many
            print(f"  ours, one of many checkpoints stepped together, 4 chains each: {many:.3f} s a checkpoint")
            print(
                f"  ratio to the peer with the full baseline: {full.seconds / least:.0f} × alone, "
                f"{full.seconds / many:.0f} × among many; its batch fetched at once would divide both by "
                f"{peer_rates['batched'] / peer_rates['plain']:.1f}"
            )
        out["time_to_target"] = [entry._asdict() for entry in entries]
        apart = abs(four.llc - full.llc) / math.hypot(four.llc_se, full.llc_se)
        print(f"  λ̂ of the two sides is {apart:.1f} standard errors apart")
        if apart > 5:
            raise SystemExit("the two sides do not agree on λ̂, so their times are not comparable.")

    if args.study:
        seconds, chain_steps = study_seconds(args.study)
        at_peer = {name: chain_steps / rate for name, rate in peer_rates.items()}
        out["study"] = {"preset": args.study, "seconds": seconds, "chain_steps": chain_steps, "peer_seconds": at_peer}
        print(f"\nwhole study, preset {args.study}: {seconds:.0f} s with training, analysis and report")
        print(
            f"  the peer for its {chain_steps:,} chain-steps alone: {at_peer['plain'] / 60:.0f} min "
            f"({at_peer['plain'] / seconds:.0f} ×), batch fetched at once {at_peer['batched'] / 60:.0f} min "
            f"({at_peer['batched'] / seconds:.0f} ×)"
        )
    if args.json:
        args.json.write_text(json.dumps(out, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
