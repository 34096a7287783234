"""Which kernel should be the default: error for a given number of gradient evaluations, calibrated by the same rules.

Exact problems of the validation suite at full batch and with batches of a tenth, and two small models whose reference
is the validation suite's float64 HMC on all examples, code that no kernel shares. MALA and HMC take full batches only.

    python benchmarks/kernels.py --budget 400000 --seeds 2
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np

FULL = (
    "quadratic",
    "node",
    "chain",
    "reduced rank 5-3-5",
    "softmax 3",
    "one tanh unit",
    "radial quartic",
    "ill-conditioned",
    "deep linear 4-1-4",
    "reduced rank 10-6-8",
)
BATCHED = ("quadratic", "softmax 3", "reduced rank 2-2-2", "deep linear 4-1-4")
MODELS = ("classifier", "superposition")
N_BETA, LOCALIZATION = 1000.0, 1.0


def given(name, kind):
    """The arguments that say what is measured."""
    import torch
    from torch import nn
    from torch.nn import functional

    from ontogeny.validation.problem import with_data
    from ontogeny.validation.problems import problem

    where = {"n_beta": N_BETA, "localization": LOCALIZATION}
    if kind == "full":
        return {"model": problem(name).potential, **where}
    if kind == "batched":
        model, data, loss_fn = with_data(problem(name), 960, 0)
        return {"model": model.float(), "data": data, "loss_fn": loss_fn, "batch_size": 96, **where}
    torch.manual_seed(0)
    if name == "classifier":
        model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2))
        x = torch.randn(1000, 4)
        data = (x, (x[:, 0] * x[:, 1] > 0).long())

        def loss_fn(model, batch):
            return functional.cross_entropy(model(batch[0]), batch[1], reduction="none")
    else:
        from ontogeny.inputs.superposition import Superposition

        model = Superposition(0.1 * torch.randn(2, 6), torch.zeros(6))
        x = torch.rand(1000, 6) * (torch.rand(1000, 6) < 0.3)
        data = (x, 0.8 ** torch.arange(6.0).expand(1000, 6))

        def loss_fn(model, batch):
            return (batch[1] * (batch[0] - model(batch[0])) ** 2).sum(1)

    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(1500):
        optimizer.zero_grad()
        loss_fn(model, data).mean().backward()
        optimizer.step()
    return {"model": model, "data": data, "loss_fn": loss_fn, "batch_size": 100, "n_beta": 150.0, "localization": 10.0}


def estimate(task):
    """One estimate, in a worker process."""
    import torch

    import ontogeny as og

    torch.set_num_threads(1)
    name, kind, kernel, seed, budget = task
    began = time.perf_counter()
    found = og.estimate_llc(
        **given(name, kind), kernel=kernel, seed=seed, max_draws=budget, target_se=1e-4, progress=False
    )
    return (
        task,
        float(found.llc),
        float(found.llc_se),
        found.status.item(),
        found.attrs["gradient_evaluations"],
        time.perf_counter() - began,
    )


def reference(name):
    """λ̂ of a small model by HMC, in a worker process."""
    import torch
    from torch.func import functional_call, vmap

    from ontogeny.validation.reference_hmc import reference_hmc

    torch.set_num_threads(1)
    known = given(name, "model")
    model, loss_fn = known["model"].double(), known["loss_fn"]
    data = tuple(part.double() if part.is_floating_point() else part for part in known["data"])
    shapes = {key: value.shape for key, value in model.named_parameters()}

    def one(flat):
        parts = flat.split([shape.numel() for shape in shapes.values()])
        weights = {key: part.view(shape) for (key, shape), part in zip(shapes.items(), parts, strict=True)}
        return loss_fn(lambda x: functional_call(model, weights, (x,)), data).mean()

    w_star = torch.cat([value.detach().flatten() for value in model.parameters()])
    found = reference_hmc(
        vmap(one), w_star, known["n_beta"], known["localization"], chains=64, draws=1000, burn_in=200, most_steps=30
    )
    return name, found.run, found.acceptance


def main() -> None:
    """Run all and print the table."""
    from ontogeny.sampling.kernels import KERNELS
    from ontogeny.validation.problems import problem

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--budget", type=int, default=400_000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    tasks = []
    for kernel in KERNELS:
        for seed in range(arguments.seeds):
            tasks += [(name, "full", kernel, seed, arguments.budget) for name in FULL]
            if not KERNELS[kernel].full_batch_only:
                tasks += [(name, "batched", kernel, seed, arguments.budget) for name in BATCHED]
                tasks += [(name, "model", kernel, seed, arguments.budget) for name in MODELS]
    began = time.perf_counter()
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        references = list(pool.map(reference, MODELS))
        found = list(pool.map(estimate, tasks, chunksize=1))
    truth = {name: problem(name).exact(N_BETA, LOCALIZATION) for name in (*FULL, *BATCHED)}
    for name, run, acceptance in references:
        truth[name] = run.llc
        print(f"reference for {name}: {run.llc:.3f} ± {run.se:.3f}, R̂ {run.r_hat:.3f}, {acceptance:.0%} accepted")
    print(f"\nmedian over {arguments.seeds} seeds of |error|, {arguments.budget:,} gradient evaluations; "
          "in brackets estimates that are not usable (diverged)\n")  # fmt: skip
    columns = [(name, "full") for name in FULL] + [(n, "batched") for n in BATCHED] + [(n, "model") for n in MODELS]
    print("| problem | " + " | ".join(KERNELS) + " |\n|---|" + "---|" * len(KERNELS))
    all_errors = {kernel: {"full": [], "minibatch": []} for kernel in KERNELS}
    for name, kind in columns:
        cells = []
        for kernel in KERNELS:
            rows = [r for r in found if r[0][:3] == (name, kind, kernel)]
            errors = [abs(row[1] / truth[name] - 1) for row in rows]
            whole = [error for error in errors if np.isfinite(error)]
            all_errors[kernel]["full" if kind == "full" else "minibatch"] += [
                error if np.isfinite(error) else 1.0 for error in errors
            ]
            lost = f" ({len(errors) - len(whole)})" if len(whole) < len(errors) else ""
            cells.append((f"{np.median(whole):.1%}" if whole else "-") + lost)
        print(f"| {name}{'' if kind == 'full' else ', minibatch'} | " + " | ".join(cells) + " |")
    for kind in ("full", "minibatch"):
        for label, reduce in (("median", np.median), ("worst", np.max)):
            cells = [f"{reduce(e[kind]):.1%}" if e[kind] else "-" for e in all_errors.values()]
            print(f"| **{label}, {kind}** | " + " | ".join(cells) + " |")
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
