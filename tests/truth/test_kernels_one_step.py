"""One step, or a few, of every kernel with known normals, against the update rule worked out in plain numbers."""

import math

import pytest
import torch

from independent_chains import DOUBLE
from ontogeny.sampling.kernels import KERNELS
from ontogeny.sampling.kernels.baoab import gain as baoab_gain
from ontogeny.sampling.kernels.rmsprop_sgld import DAMPING, DECAY
from ontogeny.sampling.kernels.signal import Signal, langevin_gain

W = [0.7, -0.4]  # two weights of one chain
V = [0.3, 1.1]  # normals at the start
FORCE = [2.0, -5.0]
XI = [-0.8, 0.6]
EPSILON, FRICTION = 0.04, 3.0
DELTA = 0.2  # √ε
EXACT = {"rtol": 1e-13, "atol": 1e-13}


@pytest.fixture(params=[0, -1], ids=["chains first", "chains last"])
def axis(request):
    return request.param


class Chain:
    """Two chains of a kernel: the one under test, and beside it one with other settings, which must not matter."""

    def __init__(self, name, axis):
        self.kernel, self.axis = KERNELS[name], axis
        self.state = self.kernel.init(self.pair(W), self.pair(V), axis)

    def pair(self, values):
        rows = torch.tensor([values, [3.0 * v + 1.0 for v in values]], dtype=DOUBLE)
        return {"w": rows if self.axis == 0 else rows.T.contiguous()}

    def step(self, force=FORCE, xi=XI, energy=0.0, chance=(), error=None):
        signal = Signal(
            self.pair(force),
            torch.tensor([energy, 0.1], dtype=DOUBLE),
            torch.tensor([[coin, 0.5] for coin in chance], dtype=DOUBLE) if chance else None,
            None if error is None else self.pair(error),
        )
        self.state, accepted = self.kernel.step(
            self.state,
            signal,
            self.pair(xi),
            step_size=torch.tensor([EPSILON, 0.01], dtype=DOUBLE),
            friction=torch.tensor([FRICTION, 1.0], dtype=DOUBLE),
            axis=self.axis,
        )
        return None if accepted is None else bool(accepted[0])

    def read(self, field="params"):
        value = getattr(self.state, field)
        value = value["w"] if isinstance(value, dict) else value
        return value[0] if self.axis == 0 or value.dim() == 1 else value[:, 0]

    def is_at(self, expected, field="params"):
        torch.testing.assert_close(self.read(field), torch.tensor(expected, dtype=DOUBLE), **EXACT)


def test_sgld(axis):
    """w + (ε/2)·drift + √ε·ξ."""
    chain = Chain("sgld", axis)
    chain.step()
    chain.is_at([0.7 + 0.02 * 2.0 + 0.2 * -0.8, -0.4 + 0.02 * -5.0 + 0.2 * 0.6])


def test_lm_sgld_uses_every_normal_twice(axis):
    """The first step halves the normals of the start, the second those of the first."""
    chain = Chain("lm_sgld", axis)
    chain.step()
    first = [0.7 + 0.02 * 2.0 + 0.1 * (0.3 - 0.8), -0.4 + 0.02 * -5.0 + 0.1 * (1.1 + 0.6)]
    chain.is_at(first)
    chain.step(force=[1.0, 1.0], xi=[2.0, -3.0])
    chain.is_at([first[0] + 0.02 + 0.1 * (-0.8 + 2.0), first[1] + 0.02 + 0.1 * (0.6 - 3.0)])


def baoab(w, v, force, xi):
    alpha = math.exp(-FRICTION * DELTA)
    kicked = v + DELTA * force
    after = alpha * kicked + math.sqrt(1 - alpha**2) * xi
    return w + DELTA / 2 * kicked + DELTA / 2 * after, after


def test_baoab(axis):
    chain = Chain("baoab", axis)
    chain.step()
    first = [baoab(w, v, f, xi) for w, v, f, xi in zip(W, V, FORCE, XI, strict=True)]
    chain.is_at([w for w, _ in first])
    chain.is_at([v for _, v in first], "velocity")
    chain.step(force=[1.0, 1.0], xi=[2.0, -3.0])
    chain.is_at([baoab(*at, 1.0, xi)[0] for at, xi in zip(first, [2.0, -3.0], strict=True)])


def test_rmsprop_sgld(axis):
    """P from two gradients by hand, unchanged by the step; then ε is εP."""
    chain = Chain("rmsprop_sgld", axis)
    for gradient in ([3.0, 0.5], [1.0, -0.5]):
        before = chain.read().clone()
        chain.state = chain.kernel.adapt(chain.state, chain.pair(gradient), axis)
        assert torch.equal(chain.read(), before)
    moments = [(1 - DECAY) * (DECAY * a**2 + b**2) / (1 - DECAY**2) for a, b in ((3.0, 1.0), (0.5, 0.5))]
    scale = math.sqrt(sum(moments) / 2)
    metric = [(1 + DAMPING) / (math.sqrt(moment) / scale + DAMPING) for moment in moments]
    chain.is_at(metric, "metric")
    chain.step()
    chain.is_at([w + 0.02 * p * f + 0.2 * math.sqrt(p) * x for w, p, f, x in zip(W, metric, FORCE, XI, strict=True)])
    chain.is_at(metric, "metric")


def test_the_preconditioner_is_one_until_it_has_seen_a_slope_and_has_no_units(axis):
    chain = Chain("rmsprop_sgld", axis)
    chain.is_at([1.0, 1.0], "metric")
    chain.state = chain.kernel.adapt(chain.state, {"w": torch.zeros(2, 2, dtype=DOUBLE)}, axis)
    chain.is_at([1.0, 1.0], "metric")
    found = []
    for unit in (1.0, 1e-6):
        chain = Chain("rmsprop_sgld", axis)
        chain.state = chain.kernel.adapt(chain.state, {"w": unit * chain.pair(W)["w"]}, axis)
        found.append(chain.read("metric"))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=0)


def test_sgnht(axis):
    """Kick, half a drift, half of the thermostat, O with friction f + ξ and the noise of f, and back."""
    chain, w, v, thermostat = Chain("sgnht", axis), list(W), list(V), 0.0
    mass = 4 * 2 / FRICTION**2
    for force, xi in ((FORCE, XI), ([1.0, 1.0], [2.0, -3.0])):
        v = [a + DELTA * f for a, f in zip(v, force, strict=True)]
        w = [a + DELTA / 2 * b for a, b in zip(w, v, strict=True)]
        thermostat += DELTA / 2 * (sum(a * a for a in v) - 2) / mass
        rate = FRICTION + thermostat
        injected = math.sqrt(FRICTION / rate * (1 - math.exp(-2 * rate * DELTA)))
        v = [math.exp(-rate * DELTA) * a + injected * x for a, x in zip(v, xi, strict=True)]
        thermostat += DELTA / 2 * (sum(a * a for a in v) - 2) / mass
        w = [a + DELTA / 2 * b for a, b in zip(w, v, strict=True)]
        chain.step(force=force, xi=xi)
        chain.is_at(w)
        chain.is_at(thermostat, "thermostat")


def test_sgnht_without_friction_in_all(axis):
    """At f + ξ = 0 the noise of O has variance 2fδ; the formula's 0/0 is taken at its limit."""
    chain = Chain("sgnht", axis)
    still = [math.sqrt(1.0), math.sqrt(1.0)]  # ‖v‖² = d, so that the first half leaves the thermostat alone
    chain.state = chain.state._replace(
        velocity=chain.pair(still), thermostat=torch.tensor([-FRICTION, -1.0], dtype=DOUBLE)
    )
    chain.step(force=[0.0, 0.0])
    injected = math.sqrt(2 * FRICTION * DELTA)
    chain.is_at([w + DELTA / 2 * (1 + 1 + injected * xi) for w, xi in zip(W, XI, strict=True)])


def mala_log_ratio(before, force_before, energy_before, after, force_after, energy_after):
    def log_q(to, origin, force):
        gaps = [b - a - EPSILON / 2 * f for a, b, f in zip(origin, to, force, strict=True)]
        return -sum(gap**2 for gap in gaps) / (2 * EPSILON)

    backwards, forwards = log_q(before, after, force_after), log_q(after, before, force_before)
    return energy_before - energy_after + backwards - forwards


@pytest.mark.parametrize("accepts", [True, False])
def test_mala(axis, accepts):
    """The first evaluation is taken as it is; the second by a ratio worked out by hand, just below and above it."""
    chain = Chain("mala", axis)
    assert chain.step(energy=1.5, chance=[0.999999]) is True
    proposal = [w + 0.02 * f + 0.2 * x for w, f, x in zip(W, FORCE, XI, strict=True)]
    chain.is_at(proposal)
    chain.is_at(W, "current")
    ratio = math.exp(mala_log_ratio(W, FORCE, 1.5, proposal, [-1.0, 4.0], 1.8))
    assert 0.1 < ratio < 0.9
    coin = ratio * (1 - 1e-9 if accepts else 1 + 1e-9)
    assert chain.step(force=[-1.0, 4.0], xi=[0.5, 0.25], energy=1.8, chance=[coin]) is accepts
    here, force = (proposal, [-1.0, 4.0]) if accepts else (W, FORCE)
    chain.is_at(here, "current")
    chain.is_at([w + 0.02 * f + 0.2 * x for w, f, x in zip(here, force, [0.5, 0.25], strict=True)])


@pytest.mark.parametrize("accepts", [True, False])
def test_hmc(axis, accepts):
    """Three leapfrog steps: kick by half a step, drift by a whole, kick by half; the test only at the end.

    The length is uniform within a third of π/(2·friction·δ) = 2.62; here the coin makes it ⌈2.62·0.8⌉ = 3.
    """
    chain, coin = Chain("hmc", axis), 0.2
    assert math.ceil(math.pi / (2 * FRICTION * DELTA) * (2 + 2 * coin) / 3) == 3
    assert chain.step(energy=1.5, chance=[0.999999, coin]) is True
    chain.is_at(3.0, "length")
    forces = [[1.0, -1.0], [0.5, 2.0], [-0.25, 0.75]]
    v = [xi + DELTA / 2 * f for xi, f in zip(XI, FORCE, strict=True)]
    w = [a + DELTA * b for a, b in zip(W, v, strict=True)]
    chain.is_at(w)
    for force in forces[:2]:
        assert chain.step(force=force, xi=[9.0, 9.0], energy=1e6, chance=[1e-12, 0.9]) is False  # under way: no test
        v = [a + DELTA * f for a, f in zip(v, force, strict=True)]
        w = [a + DELTA * b for a, b in zip(w, v, strict=True)]
        chain.is_at(w)
        chain.is_at(W, "current")
    v = [a + DELTA / 2 * f for a, f in zip(v, forces[2], strict=True)]
    energy = 1.5 + sum(a * a for a in XI) / 2 - sum(a * a for a in v) / 2 + 0.7
    edge = math.exp(-0.7) * (1 - 1e-9 if accepts else 1 + 1e-9)
    assert chain.step(force=forces[2], xi=[0.5, 0.25], energy=energy, chance=[edge, 0.0]) is accepts
    here, force = (w, forces[2]) if accepts else (W, FORCE)
    chain.is_at(here, "current")
    chain.is_at(2.0, "length")
    chain.is_at([a + DELTA * (x + DELTA / 2 * f) for a, x, f in zip(here, [0.5, 0.25], force, strict=True)])


@pytest.mark.parametrize("name", [name for name, kernel in KERNELS.items() if not kernel.full_batch_only])
def test_minibatch_noise_is_taken_out_of_the_normals(name, axis):
    """ξ - (1 - √(1 - ‖u‖²))·û(û·ξ) in place of ξ, u = gain·drift_noise, of √P·drift_noise for RMSprop-SGLD."""
    error, kernel = [1.5, -2.0], KERNELS[name]
    alpha = math.exp(-FRICTION * DELTA)
    gain = DELTA / 2 * ((1 + alpha) / math.sqrt(1 - alpha**2) if kernel.momentum else 1.0)
    step_size, friction = torch.tensor([EPSILON], dtype=DOUBLE), torch.tensor([FRICTION], dtype=DOUBLE)
    torch.testing.assert_close(kernel.gain(step_size, friction), torch.tensor([gain], dtype=DOUBLE))
    assert kernel.gain is (baoab_gain if kernel.momentum else langevin_gain)
    compensating, told = Chain(name, axis), Chain(name, axis)
    metric = [1.0, 1.0]
    if kernel.adapt is not None:
        for chain in (compensating, told):
            chain.state = kernel.adapt(chain.state, chain.pair([3.0, 0.5]), axis)
        metric = told.read("metric").tolist()
    u = [gain * math.sqrt(p) * e for p, e in zip(metric, error, strict=True)]
    length = math.hypot(*u)
    assert 0.1 < length < 1
    along = sum(a * b for a, b in zip(u, XI, strict=True)) / length
    left = [x - (1 - math.sqrt(1 - length**2)) * along * a / length for x, a in zip(XI, u, strict=True)]
    told.step(xi=left if kernel.compensates else XI)
    compensating.step(error=error)
    torch.testing.assert_close(compensating.read(), told.read(), **EXACT)
