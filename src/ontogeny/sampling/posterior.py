"""The density that is sampled; its scaling is written here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ontogeny.core.errors import OntogenyError
from ontogeny.core.trees import size, spread
from ontogeny.core.types import Loss, Params


@dataclass(frozen=True)
class LocalPosterior:
    """log p(w) = -nβ·L(w) - (γ/2)·‖w - w*‖², L the MEAN loss over the n examples of the data set.

    One object holds the posteriors around several centres (checkpoints, seeds), so that their chains can step in one
    tensor program. ``center`` has a leading axis of length G; ``n_beta`` and ``localization`` have shape ``(G,)``.
    Units: nβ in 1/loss, γ in 1/weight². Source: Lau et al., arXiv:2308.12108, with the tempering of Watanabe (2013).

    Raises:
        OntogenyError: if nβ is not positive, γ is negative, or either is not finite.
    """

    loss: Loss
    center: Params
    n_beta: Tensor
    localization: Tensor

    def __post_init__(self) -> None:
        for name, values, good, expected in (
            ("n_beta", self.n_beta, self.n_beta > 0, "a positive number"),
            ("localization", self.localization, self.localization >= 0, "zero or a positive number"),
        ):
            if not bool((good & values.isfinite()).all()):
                worst = values[~(good & values.isfinite())][0].item()
                raise OntogenyError(
                    f"{name} must be {expected}, got {worst:g}; leave it out to have it chosen by rule."
                )

    @property
    def centers(self) -> int:
        """G, the number of centres."""
        return int(self.n_beta.numel())

    @property
    def dim(self) -> int:
        """d, the number of sampled weights of one centre."""
        return size(self.center) // self.centers

    @staticmethod
    def drift(gradient: Params, offset: Params, n_beta: Tensor, localization: Tensor, axis: int) -> Params:
        """∇ log p = -(nβ·∇L + γ·(w - w*)) for every chain; ``n_beta`` and ``localization`` have shape (chains,)."""
        return {
            name: -(spread(n_beta, g, axis) * g + spread(localization, g, axis) * offset[name])
            for name, g in gradient.items()
        }
