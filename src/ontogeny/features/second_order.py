"""What second order predicts of the FT-LLCs of many directions, at the (nβ, γ) that they were measured at."""

from __future__ import annotations

from typing import Any

import xarray as xr
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import describe
from ontogeny.features.common import CommonGround, checked_directions
from ontogeny.features.feature import Projection
from ontogeny.features.sites import Site
from ontogeny.inputs.losses import undisturbed
from ontogeny.metrics.curvature import second_order_llc
from ontogeny.sampling.calibration import Calibration, check_calibration


def second_order_features(
    model: nn.Module,
    data: Any,
    directions: Tensor,
    site: Site,
    *,
    calibration: Calibration,
    loss: Any = "functional",
    components: Any = None,
    samples: int | None = None,
    probes: int = 4,
    steps: int = 12,
    batch_size: int | None = None,
    seeds: list[int] | None = None,
    device: str | None = None,
) -> xr.Dataset:
    """The second-order prediction of each direction's λ̂, its gradient's part apart: ``og.metrics.second_order_llc``.

    Functional and behavioral losses have their minimum, 0, at w*. There the gradient vanishes and the Hessian is the
    Gauss-Newton matrix exactly, of the positions where p(w*) > θ: relu's kink at θ has no part in it, and neither has
    what weights would move across it. Of the natural loss the gradient's part is what w* lacks of a minimum.

    By rule γ is a hundredth of the steepest nβ·h, so that few Lanczos steps are enough. The prediction is concave in
    the Hessian: fewer than all examples predict too little on average.

    Args:
        model: as for ``estimate_features``, and so are data, directions, site, loss, components and device.
        data: see there.
        directions: see there.
        site: see there.
        calibration: of the estimates; its nβ and γ are read.
        loss: see there.
        components: see there.
        samples: examples of the Hessian; None: all. The gradient is of all.
        probes: random starts.
        steps: of Lanczos, from each.
        batch_size: examples at once.
        seeds: of each direction's probes; None: 0, 1, …, so that errors of different directions are independent.
        device: see there.

    Returns:
        What ``og.metrics.second_order_llc`` returns, with dim ``feature``.

    Raises:
        OntogenyError: one sentence on the argument at fault.
    """
    common = CommonGround(model, data, site, loss, components, device)
    rows = checked_directions(directions, common)
    streams = list(range(len(rows))) if seeds is None else seeds
    if len(streams) != len(rows):
        raise OntogenyError(f"seeds must be as many as the directions, {len(rows)}; got {len(streams)}.")
    check_calibration(calibration, "calibrate_features")
    features = [Projection(row) for row in rows]
    with undisturbed(model):
        thresholds = common.thresholds(features)
    found = [
        second_order_llc(
            *common.problem(feature, float(theta)),
            n_beta=calibration.n_beta,
            localization=calibration.localization,
            samples=samples or common.examples.count,
            probes=probes,
            steps=steps,
            batch_size=batch_size,
            seed=seed,
            device=str(common.device),
        )
        for feature, theta, seed in zip(features, thresholds, streams, strict=True)
    ]
    out = xr.concat([one.reset_coords(drop=True).squeeze(drop=True) for one in found], "feature", combine_attrs="drop")
    out.attrs = {
        **{name: value for name, value in found[0].attrs.items() if name != "seed"},
        "loss": repr(common.rule),
        "site": str(site),
    }
    return describe(out)
