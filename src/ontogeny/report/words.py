"""Words and numbers of every report: sentence templates filled from a summary, and how a number is written."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr


def render(template: str, summary: Mapping[str, Any]) -> str:
    """Fill a sentence template (jinja2) from the summary, with the filters that the functions below define.

    Every name that is not in the summary is an error, line breaks become spaces, and nothing is escaped.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, autoescape=False)
    environment.filters |= {
        "number": number,
        "pvalue": pvalue,
        "signed": lambda v: "—" if v is None else number(v) if v <= 0 else "+" + number(v),
        "fixed": lambda v, digits: f"{v:.{digits}f}",
        "integer": lambda v: f"{round(v):,}",
        "percent": percent,
        "spread": spread,
        "interval": interval,
        "count": lambda n, noun: f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s",
        "agreeing": lambda n, one, more: one if n == 1 else more,
        "listed": listed,
        "named": lambda key, names: names.get(key, key),
        "words": lambda word: word.replace("_", " "),
        "hyphened": lambda word: word.replace("_", "-"),
        "lower_first": lambda text: text[:1].lower() + text[1:],
        "upper_first": lambda text: text[:1].upper() + text[1:],
    }
    return " ".join(environment.from_string(template).render(summary).split())


def listed(words: Sequence[Any]) -> str:
    """Join words as a sentence does.

    >>> listed(["a", "b", 3]), listed(["a"])
    ('a, b and 3', 'a')
    """
    return " and ".join(", ".join(str(word) for word in words).rsplit(", ", 1))


def spread(numbers: Mapping[str, Any]) -> str:
    """State a median with its range, as whole numbers; one value alone.

    >>> spread({"n": 3, "median": 1200.0, "range": [7.0, 1500.0]})
    '1,200 (7 to 1,500)'
    """
    low, high = numbers["range"]
    return f"{round(numbers['median']):,}" + (f" ({round(low):,} to {round(high):,})" if numbers["n"] > 1 else "")


def interval(numbers: Mapping[str, Any], digits: int = 2) -> str:
    """State a mean with its t interval, or alone where one seed leaves no interval.

    >>> interval({"n": 4, "mean": 5.04, "interval": [4.71, 5.37]}), interval({"mean": 1.5, "interval": [None, None]})
    ('5.04 (4.71 to 5.37)', '1.50')
    """
    mean, (low, high) = numbers["mean"], numbers["interval"]
    if mean is None:
        return "—"
    words = [f"{v:.{digits}f}".replace("-", "−") for v in (mean, low, high) if v is not None]
    return f"{words[0]} ({words[1]} to {words[2]})" if len(words) == 3 else words[0]


def percent(fraction: float, digits: int = 0) -> str:
    """Turn a fraction into per cent; what is neither nothing nor everything is not rounded to it.

    >>> percent(0.914), percent(0.0025), percent(0.0), percent(0.999)
    ('91 %', 'under 1 %', '0 %', 'over 99 %')
    """
    shown = f"{100 * fraction:.{digits}f}"
    if fraction > 0 and float(shown) == 0:
        return f"under {10**-digits:g} %"
    if fraction < 1 and float(shown) == 100:
        return f"over {100 - 10**-digits:g} %"
    return f"{shown} %"


def number(value: float | None, digits: int = 3) -> str:
    """Round to significant digits, whole numbers never shortened, with a true minus sign; an em dash for nothing.

    >>> number(-0.04567), number(1e-05), number(None), number(1000.0), number(12345.6)
    ('−0.0457', '1e-05', '—', '1000', '12,346')
    """
    if value is None:
        return "—"
    size = abs(value)
    whole = f"{size:,.0f}" if size >= 9_999.5 else f"{size:.0f}"
    made = whole if size >= 10 ** (digits - 1) else f"{size:.{digits}g}"
    return "−" + made if value < 0 else made


def pvalue(p: float | None, permutations: int, sides: int = 1) -> str:
    """State a p-value: "p = 0.031", "p ≤ 0.0001" at the least these permutations can give, "p > 0.999" just below 1.

    >>> pvalue(0.0312, 9999), pvalue(0.0002, 9999, sides=2), pvalue(0.9999, 9999), pvalue(1.0, 9999)
    ('p = 0.031', 'p ≤ 0.0002', 'p > 0.999', 'p = 1')
    """
    if p is None:
        return "p undefined"
    least = sides / (1 + permutations)
    if p <= least * (1 + 1e-9):
        return f"p ≤ {least:.2g}"
    if p >= 0.995:
        return "p = 1" if p == 1 else "p > 0.999" if p > 0.999 else f"p = {p:.3f}"
    return f"p = {p:.2g}"


def plain(value: Any) -> Any:
    """Make numpy scalars plain and every number that is not finite None, so that `value` is strict JSON."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def spread_of(values: npt.ArrayLike) -> dict[str, Any]:
    """Count, median, mean and range of the finite values; all but the count None where there are none."""
    array = np.asarray(values, dtype=float).ravel()
    finite = array[np.isfinite(array)]
    if not finite.size:
        return {"n": 0, "median": None, "mean": None, "range": None}
    return {
        "n": int(finite.size),
        "median": float(np.median(finite)),
        "mean": float(finite.mean()),
        "range": [float(finite.min()), float(finite.max())],
    }


def estimate_of(table: xr.Dataset, name: str) -> dict[str, Any]:
    """One variable of a table without dims with the interval that stands beside it as ``name_low``, ``name_high``."""
    return {"mean": float(table[name]), "interval": [float(table[f"{name}_{end}"]) for end in ("low", "high")]}


def classes_of(fractions: xr.Dataset) -> dict[str, Any]:
    """Class of trajectory -> {count, fraction, interval}; fractions: from `ontogeny.analysis.class_fractions`."""
    return {
        str(kind): {
            "count": int(one["count"]),
            "fraction": float(one["fraction"]),
            "interval": [float(one["low"]), float(one["high"])],
        }
        for kind, one in ((k, fractions.sel(kind=k)) for k in fractions["kind"].values)
    }
