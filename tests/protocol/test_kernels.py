"""One protocol that every registered kernel passes; a new kernel is covered by being in the registry."""

import pickle

import pytest
import torch

import ontogeny as og
from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.sampling.kernels import KERNELS, get_kernel
from ontogeny.sampling.kernels.signal import Signal
from tiny import EXAMPLES, SHORT, Regression, data, squares

CHAINS = 3
SHAPES = {"a": (4,), "b": (2, 3)}
DTYPES = {"a": torch.float32, "b": torch.float64}
COUNT = 6  # steps; a trajectory of HMC with the friction below has from one step to three


def some(label, axis=0, size=1.0):
    """Tensors named and typed as a model's, with the chain axis first or last; the same numbers either way."""
    out = {}
    for name, shape in SHAPES.items():
        values = size * torch.randn(CHAINS, *shape, generator=generator(0, label, name), dtype=torch.float64)
        out[name] = (values if axis == 0 else values.movedim(0, -1).contiguous()).to(DTYPES[name])
    return out


def pick(values, chains, axis):
    return {name: value[chains] if axis == 0 else value[..., chains] for name, value in values.items()}


def zeros(values):
    return {name: torch.zeros_like(value) for name, value in values.items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def settings(chains=slice(None)):
    step_size = torch.linspace(0.01, 0.04, CHAINS, dtype=torch.float64)[chains]
    friction = torch.linspace(5.0, 9.0, CHAINS, dtype=torch.float64)[chains]
    return {"step_size": step_size, "friction": friction}


def coins(kernel, number, chains=slice(None)):
    if not kernel.coins:
        return None
    shape = (kernel.coins, CHAINS)
    return torch.rand(shape, generator=generator(0, "coins", number), dtype=torch.float64)[:, chains]


def heights(number, chains=slice(None)):
    return torch.rand(CHAINS, generator=generator(0, "energy", number), dtype=torch.float64)[chains]


def states(kernel, axis=0, chains=slice(None), change=lambda drift, noise: (drift, noise), error=some, start=None):
    """The state put at ``start`` and after each of some steps, with signals from streams of their own."""
    start = some("start", axis) if start is None else start
    _, velocity = change(zeros(start), some("velocity", axis))
    out = [kernel.init(pick(start, chains, axis), pick(velocity, chains, axis), axis)]
    for number in range(COUNT):
        drift, noise = change(some(f"drift {number}", axis), some(f"noise {number}", axis))
        drift_noise = None
        if error is not None and not kernel.full_batch_only:
            drift_noise, _ = change(error(f"error {number}", axis), noise)
            drift_noise = pick(drift_noise, chains, axis)
        signal = Signal(pick(drift, chains, axis), heights(number, chains), coins(kernel, number, chains), drift_noise)
        state, accepted = kernel.step(out[-1], signal, pick(noise, chains, axis), **settings(chains), axis=axis)
        assert (accepted is not None) == kernel.full_batch_only
        if accepted is not None:
            assert accepted.dtype == torch.bool and accepted.shape == heights(number, chains).shape
        out.append(state)
    return out


@pytest.fixture(params=KERNELS)
def kernel(request):
    return KERNELS[request.param]


@pytest.fixture(params=[0, -1], ids=["chains first", "chains last"])
def axis(request):
    return request.param


def test_the_registry_names_its_kernels():
    assert set(KERNELS) >= {"sgld", "lm_sgld", "baoab", "rmsprop_sgld", "sgnht", "mala", "hmc"}
    for name, kernel in KERNELS.items():
        assert kernel.name == name and get_kernel(name) is kernel


def test_a_kernel_is_a_key_and_a_constant(kernel):
    """Programs are kept by kernel, and tasks carry kernels to other processes."""
    assert {kernel: 1}[get_kernel(kernel.name)] == 1
    assert pickle.loads(pickle.dumps(kernel)) == kernel
    with pytest.raises(AttributeError):
        kernel.stability = 1.0


def test_a_chain_starts_where_it_is_put(kernel, axis):
    start = some("start", axis)
    assert same(kernel.init(start, some("velocity", axis), axis).params, start)


def test_a_step_leaves_the_callers_tensors_alone(kernel, axis):
    given = {label: some(label, axis) for label in ("start", "velocity", "drift", "noise", "error")}
    kept = {label: {name: value.clone() for name, value in values.items()} for label, values in given.items()}
    options, chance, energy = settings(), coins(kernel, 0), heights(0)
    random_state = torch.get_rng_state()
    state = kernel.init(given["start"], given["velocity"], axis)
    error = None if kernel.full_batch_only else given["error"]
    before = [value.clone() for value in leaves(state)]
    kernel.step(state, Signal(given["drift"], energy, chance, error), given["noise"], **options, axis=axis)
    if kernel.adapt is not None:
        kernel.adapt(state, given["drift"], axis)
    assert all(torch.equal(value, copy) for value, copy in zip(leaves(state), before, strict=True))
    assert all(same(given[label], kept[label]) for label in given)
    assert all(torch.equal(options[key], value) for key, value in settings().items())
    assert torch.equal(energy, heights(0)) and (chance is None or torch.equal(chance, coins(kernel, 0)))
    assert torch.equal(random_state, torch.get_rng_state())  # noise is an argument


def leaves(state):
    """Every tensor of a state."""
    for field in state:
        yield from field.values() if isinstance(field, dict) else [field] if torch.is_tensor(field) else []


def test_the_same_noise_gives_the_same_chain(kernel, axis):
    first, again = states(kernel, axis), states(kernel, axis)
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))
    assert all((first[0].params[name] != first[-1].params[name]).all() for name in SHAPES)


def test_names_shapes_and_dtypes_stay(kernel, axis):
    start = some("start", axis)
    for state in states(kernel, axis):
        assert list(state.params) == list(start)
        for name, value in state.params.items():
            assert value.shape == start[name].shape and value.dtype == DTYPES[name]


def test_both_chain_axes_agree(kernel):
    for first, last in zip(states(kernel, 0), states(kernel, -1), strict=True):
        for name in SHAPES:
            torch.testing.assert_close(last.params[name].movedim(-1, 0), first.params[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("chain", range(CHAINS))
def test_chains_do_not_interact(kernel, axis, chain):
    alone = slice(chain, chain + 1)
    for all_chains, one in zip(states(kernel, axis), states(kernel, axis, alone), strict=True):
        together = pick(all_chains.params, alone, axis)
        for name in together:
            torch.testing.assert_close(together[name], one.params[name], rtol=1e-5, atol=1e-6)


def test_without_drift_and_noise_nothing_moves(kernel, axis):
    for state in states(kernel, axis, change=lambda drift, noise: (zeros(drift), zeros(noise))):
        assert same(state.params, some("start", axis))


def test_a_weight_without_drift_and_noise_stays_while_others_move(kernel, axis):
    """What the loop relies on for masked weights: of `a` every other weight, of `b` none."""

    def masked(drift, noise):
        keep = torch.tensor([1.0, 0.0, 1.0, 0.0])
        keep = keep if axis == 0 else keep[:, None]
        return {**drift, "a": drift["a"] * keep}, {**noise, "a": noise["a"] * keep}

    start, *_, last = states(kernel, axis, change=masked)
    moved = {name: (last.params[name] - start.params[name]).movedim(axis, 0) for name in SHAPES}
    assert (moved["a"][:, 1::2] == 0).all()
    assert (moved["a"][:, 0::2] != 0).all() and (moved["b"] != 0).all()


def test_masked_weights_do_not_change_the_others(kernel, axis):
    """A chain in two tensors of which one is masked moves the other as a chain of that tensor alone."""

    def masked(drift, noise):
        return {**drift, "a": zeros(drift)["a"]}, {**noise, "a": zeros(noise)["a"]}

    def without(drift, noise):
        return {"b": drift["b"]}, {"b": noise["b"]}

    alone = states(kernel, axis, change=without, start={"b": some("start", axis)["b"]})
    for whole, single in zip(states(kernel, axis, change=masked), alone, strict=True):
        torch.testing.assert_close(whole.params["b"], single.params["b"], rtol=1e-9, atol=1e-12)


def test_no_drift_noise_is_drift_noise_of_zero(kernel, axis):
    """And drift noise of any size changes where chains go that compensate it, and only those."""
    none = states(kernel, axis, error=None)[-1].params
    assert same(none, states(kernel, axis, error=lambda label, axis: zeros(some(label, axis)))[-1].params)
    some_noise = states(kernel, axis, error=lambda label, axis: some(label, axis, size=3.0))[-1].params
    assert same(none, some_noise) == (kernel.full_batch_only or not kernel.compensates)


def test_friction_matters_where_the_registry_says_so(kernel):
    start = some("start")

    def after(friction):
        state = kernel.init(start, some("velocity"), 0)
        for number in range(COUNT):
            signal = Signal(some(f"drift {number}"), heights(number), coins(kernel, number))
            options = {**settings(), "friction": torch.full((CHAINS,), friction, dtype=torch.float64)}
            state, _ = kernel.step(state, signal, some(f"noise {number}"), **options, axis=0)
        return state.params

    assert same(after(0.5), after(8.0)) == (not kernel.momentum)


@pytest.mark.parametrize("name", [name for name, kernel in KERNELS.items() if kernel.full_batch_only])
def test_coins_decide_what_is_accepted(name, axis):
    """The first evaluation always; then a much higher energy never, a lower one always, a likely one by the coin.

    Trajectories of HMC are one step long at this friction.
    """
    kernel, start = KERNELS[name], some("start", axis)
    options = {**settings(), "friction": torch.full((CHAINS,), 1e4, dtype=torch.float64)}
    still = zeros(start)

    def step(state, energy, coin):
        chance = torch.full((kernel.coins, CHAINS), coin, dtype=torch.float64)
        height = torch.full((CHAINS,), energy, dtype=torch.float64)
        return kernel.step(state, Signal(still, height, chance), some("noise", axis), **options, axis=axis)

    state, accepted = step(kernel.init(start, still, axis), 3.0, 1 - 1e-12)
    assert accepted.all() and same(state.current, start)
    proposal = state.params
    for energy, coin, expected in (
        (1e6, 1e-12, False),
        (-1e6, 1 - 1e-12, True),
        (3.5, 0.60, True),  # e^-½ = 0.607; without drift both proposals, and the velocities, are symmetric
        (3.5, 0.61, False),
        (float("nan"), 1e-12, False),
        (float("inf"), 1e-12, False),
    ):
        after, accepted = step(state, energy, coin)
        assert (accepted == expected).all(), (energy, coin)
        assert same(after.current, proposal if expected else start)


def test_kernels_that_compare_energies_refuse_minibatches(kernel):
    call = {**SHORT, "batch_size": EXAMPLES // 2, "kernel": kernel.name}
    model, rows = Regression(torch.float64), data(torch.float64)
    if kernel.full_batch_only:
        with pytest.raises(OntogenyError, match=rf"kernel '{kernel.name}' needs full batches, batch_size = 40"):
            og.sample(model, rows, squares, **call)
    else:
        assert og.sample(model, rows, squares, **call).loss.notnull().all()
    assert og.sample(model, rows, squares, **{**call, "batch_size": EXAMPLES}).loss.notnull().all()
