"""og.controls: chains that stand still, the prior alone, labels that mean nothing."""

import numpy as np
import pytest
import torch

import ontogeny as og
from tiny import SHORT, Linear, Regression, data, squares

REST = {key: value for key, value in SHORT.items() if key not in ("step_size", "burn_in")}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch_size", [None, 8])
def test_chains_that_stand_still_measure_zero(dtype, batch_size):
    found = og.controls.zero_move(Regression(dtype), data(dtype), squares, **{**REST, "batch_size": batch_size})
    rounding = 40 * torch.finfo(dtype).eps  # nβ = 20 times a loss of order one
    assert abs(float(found.llc)) < rounding
    assert abs(float(found.llc)) <= 4 * float(found.llc_se) + rounding
    assert found.status.item() not in ("ok", "diverged") and found.attrs["control"] == "zero_move"


def test_an_unpaired_baseline_would_show():
    draws = og.sample(Regression(), data(), squares, **{**REST, "batch_size": 8, "step_size": 1e-30, "burn_in": 0})
    unpaired = draws["loss"] - draws["loss_at_center"].mean()
    assert float(20.0 * unpaired.std()) > 0.1


def test_standing_still_takes_a_calibration():
    calibration = og.calibrate(Linear(), data(), squares, chains=4, max_draws=4000, progress=False)
    found = og.controls.zero_move(Linear(), data(), squares, calibration=calibration, progress=False)
    assert abs(float(found.llc)) < 1e-4
    assert float(found.n_beta) == calibration.n_beta and float(found.step_size) == 1e-36


@pytest.mark.parametrize("name", ["step_size", "burn_in"])
def test_standing_still_sets_its_own_step(name):
    with pytest.raises(og.OntogenyError, match=f"{name} is what the control zero_move sets; got 3"):
        og.controls.zero_move(Linear(), data(), squares, **REST, **{name: 3})


def test_the_prior_alone_on_a_quadratic():
    h = torch.logspace(-1, 1, 6, dtype=torch.float64)
    well = og.Potential(lambda w: 0.5 * (h * w**2).sum(), torch.zeros(6, dtype=torch.float64))
    settings = {"n_beta": 100.0, "localization": 50.0, "chains": 64, "draws": 1000, "progress": False}
    found = og.controls.prior_only(well, **settings)
    want = float(0.5 * 100.0 * h.sum() / 50.0)
    assert abs(float(found.llc) - want) < 4 * float(found.llc_se) + 0.005 * want
    assert found.status.item() == "ok" and found.regime.item() == "prior_dominated"
    assert float(found.n_beta) == 100.0 == found.attrs["n_beta"] and found.attrs["control"] == "prior_only"
    assert float(og.estimate_llc(well, **settings).llc) < 0.8 * want  # the loss does shape the posterior


def test_the_prior_alone_finds_its_own_setting_or_takes_a_calibration():
    x, y = data(torch.float64)
    quick = {"chains": 16, "max_draws": 16 * 2000, "progress": False}
    calibration = og.calibrate(Linear(torch.float64), (x, y), squares, **quick)
    first = og.controls.prior_only(Linear(torch.float64), (x, y), squares, draws=300, **quick)
    second = og.controls.prior_only(Linear(torch.float64), (x, y), squares, draws=300, calibration=calibration, **quick)
    assert float(first.llc) == float(second.llc) and float(first.n_beta) == calibration.n_beta
    inputs = torch.cat([x, torch.ones(len(x), 1, dtype=torch.float64)], 1)
    want = 0.5 * calibration.n_beta / calibration.localization * float(inputs.square().sum(1).mean())
    assert abs(float(first.llc) - want) < 4 * float(first.llc_se) + 0.01 * want
    with pytest.raises(og.OntogenyError, match=r"calibration must be what og.calibrate returned"):
        og.controls.prior_only(Linear(), data(), squares, calibration=3)


class Rows(torch.utils.data.Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


@pytest.mark.parametrize("kind", ["tensors", "arrays", "list", "dataset"])
def test_permuted_labels_are_the_same_labels_in_another_order(kind):
    x, y = data()
    given = {"tensors": (x, y), "arrays": (x.numpy(), y.numpy()), "list": [x, y], "dataset": Rows(x, y)}[kind]
    dealt = og.controls.permuted_labels(given, seed=1)
    if kind == "dataset":
        dealt = tuple(torch.stack(parts) for parts in zip(*(dealt[i] for i in range(len(dealt))), strict=True))
    inputs, targets = (torch.as_tensor(part) for part in dealt)
    assert torch.equal(inputs, x) and not torch.equal(targets, y)
    assert torch.equal(targets.sort(0).values, y.sort(0).values)
    again = og.controls.permuted_labels((x, y), seed=1)
    assert torch.equal(targets, again[1])
    assert not torch.equal(targets, og.controls.permuted_labels((x, y), seed=2)[1])


def test_permuted_labels_can_be_measured_and_are_no_minimum():
    dealt = og.controls.permuted_labels({"train": data(), "test": data(examples=30)})
    found = og.estimate_llc(Linear(), dealt, squares, **{**SHORT, "draws": 300, "burn_in": 200})
    assert list(found.dataset.values) == ["train", "test"]
    assert found.regime.sel(dataset="train").item() == "below_baseline"
    rows = og.estimate_llc(Linear(), og.controls.permuted_labels(Rows(*data())), squares, **SHORT)
    assert np.isfinite(rows.llc)


@pytest.mark.parametrize("given", [torch.zeros(4, 2), (torch.zeros(4),), [{"x": 1}], 3])
def test_data_without_targets_are_refused(given):
    with pytest.raises(og.OntogenyError, match="data must have targets as the last of several parts"):
        og.controls.permuted_labels(given)
