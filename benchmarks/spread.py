"""Spread of λ̂ over seeds against the standard error that each reports, with minibatches that chains share.

python benchmarks/spread.py --model superposition --seeds 80
python benchmarks/spread.py --model transformer --seeds 20
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context

import numpy as np

CHAINS = (4, 64)
DRAWS = {"superposition": 300, "transformer": 200}


@lru_cache(maxsize=2)
def prepared(name):
    """A trained model with data, loss, batch size and one calibration, the same in every process."""
    import torch
    from torch import nn
    from torch.nn import functional

    import ontogeny as og

    torch.set_num_threads(1)
    torch.manual_seed(0)
    if name == "superposition":
        from ontogeny.inputs.superposition import Superposition

        model, data, batch = (
            Superposition(0.1 * torch.randn(2, 6), torch.zeros(6)),
            torch.rand(2000, 6) * (torch.rand(2000, 6) < 0.3),
            200,
        )

        def loss_fn(model, x):
            return (0.8 ** torch.arange(6.0) * (x - model(x)) ** 2).sum(1)
    else:
        batch = 32

        class Attention(nn.Module):
            """One attention layer with four heads over 8 positions, 1,316 weights in all."""

            def __init__(self):
                super().__init__()
                self.embed, self.place = nn.Embedding(12, 16), nn.Parameter(0.1 * torch.randn(8, 16))
                self.qkv, self.out, self.unembed = nn.Linear(16, 24), nn.Linear(8, 16), nn.Linear(16, 12)

            def forward(self, tokens):
                x = self.embed(tokens) + self.place
                q, k, v = self.qkv(x).unflatten(-1, (3, 4, 2)).permute(2, 0, 3, 1, 4)
                mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
                return self.unembed(x + self.out(mixed.transpose(1, 2).flatten(-2)))

        model, half = Attention(), torch.randint(12, (1000, 4))
        data = torch.cat([half, half], 1)

        def loss_fn(model, tokens):
            return functional.cross_entropy(model(tokens)[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")

    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(1000):
        optimizer.zero_grad()
        loss_fn(model, data).mean().backward()
        optimizer.step()
    calibration = og.calibrate(model, data, loss_fn, batch_size=batch, max_draws=200_000, chains=8, progress=False)
    return model, data, loss_fn, calibration


def estimate(task):
    """One seed, in a worker process."""
    from dataclasses import replace

    import ontogeny as og

    name, chains, seed = task
    model, data, loss_fn, calibration = prepared(name)
    found = og.estimate_llc(
        model,
        data,
        loss_fn,
        calibration=replace(calibration, chains=chains),
        draws=DRAWS[name],
        seed=seed,
        progress=False,
    )
    return chains, float(found.llc), float(found.llc_se), found.status.item()


def main() -> None:
    """Run all seeds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=list(DRAWS), default="superposition")
    parser.add_argument("--seeds", type=int, default=80)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    tasks = [(arguments.model, chains, seed) for chains in CHAINS for seed in range(arguments.seeds)]
    began = time.perf_counter()
    print(prepared(arguments.model)[3].describe())
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(estimate, tasks, chunksize=4))
    print("\n| model | chains | mean λ̂ | sd over seeds | mean s.e. | ratio | ok |\n|---|---|---|---|---|---|---|")
    for chains in CHAINS:
        llc, se = (np.array([row[i] for row in found if row[0] == chains]) for i in (1, 2))
        ok = np.mean([row[3] == "ok" for row in found if row[0] == chains])
        spread = llc.std(ddof=1)
        error = 1 / (2 * (len(llc) - 1)) ** 0.5
        print(
            f"| {arguments.model} | {chains} | {llc.mean():.3f} | {spread:.3f} | {se.mean():.3f} | "
            f"{spread / se.mean():.2f} ± {error * spread / se.mean():.2f} | {ok:.0%} |"
        )
    print(f"\n{arguments.seeds} seeds, {DRAWS[arguments.model]} draws a chain, {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
