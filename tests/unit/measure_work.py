"""A training run of three checkpoints of a tiny model, measured in hundredths of a second a task; workers import it."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

import tiny
from ontogeny.execution.measure import measure
from ontogeny.metrics.registry import GradientNorm

STEPS = (0, 10, 100)
COMPONENTS = {"inner": "inner.*", "bias": {"outer.bias": True}}
FROZEN = {"n_beta": 20.0, "localization": 2.0}
SHORT = {"step_size": 1e-3, "chains": 3, "draws": 30, "burn_in": 5, "progress": False, "workers": 1}


def weights(step):
    """What the model is at that step."""
    model = tiny.Regression()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 0.02 * step**0.5)
    return {name: value.clone() for name, value in model.state_dict().items()}


def checkpoints(steps=STEPS):
    """Pairs of step and weights."""
    return [(step, weights(step)) for step in steps]


def at(step):
    """A model with the weights of that step."""
    model = tiny.Regression()
    model.load_state_dict(weights(step))
    return model


def data():
    """Two data sets of unlike size."""
    return {"train": tiny.data(), "few": tiny.data(examples=16)}


def small_study(out, **changes):
    """Every metric of every checkpoint; nβ and γ given."""
    given = {
        "checkpoints": checkpoints(),
        "data": data(),
        "loss_fn": tiny.squares,
        "components": COMPONENTS,
        "metrics": ("llc", "loss", "gradient_norm"),
        **FROZEN,
        **SHORT,
        **changes,
    }
    return measure(tiny.Regression(), out=out, **given)


class DiesOnce(GradientNorm):
    """Whose worker is killed when it is first asked, and says so."""

    name = "dies_once"

    def __init__(self, said):
        self.said = Path(said)

    def compute(self, model, data, loss_fn, components, asked):
        """As its parent, the second time."""
        if not self.said.exists():
            self.said.write_text(str(os.getpid()), encoding="utf-8")
            os.kill(os.getpid(), 9)
        return super().compute(model, data, loss_fn, components, asked)


def carry_out(out):
    """What a test kills; one thread, as in the process it is compared with."""
    torch.set_num_threads(1)
    small_study(out)


def one_number(model, batch):
    """A loss that forgets its examples."""
    return tiny.squares(model, batch).mean()
