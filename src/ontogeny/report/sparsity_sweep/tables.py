"""The tables of the sweep's report, every cell from the summary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ontogeny.plots import theme
from ontogeny.plots.drift import definition_name, setting_name, source_name
from ontogeny.plots.events import kind_name
from ontogeny.plots.sweep import indicator_name
from ontogeny.report.page import Cell, Table
from ontogeny.report.words import number, percent

Summary = Mapping[str, Any]
SCALES = ("raw", "relative")
TRENDS = {"log_step": "log step", "loss": "loss", "both": "log step and loss"}
ASSOCIATIONS = {
    "raw": "raw",
    "without_log_step": "without step",
    "without_log_step_and_loss": "without step, loss",
}
STATEMENTS = {
    "drift_three_times": "LLC drift at S = {quiet} is about {times} times that at S = {canonical}",
    "drift_three_times_common": "… over the stretch of training that all runs share",
    "drift_larger": "LLC drift is larger at S = {quiet} than at S = {canonical}",
    "drift_three_times_of_all": "… about {times} times, with every finite λ̂, also where w* is no minimum",
    "drift_larger_of_all": "… larger, with every finite λ̂",
    "two_features_at_quiet": "at S = {quiet} exactly two features are kept",
    "emergence_near_700": "features emerge around step {emerges_at}",
    "jump_after_emergence": "emergence is early, the rank jump late",
    "effect_at_jump_not_emergence": "the measurable LLC effect belongs to the rank jump, not to emergence",
    "training_time_dominates": "the LLC is dominated by general training-time evolution",
    "share_plateau_then_jump": "about {plateau_then_jump} of seeds show a plateau and then a jump",
    "share_stuck": "about {stuck} of seeds stay stuck",
    "combination_better": "the LLC confirms: with another indicator it finds the rank jump better than either alone",
}
"""What the document says, by the name of the verdict."""


def estimate(cell: Mapping[str, Any], digits: int = 3, middle: str = "mean", ends: str = "interval") -> str:
    """Write a mean with its interval, "1.2 [0.9, 1.5]"; alone without one, an em dash without a value."""
    value, (low, high) = cell[middle], cell[ends]
    if value is None:
        return "—"
    if low is None or high is None:
        return number(value, digits)
    return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"


def fraction(cell: Mapping[str, Any], middle: str = "mean") -> str:
    """Write a share, score or correlation with its interval, two decimals each, "0.45 [0.22, 0.68]".

    >>> fraction({"mean": -0.041, "interval": [-0.2, 0.123]})
    '−0.04 [−0.20, 0.12]'
    """
    value, (low, high) = cell[middle], cell["interval"]
    if value is None:
        return "—"
    made, *ends = (f"{v:.2f}".replace("-", "−") for v in (value, low, high) if v is not None)
    return f"{made} [{', '.join(ends)}]" if len(ends) == 2 else made


def statements(summary: Summary) -> Table:
    """Each statement of the document with the verdict, and how many variants or settings say the same."""
    rules = summary["rules"]
    known = {
        "quiet": summary["quiet"],
        "canonical": summary["canonical"],
        "times": number(rules["times"]),
        "emerges_at": number(rules["emerges_at"]),
        "plateau_then_jump": percent(rules["plateau_then_jump"]),
        "stuck": percent(rules["stuck"]),
    }
    given = {name: summary["verdicts"][name] for name in STATEMENTS if name in summary["verdicts"]}
    rows = [(STATEMENTS[name].format(**known), one["verdict"], _basis(one)) for name, one in given.items()]
    return Table(("statement of the document", "verdict", "of one mind"), rows, text_columns=(0, 1, 2))


def _basis(one: Mapping[str, Any]) -> str:
    said = []
    if "counts" in one:
        counts = one["counts"]
        said.append(", ".join(f"{word}: {counts[word]}" for word in counts if word != "variants" and counts[word]))
    if "by_sparsity" in one:
        said.append(", ".join(f"S = {s}: {word}" for s, word in one["by_sparsity"].items()))
    if "same_at" in one and one["neighbours"]:
        said.append(f"the same at {len(one['same_at'])} of {one['neighbours']} neighbours")
    return "; ".join(said) or "—"


def drift_numbers(summary: Summary, scale: str) -> Table:
    """Mean drift of every indicator, by definition and sparsity; scale: "raw", in its own unit, or "relative"."""
    rows: list[list[Cell]] = []
    for name, by_sparsity in summary["drifts"].items():
        for definition in next(iter(by_sparsity.values())):
            cells = [estimate(by_sparsity[s][definition][scale]) for s in by_sparsity]
            rows.append([indicator_name(name), definition_name(definition), *cells])
    sparsities = next(iter(summary["drifts"].values()))
    return Table(("indicator", "definition", *(f"S = {s}" for s in sparsities)), rows, text_columns=(0, 1))


def ratio_numbers(summary: Summary) -> Table:
    """The ratio of the LLC's drifts at every setting, definition and scale."""
    rows: list[list[Cell]] = []
    for setting, by_definition in summary["drift_ratios"].items():
        for definition, by_scale in by_definition.items():
            others = (summary["drift_ratios_of_all"] or {}).get(setting, {}).get(definition)
            parts = [by_scale] if others is None else [by_scale, others]
            cells = [_ratio(part[scale]) for part in parts for scale in SCALES]
            rows.append([setting_name(setting), definition_name(definition), *cells])
    headers = ["raw", "relative", "raw, all λ̂", "relative, all λ̂"][: max(len(row) for row in rows) - 2]
    return Table(("setting", "definition", *headers), rows, text_columns=(0, 1))


def _ratio(cell: Mapping[str, Any]) -> str:
    return estimate(cell, middle="ratio") if cell["bounded"] else f"{number(cell['ratio'])} [unbounded]"


def components(summary: Summary) -> Table:
    """Variance and share of every source, for values and for changes."""
    kinds = [k for k in summary["components"] if k != "entered"]
    rows = []
    for source in summary["components"][kinds[0]]:
        cells: list[Cell] = []
        for kind in kinds:
            one = summary["components"][kind][source]
            cells += [estimate(one, 2, middle="variance"), _share(one)]
        rows.append([source_name(source), *cells])
    names = {"values": "values", "increments": "changes"}
    headers = [f"{word}, {names.get(k, k)}" for k in kinds for word in ("variance", "share %")]
    return Table(("source", *headers), rows)


def _share(one: Mapping[str, Any]) -> str:
    """In per cent with one decimal, "27.1 [25.0, 29.3]"."""
    if one["share"] is None:
        return "—"
    ends = [v for v in one["share_interval"] if v is not None]
    within = f" [{', '.join(f'{100 * v:.1f}' for v in ends)}]" if len(ends) == 2 else ""
    return f"{100 * one['share']:.1f}{within}"


def explained(summary: Summary) -> Table:
    """What training time and loss explain of the LLC, by sparsity and trend."""
    rows = [
        [
            f"S = {s}",
            TRENDS.get(t, t),
            cell["within"].get("seeds", "—"),
            fraction(cell["within"]),
            fraction(cell["across"]),
        ]
        for s, trends in summary["explained"].items()
        for t, cell in trends.items()
    ]
    headers = ("sparsity", "trend", "seeds", "explained within the seed", "predicted from the other seeds")
    return Table(headers, rows, text_columns=(0, 1))


def factors(summary: Summary) -> Table:
    """Loadings with their intervals, and communalities."""
    table = summary["factors"]
    rows = [
        [
            indicator_name(i),
            *(fraction(one, "loading") for one in loadings),
            f"{table['communality'][i]:.2f}",
        ]
        for i, loadings in table["loadings"].items()
    ]
    headers = ("indicator", *(f"factor {f + 1}" for f in range(table["number"])), "communality")
    return Table(headers, rows)


def rises(summary: Summary) -> Table:
    """The LLC's rises at the jump and at emergence, and their paired difference, at every setting."""
    every = {"usable": summary["rises"], "every finite one": summary["rises_of_all"] or {}}
    rows = [
        [
            which,
            setting_name(setting),
            one["seeds"],
            estimate(one["at"]),
            estimate(one["against"]),
            estimate(one),
            _p(one["p_value"]),
            "—" if one["detectable"] is None else number(one["detectable"]),
        ]
        for which, by_setting in every.items()
        for setting, one in by_setting.items()
    ]
    headers = (
        "estimates",
        "setting",
        "seeds",
        "rise at the jump",
        "rise at emergence",
        "difference",
        "p",
        "detectable",
    )
    return Table(headers, rows)


def by_setting(summary: Summary) -> Table:
    """What is said of the LLC at every (nβ, γ), a row each."""
    rows: list[list[Cell]] = [
        [setting_name(setting), *(fraction(one[name]) for name in ("trend", "recall", "association", "gain"))]
        for setting, one in summary["by_setting"].items()
    ]
    headers = ("setting", "trend predicts", "recall of jumps", "ρ with rank", "F1 gain with rank")
    return Table(headers, rows)


def _p(p: float | None) -> str:
    return "—" if p is None or not math.isfinite(p) else number(p, 2)


def events(summary: Summary) -> Table:
    """How many events of each kind there are at each sparsity, and when."""
    rows: list[list[Cell]] = []
    for sparsity, kinds in summary["events"].items():
        for kind, one in kinds.items():
            step = one["step"]
            middle = (
                ["—", "—"]
                if not step["n"]
                else [f"{step['median']:,.0f}", " to ".join(f"{v:,.0f}" for v in step["range"])]
            )
            rows.append([f"S = {sparsity}", kind_name(kind), one["events"], one["seeds"], *middle])
    headers = ("sparsity", "kind", "events", "seeds with one", "median step", "range")
    return Table(headers, rows, text_columns=(0, 1))


def classes(summary: Summary) -> Table:
    """Shares of the classes of trajectory at each sparsity."""
    kinds = list(next(iter(summary["classes"].values())))
    rows = [
        [
            f"S = {s}",
            *(
                f"{one[k]['count']} ({percent(one[k]['interval'][0])} to {percent(one[k]['interval'][1])})"
                for k in kinds
            ),
        ]
        for s, one in summary["classes"].items()
    ]
    return Table(("sparsity", *(theme.class_name(k) for k in kinds)), rows)


def associations(summary: Summary) -> Table:
    """Correlation of the LLC with each indicator, raw and after the trend is taken out, at every sparsity."""
    tables = summary["associations"]
    first = next(iter(tables.values()))
    rows = [
        [indicator_name(i), ASSOCIATIONS.get(k, k), *(fraction(table[i][k]) for table in tables.values())]
        for i, cells in first.items()
        for k in cells
    ]
    return Table(("indicator", "kind", *(f"S = {s}" for s in tables)), rows, text_columns=(0, 1))
