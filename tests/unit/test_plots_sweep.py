"""Figures of the sweep show what the tables hold: every seed, every setting, every event, and no unusable estimate."""

import numpy as np
import pytest

import synthetic_sweep
from ontogeny.core.errors import OntogenyError
from ontogeny.plots import drift, events, sweep


@pytest.fixture(scope="module")
def made():
    measurements, neighbours, trajectory = synthetic_sweep.sweep()
    return measurements, trajectory, synthetic_sweep.found(measurements, neighbours, trajectory)


def finite(values):
    return np.asarray(values, dtype=float)[np.isfinite(np.asarray(values, dtype=float))]


def axes_without_title(figure):
    """Axes at the left of a figure that carry no title."""
    first = min(axis.domain[0] for axis in figure.select_xaxes())
    beside = [axis.anchor for axis in figure.select_xaxes() if axis.domain[0] == first]
    return [name for name in beside if not figure.layout[name.replace("y", "yaxis")].title.text]


def test_the_grid_has_every_seed_and_a_mean_in_each_panel(made):
    measurements, *_ = made
    figure = sweep.sweep_grid(measurements)
    lines = [t for t in figure.data if t.mode == "lines" and t.fill is None]
    assert len(lines) == 6 * 4 * 2  # rows × sparsities × (seeds, mean)
    faint = lines[0]
    assert {row[0] for row in faint.customdata} == set(range(8))
    np.testing.assert_allclose(
        finite(lines[1].y)[-1],
        measurements["llc"].sel(sparsity=0.3).isel(checkpoint=-1).mean(),
        rtol=1e-5,
    )
    assert not axes_without_title(figure)


def test_estimates_below_baseline_are_not_drawn(made):
    measurements, *_ = made
    assert float(measurements["llc"].min()) < -30
    figure = sweep.sweep_grid(measurements, rows=("llc",))
    assert min(finite(t.y).min() for t in figure.data) > -1


def test_the_mean_needs_half_of_the_seeds(made):
    measurements = made[0].copy(deep=True)
    measurements["llc"][:, :5, 10] = np.nan
    mean = [t for t in sweep.sweep_grid(measurements, rows=("llc",)).data if t.mode == "lines" and t.fill is None][1]
    assert np.isnan(mean.y[10]) and np.isfinite(mean.y[11])


def test_the_axis_of_steps_has_a_place_for_step_zero():
    axis = sweep.step_axis(8000.0)
    assert axis["ticktext"] == ["0", "100", "300", "1,000", "3,000", "8,000"]
    assert np.all(np.diff(axis["tickvals"]) > 0) and axis["range"][0] < 0


def test_a_row_that_was_not_measured_is_named(made):
    with pytest.raises(OntogenyError, match=r"rows must be variables of measurements; got \['nothing'\]"):
        sweep.sweep_grid(made[0], rows=("llc", "nothing"))


def test_bars_are_the_frozen_setting_and_symbols_the_others(made):
    table = made[2].drifts_by_setting
    figure = drift.drift_bars(table)
    bars = [t for t in figure.data if t.type == "bar"]
    assert len(bars) == 6 and len(figure.data) == 6 * 6
    one = table.sel(setting="frozen", definition="net_change")
    np.testing.assert_allclose(bars[0].y, one["mean"])
    np.testing.assert_allclose(np.asarray(bars[0].y) - bars[0].error_y.arrayminus, one["low"])
    np.testing.assert_allclose(bars[3].y, one["relative_mean"])
    with pytest.raises(OntogenyError, match="'frozen', which the bars show"):
        drift.drift_bars(table.sel(setting=["half_n_beta"]))


def test_ratios_have_lines_at_one_and_three_and_show_all_of_both(made):
    figure = drift.drift_ratios(made[2].drift_ratios, quiet=0.3, canonical=0.7)
    assert [shape.x0 for shape in figure.layout.shapes] == [1, 3, 1, 3]
    low, high = figure.layout.xaxis.range
    assert low < 0 and high > np.log10(3)


def test_an_unbounded_ratio_is_drawn_to_the_edge_with_an_arrow(made):
    ratios = made[2].drift_ratios.copy(deep=True)
    place = {"setting": 0, "definition": 0, "scale": 0}
    for name, value in {"ratio_low": -np.inf, "ratio_high": np.inf, "ratio_bounded": False}.items():
        ratios[name][place] = value
    figure = drift.drift_ratios(ratios, quiet=0.3, canonical=0.7)
    heads = [t for t in figure.data if str(t.marker.symbol).startswith("triangle-")]
    assert {t.marker.symbol for t in heads} == {"triangle-left", "triangle-right"}
    assert "unbounded" in {text for t in figure.data if t.customdata is not None for _, text in t.customdata}
    assert all(np.isfinite(t.error_x.array).all() for t in figure.data if t.error_x.array is not None)


def test_a_negative_component_is_drawn_as_it_is(made):
    components = made[2].components.copy(deep=True)
    components["variance"].loc[{"of": "values", "source": "seed"}] = -0.5
    figure = drift.variance_components(components)
    values = dict(zip(figure.data[0].y, figure.data[0].x, strict=True))
    assert values["seed (within sparsity)"] == -0.5
    assert figure.layout.xaxis.range[0] < -0.5


def test_loadings_that_may_be_zero_stand_in_brackets(made):
    factors = made[2].factors.copy(deep=True)
    factors["loading_low"][0, 0], factors["loading_high"][0, 0] = -0.1, 0.2
    factors["loading_low"][1, 0], factors["loading_high"][1, 0] = -0.9, -0.2
    text = drift.factor_loadings(factors).data[0].text
    assert text[0][0].startswith("(") and not text[1][0].startswith("(")


def test_no_factor_is_said(made):
    figure = drift.factor_loadings(made[2].factors.isel(factor=slice(0, 0)))
    assert "No factor" in figure.layout.annotations[0].text


def test_the_raster_has_every_event_once(made):
    _, trajectory, found = made
    figure = events.event_raster(found.events, trajectory)
    drawn = sum(len(finite(t.x)) for t in figure.data if t.x[0] is not None)
    assert drawn == found.events.sizes["event"]
    assert {t.name for t in figure.data if t.showlegend} >= {"feature emerges", "rank jump"}
    beside = events.event_raster(found.events, trajectory, found.changes["llc"])
    more = sum(len(finite(t.x)) for t in beside.data if t.x[0] is not None)
    assert more - drawn == found.changes["llc"].sizes["event"]


def test_an_event_of_a_run_that_is_not_there_is_refused(made):
    _, trajectory, found = made
    with pytest.raises(OntogenyError, match=r"events must be of the sparsities and seeds of runs; got .* = \(0.3, 0\)"):
        events.event_raster(found.events, trajectory.sel(sparsity=[0.5, 0.7, 0.9]))


def test_no_event_leaves_an_empty_raster(made):
    _, trajectory, found = made
    figure = events.event_raster(found.events.isel(event=slice(0, 0)), trajectory)
    assert len(figure.layout.annotations) == 4 and not figure.data


def test_averages_leave_out_what_fewer_than_three_runs_have(made):
    aligned = made[2].aligned.copy(deep=True)
    aligned["seeds"][{"offset": slice(0, 3)}] = 2
    line = next(t for t in events.event_averages(aligned).data if t.fill is None)
    assert np.isnan(line.y[:3]).all()
    assert not axes_without_title(events.event_averages(aligned))
    aligned["seeds"][{"kind": 1}] = 2
    said = [a.text for a in events.event_averages(aligned).layout.annotations]
    assert said.count("too few runs") == aligned.sizes["indicator"]


@pytest.mark.parametrize("dims", [["indicator"], ["indicator", "kind"]])
def test_averages_that_do_not_exist_leave_an_empty_panel(made, dims):
    aligned = made[2].aligned.copy(deep=True)
    aligned["mean"][dict.fromkeys(dims, 0)] = np.nan
    figure = events.event_averages(aligned)
    assert all(np.isfinite(axis.range).all() for axis in figure.select_yaxes())
