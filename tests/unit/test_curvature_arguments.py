"""Wrong arguments of the curvature measures are refused in one sentence; statuses say what went wrong."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import ontogeny as og
import tiny

MODEL, DATA = tiny.Regression(), tiny.data()
RANK = {"n_beta": 10.0, "localization": 1.0}


def call(name, *changed, **given):
    arguments = list(changed) if changed else [MODEL, DATA, tiny.squares]
    return getattr(og.metrics, name)(*arguments, **given)


class Twice(nn.Module):
    """Whose loss calls it twice."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 1)

    def forward(self, x):
        return self.inner(x)


def twice(model, batch):
    return ((model(batch[0]) + model(batch[0]) - batch[1]) ** 2).sum(-1)


def quartic(model, batch):
    return ((model(batch[0]) - batch[1]) ** 4).sum(-1)


class InATuple(Twice):
    def forward(self, x):
        return (self.inner(x),)


def of_a_tuple(model, batch):
    return ((model(batch[0])[0] - batch[1]) ** 2).sum(-1)


TOKENS = torch.zeros(4, 3, dtype=torch.long)
LANGUAGE_MODEL = og.AttentionOnly(og.AttentionOnlyConfig(vocabulary=3, context=3, width=4, layers=1, heads=1))
DRAWN = og.metrics.sample_sequences(LANGUAGE_MODEL, TOKENS, 2)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("hessian_trace", {"samples": 0}, r"^samples must be a whole number of at least 1; got 0\.$"),
        ("hessian_trace", {"probes": 2.5}, r"^probes must be a whole number of at least 1; got 2\.5\."),
        ("hessian_trace", {"batch_size": -1}, r"^batch_size must be a whole number of at least 1; got -1\."),
        ("hessian_trace", {"method": "exact"}, r"^method must be one of 'hutchinson', 'hutch\+\+'; got 'exact'\."),
        ("hessian_trace", {"seed": "a"}, r"^seed must be a whole number; got 'a'\."),
        ("hessian_trace", {"components": "nothing.*"}, "^components"),
        ("fisher_trace", {"contexts": "both"}, r"^contexts must be one of 'data', 'model'; got 'both'\."),
        ("fisher_trace", {"estimator": "x"}, r"^estimator must be one of 'scores', 'gauss_newton', 'hessian'; got 'x'"),
        (
            "fisher_trace",
            {"estimator": "hessian"},
            r"^estimator = 'hessian' needs contexts = 'model'.*hessian_trace\.$",
        ),
        ("fisher_trace", {"contexts": "model"}, "^data must be token ids"),
        ("fisher_trace", {"sequences": 3, "contexts": "model"}, r"^sequences must be what .*sample_sequences.*got int"),
        ("fisher_trace", {"sequences": DRAWN}, r"^sequences go with contexts = 'model' and estimator = 'scores'; got"),
        ("empirical_fisher_trace", {"unit": "token"}, r"^unit must be one of 'position', 'example'; got 'token'\."),
        ("hessian_rank", {}, r"^n_beta must be given for method = 'n_beta'; got None\."),
        ("hessian_rank", {"n_beta": 1.0}, r"^localization must be given for method = 'n_beta'; got None\."),
        ("hessian_rank", {**RANK, "n_beta": -1.0}, r"^n_beta must be a finite number above 0; got -1\.0\."),
        ("hessian_rank", {**RANK, "threshold": 1.0}, r"^threshold has no meaning for method = 'n_beta'; leave it out"),
        ("hessian_rank", {"method": "given", "threshold": 1.0}, r"^span must be given for method = 'given'; got None"),
        ("hessian_rank", {"method": "fixed", "span": (3.0, 1.0)}, r"^span must be two finite numbers .*got \(3\.0, 1"),
        ("hessian_rank", {"method": "fixed", "threshold": math.inf}, r"^threshold must be a finite number.*got inf"),
        ("hessian_rank", {"method": "loss"}, r"^loss_increase must be given for method = 'loss'; got None\."),
        (
            "hessian_rank",
            {"method": "lanczos"},
            r"^method must be one of 'n_beta', 'fixed', 'adaptive', 'given', 'loss'",
        ),
        ("hessian_rank", {**RANK, "degree": 0}, r"^degree must be a whole number of at least 1; got 0\."),
        (
            "second_order_llc",
            {**RANK, "localization": 0.0},
            r"^localization must be a finite number above 0; got 0\.0\.",
        ),
        ("spectral_density", {"width": -1.0}, r"^width must be a finite number above 0; got -1\.0\."),
        ("spectral_density", {"points": True}, r"^points must be a whole number of at least 1; got True\."),
        ("extreme_eigenvalues", {"tolerance": "0"}, r"^tolerance must be a finite number above 0; got '0'\."),
    ],
)
def test_wrong_arguments(name, given, message):
    with pytest.raises(og.OntogenyError, match=message):
        call(name, **given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (Twice(), DATA, twice),
            r"^loss_fn must call the model once.*it called it 2 times\. og\.metrics\.hessian_trace",
        ),
        ((Twice(), DATA, quartic), r"^loss_fn must be a negative log-likelihood .*squared error; .*of neither\."),
        ((InATuple(), DATA, of_a_tuple), r"^model must return a tensor, .*it returned tuple\."),
        ((3, DATA, tiny.squares), r"^model must be a torch\.nn\.Module"),
        ((MODEL, {}, tiny.squares), r"^data must name at least one data set"),
    ],
)
def test_what_has_no_fisher_matrix(arguments, message):
    with pytest.raises(og.OntogenyError, match=message):
        call("fisher_trace", *arguments)


def test_wrong_sequences():
    with pytest.raises(og.OntogenyError, match=r"^count must be a whole number of at least 1; got 0\."):
        og.metrics.sample_sequences(LANGUAGE_MODEL, TOKENS, 0)
    with pytest.raises(og.OntogenyError, match=r"^length must be a whole number of at least 2; got 1\."):
        og.metrics.sample_sequences(LANGUAGE_MODEL, TOKENS, 2, length=1)


def test_what_is_not_finite_is_said():
    well = og.Potential(lambda w: (w**4).sum() ** 0.5, torch.zeros(3, dtype=torch.float64))  # 0/0 in its derivative
    found = {
        "hessian_trace_status": og.metrics.hessian_trace(well),
        "density_status": og.metrics.spectral_density(well),
        "extreme_status": og.metrics.extreme_eigenvalues(well),
        "hessian_rank_status": og.metrics.hessian_rank(well, **RANK, exact=False),
        "second_order_llc_status": og.metrics.second_order_llc(well, **RANK, exact=False),
    }
    assert {name: one[name].item() for name, one in found.items()} == dict.fromkeys(found, "not_finite")
    assert np.isnan(found["hessian_rank_status"]["hessian_rank"].item())


def well(*curvatures):
    h = torch.tensor(curvatures, dtype=torch.float64)
    return og.Potential(lambda w: 0.5 * (h * w**2).sum(), torch.ones(len(curvatures), dtype=torch.float64))


def test_an_eigenvalue_outside_the_range_is_said():
    wide = [float(h) for h in range(1, 61)]
    given = {"method": "given", "threshold": 5.0, "exact": False, "degree": 100}
    found = og.metrics.hessian_rank(well(*wide), span=(0.0, 30.0), **given)
    assert found["hessian_rank_status"].item() == "out_of_range" and np.isnan(found["hessian_rank"].item())
    found = og.metrics.hessian_rank(well(*wide), span=(0.0, 61.0), **given)
    assert found["hessian_rank_status"].item() == "ok"
    assert abs(found["hessian_rank"].item() - 55.5) < 4.5 * found["hessian_rank_se"].item() + 0.1  # 5 counts by half


def test_a_polynomial_that_counts_zeros_is_said():
    """The fixed method of the source where the spectrum is far below its threshold, or its rise far too slow."""
    flat = [1.0] * 2 + [0.0] * 500
    given = {"method": "given", "span": (-10.0, 60.0), "exact": False, "degree": 100}
    assert og.metrics.hessian_rank(well(*flat), threshold=0.5, **given)["hessian_rank_status"].item() == "unresolved"
    fine = og.metrics.hessian_rank(well(*flat), method="n_beta", n_beta=2.0, localization=1.0, exact=False)
    assert fine["hessian_rank_status"].item() == "ok" and abs(fine["hessian_rank"].item() - 2) < 0.2


def test_the_methods_of_the_source():
    spectrum = [5000.0, 900.0, 450.0, 300.0, 100.0, -20.0] + [1.0] * 200
    fixed = og.metrics.hessian_rank(well(*spectrum), method="fixed", exact=False, probes=30)
    assert fixed["rank_threshold"].item() == 500
    # the diagonal makes every probe exact; 450 is counted by a third, since the range rises that slowly
    assert fixed["hessian_rank"].item() == pytest.approx(2.35, abs=0.01) and fixed["rank_resolution"].item() > 50
    adaptive = og.metrics.hessian_rank(well(*spectrum), method="adaptive", exact=False)
    assert adaptive["rank_threshold"].item() == pytest.approx(350, rel=1e-6)
    assert adaptive["hessian_rank_status"].item() == "unresolved"  # 200 eigenvalues of 1 below a rise as wide as τ
    of_chance, apart = (
        2 * adaptive["hessian_rank"].item(),
        adaptive["hessian_rank"].item() - adaptive["hessian_rank_lanczos"].item(),
    )
    assert adaptive["hessian_rank_se"].item() == pytest.approx((of_chance + apart**2 / 4) ** 0.5)
    assert adaptive.attrs["probes"] == 1 and adaptive.attrs["samples"] == 3 and adaptive.attrs["degree"] == 100


@pytest.mark.parametrize("exact", [True, False])
def test_the_threshold_of_a_rise_in_loss(exact):
    """Each direction of this well adds h/2 when it is dropped: 0.5 + 1 + 1.5 may go, the next would make it 5."""
    found = og.metrics.hessian_rank(well(1.0, 2.0, 3.0, 4.0, 50.0), method="loss", loss_increase=4.0, exact=exact)
    # dropping lowers the loss here, since w* = 1 is no minimum: everything may go but the last
    assert found["loss_increase"].item() == pytest.approx(-5.0) and found["rank_threshold"].item() == pytest.approx(27)
    h, center = torch.tensor([1.0, 2.0, 3.0, 4.0, 50.0]).double(), torch.ones(5).double()
    valley = og.Potential(lambda w: 0.5 * (h * (w - center) ** 2).sum(), center)
    found = og.metrics.hessian_rank(valley, method="loss", loss_increase=4.0, exact=exact, probes=20)
    assert found["loss_increase"].item() == pytest.approx(3.0) and found["rank_threshold"].item() == pytest.approx(3.5)
    assert found["hessian_rank"].item() == pytest.approx(2, abs=0.5)


def extremes(values):
    return xr.Dataset(
        {"hessian_min": ("checkpoint", [-1.0] * len(values)), "hessian_max": ("checkpoint", values)},
        coords={"step": ("checkpoint", [10 * n for n in range(len(values))])},
    )


def test_ranges_along_training():
    noisy = extremes([10.0, 11.0, 40.0, 12.0, 13.0, 100.0, 110.0, 105.0])
    smooth = og.metrics.rank_ranges(noisy, "smoothed", window=3)
    assert smooth["rank_threshold"].values[1:4].tolist() == pytest.approx([0.77, 0.84, 0.91])  # 40 is passed over
    assert (smooth["range_high"].values >= 1.2 * noisy["hessian_max"].values - 1e-9).all()
    stage = og.metrics.rank_ranges(noisy, "stage", stages=[50])
    assert stage["rank_threshold"].values.tolist() == pytest.approx([2.8] * 5 + [7.7] * 3)
    own = og.metrics.rank_ranges(noisy, "adaptive")
    assert own["rank_threshold"].values.tolist() == pytest.approx((0.07 * noisy["hessian_max"].values).tolist())
    assert own["rank_threshold"].attrs["units"] == "loss/weight²"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "median"}, r"^method must be one of 'adaptive', 'smoothed', 'stage'; got 'median'\."),
        ({"window": 4}, r"^window must be an odd whole number of checkpoints, as 5; got 4\."),
        ({"method": "stage"}, r"^stages must be the steps at which stages begin, .*got None\."),
        ({"method": "stage", "stages": [50, 10]}, r"^stages must be .* increasing.*got \[50, 10\]\."),
        ({"dim": "time"}, r"^extremes must have hessian_min and hessian_max along 'time'"),
    ],
)
def test_wrong_ranges(given, message):
    with pytest.raises(og.OntogenyError, match=message):
        og.metrics.rank_ranges(extremes([1.0, 2.0]), **given)


def test_components_and_data_sets_are_dims():
    data = {"all": DATA, "few": tiny.data(examples=5)}
    found = og.metrics.hessian_trace(MODEL, data, tiny.squares, ["inner.*", "outer.*"], probes=20)
    assert found["hessian_trace"].dims == ("component", "dataset")
    assert list(found["component"].values) == ["inner.*", "outer.*"] and list(found["dataset"].values) == ["all", "few"]
    alone = og.metrics.hessian_trace(MODEL, data["few"], tiny.squares, "outer.*", probes=20)
    assert alone["component"].item() == "outer.*" and alone["dataset"].item() == "data"
    assert alone["hessian_trace"].item() == pytest.approx(found["hessian_trace"].values[1, 1])
    assert found["hessian_trace"].attrs["units"] == "loss/weight²"


def test_the_model_and_the_random_state_stay_as_they_are():
    model = tiny.Regression().train()
    before, state = {n: v.clone() for n, v in model.state_dict().items()}, torch.get_rng_state()
    first = og.metrics.fisher_trace(model, DATA, tiny.squares)
    og.metrics.second_order_llc(model, DATA, tiny.squares, **RANK)
    assert model.training and torch.equal(torch.get_rng_state(), state) and not model._forward_hooks
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    again = og.metrics.fisher_trace(model, DATA, tiny.squares)
    assert first["fisher_trace"].item() == again["fisher_trace"].item()


def test_a_loss_that_looks_at_values_takes_its_turn_one_by_one():
    def stubborn(model, batch):
        losses = tiny.squares(model, batch)
        assert not math.isnan(losses.detach().sum().item())
        return losses

    plain, other = (og.metrics.hessian_trace(MODEL, DATA, fn, probes=5) for fn in (tiny.squares, stubborn))
    assert plain["hessian_trace"].item() == pytest.approx(other["hessian_trace"].item())


class Unbatchable(torch.autograd.Function):
    """Twice its input, with a derivative that vmap knows nothing of."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, g):
        assert not math.isnan(g.detach().sum().item())  # reads a value, which vmap refuses
        return 2 * g


def doubled(model, batch):
    return 0.5 * ((Unbatchable.apply(model(batch[0])) - batch[1]) ** 2).sum(-1)


def plainly_doubled(model, batch):
    return 0.5 * ((2 * model(batch[0]) - batch[1]) ** 2).sum(-1)


def test_a_way_back_that_cannot_be_batched_gives_the_same_numbers():
    first, second = (og.metrics.hessian_trace(MODEL, DATA, fn, probes=5) for fn in (doubled, plainly_doubled))
    assert first["hessian_trace"].item() == pytest.approx(second["hessian_trace"].item(), rel=1e-5)


def test_many_positions_of_a_small_model_at_once():
    hessians = np.stack([np.diag([3.0, 1.0]), np.diag([3.0, -2.0])])
    found = og.metrics.curvature_of_dense(hessians, [[1.0, 0.0], [0.0, 0.0]], n_beta=10.0, localization=10.0)
    alone = og.metrics.second_order_llc(
        og.Potential(lambda w: 1.5 * w[0] ** 2 + 0.5 * w[1] ** 2 + w[0], torch.zeros(2).double()),
        **(RANK | {"localization": 10.0}),
    )
    for part in ("", "_curvature", "_gradient"):
        assert found[f"second_order_llc{part}"][0] == pytest.approx(alone[f"second_order_llc{part}"].item())
    assert np.isnan(found["second_order_llc"][1]) and found["hessian_rank"].tolist() == [1, 1]
    assert found["hessian_min"].tolist() == [1, -2] and found["hessian_trace"].tolist() == [4, 1]


class Attends(nn.Module):
    """Whose attention is torch's fused one, which cannot be differentiated twice on a processor."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 12)

    def forward(self, x):
        q, k, v = self.inner(x).unflatten(-1, (3, 4)).unbind(-2)
        out = nn.functional.scaled_dot_product_attention(q[None, None], k[None, None], v[None, None])
        return out[0, 0, :, :1]


def test_attention_falls_back_to_a_kernel_that_can_be_differentiated_twice():
    for measure in (og.metrics.hessian_trace, og.metrics.fisher_trace):
        found = measure(Attends(), DATA, tiny.squares, samples=len(DATA[0]), batch_size=40)
        name = next(iter(found.data_vars))
        assert math.isfinite(found[name].item()) and found[f"{name}_status"].item() == "ok"
