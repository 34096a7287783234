"""One protocol that every registered kernel passes; a new kernel is covered by being in the registry."""

import pytest
import torch

from ontogeny.core.rng import generator
from ontogeny.sampling.kernels import KERNELS, get_kernel

CHAINS = 3
SHAPES = {"a": (4,), "b": (2, 3)}
DTYPES = {"a": torch.float32, "b": torch.float64}


def some(label, axis=0, chains=CHAINS):
    """Tensors named and typed as a model's, with the chain axis first or last; the same numbers either way."""
    out = {}
    for name, shape in SHAPES.items():
        values = torch.randn(chains, *shape, generator=generator(0, label, name), dtype=torch.float64)
        out[name] = (values if axis == 0 else values.movedim(0, -1).contiguous()).to(DTYPES[name])
    return out


def sizes(chains=CHAINS):
    return torch.linspace(0.01, 0.04, CHAINS, dtype=torch.float64)[:chains]


def steps(name, axis=0, count=3, pick=slice(None)):
    """Positions after some steps with drifts and noise of fixed streams; ``pick`` chooses chains."""
    kernel = KERNELS[name]

    def chosen(label):
        values = some(label, axis)
        return {k: v[pick] if axis == 0 else v[..., pick] for k, v in values.items()}

    state = kernel.init(chosen("start"))
    for number in range(count):
        state = kernel.step(
            state, chosen(f"drift {number}"), chosen(f"noise {number}"), step_size=sizes()[pick], axis=axis
        )
    return state.params


@pytest.fixture(params=KERNELS)
def kernel(request):
    return KERNELS[request.param]


@pytest.fixture(params=[0, -1], ids=["chains first", "chains last"])
def axis(request):
    return request.param


def test_the_registry_names_its_kernels():
    assert KERNELS
    for name, kernel in KERNELS.items():
        assert kernel.name == name and get_kernel(name) is kernel
        assert hash(kernel) is not None  # programs are kept by kernel


def test_a_chain_starts_where_it_is_put(kernel, axis):
    start = some("start", axis)
    state = kernel.init(start)
    assert state.params.keys() == start.keys()
    assert all(torch.equal(state.params[k], start[k]) for k in start)


def test_a_step_leaves_the_callers_tensors_alone(kernel, axis):
    given = [some(label, axis) for label in ("start", "drift", "noise")]
    kept = [{k: v.clone() for k, v in values.items()} for values in given]
    epsilon, random_state = sizes(), torch.get_rng_state()
    state = kernel.init(given[0])
    before = {k: v.clone() for k, v in state.params.items()}
    kernel.step(state, given[1], given[2], step_size=epsilon, axis=axis)
    assert all(torch.equal(state.params[k], before[k]) for k in before)
    for values, copies in zip(given, kept, strict=True):
        assert all(torch.equal(values[k], copies[k]) for k in values)
    assert torch.equal(epsilon, sizes())
    assert torch.equal(random_state, torch.get_rng_state())  # noise is an argument


def test_the_same_noise_gives_the_same_chain(kernel, axis):
    first, again = steps(kernel.name, axis), steps(kernel.name, axis)
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert all((first[k] != some("start", axis)[k]).all() for k in first)


def test_names_shapes_and_dtypes_stay(kernel, axis):
    for name, value in steps(kernel.name, axis).items():
        start = some("start", axis)[name]
        assert value.shape == start.shape and value.dtype == start.dtype == DTYPES[name]


def test_both_chain_axes_agree(kernel):
    first, last = steps(kernel.name, 0), steps(kernel.name, -1)
    for name in first:
        torch.testing.assert_close(last[name].movedim(-1, 0), first[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("chain", range(CHAINS))
def test_chains_do_not_interact(kernel, axis, chain):
    together, alone = steps(kernel.name, axis), steps(kernel.name, axis, pick=slice(chain, chain + 1))
    for name in together:
        one = together[name][[chain]] if axis == 0 else together[name][..., [chain]]
        torch.testing.assert_close(one, alone[name], rtol=1e-6, atol=1e-7)


def test_without_drift_and_noise_nothing_moves(kernel, axis):
    start = some("start", axis)
    nothing = {name: torch.zeros_like(value) for name, value in start.items()}
    state = kernel.init(start)
    for _ in range(3):
        state = kernel.step(state, nothing, nothing, step_size=sizes(), axis=axis)
    assert all(torch.equal(state.params[k], start[k]) for k in start)


def test_a_weight_without_drift_and_noise_stays_while_others_move(kernel, axis):
    """What the loop relies on for masked weights."""
    state = kernel.init(some("start", axis))
    for number in range(3):
        drift, noise = some(f"drift {number}", axis), some(f"noise {number}", axis)
        drift["a"], noise["a"] = torch.zeros_like(drift["a"]), torch.zeros_like(noise["a"])
        state = kernel.step(state, drift, noise, step_size=sizes(), axis=axis)
    assert torch.equal(state.params["a"], some("start", axis)["a"])
    assert (state.params["b"] != some("start", axis)["b"]).all()
