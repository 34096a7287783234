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
    lines = [t for t in figure.data if t.mode == "lines" and t.yaxis == "y2" and t.fill is None]
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
    flat["regime"] = xr.full_like(flat["regime"], "localised")
    flat["chains_lost"] = xr.zeros_like(flat["chains_lost"])
    figure = llc.aligned_at_jump(flat, jumps)
    mean = named(figure, "mean λ̂")
    assert np.allclose(mean.y, 3.0)
    half = mean.customdata[0][0]
    assert half == pytest.approx(12.706 * np.sqrt(2) / np.sqrt(2), rel=1e-3)  # t(0.975, 1) · sd/√n, sd = √2, n = 2
    assert mean.x[0] == pytest.approx(max(steps[0][0] - 300, steps[1][0] - 400), abs=1e-3)


def test_the_aligned_mean_leaves_out_what_is_below_baseline(measured, said):
    jumps = said["tests"]["inflection"].reindex(seed=measured["seed"])
    seed = int(said["tests"]["seed"].values[0])
    worse = measured.copy(deep=True)
    at = int(np.abs(worse["step"].sel(seed=seed).values - float(jumps.sel(seed=seed))).argmin())
    worse["regime"] = worse["regime"].astype(object)
    worse["llc"].loc[{"seed": seed, "checkpoint": at}] = -500.0
    worse["regime"].loc[{"seed": seed, "checkpoint": at}] = "below_baseline"
    figure = llc.aligned_at_jump(worse, jumps, windows=[(-10.0, -5.0)])
    assert np.nanmin(named(figure, "mean λ̂").y) > -1
    assert all(np.nanmin(t.y) > -1 for t in figure.data if t.name == "one seed" and np.isfinite(t.y).any())
    bands = [s for s in figure.layout.shapes if s.type == "rect"]
    assert [(s.x0, s.x1) for s in bands] == [(-10.0, -5.0)] * 2


def test_the_axis_of_the_llc_is_that_of_the_usable_estimates(measured, trajectory, said):
    below = measured["regime"].values == "below_baseline"
    values = measured["llc"].values
    low, high = llc.llc_range(measured)
    assert below.any() and np.nanmin(values) < -50
    assert -2 < low < 0 and np.nanmax(values[~below]) < high < np.nanmax(values[~below]) + 2
    outside, of_them = llc.out_of_view(measured)
    assert outside == np.sum((values < low) | (values > high)) and of_them == np.sum(below & (values < low))
    seed = int(measured["seed"].values[below.any(1)][0])
    figure = llc.llc_over_rank(measured, trajectory, seed)
    assert tuple(figure.layout.yaxis2.range) == (low, high)
    hollow, one = named(figure, llc.NO_MINIMUM_NAME), measured.sel(seed=seed)
    assert list(hollow.x) == list(one["step"].values[one["regime"].values == "below_baseline"])
    assert hollow.marker.symbol == llc.NO_MINIMUM and "w* is no minimum here" in hollow.hovertemplate
    assert not set(hollow.x) & set(named(figure, "λ̂, status ok").x)
    (note,) = [a.text for a in figure.layout.annotations]
    assert note.startswith(f"λ̂: {np.sum(one['llc'].values < low)} below this picture, down to −")
    every = llc.llc_all_seeds(measured, said["kinds"]["kind"])
    assert tuple(every.layout.yaxis.range) == (low, high)
    own = [t for t in every.data if t.name.startswith("seed")]
    hollow = [t for t in own if t.marker.symbol == llc.NO_MINIMUM]
    assert sum(len(t.x) for t in hollow) == below.sum() and all(t.mode == "markers" for t in hollow)
    lines = [t for t in own if t.mode == "lines+markers"]
    assert len(lines) == measured.sizes["seed"]
    assert sum(np.isnan(t.y).sum() for t in lines) == np.sum(below | np.isnan(values))  # nothing plunges out of view
    (curve,) = [t for t in figure.data if t.mode == "lines" and t.yaxis == "y2" and t.fill is None]
    assert np.isnan(curve.y[one["regime"].values == "below_baseline"]).all()


def test_without_usable_estimates_the_axis_finds_its_own_range(measured):
    none = measured.assign(regime=xr.full_like(measured["regime"].astype(object), "below_baseline"))
    assert llc.llc_range(none) is None and llc.out_of_view(none) == (0, 0)


def test_a_logarithmic_axis_has_ticks_however_short_it_is():
    assert theme.log_ticks([0.12, 0.37]) == [0.12, 0.15, 0.2, 0.25, 0.3]
    assert theme.log_ticks([1.0, 300.0]) == [1, 2, 5, 10, 20, 50, 100, 200]
    assert len(theme.log_ticks([1.21, 1.29])) >= 3
    assert theme.log_ticks([np.nan, -1]) == []


def test_features_that_emerge_together_can_be_told_apart(said):
    given = said["emergence"], said["fits"], said["tests"]["inflection"]
    figure = comparisons.emergence_against_jump(*given)
    looks = {(t.marker.symbol, t.marker.size) for t in figure.data if t.mode == "markers"}
    assert len(looks) == 6 and all(symbol.endswith("open") for symbol, _ in looks)
    assert figure.layout.xaxis.type == figure.layout.yaxis.type == "log"
    at_once = said["emergence"].copy(deep=True)
    at_once["emergence"].loc[{"seed": int(said["tests"]["seed"].values[0]), "feature": 0}] = 0.0
    assert comparisons.emergence_against_jump(at_once, *given[1:]).layout.yaxis.type is None


def test_the_polygon_of_the_nearest_checkpoint_is_named(measured, trajectory, said):
    shown = geometry.polytope(trajectory, measurements=measured)
    seed, frame = shown.options.index("2"), 5
    step = int(shown.frames[frame].removeprefix("step ").replace(",", ""))
    one = measured.sel(seed=2)
    nearest = one.isel(checkpoint=int(np.abs(one["step"].values - step).argmin()))
    name = geometry.polygon_name(int(nearest["polygon"]), int(nearest["features_near_zero"]))
    assert shown.notes[seed][frame] == (
        f"closest regular polygon at checkpoint {int(nearest['step']):,}: {name} "
        f"({float(nearest['polygon_distance']):.2f})"
    )
    assert geometry.polytope(trajectory).notes == []
    few = trajectory.isel(seed=slice(0, 5))  # with more columns than six there is room in the hover label only
    cells = geometry.gallery(few, said["kinds"]["kind"], measurements=measured).figure.layout.annotations
    last = one.isel(checkpoint=-1)
    name = geometry.polygon_name(int(last["polygon"]), int(last["features_near_zero"]))
    assert any(a.text == f"{name} ({float(last['polygon_distance']):.2f})" for a in cells)
    assert geometry.polygon_name(2, 4) == "antipodal pair, 4 near zero"
    assert geometry.polygon_name(1, 5) == "single feature, 5 near zero"


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
    assert len(figure.data[0].y) <= 60  # the counts are embedded, not the permutations
    for same in ([0.0] * 99, [3.0, np.nextafter(3.0, 4.0)] * 50):
        assert sum(comparisons.null_distribution(same, 0.0, label="mean difference").data[0].y) == len(same)
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
