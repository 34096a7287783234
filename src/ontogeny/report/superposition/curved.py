"""The exhibit on curvature: λ̂ beside its second-order prediction, Hessian trace and rank."""

from __future__ import annotations

import plotly.graph_objects as go
import xarray as xr

from ontogeny.report.curvature import MEANING
from ontogeny.report.page import Section
from ontogeny.report.words import number


def curved(figures: dict[str, go.Figure], measurements: xr.Dataset, first: str) -> Section:
    """Show curvature along training, a figure a seed; measurements: the study's."""
    n_beta, gamma = (measurements.attrs.get(name) for name in ("n_beta", "localization"))
    examples = measurements.attrs.get("hessian_examples")
    of = "the first examples" if examples is None else f"the first {examples:,} examples"
    at = "" if n_beta is None or gamma is None else f" (γ/nβ = {number(gamma / n_beta)})"
    return Section(
        "Curvature, and what lies beyond it",
        MEANING,
        figure=figures,
        start=first,
        caption=f"""One seed at its {measurements.sizes["checkpoint"]} checkpoints. First panel: λ̂ and its second-order
        prediction, whole and with the curvature's part alone (where they part, the gradient pulls); hollow triangles:
        λ̂ where w* is no minimum; crosses at the bottom: no prediction, or one known less well than to a tenth. Second:
        what the gradient takes off, logarithmic. Third: the trace of the Hessian. Fourth: its rank, the number of
        eigenvalues with nβh > γ{at}. All from the whole matrix of the mean loss on {of} of the data set,
        the gradient on all of them. Bars and band: ±1.96 standard errors, which of curvature hold what the choice of
        these examples makes; the rank is a count, without one. Red line: inflection of an accepted sigmoid fit.""",
        alt="LLC with its second-order prediction, gradient part, Hessian trace and Hessian rank over training step.",
    )
