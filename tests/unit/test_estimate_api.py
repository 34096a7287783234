"""What og.estimate_llc and og.sample promise: variables, dims, attributes, kinds of data, seeds, targets."""

import numpy as np
import pytest
import torch
import xarray as xr

import ontogeny as og
from ontogeny import __version__
from tiny import EXAMPLES, SHORT, Linear, Regression, data, same_numbers, squares

VARIABLES = {
    "llc",
    "llc_se",
    "r_hat",
    "ess",
    "chains_lost",
    "n_beta",
    "localization",
    "step_size",
    "status",
    "regime",
    "check_diverged",
    "check_r_hat",
    "check_virial",
    "check_step_bias",
    "check_minibatch_noise",
    "check_rounding",
    "check_target",
}
SETTINGS = ["n_beta", "localization", "step_size", "batch_size", "chains", "draws", "burn_in", "kernel", "max_draws"]


def estimate(model=None, rows=None, loss_fn=squares, **settings):
    return og.estimate_llc(
        Regression() if model is None else model, data() if rows is None else rows, loss_fn, **{**SHORT, **settings}
    )


def draw(model=None, rows=None, loss_fn=squares, **settings):
    return og.sample(
        Regression() if model is None else model, data() if rows is None else rows, loss_fn, **{**SHORT, **settings}
    )


def test_one_estimate_has_every_promised_variable_and_no_dims():
    found = estimate()
    assert set(found.data_vars) >= VARIABLES
    assert dict(found.sizes) == {}
    for name, values in found.data_vars.items():
        assert {"long_name", "units"} <= set(values.attrs), name
    assert isinstance(found.status.item(), str) and isinstance(found.regime.item(), str)
    for word in (found.status.item(), found.regime.item()):
        assert len(og.describe_status(word)) > 20


def test_draws_have_chain_and_draw_and_leave_burn_in_out():
    draws = draw(draws=7, burn_in=3, chains=4)
    assert draws["loss"].dims == draws["loss_at_center"].dims == ("chain", "draw")
    assert dict(draws.sizes) == {"chain": 4, "draw": 7, "warm_up_step": 3}
    assert draws["diverged"].dims == ("chain",)
    whole = draw(draws=10, burn_in=0, chains=4)
    np.testing.assert_array_equal(whole["loss"].values[:, 3:], draws["loss"].values)
    # the loss is recorded before the update: the first one is that of w* itself
    np.testing.assert_array_equal(whole["loss"].values[:, 0], whole["loss_at_center"].values[:, 0])
    assert (whole["distance_squared"].values[:, 0] == 0).all()


@pytest.mark.parametrize("function", [og.estimate_llc, og.sample])
def test_attributes_hold_every_setting_the_seed_and_the_version(function):
    given = {**SHORT, "batch_size": 10, "seed": 3, "max_draws": 999, "kernel": "sgld"}
    attrs = function(Regression(), data(), squares, **given).attrs
    assert {name: attrs[name] for name in given if name != "progress"} == {
        name: value for name, value in given.items() if name != "progress"
    }
    assert attrs["ontogeny_version"] == __version__


def test_what_was_chosen_by_rule_is_in_the_result():
    found = og.estimate_llc(Linear(), data(), squares, draws=20, burn_in=5, progress=False)
    assert float(found.n_beta) == pytest.approx(EXAMPLES / np.log(EXAMPLES))
    assert float(found.localization) > 0 and float(found.step_size) > 0
    for name in SETTINGS:
        assert found.attrs[name] is not None, name
    assert found.attrs["chains"] == 128 and found.attrs["batch_size"] == EXAMPLES
    for name in ("n_beta", "localization", "step_size"):
        assert found.attrs[name] == pytest.approx(float(found[name]))


def test_settings_come_back_as_they_were_given():
    found = estimate(n_beta=33.3, localization=0.7, step_size=1.1e-3)
    assert (float(found.n_beta), float(found.localization), float(found.step_size)) == (33.3, 0.7, 1.1e-3)


def test_components_and_data_sets_are_dims_in_the_order_given():
    x, y = data()
    sets = {"zebra": (x, y), "ape": (x[:20], y[:20])}
    found = estimate(rows=sets, components={"out": "outer.*", "all": None, "in": ["inner.weight", "inner.bias"]})
    assert dict(found.sizes) == {"component": 3, "dataset": 2}
    assert found.llc.dims == ("component", "dataset")
    assert list(found.component.values) == ["out", "all", "in"]
    assert list(found.dataset.values) == ["zebra", "ape"]
    for name in VARIABLES:
        assert set(found[name].dims) <= {"component", "dataset"}, name
    assert np.isfinite(found.llc).all()
    draws = draw(rows=sets, components=["outer.*", "inner.*"])
    assert set(draws["loss"].dims) == {"component", "dataset", "chain", "draw"}
    assert list(draws.component.values) == ["outer.*", "inner.*"]


def test_settings_that_differ_between_runs_are_variables():
    x, y = data()
    # full batches of the one and minibatches of the other cost differently
    settings = SHORT | {"step_size": None, "batch_size": 20}
    draws = og.sample(Regression(), {"all": (x, y), "half": (x[:20], y[:20])}, squares, **settings)
    assert draws.examples.values.tolist() == [EXAMPLES, 20] and "examples" not in draws.attrs
    assert draws.attrs["chains"] == SHORT["chains"] and "chains" not in draws
    found = og.llc_from_draws(draws)
    assert found.examples.values.tolist() == [EXAMPLES, 20]
    spent = found.gradient_evaluations
    assert f"took {int(spent[1]):,} gradient" in og.describe_estimate(found.isel(dataset=1))


def test_finding_a_common_setting_counts():
    """Two data sets ask for two (nβ, γ); what that took is not forgotten when both are prepared again."""
    x, y = data()
    sets = {"all": (x, y), "half": (x[:20], y[:20])}
    both = og.estimate_llc(Regression(), sets, squares, draws=20, burn_in=5, chains=2, progress=False)
    at = {"n_beta": float(both.n_beta[0]), "localization": float(both.localization[0])}
    again = og.estimate_llc(Regression(), sets, squares, draws=20, burn_in=5, chains=2, progress=False, **at)
    np.testing.assert_array_equal(both.llc, again.llc)
    assert (both.gradient_evaluations > again.gradient_evaluations).all()


def test_each_component_and_data_set_is_what_it_is_alone():
    x, y = data()
    sets = {"one": (x, y), "two": (x[:20], y[:20])}
    together = estimate(rows=sets, components={"out": "outer.*", "in": "inner.*"})
    alone = estimate(rows={"two": sets["two"]}, components={"out": "outer.*"})
    same_numbers(together.sel(component=["out"], dataset=["two"]), alone)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 8},
        {"components": {"out": "outer.*", "all": None, "two": "*.bias"}},
        {"components": {"out": "outer.*", "all": None}, "rows": {"a": data(), "b": data(examples=25)}},
        {"batch_size": 8, "components": ["outer.*", "inner.*"]},
        {"draws": None, "max_draws": 600, "target_se": 0.5},
    ],
    ids=["plain", "minibatch", "components", "both", "minibatch of components", "until done"],
)
def test_reducing_the_draws_gives_the_estimate(settings):
    found, draws = estimate(**settings), draw(**settings)
    again = og.llc_from_draws(draws, *([settings["target_se"]] if "target_se" in settings else []))
    same_numbers(again, found)
    assert again.attrs == found.attrs
    xr.testing.assert_identical(draws, draw(**settings))  # and reducing changed nothing


def test_same_seed_same_numbers_and_another_seed_others():
    first, again, other = (draw(seed=seed, batch_size=8) for seed in (5, 5, 6))
    xr.testing.assert_identical(first, again)
    assert not np.isclose(first["loss"].values[:, 1:], other["loss"].values[:, 1:]).any()
    chains = first["distance_squared"].values[:, 1:]
    assert len(np.unique(chains)) == chains.size  # no two chains share noise


def test_a_run_taken_in_pieces_is_the_whole_run():
    pieces = draw(draws=None, target_se=1e-9, chains=2, max_draws=2 * (1000 + 200 + 5), batch_size=8)
    assert 500 < pieces.sizes["draw"] <= 1200
    whole = draw(draws=pieces.sizes["draw"], chains=2, batch_size=8)
    same_numbers(pieces, whole)


def test_a_minibatch_of_all_examples_is_the_full_batch():
    full, given = draw(), draw(batch_size=EXAMPLES)
    same_numbers(full, given)
    assert len(np.unique(full["loss_at_center"])) == 1
    assert len(np.unique(draw(batch_size=8)["loss_at_center"])) > 20


def test_chains_share_minibatches_and_the_baseline_is_paired_with_them():
    draws = draw(batch_size=8, step_size=1e-30)
    assert (draws["loss_at_center"] == draws["loss_at_center"].isel(chain=0)).all()
    np.testing.assert_allclose(draws["loss"], draws["loss_at_center"], rtol=1e-5)


def test_a_target_that_is_reached():
    found = og.estimate_llc(Linear(), data(), squares, n_beta=20.0, localization=20.0, target_se=0.1, progress=False)
    assert float(found.llc_se) <= 0.1 * float(found.llc)
    assert float(found.check_target) <= 1 and found.status.item() == "ok"
    assert found.attrs["target_se"] == 0.1


def test_a_target_that_is_missed_is_reported_with_its_honest_error():
    settings = {"n_beta": 20.0, "localization": 20.0, "target_se": 1e-4, "max_draws": 16 * 1500, "progress": False}
    found = og.estimate_llc(Linear(), data(), squares, **settings)
    assert found.status.item() == "target_not_met"
    assert float(found.check_target) > 1
    assert float(found.llc_se) > 1e-4 * float(found.llc) > 0


def test_a_diverged_chain_is_never_averaged():
    found = estimate(step_size=50.0)
    assert np.isnan(found.llc) and np.isnan(found.llc_se)
    assert int(found.chains_lost) == 3 and found.status.item() == "diverged"
    draws = draw().assign(diverged=("chain", [False, True, False]))
    reduced = og.llc_from_draws(draws)
    assert np.isnan(reduced.llc) and int(reduced.chains_lost) == 1 and reduced.status.item() == "diverged"


def test_a_chain_lost_in_one_component_leaves_the_others_alone():
    draws = draw(components={"out": "outer.*", "in": "inner.*"})
    lost = draws["diverged"].copy()
    lost.loc[{"component": "in"}] = True
    reduced = og.llc_from_draws(draws.assign(diverged=lost))
    assert np.isnan(reduced.llc.sel(component="in")) and np.isfinite(reduced.llc.sel(component="out"))
    assert list(reduced.status.values)[1] == "diverged" and reduced.status.values[0] != "diverged"


def test_chains_that_do_not_move_measure_zero():
    found = estimate(model=Regression(torch.float64), step_size=1e-30, batch_size=8)
    assert abs(float(found.llc)) < 1e-10
    assert found.status.item() != "ok"


def test_too_few_draws_have_no_standard_error():
    found = estimate(draws=1, chains=1)
    assert np.isfinite(found.llc) and np.isnan(found.llc_se)
    assert found.status.item() != "ok"  # no number without its error


def test_a_potential_takes_the_place_of_model_data_and_loss():
    bare = og.Potential(lambda w: 0.5 * (w**2).sum(), torch.zeros(6, dtype=torch.float64))
    named = og.Potential(lambda w: 0.5 * (w["w"] ** 2).sum(), {"w": torch.zeros(6, dtype=torch.float64)})
    first, second = (og.estimate_llc(problem, **SHORT) for problem in (bare, named))
    same_numbers(first, second)
    assert set(first.data_vars) >= VARIABLES
    assert (bare.w_star == 0).all()


def test_progress_prints_nothing_where_there_is_no_terminal(capfd):
    og.estimate_llc(Linear(), data(), squares, **{**SHORT, "progress": True})
    assert capfd.readouterr() == ("", "")


def test_the_bound_on_gradient_evaluations_is_logged_before_the_run(caplog):
    with caplog.at_level("INFO", logger="ontogeny"):
        estimate(max_draws=5000)
    assert caplog.messages[0].endswith("gradients") and "at most" in caplog.messages[0]
