"""A statement about one training run as a number with its error, and what it decides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SURE = 1.96
"""Standard errors of a two-sided test at 5 %."""
POWER = SURE + 0.8416
"""Standard errors of an effect that such a test finds four times out of five."""
PERMUTATIONS = 4999
TYPICAL, EVERY, SOME = "typical", "every", "some"
"""What a statement is about: a typical run, every run, or some of them."""


class Effect(NamedTuple):
    """What one training run says about a statement.

    Attributes:
        holds: True or False where the run decides; None where it cannot.
        value: the figure that decides.
        se: its standard error; NaN where it has none.
        detectable: the size of ``value`` that the run would have told from nothing with a power of 80 %; NaN where no
            error says it.
        words: what was measured, in a clause.
        finds: what ``detectable`` is, where it is another thing.
    """

    holds: bool | None
    value: float
    se: float
    detectable: float
    words: str
    finds: str = "would have been found in 80 % of such runs"


NOTHING = Effect(None, math.nan, math.nan, math.nan, "nothing that could tell was measured")


def above(value: float, se: float, words: str, least: float = 0.0) -> Effect:
    """The value is above ``least``: decided where it is 1.96 standard errors away from it, on either side."""
    if not (math.isfinite(value) and math.isfinite(se)):
        return NOTHING._replace(words=words)
    clear = abs(value - least) > SURE * se
    return Effect(value > least if clear else None, value, se, least + POWER * se, words)


def equal(difference: float, se: float, within: float, words: str) -> Effect:
    """|difference| is below ``within``: decided where its whole 95 % interval lies on one side."""
    if not (math.isfinite(difference) and math.isfinite(se)):
        return NOTHING._replace(words=words)
    size, margin = abs(difference), SURE * se
    holds = True if size + margin < within else False if size - margin > within else None
    return Effect(holds, difference, se, within + POWER * se, words)


def plainly(holds: bool | None, value: float, words: str) -> Effect:
    """Something that is seen without an error, such as the order of two checkpoints."""
    return Effect(holds, value, math.nan, math.nan, words)


def correlation(
    one: npt.ArrayLike, other: npt.ArrayLike, words: str, least: float = 0.0, layers: Sequence[int] | None = None
) -> Effect:
    """Spearman's ρ is above ``least``: by Fisher's z with the variance 1.06/(n - 3) (Fieller et al. 1957).

    The detectable ρ is that of the same z; fewer than five pairs decide nothing. With ``layers``, one a pair, the words
    say what of ρ is left within layers, which decides nothing: two that differ in both can make a ρ by themselves.
    """
    from scipy.stats import spearmanr

    x, y = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if len(x) < 5 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return NOTHING._replace(words=words)
    rho = float(spearmanr(x, y).statistic)
    spread = math.sqrt(1.06 / (len(x) - 3))
    away = math.atanh(max(min(rho, 0.9999), -0.9999)) - math.atanh(least)
    holds = None if abs(away) <= SURE * spread else away > 0
    detectable = math.tanh(math.atanh(least) + POWER * spread)
    words = f"{words}: ρ = {rho:.2f} over {len(x)}"
    if layers is not None:
        inside = _within_groups(x, y, np.asarray(layers)[good])
        words += f", within layers {inside:.2f}" if math.isfinite(inside) else ""
    return Effect(holds, rho, spread * (1 - rho**2), detectable, words)


def _within_groups(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], groups: npt.NDArray[np.int64]) -> float:
    """The correlation of the ranks of x and y, the mean of each group taken off; NaN where nothing is left to vary.

    >>> x, y = np.array([1.0, 2, 3, 11, 12, 13]), np.array([3.0, 2, 1, 13, 12, 11])
    >>> _within_groups(x, y, np.array([0, 0, 0, 1, 1, 1]))
    -1.0
    """
    from scipy.stats import rankdata

    left = []
    for values in (x, y):
        ranks = rankdata(values)
        for group in np.unique(groups):
            ranks[groups == group] -= ranks[groups == group].mean()
        left.append(ranks)
    scale = math.sqrt(float(left[0] @ left[0]) * float(left[1] @ left[1]))
    return float(left[0] @ left[1]) / scale if scale > 0 else math.nan


def verdict(effects: Sequence[Effect], of: str = TYPICAL) -> str:
    """What the runs say together.

    ``TYPICAL``: decided where all that can tell agree. ``EVERY``: one run refutes it, and all must bear it out.
    ``SOME``: one run bears it out, and none refutes it, since another might.
    """
    told = [one.holds for one in effects if one.holds is not None]
    if of == SOME:
        return "agrees" if any(told) else "cannot be told"
    if of == EVERY and told:
        return "disagrees" if not all(told) else "agrees" if len(told) == len(effects) else "cannot be told"
    if not told or 0 < sum(told) < len(told):
        return "cannot be told"
    return "agrees" if all(told) else "disagrees"


def as_dict(effects: Sequence[Effect], says: str, of: str = TYPICAL) -> dict[str, Any]:
    """For summary.json: the statement, its verdict, and what every seed said."""
    return {"says": says, "verdict": verdict(effects, of), "by_seed": [one._asdict() for one in effects]}
