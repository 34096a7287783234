"""Refined LLCs on a GPU: right, how fast, and how much memory.

    python benchmarks/gpu.py --cache FOLDER [--parts truth,steps,target,memory,measure] [--quick] [--json FILE]

FOLDER holds the two models of `refined.py` (made there if need be). nβ = 30, γ = 200, batches of 4 rows of 128 tokens.

- truth: exact problems, and a head in float32 and bfloat16, against the same on the processor.
- steps: milliseconds per chain-step (kernel sgld, 100 steps after 35) by chains, in float32 launched kernel by kernel,
  as CUDA graphs, and in bfloat16; on the processor, 4 chains, beside it.
- target: seconds of one call, everything left to the rules but nβ, γ and batch, to a reported standard error of 2 %.
- memory: peak memory by chains, and that more chains than fit are evaluated in parts.
- measure: `og.measure` over two checkpoints and four heads, on the GPU's worker process.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import ontogeny as og
from ontogeny.inputs.losses import undisturbed
from ontogeny.sampling import captured
from ontogeny.sampling.refinement import Refinement
from ontogeny.sampling.run import Run
from ontogeny.sampling.settings import Settings
from refined_models import MODELS, Bundle, bundle

AT = {"n_beta": 30.0, "localization": 200.0, "batch_size": 4}
SGLD = {"kernel": "sgld", "step_size": 1e-3, "burn_in": 25}
DEFAULTS: dict[str, Any] = dict.fromkeys(("target_se", "max_draws", "precision"))
DRAWS = 100
PARTS = ("truth", "steps", "target", "memory", "measure")


@contextmanager
def without_graphs() -> Iterator[None]:
    """Inside, every step launches its kernels one by one."""
    before, captured.MOST_NUMBERS = captured.MOST_NUMBERS, 0
    try:
        yield
    finally:
        captured.MOST_NUMBERS = before


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, the device's work included, and the result."""
    torch.cuda.synchronize()
    began = time.perf_counter()
    found = work()
    torch.cuda.synchronize()
    return time.perf_counter() - began, found


def truth(models: list[Bundle], out: dict[str, Any]) -> None:
    """Exact problems, and heads on the GPU against the processor; z beyond 4 is a fault."""
    h = torch.logspace(-2, 2, 10)
    problems = {
        "quadratic": (lambda w: 0.5 * (h.to(w) * w * w).sum(), 10, float((500 * h / (1000 * h + 1)).sum())),
        "node": (lambda w: w[0] ** 2 * w[1] ** 2, 2, 0.3903),
        "chain": (lambda w: 0.5 * (w[0] * w[1] - 1) ** 2, 2, 0.5002),
    }
    print("\n| problem | exact or processor | GPU | z | status |\n|---|---|---|---|---|")
    rows = []
    for name, (loss, dim, exact) in problems.items():
        start = torch.ones(dim) if name == "chain" else torch.zeros(dim)
        well = og.Potential(loss, start)
        found = og.estimate_llc(
            well, n_beta=1000.0, localization=1.0, device="cuda", max_draws=400_000, target_se=0.01, progress=False
        )
        z = (float(found.llc) - exact) / float(found.llc_se)
        print(f"| {name} | {exact:.4f} | {float(found.llc):.4f} ± {float(found.llc_se):.4f} | {z:+.1f} "
              f"| {found.status.item()} |", flush=True)  # fmt: skip
        rows.append({"problem": name, "z": z})
    for model in models:
        for component in model.components[-1:]:
            settings = {**AT, "draws": 150, "chains": 4, "progress": False}
            call = (model.model, model.rows, og.NextToken(), component)
            here = og.estimate_llc(*call, **settings, device="cpu")
            for precision in ("float32", "bfloat16"):
                found = og.estimate_llc(*call, **settings, device="cuda", precision=precision)
                error = math.hypot(float(found.llc_se), float(here.llc_se))
                z = (float(found.llc) - float(here.llc)) / error
                print(f"| {model.name}, {component}, {precision} | {float(here.llc):.3f} ± {float(here.llc_se):.3f} "
                      f"| {float(found.llc):.3f} ± {float(found.llc_se):.3f} | {z:+.1f} | {found.status.item()} |",
                      flush=True)  # fmt: skip
                rows.append({"problem": f"{model.name}, {component}, {precision}", "z": z})
    out["truth"] = rows


def prepared(model: Bundle, component: str | None, **more: Any) -> Run:
    """Chains at w*, ready to step."""
    settings = Settings(draws=DRAWS, seed=0, **{**DEFAULTS, **AT, **SGLD, **more})
    ((_, run),) = Refinement(model.model, model.rows, og.NextToken(), component, settings, None).runs()
    return run


def step_ms(model: Bundle, component: str | None, chains: int, device: str, **more: Any) -> float:
    """Milliseconds of a chain-step, after 25 steps of burn-in and some more."""
    with undisturbed(model.model):
        run = prepared(model, component, chains=chains, device=device, **more)
        run.extend(10)
        draws = DRAWS if device == "cuda" else DRAWS // 5
        return 1e3 * timed(lambda: run.extend(draws))[0] / (draws * chains)


def steps(models: list[Bundle], chain_counts: tuple[int, ...], processor: bool, out: dict[str, Any]) -> None:
    """Every way of stepping, printed as they come."""
    print("\n| model, weights | chains | processor | GPU, plain | GPU, graph | GPU, graph, bf16 | processor ÷ graph |")
    print("|---|---|---|---|---|---|---|")
    rows = []
    for model in models:
        for component in (*model.components, None):
            on_processor = step_ms(model, component, 4, "cpu") if processor else math.nan
            for chains in chain_counts:
                with without_graphs():
                    plain = step_ms(model, component, chains, "cuda")
                graph = step_ms(model, component, chains, "cuda")
                narrow = step_ms(model, component, chains, "cuda", precision="bfloat16")
                cpu = f"{on_processor:.2f}" if chains == chain_counts[0] else ""
                print(f"| {model.name}, {component or 'all'} | {chains} | {cpu} | {plain:.4f} | {graph:.4f} "
                      f"| {narrow:.4f} | {on_processor / graph:.3g} |", flush=True)  # fmt: skip
                rows.append({"model": model.name, "component": component, "chains": chains, "cpu": on_processor,
                             "plain": plain, "graph": graph, "bf16": narrow})  # fmt: skip
    out["steps"] = rows


def target(models: list[Bundle], out: dict[str, Any]) -> None:
    """Whole calls to 2 %."""
    print("\n| model, weights | λ̂ ± s.e. | status | gradients | seconds |\n|---|---|---|---|---|")
    rows = []
    for model in models:
        for component in (*model.components, None):

            def call(model: Bundle = model, component: str | None = component) -> Any:
                return og.estimate_llc(model.model, model.rows, og.NextToken(), component, **AT, device="cuda",
                                       target_se=0.02, progress=False)  # fmt: skip

            seconds, found = timed(call)
            error = float(found.llc_se)
            print(f"| {model.name}, {component or 'all'} | {float(found.llc):.3f} ± {error:.3f} "
                  f"| {found.status.item()} | {found.attrs['gradient_evaluations']:,} | {seconds:.1f} |",
                  flush=True)  # fmt: skip
            rows.append({"model": model.name, "component": component, "seconds": seconds, "se": error})
    out["target"] = rows


def memory(model: Bundle, chain_counts: tuple[int, ...], out: dict[str, Any]) -> None:
    """Peak memory of the whole model's chains; where not all fit at once, they are evaluated in parts."""
    print("\n| chains, all weights, batches of 32 | peak GiB | evaluated together | ms a step |\n|---|---|---|---|")
    rows = []
    for chains in chain_counts:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        with undisturbed(model.model):
            run = prepared(model, None, chains=chains, device="cuda", batch_size=32, burn_in=2)
            run.extend(5)
            seconds, _ = timed(lambda run=run: run.extend(5))
        peak, together = torch.cuda.max_memory_allocated() / 2**30, run._prepared.posterior.loss.chains_at_once
        print(f"| {chains} | {peak:.2f} | {together} | {200 * seconds:.1f} |", flush=True)
        rows.append({"chains": chains, "gib": peak, "together": together})
    out["memory"] = rows


def measured(model: Bundle, out: dict[str, Any]) -> None:
    """The same estimates from `og.measure`, in a process of its own for the GPU, twice; bit-equal or a fault."""
    state = model.model.state_dict()
    run = [(step, {name: w * (1 + 1e-3 * step) for name, w in state.items()}) for step in (0, 1)]
    heads = {f"1:{head}": f"1:{head}" for head in range(4)}
    found = []
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            settings = {**AT, "chains": 4, "draws": 100, "device": "cuda", "progress": False}
            seconds, results = timed(
                lambda folder=folder, settings=settings: og.measure(
                    model.model, og.Checkpoints.from_iterable(run), {"text": model.rows}, og.NextToken(), heads,
                    out=Path(folder) / "out", **settings
                )
            )  # fmt: skip
        found.append(results.llc.values)
        print(f"og.measure: {results.llc.size} estimates in {seconds:.1f} s: {results.llc.values.ravel().round(3)}")
    print(f"the second run gave the same bits: {bool((found[0] == found[1]).all())}", flush=True)
    out["measure"] = {"same": bool((found[0] == found[1]).all())}


def main() -> None:
    """Measure the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--chains", default="4,32,256")
    parser.add_argument("--processor", action=argparse.BooleanOptionalAction, default=True, help="step there too")
    parser.add_argument("--quick", action="store_true", help="tiny models, to see that it runs")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("this benchmark needs a GPU that torch can use; torch.cuda.is_available() is False.")
    models = [bundle(name, asked.cache, asked.quick) for name in asked.models.split(",")]
    chains = tuple(int(count) for count in asked.chains.split(","))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {torch.get_num_threads()} threads", flush=True)
    out: dict[str, Any] = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    work = {
        "truth": lambda: truth(models, out),
        "steps": lambda: steps(models, chains, asked.processor, out),
        "target": lambda: target(models, out),
        "memory": lambda: memory(models[0], (4, 64, 1024), out),
        "measure": lambda: measured(models[0], out),
    }
    for part in asked.parts.split(","):
        began = time.perf_counter()
        work[part]()
        print(f"({part}: {time.perf_counter() - began:.0f} s)", flush=True)
        if asked.json:
            asked.json.write_text(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
