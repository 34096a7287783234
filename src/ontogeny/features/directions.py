"""Directions in an activation: decoder rows of a sparse autoencoder, or random ones; all of norm 1."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ontogeny.core.errors import OntogenyError, check_whole, first_line
from ontogeny.core.rng import generator
from ontogeny.features.feature import normalised
from ontogeny.inputs.weight_files import read_weights

HUB = "hf:"
WEIGHTS = "sae_weights.safetensors"
NAMES = ("W_dec", "decoder.weight", "directions")
"""What decoders are called: in sae-lens, a row a feature; in ``nn.Linear``, a column a feature; a row a feature."""


def random_directions(count: int, width: int, seed: int = 0) -> Tensor:
    """Uniform on the unit sphere, (count, width): normal vectors over their lengths.

    The k-th direction does not depend on ``count``.

    Raises:
        OntogenyError: if a number is below 1.
    """
    check_whole("count", count)
    check_whole("width", width)
    rows = [torch.randn(width, generator=generator(seed, "random direction", k)) for k in range(count)]
    return normalised(torch.stack(rows))


def sae_directions(source: str | Path | Tensor, count: int | None = None, *, name: str | None = None) -> Tensor:
    """The first ``count`` decoder rows of a sparse autoencoder, (count, width), normalised to norm 1.

    Args:
        source: a folder as sae-lens writes it (cfg.json and sae_weights.safetensors, of which W_dec is read); a
            safetensors or .pt file; a tensor (features, width); or "hf:REPOSITORY/FOLDER" of the hub (needs
            ``huggingface-hub``, the extra "hub").
        count: how many, in the order of the autoencoder; None: all.
        name: of the tensor in the file; None: W_dec, decoder.weight (turned, as nn.Linear has it), directions, or the
            only one there is.

    Raises:
        OntogenyError: if there is no such file or tensor, or it holds fewer features.
    """
    rows = source if isinstance(source, Tensor) else _read(str(source), name)
    if rows.dim() != 2:
        raise OntogenyError(f"source must hold directions of shape (features, width); got {tuple(rows.shape)}.")
    if count is not None:
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= len(rows):
            raise OntogenyError(
                f"count must be a whole number from 1 to {len(rows)}, the features there are; got {count!r}."
            )
        rows = rows[:count]
    return normalised(rows.detach(), "source")


def interleaved(first: Tensor, second: Tensor, kinds: tuple[str, str] = ("sae", "random")) -> tuple[Tensor, list[str]]:
    """The rows of both by turns, and whose each is: so that chunks of them hold as many of the one as of the other.

    Raises:
        OntogenyError: if they are of different widths or numbers.
    """
    if first.shape != second.shape:
        raise OntogenyError(
            f"first and second must hold as many directions of one width; got {tuple(first.shape)} and "
            f"{tuple(second.shape)}."
        )
    return torch.stack([first, second.to(first)], 1).flatten(0, 1), list(kinds) * len(first)


def _read(source: str, name: str | None) -> Tensor:
    path = _download(source.removeprefix(HUB)) if source.startswith(HUB) else Path(source)
    file = path / WEIGHTS if path.is_dir() else path
    if not file.is_file():
        raise OntogenyError(
            f"source must be a folder with {WEIGHTS}, as sae-lens writes it, or a safetensors or .pt file; {file} is "
            "not there."
        )
    held = read_weights(file)
    known = [one for one in NAMES if one in held] if name is None else [name] * (name in held)
    if not known and name is None and len(held) == 1:
        known = list(held)
    if not known:
        raise OntogenyError(
            f"source: {file} holds {', '.join(held)}, and directions are looked for as {name or ', '.join(NAMES)}; "
            "give the tensor's name."
        )
    return held[known[0]].T if known[0] == "decoder.weight" else held[known[0]]


def _download(source: str) -> Path:
    owner, _, rest = source.partition("/")
    repository, _, folder = rest.partition("/")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError as error:
        raise OntogenyError('source: the hub needs the extra: pip install "ontogeny[hub]".') from error
    try:
        return Path(hf_hub_download(f"{owner}/{repository}", f"{folder}/{WEIGHTS}".lstrip("/")))
    except Exception as error:  # the hub's client raises what its network does
        raise OntogenyError(f"source: {WEIGHTS} of {source!r} could not be downloaded: {first_line(error)}.") from error
