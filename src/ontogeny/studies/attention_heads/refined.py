"""Refined LLCs over training: of every head on text and code, of the whole model on every data set, on models as data.

    wrLLC   weights of one head, training distribution      heads × text
    wdrLLC  weights of one head, another distribution       heads × code, heads × what a one-layer model predicts
    drLLC   all weights, another distribution               whole model × data sets, and × zero- and one-layer models

Each group is one call of ``og.measure`` in a folder of its own, so that it is resumed chunk by chunk, and all are
measured at the same (nβ, γ).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from torch import Tensor

from ontogeny.estimators.llc import ESSENTIALS
from ontogeny.execution.measure import measure
from ontogeny.inputs.attention_only import AttentionOnly
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.inputs.language_losses import DivergenceFrom, NextToken
from ontogeny.sampling.estimate import calibrate
from ontogeny.store import Store, content_key
from ontogeny.studies.attention_heads.assemble import side_by_side
from ontogeny.studies.attention_heads.settings import CODE, ONE_LAYER, TEXT, AttentionHeadsSettings, Sampler

PAIR = "both induction heads"
"""The component of the two heads that look most like induction heads."""
WHOLE = "all"
KEPT = (*ESSENTIALS, "n_beta", "localization", "step_size")
"""Of an estimate."""


class Refined(NamedTuple):
    """What is measured of one seed at one sampler setting, dims (checkpoint, component, dataset) or (…, dataset)."""

    heads: xr.Dataset
    whole: xr.Dataset


def refined_llcs(
    settings: AttentionHeadsSettings,
    sampler: Sampler,
    at: Mapping[str, float],
    checkpoints: Checkpoints,
    datasets: Mapping[str, Tensor],
    references: Mapping[str, AttentionOnly],
    pair: Sequence[str],
    folder: Path,
    **where: Any,
) -> Refined:
    """All refined LLCs of one training seed.

    Args:
        settings: of the study.
        sampler: how λ̂ is sampled.
        at: ``n_beta`` and ``localization``.
        checkpoints: those measured.
        datasets: rows by name, ``TEXT`` among them.
        references: zero- and one-layer models, trained.
        pair: the heads of ``PAIR``.
        folder: where the calls keep what they computed.
        **where: executor, address, workers and progress of ``og.measure``.
    """
    model = AttentionOnly(settings.model.config(), 0)
    fixed: dict[str, Any] = {**at, **sampler.arguments(), **where, "seed": settings.seed}

    def call(data: dict[str, Tensor], loss: Any, components: Any, name: str, *more: str) -> xr.Dataset:
        return measure(model, checkpoints, data, loss, components, ("llc", *more), out=folder / name, **fixed)

    heads: dict[str, Any] = {head: head for head in settings.heads}
    pair_too = heads | ({PAIR: list(pair)} if len(pair) > 1 else {})
    both = {name: datasets[name] for name in (TEXT, CODE) if name in datasets}
    of_text = call(both, NextToken(), pair_too, "heads")
    one_layer = call({ONE_LAYER: datasets[TEXT]}, DivergenceFrom(references[ONE_LAYER]), heads, "one-layer")
    whole = call(dict(datasets), NextToken(), None, "whole", "loss")
    generated = [
        call({name: datasets[TEXT]}, DivergenceFrom(reference), None, f"whole-{name.split('-')[0]}", "loss")
        for name, reference in references.items()
    ]
    return Refined(
        _joined([of_text, one_layer], [*heads, PAIR], KEPT),
        _joined([whole, *generated], None, (*KEPT, "loss", "loss_se")),
    )


def frozen_at(
    settings: AttentionHeadsSettings,
    sampler: Sampler,
    last: Callable[[], AttentionOnly],
    datasets: Mapping[str, Tensor],
    store: Store,
) -> dict[str, float]:
    """nβ and γ of a sampler: as given, or found once and kept.

    Calibrated, they are those of ``og.calibrate`` for all heads and the whole model on text and code: the smallest nβ
    and the largest γ that any of them needs, so that what stands side by side is measured alike.
    """
    if sampler.n_beta is not None and sampler.localization is not None:
        return {"n_beta": sampler.n_beta, "localization": sampler.localization}
    both = {name: datasets[name] for name in (TEXT, CODE) if name in datasets}
    model = last()
    weights = [value.detach().numpy() for value in model.state_dict().values()]
    key = content_key(
        "attention heads, γ", sampler.arguments(), settings.seed, *weights, *(d.numpy() for d in both.values())
    )
    if not store.has(key):
        components = {head: head for head in settings.heads} | {WHOLE: "*"}
        found = calibrate(
            model, both, NextToken(), components, batch_size=sampler.batch_size, kernel=sampler.kernel,
            seed=settings.seed, progress=False,
        )  # fmt: skip
        store.save(key, xr.Dataset({"n_beta": found.n_beta, "localization": found.localization}))
    held = store.load(key)
    return {name: float(held[name]) for name in ("n_beta", "localization")}


def _joined(parts: Sequence[xr.Dataset], components: Sequence[str] | None, kept: Sequence[str]) -> xr.Dataset:
    """Side by side along ``dataset``; what was not measured has λ̂ NaN and the status ""."""
    ready = []
    for part in parts:
        one = part[[name for name in kept if name in part]]
        for name in ("n_beta", "localization", "step_size"):
            if name not in one and name in part.attrs:
                one[name] = xr.full_like(one["llc"], float(part.attrs[name]))
        one = one.isel(component=0, drop=True) if components is None else one.reindex(component=list(components))
        ready.append(one.drop_attrs())
    joined = side_by_side(ready, "dataset")
    joined["chains_lost"] = joined["chains_lost"].fillna(0).astype(np.int64)
    for word in ("status", "regime"):
        joined[word] = joined[word].fillna("").astype(object)
    return joined
