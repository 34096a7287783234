"""The exhibit on curvature: λ̂ against its second-order prediction at every setting of (nβ, γ)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from ontogeny.plots import curvature, drift
from ontogeny.report.curvature import MEANING, TABLE_CAPTION, comparison_table
from ontogeny.report.page import Section


def curved(neighbours: xr.Dataset, summary: Mapping[str, Any], examples: int | None) -> Section:
    """Show measured against second order, a figure a setting.

    neighbours: the study's, with the frozen setting; examples: how many the Hessian is of.
    """
    of = "the first examples" if examples is None else f"the first {examples:,} examples"
    settings = [str(name) for name in neighbours["setting"].values]
    rows = {
        f"{drift.setting_name(setting)}, S = {sparsity}": one
        for setting, by_sparsity in summary["second_order"].items()
        for sparsity, one in by_sparsity.items()
    }
    return Section(
        "What lies beyond second order",
        MEANING,
        figure={
            drift.setting_name(name): curvature.second_order_by_sparsity(neighbours.sel(setting=name))
            for name in settings
        },
        choice="(nβ, γ)",
        caption=f"""λ̂ and its second-order prediction over training, means over the seeds at whose checkpoint λ̂ is
        usable and the prediction defined, the same in all curves, where at least half of the seeds are; shaded: 95 %
        Student t intervals over seeds. Dashed: the curvature's part alone. Below: what the gradient takes off, median
        and middle half of these seeds, logarithmic. The Hessian is of {of} of the data set, the gradient of all.""",
        alt="Measured LLC and second-order prediction over training by sparsity, with the gradient's part below.",
        table=comparison_table("setting", rows),
        table_caption=TABLE_CAPTION,
    )
