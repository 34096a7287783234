"""The whole sparsity sweep against the time that devinterp 1.3.2's sampler would need for its chain-steps.

    python benchmarks/sparsity_sweep.py --peer-python PATH

The peer is timed on one checkpoint, four chains, on the same data and batch size, with its usual loader and with one
that fetches a batch at once, and scaled to the sweep's chain-steps; its training, curvature and analysis count nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from superposition import peer
from superposition_ours import canonical


def main() -> None:
    """Run the study into a fresh folder, time the peer, and print both."""
    import xarray as xr

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True, help="a Python that has devinterp 1.3.2")
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "ontogeny", "run", "sparsity-sweep", "--seeds", str(arguments.seeds)]
        begin = time.perf_counter()
        subprocess.run([*command, "--out", folder], check=True)
        seconds = time.perf_counter() - begin
        with xr.open_zarr(Path(folder, "results.zarr"), group="neighbours") as neighbours:
            estimates = neighbours["llc"].size
        attrs = xr.open_zarr(Path(folder, "results.zarr")).attrs
    chain_steps = estimates * int(attrs["chains"]) * (int(attrs["burn_in"]) + int(attrs["draws"]))
    print(f"the whole sweep: {seconds:.0f} s for {estimates:,} estimates, {chain_steps:,} chain-steps, with training,")
    print("curvature, analysis and report")
    problem, settings = canonical()
    for loader in ("plain", "batched"):
        rate = peer(arguments.peer_python, "rate", problem, {**asdict(settings), "loader": loader})[
            "chain_steps_per_second"
        ]
        needed = chain_steps / rate
        print(f"peer, {loader} loader: {rate:,.0f} chain-steps/s, {needed / 3600:.1f} h, {needed / seconds:.0f} × ours")


if __name__ == "__main__":
    main()
