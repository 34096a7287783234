"""What the losses of many features have in common: the model at w*, the data with what w* gives on it, the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.types import Batch, Params
from ontogeny.features.feature import Feature, Projection, as_feature, normalised
from ontogeny.features.losses import AtCenter, FeatureLoss, OfChain, Targeted, as_rule
from ontogeny.features.sites import Site, upstream
from ontogeny.inputs.datasets import Examples, as_examples
from ontogeny.inputs.losses import ModuleLoss, undisturbed
from ontogeny.inputs.precision import sampled_dtype
from ontogeny.inputs.shared_forward import Entering

EXAMPLES_AT_ONCE = 64
MOST_BYTES = 2**30
"""What is kept of w*'s passes over the data; where it takes more, they are repeated on every minibatch."""
DIRECTION, THRESHOLD = "the chain's direction", "the chain's threshold"


class FeatureProblem(NamedTuple):
    """The first four arguments of ``og.estimate_llc`` and of ``og.calibrate``, in order."""

    model: nn.Module
    data: Examples
    loss_fn: FeatureLoss
    components: Any


class CommonGround:
    """Everything about a model, a site, a loss and data that does not depend on the feature.

    Args:
        model: the model at w*.
        data: as for ``og.estimate_llc``, without the dict of several data sets.
        site: where features are read.
        loss: "functional", "behavioral", "natural", or one of these with settings.
        components: the weights to sample, as for ``og.estimate_llc``; None: all that the activation depends on.
        device: where; None: where the model is.

    Raises:
        OntogenyError: one sentence on the argument at fault.
    """

    def __init__(
        self, model: nn.Module, data: Any, site: Site, loss: Any, components: Any = None, device: str | None = None
    ) -> None:
        if not isinstance(model, nn.Module):
            raise OntogenyError(f"model must be a torch.nn.Module; got {type(model).__name__}.")
        self.model, self.rule, self.site = model, as_rule(loss), site
        double = any(parameter.dtype == torch.float64 for parameter in model.parameters())
        self.dtype = sampled_dtype(None, double)
        self.device = torch.device(device) if device else next(model.parameters()).device
        self.center = AtCenter(model, site, self.dtype, self.device)
        if isinstance(data, Mapping) and not bool(torch.as_tensor(data.get("attention_mask", 1)).all()):
            raise OntogenyError(
                "data: attention_mask leaves positions out, and features are read at every position; give rows "
                "of equal length without padding."
            )
        plain = as_examples(data, self.device, self.dtype)
        with undisturbed(model):
            self.components = (
                upstream(model, _at(plain.head(2), model), self.center.place) if components is None else components
            )
            self._plain = plain
            self.examples = self._with_targets(plain)
            first = self.center.hidden(plain.head(1))
        self.width, self.positions = int(first.shape[-1]), max(first[0].numel() // int(first.shape[-1]), 1)

    def _with_targets(self, plain: Examples) -> Examples:
        """The examples with what w* gives on each, where all of that can be kept."""
        with torch.no_grad():
            first = self.rule.target(self.center, plain.head(1))
            if plain.count * first.numel() * first.element_size() > MOST_BYTES:
                return plain
            rows = torch.arange(plain.count).split(EXAMPLES_AT_ONCE)
            kept = torch.cat([self.rule.target(self.center, plain.take(some)) for some in rows])
        return Examples(
            plain.count,
            lambda index: Targeted(plain.take(index), kept if index is None else kept[index.to(kept.device)]),
        )

    def values(self, features: Sequence[Feature]) -> Tensor:
        """f of every feature at w* over the data, (features, examples, ...)."""
        return torch.cat([self._values(features, rows) for rows in self._pieces()], 1)

    def deviations(self, features: Sequence[Feature]) -> Tensor:
        """The standard deviation of f at w* over examples and positions, (features,), in float64.

        Raises:
            OntogenyError: if f does not vary.
        """
        count, total, squares = 0, torch.zeros(len(features)), torch.zeros(len(features))
        for rows in self._pieces():
            values = self._values(features, rows).flatten(1).double().cpu()
            count, total, squares = count + values.shape[1], total + values.sum(1), squares + values.square().sum(1)
        found = (squares / count - (total / count).square()).clamp(min=0.0).sqrt()
        flat = (~(found > 1e-6 * (squares / count).sqrt())).nonzero().flatten().tolist()
        if flat:
            raise OntogenyError(
                f"directions: feature {flat[0]} does not vary over data, so it has no threshold; leave it out."
            )
        return found

    def _pieces(self) -> Sequence[Tensor]:
        return torch.arange(self._plain.count).split(EXAMPLES_AT_ONCE)

    def _values(self, features: Sequence[Feature], rows: Tensor) -> Tensor:
        with torch.no_grad():
            hidden = self._hidden(rows)
            if all(isinstance(feature, Projection) for feature in features):
                matrix = torch.stack([feature.direction for feature in features]).to(hidden)  # type: ignore[union-attr]
                return (hidden @ matrix.T).movedim(-1, 0)
            return torch.stack([feature.value(hidden) for feature in features])

    def _hidden(self, rows: Tensor) -> Tensor:
        batch = self.examples.take(rows)
        if isinstance(batch, Targeted) and self.rule.kind == "functional":
            return batch.target
        return self.center.hidden(self._plain.take(rows))

    def thresholds(self, features: Sequence[Feature]) -> Tensor:
        """θ of every feature, in its units; zero where the loss has none."""
        factor = self.rule.threshold
        return torch.zeros(len(features)) if factor is None else factor * self.deviations(features)

    def problem(self, feature: Feature, threshold: float | None = None) -> FeatureProblem:
        """One feature's problem, for ``og.estimate_llc(*problem)``."""
        theta = float(self.thresholds([feature])[0]) if threshold is None else threshold
        placed = (
            Projection(feature.direction.to(self.device, self.dtype)) if isinstance(feature, Projection) else feature
        )
        return FeatureProblem(
            self.model, self.examples, FeatureLoss(self.center, self.rule, placed, theta), self.components
        )


def checked_directions(directions: Any, common: CommonGround) -> Tensor:
    """Rows of norm 1 and of the activation's width, (features, width), where the sampling is.

    Raises:
        OntogenyError: if they are no such rows.
    """
    rows = normalised(directions)
    if rows.shape[1] != common.width:
        raise OntogenyError(
            f"directions must have the width of the activation at {common.site}, {common.width}; got {rows.shape[1]}."
        )
    return rows.to(common.device, common.dtype)


class ManyFeatures:
    """The losses of several features as one, each chain with a direction of its own.

    Args:
        loss: of any one feature; its own direction is not read.
        directions: (features, width).
        thresholds: (features,).
        chains: of each feature. Chains come feature by feature, and where each feature's w* goes along, last.
    """

    def __init__(self, loss: ModuleLoss, directions: Tensor, thresholds: Tensor, chains: int) -> None:
        self._loss, self._chains = loss, chains
        like = next(iter(loss.center.values()))
        self._values = {DIRECTION: directions.to(like), THRESHOLD: thresholds.to(like)}
        self.chains_at_once: int | None = None

    @property
    def rounding(self) -> float:
        """Relative rounding error of a product in the forward pass."""
        return self._loss.rounding

    def of_chains(self, chains: int) -> Params:
        """Direction and threshold of each chain; of fewer chains than features, as in a trial, those of the first."""
        features = len(self._values[THRESHOLD])
        if chains < features:
            return {name: value[:chains] for name, value in self._values.items()}
        each, beside = divmod(chains, features)
        if beside:
            raise ValueError(f"{chains} chains cannot be shared out among {features} features")
        if each == self._chains + 1:
            return {name: torch.cat([_each(value, self._chains), value]) for name, value in self._values.items()}
        return {name: _each(value, each) for name, value in self._values.items()}

    def __call__(self, params: Params, batch: Batch) -> Tensor:
        """One loss per example, shape ``(batch,)``."""
        weights = {name: value for name, value in params.items() if name not in self._values}
        direction, threshold = params[DIRECTION], params[THRESHOLD]
        if isinstance(batch, Entering):
            return self._loss(weights, Entering(batch.hidden, OfChain(batch.batch, direction, threshold)))
        return self._loss(weights, OfChain(batch, direction, threshold))


def _each(values: Tensor, times: int) -> Tensor:
    return values.repeat_interleave(times, 0)


def _at(batch: Batch, model: nn.Module) -> Batch:
    """The batch where the model is, which may be elsewhere than the sampling."""
    device = next(model.parameters()).device
    if isinstance(batch, Tensor):
        return batch.to(device)
    if isinstance(batch, dict):
        return {name: _at(part, model) for name, part in batch.items()}
    return type(batch)(_at(part, model) for part in batch) if isinstance(batch, tuple | list) else batch


def feature_problem(
    model: nn.Module,
    data: Any,
    feature: Any,
    site: Site,
    *,
    loss: Any = "functional",
    components: Any = None,
    device: str | None = None,
) -> FeatureProblem:
    """One feature's loss, data and weights, for ``og.estimate_llc(*feature_problem(...))``.

    Args:
        model: any module at w*; of a known transformer sites are named by layer.
        data: a tensor of tokens, or whatever the model takes.
        feature: a direction (width,), which is normalised to norm 1, or a function of the activation, (..., width) to
            (...).
        site: where it is read.
        loss: "functional", "behavioral" or "natural", or ``Functional(threshold=2.0)`` and so on.
        components: weights to sample; None: all that the activation depends on, no others.
        device: where to sample; None: where the model is.

    Raises:
        OntogenyError: one sentence on the argument at fault.

    >>> import ontogeny as og
    >>> model = og.AttentionOnly(og.AttentionOnlyConfig(vocabulary=7, context=5, width=8, layers=2, heads=2))
    >>> tokens = torch.randint(7, (20, 5), generator=torch.Generator().manual_seed(0))
    >>> problem = feature_problem(model, tokens, torch.eye(8)[0], Site(0))
    >>> "blocks.1.attn.W_Q" in problem.components, tuple(problem.loss_fn(model, tokens).shape)
    (False, (20,))
    """
    common, known = CommonGround(model, data, site, loss, components, device), as_feature(feature)
    if isinstance(known, Projection) and len(known.direction) != common.width:
        raise OntogenyError(
            f"feature must have the width of the activation at {site}, {common.width}; got {len(known.direction)}."
        )
    return common.problem(known)


def bytes_a_chain(common: CommonGround, weights: int, batch_size: int) -> float:
    """About what a chain holds: ten numbers a weight, and of a minibatch activations and, where it has them, logits."""
    layers = getattr(getattr(common.model, "config", None), "num_hidden_layers", None) or 4
    tokens = batch_size * common.positions
    logits = 0 if common.rule.kind == "functional" else 4 * tokens * _outputs(common)
    return 4.0 * (10 * weights + 24 * layers * tokens * common.width + logits)


def _outputs(common: CommonGround) -> int:
    with torch.no_grad():
        return int(common.center.logits(common._plain.head(1)).shape[-1])


def features_at_once(per_chain: float, chains: int, bytes_free: float) -> int:
    """How many features' chains fit: a power of two.

    >>> features_at_once(2.0**20, 4, 2.0**28)
    64
    """
    return 2 ** max(int(math.log2(max(bytes_free / (per_chain * chains), 1.0))), 0)
