"""What the FT-LLC is held against, on the same data: how sparse a direction is, and what ablating it does.

The document does not define its metrics in full. Here, p = u·v at a position, θ its standard deviation times
``threshold``; data points are sequences, ranked by their largest |p|:

    sparsity          the share of positions with p ≤ θ, where the thresholded feature is 0
    norm sparsity     the share of sequences whose thresholded feature is 0 at every position, its norm over positions
    ablation, KL      mean over positions of D_KL(p_w* ‖ p_ablated), p ablated to 0 or to its mean over the data, nats
    ablation, L1/L2   of the same pass, mean over positions of ‖Δ‖₁/‖Δ‖₂, Δ the change of log-probabilities: from 1,
                      one token is moved, to √vocabulary, all are alike; low is sparse

Ablation effects are averaged over all sequences and over the k strongest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor, nn
from torch.func import vmap

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import describe
from ontogeny.features.common import EXAMPLES_AT_ONCE, CommonGround, checked_directions
from ontogeny.features.feature import Projection
from ontogeny.features.losses import Functional, by_example, divergence
from ontogeny.features.sites import Site
from ontogeny.inputs.datasets import as_examples
from ontogeny.inputs.losses import undisturbed

ALL = "all"
KINDS = ("zero", "mean")
TOP = (16, 8)
NUMBERS_AT_ONCE = 2**26
"""Of logits, side by side."""


def feature_baselines(
    model: nn.Module,
    data: Any,
    directions: Tensor,
    site: Site,
    *,
    threshold: float = 1.0,
    top: Sequence[int] = TOP,
    device: str | None = None,
) -> xr.Dataset:
    """Sparsity, norm sparsity and ablation effects of every direction.

    Args:
        model: maps data to logits, (batch, ..., vocabulary).
        data: as for ``estimate_features``; sequences are its examples.
        directions: (features, width), normalised here.
        site: where they lie.
        threshold: θ in standard deviations.
        top: numbers of strongest sequences to average over, beside all; the document's best are 16 for the KL of mean
            ablation and 8 for the sparsity of zero ablation.
        device: where; None: where the model is.

    Returns:
        ``sparsity`` and ``norm_sparsity``, dim feature; ``ablation_kl`` and ``ablation_l1_l2``, dims (ablation, over,
        feature), ablation "zero" or "mean", over "all", "16", …, each with its standard error over sequences, ``…_se``;
        ``strongest``, (feature, rank), the examples with the largest p, and ``strongest_position``, where in them.

    Raises:
        OntogenyError: one sentence on the argument at fault.
    """
    common = CommonGround(model, data, site, Functional(threshold), device=device)
    rows = checked_directions(directions, common)
    count = common.examples.count
    sizes = [*top]
    if not sizes or any(isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= count for k in sizes):
        raise OntogenyError(f"top must hold whole numbers from 1 to {count}, the examples there are; got {list(top)}.")
    with undisturbed(model), torch.no_grad():
        values = common.values([Projection(row) for row in rows]).reshape(len(rows), count, -1)  # (…, positions)
        theta = common.thresholds([Projection(row) for row in rows]).to(values)
        active = values > theta[:, None, None]
        most, place = values.max(2)  # of p itself: the feature is active where p is above θ
        ranked = most.argsort(dim=1, descending=True, stable=True)
        effects = _effects(common, as_examples(data, common.device, common.dtype).take, rows, values.mean((1, 2)))
    out = xr.Dataset(
        {
            "sparsity": ("feature", 1.0 - active.double().mean((1, 2)).cpu().numpy()),
            "norm_sparsity": ("feature", 1.0 - active.any(2).double().mean(1).cpu().numpy()),
            "strongest": (("feature", "rank"), ranked[:, : max(sizes)].cpu().numpy()),
            "strongest_position": (("feature", "rank"), place.gather(1, ranked[:, : max(sizes)]).cpu().numpy()),
        },
        coords={"ablation": list(KINDS), "over": [ALL, *map(str, sizes)]},
    )
    for name, found in effects.items():  # (2, features, examples)
        of_size = [found, *(torch.take_along_dim(found, ranked[None, :, :k].cpu(), 2) for k in sizes)]
        dims = ("ablation", "over", "feature")
        out[name] = (dims, torch.stack([part.mean(2) for part in of_size], 1).numpy())
        errors = [
            part.std(2) / part.shape[2] ** 0.5 if part.shape[2] > 1 else torch.full(part.shape[:2], torch.nan)
            for part in of_size
        ]
        out[f"{name}_se"] = (dims, torch.stack(errors, 1).numpy())
    out.attrs = {"site": str(site), "threshold": threshold, "examples": count}
    return describe(out)


def _effects(common: CommonGround, take: Any, rows: Tensor, means: Tensor) -> dict[str, Tensor]:
    """KL and L1/L2 of both ablations for every feature and example, (2, features, examples), float64 on the CPU."""
    count, features = common.examples.count, len(rows)
    found = {name: torch.empty(2, features, count, dtype=torch.float64) for name in ("ablation_kl", "ablation_l1_l2")}
    for examples in torch.arange(count).split(EXAMPLES_AT_ONCE):
        batch = take(examples)
        before = common.center.logits(batch)

        def of_one(row: Tensor, value: Tensor, batch: Any = batch, before: Tensor = before) -> tuple[Tensor, Tensor]:
            feature = Projection(row)
            after = common.center.edited(
                lambda hidden: feature.moved(hidden, value.expand(hidden.shape[:-1])),
                lambda: common.center.logits(batch),
            )
            change = after.log_softmax(-1) - before.log_softmax(-1)
            length = change.norm(dim=-1).clamp(min=torch.finfo(change.dtype).tiny)
            return by_example(divergence(before, after)), by_example(change.abs().sum(-1) / length)

        size = max(NUMBERS_AT_ONCE // before.numel(), 1)
        for kind, values in enumerate((torch.zeros_like(means), means)):
            kl, ratio = vmap(of_one, chunk_size=size)(rows, values)
            found["ablation_kl"][kind][:, examples] = kl.double().cpu()
            found["ablation_l1_l2"][kind][:, examples] = ratio.double().cpu()
    return found


def learned_steps(correlations: npt.ArrayLike, steps: npt.ArrayLike, least: float = 0.5) -> np.ndarray:
    """The first step from which on the feature's values go with the final ones for good, (features,); NaN: never.

    Args:
        correlations: r² of f at each checkpoint with f at the last, (features, checkpoints).
        steps: of the checkpoints, increasing.
        least: r² that counts.
    """
    good = np.asarray(correlations) >= least
    for_good = np.flip(np.logical_and.accumulate(np.flip(good, 1), 1), 1)
    first = for_good.argmax(1)
    return np.where(for_good.any(1), np.asarray(steps, dtype=float)[first], np.nan)
