"""The circuits of one training run as an animated GIF: a frame a checkpoint."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ontogeny.core.temporary_files import temporary_beside
from ontogeny.estimators.status import usable
from ontogeny.plots.circuits import COLOURS, LEVELS, MILLISECONDS_A_FRAME, levels

if TYPE_CHECKING:
    from PIL import Image

SIDE = 208
"""Pixels of a heatmap, about; every entry is a square of whole pixels."""
GAP, TITLE = 12, 18
INK = (31, 36, 48)


def write_gif(path: Path, one: xr.Dataset) -> Path:
    """Write the frames: QK of every head above OV, in the colours of the report, the step above them.

    Args:
        path: written under a temporary name, then renamed.
        one: ``qk``, ``ov`` with dims checkpoint, head and those of circuits, coordinate ``step``, and an
            estimate's variables; λ̂ ± its error is shown where it is usable.
    """
    heads = [str(head) for head in one["head"].values]
    tokens = one.sizes["source"]
    square = max(math.ceil(SIDE / tokens), 1)
    pictures = {(name, head): _coloured(levels(one[name].sel(head=head))) for name in ("qk", "ov") for head in heads}
    frames, known = [], usable(one).values
    for number, step in enumerate(one["step"].values):
        parts = {
            key: np.kron(values[number], np.ones((square, square, 1), dtype=np.uint8))
            for key, values in pictures.items()
        }
        llc = f", LLC {float(one['llc'][number]):.3g} ± {float(one['llc_se'][number]):.2g}" if known[number] else ""
        title = f"step {int(step):,}{llc}"
        frames.append(_frame(title, heads, parts))
    temporary = temporary_beside(path)
    frames[0].save(
        temporary, format="GIF", save_all=True, append_images=frames[1:], duration=MILLISECONDS_A_FRAME, loop=0
    )
    temporary.replace(path)
    return path


def _frame(title: str, heads: list[str], parts: dict[tuple[str, str], NDArray[np.uint8]]) -> Image.Image:
    from PIL import Image, ImageDraw

    height, width = next(iter(parts.values())).shape[:2]
    whole = Image.new("RGB", (GAP + len(heads) * (width + GAP), TITLE + 2 * (height + TITLE + GAP)), "white")
    draw = ImageDraw.Draw(whole)
    draw.text((GAP, 3), title, fill=INK)
    for row, name in enumerate(("qk", "ov")):
        for column, head in enumerate(heads):
            left, top = GAP + column * (width + GAP), TITLE + row * (height + TITLE + GAP)
            draw.text((left, top + 3), f"{name.upper()} of head {head}", fill=INK)
            whole.paste(Image.fromarray(parts[name, head]), (left, top + TITLE))
    return whole


def _coloured(values: NDArray[np.int8]) -> NDArray[np.uint8]:
    """(…, rows, columns) between ±LEVELS -> (…, rows, columns, 3)."""
    places = [(2 * place - 1) * LEVELS for place, _ in COLOURS]
    channels = [[int(colour[i : i + 2], 16) for _, colour in COLOURS] for i in (1, 3, 5)]
    return np.stack([np.interp(values, places, channel) for channel in channels], -1).astype(np.uint8)
