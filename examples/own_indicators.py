"""Your own indicators against your own events: ten made-up runs whose answer is known.

Each run has one event. "follows" jumps at it, "blind" does not know of it; both have noise and a trend.

python examples/own_indicators.py
"""

import numpy as np
import xarray as xr

import ontogeny as og

SEEDS, JUMP = 10, 8.0
step = np.linspace(0, 10_000, 60)
rng = np.random.default_rng(0)
happened = rng.uniform(2_000, 8_000, SEEDS)


def indicator(values: np.ndarray) -> xr.DataArray:
    """Values of shape (seed, checkpoint) as ontogeny takes them: dims seed and checkpoint, coordinate step."""
    return xr.DataArray(
        values, dims=("seed", "checkpoint"), coords={"seed": np.arange(SEEDS), "step": ("checkpoint", step)}
    )


noise = rng.standard_normal((2, SEEDS, step.size))
trend = 3 * np.log1p(step / 1_000)
indicators = {
    "follows": indicator(trend + JUMP * (step > happened[:, None]) + noise[0]),
    "blind": indicator(trend + noise[1]),
}
events = og.analysis.event_table(np.arange(SEEDS), happened, "change of phase")

for name, series in indicators.items():
    changes = og.analysis.change_points(series, se=xr.ones_like(series))
    score = og.analysis.detection(changes, events, series).sel(kind="change of phase")
    drift = og.analysis.drift(series, se=xr.ones_like(series)).sel(definition="range")
    print(
        f"{name}: finds {float(score.recall):.0%} of the events [{float(score.recall_low):.0%}, "
        f"{float(score.recall_high):.0%}], by chance {float(score.recall_null):.0%}; "
        f"{float(score.false_alarms):.1f} false alarms a run; "
        f"range {float(drift['mean']):.1f} ± {float(drift['se']):.1f}"
    )

rise = og.analysis.event_aligned(indicators["follows"], events, [-1_000.0, 1_000.0], kind="change of phase")
low, high = (float(rise[end][1]) for end in ("low", "high"))
print(f"follows rises by {float(rise['mean'][1]):.1f} [{low:.1f}, {high:.1f}] around the event; {JUMP} is the jump's")
both = og.analysis.combined_detection(indicators, events, kind="change of phase")
print(both[["f1", "difference", "statement"]].to_dataframe().round(2).to_string())
