"""From the arguments of a call to a study: everything checked, and told by content, before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.execution.identity import data_digest, loss_identity, mask_digest, model_identity
from ontogeny.execution.study import Study
from ontogeny.execution.tasks import Component, DataSet, Product
from ontogeny.inputs.architecture import architecture
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.inputs.components import by_name, resolve
from ontogeny.inputs.datasets import as_examples
from ontogeny.inputs.losses import LossFunction
from ontogeny.metrics.registry import Asked, Metric, get_metric
from ontogeny.metrics.size import number_of_weights, token_positions
from ontogeny.sampling.calibration import Calibration
from ontogeny.sampling.refinement import under
from ontogeny.sampling.settings import Settings


def plan(
    model: nn.Module,
    checkpoints: Checkpoints | str | Path | Iterable[tuple[int, dict[str, Tensor]]],
    data: Any,
    loss_fn: LossFunction,
    components: Any = None,
    metrics: Iterable[str] = ("llc",),
    *,
    out: str | Path,
    settings: Settings,
    calibration: Calibration | None = None,
) -> Study:
    """The study that :func:`ontogeny.execution.measure.measure` carries out; nothing is computed or written yet.

    Raises:
        OntogenyError: one sentence on the argument at fault.
    """
    if not isinstance(model, nn.Module):
        raise OntogenyError(
            f"model must be a torch.nn.Module, into which the checkpoints' weights fit; got {type(model).__name__}."
        )
    if not isinstance(out, str | os.PathLike):
        raise OntogenyError(f"out must be the path of a folder, as 'measured'; got {out!r}.")
    if calibration is not None:
        under(calibration, settings)  # refuses what an estimate would refuse
    chosen = _metrics(metrics)
    run = _checkpoints(checkpoints)
    selections = by_name(model, components) or {_only(components): components}
    _check_names("components", selections)
    named = data if type(data) is dict else {"data": data}
    if not named:
        raise OntogenyError("data must name at least one data set, as in {'train': (x, y)}; the dict is empty.")
    _check_names("data", named)
    device = settings.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if torch.device(device).index is not None:
        raise OntogenyError(
            "device must be the kind alone, 'cuda' or 'cpu', since workers are dealt the GPUs in turn; got "
            f"{device!r}. To use one GPU of several, set CUDA_VISIBLE_DEVICES."
        )
    asked = Asked(replace(settings, device=device), calibration)
    loss = loss_identity(loss_fn)
    kind = torch.device(device).type
    common = {"model": model_identity(model), "loss": loss, "device": kind}
    sent, described = _datasets(named)
    product = Product(
        digest_of=run.digest,
        components=_components(model, selections),
        datasets=described,
        common=common,
        parameters=number_of_weights(model),
    )
    return Study(
        model=model,
        checkpoints=run,
        data=sent,
        loss_fn=loss_fn,
        selections=selections,
        metrics=chosen,
        asked=asked,
        out=Path(out),
        product=product,
        identity={
            "study": "measure",
            "loss": loss,
            "model": common["model"],
            "device": kind,
            **_without_frozen(asked.to_dict()),
        },
        gpus=torch.cuda.device_count() if device == "cuda" else 0,
        data_bytes=sum(_size(values) for values in sent.values()),
    )


def _metrics(given: Any) -> tuple[Metric, ...]:
    names = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [given]
    if not names:
        raise OntogenyError("metrics must name at least one metric, as in ('llc', 'loss'); it is empty.")
    for name in names:
        if not isinstance(name, str):
            raise OntogenyError(f"metrics must be names, as in ('llc', 'loss'); got {name!r}.")
    return tuple(get_metric(name) for name in dict.fromkeys(names))


def _without_frozen(asked: dict[str, Any]) -> dict[str, Any]:
    """Without nβ and γ, of which the folder keeps what was found; see ``ontogeny.execution.frozen``."""
    settings = {name: value for name, value in asked["settings"].items() if name not in ("n_beta", "localization")}
    return asked | {"settings": settings}


def _checkpoints(given: Any) -> Checkpoints:
    if isinstance(given, Checkpoints):
        return given
    if isinstance(given, str | Path):
        return Checkpoints.from_folder(Path(given))
    if isinstance(given, Iterable):
        return Checkpoints.from_iterable(given)
    raise OntogenyError(
        "checkpoints must be an og.Checkpoints, a folder, or pairs of step and state dict; got "
        f"{type(given).__name__}. For one model as it is: [(0, model.state_dict())]."
    )


def _check_names(argument: str, named: dict[Any, Any]) -> None:
    for name in named:
        if not isinstance(name, str):
            raise OntogenyError(f"{argument} must have text for names; got {name!r}. Write it as {str(name)!r}.")


def _only(selection: Any) -> str:
    return "all" if selection is None else selection if isinstance(selection, str) else "selected"


def _components(model: nn.Module, selections: dict[str, Any]) -> tuple[Component, ...]:
    known = architecture(model)
    out = []
    for name, selection in selections.items():
        masks = resolve(model, selection)
        used = [parameter for parameter, mask in masks.items() if mask is None or bool(mask.any())]
        dim = sum(
            model.get_parameter(parameter).numel() if mask is None else int(mask.sum())
            for parameter, mask in masks.items()
        )
        lowest = 0 if known is None else known.lowest_block(used)
        out.append(Component(name, mask_digest(masks), dim, lowest))
    return tuple(out)


def _datasets(named: dict[str, Any]) -> tuple[dict[str, Any], tuple[DataSet, ...]]:
    sent, described = {}, []
    for name, values in named.items():
        examples = as_examples(values)
        first = examples.head(1)
        in_memory = hasattr(values, "__array__") or isinstance(values, tuple | list | dict)
        sent[name] = examples.take(None) if in_memory and _of_tensors(first) else values
        described.append(DataSet(name, data_digest(examples), examples.count, token_positions(first)))
    return sent, tuple(described)


def _of_tensors(batch: Any) -> bool:
    """Whether all examples as one batch are data again, the same."""
    parts = batch.values() if isinstance(batch, dict) else batch if isinstance(batch, tuple) else (batch,)
    return all(isinstance(part, Tensor) for part in parts)


def _size(values: Any) -> int:
    if isinstance(values, Tensor):
        return values.numel() * values.element_size()
    parts = values.values() if isinstance(values, dict) else values if isinstance(values, tuple | list) else ()
    return sum(_size(part) for part in parts)
