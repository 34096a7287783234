"""A transformer of 480 weights along a short training run, its data, and its dense Hessian."""

from functools import lru_cache

import torch

from ontogeny.core.rng import generator
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
from ontogeny.inputs.language_losses import NextToken
from ontogeny.operators.hessian import hessian_products
from ontogeny.operators.linear_operator import Operator
from ontogeny.sampling.problem import build

VOCABULARY, CONTEXT, ROWS = 6, 5, 10
STEPS = (0, 1, 3, 6, 10, 20, 40, 70, 110, 160)


def tokens(rows=ROWS):
    """Rows that add their two last tokens, at random now and then."""
    stream = generator(0, "tiny tokens")
    out = torch.randint(VOCABULARY, (rows, CONTEXT), generator=stream)
    noise = torch.rand(rows, CONTEXT, generator=stream) < 0.15
    for k in range(2, CONTEXT):
        out[:, k] = torch.where(noise[:, k], out[:, k], (out[:, k - 1] + out[:, k - 2]) % VOCABULARY)
    return out


def fresh():
    """The model before training, in float64."""
    config = AttentionOnlyConfig(vocabulary=VOCABULARY, context=CONTEXT, width=6, layers=2, heads=2)
    model = AttentionOnly(config).double()
    stream = generator(0, "tiny transformer")
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=stream, dtype=torch.float64))
    return model


@lru_cache(maxsize=1)
def run():
    """{step: weights} of ten checkpoints."""
    model, rows, loss = fresh(), tokens(), NextToken()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    kept = {}
    for step in range(max(STEPS) + 1):
        if step in STEPS:
            kept[step] = {name: value.detach().clone() for name, value in model.state_dict().items()}
        optimizer.zero_grad()
        loss(model, rows).mean().backward()
        optimizer.step()
    return kept


def at(step):
    """The model at a checkpoint."""
    model = fresh()
    model.load_state_dict(run()[step])
    return model


def dense(model, data, loss_fn, selection=None):
    """The Hessian of the mean loss over all the data, column by column."""
    problem = build(model, data, loss_fn, selection, None, None)
    products = hessian_products(problem.loss, problem.center, problem.examples.take(None))
    return Operator(products, problem.center).dense()


@lru_cache(maxsize=16)
def dense_at(step):
    """The same at a checkpoint, all weights."""
    return dense(at(step), tokens(), NextToken())
