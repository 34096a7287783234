"""The local learning coefficient over training: one seed with its errors, all seeds, all jumps over each other."""

import math

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from ontogeny.analysis import t_interval
from ontogeny.plots import theme

COLOUR, RANK_COLOUR = "#0072b2", "#a94a00"


def llc_over_rank(
    measurements: xr.Dataset, trajectory: xr.Dataset, seed: int, *, inflection: float = math.nan
) -> go.Figure:
    """Draw λ̂ ± 1.96 s.e. of one seed over training step, with its effective rank on a second axis.

    measurements: `llc`, `llc_se`, `status`, `regime`, `r_hat`, `ess`, `chains_lost` (seed, checkpoint) with coordinate
    `step`; trajectory: `effective_rank` (seed, time). A status other than "ok" has its own symbol; a checkpoint without
    a value (NaN) is a cross on the axis, and neither line nor band is drawn across it.
    """
    made = make_subplots(specs=[[{"secondary_y": True}]])
    made.update_layout(template=theme.template(), height=520, uirevision="keep", **theme.legend_above(2))
    made.update_layout(margin={"r": 64})
    run = trajectory.sel(seed=seed)
    run = run.isel(time=theme.thin(run.sizes["time"], theme.points_a_curve(trajectory.sizes["seed"], 240)))
    made.add_trace(
        go.Scatter(
            x=theme.whole(run["step"].values),
            y=theme.compact(run["effective_rank"].values),
            mode="lines",
            line={"color": RANK_COLOUR, "width": 1.6},
            name="effective rank (right axis)",
            hovertemplate=f"seed {seed}<br>step %{{x:,.0f}}<br>effective rank %{{y:.3f}}<extra></extra>",
        ),
        secondary_y=True,
    )
    one = measurements.sel(seed=seed)
    step, llc, se = (np.asarray(one[k].values, dtype=float) for k in ("step", "llc", "llc_se"))
    made.add_trace(theme.band(step, llc - 1.96 * se, llc + 1.96 * se, COLOUR, name="±1.96 s.e.", showlegend=True))
    line = {"color": COLOUR, "width": 1.5}
    made.add_trace(
        go.Scatter(
            x=theme.whole(step),
            y=theme.compact(llc),
            mode="lines",
            line=line,
            hoverinfo="skip",
            showlegend=False,
            connectgaps=False,
        )
    )
    for trace in _status_markers(one, seed):
        made.add_trace(trace)
    if math.isfinite(inflection):
        made.add_vline(x=inflection, line={"color": "#b3261e", "width": 1.2})
    made.update_xaxes(title_text="training step")
    made.update_yaxes(title_text="LLC estimate λ̂(nβ, γ), dimensionless", title_font_color=COLOUR, secondary_y=False)
    made.update_yaxes(
        title_text="effective rank (1 to 2)",
        title_font_color=RANK_COLOUR,
        range=list(theme.RANK_RANGE),
        tickmode="array",
        tickvals=[1, 1.2, 1.4, 1.6, 1.8, 2],
        showgrid=False,
        secondary_y=True,
    )
    return made


def _status_markers(one: xr.Dataset, seed: int) -> list[go.Scatter]:
    """Make a trace a status; checkpoints without a value as crosses under the lowest finite bound."""
    words = one["status"].values.astype(str)
    step, llc, se = (np.asarray(one[k].values, dtype=float) for k in ("step", "llc", "llc_se"))
    finite = np.isfinite(llc)
    bounds = np.concatenate([llc[finite], (llc - 1.96 * se)[finite & np.isfinite(se)]])
    floor = float(bounds.min()) - 0.05 * (np.ptp(bounds) or 1.0) if bounds.size else 0.0
    about = theme.cells(
        se,
        [theme.status_name(w) for w in words],
        [theme.status_name(str(w)) for w in one["regime"].values],
        one["r_hat"].values,
        one["ess"].values,
        one["chains_lost"].values,
    )
    health = (
        "status: %{customdata[1]}, %{customdata[2]}<br>R̂ %{customdata[3]:.3f}, ESS %{customdata[4]:.0f}<extra></extra>"
    )
    traces = []
    for word in sorted(set(words[finite]), key=lambda w: (w != "ok", w)):
        at = finite & (words == word)
        traces.append(
            go.Scatter(
                x=theme.whole(step[at]),
                y=theme.compact(llc[at]),
                mode="markers",
                marker={
                    "symbol": theme.STATUS_SYMBOLS.get(word, "hexagon-open"),
                    "size": 5 if word == "ok" else 9,
                    "color": COLOUR,
                    "line": {"width": 1.6 if word != "ok" else 0, "color": COLOUR},
                },
                customdata=[row for row, here in zip(about, at, strict=True) if here],
                name=f"λ̂, status {theme.status_name(word)}",
                hovertemplate=f"seed {seed}<br>step %{{x:,.0f}}<br>λ̂ = %{{y:.3f}} ± %{{customdata[0]:.3f}} (s.e.)<br>"
                + health,
            )
        )
    if not finite.all():
        traces.append(
            go.Scatter(
                x=step[~finite],
                y=np.full(int((~finite).sum()), floor),
                mode="markers",
                marker={"symbol": "x", "size": 8, "color": "#b3261e"},
                customdata=[row for row, here in zip(about, ~finite, strict=True) if here],
                name="no value",
                hovertemplate=f"seed {seed}<br>step %{{x:,.0f}}<br>no value: %{{customdata[1]}}, "
                "%{customdata[5]} chains lost<extra></extra>",
            )
        )
    return traces


def llc_all_seeds(measurements: xr.Dataset, classes: xr.DataArray) -> go.Figure:
    """Draw λ̂ of every seed over training step, a line a seed coloured by class; it stops where a value is missing."""
    made = theme.figure(460, **theme.legend_above())
    seen: set[str] = set()
    for seed in (int(s) for s in measurements["seed"].values):
        one, name = measurements.sel(seed=seed), str(classes.sel(seed=seed).item())
        step, llc, se = (np.asarray(one[k].values, dtype=float) for k in ("step", "llc", "llc_se"))
        made.add_trace(
            go.Scatter(
                x=theme.whole(step),
                y=theme.compact(llc),
                mode="lines+markers",
                marker={"size": 3},
                line={"color": theme.class_colour(name), "width": 1.2},
                opacity=0.75,
                connectgaps=False,
                legendgroup=name,
                showlegend=name not in seen,
                name=theme.class_name(name),
                customdata=theme.cells(se, [theme.status_name(str(w)) for w in one["status"].values]),
                hovertemplate=f"seed {seed} ({theme.class_name(name)})<br>step %{{x:,.0f}}<br>"
                "λ̂ = %{y:.3f} ± %{customdata[0]:.3f} (s.e.)<br>status: %{customdata[1]}<extra></extra>",
            )
        )
        seen.add(name)
    made.update_xaxes(title_text="training step")
    made.update_yaxes(title_text="LLC estimate λ̂(nβ, γ), dimensionless")
    return made


def aligned_at_jump(measurements: xr.Dataset, inflection: xr.DataArray) -> go.Figure:
    """Draw λ̂ and effective rank of the jumping seeds over steps since their inflection, with mean ± 95 % t interval.

    measurements: (seed, checkpoint); inflection: (seed,), in steps, NaN for a seed that does not jump. The mean is
    taken where two seeds or more have a value, over the part of training that every jumping seed's checkpoints span;
    between two neighbouring checkpoints a seed is interpolated linearly, and not across a missing value.
    """
    when = inflection.dropna("seed")
    if not when.size:
        return theme.empty("No seed jumps: there is nothing to align.")
    jumping = measurements.sel(seed=when["seed"])
    made = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.6, 0.4])
    made.update_layout(template=theme.template(), height=600, uirevision="keep", **theme.legend_above())
    made.update_xaxes(title_text="training steps since the inflection of effective rank", row=2, col=1)
    made.update_yaxes(title_text="LLC estimate λ̂(nβ, γ)", row=1, col=1)
    made.update_yaxes(title_text="effective rank (1 to 2)", row=2, col=1)
    since = jumping["step"].values - when.values[:, None]
    first, last = common_stretch(since)
    made.update_xaxes(range=[first - 0.08 * (last - first), last + 0.08 * (last - first)])
    for row, (key, colour) in enumerate((("llc", COLOUR), ("effective_rank", RANK_COLOUR)), start=1):
        values = np.asarray(jumping[key].values, dtype=float)
        _aligned_row(made, row, since, values, when["seed"].values, colour, "λ̂" if key == "llc" else "effective rank")
        made.add_vline(x=0, row=row, col=1, line={"color": "#b3261e", "width": 1.2})
    return made


def _aligned_row(
    made: go.Figure,
    row: int,
    since: NDArray[np.float64],
    values: NDArray[np.float64],
    seeds: NDArray[np.int_],
    colour: str,
    label: str,
) -> None:
    for i, seed in enumerate(seeds):
        made.add_trace(
            go.Scatter(
                x=theme.compact(since[i]),
                y=theme.compact(values[i]),
                mode="lines",
                line={"color": "#8a909c", "width": 1},
                opacity=0.7,
                name="one seed",
                legendgroup="one",
                showlegend=row == 1 and i == 0,
                hovertemplate=f"seed {int(seed)}<br>%{{x:+,.0f}} steps<br>{label} %{{y:.3f}}<extra></extra>",
            ),
            row=row,
            col=1,
        )
    grid = np.linspace(*common_stretch(since), 121)
    curves = np.stack(
        [np.interp(grid, t[np.isfinite(t)], v[np.isfinite(t)]) for t, v in zip(since, values, strict=True)]
    )
    intervals = [t_interval(column) for column in curves.T]
    mean = np.array([i.mean if i.n > 1 else math.nan for i in intervals])
    half = np.array([i.high - i.mean for i in intervals])
    made.add_trace(
        theme.band(
            grid, mean - half, mean + half, colour, name="95 % t interval", legendgroup="interval", showlegend=row == 1
        ),
        row=row,
        col=1,
    )
    made.add_trace(
        go.Scatter(
            x=theme.compact(grid),
            y=theme.compact(mean),
            mode="lines",
            line={"color": colour, "width": 2.4},
            name=f"mean {label}",
            customdata=theme.cells(theme.compact(half), [i.n for i in intervals]),
            hovertemplate=f"%{{x:+,.0f}} steps<br>mean {label} %{{y:.3f}} ± %{{customdata[0]:.3f}}<br>"
            "(95 % t interval, %{customdata[1]} seeds)<extra></extra>",
        ),
        row=row,
        col=1,
    )


def common_stretch(since: NDArray[np.float64]) -> tuple[float, float]:
    """Return first and last step since the inflection that all seeds' checkpoints span; since: (seed, checkpoint)."""
    return float(np.nanmin(since, axis=1).max()), float(np.nanmax(since, axis=1).min())
