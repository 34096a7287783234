"""The tokens in context whose loss rises most when a head is mean-ablated, and where the head looks there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.schema import describe
from ontogeny.inputs.datasets import Examples
from ontogeny.inputs.head_access import Head, HeadAccess
from ontogeny.inputs.language_losses import NextToken
from ontogeny.inputs.losses import undisturbed
from ontogeny.interventions.ablation import BATCH, head_means, mean_ablation
from ontogeny.interventions.forward import Means, examples_of, losses, pieces


class _Highest(NamedTuple):
    """The highest increases seen so far, and the places, example·positions + position, where they are."""

    increase: Tensor
    place: Tensor

    def with_more(self, increase: Tensor, place: Tensor, most: int) -> _Highest:
        values, places = torch.cat([self.increase, increase]), torch.cat([self.place, place])
        order = torch.sort(values, descending=True, stable=True).indices[:most]
        return _Highest(values[order], places[order])


def most_affected(
    model: nn.Module,
    data: Any,
    heads: Sequence[str] | None = None,
    *,
    most: int = 1000,
    shown: int = 0,
    means: Means | None = None,
    batch_size: int = BATCH,
) -> xr.Dataset:
    """For each head the ``most`` tokens in context whose loss rises most under its mean ablation, highest first.

    The increase is -log f'(t_{p+1} | t_1 … t_p) + log f(t_{p+1} | t_1 … t_p) with f' the ablated model; it is exact
    for these data and means, so without an error. Attention is that of the model as it is, from position p.

    Args:
        model: any transformer whose heads are known.
        data: rows of tokens; the paper takes 100,000 rows and the 1,000 highest.
        heads: such as ["1:3", "0:1"]; None: all.
        most: how many for each head.
        shown: of so many the whole row of the attention pattern is kept.
        means: from :func:`ontogeny.interventions.head_means`; None: over ``data``.
        batch_size: rows at once.

    Returns:
        Dims (head, rank): ``increase`` in nats; ``example``, the row of ``data``; ``position`` p of the current token,
        counted from 0, the affected token being p + 1; ``attended``, the position that the head looks at most from p,
        and ``attention`` there. With ``shown``: ``pattern``, dims (head, shown, source).

    Raises:
        OntogenyError: if heads are not known or not there, or there are fewer tokens than asked for.
    """
    access, run = HeadAccess(model), NextToken()
    chosen = access.chosen(heads)
    examples = examples_of(access, data, batch_size)
    if not 0 <= shown <= most:
        raise OntogenyError(f"shown must be between 0 and most = {most}; got {shown!r}.")
    if means is None:
        means = head_means(model, data, loss_fn=run, batch_size=batch_size)
    none_yet = _Highest(torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.int64))
    highest = dict.fromkeys(chosen, none_yet)
    positions = 0
    with undisturbed(model), torch.no_grad():
        for piece in pieces(examples, batch_size):
            before = losses(access, run, piece.batch)
            positions = before.shape[1]
            place = (piece.rows[:, None] * positions + torch.arange(positions)).flatten()
            for head in chosen:
                with access.active(edits=mean_ablation([head], means)):
                    rise = (losses(access, run, piece.batch) - before).flatten()
                top = rise.topk(min(most, len(rise))).indices.sort().values
                highest[head] = highest[head].with_more(rise[top], place[top], most)
        if most < 1 or examples.count * positions < most:
            raise OntogenyError(
                f"most must be between 1 and the number of tokens that are foretold, {examples.count * positions}; got "
                f"{most!r}. Give more rows, or ask for fewer."
            )
        looks = _looks(access, examples, highest, positions, shown, batch_size)
    places = torch.stack([highest[head].place for head in chosen])
    variables: dict[str, Any] = {
        "increase": (("head", "rank"), torch.stack([highest[head].increase for head in chosen]).numpy()),
        "example": (("head", "rank"), (places // positions).numpy()),
        "position": (("head", "rank"), (places % positions).numpy()),
        "attended": (("head", "rank"), torch.stack([looks[head].attended for head in chosen]).numpy()),
        "attention": (("head", "rank"), torch.stack([looks[head].attention for head in chosen]).numpy()),
    }
    if shown:
        variables["pattern"] = (("head", "shown", "source"), torch.stack([looks[head].rows for head in chosen]).numpy())
    return describe(xr.Dataset(variables, coords={"head": [str(head) for head in chosen]}))


class _Looks(NamedTuple):
    """Where a head looks at its places: (rank,) and, of the first few, the pattern's rows (shown, source)."""

    attended: Tensor
    attention: Tensor
    rows: Tensor


def _looks(
    access: HeadAccess,
    examples: Examples,
    highest: dict[Head, _Highest],
    positions: int,
    shown: int,
    batch_size: int,
) -> dict[Head, _Looks]:
    places = {head: (found.place // positions, found.place % positions) for head, found in highest.items()}
    out = {
        head: _Looks(torch.zeros_like(row), torch.zeros(len(row)), torch.zeros(shown, positions + 1))
        for head, (row, _) in places.items()
    }
    needed = torch.cat([row for row, _ in places.values()]).unique()
    for rows in needed.split(batch_size):
        with access.active(patterns=sorted({head.layer for head in highest})) as seen:
            NextToken()(access.model, examples.take(rows))
        for head, (row, position) in places.items():
            here = torch.isin(row, rows).nonzero()[:, 0]
            pattern = seen.patterns[head.layer][:, head.number].float().cpu()
            found = pattern[torch.searchsorted(rows, row[here]), position[here]]  # (here, source)
            out[head].attention[here], out[head].attended[here] = found.max(-1)
            first = here < shown
            out[head].rows[here[first]] = found[first]
    return out
