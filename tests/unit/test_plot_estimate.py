"""The figure of one estimate: what it shows is what the draws say, and it says what it leaves out."""

import numpy as np
import plotly.graph_objects as go
import pytest
import torch

import ontogeny as og
import tiny
from ontogeny.core.errors import OntogenyError
from ontogeny.estimators.llc import llc_from_draws
from ontogeny.estimators.status import MEANINGS
from ontogeny.plots import estimate as plots


def squared(model, batch):
    return (model(batch[0]) - batch[1]).square().mean(1)


@pytest.fixture(scope="module")
def draws():
    settings = {"chains": 11, "draws": 1700, "burn_in": 60}
    return og.sample(tiny.Regression(), tiny.data(), squared, **(tiny.SHORT | settings))


@pytest.fixture(scope="module")
def figure(draws):
    return og.plot_estimate(draws)


def traces(figure, axis):
    return [t for t in figure.data if isinstance(t, go.Scatter) and t.yaxis == axis]


def words(figure):
    return " ".join(str(a.text) for a in figure.layout.annotations)


def table(figure):
    (found,) = [t for t in figure.data if isinstance(t, go.Table)]
    return dict(zip(*found.cells["values"], strict=True))


def test_at_most_eight_chains_are_drawn_and_the_figure_says_so(draws, figure):
    drawn = traces(figure, "y")
    assert len(drawn) == 8 and "8 of 11, lowest and highest mean among them" in words(figure)
    excess = (draws["n_beta"] * (draws["loss"] - draws["loss_at_center"] - draws["control"])).values
    mean = excess.mean(1)
    names = {t.name for t in drawn}
    assert {f"chain {mean.argmin()}", f"chain {mean.argmax()}"} <= names
    few = draws.isel(chain=slice(0, 3))
    assert len(traces(og.plot_estimate(few), "y")) == 3


def test_long_traces_are_thinned_and_burn_in_is_shaded(draws, figure):
    excess = (draws["n_beta"] * (draws["loss"] - draws["loss_at_center"] - draws["control"])).values
    line = traces(figure, "y")[0]
    late = line.x >= 60
    assert late.sum() == np.ceil(1700 / 3) and "one draw in 3" in words(figure)
    chain = int(line.name.removeprefix("chain "))
    assert np.allclose(line.y[late], excess[chain, ::3], rtol=1e-4, atol=1e-5)
    assert 0 < (~late).sum() <= 20
    (shade,) = [s for s in figure.layout.shapes if s.type == "rect" and s.xref == "x"]
    assert (shade.x0, shade.x1) == (0, 60) and "grey: burn-in of 60 steps, thinned" in words(figure)
    bare = og.plot_estimate(draws.drop_vars("warm_up"))
    assert min(traces(bare, "y")[0].x) == 60 and "not kept" in words(bare)


def test_the_running_mean_ends_at_the_estimate(draws, figure):
    found = llc_from_draws(draws)
    (mean,) = [t for t in traces(figure, "y2") if t.fill is None]
    assert mean.x[-1] == draws.sizes["draw"] and mean.y[-1] == pytest.approx(float(found["llc"]), rel=1e-5)
    assert mean.customdata[-1][0] == pytest.approx(1.96 * float(found["llc_se"]), rel=1e-3)


def test_the_autocorrelation_is_that_of_a_known_process():
    stream, rho = np.random.default_rng(0), 0.9
    series = np.zeros((4, 20_000))
    for step in range(1, series.shape[1]):
        series[:, step] = rho * series[:, step - 1] + stream.standard_normal(4)
    found = plots._correlation(series, 6)
    assert found.mean(0) == pytest.approx(rho ** np.arange(6), abs=0.03)  # five standard errors
    assert (plots._correlation(np.ones((2, 50)), 3) == 0).all()


def test_ranks_of_chains_that_agree_are_even_and_of_a_chain_apart_are_not(draws):
    stream = np.random.default_rng(0)
    excess = stream.standard_normal((4, 1700))
    excess[3] += 1.0
    made = plots.make_subplots(rows=3, cols=2)
    plots._ranks(made, excess, [0, 1, 2, 3])
    bars = [t for t in made.data if isinstance(t, go.Bar)]
    counts = np.array([[row[0] for row in bar.customdata] for bar in bars])
    assert counts.sum() == excess.size and (counts.sum(1) == 1700).all()
    assert counts[3, -1] > 3 * counts[3, 0] and abs(counts[:3].sum(0)[5] / 255 - 1) < 0.3
    assert len(bars[0].x) == 20  # uncorrelated draws: as many bins as there may be


def test_settings_units_status_and_its_sentence_are_written_down(draws, figure):
    found, said = llc_from_draws(draws), table(figure)
    status = found["status"].item()
    assert said[f"status: {status.replace('_', ' ')}"] == MEANINGS[status]
    assert said["nβ, γ"] == "20 1/loss, 2 1/weight²"
    assert said["chains × draws"] == "11 × 1,700, burn-in 60 steps a chain"
    assert said["kernel"].startswith("baoab, ε = 0.001 weight²") and "1/(weight·√(nβ·loss))" in said["friction"]
    assert "seed 0" in said["sampled"] and said["version"].startswith("ontogeny ")
    assert f"{draws.attrs['gradient_evaluations']:,} gradient evaluations" == said["cost"]
    assert figure.layout.title.text.startswith("λ̂(nβ = 20, γ = 2) = ")
    for axis in [*figure.select_xaxes(), *figure.select_yaxes()]:
        assert axis.title.text
    assert "dimensionless" in figure.layout.yaxis.title.text and figure.layout.xaxis3.title.text == "lag, draws"


def test_a_diverged_chain_is_red_and_nothing_is_averaged(draws):
    lost = draws.copy(deep=True)
    lost["diverged"][2] = True
    lost["loss"][2, 900:] = np.inf
    figure = og.plot_estimate(lost.isel(chain=slice(0, 4)))
    assert words(figure).count("Not drawn: a diverged chain is never averaged.") == 3
    lines = traces(figure, "y")
    assert [t.line.color == "#b3261e" for t in lines] == [False, False, True, False] and len(figure.data) == 5
    assert np.isnan(lines[2].y[-1]) and figure.layout.yaxis.range[1] < 1e3
    assert table(figure)["λ̂"] == "not given: 1 of 4 chains diverged"
    assert "is not given: diverged" in figure.layout.title.text


def test_a_few_draws_are_said_to_be_too_few(draws):
    assert "Not drawn: 5 draws a chain are too few." in words(og.plot_estimate(draws.isel(draw=slice(0, 5))))


def test_chains_that_never_move_still_draw(draws):
    still = draws.isel(chain=slice(0, 2)).copy(deep=True)
    still["loss"] = still["loss_at_center"]
    still["control"] = 0 * still["control"]
    assert table(og.plot_estimate(still))["λ̂ ± s.e."].startswith("0 ± 0")


def test_one_estimate_is_asked_for():
    settings = tiny.SHORT | {"components": {"inner": "inner.*", "outer": "outer.*"}}
    several = og.sample(tiny.Regression(), tiny.data(), squared, **settings)
    with pytest.raises(OntogenyError, match=r"one estimate; .*\('component',\).*Select one, as with draws.isel\(comp"):
        og.plot_estimate(several)
    og.plot_estimate(several.isel(component=0))
    with pytest.raises(OntogenyError, match=r"draws must be the xarray\.Dataset"):
        og.plot_estimate(torch.zeros(3))


def test_the_figure_is_one_page_of_its_own(figure, tmp_path):
    figure.write_html(tmp_path / "estimate.html")
    assert (tmp_path / "estimate.html").stat().st_size < 8e6
