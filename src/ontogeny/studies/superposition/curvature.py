"""Curvature at the checkpoints of a chunk: everything from the dense Hessian, which the step bias asks for anyway."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ontogeny.core.types import Params
from ontogeny.metrics.curvature import curvature_of_dense
from ontogeny.metrics.curvature.second_order import UNRESOLVED
from ontogeny.operators.hessian import dense_hessian
from ontogeny.sampling.posterior import LocalPosterior

EXAMPLES = 2000
"""The Hessian is of so many examples, the first of the data set; the gradient is of all."""
GROUPS = 5
"""Equal parts of them: what leaving one out changes tells the error that the choice of examples makes."""
WITH_ERROR = ("hessian_trace", "second_order_llc", "second_order_llc_curvature", "second_order_llc_gradient")
"""What has a standard error; the rank is a count, of the Hessian of these examples."""

MEASURED = ("hessian_trace", "hessian_rank", "second_order_llc", "second_order_llc_status")
"""Of these a report is made; results of earlier versions lack some."""


def hessians_of_groups(posterior: LocalPosterior, data: Tensor, params: Params) -> Tensor:
    """Hessians of the mean loss over each group, shape ``(group, position, d, d)``; their mean is that over all."""
    return torch.stack([dense_hessian(posterior.loss, params, part) for part in data[:EXAMPLES].chunk(GROUPS)])


def gradients(posterior: LocalPosterior, data: Tensor) -> Tensor:
    """∇L(w*) over all examples, one row a checkpoint, in the order of the Hessian's rows; loss/weight."""
    loss = posterior.loss
    one = torch.func.vmap(torch.func.grad(lambda params: loss(params, data).mean()), chunk_size=16)
    found = one(posterior.center)
    return torch.cat([found[name].double().flatten(1) for name in posterior.center], dim=1)


def curvature(groups: Tensor, gradient: Tensor, *, n_beta: float, localization: float, share: float) -> xr.Dataset:
    """Trace, ends, rank and second-order prediction of every checkpoint, dim ``task``, with errors and a status.

    groups: (group, task, d, d), of equal numbers of examples, in all a ``share`` of those that λ̂ refers to; gradient:
    (task, d), of all. The error is the jackknife's over groups with the finite population's factor √(1 - share), none
    where all examples are in; it does not speak of another sample of n examples, as that of λ̂ does not.
    ``second_order_llc_status``: "ok"; "no_posterior", where some nβh + γ is not positive (then NaN); "unresolved",
    where its error is above a tenth of its parts, or unknown; "not_finite", where the Hessian is not.
    """
    parts, along = groups.double().cpu().numpy(), gradient.cpu().numpy()
    count, mean = len(parts), parts.mean(0)
    found = curvature_of_dense(mean, along, n_beta, localization)
    left = [curvature_of_dense(mean + (mean - one) / (count - 1), along, n_beta, localization) for one in parts]
    out = xr.Dataset({name: ("task", values) for name, values in found.items()})
    for name in WITH_ERROR:
        each = np.stack([one[name] for one in left])
        variance = (1 - share) * (count - 1) / count * ((each - each.mean(0)) ** 2).sum(0)
        error = np.sqrt(variance) if share < 1 else np.where(np.isfinite(found[name]), 0.0, np.nan)
        out[f"{name}_se"] = ("task", error)
    size = abs(out["second_order_llc_curvature"]) + abs(out["second_order_llc_gradient"])
    known = (out["second_order_llc_se"] <= UNRESOLVED * size).values
    words = np.where(known, "ok", "unresolved")
    words = np.where(np.isfinite(found["second_order_llc"]), words, "no_posterior")
    words = np.where(np.isfinite(found["hessian_trace"]), words, "not_finite")
    return out.assign(second_order_llc_status=("task", words.astype(object)))
