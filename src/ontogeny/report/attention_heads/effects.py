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


def correlation(one: npt.ArrayLike, other: npt.ArrayLike, words: str, least: float = 0.0) -> Effect:
    """Spearman's ρ is above ``least``: by Fisher's z with the variance 1.06/(n - 3) (Fieller et al. 1957).

    The detectable ρ is that of the same z; fewer than five pairs decide nothing.
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
    return Effect(holds, rho, spread * (1 - rho**2), detectable, f"{words}: ρ = {rho:.2f} over {len(x)}")


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
