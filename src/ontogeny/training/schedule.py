"""When to keep a checkpoint, and how large a step is: functions of the step number alone."""

from __future__ import annotations

import math

from ontogeny.core.errors import check_whole


def checkpoint_steps(steps: int, early: int = 50, linear: int = 50) -> tuple[int, ...]:
    """Steps to keep, increasing: 0, ``early`` steps evenly spaced in log(step), ``linear`` evenly spaced, the last.

    The first run from 1, the second from steps/linear, both to ``steps``. What a network learns first it learns in few
    steps, so half of the checkpoints lie early, and no late stretch is longer than steps/linear. Steps that round to
    the same number are kept once.

    Args:
        steps: optimiser steps of the run.
        early: how many log-spaced steps; 0: none.
        linear: how many evenly spaced ones; 0: none.

    >>> checkpoint_steps(1000, early=4, linear=4)
    (0, 1, 10, 100, 250, 500, 750, 1000)
    """
    for name, value, least in (("steps", steps, 1), ("early", early, 0), ("linear", linear, 0)):
        check_whole(name, value, least)
    log_spaced = {round(steps ** (number / max(early - 1, 1))) for number in range(early)}
    evenly = {round(steps * number / linear) for number in range(1, linear + 1)}
    return tuple(sorted({0, steps} | log_spaced | evenly))


def learning_rate_at(step: int, steps: int, *, peak: float, warm_up: int, schedule: str) -> float:
    """Learning rate of the update made at ``step`` (0 the first), weight per update.

    It rises as peak·(step + 1)/warm_up over the first ``warm_up`` updates, then stays ("constant") or falls as half a
    cosine that would reach 0 at ``steps``, one update after the last ("cosine").
    """
    if step < warm_up:
        return peak * (step + 1) / warm_up
    if schedule == "constant":
        return peak
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(steps - warm_up, 1)))
