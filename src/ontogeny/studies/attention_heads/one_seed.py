"""Everything that is measured of one training seed, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import torch
import xarray as xr

from ontogeny.core.version import __version__
from ontogeny.execution.chunks import Chunk
from ontogeny.inputs.attention_only import AttentionOnly
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.metrics import head_types, ngram_baselines, pattern_shares
from ontogeny.metrics.tokens_in_context import ClassifiedHead, classify_heads
from ontogeny.store import Store, content_key
from ontogeny.studies.attention_heads.assemble import Measured, contexts_group, side_by_side, training_group
from ontogeny.studies.attention_heads.behaviour import Patch, Trial, behave, find_contexts, patch, trial_data
from ontogeny.studies.attention_heads.curvature import Curved, curve
from ontogeny.studies.attention_heads.refined import frozen_at, refined_llcs
from ontogeny.studies.attention_heads.settings import TEXT, AttentionHeadsSettings, Sampler
from ontogeny.studies.attention_heads.text import StudyText
from ontogeny.studies.attention_heads.training import early_step, measured, train_seed

COUNTED = 20_000_000
"""Tokens of training text at most that n-grams are counted on."""


class Place(NamedTuple):
    """Where work is done and results go."""

    store: Store
    run_chunks: Callable[..., None]
    where: dict[str, Any]
    """The same as arguments of `og.measure`."""
    device: str


def measure_seed(
    settings: AttentionHeadsSettings,
    text: StudyText,
    references: Mapping[str, AttentionOnly],
    seed: int,
    place: Place,
) -> Measured:
    """Train the seed where it is not trained, measure what is not measured, and return all of it."""
    trained = train_seed(settings, text, place.store.folder / "training", seed, place.where["progress"])
    checkpoints = measured(settings, trained)
    behaviour = _behaviour(settings, text, checkpoints, seed, place)
    classified, affected = _contexts(settings, text, checkpoints, seed, place)
    when = {
        name: behaviour.isel(checkpoint=checkpoints.steps.index(step))
        for name, step in _two(settings, checkpoints).items()
    }
    types = {name: head_types(pattern_shares(classified[name]), scores) for name, scores in when.items()}
    senders, receiver = path_of(types["last"], when["last"])
    paths = _paths(settings, text, checkpoints, seed, place, senders, receiver)
    pair = looks_like_induction(when["last"])
    at = {sampler.name: _frozen(settings, text, sampler, place) for sampler in settings.samplers}
    refined = [
        refined_llcs(
            settings, sampler, at[sampler.name], checkpoints, text.datasets, references, pair,
            place.store.folder / "llc" / sampler.name / f"seed-{seed}", **place.where,
        )
        for sampler in settings.samplers
    ]  # fmt: skip
    names = list(at)
    return Measured(
        behaviour=behaviour.merge(paths, compat="no_conflicts").assign(
            receiver=receiver, senders=" ".join(senders), pair=" ".join(pair)
        ),
        curvature=_curvature(settings, text, checkpoints, seed, place, at),
        heads=side_by_side([one.heads for one in refined], "setting").assign_coords(setting=names),
        whole=side_by_side([one.whole for one in refined], "setting").assign_coords(setting=names),
        contexts=contexts_group(settings, classified, affected, types, _two(settings, checkpoints)),
        training=training_group(trained, _baselines(settings, text, place.store)),
    )


def _two(settings: AttentionHeadsSettings, checkpoints: Checkpoints) -> dict[str, int]:
    """The steps at which tokens in context are looked for."""
    return {"early": early_step(settings, checkpoints.steps), "last": checkpoints.steps[-1]}


def looks_like_induction(scores: xr.Dataset) -> tuple[str, ...]:
    """The two heads above layer 0 with the highest prefix-matching scores, in order of their names.

    Chosen by order and not by a threshold, so that what is measured does not hang on one; whether they are induction
    heads their types say.
    """
    later = [str(head) for head in scores["head"].values if not str(head).startswith("0:")]
    ranked = sorted(later, key=lambda head: -float(scores["prefix_matching"].sel(head=head)))
    return tuple(sorted(ranked[:2]))


def path_of(types: xr.Dataset, last: xr.Dataset) -> tuple[tuple[str, ...], str]:
    """Senders and receiver of the multigram circuit (figure 6), empty where there is none.

    Senders are the multigram heads of layer 0; the receiver is, of the later ones, that whose ablation most hurts the
    closing of nested brackets.
    """
    multigram = [str(head) for head in types["head"].values if str(types["type"].sel(head=head).item()) == "multigram"]
    senders = tuple(head for head in multigram if head.startswith("0:"))
    later = [head for head in multigram if not head.startswith("0:")]
    rise = last["bracket_score"].sel(sentences="nested")
    return senders, max(later, key=lambda head: float(rise.sel(head=head)), default="")


def _behaviour(
    settings: AttentionHeadsSettings, text: StudyText, checkpoints: Checkpoints, seed: int, place: Place
) -> xr.Dataset:
    data = trial_data(settings, text.tokenizer, text.datasets)
    shared = {"model": _model(settings), "device": place.device, "data": data, "start": text.tokenizer.end_of_text}
    depends = ["behave", *_depends(settings), *(rows.numpy() for rows in data.values())]
    chunks = _chunks(checkpoints, checkpoints.steps, depends, partial(Trial, settings, seed), f"heads of seed {seed}")
    return _run(behave, chunks, checkpoints, shared, place, f"trying the heads of seed {seed}")


def _paths(
    settings: AttentionHeadsSettings,
    text: StudyText,
    checkpoints: Checkpoints,
    seed: int,
    place: Place,
    senders: tuple[str, ...],
    receiver: str,
) -> xr.Dataset:
    data = trial_data(settings, text.tokenizer, text.datasets)
    shared = {"model": _model(settings), "device": place.device, "data": data}
    depends = ["patch", *_depends(settings), list(senders), receiver, *(rows.numpy() for rows in data.values())]

    def payload(step: int) -> Patch:
        return Patch(settings, seed, step, senders, receiver)

    chunks = _chunks(checkpoints, checkpoints.steps, depends, payload, f"paths of seed {seed}")
    return _run(patch, chunks, checkpoints, shared, place, f"patching paths of seed {seed}")


def _contexts(
    settings: AttentionHeadsSettings, text: StudyText, checkpoints: Checkpoints, seed: int, place: Place
) -> tuple[dict[str, dict[str, ClassifiedHead]], dict[str, xr.Dataset]]:
    rows = text.training.take(torch.arange(min(settings.behaviour.in_context, len(text.training))))
    shared = {"model": _model(settings), "device": place.device, "rows": rows}
    two = _two(settings, checkpoints)
    depends = ["contexts", *_depends(settings), rows.numpy()]
    chunks = _chunks(
        checkpoints, tuple(two.values()), depends, partial(Trial, settings, seed), f"contexts of seed {seed}"
    )
    found = _run(find_contexts, chunks, checkpoints, shared, place, f"tokens in context of seed {seed}")
    affected = {name: found.isel(checkpoint=number) for number, name in enumerate(two)}
    return {name: classify_heads(one, rows, text.tokenizer.decode) for name, one in affected.items()}, affected


def _frozen(settings: AttentionHeadsSettings, text: StudyText, sampler: Sampler, place: Place) -> dict[str, float]:
    """nβ and γ of a sampler, the same for all seeds."""

    def last_of_first() -> AttentionOnly:
        model = _model(settings)
        first = train_seed(settings, text, place.store.folder / "training", 0, progress=False)
        model.load_state_dict(first.weights(first.steps[-1]))
        return model

    return frozen_at(settings, sampler, last_of_first, text.datasets, place.store)


def _curvature(
    settings: AttentionHeadsSettings,
    text: StudyText,
    checkpoints: Checkpoints,
    seed: int,
    place: Place,
    at: dict[str, dict[str, float]],
) -> xr.Dataset:
    """Chunks of their own: what they are made of names no other result, so that those stay when it changes."""
    rows = text.datasets[TEXT]
    shared = {"model": _model(settings), "device": place.device, "rows": rows}
    budget = [asdict(settings.model), asdict(settings.curvature), settings.seed]
    depends = ["curvature", __version__, *budget, at, rows.numpy()]
    chunks = _chunks(
        checkpoints, checkpoints.steps, depends, lambda step: Curved(settings, at), f"curvature of seed {seed}"
    )
    return _run(curve, chunks, checkpoints, shared, place, f"curvature of the heads of seed {seed}")


def _baselines(settings: AttentionHeadsSettings, text: StudyText, store: Store) -> xr.Dataset:
    """Losses of n-gram models on each data set, counted on training text."""
    rows = text.training.tokens[: COUNTED // settings.model.context]
    key = content_key("n-grams", text.training.digest, len(rows), *(data.numpy() for data in text.datasets.values()))
    if not store.has(key):
        each = [ngram_baselines(rows, data, settings.model.vocabulary) for data in text.datasets.values()]
        found = side_by_side(each, "dataset").assign_coords(dataset=list(text.datasets))
        store.save(key, found.rename(loss="baseline_loss", loss_se="baseline_loss_se"))
    return store.load(key)


def _model(settings: AttentionHeadsSettings) -> AttentionOnly:
    return AttentionOnly(settings.model.config(), 0)


def _depends(settings: AttentionHeadsSettings) -> list[Any]:
    return [__version__, asdict(settings.model), asdict(settings.behaviour), settings.seed]


def _chunks(
    checkpoints: Checkpoints,
    steps: tuple[int, ...],
    depends: list[Any],
    payload: Callable[[int], Any],
    label: str,
) -> list[Chunk]:
    return [
        Chunk(
            content_key("attention heads", *depends, checkpoints.digest(step)),
            payload(step),
            f"{label}, step {step}",
            step,
        )
        for step in steps
    ]


def _run(
    work: Callable[..., xr.Dataset],
    chunks: list[Chunk],
    checkpoints: Checkpoints,
    shared: dict[str, Any],
    place: Place,
    words: str,
) -> xr.Dataset:
    gpus = torch.cuda.device_count() if place.device == "cuda" else 0
    place.run_chunks(work, chunks, place.store, text=words, shared=shared, parts=checkpoints.weights, gpus=gpus)
    found = side_by_side([place.store.load(chunk.key) for chunk in chunks], "checkpoint")
    return found.assign_coords(step=("checkpoint", [chunk.part for chunk in chunks]))
