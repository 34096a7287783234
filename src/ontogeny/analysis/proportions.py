"""How many seeds are of a kind, with exact binomial intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from ontogeny.analysis.checks import variable
from ontogeny.core.errors import OntogenyError


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a binomial fraction k/n (Clopper and Pearson, Biometrika 1934), covering with at least `level`.

    low = Beta⁻¹(α/2; k, n−k+1), high = Beta⁻¹(1−α/2; k+1, n−k), α = 1 − level; 0 where k = 0, 1 where k = n.

    >>> [round(x, 4) for x in clopper_pearson(5, 20)]
    [0.0866, 0.491]
    """
    from scipy.stats import beta

    if trials < 1 or not 0 <= successes <= trials:
        raise OntogenyError(
            f"successes must lie between 0 and trials, and trials be at least 1; got {successes} of {trials}."
        )
    if not 0 < level < 1:
        raise OntogenyError(f"level must lie between 0 and 1; got {level}: 0.95 is usual.")
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else float(beta.ppf(tail, successes, trials - successes + 1))
    high = 1.0 if successes == trials else float(beta.ppf(1 - tail, successes + 1, trials - successes))
    return low, high


def class_fractions(classes: xr.DataArray, names: Sequence[str], level: float = 0.95) -> xr.Dataset:
    """Fraction of seeds in each class with its Clopper-Pearson interval.

    classes: (seed,) of words, each one of `names`. Returns a Dataset with dim `kind` (the names, in their order):
    `count` (seeds), `fraction`, `low`, `high`. Each interval stands by itself: they are not simultaneous over the
    classes.
    """
    if classes.dims != ("seed",) or classes.size == 0:
        raise OntogenyError(
            f"classes must have the one dim (seed,) and at least one seed; got {classes.dims}, shape {classes.shape}."
        )
    unknown = sorted(set(classes.values.tolist()) - set(names))
    if unknown:
        raise OntogenyError(f"classes must each be one of {tuple(names)}; got {unknown}: add them to names.")
    n = classes.sizes["seed"]
    counts = [int((classes.values == name).sum()) for name in names]
    bounds = np.array([clopper_pearson(k, n, level) for k in counts])
    return xr.Dataset(
        {
            "count": variable(("kind",), counts, "seeds of this kind", "seeds"),
            "fraction": variable(("kind",), np.array(counts) / n, "fraction of seeds"),
            "low": variable(("kind",), bounds[:, 0], "lower end of the Clopper-Pearson interval"),
            "high": variable(("kind",), bounds[:, 1], "upper end of the Clopper-Pearson interval"),
        },
        coords={"kind": list(names)},
        attrs={"seeds": n, "level": level},
    )
