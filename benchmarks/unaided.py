"""Estimates with nothing given but model, data and loss, to see whether the rules find a sampler that works.

python benchmarks/unaided.py --what superposition
python benchmarks/unaided.py --what linear
python benchmarks/unaided.py --what transformer
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional


def superposition(checkpoints, seeds):
    """The superposition study's models, S = 0.7, from initialisation to the end of training."""
    import numpy as np

    from ontogeny.inputs.superposition import Superposition, importances
    from ontogeny.studies.superposition.measure import SeedGroup, dataset, train
    from ontogeny.studies.superposition.settings import PRESETS

    settings = PRESETS["quick"]
    importance = importances(settings.n_features, settings.importance_decay).float()
    trained, data = train(SeedGroup(settings, 0)), dataset(settings)
    steps = trained["step"].values
    wanted = [0, *np.geomspace(10, steps[-1], checkpoints - 1)]

    def loss_fn(model, x):
        return (importance * (x - model(x)) ** 2).sum(-1)

    for seed in range(seeds):
        for number in np.unique([np.abs(steps - step).argmin() for step in wanted]):
            one = trained.isel(seed=seed, time=number)
            model = Superposition(torch.tensor(one["weight"].values), torch.tensor(one["bias"].values))
            yield f"superposition, seed {seed}, step {steps[number]}", model.float(), data, loss_fn, None


def linear(largest):
    """Linear networks with a true product of rank r, at the most singular point and at a random one of the same map."""
    shapes = [
        ((4, 1, 4), 1), ((5, 5, 5), 0), ((5, 5, 5), 2), ((10, 8, 6, 10), 3), ((30, 20, 30), 5),
        ((100, 50, 100), 10), ((300, 170, 300), 20), ((1000, 500, 1000), 20),
    ]  # fmt: skip
    for widths, rank in shapes:
        for balanced in (False, True):
            torch.manual_seed(0)
            layers = [nn.Linear(a, b, bias=False) for a, b in pairwise(widths)]
            turns = [torch.linalg.qr(torch.randn(n, n))[0] if balanced else torch.eye(n) for n in widths]
            for layer, before, after in zip(layers, *zip(*pairwise(turns), strict=True), strict=True):
                core = torch.zeros_like(layer.weight)
                core[range(rank), range(rank)] = 1.0
                layer.weight.data = after @ core @ before.T
            model = nn.Sequential(*layers)
            if sum(layer.weight.numel() for layer in layers) > largest:
                return
            x = torch.randn(5000, widths[0])
            with torch.no_grad():
                y = model(x) + 0.1 * torch.randn(5000, widths[-1])

            def loss_fn(model, batch):
                return 0.5 * (model(batch[0]) - batch[1]).square().sum(-1)

            kind = "rotated" if balanced else "diag(I, 0)"
            yield f"linear {'-'.join(map(str, widths))}, r = {rank}, {kind}", model, (x, y), loss_fn, None


class Layer(nn.Module):
    """Causal attention; its heads' weights are rows of ``qkv`` and columns of ``out``."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads, self.norm = heads, nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)

    def forward(self, x):
        """Shape (batch, positions, width) in and out."""
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.out(mixed.transpose(1, 2).flatten(-2))


class Attention(nn.Module):
    """Two attention layers over 16 positions."""

    def __init__(self, tokens=16, width=64, heads=4, layers=2, positions=16):
        super().__init__()
        self.embed, self.place = nn.Embedding(tokens, width), nn.Parameter(0.1 * torch.randn(positions, width))
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))
        self.norm, self.unembed = nn.LayerNorm(width), nn.Linear(width, tokens, bias=False)

    def forward(self, tokens):
        """Logits, shape (batch, positions, tokens)."""
        return self.unembed(self.norm(self.layers(self.embed(tokens) + self.place)))


def head(model, layer, number):
    """Masks of one head: its rows of Q, K and V, its columns of O."""
    block = model.layers[layer]
    width = block.out.weight.shape[0]
    own = torch.zeros(width)
    size = width // block.heads
    own[number * size : (number + 1) * size] = 1.0
    return {
        f"layers.{layer}.qkv.weight": own.repeat(3)[:, None].expand(3 * width, width),
        f"layers.{layer}.out.weight": own[None].expand(width, width),
    }


def transformer(steps):
    """Random tokens, then the same again: induction. Whole and by head, during training and at its end."""
    torch.manual_seed(0)
    model = Attention()
    half = torch.randint(16, (4000, 8))
    data = torch.cat([half, half], 1)

    def loss_fn(model, tokens):
        return functional.cross_entropy(model(tokens)[:, :-1].transpose(1, 2), tokens[:, 1:], reduction="none")

    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    heads = {f"{layer}:{number}": head(model, layer, number) for layer in range(2) for number in range(2)}
    for step in range(steps + 1):
        if step in (steps // 10, steps):
            with torch.no_grad():
                loss = float(loss_fn(model, data[:1000]).mean())
            yield f"transformer, step {step}, loss {loss:.3f}", model, data, loss_fn, None
            yield f"transformer, step {step}, loss {loss:.3f}", model, data, loss_fn, heads
        optimizer.zero_grad()
        loss_fn(model, data[torch.randint(4000, (128,))]).mean().backward()
        optimizer.step()


def main() -> None:
    """Print a row for every estimate as it comes."""
    import ontogeny as og
    from ontogeny.core.schema import setting

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", choices=["superposition", "linear", "transformer"], required=True)
    parser.add_argument("--checkpoints", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--largest", type=int, default=1_000_000, help="weights of the largest linear network")
    parser.add_argument("--steps", type=int, default=2000, help="training steps of the transformer")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = {
        "superposition": lambda: superposition(arguments.checkpoints, arguments.seeds),
        "linear": lambda: linear(arguments.largest),
        "transformer": lambda: transformer(arguments.steps),
    }[arguments.what]()
    print("| model | weights | nβ | γ | λ̂ ± s.e. | status | regime | gradients | seconds |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    words, whole = [], time.perf_counter()
    for name, model, data, loss_fn, components in rows:
        began = time.perf_counter()
        found = og.estimate_llc(model, data, loss_fn, components, progress=False)
        seconds = time.perf_counter() - began
        singles = [(f", {c}", found.sel(component=c)) for c in components] if components else [("", found)]
        for which, one in singles:
            n_beta, gamma, llc, se = (float(one[k]) for k in ("n_beta", "localization", "llc", "llc_se"))
            words.append(one["status"].item())
            print(
                f"| {name}{which} | {int(one['dim']):,} | {n_beta:.4g} | {gamma:.4g} | {llc:.4g} ± {se:.2g} "
                f"| {words[-1]} | {one['regime'].item()} | {setting(one, 'gradient_evaluations'):,} "
                f"| {seconds / len(singles):.0f} |",
                flush=True,
            )
    print(f"\n{words.count('ok')} of {len(words)} ok, {time.perf_counter() - whole:.0f} s")


if __name__ == "__main__":
    main()
