"""Every number that the feature-targeted report states, computed once, by name: what summary.json holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from ontogeny.analysis import area_difference, below_medians, correlation, difference_interval, separation
from ontogeny.analysis.second_order import against_second_order
from ontogeny.estimators.status import usable
from ontogeny.report.health import count_health
from ontogeny.report.words import plain

BASELINES, CURVATURE, DEVELOPMENT = "baselines", "curvature", "development"
SAE, RANDOM = "sae", "random"
FEWEST = 2
"""Values of a kind without which nothing is told apart."""
FAR = 3.0
"""Robust standard deviations, 1.4826 median absolute deviations, from its kind's median: an outlier."""
MOST_OUTLIERS, CARDS = 20, 20
NORMAL_MAD = 1.4826
LLC = " LLC"


def summarise(
    measured: Mapping[str, xr.Dataset],
    settings: Mapping[str, Any],
    calibrations: Mapping[str, Any],
    quality: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """How well each metric tells SAE features from random directions, how the best two go together, and outliers.

    measured: group of results.zarr -> Dataset; settings: those of the study; calibrations: loss -> calibration;
    quality: of the sparse autoencoder, None where one was given.
    """
    losses = list(calibrations)
    kinds = measured[losses[0]]["kind"].values.astype(str)
    values = metrics(measured, losses)
    told = {name: _told_apart(one, kinds) for name, one in values.items()}
    llc, ablation = (_best(told, which) for which in (lambda name: name.endswith(LLC), lambda name: "ablation" in name))
    estimates = xr.concat([measured[loss] for loss in losses], "loss", combine_attrs="drop")
    return plain(
        {
            "preset": settings["preset"],
            "settings": dict(settings),
            "calibrations": dict(calibrations),
            "quality": quality,
            "losses": losses,
            "directions": {kind: int((kinds == kind).sum()) for kind in (SAE, RANDOM)},
            "health": count_health(estimates),
            "metrics": told,
            "paired": _paired(values, kinds),
            "best_llc": llc,
            "best_ablation": ablation,
            "correlations": {} if None in (llc, ablation) else _together(values[llc], values[ablation], kinds),  # type: ignore[index]
            "outliers": _outliers(values, told, kinds, [name for name in (llc, ablation) if name]),
            "cards": _cards(measured, values, kinds, losses, ablation),
            "second_order": second_order(measured) if CURVATURE in measured else None,
            "never_active": {
                kind: int((measured[BASELINES]["sparsity"].values[kinds == kind] == 1).sum()) for kind in (SAE, RANDOM)
            },
            "development": _development(measured) if DEVELOPMENT in measured else None,
        }
    )


def metrics(measured: Mapping[str, xr.Dataset], losses: list[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Metric in words -> its value for every direction, NaN where an estimate is not usable."""
    out = {}
    for loss in losses:
        one = measured[loss]
        out[f"{loss}{LLC}"] = one["llc"].where(usable(one)).values.astype(float)
    table = measured[BASELINES]
    out |= {"sparsity": table["sparsity"].values, "norm sparsity": table["norm_sparsity"].values}
    for name, words in (("ablation_kl", "KL"), ("ablation_l1_l2", "L1/L2")):
        for kind in table["ablation"].values:
            for over in table["over"].values:
                which = "all" if over == "all" else f"top {over}"
                out[f"{kind} ablation, {words}, {which}"] = table[name].sel(ablation=kind, over=over).values
    return out


def _told_apart(values: npt.NDArray[np.float64], kinds: npt.NDArray[Any]) -> dict[str, Any]:
    """The separation of both kinds by one metric; None where a kind has fewer than two values."""
    one, other = (values[kinds == kind] for kind in (SAE, RANDOM))
    lost = {SAE: int((~np.isfinite(one)).sum()), RANDOM: int((~np.isfinite(other)).sum())}
    one, other = one[np.isfinite(one)], other[np.isfinite(other)]
    if min(len(one), len(other)) < FEWEST:
        return {"separation": None, "difference": None, "without_value": lost}
    gap = difference_interval(one, other)
    return {
        "separation": separation(one, other)._asdict(),
        "difference": {"mean": gap.difference, "low": gap.low, "high": gap.high},
        "without_value": lost,
    }


def _paired(values: Mapping[str, npt.NDArray[np.float64]], kinds: npt.NDArray[Any]) -> dict[str, Any]:
    """Metric -> other metric -> by how much its area under the curve is larger, over directions that have both."""
    out: dict[str, Any] = {}
    for name, one in values.items():
        for other_name, other in values.items():
            both = np.isfinite(one) & np.isfinite(other)
            classes = [both & (kinds == kind) for kind in (SAE, RANDOM)]
            if name == other_name or min(map(np.count_nonzero, classes)) < FEWEST:
                continue
            sae, random = classes
            gap = area_difference((one[sae], one[random]), (other[sae], other[random]))
            out.setdefault(name, {})[other_name] = gap._asdict()
    return out


def _best(told: Mapping[str, Any], of: Any) -> str | None:
    """The metric with the smallest δ, of equal ones that with the largest area under the curve."""
    there = {name: one["separation"] for name, one in told.items() if of(name) and one["separation"] is not None}
    return min(there, key=lambda name: (there[name]["delta"], -abs(there[name]["auc"] - 0.5)), default=None)


def _together(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], kinds: npt.NDArray[Any]) -> dict[str, Any]:
    """The correlation of two metrics within each kind, over all and over those below both medians."""
    out = {}
    for kind in (SAE, RANDOM):
        one, other = x[kinds == kind], y[kinds == kind]
        low = below_medians(one, other)
        out[kind] = {
            "all": correlation(one, other)._asdict(),
            "below": correlation(one[low], other[low])._asdict(),
        }
    return out


def _outliers(
    values: Mapping[str, npt.NDArray[np.float64]], told: Mapping[str, Any], kinds: npt.NDArray[Any], names: list[str]
) -> list[dict[str, Any]]:
    """Directions far from the median of their kind, or on the wrong side of the threshold; the farthest first."""
    found: list[dict[str, Any]] = []
    for name in names:
        split = told[name]["separation"]
        upwards = split["first_above"]
        for kind in (SAE, RANDOM):
            of_kind = np.flatnonzero((kinds == kind) & np.isfinite(values[name]))
            one = values[name][of_kind]
            middle = np.median(one)
            spread = NORMAL_MAD * np.median(np.abs(one - middle))
            away = (one - middle) / spread if spread > 0 else np.zeros_like(one)
            above = one > split["threshold"]
            wrong = above != (upwards == (kind == SAE))
            found += [
                {
                    "metric": name,
                    "direction": int(place) // 2,
                    "kind": kind,
                    "value": float(value),
                    "deviations": float(far),
                    "wrong_side": bool(side),
                }
                for place, value, far, side in zip(of_kind, one, away, wrong, strict=True)
                if abs(far) > FAR or side
            ]
    return sorted(found, key=lambda one: -abs(one["deviations"]))[:MOST_OUTLIERS]


def _cards(
    measured: Mapping[str, xr.Dataset],
    values: Mapping[str, npt.NDArray[np.float64]],
    kinds: npt.NDArray[Any],
    losses: list[str],
    ablation: str | None,
) -> list[dict[str, Any]]:
    """The first directions of both kinds: what activates them, their λ̂ with errors, what ablating them does."""
    table, out = measured[BASELINES], []
    for place in range(min(2 * CARDS, len(kinds))):
        estimates = {
            loss: {
                "llc": float(measured[loss]["llc"][place]),
                "llc_se": float(measured[loss]["llc_se"][place]),
                "status": str(measured[loss]["status"].values[place]),
            }
            for loss in losses
        }
        out.append(
            {
                "direction": place // 2,
                "kind": str(kinds[place]),
                "estimates": estimates,
                "ablation": None if ablation is None else float(values[ablation][place]),
                "sparsity": float(table["sparsity"][place]),
                "text": [str(text) for text in table["text"].values[place]],
            }
        )
    return out


def predicted(measured: Mapping[str, xr.Dataset], loss: str) -> xr.Dataset:
    """λ̂ of one loss with its second-order prediction, of the directions that have one, dim feature."""
    table = measured[CURVATURE].sel(loss=loss, drop=True)
    return measured[loss].isel(feature=slice(table.sizes["feature"])).assign(table.data_vars)


def second_order(measured: Mapping[str, xr.Dataset]) -> dict[str, dict[str, dict[str, Any]]]:
    """loss -> kind -> `against_second_order` with each direction a run of its own, and ``taken``.

    ``taken``: the largest share of the curvature's part that the gradient takes off; None where nothing is predicted.
    """
    out: dict[str, dict[str, dict[str, Any]]] = {}
    for loss in measured[CURVATURE]["loss"].values.tolist():
        table = predicted(measured, loss)
        out[loss] = {}
        for kind in (SAE, RANDOM):
            one = table.isel(feature=np.flatnonzero(table["kind"].values == kind))
            share = -one["second_order_llc_gradient"] / one["second_order_llc_curvature"]
            share = share[np.isfinite(share)]
            taken = float(share.max()) if share.size else None
            out[loss][kind] = against_second_order(one.expand_dims("checkpoint")) | {"taken": taken}
    return out


def _development(measured: Mapping[str, xr.Dataset]) -> dict[str, Any]:
    """λ̂ of some final features along training, and whether those with a large one at the end are learned later."""
    table, last = measured[DEVELOPMENT], measured["functional"]
    good = table["llc"].where(usable(table))
    final = last["llc"].where(usable(last)).values[last["kind"].values == SAE]
    learned = table["learned_step"].values
    with np.errstate(divide="ignore"):
        when = np.log(np.maximum(learned, 1.0))
    return {
        "steps": table["step"].values.tolist(),
        "final_llc": final.tolist(),
        "learned_step": learned.tolist(),
        "correlation": correlation(final, when)._asdict(),
        "usable": int(np.isfinite(good.values).sum()),
        "estimates": int(good.size),
    }
