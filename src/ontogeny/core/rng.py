"""Random streams named by what they are for, so that the order of work cannot change a draw."""

from __future__ import annotations

import hashlib

import numpy as np
import torch


def stream_key(seed: int, *labels: object) -> int:
    """A 63-bit key that depends on the seed and on every label, e.g. ``stream_key(0, "noise", "chain", 3)``."""
    digest = hashlib.sha256(repr((seed, *labels)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, *labels: object, device: str | torch.device = "cpu") -> torch.Generator:
    """One independent torch stream per (seed, labels); the global stream is neither read nor moved.

    >>> bool((torch.rand(3, generator=generator(0, "a")) == torch.rand(3, generator=generator(0, "a"))).all())
    True
    """
    return begin(torch.Generator(device), seed, *labels)


def begin(stream: torch.Generator, seed: int, *labels: object) -> torch.Generator:
    """The stream (seed, labels) from its beginning, in a generator that is there: on a GPU making one takes long."""
    return stream.manual_seed(stream_key(seed, *labels))


def numpy_generator(seed: int, *labels: object) -> np.random.Generator:
    """The same for numpy: one independent stream per (seed, labels)."""
    return np.random.default_rng(stream_key(seed, *labels))
