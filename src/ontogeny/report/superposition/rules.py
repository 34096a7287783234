"""The rules by which seeds are classed and fits accepted, as tables with the numbers that were used."""

from __future__ import annotations

import xarray as xr

from ontogeny.plots import theme
from ontogeny.report.page import Section, Table
from ontogeny.report.words import number, percent


def rules(fits: xr.Dataset, kinds: xr.Dataset, transient: str) -> list[Section]:
    """Show both rules; fits, kinds: with their thresholds in attrs; transient: when the transient ends, in words."""
    return [_classes(kinds, transient), _acceptance(fits)]


def _classes(kinds: xr.Dataset, transient: str) -> Section:
    limits = {k: float(v) for k, v in kinds.attrs.items()}
    stays, reached = number(limits["jump_level"] - limits["jump_slack"]), number(limits["jump_level"])
    falls, held = number(limits["fall_tolerance"]), percent(limits["hold_fraction"])
    band, level = number(limits["plateau_band"]), number(limits["plateau_level"])
    long_enough = percent(limits["plateau_fraction"])
    words = {
        "non_monotonic": f"the rank falls by more than {falls} below a level that it had held for {held} of training",
        "stuck": f"it never reaches {reached} to stay, that is, without falling below {stays} again",
        "plateau_then_jump": f"it does, after an unbroken stay within {band} of {level} of {long_enough} of training "
        "or more",
        "early_rise": "it does, without such a stay",
    }
    rows = [(theme.class_name(kind), rule) for kind, rule in words.items()]
    return Section(
        "",
        table=Table(("class", "rule, about the rank after the transient"), rows, text_columns=(0, 1)),
        caption=f"""How a seed gets its class: the first rule that holds, from the effective rank alone. The transient
        ends at the first {transient}.""",
    )


def _acceptance(fits: xr.Dataset) -> Section:
    rule = {k: float(v) for k, v in fits.attrs.items()}
    rows = [
        ("height", f"upper minus lower level at least {number(rule['min_height'])}"),
        ("R²", f"at least {number(rule['min_r2'])} over the stretch that was fitted"),
        ("not early", f"inflection at least {number(rule['lead_widths'])} widths after the start of the stretch"),
        ("not late", f"inflection at least {number(rule['tail_widths'])} widths before its end"),
        (
            "final level",
            f"mean rank of the last twentieth within {percent(rule['final_tolerance'])} of the height from the upper "
            "level",
        ),
        ("not wide", f"width at most {percent(rule['max_width'])} of the stretch"),
        ("certain", f"standard error of the inflection at most {percent(rule['max_se'])} of the stretch"),
    ]
    return Section(
        "",
        table=Table(("clause", "holds when"), rows, text_columns=(0, 1)),
        caption="""When a sigmoid fit to the effective rank is accepted (✓): every clause must hold. The stretch runs
        from where the rank only rises to the end of training; the curve is lo + (hi − lo)/(1 + exp(−(t − t₀)/width)),
        t₀ its inflection.""",
    )
