"""The statistical exhibits of the superposition report: tests, their table, classes, emergence, association."""

from __future__ import annotations

import math

import xarray as xr

from ontogeny.plots import comparisons, theme
from ontogeny.report.page import Section, Table
from ontogeny.report.words import number, pvalue


def cut_points(tests: xr.Dataset) -> list[Section]:
    """Show the cut-point tests; tests: from `ontogeny.analysis.cut_point_test`, with their null distributions."""
    window, power, alpha, each = (100 * float(tests.attrs[k]) for k in ("window", "power", "alpha", "alpha_each"))
    made = [
        Section(
            "Is the LLC elevated at the jump?",
            [
                f"""For each jumping seed, a statistic at its inflection is compared with the same statistic at
                random cuts of the same trajectory; the p-value comes from replacing every seed's inflection by a
                random cut. Level is the LLC at the cut; rise is its mean over the window after the cut
                ({number(window)} % of training) minus that over the window before.""",
                f"""If jumps come late and the LLC rises, a curve that merely rises passes the plain test. So it is
                repeated after a monotone trend is taken out, and against cuts from the same third of training. The
                detrended variant takes out a step that stays up as well: it sees bumps only. So a claim about the
                level needs all variants, one about the rise the plain and the same-third one; two statistics are
                tested, each at {number(each)} %, half of {number(alpha)} %.""",
                """p and the t interval ask different things and can disagree: p permutes the cuts, so it asks whether
                the inflections of just these seeds are special places on their own trajectories, while the interval
                varies over seeds and asks how large the mean difference would be among other seeds that jump.""",
                """λ̂ below baseline, where w* is no minimum, is left out of the tests, and the LLC is interpolated
                between the checkpoints around it.""",
            ],
            figure=comparisons.cut_point_differences(tests),
            table=_test_table(tests),
            caption="""Statistic at the inflection minus its mean over random cuts of the same trajectory, in units
            of the LLC. Grey: one seed (n in the table); diamond: mean over seeds with its 95 % Student t interval.
            Above zero: higher, or rising more, at the inflection.""",
            table_caption=f"""The cut-point tests. p: one-sided (elevated) and two-sided, from
            {int(tests.attrs["permutations"]):,} permutations; detectable: the true mean difference that passes at
            {number(each)} % in {number(power)} % of such studies; sampler: how much of the variance of the mean
            over seeds the standard errors of λ̂ explain, checkpoints' errors taken as independent. All checkpoints and
            seeds share the sampler's minibatches: a part of λ̂'s error common to them is in its standard errors, but
            not in the intervals over seeds.""",
            alt="Differences between inflection and random cuts, a point a seed, for every statistic and variant.",
        )
    ]
    return made + _null(tests)


def _null(tests: xr.Dataset) -> list[Section]:
    figures = {}
    for statistic in tests["statistic"].values:
        for variant in tests["variant"].values:
            cell = tests.sel(statistic=statistic, variant=variant)
            if str(cell["status"].item()) == "ok":
                name = f"{statistic}, {theme.status_name(str(variant))}"
                figures[name] = comparisons.null_distribution(
                    cell["null"].values,
                    float(cell["mean_difference"]),
                    label=f"mean difference of the {statistic} from random cuts",
                    p=float(cell["p_value"]),
                )
    if not figures:
        return []
    section = Section(
        "",
        figure=figures,
        choice="test",
        caption=f"""What chance gives: the mean difference over seeds in {int(tests.attrs["permutations"]):,}
        permutations, in each of which every seed's inflection is replaced by a random admissible cut, counted in bins.
        Red: the observed value. The one-sided p is (1 + the number of permutations at least as large)/(1 + all
        permutations).""",
        alt="Histogram of the permutation distribution with the observed statistic as a line.",
    )
    return [section]


def _test_table(tests: xr.Dataset) -> Table:
    rows: list[list[str | int | float]] = []
    for statistic in tests["statistic"].values:
        for variant in tests["variant"].values:
            cell = tests.sel(statistic=statistic, variant=variant)
            rows.append(
                [
                    str(statistic),
                    theme.status_name(str(variant)),
                    int(cell["seeds"]),
                    _fixed(cell["mean_difference"], 3),
                    _interval(cell, 3),
                    _fixed(cell["cohen_d"], 2),
                    _p(cell["p_value"], int(tests.attrs["permutations"])),
                    _p(cell["p_two_sided"], int(tests.attrs["permutations"]), 2),
                    _fixed(cell["detectable_difference"], 3),
                    _fixed(100 * cell["sampler_share"], 1, " %"),
                ]
            )
    headers = (
        "statistic",
        "variant",
        "seeds",
        "mean difference",
        "95 % interval",
        "Cohen's d",
        "p, elevated",
        "p, two-sided",
        "detectable",
        "sampler",
    )
    return Table(headers, rows, text_columns=(0, 1))


def seeds(emergence: xr.Dataset, fits: xr.Dataset, jumps: xr.DataArray, fractions: xr.Dataset) -> list[Section]:
    """Show how many seeds are of a kind, and emergence against the jump; arguments as in `sections`."""
    return [
        Section(
            "What kinds of trajectory there are",
            figure=comparisons.class_fractions(fractions),
            caption=f"""Fraction of the {int(fractions.attrs["seeds"])} seeds in each class, with its exact binomial
            (Clopper-Pearson) {number(100 * float(fractions.attrs["level"]))} % interval; the intervals are not
            simultaneous.""",
            alt="Bars of the fraction of seeds in each class with binomial intervals.",
        ),
        Section(
            "When features emerge, and when the rank jumps",
            figure=comparisons.emergence_against_jump(emergence, fits, jumps),
            caption=f"""A point is one feature of one jumping seed (n = {int(jumps.notnull().sum())} seeds);
            features not represented at the end are left out. Below the dotted line a feature emerges before its
            seed's rank jumps; on it, with the jump. Symbols are hollow, so that features that emerge at the same step
            show through each other. Bars: ±1.96 standard errors of the inflection, often shorter than the symbol.""",
            alt="Step at which each feature emerges against the step of its seed's rank jump.",
        ),
    ]


def moves_with_llc(association: xr.Dataset) -> Section:
    """Show which indicators move with the LLC; association: from `ontogeny.analysis.associations`."""
    rows: list[list[str | int | float]] = []
    for indicator in association["indicator"].values:
        row: list[str | int | float] = [theme.status_name(str(indicator))]
        for kind in association["kind"].values:
            cell = association.sel(indicator=indicator, kind=kind)
            row += [int(cell["seeds"]), _fixed(cell["mean_rho"], 2), _interval(cell, 2)]
        rows.append(row)
    return Section(
        "What moves with the LLC",
        [
            """Two curves that both just grow are correlated: the second half of the table, with training time taken
            out, is the one that says something."""
        ],
        table=Table(
            (
                "indicator",
                "seeds",
                "mean ρ",
                "95 % interval",
                "seeds, time out",
                "mean ρ, time out",
                "95 % interval, time out",
            ),
            rows,
        ),
        caption="""Spearman correlation ρ of the LLC with each indicator along a seed's training, raw and with log
        step partialled out: mean over seeds with a finite ρ and its 95 % Student t interval. Checkpoints without a
        value or with λ̂ below baseline are left out, as in the tests.""",
    )


def _fixed(value: xr.DataArray, digits: int, unit: str = "") -> str:
    made = float(value)
    return f"{made:.{digits}f}{unit}".replace("-", "−") if math.isfinite(made) else "—"


def _interval(cell: xr.Dataset, digits: int) -> str:
    low, high = (_fixed(cell[k], digits) for k in ("low", "high"))
    return f"{low} to {high}" if "—" not in (low, high) else "—"


def _p(value: xr.DataArray, permutations: int, sides: int = 1) -> str:
    made = float(value)
    return pvalue(made, permutations, sides).removeprefix("p ").removeprefix("= ") if math.isfinite(made) else "—"
