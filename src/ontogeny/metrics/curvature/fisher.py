"""Traces of Fisher matrices: of targets that the model draws, and of the data's own (the empirical Fisher matrix)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import xarray as xr
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.types import Batch
from ontogeny.inputs.losses import LossFunction, ModuleLoss
from ontogeny.inputs.outputs import split_at_output
from ontogeny.inputs.sequences import Sequences, importance_weights, sample_sequences
from ontogeny.metrics.curvature.problems import (
    GROUPS,
    Arguments,
    Numbers,
    Sampled,
    check_choice,
    check_counts,
)
from ontogeny.metrics.curvature.trace import group_traces, numbers
from ontogeny.operators.fisher import Gradients, ModelScores
from ontogeny.operators.gauss_newton import gauss_newton_products
from ontogeny.operators.hessian import hessian_products
from ontogeny.operators.trace import Estimate, mean_of, over_groups, rademacher

CONTEXTS = ("data", "model")
ESTIMATORS = ("scores", "gauss_newton", "hessian")
UNITS = ("position", "example")
NO_LAW = "model must be a torch.nn.Module with a law of its outputs; got a Potential, which has none."
LEAST_WEIGHTED = 0.25
"""Of the sequences, the least that importance weights may leave in effect at any position."""


def fisher_trace(
    model: nn.Module,
    data: Any,
    loss_fn: LossFunction,
    components: Any = None,
    *,
    contexts: str = "data",
    estimator: str = "scores",
    samples: int = 30,
    probes: int = 5,
    sequences: Sequences | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> xr.Dataset:
    """Trace of the Fisher matrix with targets drawn from the model: tr E_x E_{y~p(·|x,w)}[∇ℓ ∇ℓᵀ], ℓ = -log p(y|x,w).

    The normalisation is that of the mean loss: F of a position, averaged over positions. It is what ``hessian_trace``
    would be if the model's own targets were the data's. Where ``contexts`` are the model's too, log p of a whole
    sequence has K - 1 terms whose gradients are uncorrelated, and the Fisher matrix of sequences is K - 1 times this
    one (``fisher_positions`` = K - 1): the Hessian of the mean per-token loss is the sequence Fisher over K - 1.

    Args:
        model: as in :func:`ontogeny.estimate_llc`, as are loss_fn and components.
        data: as there. With ``contexts="model"`` token ids, of which only the first of a row and the length are used.
        loss_fn: cross-entropy of the model's output over its last axis, or a squared error, of a loss that calls the
            model once; which, is told from its derivatives in the output. (So a Huber loss all of whose examples lie in
            its quadratic part is taken for a squared error.)
        components: one selection of weights, a list, or {name: selection}.
        contexts: "data": inputs (and preceding tokens) of the data, p(y|x,w); "model": whole sequences from p(x|w),
            appendix D.2 of the source.
        estimator: "scores": squared gradients of targets drawn by position, one gradient a probe; "gauss_newton":
            Hutchinson on products with targets integrated out, two to three gradients a probe; "hessian": Hutchinson
            on the Hessian at sequences from the model, as in the source, and so only with contexts="model".
        samples: examples or sequences; 30 in the source.
        probes: draws of targets, or probes, of each group of examples; 5 in the source.
        sequences: what :func:`sample_sequences` drew at another checkpoint, weighted by how likely this one finds
            them: drawing once saves the noise of drawing anew at each checkpoint. Only with contexts="model" and
            "scores"; ``samples`` is their number.
        batch_size: examples at once; by rule that of ``estimate_llc``.
        seed: of samples and draws, the same random numbers for every checkpoint.
        device: where to compute; None: where the model is.

    Returns:
        ``fisher_trace``, ``fisher_trace_se`` (loss/weight²), ``fisher_positions`` and ``fisher_trace_status``: "ok",
        "not_finite", or "low_weights" where importance weights leave fewer than a quarter of the sequences in effect
        at some position; ``fisher_kish_ess`` is how many. Dims ``component`` and ``dataset``.

    Raises:
        OntogenyError: one sentence on the argument at fault.

    Source: Wang et al., arXiv:2410.02984, appendix D.2; Martens, arXiv:1412.1193.
    """
    _check(contexts, estimator, sequences, data)
    check_counts(probes=probes)
    given = Arguments(model, data, loss_fn, components, samples, batch_size, seed, device)
    drawn: dict[str, Sequences] = {}
    if contexts == "model":
        if not isinstance(model, nn.Module):
            raise OntogenyError(NO_LAW)
        named = data if type(data) is dict else {"data": data}
        drawn = {name: sequences or sample_sequences(model, values, samples, seed) for name, values in named.items()}
        rows = {name: one.tokens for name, one in drawn.items()}
        count = len(next(iter(drawn.values())).tokens) if drawn else samples
        given = Arguments(model, rows, loss_fn, components, count, batch_size, seed, device)
    weights = importance_weights(model, sequences) if sequences is not None else None

    def one(sampled: Sampled) -> Numbers:
        share = 0.0 if contexts == "model" else sampled.share  # sequences are drawn from infinitely many
        if estimator == "scores":
            value, error = _of_scores(sampled, probes, share, weights)
        else:
            makers = [partial(_products, sampled, estimator, batch) for batch in sampled.batches]
            value, error = group_traces(sampled, makers, probes, "hutchinson", share)
        out = numbers("fisher_trace", value, error) | {"fisher_positions": sampled.positions}
        if weights is not None:
            used = weights[:, :-1]  # the last position predicts nothing
            out["fisher_kish_ess"] = least = float((used.sum(0) ** 2 / used.square().sum(0)).min())
            if least < LEAST_WEIGHTED * len(weights) and out["fisher_trace_status"] == "ok":
                out["fisher_trace_status"] = "low_weights"
        return out

    return given.measure(one, GROUPS, probes=probes, contexts=contexts, estimator=estimator)


def _check(contexts: str, estimator: str, sequences: Any, data: Any) -> None:
    check_choice("contexts", contexts, CONTEXTS)
    check_choice("estimator", estimator, ESTIMATORS)
    if estimator == "hessian" and contexts == "data":
        raise OntogenyError(
            "estimator = 'hessian' needs contexts = 'model', since only at the model's own sequences is the Hessian "
            "the Fisher matrix; got contexts = 'data'. On the data it is og.metrics.hessian_trace."
        )
    if sequences is None:
        return
    if not isinstance(sequences, Sequences):
        raise OntogenyError(
            f"sequences must be what og.metrics.sample_sequences returned; got {type(sequences).__name__}."
        )
    if contexts != "model" or estimator != "scores":
        raise OntogenyError(
            f"sequences go with contexts = 'model' and estimator = 'scores'; got {contexts!r} and {estimator!r}."
        )
    if type(data) is dict and len(data) > 1:
        raise OntogenyError(
            f"sequences take the place of data, so that there is one data set at most; got {', '.join(data)}."
        )


def _products(sampled: Sampled, estimator: str, batch: Batch) -> Any:
    loss, center = _module_loss(sampled), sampled.problem.center
    if estimator == "hessian":
        return hessian_products(loss, center, batch, sampled.together)
    return gauss_newton_products(partial(split_at_output, loss), center, batch, sampled.together)


def _module_loss(sampled: Sampled) -> ModuleLoss:
    loss = sampled.problem.loss
    if not isinstance(loss, ModuleLoss):
        raise OntogenyError(NO_LAW)
    return loss


def _of_scores(sampled: Sampled, probes: int, share: float, weights: Tensor | None) -> tuple[float, float]:
    split, estimates, mass, start = partial(split_at_output, _module_loss(sampled)), [], [], 0
    for number, (batch, size) in enumerate(zip(sampled.batches, sampled.sizes, strict=True)):
        scores = ModelScores(split, sampled.problem.center, batch, "loss_fn")
        stream = sampled.stream("targets", number)
        here = None if weights is None else weights[start : start + size]
        estimates.append(
            mean_of(torch.tensor([scores.squared_norm(stream, here) for _ in range(probes)], dtype=torch.float64))
        )
        mass.append(1.0 if here is None else float(here[:, :-1].mean()))
        start += size
    value, error = over_groups(estimates, sampled.sizes, share)
    if weights is None:
        return value, error
    # the estimate is a ratio: a group that happens to have much weight moves numerator and denominator alike
    level = [Estimate(one.value - value * (w - 1), one.variance) for one, w in zip(estimates, mass, strict=True)]
    return value, over_groups(level, sampled.sizes, share)[1]


def empirical_fisher_trace(
    model: nn.Module,
    data: Any,
    loss_fn: LossFunction,
    components: Any = None,
    *,
    unit: str = "position",
    samples: int = 100,
    probes: int = 5,
    batch_size: int | None = None,
    seed: int = 0,
    device: str | None = None,
) -> xr.Dataset:
    """Mean of ‖∇ℓ‖² with the targets that the data have: no Fisher matrix unless the model is right about the data.

    From sums of gradients with random signs: E‖Σ_i s_i·∇ℓ_i‖² = Σ_i ‖∇ℓ_i‖², one gradient a probe; exact where there
    are no more single losses than probes.

    Args:
        model: as in :func:`ontogeny.estimate_llc`, as are data, loss_fn and components.
        data: one data set or {name: data set}.
        loss_fn: any loss, one value an example, or position.
        components: one selection of weights, a list, or {name: selection}.
        unit: "position": ℓ is the loss of one position, to stand beside ``hessian_trace`` and ``fisher_trace``;
            "example": the mean over an example's positions.
        samples: examples drawn without replacement.
        probes: draws of signs for each group of examples.
        batch_size: examples at once; by rule that of ``estimate_llc``.
        seed: of examples and signs.
        device: where to compute; None: where the model is.

    Returns:
        ``empirical_fisher_trace``, ``empirical_fisher_trace_se`` (loss²/weight²) and ``empirical_fisher_trace_status``
        with dims ``component`` and ``dataset``.

    Raises:
        OntogenyError: one sentence on the argument at fault.

    Source: Kunstner, Balles and Hennig, arXiv:1905.12558, on what it is not.
    """
    check_choice("unit", unit, UNITS)
    check_counts(probes=probes)
    given = Arguments(model, data, loss_fn, components, samples, batch_size, seed, device)

    def one(sampled: Sampled) -> Numbers:
        loss = _module_loss(sampled)
        estimates = []
        for number, batch in enumerate(sampled.batches):
            single = loss.raw if unit == "position" else loss
            gradients = Gradients(single, sampled.problem.center, batch, sampled.together)
            estimates.append(_mean_square(gradients, probes, sampled.stream("signs", number)))
        return numbers("empirical_fisher_trace", *over_groups(estimates, sampled.sizes, sampled.share))

    return given.measure(one, GROUPS, probes=probes, unit=unit)


def _mean_square(gradients: Gradients, probes: int, stream: torch.Generator) -> Estimate:
    if probes >= gradients.units:
        return Estimate(float(gradients.squared_norms(torch.eye(gradients.units)).sum()), 0.0)
    return mean_of(gradients.squared_norms(rademacher(probes, gradients.units, stream)))
