"""Heads of larger models: how λ̂ on one data set differs from λ̂ on another, beside where the heads look (appendix H).

Wang et al. (arXiv:2410.02984) show for Pythia-70M that (λ̂ on GitHub - λ̂ on the Pile)/λ̂ on the Pile tells the heads of
the induction circuit from the others of their layer. With a network, the same is

    transformers = importlib.import_module("transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained("EleutherAI/pythia-70m")
    revisions = {1000: "step1000", 10_000: "step10000", 143_000: "step143000"}
    checkpoints = og.Checkpoints.from_hub("EleutherAI/pythia-70m", revisions)
    found = relative_llc_differences(model, checkpoints, pile_rows, github_rows, out="pythia", draws=200)
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import xarray as xr
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.execution.measure import measure
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.inputs.head_access import HeadAccess
from ontogeny.inputs.language_losses import NextToken
from ontogeny.inputs.load_weights import load_into
from ontogeny.metrics import attention_scores

REFERENCE, OTHER = "reference", "other"
KNOWN = 3.0
"""Standard errors that λ̂ on the reference must be above 0 for a quotient with it."""


def relative_llc_differences(
    model: nn.Module,
    checkpoints: Checkpoints | Iterable[tuple[int, dict[str, Tensor]]],
    reference: Any,
    other: Any,
    *,
    out: str | Path,
    heads: Sequence[str] | None = None,
    n_beta: float = 30.0,
    localization: float = 200.0,
    sequences: int = 32,
    period: int = 25,
    repeats: int = 4,
    start: int | None = None,
    seed: int = 0,
    **sampler: Any,
) -> xr.Dataset:
    """(λ̂_other - λ̂_reference)/λ̂_reference of every head at every checkpoint, with the attention scores of the head.

    The standard error is that of a quotient of independent estimates, to first order: with r = λ̂_other/λ̂_reference,
    √(σ_other² + r²·σ_reference²)/|λ̂_reference|. What minibatches the two have in common is not taken off.
    Where λ̂_reference is not more than three of its errors above 0 the quotient says nothing, and is NaN; so it is where
    a chain was lost. Called again, it goes on where it was.

    Args:
        model: a transformer whose heads are known, as GPT-NeoX's; neither its weights nor its mode change.
        checkpoints: its training run, or pairs of step and state dict.
        reference: rows of tokens, such as text.
        other: rows of tokens, such as code.
        out: the folder where `og.measure` keeps what was computed.
        heads: such as ["3:2", "3:5"]; None: all.
        n_beta: nβ.
        localization: γ, in 1/weight².
        sequences: of repeated random tokens, for the scores.
        period: different tokens until a sequence repeats itself.
        repeats: how often.
        start: a token to stand before each sequence.
        seed: of all random streams.
        **sampler: further arguments of `og.measure`, such as kernel, step_size, chains, draws, executor.

    Returns:
        Dims (checkpoint, head), coordinate ``step``: ``difference`` and ``difference_se`` (no unit); ``llc``,
        ``llc_se``, ``status`` and ``regime``, with dim ``dataset`` ("reference", "other"); ``previous_token``,
        ``current_token`` and ``prefix_matching``, each with ``_se``. Heads of one key-value group share their keys.

    Raises:
        OntogenyError: if the model's heads are not known, a head is not there, or a task fails.
    """
    access = HeadAccess(model)
    names = [str(head) for head in access.chosen(heads)]
    run = checkpoints if isinstance(checkpoints, Checkpoints) else Checkpoints.from_iterable(checkpoints)
    given = {"components", "metrics", "dry_run"} & set(sampler)
    if given:
        raise OntogenyError(f"{min(given)} is chosen here: heads are the components, and λ̂ is what is measured.")
    found = measure(
        model,
        run,
        {REFERENCE: reference, OTHER: other},
        NextToken(),
        {name: name for name in names},
        out=out,
        n_beta=n_beta,
        localization=localization,
        seed=seed,
        **sampler,
    ).rename(component="head")
    kept = found[["llc", "llc_se", "status", "regime"]]
    usable, difference, error = _relative(found)
    kept["difference"] = difference.where(usable)
    kept["difference_se"] = error.where(usable)
    tried = copy.deepcopy(model)
    scores = []
    for step in run.steps:
        load_into(tried, run.weights(step))
        one = attention_scores(tried, sequences=sequences, period=period, repeats=repeats, start=start, seed=seed)
        scores.append(one.sel(head=names))
    return kept.merge(xr.concat(scores, "checkpoint", combine_attrs="drop_conflicts"))


def _relative(found: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray, xr.DataArray]:
    """Where the quotient is known, the relative difference, and its standard error."""
    one, two = (found.sel(dataset=name, drop=True) for name in (REFERENCE, OTHER))
    ratio = two["llc"] / one["llc"]
    error = (two["llc_se"] ** 2 + (ratio * one["llc_se"]) ** 2) ** 0.5 / abs(one["llc"])
    known = (one["llc"] > KNOWN * one["llc_se"]) & (one["chains_lost"] == 0) & (two["chains_lost"] == 0)
    return known, ratio - 1, error
