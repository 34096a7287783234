"""What the analysis found in the sweep: the one argument from which the report and its summary are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import xarray as xr

from ontogeny.core.errors import OntogenyError

DIMS: dict[str, tuple[str, ...]] = {
    "drifts": ("sparsity", "definition", "seed"),
    "drifts_by_setting": ("setting", "sparsity", "definition"),
    "drift_ratios": ("setting", "definition", "scale"),
    "drift_ratios_common": ("setting", "definition", "scale"),
    "drifts_of_all": ("setting", "sparsity", "definition"),
    "drift_ratios_of_all": ("setting", "definition", "scale"),
    "components": ("of", "source"),
    "explained": ("sparsity", "trend", "seed"),
    "factors": ("indicator", "factor"),
    "events": ("event",),
    "changes": ("event",),
    "detections": ("indicator", "kind"),
    "unexplained": ("indicator", "sparsity"),
    "aligned": ("indicator", "kind", "offset"),
    "rises": ("setting", "event"),
    "rises_of_all": ("setting", "event"),
    "by_setting": ("setting", "end"),
    "associations": ("sparsity", "kind", "indicator"),
    "combination": ("combination",),
    "classes": ("sparsity", "kind"),
}
"""Dims that each field's Dataset has at least; of `drifts` and `changes` those of every Dataset in the mapping."""


@dataclass(frozen=True)
class Found:
    """Results of :mod:`ontogeny.analysis` over the whole sweep, joined along the dims that the sweep adds.

    Every field holds what the named function returns, under its own variable names, joined with ``xarray.concat``. The
    sample is always the seeds of one sparsity, or, where sparsities are pooled, the runs (sparsity, seed); indicators
    are named as in the measurements ("llc", "loss", "effective_rank", "feature_norm", ...). λ̂ that is not usable was
    masked before.

    Raises:
        OntogenyError: where a field lacks one of its dims (`DIMS`), a mapping is empty or lacks "llc", or the sparsity
            `quiet` or `canonical` is not among those of the drifts.
    """

    drifts: Mapping[str, xr.Dataset]
    """indicator -> `drift` of every sparsity: dims sparsity, definition ("net_change", "range", "total_variation"),
    seed; variables `drift`, `relative_drift` (sparsity, definition, seed), `mean`, `low`, `high`, `relative_mean`,
    `relative_low`, `relative_high`, `seeds` (sparsity, definition). "llc" among them, at the frozen setting."""

    drifts_by_setting: xr.Dataset
    """`drift` of the LLC at every setting, "frozen" and the neighbours: dims setting, sparsity, definition (and seed),
    variables as in `drifts`."""

    drift_ratios: xr.Dataset
    """`compare_drifts` of the LLC by sparsity against `canonical`, of which the row `quiet` (``.sel(group=quiet)``),
    one a setting: dims setting, definition, scale ("raw", "relative"); `ratio`, `ratio_low`, `ratio_high`,
    `ratio_bounded` (Fieller), `difference`, ..."""

    drift_ratios_common: xr.Dataset
    """As `drift_ratios`, from the step on (attrs["common_from"]) by which every run of both sparsities has had a usable
    λ̂: the runs of some sparsities have one earlier than those of others."""

    components: xr.Dataset
    """`variance_components` of the LLC: dims of ("values", "increments"), source; variables `variance`, `low`, `high`,
    `share`."""

    explained: xr.Dataset
    """`explained_by_trend` of every sparsity: dims sparsity, trend ("log_step", "loss", "both"), seed."""

    factors: xr.Dataset
    """`factor_analysis` of all indicators over all sparsities: dims indicator, factor."""

    events: xr.Dataset
    """Event table of the weights, `find_events`, all sparsities: dim event; `seed`, `step`, `kind`, `feature` and
    `sparsity`."""

    changes: Mapping[str, xr.Dataset]
    """indicator -> event table of its `change_points`, all sparsities: dim event; also `sparsity`."""

    detections: xr.Dataset
    """`detection` of every indicator's change points, all runs (sparsity, seed) pooled as separate seeds: dims
    indicator, kind (each kind of event, and "any" where all kinds count as one)."""

    unexplained: xr.Dataset
    """Change points a run that match no event of any kind: dims indicator, sparsity; `mean`, `low`, `high` (over seeds)
    and `seeds`. At the sparsity `quiet`, where nothing is said to form, these are false alarms."""

    aligned: xr.Dataset
    """`event_aligned`, all runs pooled: dims indicator, kind, offset (steps since the event); `mean`, `low`, `high`,
    `seeds`."""

    rises: xr.Dataset
    """`paired_rise` of the LLC at the rank jump against emergence, at the sparsity `canonical`, one a setting: dims
    setting, event ("at", "against"). attrs["against"] says which emergence, as in "the median emergence of the
    features"."""

    associations: xr.Dataset
    """`associations` of the LLC with every indicator at every sparsity: dims sparsity, kind, indicator (and seed)."""

    combination: xr.Dataset
    """`combined_detection` of the rank jump from the indicators: dim combination."""

    classes: xr.Dataset
    """`class_fractions` of every sparsity: dims sparsity, kind; `count`, `fraction`, `low`, `high`; attrs `seeds`,
    `level`."""

    quiet: float = 0.3
    """Sparsity at which nothing is said to form."""

    canonical: float = 0.7
    """Sparsity with which it is compared."""

    drifts_of_all: xr.Dataset | None = None
    """As `drifts_by_setting`, but of every finite λ̂, those below baseline included, where w* is no minimum."""

    drift_ratios_of_all: xr.Dataset | None = None
    """As `drift_ratios`, but of every finite λ̂."""

    by_setting: xr.Dataset | None = None
    """What is said of the LLC at every (nβ, γ), dims setting, end ("mean", "low", "high"): `trend`, the share predicted
    by log step and loss from the other seeds at `canonical`; `recall` of the rank jump by change points; `association`
    with the effective rank, log step and loss taken out, at `canonical`; `gain` in F1 of adding the effective rank."""

    rises_of_all: xr.Dataset | None = None
    """As `rises`, but of every finite λ̂."""

    def __post_init__(self) -> None:
        """Refuse a field without its dims, a mapping without what the report needs, and a sparsity that is missing."""
        for name, dims in DIMS.items():
            value = getattr(self, name)
            if value is None:
                continue
            tables = value if isinstance(value, Mapping) and not isinstance(value, xr.Dataset) else {"": value}
            for key, table in tables.items():
                missing = [dim for dim in dims if dim not in table.dims]
                if missing:
                    at = f"{name}[{key!r}]" if key else name
                    raise OntogenyError(
                        f"{at} must have the dims {dims}; got {tuple(table.dims)}, without {missing}: "
                        "join the results of the analysis along them with xarray.concat."
                    )
        if "llc" not in self.drifts or not self.changes:
            raise OntogenyError(
                f"drifts must hold the indicator 'llc' and changes at least one; got {sorted(self.drifts)} and "
                f"{sorted(self.changes)}: add what is missing."
            )
        given = [float(s) for s in self.drifts["llc"]["sparsity"].values]
        lacking = [s for s in (self.quiet, self.canonical) if s not in given]
        if lacking:
            raise OntogenyError(
                f"drifts must hold the sparsities quiet and canonical, {self.quiet} and {self.canonical}; got {given}, "
                f"without {lacking}: name two of those given."
            )
