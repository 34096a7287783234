"""The peer's side of the benchmark on exact problems: devinterp 1.3.2 or 2.0.1 on ten losses of the weights alone.

Runs on its own in whatever interpreter has the peer (pip install devinterp==1.3.2, or ==2.0.1) and prints one JSON line
for every problem and seed:

    python benchmarks/peer_exact_problems.py --settings s.json --seeds 0 1 2

`s.json` (or the JSON text itself) maps names of problems to the fields of `Settings`. Needs nothing of ontogeny: the
losses are written out here, and the driver holds them against ontogeny's own.

Conventions, read in the source of both versions and seen on the quadratic, where the stationary value is known: one
step is w ← w - (lr/2)(nβ∇L + γ(w - w*)) + √lr ξ, L the mean over the minibatch. So nβ, γ and lr mean what they mean
here, if nβ is given: the default, `default_nbeta(loader)`, is b/log b with b the size of the batch, not of the data.
RMSprop-SGLD multiplies drift and noise's variance by 1/(eps + √v), v a running mean of (∇L)², nβ not in it.
SGNHT is left out: in 1.3.2 it has no localisation, so it cannot aim at this posterior, and 2.0.1 does not offer it.

λ̂ = nβ(mean loss - init loss). 1.3.2 averages the draws, recorded before the step, after burn-in. 2.0.1's `llc` averages
all steps, burn-in included; so it is given none, and `drawn` below is what a user could make of its stored draws.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import itertools
import json
import math
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

MISSING = (
    "devinterp is not installed in this interpreter ({python}); install it with `pip install devinterp=={version}`, "
    "or name an interpreter that has it with --peer-python PATH or --peer2-python PATH."
)


class PeerError(RuntimeError):
    """The peer cannot run as asked; one plain sentence."""


# --- the ten losses ---------------------------------------------------------------------------------------------------


def _quadratic(curvature: np.ndarray, rotation: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    half = torch.as_tensor(0.5 * curvature).float()

    def loss(w: Tensor) -> Tensor:
        u = w if rotation is None else w @ rotation
        return (half * u * u).sum(-1)

    return loss


def _rotation(dim: int, name: str) -> Tensor:
    """Ontogeny's random orthogonal matrix of that name."""
    key = hashlib.sha256(repr((0, "rotation", name)).encode()).digest()
    stream = torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)
    q, r = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64, generator=stream))
    return (q * r.diagonal().sign()).float()


def _two_layers(first: int, hidden: int, last: int) -> Callable[[Tensor], Tensor]:
    """½‖W₂W₁‖², W₁ of shape (hidden, first) before W₂ of shape (last, hidden) in w."""

    def loss(w: Tensor) -> Tensor:
        head, tail = w[..., : hidden * first], w[..., hidden * first :]
        return 0.5 * (tail.unflatten(-1, (last, hidden)) @ head.unflatten(-1, (hidden, first))).square().sum((-2, -1))

    return loss


LOSSES: dict[str, tuple[Callable[[Tensor], Tensor], list[float]]] = {
    "quadratic": (_quadratic(np.logspace(-2, 2, 10)), [0.0] * 10),
    "quartic": (lambda w: (w**4).sum(-1), [0.0]),
    "node": (lambda w: (w[..., 0] * w[..., 1]).square(), [0.0] * 2),
    "sum": (lambda w: w[..., 0] ** 2 + w[..., 1] ** 4, [0.0] * 2),
    "chain": (lambda w: 0.5 * (w[..., 0] * w[..., 1] - 1).square(), [1.0] * 2),
    "reduced rank 2-2-2": (_two_layers(2, 2, 2), [0.0] * 8),
    "reduced rank 5-3-5": (_two_layers(5, 3, 5), [0.0] * 30),
    "deep linear 4-1-4": (_two_layers(4, 1, 4), [0.0] * 8),
    "softmax 3": (lambda w: w.logsumexp(-1) - w.mean(-1), [0.0] * 3),
    "ill-conditioned": (_quadratic(np.logspace(-3, 2, 20), _rotation(20, "ill-conditioned")), [0.0] * 20),
}
"""Name -> loss of weights of shape (..., d), and w*."""


class Weights(torch.nn.Module):
    """A module that holds w and returns L(w)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._loss, w_star = LOSSES[name]
        self.w = torch.nn.Parameter(torch.tensor(w_star))

    def forward(self, x: Tensor) -> Tensor:
        """The loss; the batch is not used."""
        return self._loss(self.w)


# --- the peer ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """How one problem is sampled; chains * (burn_in + draws) gradient evaluations. The peer's names in brackets."""

    n_beta: float  # [nbeta], 1/loss
    localization: float  # [localization], 1/weight²
    step_size: float  # [lr]
    sampler: str  # "sgld" or "rmsprop_sgld"
    burn_in: int  # [num_burnin_steps], steps a chain
    draws: int  # [num_draws], a chain
    chains: int = 4  # [num_chains]
    rmsprop_eps: float = 0.1  # [eps], its default

    def __post_init__(self) -> None:
        """Refuse what the peer would not name clearly."""
        if self.sampler not in ("sgld", "rmsprop_sgld"):
            raise PeerError(f"sampler must be sgld or rmsprop_sgld; got {self.sampler!r}.")


Estimate = dict[str, float]


def _estimate_1(name: str, settings: Settings, seed: int) -> Estimate:
    from devinterp.optim.sgld import SGLD
    from devinterp.optim.sgmcmc import SGMCMC
    from devinterp.slt.sampler import estimate_learning_coeff_with_summary
    from torch.utils.data import DataLoader, TensorDataset

    batch = (torch.zeros(1, 1),)

    class OneBatch(DataLoader):
        """The same batch for ever: the peer at its fastest, since a DataLoader would be opened anew for every step."""

        def __iter__(self) -> Iterator[Any]:
            return itertools.repeat(batch)  # type: ignore[return-value]

        def __len__(self) -> int:
            return 10**9

    model, loader = Weights(name), OneBatch(TensorDataset(*batch))
    arguments = {"lr": settings.step_size, "nbeta": settings.n_beta, "localization": settings.localization}
    method: Any = SGLD  # its default, and faster than the class that is to replace it
    if settings.sampler == "rmsprop_sgld":
        method, arguments = SGMCMC.rmsprop_sgld, {**arguments, "eps": settings.rmsprop_eps}
    start = time.perf_counter()
    found = estimate_learning_coeff_with_summary(
        model,
        loader,
        evaluate=lambda model, batch: model(batch[0]),
        sampling_method=method,
        optimizer_kwargs=arguments,
        num_draws=settings.draws,
        num_chains=settings.chains,
        num_burnin_steps=settings.burn_in,
        init_loss=float(model(batch[0]).detach()),
        cores=1,
        seed=seed,
        verbose=False,
    )
    seconds = time.perf_counter() - start
    return {"llc": float(found["llc/mean"]), "reported": float(found["llc/std"]), "seconds": seconds}


def _estimate_2(name: str, settings: Settings, seed: int) -> Estimate:
    from datasets import Dataset
    from devinterp.slt.llc import compute_llc
    from devinterp.slt.sampling import sample

    dataset = Dataset.from_dict({"input_ids": [[0, 0]]}).with_format("torch")
    model, folder = Weights(name), tempfile.mkdtemp()
    more = {"rmsprop_eps": settings.rmsprop_eps} if settings.sampler == "rmsprop_sgld" else {}
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bars cannot be turned off
        start = time.perf_counter()
        tree = sample(  # these two calls are its `llc`; apart, the draws can be kept
            model,
            dataset,
            {},
            loss_fn=lambda model, input_ids: model(input_ids).expand(len(input_ids), 1),
            lr=settings.step_size,
            n_beta=settings.n_beta,
            localization=settings.localization,
            sampling_method="rmsprop_sgld" if settings.sampler == "rmsprop_sgld" else "sgmcmc_sgld",
            num_chains=settings.chains,
            num_draws=settings.draws,
            num_burnin_steps=settings.burn_in,
            batch_size=1,
            num_init_loss_batches=1,  # one batch is all the data
            init_seed=seed,
            device="cpu",
            output_path=Path(folder, "samples.zarr"),
            **more,
        )
        found = compute_llc(tree)
        llc, std = float(found["llc_mean"]), float(found["llc_std"])
        seconds = time.perf_counter() - start
    losses = tree.dataset["sampling_loss"].values.astype(np.float64)
    baseline = float(tree.dataset["init_loss"].values.mean())
    tree.close()
    shutil.rmtree(folder)
    drawn = settings.n_beta * (float(losses.mean()) - baseline)
    return {"llc": llc, "reported": std, "seconds": seconds, "drawn": drawn}


def version() -> str:
    """The version of the peer in this interpreter."""
    try:
        return metadata.version("devinterp")
    except metadata.PackageNotFoundError as error:
        raise PeerError(MISSING.format(python=sys.executable, version="1.3.2")) from error


def estimate(name: str, settings: Settings, seed: int) -> Estimate:
    """One estimate as a user of the peer gets it: `llc`, what it reports as its error, and seconds without start-up."""
    torch.set_num_threads(1)
    run = _estimate_1 if version().startswith("1.") else _estimate_2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns on every path, whatever the settings
        return run(name, settings, seed)


def main(argv: list[str] | None = None) -> int:
    """Print a JSON line for every problem and seed; 1 with one sentence on stderr where that cannot be done."""
    parser = argparse.ArgumentParser(description="The peer's side of the benchmark on exact problems.")
    parser.add_argument("--settings", required=True, help="JSON text, or the path of a JSON file: {problem: settings}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args(argv)
    try:
        text = args.settings if args.settings.lstrip().startswith("{") else Path(args.settings).read_text()
        chosen = {name: Settings(**fields) for name, fields in json.loads(text).items()}
        unknown = set(chosen) - set(LOSSES)
        if unknown:
            raise PeerError(f"settings name the unknown problems {', '.join(sorted(unknown))}.")
        for name, settings in chosen.items():
            one = Settings(**{**settings.__dict__, "burn_in": 0, "draws": 20, "chains": 1})
            if name == next(iter(chosen)):
                estimate(name, one, 0)  # imports and first calls
            for seed in args.seeds:
                found = estimate(name, settings, seed)
                clean = {key: value if math.isfinite(value) else None for key, value in found.items()}
                print(json.dumps({"problem": name, "seed": seed, "version": version(), **clean}), flush=True)
    except PeerError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
