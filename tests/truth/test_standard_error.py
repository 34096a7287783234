"""The reported standard error against the true spread over seeds, with minibatches shared by 4 and by 64 chains."""

import numpy as np
import pytest
import torch

import ontogeny as og
from ontogeny.core.rng import generator
from ontogeny.estimators.uncertainty import autocorrelation_time, standard_error

SEEDS = 40


def regression(examples=200, weights=3):
    stream = generator(0, "regression")
    x = torch.randn(examples, weights, generator=stream)
    y = x.sum(1) + torch.randn(examples, generator=stream)
    model = torch.nn.Linear(weights, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.linalg.lstsq(x, y[:, None]).solution.T)
    return model, (x, y)


@pytest.mark.parametrize("chains", [4, 64])
def test_spread_over_seeds_is_what_the_standard_error_says(chains):
    model, data = regression()
    found = [
        og.estimate_llc(
            model,
            data,
            lambda m, batch: 0.5 * (m(batch[0])[:, 0] - batch[1]) ** 2,
            n_beta=40.0,
            localization=5.0,
            step_size=2e-3,
            batch_size=10,
            chains=chains,
            burn_in=300,
            draws=600,
            seed=seed,
            progress=False,
        )
        for seed in range(SEEDS)
    ]
    spread = np.std([float(one.llc) for one in found], ddof=1)
    reported = np.sqrt(np.mean([float(one.llc_se) ** 2 for one in found]))
    # the spread over 40 seeds is itself known to 1/√78 = 11 %; four of those, and half of the error must not be missing
    assert 0.65 < spread / reported < 1.45


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_standard_error_of_autoregressive_chains_with_a_common_part(shared, chains=8, draws=4000, repetitions=60):
    stream, decay = np.random.default_rng(1), 0.9

    def series(*shape):
        noise = stream.normal(size=(*shape, draws + 200))
        out = np.zeros_like(noise)
        for t in range(1, draws + 200):
            out[..., t] = decay * out[..., t - 1] + noise[..., t]
        return out[..., 200:]

    values = series(repetitions, chains) + shared * series(repetitions, 1)
    spread = values.mean((-1, -2)).std(ddof=1)
    reported = np.sqrt((standard_error(values) ** 2).mean())
    assert 0.65 < spread / reported < 1.35  # four times 1/√118
    tau = autocorrelation_time(values.mean(-2)).mean()
    assert tau == pytest.approx((1 + decay) / (1 - decay), rel=0.15)
