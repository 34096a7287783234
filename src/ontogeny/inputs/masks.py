"""Masks over a model's parameters: unions, counts, and the one name under which a tied weight is sampled."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from torch import Tensor, nn

Masks = dict[str, Tensor | None]
"""Parameter name -> mask of 0 and 1 shaped as the parameter, or None for the whole tensor."""


def parameter_aliases(model: nn.Module) -> dict[str, str]:
    """Every name of every parameter -> the name that stands for it; the names of a tied weight have one stand-in."""
    first: dict[int, str] = {}
    return {
        name: first.setdefault(id(parameter), name)
        for name, parameter in model.named_parameters(remove_duplicate=False)
    }


def union(parts: Iterable[Masks]) -> Masks:
    """The weights that are in any of ``parts``; whole tensors win over masks."""
    out: Masks = {}
    for part in parts:
        for name, mask in part.items():
            if name not in out:
                out[name] = mask
                continue
            so_far = out[name]
            out[name] = None if so_far is None or mask is None else so_far | mask
    return out


def tidy(masks: Masks, order: Iterable[str]) -> Masks:
    """The same weights, said in one way: tensors in ``order``, full masks as None, empty masks left out.

    Two selections of the same weights are then the same, however they were written.
    """
    out: Masks = {}
    for name in dict.fromkeys(order):
        if name not in masks:
            continue
        mask = masks[name]
        if mask is None or bool(mask.all()):
            out[name] = None
        elif bool(mask.any()):
            out[name] = mask
    return out


Packed = dict[str, "np.ndarray[tuple[int], np.dtype[np.uint8]] | None"]
"""Masks with eight weights a byte, so that those of every head of a model can be held side by side."""


def packed(masks: Masks) -> Packed:
    """The same masks, eight weights a byte."""
    return {name: None if mask is None else np.packbits(mask.cpu().numpy()) for name, mask in masks.items()}


def shared(first: Packed, second: Packed, sizes: dict[str, int]) -> int:
    """How many weights are in both; ``sizes`` holds the number of weights of every parameter."""
    count = 0
    for name in first.keys() & second.keys():
        both = [mask for mask in (first[name], second[name]) if mask is not None]
        count += int(np.bitwise_count(np.bitwise_and.reduce(both)).sum()) if both else sizes[name]
    return count
