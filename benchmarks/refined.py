"""Refined LLCs of one head of a language model: ontogeny against devinterp 2.0.1, in one run on one machine.

    python benchmarks/refined.py --peer-python PATH --cache FOLDER [--only first|second] [--models two-layer,gpt2]

PATH is a Python that has the peer (`pip install devinterp==2.0.1 transformers datasets`, an environment of its own).
Two models are trained a little and kept in FOLDER: the two-layer attention-only transformer (width 256, 8 heads,
context 128, vocabulary 5000), heads 0:0 and 1:7, and a 12-layer GPT-2 (width 64, 4 heads, vocabulary 512), heads 0:0
and 11:3. Both sides sample the same weights on the same 512 rows of 128 tokens: nβ = 30, γ = 200, 4 chains, batches of
4 rows, and ours in two ways, with the peer's kernel and step (sgld, ε = 1e-3), and with our default kernel (in the
first part at the same ε and burn-in, in the second with step and burn-in by rule).

- first: milliseconds per chain-step, the slope between calls of 10 and of 100 draws a chain: all that a step costs and
  nothing that a call costs once; the whole call of 4 × 100 beside it. The peer as it is called by default (its loss on
  3 batches of an observable after each draw) and at its bare minimum (no observable). The least of --rounds, the sides
  taking turns.
- second: seconds of a call to a standard error of 2 % of λ̂. Every side at doubling lengths, each with --seeds seeds,
  until the spread of λ̂ over the seeds is 2 % of its mean, or until it would have had more than --cap-seconds; from
  there by 1/√t, what a call costs once left out of the scaling. The peer has the baseline on the very batches of its
  draws, so that it can get there; all that ours spends on preparation, burn-in and checks counts. λ̂'s bias is against
  one long run of ours, and with it comes the time to a root-mean-square error of 2 %: the peer averages its way from
  w* to the posterior into λ̂, so a short run of it has a small spread about a wrong value.

Not counted on either side: imports, loading the model, building the data set. A spread over 6 seeds is known to ± 32 %.

Expected on two idle cores, in minutes: making the models 3, once; first: two-layer 9, GPT-2 4; second: for each of the
four heads at most --cap-seconds of the peer, and 1 to 2 of ours, more where a call costs much once. With --quick, tiny
sizes and counts to see that it runs (its figures mean nothing): 3 for a model.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from refined_models import MODELS, Bundle, bundle

N_BETA, LOCALIZATION, STEP_SIZE, BATCH, CHAINS = 30.0, 200.0, 1e-3, 4, 4
TARGET = 0.02
SHORTEST = {"devinterp": 25, "ontogeny, sgld": 5, "ontogeny, by rule": 5}
"""Draws a chain to begin with. The peer's chains need some 20 steps to leave w*, which it averages in."""
SGLD = {"kernel": "sgld", "step_size": STEP_SIZE, "burn_in": 25}
"""The peer's step. Burn-in: the flattest direction comes closer by 1 - εγ/2 a step, so L(w) by 0.9⁵⁰ = 0.5 % in 25."""
REFERENCE_SEED = 1_000_000
PEER = Path(__file__).with_name("refined_peer.py")
SOURCE = Path(__file__).resolve().parents[1] / "src"


class Estimate(NamedTuple):
    """One call."""

    llc: float
    reported: float  # our standard error; the peer's spread between chains
    seconds: float


class Peer:
    """devinterp in its own interpreter, waiting for requests."""

    def __init__(self, python: str, cache: Path, threads: int) -> None:
        self.log = cache / "peer.log"
        self._errors = self.log.open("w")
        self._process = subprocess.Popen(
            [python, str(PEER), "--cache", str(cache), "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": str(SOURCE)},
        )
        self.versions = self._answer()

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to one request."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def estimate(self, model: Bundle, component: str, draws: int, seed: int = 0, **more: Any) -> Estimate:
        """One call of `llc` with the benchmark's settings."""
        settings = {"n_beta": N_BETA, "localization": LOCALIZATION, "step_size": STEP_SIZE, "batch_size": BATCH}
        request = {"model": model.folder.name, "component": component, "draws": draws, "seed": seed, "chains": CHAINS}
        return Estimate(**self.ask(**request, **settings, **more))

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "it ended without an answer"}
        if "error" in answer:
            raise SystemExit(f"the peer's side failed: {answer['error']} (see {self.log})")
        return answer


def ours(model: Bundle, component: str, draws: int, seed: int = 0, **more: Any) -> Estimate:
    """One call of `og.estimate_llc` with the benchmark's settings."""
    import ontogeny as og
    from ontogeny.inputs.language_losses import NextToken

    began = time.perf_counter()
    found = og.estimate_llc(
        model.model,
        model.rows,
        NextToken(),
        component,
        n_beta=N_BETA,
        localization=LOCALIZATION,
        batch_size=BATCH,
        chains=CHAINS,
        draws=draws,
        seed=seed,
        progress=False,
        **more,
    )
    llc, error = float(found["llc"]), float(found["llc_se"])
    return Estimate(llc, error, time.perf_counter() - began)


def check_same(model: Bundle, peer: Peer) -> None:
    """Stop if the two sides do not have the same model and rows."""
    from ontogeny.inputs.language_losses import NextToken

    with torch.no_grad():
        here = float(torch.cat([NextToken()(model.model, part) for part in model.rows.split(16)]).mean())
    there = peer.ask(model=model.folder.name)["loss"]
    if not abs(here - there) < 1e-4:
        raise SystemExit(f"{model.name}: the loss over all rows is {here:.6f} here and {there:.6f} at the peer's.")
    print(f"\n{model.name}: loss {here:.4f} over {len(model.rows)} rows of {model.rows.shape[1]} tokens", flush=True)


# --- milliseconds per chain-step --------------------------------------------------------------------------------------

Way = Callable[[int], Estimate]


def ways(model: Bundle, component: str, peer: Peer) -> dict[str, Way]:
    """How the head is sampled; each maps draws a chain to one call. Ours has a fixed burn-in, which the slope drops."""
    return {
        "devinterp, default": lambda draws: peer.estimate(model, component, draws, observables=True),
        "devinterp, bare": lambda draws: peer.estimate(model, component, draws),
        "ontogeny, sgld": lambda draws: ours(model, component, draws, **SGLD),
        "ontogeny, baoab": lambda draws: ours(model, component, draws, **{**SGLD, "kernel": "baoab"}),
    }


def first(models: list[Bundle], peer: Peer, rounds: int, few: int, many: int) -> list[dict[str, Any]]:
    """Milliseconds per chain-step of every way and head, printed as they come."""
    print(
        f"\n| model, head | way | ms a chain-step | {CHAINS} × {many} draws, s | once a call, s | default ÷ | bare ÷ |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    out = []
    for model in models:
        for component in model.components:
            calls = ways(model, component, peer)
            for way in calls.values():
                way(few)  # first calls
            times = {name: {few: math.inf, many: math.inf} for name in calls}
            for _ in range(rounds):
                for draws in (few, many):
                    for name, way in calls.items():
                        times[name][draws] = min(times[name][draws], way(draws).seconds)
            steps = {name: (t[many] - t[few]) / (CHAINS * (many - few)) for name, t in times.items()}
            for name, t in times.items():
                own = steps[name]
                ratios = [f"{steps[other] / own:.2f}" for other in ("devinterp, default", "devinterp, bare")]
                once = t[few] - CHAINS * few * own
                print(
                    f"| {model.name}, {component} | {name} | {1e3 * own:.2f} | {t[many]:.2f} | {once:.2f} "
                    f"| {' | '.join(ratios)} |",
                    flush=True,
                )
                row = {"model": model.name, "component": component, "way": name, "ms": 1e3 * own}
                out.append({**row, "call_seconds": t[many], "once_seconds": once})
    return out


# --- seconds to a standard error of 2 % -------------------------------------------------------------------------------


class Level(NamedTuple):
    """Estimates with different seeds at one length; relative figures are to the reference."""

    draws: int
    seconds: float  # of a call, in the median
    llc: float
    spread: float  # standard deviation over seeds, ddof 1, relative to the mean
    bias: float
    reported: float  # what the tool says of its own error, relative to the mean

    @property
    def rms(self) -> float:
        """Relative root-mean-square error."""
        return math.hypot(self.spread, self.bias)


def level(draws: int, found: list[Estimate], reference: float) -> Level:
    """Reduce the estimates of one length."""
    values = np.array([one.llc for one in found])
    mean = float(values.mean())
    spread, reported = float(values.std(ddof=1)) / abs(mean), float(np.mean([one.reported for one in found]))
    seconds = float(np.median([one.seconds for one in found]))
    return Level(draws, seconds, mean, spread, mean / reference - 1, reported / abs(mean))


def seconds_to_target(levels: list[Level], once: float) -> tuple[float, str]:
    """Seconds of a call until the spread is 2 %, and how they were found.

    A call of T seconds, `once` of them whatever its length, with spread s: once + (T - once)·(s/0.02)², the mean over
    the last two lengths, since stopping at the first small spread picks a lucky one.
    """
    last = levels[-1]
    if len(levels) == 1 and last.spread <= TARGET:
        return last.seconds, "at most"
    scaled = once + float(np.mean([max(one.seconds - once, 0.0) * (one.spread / TARGET) ** 2 for one in levels[-2:]]))
    return max(scaled, levels[0].seconds), "interpolated" if last.spread <= TARGET else "extrapolated"


def within_rms(levels: list[Level]) -> str:
    """Seconds of the first length with a root-mean-square error, bias included, of 2 %."""
    reached = [one.seconds for one in levels if one.rms <= TARGET]
    return f"{reached[0]:.3g}" if reached else "not reached"


def second(models: list[Bundle], peer: Peer, seeds: int, cap: float, reference_draws: int) -> list[dict[str, Any]]:
    """Every tool at doubling lengths for every head."""
    out = []
    for model in models:
        for component in model.components:
            long = ours(model, component, reference_draws, REFERENCE_SEED)
            print(
                f"\n{model.name}, {component}: reference {long.llc:.5g} ± {long.reported:.2g}, {CHAINS} × "
                f"{reference_draws} draws in {long.seconds:.0f} s",
                flush=True,
            )
            ladders = climb(model, component, peer, seeds, cap, long.llc)
            report(ladders)
            row = {"model": model.name, "component": component, "reference": long._asdict()}
            out.append({**row, **{tool: [one._asdict() for one in ladders[tool][0]] for tool in ladders}})
    return out


def climb(
    model: Bundle, component: str, peer: Peer, seeds: int, cap: float, reference: float
) -> dict[str, tuple[list[Level], float]]:
    """Levels of every tool, seed by seed in turn, and the seconds that a call costs once."""
    batches = len(model.rows) // BATCH

    def theirs(draws: int, seed: int) -> Estimate:
        return peer.estimate(model, component, draws, 100 * (seed + 1), baseline_batches=min(draws, batches))

    calls: dict[str, Callable[[int, int], Estimate]] = {
        "devinterp": theirs,
        "ontogeny, sgld": lambda draws, seed: ours(model, component, draws, seed, **SGLD),
        "ontogeny, by rule": lambda draws, seed: ours(model, component, draws, seed),
    }
    once = {tool: min(call(2, seed).seconds for seed in range(2)) for tool, call in calls.items()}
    levels: dict[str, list[Level]] = {tool: [] for tool in calls}
    spent = dict.fromkeys(calls, 0.0)
    while True:
        active = [tool for tool in calls if _goes_on(levels[tool], spent[tool], cap, seeds)]
        if not active:
            return {tool: (levels[tool], once[tool]) for tool in calls}
        found: dict[str, list[Estimate]] = {tool: [] for tool in active}
        draws = {tool: SHORTEST[tool] * 2 ** len(levels[tool]) for tool in active}
        for seed in range(seeds):
            for tool in active:
                found[tool].append(calls[tool](draws[tool], seed))
        for tool in active:
            levels[tool].append(level(draws[tool], found[tool], reference))
            spent[tool] += sum(one.seconds for one in found[tool])


def _goes_on(levels: list[Level], spent: float, cap: float, seeds: int) -> bool:
    """Whether the target is not reached, and the next length would not take the tool beyond its seconds."""
    return not levels or (levels[-1].spread > TARGET and spent + 2 * levels[-1].seconds * seeds <= cap)


def report(ladders: dict[str, tuple[list[Level], float]]) -> None:
    """Print every length, then the seconds to 2 %."""
    print("\n| tool | draws a chain | seconds a call | λ̂ | bias | spread | reported |\n|---|---|---|---|---|---|---|")
    for tool, (levels, _) in ladders.items():
        for one in levels:
            print(
                f"| {tool} | {one.draws} | {one.seconds:.3g} | {one.llc:.5g} | {one.bias:+.1%} | {one.spread:.2%} "
                f"| {one.reported:.1%} |"
            )
    print("\n| tool | once a call, s | seconds to a spread of 2 % | found | peer's ÷ | seconds to 2 % with the bias |")
    print("|---|---|---|---|---|---|")
    reached = {tool: seconds_to_target(*ladder) for tool, ladder in ladders.items()}
    for tool, (seconds, how) in reached.items():
        levels, once = ladders[tool]
        ratio = reached["devinterp"][0] / seconds
        print(f"| {tool} | {once:.3g} | {seconds:.3g} | {how} | {ratio:.3g} | {within_rms(levels)} |", flush=True)


def main() -> None:
    """Make the models if need be, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="a Python that has devinterp 2.0.1")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the trained models")
    parser.add_argument("--only", choices=("first", "second"))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--heads", help="only these of the four heads, as 1:7,11:3")
    parser.add_argument("--threads", type=int, default=2, help="of torch, on both sides")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--cap-seconds", type=float, default=240, help="of each tool for one head, all seeds together")
    parser.add_argument("--reference-draws", type=int, default=400)
    parser.add_argument("--quick", action="store_true", help="tiny sizes and counts, to see that it runs")
    parser.add_argument("--json", type=Path, help="where to write the figures too")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seeds, arguments.cap_seconds, arguments.reference_draws = 1, 2, 20, 40
    names = arguments.models.split(",")
    if not set(names) <= set(MODELS):
        raise SystemExit(f"--models must be among {','.join(MODELS)}; got {arguments.models}.")
    torch.set_num_threads(arguments.threads)
    arguments.cache.mkdir(parents=True, exist_ok=True)
    models = [bundle(name, arguments.cache, arguments.quick) for name in names]
    if arguments.heads:
        wanted = arguments.heads.split(",")
        models = [replace(model, components=tuple(c for c in model.components if c in wanted)) for model in models]
    peer, out = Peer(arguments.peer_python, arguments.cache, arguments.threads), {}
    versions = ", ".join(f"{name} {version}" for name, version in peer.versions.items())
    print(f"{versions}; {arguments.threads} threads; nβ = {N_BETA:g}, γ = {LOCALIZATION:g}", flush=True)
    began = time.perf_counter()
    for model in models:
        check_same(model, peer)
    if arguments.only != "second":
        few, many = (5, 40) if arguments.quick else (10, 100)
        out["first"] = first(models, peer, arguments.rounds, few, many)
    if arguments.only != "first":
        out["second"] = second(models, peer, arguments.seeds, arguments.cap_seconds, arguments.reference_draws)
    peer.close()
    print(f"\n{time.perf_counter() - began:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps({"versions": peer.versions, **out}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
