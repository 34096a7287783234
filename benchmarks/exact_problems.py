"""Ontogeny against devinterp 1.3.2 and 2.0.1 on ten problems whose λ̂(nβ, γ) is known, at 20,000 gradient evaluations.

    python benchmarks/exact_problems.py --peer-python PATH --peer2-python PATH [--json FILE]
    python benchmarks/exact_problems.py --peers FILE

The two PATHs are Pythons that have devinterp 1.3.2 and devinterp 2.0.1; the FILE of an earlier run spares theirs, which
take most of the time. Everything is at (nβ, γ) = (1000, 1), full
batch, one thread; the ten problems were chosen before anything was run. A table in Markdown is printed.

- The peers: 4 chains, 20,000 gradient evaluations with burn-in, the exact L(w*) as baseline. Sampler (SGLD, or
  RMSprop-SGLD as it comes), step size (from 16, three a decade) and burn-in (a quarter, a third or a half of a chain)
  are, for each problem, those with the smallest median error against the exact value over 32 simulated repetitions of
  the peer's own algorithm (`simulated`): better than any user could choose, since a user does not know the exact value.
- Ours: `og.estimate_llc` with max_draws = 20,000 and everything else left to its rules; and once with its own budget.

"Error" is the median over the seeds of |estimate/exact - 1|; what it should be for the peer, by the simulation, stands
in brackets. "Reported" is the median of what each side gives as its own error, relative to the exact value: a standard
error with us, the spread between chains with the peer. Seconds are the median of a call, start-up left out.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import ontogeny as og
from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.validation.problems import problem
from peer_exact_problems import LOSSES

PEER = Path(__file__).with_name("peer_exact_problems.py")
N_BETA, LOCALIZATION = 1000.0, 1.0
EVALUATIONS, CHAINS = 20_000, 4
STEPS = EVALUATIONS // CHAINS
STEP_SIZES = [10 ** (-7 + i / 3) for i in range(16)]
SAMPLERS = ("sgld", "rmsprop_sgld")
RMSPROP_EPS, RMSPROP_ALPHA = 0.1, 0.99  # the peer's defaults
REPETITIONS = 32
BURN_IN = {"1.3.2": (STEPS // 4, STEPS // 3, STEPS // 2), "2.0.1": (0,)}  # 2.0.1 averages burn-in in


# --- the peer's settings ----------------------------------------------------------------------------------------------


def simulated(name: str, sampler: str) -> Tensor:
    """nβ(L - L(w*)) of the peer's algorithm, shape (steps, step sizes, repetitions), averaged over its four chains."""
    loss, w_star = LOSSES[name]
    center, stream = torch.tensor(w_star), generator(0, "peer", name, sampler)
    epsilon = torch.tensor(STEP_SIZES)[:, None, None, None]
    w = center.expand(len(STEP_SIZES), REPETITIONS, CHAINS, len(w_star)).clone()
    square, baseline, out = torch.zeros_like(w), loss(center), []
    for _ in range(STEPS):
        w.requires_grad_()
        losses = loss(w)
        (gradient,) = torch.autograd.grad(losses.sum(), w)
        with torch.no_grad():
            out.append((N_BETA * (losses - baseline)).mean(-1))
            metric = torch.ones(())
            if sampler == "rmsprop_sgld":
                square = RMSPROP_ALPHA * square + (1 - RMSPROP_ALPHA) * gradient.square()
                metric = 1 / (square.sqrt() + RMSPROP_EPS)
            drift = N_BETA * gradient + LOCALIZATION * (w - center)
            noise = torch.randn(w.shape, generator=stream)
            w = w - 0.5 * epsilon * metric * drift + (epsilon * metric).sqrt() * noise
    return torch.stack(out)


class Choice(NamedTuple):
    """The settings with the smallest error, and that error."""

    settings: dict[str, Any]
    error: float


def best_settings(name: str, exact: float) -> dict[str, Choice]:
    """For each version of the peer, by the smallest median |error| over the simulated repetitions."""
    found: dict[str, list[Choice]] = {version: [] for version in BURN_IN}
    for sampler in SAMPLERS:
        excess = simulated(name, sampler).double()
        for version, burn_ins in BURN_IN.items():
            for burn_in in burn_ins:
                errors = (excess[burn_in:].mean(0) / exact - 1).abs().nan_to_num(nan=math.inf).median(-1).values
                for step_size, error in zip(STEP_SIZES, errors.tolist(), strict=True):
                    fields = {"n_beta": N_BETA, "localization": LOCALIZATION, "step_size": step_size}
                    fields |= {"sampler": sampler, "burn_in": burn_in, "draws": STEPS - burn_in, "chains": CHAINS}
                    found[version].append(Choice(fields, error))
    return {version: min(choices, key=lambda choice: choice.error) for version, choices in found.items()}


# --- both sides -------------------------------------------------------------------------------------------------------


def peer(python: str, version: str, settings: dict[str, dict[str, Any]], seeds: int) -> list[dict[str, Any]]:
    """Run the peer's side in its own interpreter, one thread, and return its estimates."""
    command = [python, str(PEER), "--settings", json.dumps(settings), "--seeds", *map(str, range(seeds))]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"the peer's side failed: {done.stderr.strip() or done.returncode}")
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if {row["version"] for row in rows} != {version}:
        raise SystemExit(f"devinterp {version} was asked for; {python} has {rows[0]['version']}.")
    return rows


def ours(name: str, seed: int, max_draws: int | None, **more: Any) -> dict[str, Any]:
    """One call with nothing chosen but (nβ, γ); with `max_draws`, all of it is used."""
    potential, start = problem(name).potential, time.perf_counter()
    target = None if max_draws is None else 1e-6
    row: dict[str, Any] = {"problem": name, "seed": seed}
    try:
        found = og.estimate_llc(
            potential,
            n_beta=N_BETA,
            localization=LOCALIZATION,
            max_draws=max_draws,
            target_se=target,
            seed=seed,
            progress=False,
            **more,
        )
    except (OntogenyError, ValueError) as error:
        return row | {"llc": math.nan, "reported": math.nan, "seconds": math.nan, "failed": str(error)}
    row |= {"llc": float(found.llc), "reported": float(found.llc_se), "seconds": time.perf_counter() - start}
    words = {"status": found.status.item(), "evaluations": found.attrs["gradient_evaluations"]}
    return row | words | {"chains": int(found.attrs["chains"])}


# --- the table --------------------------------------------------------------------------------------------------------


def _median(values: Sequence[float]) -> float:
    ordered = sorted(value if value is not None and math.isfinite(value) else math.inf for value in values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else 0.5 * (ordered[half - 1] + ordered[half])


def _figure(value: float) -> str:
    return f"{100 * value:.2g} %" if math.isfinite(value) and value < 0.0995 else f"{100 * value:.0f} %"


def cell(rows: list[dict[str, Any]], exact: float, expected: float | None = None) -> str:
    """Error, reported error and seconds of one side on one problem."""
    error = _figure(_median([abs(row["llc"] / exact - 1) if row["llc"] is not None else math.inf for row in rows]))
    bracket = "" if expected is None else f" ({_figure(expected)})"
    reported = _figure(_median([row["reported"] for row in rows]) / exact)
    return f"{error}{bracket} | {reported} | {_median([row['seconds'] for row in rows]):.2g}"


def main(argv: list[str] | None = None) -> int:
    """Choose the peers' settings, run all sides, print the table."""
    parser = argparse.ArgumentParser(description="Ontogeny against devinterp on ten exact problems.")
    parser.add_argument("--peer-python", help="a Python that has devinterp 1.3.2")
    parser.add_argument("--peer2-python", help="a Python that has devinterp 2.0.1")
    parser.add_argument("--peers", type=Path, help="what --json wrote, to take the peers' estimates from")
    parser.add_argument("--seeds", type=int, default=3, help="of the peers, and of ours with its own budget")
    parser.add_argument("--our-seeds", type=int, default=9, help="of ours at 20,000 gradient evaluations")
    parser.add_argument("--json", type=Path, help="where to write every single estimate")
    args = parser.parse_args(argv)
    if not args.peers and not (args.peer_python and args.peer2_python):
        parser.error("give --peer-python and --peer2-python, or --peers")
    torch.set_num_threads(1)
    exact = {name: problem(name).exact(N_BETA, LOCALIZATION) for name in LOSSES}
    for name, (loss, w_star) in LOSSES.items():
        potential, center = problem(name).potential, torch.tensor(w_star)
        w = center + torch.randn(50, len(w_star), generator=generator(0, name))
        torch.testing.assert_close(loss(w), potential.function(w))
        assert torch.equal(potential.w_star, center)

    if args.peers:
        earlier = json.loads(args.peers.read_text())
        peers = earlier["peers"]
        chosen = {name: {v: Choice(*one) for v, one in by.items()} for name, by in earlier["settings"].items()}
    else:
        chosen = {name: best_settings(name, exact[name]) for name in LOSSES}
        versions = {"1.3.2": args.peer_python, "2.0.1": args.peer2_python}
        peers = {
            v: peer(python, v, {n: chosen[n][v].settings for n in LOSSES}, args.seeds) for v, python in versions.items()
        }
    record: dict[str, Any] = {"exact": exact, "peers": peers}
    record["settings"] = {name: {v: [*choice] for v, choice in by.items()} for name, by in chosen.items()}
    if args.json:
        args.json.write_text(json.dumps(record))  # the peers take longest
    ours("quadratic", 0, 2000)  # imports and first calls
    few = [ours(name, seed, EVALUATIONS) for name in LOSSES for seed in range(args.our_seeds)]
    own = [ours(name, seed, None) for name in LOSSES for seed in range(args.seeds)]

    def of(rows: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
        return [row for row in rows if row["problem"] == name]

    sides = ("ontogeny", "devinterp 1.3.2", "devinterp 2.0.1", "ontogeny, own budget")
    print("| problem | exact |" + "".join(f" {side}: error | reported | seconds |" for side in sides))
    print("|---|---|" + "---|---|---|" * len(sides))
    for name in LOSSES:
        cells = [cell(of(few, name), exact[name])]
        cells += [cell(of(rows, name), exact[name], chosen[name][v].error) for v, rows in peers.items()]
        cells += [cell(of(own, name), exact[name])]
        print(f"| {name} | {exact[name]:.4f} | " + " | ".join(cells) + " |")
    print(
        "\n| problem | the peer's best settings: 1.3.2 | 2.0.1 | ours: chains, words | own budget: evaluations, words |"
    )
    print("|---|---|---|---|---|")
    for name in LOSSES:
        words = []
        for version in peers:
            fields = chosen[name][version].settings
            words.append(f"{fields['sampler']}, ε = {fields['step_size']:.2g}, burn-in {fields['burn_in']}")
        for rows, key in ((of(few, name), "chains"), (of(own, name), "evaluations")):
            words.append(f"{rows[0].get(key)}; " + ", ".join(sorted({row.get("status", "failed") for row in rows})))
        print(f"| {name} | " + " | ".join(words) + " |")
    if args.json:
        args.json.write_text(json.dumps(record | {"few": few, "own": own}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
