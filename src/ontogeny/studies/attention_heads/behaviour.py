"""What heads do at a checkpoint: scores, ablations, composition, curvature, paths; all of it runs in workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.progress import report_progress
from ontogeny.inputs.language_losses import NextToken
from ontogeny.inputs.load_weights import load_into
from ontogeny.inputs.text import Tokenizer
from ontogeny.interventions import LastToken, ablation_scores, bracket_sentences, path_patching_scores
from ontogeny.metrics import (
    attention_scores,
    composition_scores,
    hessian_trace,
    in_context_learning_score,
    most_affected,
)
from ontogeny.studies.attention_heads.assemble import side_by_side
from ontogeny.studies.attention_heads.settings import CODE, TEXT, AttentionHeadsSettings

PERIOD, REPEATS = 25, 4
"""Of the repeated random tokens, as Olsson et al. have them; shorter where the context is."""
SENTENCES = ("unnested", "nested")
THROUGH = ("q", "k", "v", "qkv")


class Trial(NamedTuple):
    """One checkpoint of one seed, to be tried."""

    settings: AttentionHeadsSettings
    seed: int
    step: int


class Patch(NamedTuple):
    """Which heads are ablated in what the receiver reads, at one checkpoint."""

    settings: AttentionHeadsSettings
    seed: int
    step: int
    senders: tuple[str, ...]
    receiver: str


def trial_data(
    settings: AttentionHeadsSettings, tokenizer: Tokenizer, datasets: Mapping[str, Tensor]
) -> dict[str, Any]:
    """The rows of every trial, by name."""
    behaviour, context = settings.behaviour, settings.model.context
    names = [name for name in (TEXT, CODE) if name in datasets]
    out: dict[str, Any] = {name: datasets[name][: behaviour.rows] for name in names}
    for kind in SENTENCES:
        out[kind] = bracket_sentences(
            tokenizer, behaviour.brackets, nested=kind == "nested", length=min(64, context), seed=settings.seed
        )
    return out


def behave(trial: Trial, shared: Mapping[str, Any]) -> xr.Dataset:
    """Everything that is tried at one checkpoint; ``shared``: model, start (a token), data; and the weights.

    Returns:
        The scores of ``attention_scores`` by ``head``; ``icl_score`` by ``ablated``; compositions by (writer, reader);
        ``ablation_score`` by (ablation, head) and ``loss``; ``bracket_score`` by (sentences, head) and
        ``bracket_loss``; ``hessian_trace`` by (trace_dataset, head). All with errors.
    """
    settings = trial.settings
    model, data = _loaded(shared), shared["data"]
    behaviour, context = settings.behaviour, settings.model.context
    period = min(PERIOD, (context - 1) // REPEATS)
    # tokens that the text has: those never seen keep the vectors that they were born with
    seen = data[TEXT].unique()
    found = attention_scores(
        model,
        tokens=seen,
        sequences=behaviour.sequences,
        period=period,
        repeats=REPEATS,
        start=shared["start"],
        seed=settings.seed,
    )
    report_progress(0.1)
    found = found.merge(
        in_context_learning_score(model, data[TEXT], early=behaviour.early, late=behaviour.late, heads=settings.heads)
    )
    report_progress(0.3)
    found = found.merge(composition_scores(model))
    found = found.merge(ablation_scores(model, data[TEXT]))
    report_progress(0.6)
    found = found.merge(_brackets(model, data))
    report_progress(0.7)
    return found.merge(_traces(model, settings, data))


def _brackets(model: nn.Module, data: Mapping[str, Tensor]) -> xr.Dataset:
    each = [ablation_scores(model, data[kind], kinds=["mean"], loss_fn=LastToken()) for kind in SENTENCES]
    by_kind = side_by_side(each, "sentences").assign_coords(sentences=list(SENTENCES))
    names = {
        "ablation_score": "bracket_score",
        "ablation_score_se": "bracket_score_se",
        "loss": "bracket_loss",
        "loss_se": "bracket_loss_se",
    }
    return by_kind.isel(ablation=0, drop=True).rename(names)


def _traces(model: nn.Module, settings: AttentionHeadsSettings, data: Mapping[str, Tensor]) -> xr.Dataset:
    datasets = {name: data[name] for name in (TEXT, CODE) if name in data}
    behaviour = settings.behaviour
    found = hessian_trace(
        model, datasets, NextToken(), {head: head for head in settings.heads},
        samples=behaviour.trace_rows, probes=behaviour.probes, seed=settings.seed,
    )  # fmt: skip
    return found.drop_attrs().rename(component="head", dataset="trace_dataset")


def patch(path: Patch, shared: Mapping[str, Any]) -> xr.Dataset:
    """The loss of the closing bracket with the senders mean-ablated in what the receiver reads alone; figure 6.

    ``path_score`` by (sentences, through), NaN without senders or a receiver.
    """
    if not path.senders or not path.receiver:
        return nothing_patched()
    model = _loaded(shared)
    each = [
        path_patching_scores(
            model, shared["data"][kind], path.senders, path.receiver, through=THROUGH, loss_fn=LastToken()
        )[["path_score", "path_score_se"]]
        for kind in SENTENCES
    ]
    return side_by_side(each, "sentences").assign_coords(sentences=list(SENTENCES))


def nothing_patched() -> xr.Dataset:
    """The same where no path was patched."""
    empty = (("sentences", "through"), np.full((len(SENTENCES), len(THROUGH)), np.nan))
    return xr.Dataset(
        {"path_score": empty, "path_score_se": empty}, coords={"sentences": list(SENTENCES), "through": list(THROUGH)}
    )


def find_contexts(trial: Trial, shared: Mapping[str, Any]) -> xr.Dataset:
    """The tokens in context that each head is for: ``most_affected`` on ``shared["rows"]``, rows of training text."""
    behaviour = trial.settings.behaviour
    return most_affected(_loaded(shared), shared["rows"], most=behaviour.most, shown=behaviour.shown)


def _loaded(shared: Mapping[str, Any]) -> nn.Module:
    model: nn.Module = shared["model"]
    load_into(model, shared["part"])
    return model.to(torch.device(shared["device"]))
