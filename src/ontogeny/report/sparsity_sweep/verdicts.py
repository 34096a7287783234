"""Whether what was measured agrees with a statement, disagrees, or cannot tell: rules on intervals, stated once."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

AGREES, DISAGREES, CANNOT_TELL = "agrees", "disagrees", "cannot be told"
WORDS = (AGREES, DISAGREES, CANNOT_TELL)
TIMES, WITHIN = 3.0, 1.5
"""The document's factor, and how far from it still counts as about that: from TIMES/WITHIN to TIMES·WITHIN."""
EMERGES_AT = 700.0
PLATEAU_THEN_JUMP, STUCK = 0.25, 0.2
TWO = 2
"""The document's other figures: step of emergence, shares of seeds, features kept where nothing forms."""
EQUAL_CURVATURE = "equal_curvature"
"""A setting that is no neighbour: nβ differs between sparsities there, and asks a question of its own."""
MOST = 0.5
"""Share from which on something dominates, or holds in most seeds."""
ALPHA, POWER = 0.05, 0.8
"""Level of the tests, and the power at which a detectable effect is stated."""
RULES = {
    "times": TIMES,
    "times_least": TIMES / WITHIN,
    "times_most": TIMES * WITHIN,
    "emerges_at": EMERGES_AT,
    "plateau_then_jump": PLATEAU_THEN_JUMP,
    "stuck": STUCK,
    "most": MOST,
    "alpha": ALPHA,
    "power": POWER,
}


def about_three_times(ratio: float | None, interval: list[float | None]) -> str:
    """Judge "about three times": the ratio within 2 to 4.5 and told from 1, or the whole interval outside 2 to 4.5.

    >>> about_three_times(3.1, [2.2, 4.4]), about_three_times(1.4, [1.2, 1.7]), about_three_times(2.6, [0.9, 8.0])
    ('agrees', 'disagrees', 'cannot be told')
    """
    if ratio is None or None in interval:
        return CANNOT_TELL
    low, high = (float(end) for end in interval if end is not None)
    least, most = TIMES / WITHIN, TIMES * WITHIN
    if high < least or low > most:
        return DISAGREES
    return AGREES if least <= ratio <= most and low > 1 else CANNOT_TELL


def above(interval: list[float | None], bound: float) -> str:
    """Judge "it is more than `bound`" by an interval: agrees above it, disagrees below it.

    >>> above([0.2, 0.9], 0.0), above([-0.2, 0.9], 0.0), above([None, None], 0.0)
    ('agrees', 'cannot be told', 'cannot be told')
    """
    low, high = interval
    if low is not None and low > bound:
        return AGREES
    return DISAGREES if high is not None and high < bound else CANNOT_TELL


def contains(interval: list[float | None], value: float) -> str:
    """Judge "it is `value`" by an interval: agrees where it contains the value, disagrees where it does not.

    Agreement of this kind is no proof: a wide interval agrees with much.

    >>> contains([0.1, 0.4], 0.25), contains([0.3, 0.6], 0.25)
    ('agrees', 'disagrees')
    """
    low, high = interval
    if low is None or high is None:
        return CANNOT_TELL
    return AGREES if low <= value <= high else DISAGREES


def tested(interval: list[float | None], p: float | None) -> str:
    """Judge "it is more than zero" by an interval and a test, which must be of one mind.

    >>> tested([0.2, 0.9], 0.01), tested([0.2, 0.9], 0.12), tested([-0.9, -0.2], 0.01)
    ('agrees', 'cannot be told', 'disagrees')
    """
    return above(interval, 0.0) if p is not None and p <= ALPHA else CANNOT_TELL


def together(words: Iterable[str]) -> str:
    """One verdict for several variants of a statement: theirs where they are of one mind, else it cannot be told.

    >>> together(["agrees", "agrees"]), together(["agrees", "disagrees"]), together([])
    ('agrees', 'cannot be told', 'cannot be told')
    """
    every = set(words)
    return every.pop() if len(every) == 1 else CANNOT_TELL


def counted(words: Iterable[str]) -> dict[str, int]:
    """How many variants say what; all three words are there."""
    every = list(words)
    return {word: every.count(word) for word in WORDS} | {"variants": len(every)}


FEWEST_TO_TELL = 6
"""Seeds from which on a sign-flip test can reach ALPHA: 2/2ⁿ ≤ 0.05."""


def detectable(se: float | None, seeds: int, fewest: int = 2) -> float | None:
    """True mean at which a two-sided t test at ALPHA rejects zero with POWER: (t_{1−α/2} + t_{power})·s.e., n − 1 d.f.

    Approximate for few seeds; None with fewer than `fewest`, where nothing could be told.

    >>> round(detectable(1.0, 20), 2)
    2.95
    """
    from scipy.stats import t

    if se is None or not math.isfinite(se) or seeds < max(fewest, 2):
        return None
    return float((t.ppf(1 - ALPHA / 2, seeds - 1) + t.ppf(POWER, seeds - 1)) * se)


def drift_verdicts(ratios: dict[str, Any], frozen: str) -> dict[str, Any]:
    """Judge the ratio of drifts: by variant (definition and scale) at the frozen setting, and at each neighbour.

    ratios: setting -> definition -> scale -> {"ratio", "interval"}, as in the summary. Returns, for "three_times" and
    for "larger": `verdict` (one mind of all variants at the frozen setting), `counts` there, `by_scale` (one of the
    definitions of that scale), `same_at`, the neighbours (nβ or γ doubled or halved) at which the variants say what
    they say at the frozen one, and `equal_curvature`, what they say where nβ·h_max is alike.
    """
    rules = {
        "three_times": lambda cell: about_three_times(cell["ratio"], cell["interval"]),
        "larger": lambda cell: above(cell["interval"], 1.0),
    }
    made: dict[str, Any] = {}
    for name, rule in rules.items():
        said = {
            setting: {(d, s): rule(cell) for d, scales in table.items() for s, cell in scales.items()}
            for setting, table in ratios.items()
        }
        own = said[frozen]
        scales = dict.fromkeys(scale for _, scale in own)
        made[name] = {
            "verdict": together(own.values()),
            "counts": counted(own.values()),
            "by_scale": {one: together(v for (_, s), v in own.items() if s == one) for one in scales},
            "counts_by_scale": {one: counted(v for (_, s), v in own.items() if s == one) for one in scales},
            "neighbours": len(said.keys() - {frozen, EQUAL_CURVATURE}),
            "same_at": [s for s, cells in said.items() if s not in (frozen, EQUAL_CURVATURE) and cells == own],
            "equal_curvature": together(said[EQUAL_CURVATURE].values()) if EQUAL_CURVATURE in said else CANNOT_TELL,
        }
    return made
