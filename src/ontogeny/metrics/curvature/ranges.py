"""Ranges and thresholds of the Hessian's rank along training: of each checkpoint, smoothed, or fixed by stage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import describe

ROOM, FRACTION = 1.2, 0.07
"""The range reaches so much beyond the largest |eigenvalue|; the threshold is such a part of it (appendix D.3)."""
METHODS = ("adaptive", "smoothed", "stage")


def rank_ranges(
    extremes: xr.Dataset,
    method: str = "smoothed",
    *,
    window: int = 5,
    stages: Sequence[float] | None = None,
    dim: str = "checkpoint",
) -> xr.Dataset:
    """For every checkpoint a range that holds its spectrum, and τ = 0.07 of a scale of |λ|max that does not jump about.

    What is counted changes with the threshold, so noise in |λ|max is noise in the rank. "smoothed": the scale is a
    running median of |λ|max over ``window`` checkpoints; "stage": its largest within a stage, so that one function of
    the eigenvalues is looked at all through it; "adaptive": |λ|max itself. The range is ±1.2 times the scale, or what
    the checkpoint's own |λ|max asks for if that is more. A checkpoint whose ends are NaN has no range and no threshold,
    and does not count in those of its neighbours.

    Args:
        extremes: ``hessian_min`` and ``hessian_max`` along ``dim``, as :func:`extreme_eigenvalues` gives them; other
            dims stay.
        method: "smoothed", "stage" or "adaptive".
        window: checkpoints, an odd number; fewer at the ends.
        stages: for "stage" the steps at which a new one begins, increasing; ``extremes`` must then have ``step``.
        dim: of the checkpoints.

    Returns:
        ``range_low``, ``range_high`` and ``rank_threshold`` in loss/weight², for ``hessian_rank(method="given")``.

    Raises:
        OntogenyError: one sentence on the argument at fault.
    """
    if method not in METHODS:
        raise OntogenyError(f"method must be one of {', '.join(map(repr, METHODS))}; got {method!r}.")
    if not isinstance(window, int) or window < 1 or window % 2 == 0:
        raise OntogenyError(f"window must be an odd whole number of checkpoints, as 5; got {window!r}.")
    missing = [name for name in ("hessian_min", "hessian_max") if name not in extremes]
    if missing or dim not in extremes.dims:
        raise OntogenyError(
            f"extremes must have hessian_min and hessian_max along {dim!r}, as og.metrics.extreme_eigenvalues gives "
            f"them for each checkpoint; got {', '.join(map(str, extremes.data_vars)) or 'nothing'}."
        )
    low, high = abs(extremes["hessian_min"]), abs(extremes["hessian_max"])
    own = low.where(low > high, high).where(low.notnull())
    scale = own
    if method == "smoothed":
        scale = own.rolling({dim: window}, center=True, min_periods=1).median()
    elif method == "stage":
        stage = _stages(extremes, stages, dim)
        scale = xr.concat([own.isel({dim: stage == s}).max(dim) for s in stage], dim).transpose(*own.dims)
        scale = scale.assign_coords(own.coords)
    reach = ROOM * scale.where(scale > own, own)
    found = xr.Dataset({"range_low": -reach, "range_high": reach, "rank_threshold": FRACTION * scale})
    return describe(found.where(own.notnull()))


def _stages(extremes: xr.Dataset, stages: Sequence[float] | None, dim: str) -> np.ndarray:
    if stages is None or list(stages) != sorted(stages) or "step" not in extremes.coords:
        raise OntogenyError(
            "stages must be the steps at which stages begin, increasing, and extremes must have a coordinate step, for "
            f"method = 'stage'; got {stages!r}."
        )
    return np.searchsorted(np.asarray(stages), extremes["step"].values, side="right")
