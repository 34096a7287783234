"""Curvature: cost in gradient steps, and seconds to one standard error beside hessian-eigenthings and PyHessian.

OMP_NUM_THREADS=1 taskset -c 1 python benchmarks/curvature.py

needs ``pip install --no-deps hessian-eigenthings pyhessian``. All tools see the same rows and model in the same run and
take turns; the rows are all there are, so that errors are those of the probes alone.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import ontogeny as og
from ontogeny.inputs.outputs import split_at_output
from ontogeny.metrics.curvature.trace import hessian_trace
from ontogeny.operators.gauss_newton import gauss_newton_products
from ontogeny.operators.hessian import hessian_products
from ontogeny.operators.trace import rademacher
from ontogeny.operators.vectors import at_once
from ontogeny.sampling.problem import build

TARGET = 0.02
"""Relative standard error that seconds are stated for."""


def prepared(rows, positions, train):
    """A two-layer attention-only transformer of 100,212 weights, trained a little on rows that repeat themselves."""
    torch.manual_seed(0)
    config = og.AttentionOnlyConfig(vocabulary=500, context=positions, width=64, layers=2, heads=4)
    model, loss = og.AttentionOnly(config), og.NextToken()
    half = torch.randint(500, (4096, positions // 2)).square() // 500
    tokens = torch.cat([half, half], 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(train):
        optimizer.zero_grad()
        loss(model, tokens[64 * step % 4000 :][:64]).mean().backward()
        optimizer.step()
    return model.eval(), tokens[-rows:], loss


def seconds(work, repeats=3):
    """The least of some repetitions, and the last result."""
    taken = []
    for _ in range(repeats):
        begin = time.perf_counter()
        out = work()
        taken.append(time.perf_counter() - begin)
    return min(taken), out


def gradient_seconds(model, tokens, loss):
    """One plain gradient of the mean loss over all rows: the unit of cost."""

    def work():
        model.zero_grad()
        loss(model, tokens).mean().backward()

    return seconds(work, 7)[0]


def costs(model, tokens, loss, unit, count):
    """What products and whole measures take, in gradients of the same rows."""
    problem = build(model, tokens, loss, None, None, None)
    batch = problem.examples.take(None)
    together = at_once(problem.weights, tokens.numel())
    vectors = rademacher(count, problem.dim, torch.Generator().manual_seed(0))
    print(f"\n{count} products, shared work included | gradients a product\n---|---")
    for name, make in (
        ("Hessian", lambda: hessian_products(problem.loss, problem.center, batch, together)),
        (
            "Gauss-Newton",
            lambda: gauss_newton_products(
                lambda p, b: split_at_output(problem.loss, p, b), problem.center, batch, together
            ),
        ),
    ):
        taken = seconds(lambda make=make: make()(vectors), 2)[0]
        print(f"{name} | {taken / unit / count:.2f}")
    given = {"samples": len(tokens), "batch_size": len(tokens)}
    at = {"n_beta": 30.0, "localization": 200.0, "exact": False}
    m = og.metrics
    print("\nmeasure, of the same rows | gradients | value ± s.e.\n---|---|---")
    for name, variable, work in (
        ("hessian_trace, 50 probes", "hessian_trace", lambda: m.hessian_trace(model, tokens, loss, probes=50, **given)),
        ("fisher_trace, 5 probes", "fisher_trace", lambda: m.fisher_trace(model, tokens, loss, **given)),
        ("empirical_fisher_trace, 5 probes", "empirical_fisher_trace",
         lambda: m.empirical_fisher_trace(model, tokens, loss, **given)),
        ("second_order_llc, 10 probes × 30 steps", "second_order_llc",
         lambda: m.second_order_llc(model, tokens, loss, n_beta=30.0, localization=200.0, exact=False, **given)),
        ("hessian_rank, 10 probes, degree 100", "hessian_rank",
         lambda: m.hessian_rank(model, tokens, loss, degree=100, **at, **given)),
    ):  # fmt: skip
        taken, found = seconds(work, 1)
        value, error = found[variable].item(), found[f"{variable}_se"].item()
        print(f"{name} | {taken / unit:.1f} | {value:.4g} ± {error:.2g}")


def peers(model, tokens, loss, probes):
    """Name -> what runs so many probes and gives value and standard error."""
    import hessian_eigenthings
    from hessian_eigenthings.operators import HessianOperator
    from pyhessian import hessian

    def mean_loss(model, batch):
        return loss(model, batch).mean()

    def eigenthings(method):
        operator = HessianOperator(model, [tokens], mean_loss)
        found = hessian_eigenthings.trace(operator, num_matvecs=probes, method=method, seed=0)
        return found.estimate, found.stderr

    def criterion(logits, targets):
        return torch.nn.functional.cross_entropy(logits[:, :-1].mT, targets)

    def pyhessian():
        terms = hessian(model, criterion, data=(tokens, tokens[:, 1:]), cuda=False).trace(maxIter=probes, tol=0.0)
        model.zero_grad()
        return float(np.mean(terms)), float(np.std(terms, ddof=1)) / len(terms) ** 0.5

    return {
        "hessian-eigenthings, hutchinson": lambda: eigenthings("hutchinson"),
        "hessian-eigenthings, hutch++": lambda: eigenthings("hutch++"),
        "PyHessian": pyhessian,
    }


def ours(model, tokens, loss, probes, method):
    """The same by this package."""

    def work():
        given = {"samples": len(tokens), "batch_size": len(tokens), "probes": probes, "method": method}
        found = hessian_trace(model, tokens, loss, **given)
        return found["hessian_trace"].item(), found["hessian_trace_se"].item()

    return work


def compare(model, tokens, loss, unit, probes, repeats):
    """Seconds to a relative standard error of TARGET, by (s.e. reached/TARGET)² from one run of each."""
    contenders = {
        "ontogeny, hutchinson": ours(model, tokens, loss, probes, "hutchinson"),
        "ontogeny, hutch++": ours(model, tokens, loss, probes, "hutch++"),
        **peers(model, tokens, loss, probes),
    }
    best, found = dict.fromkeys(contenders, float("inf")), {}
    for _ in range(repeats):
        for name, work in contenders.items():
            with sdpa_kernel(SDPBackend.MATH):  # the peers do not choose it themselves, and fail without
                taken, found[name] = seconds(work, 1)
            best[name] = min(best[name], taken)
    print(f"\ntool, {probes} probes | trace ± s.e. | s | gradients | s to {TARGET:.0%}\n---|---|---|---|---")
    for name, (value, error) in found.items():
        needed = best[name] * (error / abs(value) / TARGET) ** 2
        print(f"{name} | {value:.4g} ± {error:.2g} | {best[name]:.2f} | {best[name] / unit:.0f} | {needed:.2f}")
    values = np.array(list(found.values()))
    apart = np.abs(values[:, 0] - values[0, 0]) / np.hypot(values[:, 1], values[0, 1])
    assert apart.max() < 5, "the tools must agree within their errors"


def main():
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40)
    parser.add_argument("--positions", type=int, default=32)
    parser.add_argument("--train", type=int, default=100)
    parser.add_argument("--probes", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--no-peers", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model, tokens, loss = prepared(given.rows, given.positions, given.train)
    weights = sum(parameter.numel() for parameter in model.parameters())
    unit = gradient_seconds(model, tokens, loss)
    with torch.no_grad():
        print(f"{weights:,} weights, {given.rows} rows of {given.positions}, loss {loss(model, tokens).mean():.3f}; "
              f"one gradient of all rows {1000 * unit:.1f} ms")  # fmt: skip
    if not given.no_peers:
        compare(model, tokens, loss, unit, given.probes, given.repeats)
    costs(model, tokens, loss, unit, given.probes)


if __name__ == "__main__":
    main()
