"""Where each head looks, on random tokens that repeat: at the token itself, the one before, or what came next before.

Scores of Olsson et al., "In-context Learning and Induction Heads" (2022), on sequences that mean nothing: ``period``
different random tokens, ``repeats`` times over. With the pattern A (query, key), rows of sum 1, and positions p:

    current token      mean of A[p, p]
    previous token     mean of A[p, p - 1]
    prefix matching    mean over the second and later repeats of Σ_j A[p, p - j·period + 1], j = 1, 2, …

The last is what an induction head has: from a token it looks at what followed the same token earlier.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError, check_whole
from ontogeny.core.rng import generator
from ontogeny.core.schema import describe
from ontogeny.inputs.head_access import HeadAccess
from ontogeny.inputs.losses import undisturbed
from ontogeny.interventions.forward import mean_and_error

SCORES = ("current_token", "previous_token", "prefix_matching")


def repeated_tokens(
    tokens: Sequence[int] | Tensor,
    sequences: int,
    *,
    period: int = 25,
    repeats: int = 4,
    start: int | None = None,
    seed: int = 0,
) -> Tensor:
    """Rows of ``period`` different tokens drawn from ``tokens``, ``repeats`` times over; int64.

    Args:
        tokens: ids to draw from, at least ``period`` different ones.
        sequences: how many rows.
        period: tokens until a row repeats itself, at least 2.
        repeats: how often, at least 2.
        start: a token to stand before each row, such as the end of text; it is not drawn again.
        seed: of the draws.

    Returns:
        Shape (sequences, period·repeats), one more with ``start``.

    Raises:
        OntogenyError: for smaller numbers, or too few tokens.

    >>> repeated_tokens([5, 6, 7], 1, period=2, repeats=2, seed=1).tolist()
    [[5, 7, 5, 7]]
    """
    for name, value, least in (("sequences", sequences, 1), ("period", period, 2), ("repeats", repeats, 2)):
        check_whole(name, value, least)
    pool = torch.as_tensor(tokens).unique()
    pool = pool if start is None else pool[pool != start]
    if len(pool) < period:
        raise OntogenyError(
            f"tokens must hold at least {period} different ids, so that a period has no token twice; got {len(pool)}. "
            "Give more, or a smaller period."
        )
    stream = generator(seed, "repeated tokens")
    drawn = torch.stack([pool[torch.randperm(len(pool), generator=stream)[:period]] for _ in range(sequences)])
    rows = drawn.repeat(1, repeats).long()
    return rows if start is None else torch.cat([torch.full((sequences, 1), start), rows], 1)


def attention_scores(
    model: nn.Module,
    *,
    tokens: Sequence[int] | Tensor | None = None,
    sequences: int = 64,
    period: int = 25,
    repeats: int = 4,
    start: int | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> xr.Dataset:
    """Current-token, previous-token and prefix-matching score of every head, with their errors over sequences.

    All three are between 0 and 1 and taken on the same sequences (the module's text has the formulas; Olsson et al.
    have period 25 and repeats 4, and leave out the commonest and rarest tokens). A head that looks everywhere alike
    has the mean of 1/(p + 1) for the first. The position of ``start``, and without it the first, is not counted.

    Args:
        model: any transformer whose heads are known (:class:`ontogeny.inputs.head_access.HeadAccess`).
        tokens: ids to draw from; None: all that the model embeds.
        sequences: how many.
        period: different tokens until a sequence repeats itself.
        repeats: how often; period·repeats, and one for ``start``, must fit the model's context.
        start: a token to stand before each sequence.
        seed: of the sequences.
        batch_size: sequences at once.

    Returns:
        ``current_token``, ``previous_token``, ``prefix_matching`` and the same with ``_se``, dim ``head``; the error is
        s/√sequences.

    Raises:
        OntogenyError: if the model's heads are not known, or the sizes do not fit.
    """
    access = HeadAccess(model)
    ids = range(access.known.shapes[access.known.embed[0]][0]) if tokens is None else tokens
    rows = repeated_tokens(list(ids), sequences, period=period, repeats=repeats, start=start, seed=seed)
    check_whole("batch_size", batch_size)
    device, layers = next(model.parameters()).device, range(access.known.layers)
    found: list[Tensor] = [torch.zeros(0, len(access.names), len(SCORES))]
    with undisturbed(model), torch.no_grad():
        for batch in rows.split(batch_size) if layers else ():
            with access.active(patterns=layers) as seen:
                model(batch.to(device))
            each = [scores_of_pattern(seen.patterns[layer], period, int(start is not None)) for layer in layers]
            found.append(torch.cat(each, 1).cpu())
    by_head = torch.cat(found)  # (sequence, head, score)
    values = {}
    for number, name in enumerate(SCORES):
        told = [mean_and_error(by_head[:, head, number]) for head in range(by_head.shape[1])]
        values[name] = ("head", [mean for mean, _ in told])
        values[f"{name}_se"] = ("head", [error for _, error in told])
    return describe(xr.Dataset(values, coords={"head": access.names}))


def scores_of_pattern(pattern: Tensor, period: int, first: int) -> Tensor:
    """The three scores of each sequence and head, (b, h, 3), from patterns (b, h, query, key) in float64.

    ``first`` is where the first period begins.
    """
    pattern = pattern.double()
    length = pattern.shape[-1]
    current = pattern.diagonal(dim1=-2, dim2=-1)[..., max(first, 1) :].mean(-1)
    previous = pattern.diagonal(-1, -2, -1)[..., max(first, 1) - 1 :].mean(-1)
    matched = pattern.new_zeros((*pattern.shape[:2], length))
    for back in range(period, length - first, period):
        # from query p to key p - back + 1; queries begin `back` after the first token of the first period
        looks = pattern.diagonal(1 - back, -2, -1)  # entry i: query i + back - 1, key i
        matched[..., first + back :] += looks[..., first + 1 :]
    prefix = matched[..., first + period :].mean(-1)
    return torch.stack([current, previous, prefix], -1)
