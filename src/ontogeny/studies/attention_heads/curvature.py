"""Curvature of every head on text at a checkpoint, beside its wrLLC: Fisher trace, Hessian rank, second order.

Rank and prediction, at every (nβ, γ) that λ̂ is measured at, come of the same Lanczos runs. The Hessian is of a few
rows; the gradient is of all rows of λ̂, since the noise of fewer would be squared. Of gradients, that and those of the
Fisher trace, one pass serves all heads; of a Hessian each head needs products of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.types import Params
from ontogeny.inputs.components import resolve
from ontogeny.inputs.language_losses import NextToken
from ontogeny.inputs.load_weights import load_into
from ontogeny.inputs.losses import ModuleLoss, undisturbed
from ontogeny.inputs.outputs import split_at_output
from ontogeny.inputs.slices import Slice, slice_of
from ontogeny.metrics.curvature.problems import GROUPS, Arguments, Numbers, Sampled, mean_gradient
from ontogeny.metrics.curvature.rank import rank_by_lanczos
from ontogeny.metrics.curvature.second_order import predicted
from ontogeny.metrics.curvature.spectra import spectra
from ontogeny.metrics.curvature.trace import numbers
from ontogeny.operators.fisher import ModelScores
from ontogeny.operators.trace import Estimate, mean_of, over_groups
from ontogeny.operators.vectors import cut
from ontogeny.sampling.problem import build
from ontogeny.studies.attention_heads.assemble import side_by_side
from ontogeny.studies.attention_heads.settings import AttentionHeadsSettings

TOGETHER = 32
"""Rows at once for the gradient of all of them."""


class Curved(NamedTuple):
    """One checkpoint, and by the name of the sampler's setting the ``n_beta`` and ``localization`` to look at."""

    settings: AttentionHeadsSettings
    at: dict[str, dict[str, float]]


def curve(task: Curved, shared: Mapping[str, Any]) -> xr.Dataset:
    """Everything of one checkpoint; ``shared``: model, rows (those of the wrLLC), device; and the weights.

    Returns:
        By ``head``: ``fisher_trace``, targets drawn from the model, and ``hessian_min`` and ``hessian_max``
        (nats/weight²); by (setting, head): ``hessian_rank``, the number of eigenvalues with nβh > γ, and
        ``second_order_llc`` with its parts ``_curvature`` and ``_gradient``. With errors and status words.
    """
    model, budget, settings = shared["model"], task.settings.curvature, task.settings
    load_into(model, shared["part"])
    model.to(torch.device(shared["device"]))
    rows = shared["rows"].to(shared["device"])
    heads, each = settings.heads, []
    for head, slope in zip(heads, slopes(model, rows, heads), strict=True):

        def one(sampled: Sampled, slope: Tensor = slope) -> Numbers:
            found = spectra(sampled, sampled.hessian(), budget.probes, budget.steps, slope)
            rank_and_order = [_at(found, **at) for at in task.at.values()]
            return {
                "hessian_min": found.ends[0],
                "hessian_max": found.ends[1],
                **{name: ("setting", [numbers_[name] for numbers_ in rank_and_order]) for name in rank_and_order[0]},
            }

        arguments = Arguments(model, rows, NextToken(), head, budget.rows, budget.rows, settings.seed, None)
        each.append(arguments.measure(one).reset_coords(drop=True).squeeze(("component", "dataset"), drop=True))
    both = side_by_side(each, "head").assign_coords(head=heads, setting=list(task.at))
    return xr.merge([fisher_traces(model, rows, settings), both], combine_attrs="drop", join="exact").drop_attrs()


def _at(found: Any, n_beta: float, localization: float) -> Numbers:
    """Rank and prediction at one (nβ, γ)."""
    return rank_by_lanczos(found, localization / n_beta) | predicted(found, n_beta, localization)


def fisher_traces(model: nn.Module, rows: Tensor, settings: AttentionHeadsSettings) -> xr.Dataset:
    """``og.metrics.fisher_trace`` of every head, the same numbers, from gradients of all weights."""
    budget, layout = settings.curvature, _layout(model, settings.heads)

    def one(sampled: Sampled) -> Numbers:
        loss = sampled.problem.loss
        assert isinstance(loss, ModuleLoss)
        estimates: dict[str, list[Estimate]] = {head: [] for head in layout}
        for number, batch in enumerate(sampled.batches):
            scores = ModelScores(partial(split_at_output, loss), sampled.problem.center, batch, "loss")
            stream = sampled.stream("targets", number)
            squares = []
            for _ in range(budget.draws):
                gradient = _by_name(scores.gradient(stream), sampled.problem.center)
                squares.append([float(_row(gradient, own).square().sum()) for own in layout.values()])
            for head, drawn in zip(layout, torch.tensor(squares, dtype=torch.float64).T, strict=True):
                estimates[head].append(mean_of(drawn))
        found = [numbers("fisher_trace", *over_groups(e, sampled.sizes, sampled.share)) for e in estimates.values()]
        return {name: ("head", [each[name] for each in found]) for name in found[0]}

    arguments = Arguments(model, rows, NextToken(), None, budget.fisher_rows, None, settings.seed, None)
    found = arguments.measure(one, GROUPS).reset_coords(drop=True).squeeze(("component", "dataset"), drop=True)
    return found.assign_coords(head=settings.heads)


def slopes(model: nn.Module, rows: Tensor, heads: Sequence[str]) -> list[Tensor]:
    """∇L over all rows at each head's own weights, one row each, float64, as ``Sampled.gradient`` lays them out."""
    with undisturbed(model):
        problem = build(model, rows, NextToken(), None, None, None)
        whole = _by_name(mean_gradient(problem, TOGETHER), problem.center)
    return [_row(whole, own) for own in _layout(model, heads).values()]


def _layout(model: nn.Module, heads: Sequence[str]) -> dict[str, dict[str, Slice]]:
    """Where the weights of each head lie in the parameters."""
    return {head: {name: slice_of(mask) for name, mask in resolve(model, head).items()} for head in heads}


def _by_name(row: Tensor, center: Params) -> dict[str, Tensor]:
    """One row ``(1, d)`` over all weights as tensors of their shapes, in the row's dtype."""
    like = [value.to(row.dtype) for value in center.values()]
    return dict(zip(center, (part[0] for part in cut(row, like)), strict=True))


def _row(whole: Mapping[str, Tensor], own: Mapping[str, Slice]) -> Tensor:
    return torch.cat([part.take(whole[name]).flatten() for name, part in own.items()]).unsqueeze(0)
