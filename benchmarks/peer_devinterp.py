"""The peer's side of the superposition benchmark: devinterp 1.3.2 sampling x̂ = ReLU(WᵀWx + b).

Runs on its own in whatever interpreter has the peer (pip install devinterp==1.3.2; torch >= 2.0.1 comes first):

    python benchmarks/peer_devinterp.py rate     --weights w.npz --data d.npz --settings s.json --json
    python benchmarks/peer_devinterp.py estimate --weights w.npz --data d.npz --settings s.json --json --seeds 0 1 2
    python benchmarks/peer_devinterp.py levels   --weights w.npz --data d.npz --settings s.json --draws-at 100 1000

`w.npz` holds W (hidden, features), b (features,) and importance (features,); `d.npz` holds x (examples, features);
`s.json` holds the fields of `Settings`, or stands on the command line as JSON text.

Conventions, read in its source (optim/sgld.py, slt/llc.py, backends/default/slt/sampler.py): one step is
w ← w − (lr/2)(nβ∇L_B + γ(w − w*)) + √lr ξ, the loss is recorded before the step on the step's own batch, burn-in is
dropped, and λ̂ = nβ(mean recorded loss − init_loss). `llc/std` is the spread between chains, not a standard error.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MISSING = (
    "devinterp is not installed in this interpreter ({python}); install it with `pip install devinterp==1.3.2`, "
    "or name an interpreter that has it with --peer-python PATH."
)


class PeerError(RuntimeError):
    """The peer cannot run as asked; one plain sentence."""


@dataclass(frozen=True)
class Settings:
    """What is sampled and how; the peer's names in brackets.

    `loader`: "plain" is a DataLoader over a TensorDataset, as in the peer's own examples; "batched" fetches each batch
    with one indexing operation, which is the peer at its fastest.
    `baseline`: "default" is the peer's own (as many batches as chains, other ones than it samples on, no seed);
    "full" hands it the loss over all examples, which it also accepts (`init_loss`).
    """

    n_beta: float  # [nbeta]
    localization: float  # [localization], 1/weight²
    step_size: float  # [lr]
    batch_size: int = 300
    chains: int = 4  # [num_chains]
    draws: int = 1000  # [num_draws], a chain
    burn_in: int = 0  # [num_burnin_steps], steps a chain
    steps_between_draws: int = 1  # [num_steps_bw_draws]
    threads: int = 1
    loader: str = "plain"
    baseline: str = "full"

    def __post_init__(self) -> None:
        """Refuse words and counts that the peer would silently accept."""
        for name, allowed in (("loader", ("plain", "batched")), ("baseline", ("default", "full"))):
            if getattr(self, name) not in allowed:
                raise PeerError(f"{name} must be one of {', '.join(allowed)}; got {getattr(self, name)!r}.")
        for name in ("batch_size", "chains", "draws", "steps_between_draws", "threads"):
            if getattr(self, name) < 1:
                raise PeerError(f"{name} must be at least 1; got {getattr(self, name)}.")


class Run(NamedTuple):
    """One call of the peer."""

    llc: float
    reported_std: float  # the peer's llc/std: between chains, NaN for one chain
    seconds: float  # wall time of the call, model and loader already built
    losses: np.ndarray  # (chains, draws)
    baseline: float


def _devinterp() -> tuple[Any, Any]:
    try:
        from devinterp.optim.sgld import SGLD
        from devinterp.slt.sampler import estimate_learning_coeff_with_summary
    except ImportError as error:
        raise PeerError(MISSING.format(python=sys.executable)) from error
    return SGLD, estimate_learning_coeff_with_summary


def _model(weights: Mapping[str, np.ndarray]) -> Any:
    import torch

    class Superposition(torch.nn.Module):
        """x̂ = ReLU(WᵀWx + b)."""

        def __init__(self) -> None:
            super().__init__()
            self.W = torch.nn.Parameter(torch.tensor(weights["W"], dtype=torch.float32))
            self.b = torch.nn.Parameter(torch.tensor(weights["b"], dtype=torch.float32))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x @ self.W.T @ self.W + self.b)

    return Superposition()


def _loader(data: np.ndarray, settings: Settings) -> Any:
    import torch
    from torch.utils.data import DataLoader, Dataset, TensorDataset

    x = torch.tensor(data, dtype=torch.float32)
    if settings.loader == "plain":
        return DataLoader(TensorDataset(x), batch_size=settings.batch_size, shuffle=True)

    class Batched(Dataset):
        def __len__(self) -> int:
            return len(x)

        def __getitems__(self, index: list[int]) -> tuple[torch.Tensor]:
            return (x[torch.tensor(index)],)

    return DataLoader(Batched(), batch_size=settings.batch_size, shuffle=True, collate_fn=lambda batch: batch)


def _run(weights: Mapping[str, np.ndarray], data: np.ndarray, settings: Settings, seed: int) -> Run:
    sgld, summary = _devinterp()
    import torch

    torch.set_num_threads(settings.threads)
    torch.manual_seed(seed)  # the peer's default baseline draws its batches from the global stream, unseeded
    importance = torch.tensor(weights["importance"], dtype=torch.float32)
    model, loader = _model(weights), _loader(data, settings)

    def evaluate(model: Any, batch: Any) -> torch.Tensor:
        x = batch[0]
        return (importance * (model(x) - x) ** 2).sum(1).mean()

    baseline = None
    if settings.baseline == "full":
        with torch.no_grad():
            baseline = evaluate(model, (torch.tensor(data, dtype=torch.float32),)).item()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns on every path, whatever the settings
        start = time.perf_counter()
        result = summary(
            model,
            loader,
            evaluate=evaluate,
            sampling_method=sgld,  # its default, and faster than the SGMCMC class that is to replace it
            optimizer_kwargs={
                "lr": settings.step_size,
                "nbeta": settings.n_beta,
                "localization": settings.localization,
            },
            num_draws=settings.draws,
            num_chains=settings.chains,
            num_burnin_steps=settings.burn_in,
            num_steps_bw_draws=settings.steps_between_draws,
            init_loss=baseline,
            cores=1,
            seed=seed,
            verbose=False,
        )
        seconds = time.perf_counter() - start
    losses = np.asarray(result["loss/trace"], dtype=np.float64)
    if baseline is None:  # it does not say which baseline it used, so solve λ̂ = nβ(mean loss − baseline)
        baseline = float(losses.mean() - result["llc/mean"] / settings.n_beta)
    return Run(float(result["llc/mean"]), float(result["llc/std"]), seconds, losses, baseline)


def chain_steps_per_second(
    weights: Mapping[str, np.ndarray],
    data: np.ndarray,
    settings: Settings,
    steps: tuple[int, int] = (200, 1700),
    repeats: int = 3,
) -> float:
    """Chain-steps per second: (T2 − T1) over (time of T2 draws − time of T1 draws), one chain, start-up left out.

    Each time is the least of `repeats`, so that another process on the machine counts as little as possible against it.
    """
    one = replace(settings, chains=1, burn_in=0, steps_between_draws=1)
    _run(weights, data, replace(one, draws=20), seed=0)
    few, many = (
        min(_run(weights, data, replace(one, draws=draws), seed=repeat).seconds for repeat in range(repeats))
        for draws in steps
    )
    return (steps[1] - steps[0]) / (many - few)


def estimate(
    weights: Mapping[str, np.ndarray], data: np.ndarray, settings: Settings, seed: int
) -> tuple[float, float, float]:
    """One estimate as a user of the peer gets it: (λ̂, its `llc/std`, seconds)."""
    run = _run(weights, data, settings, seed)
    return run.llc, run.reported_std, run.seconds


def estimates_at(
    weights: Mapping[str, np.ndarray], data: np.ndarray, settings: Settings, seed: int, draws_at: list[int]
) -> dict[str, Any]:
    """Reduce one run to what the peer would have said with fewer draws: λ̂ of each chain after each of `draws_at`.

    A shorter run with the same seed draws the same batches and noise, so its estimate is the mean over a prefix.
    """
    run = _run(weights, data, replace(settings, draws=max(draws_at)), seed)
    per_chain = [(settings.n_beta * (run.losses[:, :d].mean(1) - run.baseline)).tolist() for d in draws_at]
    return {"llc_per_chain": per_chain, "seconds": run.seconds, "baseline": run.baseline}


def versions() -> dict[str, str]:
    """Name the versions measured, to stand beside the figures."""
    _devinterp()
    return {name: metadata.version(name) for name in ("devinterp", "torch", "numpy")}


def _parse_settings(text: str) -> Settings:
    raw = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text())
    unknown = set(raw) - set(Settings.__dataclass_fields__)
    if unknown:
        known = ", ".join(Settings.__dataclass_fields__)
        raise PeerError(f"settings hold the unknown names {', '.join(sorted(unknown))}; known are {known}.")
    return Settings(**raw)


def main(argv: list[str] | None = None) -> int:
    """Run one task and print its result; 1 with one sentence on stderr where that cannot be done."""
    parser = argparse.ArgumentParser(description="The peer's side of the superposition benchmark.")
    parser.add_argument("task", choices=("rate", "estimate", "levels"))
    parser.add_argument("--weights", type=Path, required=True, help=".npz with W, b, importance")
    parser.add_argument("--data", type=Path, required=True, help=".npz with x, shape (examples, features)")
    parser.add_argument("--settings", required=True, help="JSON text, or the path of a JSON file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--draws-at", type=int, nargs="+", help="for levels: draws a chain at which to report")
    parser.add_argument("--json", action="store_true", help="print JSON (the default for levels)")
    args = parser.parse_args(argv)
    try:
        settings = _parse_settings(args.settings)
        with np.load(args.weights) as w, np.load(args.data) as d:
            weights, data = {k: w[k] for k in ("W", "b", "importance")}, d["x"]
        out: dict[str, Any] = {"versions": versions(), "threads": settings.threads}
        if args.task == "rate":
            out["chain_steps_per_second"] = chain_steps_per_second(weights, data, settings)
        elif args.task == "estimate":
            out["estimates"] = []
            for seed in args.seeds:
                llc, std, seconds = estimate(weights, data, settings, seed)
                # one chain has no spread: NaN is not JSON
                reported = None if np.isnan(std) else std
                out["estimates"].append({"seed": seed, "llc": llc, "std": reported, "seconds": seconds})
        else:
            levels = args.draws_at or [settings.draws]
            out["draws_at"] = levels
            out["runs"] = [{"seed": s, **estimates_at(weights, data, settings, s, levels)} for s in args.seeds]
    except PeerError as error:
        print(error, file=sys.stderr)
        return 1
    if args.json or args.task == "levels":
        print(json.dumps(out))
    elif args.task == "rate":
        print(f"devinterp {out['versions']['devinterp']}: {out['chain_steps_per_second']:.0f} chain-steps/s")
    else:
        for e in out["estimates"]:
            std = "none (one chain)" if e["std"] is None else f"{e['std']:.3f}"
            print(f"seed {e['seed']}: LLC {e['llc']:.3f}, std between chains {std}, {e['seconds']:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
