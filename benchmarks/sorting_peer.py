"""The peer's side of `sorting.py`: devinterp 1.3.2 estimating the LLC of a two-head sorting transformer.

    PYTHONPATH=src python benchmarks/sorting_peer.py w.npz --settings JSON --seed 0

runs in an interpreter that has the peer and prints one line of JSON. Its conventions are told in `peer_devinterp.py`;
the loss is the mean over lists and over the positions that are to be predicted, as ours.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from typing import Any

import numpy as np
import torch
from devinterp.optim.sgld import SGLD
from devinterp.slt.sampler import estimate_learning_coeff_with_summary
from torch.utils.data import DataLoader, TensorDataset

from ontogeny.inputs.algorithmic_tasks import SortedPart
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig

LENGTH, NUMBERS = 10, 51


def main() -> None:
    """One estimate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights")
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    given, kept = asked.settings, np.load(asked.weights)
    torch.set_num_threads(1)
    torch.manual_seed(asked.seed)
    sizes = {"width": 96, "layers": 1, "heads": int(kept["heads"]), "head_width": 48}
    model = AttentionOnly(
        AttentionOnlyConfig(NUMBERS + 1, 2 * LENGTH + 1, layer_norm=True, positions="standard", **sizes)
    )
    torch.nn.utils.vector_to_parameters(torch.from_numpy(kept["flat"]), model.parameters())
    data, loss = torch.from_numpy(kept["data"]), SortedPart(LENGTH)

    def evaluate(model: Any, batch: Any) -> torch.Tensor:
        return loss(model, batch[0]).mean()

    with torch.no_grad():
        baseline = evaluate(model, (data,)).item()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        began = time.perf_counter()
        found = estimate_learning_coeff_with_summary(
            model,
            DataLoader(TensorDataset(data), batch_size=given["batch_size"], shuffle=True),
            evaluate=evaluate,
            sampling_method=SGLD,
            optimizer_kwargs={
                "lr": given["step_size"],
                "nbeta": given["n_beta"],
                "localization": given["localization"],
            },
            num_draws=given["draws"],
            num_chains=given["chains"],
            num_burnin_steps=given["burn_in"],
            init_loss=baseline,
            cores=1,
            seed=asked.seed,
            verbose=False,
        )
        seconds = time.perf_counter() - began
    answer = {"llc": float(found["llc/mean"]), "reported": float(found["llc/std"]), "seconds": seconds}
    print(json.dumps(answer | {"baseline": baseline}))


if __name__ == "__main__":
    main()
