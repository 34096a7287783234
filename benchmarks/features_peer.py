"""The peer's side of `features.py`: a plain loop over devinterp 2.0.1 with a functional feature-targeted loss.

Runs in an interpreter that has the peer and prints one line of JSON. Its conventions are told in
`peer_exact_problems.py`.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from devinterp.slt.llc import compute_llc
from devinterp.slt.sampling import sample

from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig


def main() -> None:
    """Every direction, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problem")
    parser.add_argument("--settings", type=json.loads, required=True)
    asked = parser.parse_args()
    given, kept = asked.settings, np.load(asked.problem)
    torch.set_num_threads(1)
    model = AttentionOnly(AttentionOnlyConfig(**given["sizes"]))
    model.load_state_dict({name[2:]: torch.from_numpy(kept[name]) for name in kept if name.startswith("w/")})
    star = AttentionOnly(AttentionOnlyConfig(**given["sizes"])).requires_grad_(False)
    star.load_state_dict(model.state_dict())
    seen: dict[str, Any] = {}

    def hidden(one: AttentionOnly, tokens: torch.Tensor) -> torch.Tensor:
        handle = one.blocks[given["layer"]].register_forward_hook(lambda m, a, out: seen.update(h=out))
        one(tokens)
        handle.remove()
        return seen["h"]

    tokens = torch.from_numpy(kept["tokens"])
    dataset = Dataset.from_dict({"input_ids": tokens.tolist()}).with_format("torch")
    found = []
    began = time.perf_counter()
    for row, theta in zip(torch.from_numpy(kept["rows"]), kept["thetas"].tolist(), strict=True):

        def loss(one: Any, input_ids: torch.Tensor, row: torch.Tensor = row, theta: float = theta) -> torch.Tensor:
            with torch.no_grad():
                wanted = torch.relu(hidden(star, input_ids) @ row - theta)
            squares = (torch.relu(hidden(one, input_ids) @ row - theta) - wanted).square()
            # it asks for one value a next token, and takes their mean
            return squares.mean(1, keepdim=True).expand(-1, input_ids.shape[1] - 1)

        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = sample(
                model,
                dataset,
                {},
                loss_fn=loss,
                param_masks=dict.fromkeys(kept["sampled"].tolist()),
                lr=given["step_size"],
                n_beta=given["n_beta"],
                localization=given["localization"],
                num_chains=given["chains"],
                num_draws=given["draws"],
                num_burnin_steps=given["burn_in"],
                batch_size=given["batch_size"],
                device="cpu",
                output_path=Path(folder, "samples.zarr"),
            )
            found.append(float(compute_llc(tree)["llc_mean"]))
            tree.close()
    seconds = time.perf_counter() - began
    answer = {
        "features_per_minute": 60.0 * len(found) / seconds,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "llc": found,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
