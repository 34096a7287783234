"""Models by name: a folder that training wrote, a transformers model in a folder or on the hub, or a function.

==================  ===========================================================================================
``FOLDER``          what ``train_language_model`` wrote, with its checkpoints; or a transformers model, told by its
                    config.json, with its weights or with checkpoints whose names end in the step
``hf:NAME``         a transformers model of the Hugging Face hub; ``hf:FOLDER`` is the same as ``FOLDER``
``MODULE:FUNCTION`` called without arguments, returns a torch.nn.Module
==================  ===========================================================================================
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ontogeny.core.errors import OntogenyError, class_and_first_line, first_line
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
from ontogeny.inputs.checkpoints import MANIFEST, Checkpoints, Entry, InFile, numbered
from ontogeny.inputs.language_losses import DivergenceFrom, NextToken
from ontogeny.inputs.load_weights import load_into
from ontogeny.inputs.paths import expanded
from ontogeny.inputs.weight_files import is_weights, read_json

HUB = "hf:"
FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
DIVERGENCE = "divergence:"
LOSSES = ("next-token", f"{DIVERGENCE}REFERENCE")


def named_model(name: str) -> tuple[nn.Module, Callable[[], Checkpoints]]:
    """The model of that name, and what gives the checkpoints that come with it; its own weights are step 0.

    A transformers model is built in float32 from its configuration alone, so its weights are those of the
    checkpoints, which are read when they are asked for.

    Raises:
        OntogenyError: if there is no such model, or it cannot be built.
    """
    at = expanded(name.removeprefix(HUB))
    if at.is_dir() and (at / MANIFEST).is_file():
        run = Checkpoints.from_folder(at)
        return _from_config(run.config, at), lambda: run
    if at.is_dir() and (at / "config.json").is_file():
        return _from_config(read_json(at / "config.json"), at), lambda: _in_folder(at)
    if at.is_dir():
        raise OntogenyError(
            f"model: the folder {at} holds neither the {MANIFEST} of a training run nor the config.json of a "
            f"transformers one; name one that does, or give MODULE:FUNCTION as the model, and {at} as its checkpoints."
        )
    if name.startswith(HUB):
        hub = name.removeprefix(HUB)
        return _on_hub(hub), lambda: Checkpoints.from_hub(hub, {0: "main"})
    if FUNCTION.fullmatch(name):
        model = _from_function(name)
        return model, lambda: Checkpoints.from_iterable([(0, model.state_dict())])
    raise OntogenyError(
        f"model must be a folder with the {MANIFEST} of a training run or the config.json of a transformers model, "
        f"hf:NAME of the Hugging Face hub, or MODULE:FUNCTION; got {name!r}, and there is no such folder."
    )


def named_loss(name: str) -> NextToken | DivergenceFrom:
    """The loss "next-token", or "divergence:REFERENCE", with a model named as in ``named_model``, its last checkpoint.

    Raises:
        OntogenyError: for another name, or if there is no such model.
    """
    if name == LOSSES[0]:
        return NextToken()
    if not name.startswith(DIVERGENCE) or name == DIVERGENCE:
        raise OntogenyError(f"loss must be {' or '.join(LOSSES)}; got {name!r}.")
    try:
        reference, checkpoints = named_model(name.removeprefix(DIVERGENCE))
        run = checkpoints()
        load_into(reference, run.weights(run.steps[-1]))
    except OntogenyError as error:
        raise OntogenyError(f"loss: the reference of {name!r} cannot be read: {error}") from error
    return DivergenceFrom(reference)


def tokenizer_file(name: str) -> Path | None:
    """The tokenizer.json that comes with the model of that name; None: none does."""
    at = expanded(name.removeprefix(HUB))
    if at.is_dir() or not name.startswith(HUB):
        return at / "tokenizer.json" if (at / "tokenizer.json").is_file() else None
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        return None
    try:
        return Path(hf_hub_download(name.removeprefix(HUB), "tokenizer.json"))
    except Exception as error:
        raise OntogenyError(
            f"the tokenizer.json of {name} could not be downloaded: {first_line(error)}. Give a file with --tokenizer."
        ) from error


def size_of(model: nn.Module, *names: str) -> int | None:
    """The first of these entries in the model's configuration that is a whole number."""
    for config in (getattr(model, "config", None), getattr(model, "cfg", None)):
        for name in names:
            value = getattr(config, name, None)
            if isinstance(value, int):
                return value
    return None


def vocabulary(model: nn.Module) -> int | None:
    """How many different tokens the model knows, where its configuration says."""
    return size_of(model, "vocabulary", "vocab_size", "d_vocab")


def longest_sequence(model: nn.Module) -> int | None:
    """The most positions that the model reads, where its configuration says."""
    return size_of(model, "context", "max_position_embeddings", "n_positions", "n_ctx")


def _from_config(config: Mapping[str, Any] | None, folder: Path) -> nn.Module:
    if config is not None and "model_type" in config:
        kind = str(config["model_type"])
        return _build(lambda auto: auto.for_model(**{**config, "model_type": kind}), folder)
    if config is not None and "vocabulary" in config:
        return AttentionOnly(AttentionOnlyConfig.from_dict(config))
    raise OntogenyError(
        f"model: {folder} does not say how to build its model, as an attention-only or a transformers model; give "
        f"MODULE:FUNCTION as the model, and {folder} as its checkpoints."
    )


def _in_folder(folder: Path) -> Checkpoints:
    """Numbered checkpoints where there are any, as beside the model that a trainer saved at the end; else its own."""
    if is_weights(folder) and all(numbered(item) is None for item in folder.iterdir()):
        return Checkpoints([Entry(0, InFile(folder.absolute()))])
    return Checkpoints.from_folder(folder)


def _on_hub(name: str) -> nn.Module:
    return _build(lambda auto: auto.from_pretrained(name), name)


def _build(configuration: Callable[[Any], Any], where: str | Path) -> nn.Module:
    try:
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise OntogenyError('a transformers model needs the extra: pip install "ontogeny[hugging-face]".') from error
    try:
        return AutoModelForCausalLM.from_config(configuration(AutoConfig), dtype=torch.float32)
    except Exception as error:
        raise OntogenyError(
            f"model: {where} cannot be built as a causal language model by transformers: {first_line(error)}."
        ) from error


def _from_function(name: str) -> nn.Module:
    module, _, function = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:  # as python -m has it, and an installed script has not
        sys.path.insert(0, here)
    try:
        build = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise OntogenyError(
            f"model: {name} cannot be imported: {first_line(error)}. Run the command in the folder where {module} "
            "lies, or install it."
        ) from error
    except Exception as error:
        raise OntogenyError(f"model: importing {module} failed with {class_and_first_line(error)}.") from error
    try:
        model = build()
    except Exception as error:
        raise OntogenyError(f"model: {name}() failed with {class_and_first_line(error)}.") from error
    if not isinstance(model, nn.Module):
        raise OntogenyError(f"model: {name}() must return a torch.nn.Module; it returned a {type(model).__name__}.")
    return model
