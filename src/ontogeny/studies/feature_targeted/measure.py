"""What is computed for a chunk of directions or a checkpoint; runs in worker processes."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.estimators.llc import ESSENTIALS
from ontogeny.features import calibrate_features, estimate_features, feature_baselines, second_order_features
from ontogeny.features.common import CommonGround
from ontogeny.features.feature import Projection
from ontogeny.sampling.calibration import Calibration
from ontogeny.studies.feature_targeted.materials import Materials

KEPT = (*ESSENTIALS, "temperature_slope", "temperature_slope_se", "threshold")
"""Of an estimate."""


class Calibrating(NamedTuple):
    """One loss, over all directions."""

    materials: Materials
    loss: str


class Directions(NamedTuple):
    """Directions ``first`` to ``last``, without the last; ``calibration`` as a dict, None for the baselines."""

    materials: Materials
    first: int
    last: int
    loss: str = ""
    calibration: str = ""


class Followed(NamedTuple):
    """Some final features at one checkpoint, measured as at the last."""

    materials: Materials
    step: int
    calibration: str


@lru_cache(maxsize=1)
def _model(materials: Materials, step: int | None = None) -> nn.Module:
    """Read once for all chunks of a worker."""
    return materials.model(step)


def calibrate(task: Calibrating) -> xr.Dataset:
    """One calibration for all directions, as JSON in ``calibration``."""
    materials, settings = task.materials, task.materials.settings
    rows, _ = materials.directions
    found = calibrate_features(
        _model(materials),
        materials.data,
        rows,
        settings.site,
        loss=settings.rule(task.loss),
        batch_size=settings.batch_size,
        chains=settings.chains,
        draws=settings.draws,
        max_draws=settings.max_draws,
        seed=settings.seed,
        device=settings.device,
    )
    return xr.Dataset(attrs={"calibration": json.dumps(found.to_dict())})


def estimate(task: Directions) -> xr.Dataset:
    """λ̂ of one loss for some directions, dim ``feature``."""
    materials = task.materials
    rows, _ = materials.directions
    return _estimated(_model(materials), materials, rows[task.first : task.last], task.loss, task.calibration)


def _estimated(model: nn.Module, materials: Materials, rows: Tensor, loss: str, calibration: str) -> xr.Dataset:
    settings = materials.settings
    return estimate_features(
        model,
        materials.data,
        rows,
        settings.site,
        loss=settings.rule(loss),
        calibration=Calibration.from_dict(json.loads(calibration)),
        draws=settings.draws,
        seed=settings.seed,
        device=settings.device,
        progress=False,
    )[list(KEPT)]


def curvature(task: Directions) -> xr.Dataset:
    """Second order's prediction of one loss's λ̂ for some directions, dim ``feature``.

    A feature and the random direction after it have the same probes, so that kinds compare; pairs have each their own.
    """
    materials, settings = task.materials, task.materials.settings
    rows, _ = materials.directions
    return second_order_features(
        _model(materials),
        materials.data,
        rows[task.first : task.last],
        settings.site,
        loss=settings.rule(task.loss),
        calibration=Calibration.from_dict(json.loads(task.calibration)),
        samples=settings.curvature.sequences,
        probes=settings.curvature.probes,
        steps=settings.curvature.steps,
        batch_size=settings.curvature.batch_size,
        seeds=[settings.seed + place // 2 for place in range(task.first, task.last)],
        device=settings.device,
    )


def baselines(task: Directions) -> xr.Dataset:
    """Sparsity and ablation effects of some directions, dim ``feature``."""
    materials, settings = task.materials, task.materials.settings
    rows, _ = materials.directions
    return feature_baselines(
        _model(materials),
        materials.data,
        rows[task.first : task.last],
        settings.site,
        threshold=settings.threshold,
        top=settings.top,
        device=settings.device,
    )


def follow(task: Followed) -> xr.Dataset:
    """Functional λ̂ of the first final features at a checkpoint; of all, r² of their values with the final ones."""
    materials, settings = task.materials, task.materials.settings
    model, rows = materials.model(task.step), materials.directions[0][::2]
    out = _estimated(model, materials, rows[: settings.developed], "functional", task.calibration)
    now, final = (_values(one, materials, rows) for one in (model, materials.model()))
    pairs = [np.corrcoef(one, other)[0, 1] for one, other in zip(now, final, strict=True)]
    out["r_squared"] = ("sae_feature", np.square(pairs))
    return out.assign_coords(step=task.step)


def _values(model: nn.Module, materials: Materials, rows: Tensor) -> np.ndarray:
    settings = materials.settings
    common = CommonGround(model, materials.data, settings.site, settings.rule("functional"), device=settings.device)
    with torch.no_grad():
        found = common.values([Projection(row.to(common.device, common.dtype)) for row in rows])
    return found.flatten(1).double().cpu().numpy()
