"""A random subset of the weights, as a control: what a component of this size would give if it were no component."""

from __future__ import annotations

import re

import numpy as np
import torch
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import numpy_generator
from ontogeny.inputs.masks import Masks, tidy

RANDOM = re.compile(r"random:(?P<count>\d+)(?::(?P<seed>\d+))?(?:@(?P<among>.+))?")
"""random:2000, random:2000:7 with seed 7, random:2000@1:attn inside a component."""


def random_weights(model: nn.Module, name: str, pool: Masks, count: int, seed: int) -> Masks:
    """``count`` weights drawn without replacement, each set of them as likely, from the trainable weights of ``pool``.

    Args:
        model: whose parameters ``pool`` names.
        name: what the caller wrote, for messages and nothing else.
        pool: the weights to draw from; those that are not floating-point or need no gradient are passed over.
        count: how many.
        seed: names the subset; the same seed, count and pool give the same weights.

    Raises:
        OntogenyError: if ``count`` is 0 or more than there are.
    """
    pool = {key: mask for key, mask in pool.items() if _trainable(model.get_parameter(key))}
    sizes = [_size(model, key, mask) for key, mask in pool.items()]
    ends = np.cumsum([0, *sizes])
    if not 0 < count <= ends[-1]:
        raise OntogenyError(
            f"components: {name!r} draws {count:,} weights of {ends[-1]:,} trainable ones; draw from 1 to {ends[-1]:,}."
        )
    drawn = np.sort(numpy_generator(seed, "random weights", int(ends[-1])).choice(ends[-1], count, replace=False))
    out: Masks = {}
    for key, first, last in zip(pool, ends[:-1], ends[1:], strict=True):
        here = torch.from_numpy(drawn[slice(*np.searchsorted(drawn, (first, last)))] - first)
        if here.numel():
            out[key] = _of(pool[key], here, model.get_parameter(key).shape)
    return tidy(out, pool)


def _of(among: Tensor | None, drawn: Tensor, shape: torch.Size) -> Tensor:
    mask = torch.zeros(shape.numel(), dtype=torch.bool)
    mask[drawn if among is None else among.flatten().nonzero().squeeze(1)[drawn]] = True
    return mask.reshape(shape)


def _size(model: nn.Module, key: str, mask: Tensor | None) -> int:
    return model.get_parameter(key).numel() if mask is None else int(mask.sum())


def _trainable(parameter: Tensor) -> bool:
    return parameter.requires_grad and parameter.is_floating_point()
