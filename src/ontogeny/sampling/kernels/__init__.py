"""The registry of kernels: what the chain loop and the calibration need of each, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ontogeny.core.errors import OntogenyError
from ontogeny.sampling.kernels import baoab, hmc, lm_sgld, mala, rmsprop_sgld, sgld, sgnht
from ontogeny.sampling.kernels.signal import Move, langevin_gain


@dataclass(frozen=True)
class Kernel:
    """A transition rule: ``init(params, noise, axis) -> state``, then ``step``, see :class:`.signal.Move`.

    ``state.params`` is the position to be evaluated next. The rule never sees model, data or mask. ``noise`` are
    standard normals shaped as the position, handed in so that serial, batched, eager and compiled runs use the same
    random numbers.
    """

    name: str
    init: Callable[..., Any]
    step: Move
    stability: float
    """ε·(nβ·h_max + γ) where ε is chosen by rule; the stability limit is 4 for all but rmsprop_sgld."""
    shrink: float = 0.0
    """By rule ε falls as d to minus this power: what keeps the acceptance of a Metropolis test."""
    momentum: bool = False
    """Whether ``friction`` matters."""
    first_order: bool = False
    """Whether the stationary variance of a quadratic is (1/κ)/(1 - εκ/4) rather than exact."""
    coins: int = 0
    """Uniform numbers wanted a step; a kernel that wants any needs full batches."""
    compensates: bool = True
    """Whether ``step`` takes minibatch noise out of the injected noise."""
    gain: Callable[[Tensor, Tensor], Tensor] = langevin_gain
    """``gain(step_size, friction)``: an error of the drift, in units of the injected noise."""
    adapt: Callable[..., Any] | None = None
    """``adapt(state, loss_gradient, axis) -> state``, called in warm-up before each step."""

    @property
    def full_batch_only(self) -> bool:
        """Whether the kernel compares energies, which minibatches would falsify."""
        return self.coins > 0


KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("sgld", sgld.init, sgld.step, stability=0.1, first_order=True),
        Kernel("lm_sgld", lm_sgld.init, lm_sgld.step, stability=0.4),
        Kernel("baoab", baoab.init, baoab.step, stability=0.64, momentum=True, gain=baoab.gain),
        Kernel(
            "rmsprop_sgld",
            rmsprop_sgld.init,
            rmsprop_sgld.step,
            stability=0.1,
            first_order=True,
            adapt=rmsprop_sgld.adapt,
        ),
        Kernel("sgnht", sgnht.init, sgnht.step, stability=0.25, momentum=True, compensates=False, gain=baoab.gain),
        Kernel("mala", mala.init, mala.step, stability=1.2, shrink=1 / 3, coins=1),
        Kernel("hmc", hmc.init, hmc.step, stability=1.0, shrink=1 / 4, momentum=True, coins=2),
    )
}


def get_kernel(name: str) -> Kernel:
    """The kernel of that name.

    Raises:
        OntogenyError: if there is none; the message lists those there are.
    """
    if not isinstance(name, str) or name not in KERNELS:
        raise OntogenyError(f"kernel must be one of {', '.join(sorted(KERNELS))}; got {name!r}.")
    return KERNELS[name]
