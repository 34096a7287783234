"""Language models whose heads `refined.py` and `heads.py` measure, trained once and kept in a folder for both sides.

A model's folder holds `bundle.json` (kind, configuration, components and what it was made with), and as safetensors
`model` (every weight), `rows` (int64, shape (rows, context)) and a file of masks for each component. `load_model` needs
torch, safetensors and the model's own library only, so the peer's interpreter can use it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

MODELS = ("two-layer", "gpt2")
TEXT = "installed:docs"


@dataclass(frozen=True)
class Recipe:
    """What a model is made of and how long it is trained; sizes in weights, tokens and rows."""

    kind: str
    layers: int
    width: int
    heads: int
    vocabulary: int
    context: int
    rows: int  # that the estimates are of
    steps: int
    batch_size: int
    blocks: int  # to train on, rows included
    learning_rate: float = 1e-3
    components: tuple[str, ...] = ()


ALL_HEADS = tuple(f"{layer}:{head}" for layer in range(2) for head in range(8))
FULL = {
    "two-layer": Recipe("two-layer", 2, 256, 8, 5000, 128, 512, 500, 8, 4000, components=("0:0", "1:7")),
    "gpt2": Recipe("gpt2", 12, 64, 4, 512, 128, 512, 400, 8, 4000, 2e-3, ("0:0", "11:3")),
    "attention-heads": Recipe("two-layer", 2, 128, 8, 1000, 128, 512, 1000, 8, 4000, components=ALL_HEADS),
}
QUICK = {
    "two-layer": Recipe("two-layer", 2, 16, 8, 300, 16, 64, 30, 8, 200, components=("0:0", "1:7")),
    "gpt2": Recipe("gpt2", 12, 16, 4, 300, 16, 64, 30, 8, 200, 2e-3, ("0:0", "11:3")),
    "attention-heads": Recipe("two-layer", 2, 16, 8, 300, 16, 64, 30, 8, 200, components=ALL_HEADS),
}


@dataclass(frozen=True)
class Bundle:
    """A trained model with the rows that its LLCs are of."""

    name: str
    folder: Path
    model: nn.Module
    rows: Tensor
    components: tuple[str, ...]


def bundle(name: str, cache: Path, quick: bool) -> Bundle:
    """The model and its rows, made if the cache does not hold them yet."""
    recipe = (QUICK if quick else FULL)[name]
    folder = cache / f"{name}{'-quick' if quick else ''}"
    if _recorded(folder) != json.loads(json.dumps(asdict(recipe))):
        _make(recipe, folder)
    return Bundle(name, folder, load_model(folder), load_rows(folder), recipe.components)


def load_model(folder: Path) -> nn.Module:
    """The trained model, in evaluation mode."""
    from safetensors.torch import load_file

    recorded = json.loads((folder / "bundle.json").read_text())
    model = build(recorded["kind"], recorded["config"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.eval()


def load_rows(folder: Path) -> Tensor:
    """Token ids, int64, shape (rows, context)."""
    from safetensors.torch import load_file

    return load_file(folder / "rows.safetensors")["rows"]


def load_masks(folder: Path, component: str) -> dict[str, Tensor | None]:
    """Masks of 0 and 1 by parameter name, float32; None for a whole tensor."""
    from safetensors.torch import load_file

    stored = load_file(folder / f"masks-{component.replace(':', '-')}.safetensors")
    return {name: None if mask.dim() == 0 else mask.float() for name, mask in stored.items()}


def build(kind: str, config: dict[str, Any]) -> nn.Module:
    """A model with untrained weights."""
    if kind == "two-layer":
        from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig

        return AttentionOnly(AttentionOnlyConfig(**config))
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config(**config))


def _recorded(folder: Path) -> Any:
    try:
        return json.loads((folder / "bundle.json").read_text())["recipe"]
    except (OSError, ValueError, KeyError):
        return None


def _make(recipe: Recipe, folder: Path) -> None:
    """Train and write everything; `bundle.json` comes last, so an interrupted making is begun again."""
    from safetensors.torch import save_file

    from ontogeny.inputs.components import resolve
    from ontogeny.inputs.text import train_tokenizer, write_blocks
    from ontogeny.training.language_model import LanguageTraining, train_language_model

    print(f"making {folder.name}: {recipe.steps} training steps", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer = train_tokenizer(TEXT, recipe.vocabulary, sample_characters=400 * recipe.vocabulary)
    with tempfile.TemporaryDirectory() as scratch:
        blocks = write_blocks(Path(scratch, "blocks"), TEXT, tokenizer, recipe.context, recipe.blocks, progress=False)
        config = _config(recipe)
        model = build(recipe.kind, config)
        settings = LanguageTraining(
            recipe.steps, recipe.batch_size, recipe.learning_rate, warm_up=20, checkpoints=(recipe.steps,)
        )
        trained = train_language_model(model, blocks, settings, Path(scratch, "run"), save_seconds=1e9)
        rows = blocks.take(range(recipe.rows))
        loss = trained.loss(recipe.steps)
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}  # a tied one under both names
    save_file(weights, folder / "model.safetensors")
    save_file({"rows": rows}, folder / "rows.safetensors")
    for component in recipe.components:
        masks = resolve(model, component)
        stored = {name: torch.ones(()) if mask is None else mask.to(torch.uint8) for name, mask in masks.items()}
        save_file(stored, folder / f"masks-{component.replace(':', '-')}.safetensors")
    record = {"kind": recipe.kind, "config": config, "recipe": asdict(recipe), "text": TEXT, "loss": loss}
    (folder / "bundle.json").write_text(json.dumps(record, indent=1))


def _config(recipe: Recipe) -> dict[str, Any]:
    if recipe.kind == "two-layer":
        names = ("vocabulary", "context", "width", "layers", "heads")
        return {name: getattr(recipe, name) for name in names}
    dropouts = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)  # the peer samples in training mode
    return {
        "vocab_size": recipe.vocabulary,
        "n_positions": recipe.context,
        "n_embd": recipe.width,
        "n_layer": recipe.layers,
        "n_head": recipe.heads,
        "bos_token_id": 0,
        "eos_token_id": 0,
        **dropouts,
    }
