"""Refined LLCs of a real pretrained model: the whole of it and every head, on its own text and on shuffled text.

    python benchmarks/pretrained.py --model FOLDER --tokens FILE [--out FOLDER] [--components N] [--draws 60]
        [--data own,shuffled]

FOLDER is a transformers causal language model with safetensors, FILE a safetensors file with ``input_ids``; the figures
in BENCHMARKS.md are of stories260K (Llama architecture, 260,032 weights, 5 layers of 8 heads with 4 key-value heads) on
500 stories of 128 tokens. nβ = 30, γ = 200, 4 chains × 60 draws, batches of 8 rows; kernel, step and burn-in by rule.
Shuffled text: the same tokens, all positions but the first permuted over the whole data set.

Every status that is not "ok" is followed by its cause, and by the setting under which the same estimate was seen to be
ok: more draws (40 autocorrelation times a chain, at least twice as many draws as before), once more so, and then with
five times the γ. Where none of the three is, by the status of the last one and what that means.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch
import xarray as xr
from safetensors.torch import load_file

import ontogeny as og

RUN = {"n_beta": 30.0, "localization": 200.0, "chains": 4, "batch_size": 8}
TIMES = 40
"""Autocorrelation times a chain that a second try is given."""
TRIES = 3
STRONGER = 5.0
"""How many times γ is raised where longer chains do not help."""


def shuffled(tokens: torch.Tensor) -> torch.Tensor:
    """The same tokens in no order; the first of each row stays."""
    rest = tokens[:, 1:]
    order = torch.randperm(rest.numel(), generator=torch.Generator().manual_seed(0))
    return torch.cat([tokens[:, :1], rest.reshape(-1)[order].reshape(rest.shape)], 1)


def one(found: xr.Dataset, component: str, dataset: str) -> xr.Dataset:
    """A single estimate out of the study."""
    return found.sel(component=component, dataset=dataset).isel(checkpoint=0)


def line(estimate: xr.Dataset) -> str:
    """λ̂ ± s.e., status and regime."""
    words = f"{estimate.status.item()}, {estimate.regime.item()}"
    return f"{float(estimate.llc):9.3f} ± {float(estimate.llc_se):6.3f}  R̂ {float(estimate.r_hat):5.3f}  {words}"


class Again(NamedTuple):
    """An estimate that is not ok."""

    model: Path
    tokens: Path
    dataset: str
    component: str
    selection: Any
    estimate: xr.Dataset
    draws: int


@lru_cache(maxsize=1)
def loaded(model: Path, tokens: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    """The model, and its data sets."""
    import transformers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = transformers.AutoModelForCausalLM.from_pretrained(model)
    own = load_file(tokens)["input_ids"].long()
    return found, {"own": own, "shuffled": shuffled(own)}


def until_ok(again: Again) -> str:
    """The setting under which the estimate is ok, looked for with longer chains, then with a stronger γ."""
    torch.set_num_threads(1)
    model, data = loaded(again.model, again.tokens)
    settings: dict[str, Any] = dict(RUN)
    estimate, draws = again.estimate, again.draws
    for attempt in range(TRIES):
        if attempt == TRIES - 1:
            settings["localization"] = STRONGER * RUN["localization"]
        times = RUN["chains"] * draws / max(float(estimate.ess), 1.0)
        draws = int(max(TIMES * times, 2 * draws)) if attempt < TRIES - 1 else draws
        estimate = og.estimate_llc(
            model, data[again.dataset], og.NextToken(), again.selection, **settings, draws=draws, progress=False
        )
        if estimate.status.item() == "ok":
            return f"ok with draws = {draws}, γ = {settings['localization']:g}: {line(estimate)}"
    tried = f"draws = {draws}, γ = {settings['localization']:g}"
    return f"not ok even with {tried}: {line(estimate)}; {og.describe_status(estimate.status.item())}"


def main() -> None:
    """Measure, print, and look for what makes the others ok."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--draws", type=int, default=60)
    parser.add_argument("--components", type=int, help="only so many, spread over the layers; default: all")
    parser.add_argument("--data", default="own,shuffled", help="on which text; default: both")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--again", type=int, default=1000, help="at most so many are tried again")
    asked = parser.parse_args()

    model, data = loaded(asked.model, asked.tokens)
    wanted = asked.data.split(",")
    if not set(wanted) <= set(data):
        raise SystemExit(f"--data must be among {','.join(data)}; got {asked.data}.")
    data = {name: data[name] for name in wanted}
    layers, heads = model.config.num_hidden_layers, model.config.num_attention_heads
    components: dict[str, Any] = {"all": None} | {f"{a}:{b}": f"{a}:{b}" for a in range(layers) for b in range(heads)}
    if asked.components:
        names = list(components)
        keep = [names[round(i * (len(names) - 1) / max(asked.components - 1, 1))] for i in range(asked.components)]
        components = {name: components[name] for name in keep}
    out = asked.out or Path(tempfile.mkdtemp()) / "pretrained"
    began = time.monotonic()
    found = og.measure(
        model,
        og.Checkpoints.from_iterable([(0, model.state_dict())]),
        data,
        og.NextToken(),
        components,
        out=out,
        draws=asked.draws,
        workers=asked.workers,
        **RUN,
    )
    took = time.monotonic() - began
    count = found.llc.size
    print(f"{count} estimates at 4 × {asked.draws} draws in {took:.0f} s")
    words = Counter(str(word) for word in found.status.values.ravel())
    print("status:", ", ".join(f"{word} {number}" for word, number in words.most_common()))
    for dataset in data:
        for component in components:
            print(f"{dataset:9} {component:4} {line(one(found, component, dataset))}")
    again = [
        Again(
            asked.model, asked.tokens, dataset, component, selection, one(found, component, dataset).load(), asked.draws
        )
        for dataset in data
        for component, selection in components.items()
        if one(found, component, dataset).status.item() != "ok"
    ][: asked.again]
    began, cores = time.monotonic(), asked.workers or len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        for each, remedy in zip(again, pool.map(until_ok, again), strict=True):
            word = each.estimate.status.item()
            cause = og.describe_status(word).partition(";")[0]
            print(f"{each.dataset} {each.component}: {word} (R̂ {float(each.estimate.r_hat):.3f}, virial/d "
                  f"{float(each.estimate.check_virial):.3f}): {cause}. {remedy}", flush=True)  # fmt: skip
    print(f"{len(again)} tried again in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
