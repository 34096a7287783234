"""Controls: estimates whose answer is known or must fall apart, made with the same sampler as the real one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.core.schema import describe
from ontogeny.estimators.llc import llc_from_draws
from ontogeny.inputs.losses import LossFunction, Potential
from ontogeny.sampling.calibration import Calibration, check_calibration
from ontogeny.sampling.estimate import calibrate, estimate_llc, sample

NO_STEP = 1e-36
"""ε in weight²: a step of 1e-18 is below the rounding of a float64 weight, and ε a normal number in float32."""
NO_DATA = 1e-9
"""nβ of the prior-only control over the nβ it stands for."""
ZERO_MOVE_DRAWS = 200
SHOWN = ("llc", "llc_se", "r_hat", "ess", "chains_lost", "n_beta", "localization", "step_size", "status", "regime")


def zero_move(
    model: nn.Module | Potential, data: Any = None, loss_fn: LossFunction | None = None, **settings: Any
) -> xr.Dataset:
    """λ̂ of chains that stay at w*, ε = 1e-36: must be 0 within its error, or the baseline is at fault.

    L(w) is compared with L(w*) on the same minibatch, so that what is left is rounding. An unpaired baseline shows here
    as ± nβ times the standard error of the mean loss. ``status`` is never "ok": chains that stand still do not mix.

    Args:
        model: as in :func:`ontogeny.estimate_llc`.
        data: as there.
        loss_fn: as there.
        settings: the others of ``estimate_llc``, but for step_size and burn_in, which are set here; by default 200
            draws. Of a ``calibration`` these two are replaced.

    Raises:
        OntogenyError: one sentence on the argument at fault.
    """
    _refuse(settings, "step_size", "burn_in", control="zero_move")
    still = {"step_size": NO_STEP, "burn_in": 0}
    if isinstance(settings.get("calibration"), Calibration):
        settings["calibration"] = replace(settings["calibration"], **still)
        still = {}
    settings = {"draws": ZERO_MOVE_DRAWS, **settings, **still}
    return estimate_llc(model, data, loss_fn, **settings).assign_attrs(control="zero_move")


def prior_only(
    model: nn.Module | Potential, data: Any = None, loss_fn: LossFunction | None = None, **settings: Any
) -> xr.Dataset:
    """nβ·(E[L(w)] - L(w*)) over the prior alone, w ~ N(w*, I/γ): λ̂(nβ, γ) if the loss did not shape the posterior.

    The chains run at 1e-9 of nβ, and what they find is multiplied by nβ. For ½ Σ h w² it is ½ Σ nβh/γ, against
    λ̂ = ½ Σ nβh/(nβh + γ): where the two agree, λ̂ says nothing that the loss around w*, smoothed by the prior, does
    not say. As a control of the sampler: its virial must be d, and the value E over a Gaussian.

    Args:
        model: as in :func:`ontogeny.estimate_llc`.
        data: as there.
        loss_fn: as there.
        settings: the others of ``estimate_llc``. nβ and γ that are not given are found by ``og.calibrate``; of a
            ``calibration`` only these two are used, since steps for nβ are not those for the prior.

    Returns:
        ``llc``, ``llc_se``, ``r_hat``, ``ess``, ``status`` and ``check_…`` as of an estimate, at the nβ it stands for;
        ``regime`` is "prior_dominated".

    Raises:
        OntogenyError: one sentence on the argument at fault.
    """
    known = settings.pop("calibration", None)
    if known is not None:
        check_calibration(known)
    if known is None and (settings.get("n_beta") is None or settings.get("localization") is None):
        unknown = ("draws", "target_se", "step_size", "burn_in")
        known = calibrate(model, data, loss_fn, **{k: v for k, v in settings.items() if k not in unknown})
    if known is not None:
        settings |= {"n_beta": known.n_beta, "localization": known.localization}
    n_beta = float(settings["n_beta"])
    draws = sample(model, data, loss_fn, **{**settings, "n_beta": NO_DATA * n_beta})
    found = llc_from_draws(draws.assign(n_beta=xr.full_like(draws["n_beta"], n_beta)))
    out = found[[name for name in found.data_vars if name in SHOWN or str(name).startswith("check_")]]
    out = out.drop_vars(["check_temperature", "check_temperature_se"], errors="ignore")
    out["regime"] = xr.full_like(out["status"], "prior_dominated")
    out.attrs |= {"n_beta": n_beta, "control": "prior_only"}
    return describe(out)


def permuted_labels(data: Any, seed: int = 0) -> Any:
    """The data with their targets dealt out anew: what λ̂ is when inputs say nothing about targets.

    The targets are the last part of a tuple, a list, or of every example of a map-style dataset. Their distribution
    stays; w* is no minimum on these data, so "below_baseline" and a λ̂ far from the real one are to be expected. One
    permutation for each (seed, number of examples).

    Args:
        data: a tuple or list of tensors or arrays, a map-style dataset of tuples, or a plain dict {name: data set}.
        seed: of the permutation.

    Raises:
        OntogenyError: if the data have no targets apart.

    >>> import torch
    >>> inputs, targets = permuted_labels((torch.arange(4), torch.arange(4)), seed=1)
    >>> inputs.tolist(), sorted(targets.tolist())
    ([0, 1, 2, 3], [0, 1, 2, 3])
    """
    if type(data) is dict:
        return {name: permuted_labels(values, seed) for name, values in data.items()}
    if isinstance(data, tuple | list) and len(data) > 1 and all(_is_array(part) for part in data):
        order = _order(len(data[-1]), seed)
        targets = data[-1]
        chosen = targets[order.to(targets.device)] if isinstance(targets, Tensor) else np.asarray(targets)[order]
        return (*data[:-1], chosen)
    readable = hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, Mapping | str)
    if readable and not _is_array(data) and len(data):
        first = data[0]
        if isinstance(first, tuple | list) and len(first) > 1:
            return PermutedLabels(data, _order(len(data), seed))
    raise OntogenyError(
        "data must have targets as the last of several parts, as in (inputs, targets) or a dataset of such tuples; got "
        f"{type(data).__name__}. Put targets that lie elsewhere into such a tuple."
    )


class PermutedLabels(torch.utils.data.Dataset[Any]):
    """A map-style dataset of tuples whose last items are permuted."""

    def __init__(self, data: Any, order: Tensor) -> None:
        self._data, self._order = data, order.tolist()

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        return (*self._data[index][:-1], self._data[self._order[index]][-1])


def _order(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=generator(seed, "permuted labels"))


def _is_array(part: Any) -> bool:
    return isinstance(part, Tensor) or hasattr(part, "__array__")


def _refuse(settings: dict[str, Any], *names: str, control: str) -> None:
    for name in names:
        if settings.get(name) is not None:
            raise OntogenyError(f"{name} is what the control {control} sets; got {settings[name]}. Leave it out.")
