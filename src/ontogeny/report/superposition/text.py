"""The words of the superposition report: sentences rendered from its summary, and the names of settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ontogeny.report.superposition.sentences import ABSTRACT, CONCLUSIONS
from ontogeny.report.words import render

SETTINGS = {
    "preset": "preset",
    "n_features": "features",
    "sparsity": "sparsity S (probability of zero)",
    "importance_decay": "importance of feature i: this to the power i",
    "init_scale": "initial scale of W",
    "learning_rate": "learning rate (Adam)",
    "train_steps": "training steps",
    "train_batch": "training batch",
    "record_every": "weights kept every (training steps)",
    "seeds": "training seeds",
    "common_checkpoints": "checkpoints at the same steps in all seeds",
    "jump_checkpoints": "checkpoints around each seed's jump",
    "n_beta": "nβ, 1/loss",
    "localization": "γ, 1/weight²",
    "step_size": "step size ε, weight²",
    "kernel": "kernel",
    "friction": "friction, 1/time with unit mass",
    "h_max": "h_max that ε was chosen by, loss/weight²",
    "compiled": "compiled",
    "chains": "chains",
    "draws": "draws a chain",
    "burn_in": "burn-in, steps",
    "batch_size": "batch of the sampler",
    "dataset_size": "examples in the data set, n",
    "hessian_examples": "examples that the Hessian is of",
    "seed": "seed of the random streams",
    "ontogeny_version": "version of ontogeny",
}

YES_OR_NO = ("compiled",)
ELSEWHERE = ("calibration", "calibration_provenance")
"""Shown in a table of their own."""


def conclusions(summary: Mapping[str, Any]) -> list[str]:
    """Render the conclusions, a paragraph a template; one that has nothing to say about these numbers is left out."""
    said = (render(template, summary) for template in CONCLUSIONS)
    return [paragraph for paragraph in said if paragraph]


def abstract(summary: Mapping[str, Any]) -> str:
    """Render the abstract."""
    return render(ABSTRACT, summary)


def settings(attrs: Mapping[str, Any]) -> dict[str, str | int | float]:
    """Turn the measurements' attributes into a table: known ones first, in words, the others as they are called."""
    order = [*(k for k in SETTINGS if k in attrs), *(k for k in attrs if k not in SETTINGS and k not in ELSEWHERE)]
    given = {**attrs, **{k: "yes" if attrs[k] else "no" for k in YES_OR_NO if k in attrs}}
    values = {SETTINGS.get(k, str(k).replace("_", " ")): given[k] for k in order}
    return {k: v if isinstance(v, (int, float, str)) else str(v) for k, v in values.items()}
