"""The studies that ``ontogeny run`` knows, with what their presets cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ontogeny.studies.attention_heads import settings as heads_settings
from ontogeny.studies.attention_heads import study as attention_heads
from ontogeny.studies.feature_targeted import settings as feature_settings
from ontogeny.studies.feature_targeted import study as feature_targeted
from ontogeny.studies.sorting import settings as sorting_settings
from ontogeny.studies.sorting import study as sorting
from ontogeny.studies.sparsity_sweep import settings as sweep_settings
from ontogeny.studies.sparsity_sweep import study as sparsity_sweep
from ontogeny.studies.superposition import study as superposition
from ontogeny.studies.superposition.settings import DEFAULT_SEEDS, DESCRIPTIONS


@dataclass(frozen=True)
class Preset:
    """What a preset measures and the minutes it took on two cores (BENCHMARKS.md says where and how); None: not run."""

    description: str
    minutes: float | None
    seeds: int | None = None
    """Training seeds, where they are not the study's."""


@dataclass(frozen=True)
class Study:
    """A named experiment: ``run(preset, seeds=…, out=…, executor=…, address=…)`` and ``report(folder)``.

    Both return the report's path.
    """

    question: str
    presets: Mapping[str, Preset]
    run: Callable[..., Path]
    report: Callable[[Path], Path]
    seeds: int
    takes_text: bool = False
    """Whether ``run`` takes ``mixture`` and ``datasets``, text in place of the presets'."""


STUDIES = {
    "superposition": Study(
        question="Does the LLC rise where a toy model of superposition gains a dimension?",
        presets={
            "quick": Preset(DESCRIPTIONS["quick"], 0.9),
            "full": Preset(DESCRIPTIONS["full"], 6.0),
        },
        run=superposition.run,
        report=superposition.report,
        seeds=DEFAULT_SEEDS,
    ),
    "sparsity-sweep": Study(
        question="Does the LLC move where circuits form, or wherever training goes on?",
        presets={"quick": Preset(sweep_settings.DESCRIPTIONS["quick"], 6.5)},
        run=sparsity_sweep.run,
        report=sparsity_sweep.report,
        seeds=DEFAULT_SEEDS,
    ),
    "sorting": Study(
        question="Does the LLC fall when the heads of a sorting transformer share out the vocabulary?",
        presets={
            name: Preset(sorting_settings.DESCRIPTIONS[name], minutes, sorting_settings.PRESETS[name].seeds)
            for name, minutes in (("quick", 37.0), ("variants", None), ("full", None))
        },
        run=sorting.run,
        report=sorting.report,
        seeds=2,
    ),
    "attention-heads": Study(
        question="Do attention heads of one kind develop alike, as their refined LLCs tell it?",
        presets={
            name: Preset(heads_settings.DESCRIPTIONS[name], None, heads_settings.PRESETS[name].seeds)
            for name in ("quick", "cpu", "full")
        },
        run=attention_heads.run,
        report=attention_heads.report,
        seeds=1,
        takes_text=True,
    ),
    "feature-targeted": Study(
        question="Does the LLC of one feature's computation tell SAE features from random directions?",
        presets={name: Preset(words, None, 1) for name, words in feature_settings.DESCRIPTIONS.items()},
        run=feature_targeted.run,
        report=feature_targeted.report,
        seeds=1,
    ),
}
