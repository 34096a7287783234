"""The frozen calibration, where it comes from, and what is left of the conclusions at half and twice nβ and γ."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ontogeny.analysis import associations
from ontogeny.estimators.status import usable
from ontogeny.plots import sensitivity as plots
from ontogeny.report.page import Section, Table
from ontogeny.report.superposition.levels import FAR, llc_across_jump
from ontogeny.report.words import interval, listed, number

FROZEN = "frozen"
ROWS = {
    "kernel": ("kernel", ""),
    "n_beta": ("nβ", "1/loss"),
    "localization": ("γ", "1/weight²"),
    "h_max": ("h_max, the steepest curvature assumed", "loss/weight²"),
    "step_size": ("step size ε", "weight²"),
    "batch_size": ("batch of the sampler", "examples"),
    "burn_in": ("burn-in", "steps a chain"),
    "chains": ("chains", "chains"),
    "max_draws": ("gradient evaluations a checkpoint", "gradients"),
}


def calibration(measurements: xr.Dataset) -> dict[str, Any] | None:
    """Return {values, provenance} of the calibration stored with the measurements, or None where there is none."""
    if "calibration" not in measurements.attrs:
        return None
    stored = json.loads(measurements.attrs["calibration"])
    provenance = json.loads(measurements.attrs.get("calibration_provenance", "{}"))
    return {"values": stored, "provenance": provenance}


def sensitivity(neighbours: xr.Dataset | None, inflection: xr.DataArray) -> dict[str, Any] | None:
    """What the estimates at the neighbours say, by setting, and whether they say what the frozen setting says.

    neighbours: the study's group of that name, or None; inflection: (seed,), steps, of the seeds that jump. By setting:
    its numbers, how many estimates are usable and ok, their median relative standard error, `ratio` (median of λ̂ over
    λ̂ at the frozen setting), `order` (Spearman ρ with it within a seed, mean over seeds), `trend` (Spearman ρ with
    step, mean over seeds), `across` (:func:`.levels.llc_across_jump`), `below` (estimates below baseline) and `lowest`:
    the lowest λ̂ near the jump, those below baseline included, mean over the jumping seeds. Elsewhere estimates that are
    not usable are left out. `same` names, for each of dip (at minus before), step (after minus before) and trend, the
    neighbours at which it has the sign that it has at the frozen setting, None where there it has none; `clear` those
    of them where, if it is so at the frozen setting, the interval over seeds excludes zero too.
    """
    if neighbours is None:
        return None
    given = plots.plain_names(neighbours)
    jumps = inflection.dropna("seed")
    jumps = jumps.sel(seed=np.intersect1d(jumps["seed"], given["seed"]))
    frozen = _usable(given.sel(setting=FROZEN))
    by_setting = {str(name): _one(given.sel(setting=name), frozen, jumps) for name in given["setting"].values}
    own, others = by_setting[FROZEN], {k: v for k, v in by_setting.items() if k != FROZEN}
    same = {
        what: [k for k, v in others.items() if _sign(v[what]) == _sign(own[what])] if _sign(own[what]) else None
        for what in ("dip", "step", "trend")
    }
    return {
        "seeds": [int(seed) for seed in given["seed"].values],
        "checkpoints": int(frozen.size),
        "settings": by_setting,
        "neighbours": len(others),
        "ratios": _range(v["ratio"] for v in others.values()),
        "orders": _range(v["order"] for v in others.values()),
        "trends": _range(v["trend"] for v in others.values()),
        "dips": _range(v["dip"] for v in others.values()),
        "steps": _range(v["step"] for v in others.values()),
        "lowest": _range(v["lowest"] for v in others.values()),
        "below": sum(v["below"] for v in others.values()),
        "estimates": sum(v["estimates"] for v in others.values()),
        "usable": sum(v["usable"] for v in others.values()),
        "ok": sum(v["ok"] for v in others.values()),
        "not_mixed": sum(v["not_mixed"] for v in others.values()),
        "relative_se": max(v["relative_se"] for v in others.values()),
        "same": same,
        "clear": {
            what: [k for k in names or [] if others[k]["clear"][what] or not own["clear"][what]]
            for what, names in same.items()
        },
    }


def _usable(one: xr.Dataset) -> xr.DataArray:
    return one["llc"].where(usable(one))


def _one(one: xr.Dataset, frozen: xr.DataArray, jumps: xr.DataArray) -> dict[str, Any]:
    llc = _usable(one)
    trend = associations(llc, {FROZEN: frozen}).sel(kind="raw")
    found = trend["mean_rho"]
    across = llc_across_jump(one, jumps)
    words = one["status"].values.astype(str)
    return {
        **{k: float(one[k]) for k in ("n_beta", "localization", "step_size")},
        **{k: int(one[k]) for k in ("burn_in", "draws", "chains")},
        "estimates": int(llc.size),
        "usable": int(llc.notnull().sum()),
        "ok": int((words == "ok").sum()),
        "not_mixed": int((words == "not_mixed").sum()),
        "relative_se": float((one["llc_se"] / abs(llc)).median()),
        "ratio": float((llc / frozen).median()),
        "order": float(found.sel(indicator=FROZEN)),
        "trend": float(found.sel(indicator="log_step")),
        "across": across,
        "dip": across["at_minus_before"]["mean"],
        "step": across["after_minus_before"]["mean"],
        "clear": {
            "dip": _excludes_zero(across["at_minus_before"]["interval"]),
            "step": _excludes_zero(across["after_minus_before"]["interval"]),
            "trend": _excludes_zero([float(trend[k].sel(indicator="log_step")) for k in ("low", "high")]),
        },
        "below": int((one["regime"].values == "below_baseline").sum()),
        "lowest": _lowest(one, jumps),
    }


def _excludes_zero(ends: Sequence[float]) -> bool:
    return bool(ends[0] * ends[1] > 0)


def _lowest(one: xr.Dataset, jumps: xr.DataArray) -> float:
    """Mean over the jumping seeds of the lowest λ̂ within `FAR` of training of the inflection."""
    near = one.sel(seed=jumps["seed"])
    inside = abs(near["step"] - jumps) <= FAR * float(one["step"].max())
    lowest = near["llc"].where(inside).min("checkpoint")
    return float(lowest.mean()) if lowest.size else math.nan


def _sign(value: float) -> float:
    return math.copysign(1.0, value) if math.isfinite(value) and value != 0 else 0.0


def _range(values: Any) -> list[float]:
    array = np.array([v for v in values if math.isfinite(v)])
    return [float(array.min()), float(array.max())] if array.size else [math.nan, math.nan]


def sections(summary: Mapping[str, Any], neighbours: xr.Dataset | None) -> list[Section]:
    """Show the calibration as a table, then its sensitivity; nothing of what was not stored."""
    made = []
    title = "Does the answer hang on nβ and γ?"
    if summary.get("calibration") is not None:
        values, provenance = (summary["calibration"][k] for k in ("values", "provenance"))
        rows = [(*_cells(name, values[name]), provenance.get(name, "")) for name in ROWS]
        section = Section(
            title,
            [
                """nβ and γ say what is measured, so one setting is frozen for all checkpoints and seeds; so is how it
                is sampled. It was chosen once, by hand, and no estimate has a setting of its own."""
            ],
            table=Table(("quantity", "value", "unit", "where it comes from"), rows, text_columns=(0, 2, 3)),
            caption="The calibration that every estimate of this study shares, stored with the results.",
        )
        made.append(section)
    found = summary.get("sensitivity")
    if found is None or neighbours is None:
        return made
    given = plots.plain_names(neighbours)
    each = found["checkpoints"] // len(found["seeds"])
    made.append(
        Section(
            "" if made else title,
            figure=plots.sensitivity(given, {k: v["across"] for k, v in found["settings"].items()}),
            caption=f"""λ̂ at half and twice nβ and γ beside the frozen setting, at {found["checkpoints"]} checkpoints of
            seeds {listed(found["seeds"])}, chosen from the weights alone: {each} a seed, densest around the jump. Top
            left: before, at and after the jump as in the conclusions, from these checkpoints, mean over
            {found["settings"][FROZEN]["across"]["n"]} jumping seeds with its 95 % Student t interval. Top right: each
            estimate against that at the frozen setting, ±1.96 standard errors; along a rising curve checkpoints are
            ordered alike. Bottom: λ̂ of each seed over training. Estimates that are not usable are left out, and lines
            break there.""",
            alt="λ̂ at five settings of nβ and γ: around the jump, against the frozen setting, and over training.",
        )
    )
    return [*made, _measured(found), _said(found)]


def _cells(name: str, value: Any) -> tuple[str, str | float, str]:
    label, unit = ROWS[name]
    return label, value, unit


def _name(name: str) -> str:
    return plots.NAMES.get(name, name)


def _measured(found: Mapping[str, Any]) -> Section:
    headers = (
        "setting",
        "nβ, 1/loss",
        "γ, 1/weight²",
        "ε, weight²",
        "burn-in",
        "draws",
        "usable",
        "below",
        "ok",
        "s.e.",
    )
    rows = []
    for name, one in found["settings"].items():
        row = [_name(name), number(one["n_beta"]), number(one["localization"])]
        row += [f"{one['step_size']:.2e}".replace("-", "−"), f"{one['burn_in']:,}", f"{one['draws']:,}"]
        row += [f"{one['usable']} of {one['estimates']}", str(one["below"]), str(one["ok"])]
        rows.append([*row, f"{100 * one['relative_se']:.1f} %"])
    return Section(
        "",
        table=Table(headers, rows),
        caption="""How the neighbours were sampled: ε keeps ε(nβ·h_max + γ); burn-in and draws in steps a chain; usable,
        below (baseline) and ok: estimates; s.e.: median relative standard error. Chains at the neighbours are short:
        what is not ok there is nearly always not mixed, R̂ above 1.05, and its standard error says what it is worth.""",
    )


def _said(found: Mapping[str, Any]) -> Section:
    rows = []
    for name, one in found["settings"].items():
        row = [_name(name), number(one["ratio"]), *(f"{one[key]:.2f}".replace("-", "−") for key in ("order", "trend"))]
        row += [interval(one["across"][key]) for key in ("at_minus_before", "after_minus_before")]
        rows.append([*row, number(one["lowest"])])
    return Section(
        "",
        table=Table(("setting", "λ̂/frozen", "order", "trend", "at − before", "after − before", "lowest"), rows),
        caption="""What they say, over the same checkpoints. λ̂/frozen: median ratio; order, trend: Spearman ρ within a
        seed, with λ̂ at the frozen setting and with step, mean over seeds; at − before, after − before: mean over
        jumping seeds with its 95 % t interval; lowest: the lowest λ̂ near the jump, below baseline or not, mean over
        jumping seeds.""",
    )
