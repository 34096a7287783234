"""One estimate as a reviewer wants to see it: its chains, its mean, its ranks, its autocorrelation, its settings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go
import xarray as xr
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import setting
from ontogeny.estimators.llc import llc_from_draws
from ontogeny.estimators.series import SAMPLE_DIMS, excess_loss
from ontogeny.estimators.status import MEANINGS
from ontogeny.estimators.uncertainty import autocorrelation_time, standard_error
from ontogeny.plots import theme

Array = NDArray[np.float64]

MOST_TRACES = 8
POINTS_A_TRACE, POINTS_OF_THE_MEAN, MOST_LAGS = 800, 80, 240
FEWEST_DRAWS = 8
BINS = (5, 20)
"""Fewest and most bins of the ranks; each expects five effective draws of a chain or more, where there are so many."""
COLOUR = "#0072b2"
EXCESS = "nβ(L<sub>B</sub>(w) − L<sub>B</sub>(w*))"
TRACES, MEAN, CORRELATION, RANKS, TABLE = (1, 1), (2, 1), (2, 2), (3, 1), (3, 2)


def plot_estimate(draws: xr.Dataset) -> go.Figure:
    """Show one estimate: traces, running mean, rank plot, autocorrelation, settings and status.

    - Traces: nβ(L_B(w) − L_B(w*)) of at most eight chains, those with the lowest and the highest mean among them, over
      the steps of the chain; burn-in shaded. Long traces are thinned, and the title says how.
    - Running mean over all chains, ±1.96 standard errors of the draws so far, and λ̂ as a line.
    - Autocorrelation within the chains, faint, and its mean over all chains; τ is the mean autocorrelation time.
    - Ranks of each chain's draws among the draws of all chains, as a histogram against what chains that agree have;
      shaded: ±1.96 standard deviations of a bin with draws/τ independent draws.
    - λ̂ ± s.e., status and regime with their sentences, and every setting with its unit.

    Args:
        draws: what `og.sample` returned, of a single estimate: no dims but ``chain`` and ``draw`` (and that of the
            warm-up's trace).

    Returns:
        A plotly Figure; ``.show()`` opens it, ``.write_html("estimate.html")`` keeps it.

    Raises:
        OntogenyError: for what are no draws, or several estimates at once.

    Source: rank plots: Vehtari et al. (2021), Bayesian Analysis 16:667.
    """
    estimate = llc_from_draws(draws)
    if estimate["llc"].dims:
        one = ", ".join(f"{dim}=0" for dim in estimate["llc"].dims)
        raise OntogenyError(
            f"draws must be those of one estimate; they have the dims {tuple(estimate['llc'].dims)} besides chain and "
            f"draw. Select one, as with draws.isel({one})."
        )
    excess = (draws["n_beta"] * excess_loss(draws)).transpose(*SAMPLE_DIMS).values.astype(np.float64)
    lost = draws["diverged"].values.astype(bool)
    shown = _shown(excess)
    made = make_subplots(
        rows=3,
        cols=2,
        specs=[[{"colspan": 2}, None], [{}, {}], [{}, {"type": "domain"}]],
        row_heights=[0.25, 0.24, 0.51],
        horizontal_spacing=0.11,
        vertical_spacing=0.1,
    )
    made.update_layout(template=theme.template(), height=1280, uirevision="keep", showlegend=False)
    made.update_layout(margin={"l": 68, "r": 24, "t": 92, "b": 50})
    made.update_layout(title={"text": _headline(estimate), "x": 0.012, "y": 0.985, "yanchor": "top", "font_size": 17})
    _traces(made, draws, excess, shown, lost)
    if lost.any():
        said = "Not drawn: a diverged chain is never averaged."
    elif excess.shape[1] < FEWEST_DRAWS:
        said = f"Not drawn: {excess.shape[1]} draws a chain are too few."
    else:
        said = ""
    if said:
        for place, title in ((MEAN, "Running mean"), (CORRELATION, "Autocorrelation"), (RANKS, "Ranks")):
            _title(made, place, title, said)
            made.update_xaxes(visible=False, row=place[0], col=place[1])
            made.update_yaxes(visible=False, row=place[0], col=place[1])
    else:
        _running_mean(made, excess, estimate)
        _autocorrelation(made, excess, shown)
        _ranks(made, excess, shown)
    made.add_trace(_table(draws, estimate), row=TABLE[0], col=TABLE[1])
    made.update_traces(domain_y=[0.0, made.layout.yaxis4.domain[1] + 0.03], selector={"type": "table"})
    return made


def _shown(excess: Array) -> list[int]:
    """Places of the chains that are drawn: all, or eight evenly spaced in their mean, lowest and highest included."""
    chains = excess.shape[0]
    if chains <= MOST_TRACES:
        return list(range(chains))
    mean = np.nan_to_num(excess.mean(1), nan=np.inf)
    return sorted(int(c) for c in np.argsort(mean, kind="stable")[theme.thin(chains, MOST_TRACES)])


def _headline(estimate: xr.Dataset) -> str:
    n_beta, gamma, llc, se = (float(estimate[k]) for k in ("n_beta", "localization", "llc", "llc_se"))
    value = f" = {llc:.4g} ± {se:.2g} (s.e.)" if math.isfinite(llc) else " is not given"
    words = ", ".join(theme.status_name(estimate[k].item()) for k in ("status", "regime") if estimate[k].item())
    return f"λ̂(nβ = {n_beta:.4g}, γ = {gamma:.4g}){value}: {words}"


def _title(made: go.Figure, place: tuple[int, int], title: str, note: str = "") -> None:
    """Write what a panel shows above it, as a caption."""
    text = f"<b>{title}</b>" + (f"<br><span style='color:{theme.MUTED}'>{note}</span>" if note else "")
    panel = next(made.select_xaxes(row=place[0], col=place[1]))
    across, up = panel.domain, next(made.select_yaxes(row=place[0], col=place[1])).domain
    font = {"size": 12.5}
    where = {"xref": "paper", "yref": "paper", "x": across[0], "y": up[1], "yshift": 3}
    made.add_annotation(text=text, align="left", xanchor="left", yanchor="bottom", font=font, **where)


def _traces(made: go.Figure, draws: xr.Dataset, excess: Array, shown: list[int], lost: NDArray[np.bool_]) -> None:
    chains, count = excess.shape
    burn_in = int(setting(draws, "burn_in") or 0)
    stride = math.ceil(count / POINTS_A_TRACE)
    pick = np.arange(0, count, stride)
    warm, before = _warm_up(draws, burn_in, stride)
    for order, chain in enumerate(shown):
        colour = "#b3261e" if lost[chain] else theme.feature_colour(order)
        values = np.concatenate([warm[chain], excess[chain, pick]])
        made.add_trace(
            go.Scatter(
                x=theme.compact(np.concatenate([before, burn_in + pick])),
                y=theme.compact(np.where(np.isfinite(values), values, np.nan)),
                mode="lines",
                line={"color": colour, "width": 0.9},
                opacity=0.75,
                connectgaps=False,
                name=f"chain {chain}",
                hovertemplate=f"chain {chain}{', diverged' if lost[chain] else ''}<br>step %{{x:,.0f}}<br>"
                "%{y:.4g}<extra></extra>",
            ),
            row=TRACES[0],
            col=TRACES[1],
        )
    kept = excess[~lost][:, pick]
    if lost.any() and kept.size:  # a diverged chain would leave nothing of the others to be seen
        low, high = float(kept.min()), float(kept.max())
        made.update_yaxes(range=[low - 0.2 * (high - low), high + 0.6 * (high - low)], row=1, col=1)
    if burn_in:
        shade = {"x0": 0, "x1": burn_in, "fillcolor": "#eef0f3", "line_width": 0, "layer": "below"}
        made.add_vrect(**shade, row=TRACES[0], col=TRACES[1])
    made.update_xaxes(title_text="step of the chain", range=[0, burn_in + count], row=1, col=1)
    made.update_yaxes(title_text=f"{EXCESS},<br>dimensionless", row=1, col=1)
    which = "all" if len(shown) == chains else f"{len(shown)} of {chains}, lowest and highest mean among them"
    every = "every draw" if stride == 1 else f"one draw in {stride}"
    grey = f"; grey: burn-in of {burn_in:,} steps, {'thinned' if warm.size else 'not kept'}" if burn_in else ""
    _title(made, TRACES, "Chains", f"{which}; {every}{grey}; a colour is a chain, the same below")


def _warm_up(draws: xr.Dataset, burn_in: int, stride: int) -> tuple[Array, Array]:
    """The warm-up's trace (chain, point), and the steps its points belong to, evenly spread over burn-in."""
    if "warm_up" not in draws or not burn_in or not draws["warm_up"].size:
        return np.empty((draws.sizes["chain"], 0)), np.empty(0)
    values = draws["warm_up"].transpose("chain", ...).values.astype(np.float64)
    values = values[:, :: max(1, round(stride * values.shape[1] / burn_in))]  # as dense as the draws
    return values, np.linspace(0, burn_in, values.shape[1], endpoint=False)


def _running_mean(made: go.Figure, excess: Array, estimate: xr.Dataset) -> None:
    count = excess.shape[1]
    ends = np.unique(np.geomspace(FEWEST_DRAWS, count, POINTS_OF_THE_MEAN // 2).round().astype(int))
    ends = np.union1d(ends, np.linspace(FEWEST_DRAWS, count, POINTS_OF_THE_MEAN // 2).round().astype(int))
    mean = np.cumsum(excess.mean(0))[ends - 1] / ends
    half = 1.96 * np.array([float(standard_error(excess[:, :end])) for end in ends])
    band = theme.band(ends, mean - half, mean + half, COLOUR)
    line = go.Scatter(
        x=ends,
        y=theme.compact(mean),
        mode="lines",
        line={"color": COLOUR, "width": 2},
        customdata=theme.cells(half),
        hovertemplate="first %{x:,} draws a chain<br>%{y:.4g} ± %{customdata[0]:.2g} (1.96 s.e.)<extra></extra>",
    )
    for trace in (band, line):
        made.add_trace(trace, row=MEAN[0], col=MEAN[1])
    made.add_hline(y=float(estimate["llc"]), line={"color": theme.INK, "width": 1, "dash": "dot"}, row=2, col=1)
    late = ends >= 0.05 * count  # the first points may be far off
    low, high = float((mean - half)[late].min()), float((mean + half)[late].max())
    made.update_yaxes(range=[low - 0.06 * (high - low), high + 0.06 * (high - low)] if high > low else None, row=2)
    made.update_xaxes(title_text="draws a chain", range=[0, count], row=MEAN[0], col=MEAN[1])
    made.update_yaxes(title_text="λ̂, dimensionless", row=MEAN[0], col=MEAN[1])
    _title(made, MEAN, "Running mean over all chains", "band: ±1.96 s.e. of the draws so far; dotted: λ̂")


def _correlation(excess: Array, lags: int) -> Array:
    """Autocorrelation of each chain at lags 0 … lags - 1, shape (chain, lag); 0 where a chain never moved."""
    centred = excess - excess.mean(1, keepdims=True)
    spectrum = np.fft.rfft(centred, n=2 * excess.shape[1], axis=1)
    covariance = np.fft.irfft(spectrum * spectrum.conj(), axis=1)[:, :lags]
    variance = covariance[:, :1]
    return np.divide(covariance, variance, out=np.zeros_like(covariance), where=variance > 0)


def _autocorrelation(made: go.Figure, excess: Array, shown: list[int]) -> None:
    tau = float(autocorrelation_time(excess).mean())
    lags = int(min(max(20, 6 * tau), excess.shape[1] // 2)) + 1
    rho, pick = _correlation(excess, lags), theme.thin(lags, MOST_LAGS)
    for order, chain in enumerate(shown):
        made.add_trace(
            go.Scatter(
                x=pick,
                y=theme.compact(rho[chain, pick]),
                mode="lines",
                line={"color": theme.feature_colour(order), "width": 1},
                opacity=0.45,
                name=f"chain {chain}",
                hovertemplate=f"chain {chain}<br>lag %{{x}} draws<br>%{{y:.3f}}<extra></extra>",
            ),
            row=CORRELATION[0],
            col=CORRELATION[1],
        )
    made.add_trace(
        go.Scatter(
            x=pick,
            y=theme.compact(rho.mean(0)[pick]),
            mode="lines",
            line={"color": theme.INK, "width": 2.2},
            name="mean",
            hovertemplate="mean over all chains<br>lag %{x} draws<br>%{y:.3f}<extra></extra>",
        ),
        row=CORRELATION[0],
        col=CORRELATION[1],
    )
    made.add_hline(y=0, line={"color": theme.MUTED, "width": 1, "dash": "dot"}, row=2, col=2)
    made.update_xaxes(title_text="lag, draws", range=[0, lags - 1], row=CORRELATION[0], col=CORRELATION[1])
    made.update_yaxes(title_text="autocorrelation", row=CORRELATION[0], col=CORRELATION[1])
    made.update_yaxes(range=[min(-0.1, float(rho.mean(0).min()) - 0.1), 1.05], row=2, col=2)
    _title(made, CORRELATION, "Autocorrelation", f"thick: mean over all chains; τ = {tau:.3g} draws")


def _ranks(made: go.Figure, excess: Array, shown: list[int]) -> None:
    chains, count = excess.shape
    tau = float(autocorrelation_time(excess).mean())
    bins = int(np.clip(count / tau / 5, *BINS))
    rank = np.empty(excess.size)
    rank[np.argsort(excess, axis=None, kind="stable")] = np.arange(excess.size)
    counts = np.stack([np.histogram(row, bins, (0, excess.size))[0] for row in rank.reshape(excess.shape)])
    share = counts * bins / count
    spread = 1.96 * math.sqrt((bins - 1) * tau / count)
    middle = (np.arange(bins) + 0.5) / bins
    reach = max(1.0, float(np.abs(share[shown] - 1).max()), spread)
    for order, chain in enumerate(shown):
        level = float(len(shown) - order)
        colour = theme.feature_colour(order)
        half = min(spread / reach, 1.0) * 0.45
        made.add_shape(
            type="rect", x0=0, x1=1, y0=level - half, y1=level + half, fillcolor="#eef0f3", line_width=0, layer="below",
            row=RANKS[0], col=RANKS[1],
        )  # fmt: skip
        made.add_trace(
            go.Bar(
                x=theme.compact(middle),
                y=theme.compact(0.45 * (share[chain] - 1) / reach),
                base=level,
                width=0.92 / bins,
                marker={"color": theme.fade(colour, 0.8), "line": {"width": 0}},
                customdata=theme.cells(counts[chain], share[chain]),
                hovertemplate=f"chain {chain}<br>%{{customdata[0]}} draws, %{{customdata[1]:.2f}} times as many as "
                "expected<extra></extra>",
                name=f"chain {chain}",
            ),
            row=RANKS[0],
            col=RANKS[1],
        )
        made.add_hline(y=level, line={"color": theme.MUTED, "width": 0.8}, row=RANKS[0], col=RANKS[1])
    made.update_layout(barmode="overlay")
    made.update_xaxes(title_text="rank among the draws of all chains (0: lowest, 1: highest)", range=[0, 1], row=3)
    made.update_yaxes(
        title_text="chain",
        tickvals=[len(shown) - order for order in range(len(shown))],
        ticktext=[str(chain) for chain in shown],
        range=[0.4, len(shown) + 0.6],
        showgrid=False,
        row=RANKS[0],
        col=RANKS[1],
    )
    whose = "all" if len(shown) == chains else f"the same {len(shown)}"
    note = f"bars: more or fewer draws than expected, full height ±{100 * reach:.0f} %;<br>"
    _title(made, RANKS, f"Ranks of {whose} chains", note + "grey: ±1.96 s.d. where chains agree")


def _table(draws: xr.Dataset, estimate: xr.Dataset) -> go.Table:
    rows = _rows(draws, estimate)
    cell = {"align": "left", "font": {"size": 11.5, "color": theme.INK}, "height": 23, "line": {"color": theme.GRID}}
    return go.Table(
        columnwidth=[0.29, 0.71],
        header={"values": ["<b>setting or result</b>", "<b>value</b>"], "fill_color": "#eef0f3"} | cell,
        cells={"values": [list(column) for column in zip(*rows, strict=True)], "fill_color": "#ffffff"} | cell,
    )


def _rows(draws: xr.Dataset, estimate: xr.Dataset) -> list[tuple[str, str]]:
    def number(name: str, digits: int = 4) -> str:
        value = float(estimate[name]) if name in estimate else math.nan
        return f"{value:.{digits}g}" if math.isfinite(value) else "—"

    def word(name: str) -> Any:
        found = setting(draws, name)
        return "—" if found is None else found

    friction, examples, spent = (setting(draws, name) for name in ("friction", "examples", "gradient_evaluations"))
    chains, count = draws.sizes["chain"], draws.sizes["draw"]
    lost = int(estimate["chains_lost"])
    rows = [("λ̂ ± s.e.", f"{number('llc')} ± {number('llc_se', 2)}, dimensionless")]
    if lost:
        rows = [("λ̂", f"not given: {lost} of {chains} chains diverged")]
    for name in ("status", "regime"):
        said = estimate[name].item()
        if said:
            rows.append((f"{name}: {theme.status_name(said)}", MEANINGS[said]))
    rows += [
        ("R̂, bulk ESS", f"{number('r_hat')}, {number('ess')} draws; {lost} chains lost"),
        ("virial/d", f"{number('check_virial')} ± {number('check_virial_se', 2)} (1 at stationarity)"),
        ("nβ, γ", f"{number('n_beta')} 1/loss, {number('localization')} 1/weight²"),
        ("nβ·h_max/γ", f"{number('localisation_ratio', 3)}, h_max = {number('h_max', 3)} loss/weight²"),
        ("kernel", f"{word('kernel')}, ε = {number('step_size', 3)} weight²"),
    ]
    if friction:
        rows.append(("friction", f"{friction:.3g} 1/(weight·√(nβ·loss))"))
    rows.append(("chains × draws", f"{chains} × {count:,}, burn-in {word('burn_in')} steps a chain"))
    of = f" of {examples:,} examples" if examples else ""
    noise = ", noise compensated" if setting(draws, "compensate") else ""
    rows.append(("batch", f"{word('batch_size')}{of}{noise}; drifts capped: {number('check_capped', 2)}"))
    weights = f"{int(draws['dim']):,} weights ({word('components')})"
    rows.append(("sampled", f"{weights}, chains evaluated {word('mode')}, seed {word('seed')}"))
    if spent is not None:
        rows.append(("cost", f"{spent:,} gradient evaluations"))
    rows.append(("version", f"ontogeny {word('ontogeny_version')}"))
    return rows
