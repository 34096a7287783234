"""Where a feature is read: an activation named by layer and hook point, seen or replaced in a forward pass.

    resid_pre ─► attention ─► attn_out ─► MLP ─► mlp_out ─► resid_post      of layer l, each (batch, positions, width)

On every known transformer, ours, transformers' and TransformerLens's, the names are TransformerLens's. Of any other
module the input or output of a submodule is named. Forward hooks do it, and are gone afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError, check_whole, class_and_first_line
from ontogeny.core.types import Batch
from ontogeny.inputs.architecture import architecture, why_unknown
from ontogeny.inputs.datasets import as_examples
from ontogeny.inputs.losses import undisturbed
from ontogeny.inputs.masks import parameter_aliases

HOOKS = ("resid_pre", "resid_post", "attn_out", "mlp_out")
OF_MODULES = ("input", "output")

Edit = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Site:
    """One activation of a model.

    Args:
        layer: the number of a layer of a known transformer, from 0; or the name of any submodule.
        hook: of a layer "resid_pre", "resid_post", "attn_out" or "mlp_out"; of a submodule "input" or "output".

    Raises:
        OntogenyError: if the two do not go together.

    >>> str(Site(9)), str(Site("encoder", "output"))
    ('9:resid_post', 'encoder:output')
    """

    layer: int | str
    hook: str = "resid_post"

    def __post_init__(self) -> None:
        named = isinstance(self.layer, str)
        if isinstance(self.layer, bool) or not isinstance(self.layer, int | str) or (not named and self.layer < 0):  # type: ignore[operator]
            raise OntogenyError(
                f"layer must be the number of a layer, from 0, or the name of a submodule; got {self.layer!r}."
            )
        known = OF_MODULES if named else HOOKS
        if self.hook not in known:
            what = f"the submodule {self.layer!r}" if named else f"layer {self.layer}"
            raise OntogenyError(f"hook of {what} must be one of {', '.join(known)}; got {self.hook!r}.")

    def __str__(self) -> str:
        return f"{self.layer}:{self.hook}"


class Place(NamedTuple):
    """A site found in a model: the submodule to hook, and whether what it is given is meant, not what it puts out."""

    module: str
    before: bool


class _ReachedError(Exception):
    """Ends a forward pass at the site."""


@contextmanager
def watched(model: nn.Module, place: Place, edit: Edit | None = None, stop: bool = False) -> Iterator[list[Tensor]]:
    """Inside, a forward pass of the model leaves the activation in the list that is yielded, before any edit.

    Args:
        model: the model that is called inside, or a copy of the one that the place was found in.
        place: where.
        edit: what replaces the activation, in its shape.
        stop: end the forward pass there; :func:`activation` catches what that raises.
    """
    seen: list[Tensor] = []

    def through(value: Any) -> Any:
        hidden = value[0] if isinstance(value, tuple) else value
        seen[:] = [hidden]
        if stop:
            raise _ReachedError
        if edit is None:
            return None
        return (edit(hidden), *value[1:]) if isinstance(value, tuple) else edit(hidden)

    module = model.get_submodule(place.module)
    if place.before:

        def on_entry(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
            name = None if args else next(iter(named))
            new = through(args[0] if name is None else named[name])
            if new is None:
                return None
            return ((new, *args[1:]), named) if name is None else (args, {**named, name: new})

        handle = module.register_forward_pre_hook(on_entry, with_kwargs=True)
    else:
        handle = module.register_forward_hook(lambda _, args, out: through(out))
    try:
        yield seen
    finally:
        handle.remove()


def activation(model: nn.Module, batch: Batch, place: Place) -> Tensor:
    """The activation on a batch, (batch, positions, width) of a transformer; the forward pass ends there.

    Raises:
        OntogenyError: if the forward pass never comes there.
    """
    with watched(model, place, stop=True) as seen:
        try:
            model(inputs_of(batch))
        except _ReachedError:
            return seen[0]
    raise OntogenyError(
        f"site: the forward pass of the {type(model).__name__} never comes to {place.module}; name another."
    )


def activations(model: nn.Module, data: Any, site: Site, *, batch_size: int = 64) -> Tensor:
    """The site's activation at every position of the data: what a sparse autoencoder is trained on.

    Args:
        model: any module; neither its weights nor its mode change.
        data: as for ``og.estimate_llc``.
        site: where.
        batch_size: examples at once.

    Returns:
        ``(examples · positions, width)``, float32, on the processor, example by example.

    Raises:
        OntogenyError: if the site is not there, or a batch size is no whole number of at least 1.
    """
    check_whole("batch_size", batch_size)
    place, device = locate(model, site), next(model.parameters()).device
    examples, found = as_examples(data, device), []
    with undisturbed(model), torch.no_grad():
        for rows in torch.arange(examples.count).split(batch_size):
            hidden = activation(model, examples.take(rows), place)
            found.append(hidden.reshape(-1, hidden.shape[-1]).float().cpu())
    return torch.cat(found)


def inputs_of(batch: Batch) -> Any:
    """What the model is called with: the batch, its first part where it is a tuple, ``input_ids`` of a mapping."""
    if isinstance(batch, Mapping):
        if "input_ids" not in batch:
            raise OntogenyError(
                f"data: a mapping must hold input_ids, which the model is called with; it holds {', '.join(batch)}."
            )
        return batch["input_ids"]
    return batch[0] if isinstance(batch, tuple | list) else batch


def upstream(model: nn.Module, batch: Batch, place: Place) -> dict[str, None]:
    """The parameters that the activation depends on, as a selection: those that a gradient from it reaches.

    Whatever lies above the site is left out, of a tied embedding the use above it too. Keys' biases, which softmax
    cancels, are among them.

    Raises:
        OntogenyError: if there is none that can be trained, or the model cannot be run on the batch.
    """
    aliases = parameter_aliases(model)
    named = {name: model.get_parameter(name) for name in dict.fromkeys(aliases.values())}
    leaves = {name: value.detach().clone().requires_grad_() for name, value in named.items() if value.requires_grad}

    with torch.enable_grad():
        try:
            weights = {f"model.{name}": value for name, value in leaves.items()}
            found = torch.func.functional_call(_Reader(model, place), weights, (batch,))
        except OntogenyError:
            raise
        except Exception as error:
            raise OntogenyError(
                f"model cannot be called on data: {class_and_first_line(error)}; data must be what the model takes, a "
                "tensor, a tuple that begins with it, or a mapping with input_ids."
            ) from error
        reached: tuple[Tensor | None, ...] = (None,) * len(leaves)
        if found.requires_grad:
            reached = torch.autograd.grad(found.float().sum(), list(leaves.values()), allow_unused=True)
    below = [name for name, slope in zip(leaves, reached, strict=True) if slope is not None]
    if not below:
        raise OntogenyError(f"site: no weight that can be trained lies below {place.module}; name one further up.")
    return dict.fromkeys(below)


class _Reader(nn.Module):
    """A model whose output is the activation, which is what ``functional_call`` can swap weights in."""

    def __init__(self, model: nn.Module, place: Place) -> None:
        super().__init__()
        self.model, self._place = model, place

    def forward(self, batch: Batch) -> Tensor:
        return activation(self.model, batch, self._place)


def locate(model: nn.Module, site: Site) -> Place:
    """Where the site is in this model; found once, since looking takes longer than a step.

    Raises:
        OntogenyError: if it is not there, naming what is.
    """
    if not isinstance(site, Site):
        raise OntogenyError(f"site must be a Site, as Site(9, 'resid_post'); got {type(site).__name__}.")
    if isinstance(site.layer, str):
        known = dict(model.named_modules())
        if site.layer not in known:
            shown = ", ".join(name for name in list(known)[1:13])
            raise OntogenyError(f"site: there is no submodule {site.layer!r}; the first there are: {shown}.")
        return Place(site.layer, site.hook == "input")
    found = architecture(model)
    if found is None:
        raise OntogenyError(f"site: {why_unknown(model)}; or name a submodule, as Site('encoder', 'output').")
    if site.layer >= found.layers:
        raise OntogenyError(
            f"site: layer {site.layer} is not there; the layers of this {found.family} go from 0 to {found.layers - 1}."
        )
    part = found.parts[site.layer]
    hook = f"hook_{site.hook}"
    if isinstance(getattr(model.get_submodule(part.block), hook, None), nn.Module):
        return Place(f"{part.block}.{hook}", False)  # TransformerLens's own, behind any norm after the sublayer
    if site.hook.startswith("resid"):
        return Place(part.block, site.hook == "resid_pre")
    names = part.attn if site.hook == "attn_out" else part.mlp
    if not names:
        raise OntogenyError(f"site: layer {site.layer} of this {found.family} has no {site.hook.split('_')[0]}.")
    inside = names[0].removeprefix(f"{part.block}.").split(".")[0]
    return Place(f"{part.block}.{inside}", False)
