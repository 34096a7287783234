"""One call over several components and data sets: its runs in the best order, and their results side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd
import xarray as xr
from torch import nn

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.components import by_name, overlaps_in_words, resolve
from ontogeny.inputs.losses import LossFunction, Potential
from ontogeny.inputs.shared_forward import SharedForwards, lowest_sampled
from ontogeny.sampling.calibration import Calibration, check_calibration
from ontogeny.sampling.preparation import basis, checked
from ontogeny.sampling.problem import Problem, build
from ontogeny.sampling.run import Run
from ontogeny.sampling.settings import Settings

Key = tuple[str | None, str | None]
"""(component, data set); a name is None where only one was given."""


@dataclass
class Refinement:
    """The product of components and data sets of one call."""

    model: nn.Module | Potential
    data: Any
    loss_fn: LossFunction | None
    components: Any
    settings: Settings
    calibration: Calibration | None
    datasets: dict[Any, Any] = field(init=False)
    selections: dict[Any, Any] = field(init=False)

    def __post_init__(self) -> None:
        if self.calibration is not None:
            self.settings = under(self.calibration, self.settings)
        self.datasets = self.data if type(self.data) is dict else {None: self.data}
        if not self.datasets:
            raise OntogenyError("data must name at least one data set, as in {'train': (x, y)}; the dict is empty.")
        self.selections = {None: self.components}
        if isinstance(self.model, nn.Module):
            self.selections = by_name(self.model, self.components) or self.selections

    @property
    def keys(self) -> list[Key]:
        """Every (component, data set), in the order given."""
        return [(component, dataset) for component in self.selections for dataset in self.datasets]

    def runs(self) -> Iterator[tuple[Key, Run]]:
        """A run for every key, made when it is asked for, so that only one need be in memory at a time.

        All inputs are checked before the first; runs that can share a forward pass come one after the other.
        """
        keys, settings, forwards = self.keys, self.settings, SharedForwards()

        def prepare(key: Key) -> Run:
            component, dataset = key
            selection = self.selections[component]
            return Run.prepare(
                self.model, self.datasets[dataset], self.loss_fn, selection, settings, key, self.calibration, forwards
            )

        def problem(key: Key) -> Problem:
            component, dataset = key
            return build(
                self.model,
                self.datasets[dataset],
                self.loss_fn,
                self.selections[component],
                settings.n_beta,
                settings.device,
                forwards,
                settings.precision,
            )

        if len(keys) == 1:
            yield keys[0], prepare(keys[0])
            return
        keys = self._neighbours_together()
        for key in keys:
            checked(problem(key), settings)
        spent = dict.fromkeys(keys, 0)
        if settings.n_beta is None or settings.localization is None:
            measured_at = []
            for key in keys:
                found = basis(problem(key), settings)
                measured_at.append((found.n_beta, found.localization))
                spent[key] = found.curvature.spent
            # side by side they are compared, and only what is measured at one (nβ, γ) can be
            n_beta = min(n_beta for n_beta, _ in measured_at)
            given = settings.localization is not None
            localization = max(gamma * (1.0 if given else n_beta / own) for own, gamma in measured_at)
            settings = replace(settings, n_beta=n_beta, localization=localization)
        for key in keys:
            run = prepare(key)
            run.add_cost(spent[key])
            yield key, run

    def _neighbours_together(self) -> list[Key]:
        """By data set and lowest sampled block, which is what decides how much of the forward pass is shared."""
        if not isinstance(self.model, nn.Module):
            return self.keys
        lowest = {
            name: lowest_sampled(self.model, resolve(self.model, what))[1] for name, what in self.selections.items()
        }
        place = {dataset: number for number, dataset in enumerate(self.datasets)}
        return sorted(self.keys, key=lambda key: (place[key[1]], lowest[key[0]]))

    def side_by_side(self, results: dict[Key, xr.Dataset]) -> xr.Dataset:
        """The results along ``component`` and ``dataset`` where there are names, in the order given.

        Settings that are not the same for all become variables; the others stay in ``attrs``. Where components have
        weights in common, ``attrs["overlap"]`` says how many.
        """
        every = list(results.values())
        names = {str(name) for run in every for name in run.attrs if name not in run}
        apart = sorted(name for name in names if any(run.attrs.get(name) != every[0].attrs.get(name) for run in every))
        results = {key: run.assign({name: run.attrs.get(name) for name in apart}) for key, run in results.items()}
        by_component = {
            component: _along("dataset", {dataset: results[component, dataset] for dataset in self.datasets})
            for component in self.selections
        }
        together = _along("component", by_component)
        if isinstance(self.model, nn.Module) and None not in self.selections:
            common = overlaps_in_words(self.model, self.selections)
            if common:
                together.attrs["overlap"] = common
        return together


def _along(dim: str, parts: dict[Any, xr.Dataset]) -> xr.Dataset:
    if list(parts) == [None]:
        return parts[None]
    index = pd.Index(list(parts), dtype=object, name=dim)
    return xr.concat(list(parts.values()), index, combine_attrs="drop_conflicts")


def under(calibration: Calibration, settings: Settings) -> Settings:
    """The settings with the calibration's numbers, which may not be given a second time."""
    check_calibration(calibration)
    frozen = {name: getattr(calibration, name) for name in FROZEN}
    for name, value in frozen.items():
        came = getattr(settings, name)
        if came is not None and came != value:
            raise OntogenyError(
                f"{name} = {came} contradicts the calibration, which has {value}; leave {name} out, or use "
                f"dataclasses.replace(calibration, {name}=...)."
            )
    most = calibration.max_draws if settings.max_draws is None else settings.max_draws
    return replace(settings, **frozen, max_draws=most)


FROZEN = ("kernel", "n_beta", "localization", "step_size", "batch_size", "chains", "burn_in")
