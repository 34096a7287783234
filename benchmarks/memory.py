"""Peak memory of refined estimates: by chains, by components, by checkpoints.

    python benchmarks/memory.py

A two-layer attention-only transformer, width 128, 8 heads, context 128, vocabulary 2000 (780,000 weights), untrained;
batches of 4 rows of 512; 10 draws after 5 steps of burn-in, ε = 1e-4. Chains: the whole model. Components: so many
heads in one call of og.estimate_llc. Checkpoints: og.measure over so many, one worker, head 1:0. Every figure is the
peak resident memory of a process of its own, less that of one which only imports and builds the model.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

CHAINS, COMPONENTS, CHECKPOINTS = (2, 4, 8, 16), (1, 2, 4, 8, 16), (1, 2, 4, 8)
RUN = {"n_beta": 30.0, "localization": 200.0, "step_size": 1e-4, "burn_in": 5, "draws": 10, "batch_size": 4}


def one(what: str, count: int) -> None:
    """Do one thing and print the peak in MB."""
    import torch

    import ontogeny as og

    torch.set_num_threads(1)
    model = og.AttentionOnly(og.AttentionOnlyConfig(vocabulary=2000, context=128, width=128, layers=2, heads=8))
    tokens = torch.randint(2000, (512, 128), generator=torch.Generator().manual_seed(0))
    heads = [f"{layer}:{head}" for layer in (1, 0) for head in range(8)]
    if what == "chains":
        og.estimate_llc(model, tokens, og.NextToken(), chains=count, progress=False, **RUN)
    if what == "components":
        og.estimate_llc(model, tokens, og.NextToken(), heads[:count], chains=4, progress=False, **RUN)
    if what == "checkpoints":
        run = [(step, {name: w + 1e-4 * step for name, w in model.state_dict().items()}) for step in range(count)]
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = og.Checkpoints.from_folder(_written(run, Path(folder) / "run"))
            out = Path(folder) / "out"
            data, loss = {"all": tokens}, og.NextToken()
            og.measure(model, checkpoints, data, loss, ["1:0"], out=out, chains=4, workers=1, progress=False, **RUN)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _written(run: list, folder: Path) -> Path:  # type: ignore[type-arg]
    from safetensors.torch import save_file

    folder.mkdir()
    for step, weights in run:
        save_file(weights, folder / f"step_{step:08d}.safetensors")
    return folder


def peak(what: str, count: int) -> float:
    """MB, in a process of its own."""
    said = subprocess.run([sys.executable, __file__, what, str(count)], capture_output=True, text=True, check=True)
    return float(said.stdout.split()[-1])


def main() -> None:
    """Print a table a question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?")
    parser.add_argument("count", nargs="?", type=int)
    asked = parser.parse_args()
    if asked.what:
        one(asked.what, asked.count)
        return
    nothing = peak("nothing", 0)
    print(f"importing and building the model: {nothing:.0f} MB")
    for what, counts in (("chains", CHAINS), ("components", COMPONENTS), ("checkpoints", CHECKPOINTS)):
        print(f"| {what} | " + " | ".join(map(str, counts)) + " |\n|---" + "|---" * len(counts) + "|")
        print(
            "| MB more | " + " | ".join(f"{peak(what, count) - nothing:.0f}" for count in counts) + " |\n", flush=True
        )


if __name__ == "__main__":
    main()
