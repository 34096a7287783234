"""The peer's side of `refined.py`: devinterp 2.0.1 estimating the LLC of one head of a language model.

    python benchmarks/refined_peer.py --cache FOLDER --threads 2

runs in an interpreter that has the peer (pip install devinterp==2.0.1 transformers datasets) and ontogeny's source on
its path. It answers each line of JSON on standard input, the fields of `Request`, with one on standard output, so that
imports and models are loaded once and left out of every time.

Conventions, read in its source (optim/sgmcmc.py, slt/sampler.py, slt/sampling.py, slt/llc.py): one step is
w ← w - (lr/2)(nβ∇L_B + γ(w - w*)) + √lr ξ, as ours, on the masked weights alone, with gradient and noise of the whole
of every parameter that the mask touches. The loss is recorded before the step, on the step's own batch. `llc` averages
all steps from w* on, and takes off the mean loss of the first `num_init_loss_batches` of the same shuffle that the
steps run through again and again; with as many of those as steps, or with all that the data have, the baseline is on
the very batches of the draws, which is the peer at its best. Every chain sees the same batches, and each finds the
baseline anew. `llc_std` is the spread between chains. It samples in training mode: the models have no dropout.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from refined_models import load_masks, load_model, load_rows


@dataclass(frozen=True)
class Request:
    """One estimate; `observables` is the peer's default call (the loss on 3 batches after each draw), else none."""

    model: str  # the name of its folder in the cache
    component: str
    draws: int  # a chain [num_draws]
    seed: int = 0  # [init_seed]
    observables: bool = False
    baseline_batches: int = 32  # [num_init_loss_batches]
    chains: int = 4
    batch_size: int = 4
    n_beta: float = 30.0
    localization: float = 200.0
    step_size: float = 1e-3  # [lr]


@lru_cache(maxsize=2)
def _loaded(folder: Path) -> tuple[Any, Any]:
    from datasets import Dataset

    rows = load_rows(folder)
    return load_model(folder), Dataset.from_dict({"input_ids": rows.tolist()}).with_format("torch")


def baseline(folder: Path) -> float:
    """Mean loss over all rows, nats a token, by the peer's own loss; to be held against ours."""
    from devinterp.slt.lm_loss import compute_per_token_loss

    model, _ = _loaded(folder)
    with torch.no_grad():
        return float(torch.cat([compute_per_token_loss(model, part) for part in load_rows(folder).split(16)]).mean())


def estimate(folder: Path, request: Request) -> dict[str, float]:
    """λ̂, the spread between chains that the peer reports, and seconds, model and data set already built."""
    from devinterp.slt.llc import llc

    model, dataset = _loaded(folder)
    masks = load_masks(folder, request.component)
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began = time.perf_counter()
        found = llc(
            model,
            dataset,
            {"rows": dataset} if request.observables else {},
            lr=request.step_size,
            n_beta=request.n_beta,
            param_masks=masks,
            localization=request.localization,
            num_chains=request.chains,
            num_draws=request.draws,
            batch_size=request.batch_size,
            num_init_loss_batches=request.baseline_batches,
            init_seed=request.seed,
            device="cpu",
            output_path=Path(scratch, "samples.zarr"),
        )
        mean, between = float(found["llc_mean"]), float(found["llc_std"])
        seconds = time.perf_counter() - began
    return {"llc": mean, "reported": between, "seconds": seconds}


def main() -> int:
    """Answer requests until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever the libraries print goes to the log
    try:
        import devinterp.slt.llc  # noqa: F401
    except ImportError as error:
        message = f"devinterp 2.0.1 cannot be imported by {sys.executable} ({error}); pip install devinterp==2.0.1"
        print(json.dumps({"error": message}), file=answers)
        return 1
    print(json.dumps({name: metadata.version(name) for name in ("devinterp", "torch", "transformers")}), file=answers)
    for line in sys.stdin:
        fields = json.loads(line)
        folder = arguments.cache / fields["model"]
        try:
            answer = estimate(folder, Request(**fields)) if "component" in fields else {"loss": baseline(folder)}
        except Exception as error:  # the driver says which call it was
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
