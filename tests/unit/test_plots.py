"""Figures: they show what was measured, nothing across a missing value, and the same colour for the same thing."""

import math

import numpy as np
import plotly.graph_objects as go
import pytest
import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.plots import comparisons, geometry, llc, theme, trajectories


@pytest.fixture(scope="module")
def measured(small_study):
    return small_study[0]


@pytest.fixture(scope="module")
def trajectory(small_study):
    return small_study[1]


@pytest.fixture(scope="module")
def said(small_study):
    return small_study[2]


def named(figure: go.Figure, name: str) -> go.Scatter:
    (trace,) = [t for t in figure.data if t.name == name and t.x is not None and t.x[0] is not None]
    return trace


def test_a_band_is_broken_where_a_bound_is_missing():
    low = np.array([0.0, 0.0, np.nan, 0.0, 0.0])
    band = theme.band(np.arange(5), low, low + 1, "#0072b2")
    gaps = np.flatnonzero(np.isnan(band.x))
    assert len(gaps) == 1
    first, second = band.x[: gaps[0]], band.x[gaps[0] + 1 :]
    assert set(first) == {0, 1} and set(second) == {3, 4}


def test_thinning_keeps_first_and_last_and_never_adds():
    assert list(theme.thin(5, 10)) == [0, 1, 2, 3, 4]
    picked = theme.thin(1001, 50)
    assert picked[0] == 0 and picked[-1] == 1000 and len(picked) == 50
    with pytest.raises(OntogenyError, match="at_most must be 2 or more"):
        theme.thin(5, 1)


def test_colours_have_contrast_against_white():
    def luminance(colour):
        channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return linear @ [0.2126, 0.7152, 0.0722]

    for colour in (*theme.FEATURE_COLOURS, *theme.CLASS_COLOURS.values()):
        assert 1.05 / (luminance(colour) + 0.05) >= 3, colour  # WCAG 2.1, 1.4.11: graphical objects


def test_the_seed_grid_has_every_seed_and_lines_only_for_accepted_fits(trajectory, said):
    figure = trajectories.seed_grid(trajectory, said["fits"], said["kinds"]["kind"])
    for seed in trajectory["seed"].values:
        line = named(figure, f"seed {seed}")
        assert line.y[-1] == pytest.approx(trajectory["effective_rank"].sel(seed=seed).values[-1], rel=1e-6)
    marks = [t for t in figure.data if t.legendgroup == "inflection" and t.x[0] is not None]
    accepted = said["fits"]["inflection"].where(said["fits"]["accepted"], drop=True).values
    assert sorted(t.x[0] for t in marks) == pytest.approx(sorted(accepted))
    ranges = {tuple(axis.range) for axis in figure.select_yaxes()}
    assert ranges == {theme.RANK_RANGE}


def test_an_empty_trajectory_is_refused(trajectory, said):
    with pytest.raises(OntogenyError, match="trajectory holds no seed"):
        trajectories.seed_grid(trajectory.isel(seed=[]), said["fits"], said["kinds"]["kind"])


def test_the_fit_is_the_sigmoid_over_the_stretch_it_was_fitted_to(trajectory, said):
    seed = int(said["fits"]["seed"].values[said["fits"]["accepted"].values][0])
    fit = said["fits"].sel(seed=seed)
    (curve, mark) = trajectories._fit_lines(fit, seed)
    assert curve.x[0] == pytest.approx(float(fit["start"])) and curve.x[-1] == pytest.approx(float(fit["end"]))
    middle = np.interp(float(fit["inflection"]), curve.x, curve.y)
    assert middle == pytest.approx((float(fit["lo"]) + float(fit["hi"])) / 2, abs=1e-3)
    assert mark.x[0] == pytest.approx(float(fit["inflection"]))


def test_missing_llc_is_a_cross_and_is_not_drawn_across(measured, trajectory):
    holes = measured.copy(deep=True)
    for key in ("llc", "llc_se"):
        holes[key][0, 5] = np.nan
    holes["status"] = holes["status"].astype(object)
    holes["status"][0, :] = "ok"
    holes["status"][0, 5], holes["status"][0, 6] = "diverged", "not_mixed"
    for key in ("llc", "llc_se"):
        holes[key][0] = holes[key][0].fillna(1.0).where(np.arange(holes.sizes["checkpoint"]) != 5)
    figure = llc.llc_over_rank(holes, trajectory, 0)
    step = holes["step"].values[0]
    assert list(named(figure, "no value").x) == [step[5]]
    assert list(named(figure, "λ̂, status not mixed").x) == [step[6]]
    assert step[5] not in named(figure, "λ̂, status ok").x
    assert named(figure, "λ̂, status not mixed").marker.symbol != named(figure, "λ̂, status ok").marker.symbol
    lines = [t for t in figure.data if t.mode == "lines" and t.yaxis != "y2" and t.fill is None]
    assert len(lines) == 1 and math.isnan(lines[0].y[5]) and not lines[0].connectgaps
    assert step[5] not in named(figure, "±1.96 s.e.").x


def test_a_seed_without_any_value_still_draws(measured, trajectory):
    lost = measured.copy(deep=True)
    lost["llc"][:], lost["llc_se"][:] = np.nan, np.nan
    figure = llc.llc_over_rank(lost, trajectory, 0)
    assert len(named(figure, "no value").x) == lost.sizes["checkpoint"]


def test_jumps_are_aligned_and_averaged_over_seeds(measured):
    steps = measured["step"].values
    jumps = xr.DataArray(
        [300.0, 400.0, *[np.nan] * (measured.sizes["seed"] - 2)], coords={"seed": measured["seed"]}, dims="seed"
    )
    flat = measured.assign(llc=measured["llc"] * 0 + xr.DataArray([2.0, 4.0, *[9.0] * (len(jumps) - 2)], dims="seed"))
    flat["llc"] = flat["llc"].fillna(flat["llc"].max("checkpoint"))
    figure = llc.aligned_at_jump(flat, jumps)
    mean = named(figure, "mean λ̂")
    assert np.allclose(mean.y, 3.0)
    half = mean.customdata[0][0]
    assert half == pytest.approx(12.706 * np.sqrt(2) / np.sqrt(2), rel=1e-3)  # t(0.975, 1) · sd/√n, sd = √2, n = 2
    assert mean.x[0] == pytest.approx(max(steps[0][0] - 300, steps[1][0] - 400), abs=1e-3)


def test_without_a_jump_the_figures_say_so(measured, said):
    nothing = xr.full_like(said["fits"]["inflection"], np.nan)
    for figure in (
        llc.aligned_at_jump(measured, nothing),
        comparisons.emergence_against_jump(said["emergence"], said["fits"], nothing),
        comparisons.cut_point_differences(said["tests"].isel(seed=[])),
    ):
        assert any(a.text.startswith("No seed") for a in figure.layout.annotations)


def test_a_frame_of_the_polytope_is_the_weights_at_that_step(trajectory):
    shown = geometry.polytope(trajectory, start="2")
    seed, frame = shown.options.index("2"), 3
    assert shown.first_option == seed and len(shown.frames) == shown.x.shape[1]
    step = int(shown.frames[frame].removeprefix("step ").replace(",", ""))
    weight = trajectory["weight"].sel(seed=2).isel(time=int(np.flatnonzero(trajectory["step"].values == step)[0]))
    for j, (start, stop) in enumerate(shown.slices[1:7]):
        x, y = shown.x[seed, frame, start:stop], shown.y[seed, frame, start:stop]
        assert (x[0], y[0]) == (0, 0)
        assert [x[1], y[1]] == pytest.approx(weight.isel(feature=j).values, rel=1e-5)


def test_the_polygon_is_the_convex_hull_of_the_long_features():
    tips = np.array(
        [[1, 0], [0, 1], [-1, 0], [0, -1], [0.55, 0.2], [0.01, -0.02]]
    ).T  # one inside the hull, one too short
    hull = geometry._hulls(tips[None, None], 0.5)[0, 0].T
    corners = hull[:4] @ [1, 1j]
    assert set(corners) == {1, 1j, -1, -1j}
    assert np.allclose(np.diff(np.unwrap(np.angle(corners))), np.pi / 2)  # in order
    assert np.allclose(hull[4:], hull[0])  # closed, and filled up
    assert not geometry._hulls(tips[None, None] * 0.1, 0.5).any()
    pair = geometry._hulls(np.array([[[[1.0, -1.0, 0.0], [0.0, 0.0, 0.1]]]]), 0.5)[0, 0].T
    assert {tuple(p) for p in pair} == {(1.0, 0.0), (-1.0, 0.0)}


def test_cosines_are_faint_or_hidden_for_small_features(trajectory):
    figure = geometry.cosines(trajectory, 2, threshold=0.3)
    norm = trajectory["feature_norm"].sel(seed=2)
    assert len(figure.data) == 30
    last = int(trajectory["step"].values[-1])
    smallest = sorted(range(6), key=lambda j: float(norm.isel(time=-1, feature=j)))[:2]
    name = f"{min(smallest)} · {max(smallest)}"
    assert float(norm.isel(time=-1, feature=smallest[0])) < 0.1
    for trace in figure.data:
        finite = np.abs(trace.y[np.isfinite(trace.y)])
        assert finite.size == 0 or finite.max() <= 1 + 1e-6
        if trace.name == name:
            assert trace.x is None or last not in trace.x


def test_fractions_show_their_intervals(said):
    figure = comparisons.class_fractions(said["fractions"])
    (bars,) = figure.data
    table = said["fractions"].isel(kind=slice(None, None, -1))
    assert list(bars.x + bars.error_x.array) == pytest.approx(list(table["high"].values))
    assert list(bars.x - bars.error_x.arrayminus) == pytest.approx(list(table["low"].values))


def test_the_null_distribution_counts_every_permutation():
    null = np.random.default_rng(0).standard_normal(999)
    figure = comparisons.null_distribution(null, 2.5, label="mean difference", p=0.01)
    assert sum(figure.data[0].y) == 999 and figure.data[1].x[0] == 2.5
    with pytest.raises(OntogenyError, match="null must hold one finite statistic a permutation"):
        comparisons.null_distribution([np.nan], 1.0, label="mean difference")


def test_every_axis_that_is_shown_has_a_title(measured, trajectory, said):
    figures = [
        llc.llc_over_rank(measured, trajectory, 0),
        llc.llc_all_seeds(measured, said["kinds"]["kind"]),
        geometry.cosines(trajectory, 0),
        geometry.polytope(trajectory).figure,
        comparisons.class_fractions(said["fractions"]),
        comparisons.cut_point_differences(said["tests"]),
        comparisons.emergence_against_jump(said["emergence"], said["fits"], said["tests"]["inflection"]),
    ]
    for figure in figures:
        assert all(axis.title.text for axis in figure.select_xaxes())
        assert all(axis.title.text for axis in figure.select_yaxes()) or figure is figures[4]  # its bars are named
