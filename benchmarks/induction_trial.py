"""After how many tokens do heads form? Trains a preset's model and prints scores and loss along the way.

The sizes and the number of steps of `ontogeny run attention-heads` are to be such that an induction head is there well
before the end; this is the trial that says so, and it measures no λ̂. Stopped and run again, it goes on.

OMP_NUM_THREADS=2 python benchmarks/induction_trial.py --out runs/induction-trial
python benchmarks/induction_trial.py --batch-size 32 --steps 2450 --learning-rate 2e-3 --position-start normal \
    --out runs/induction-trial-large-batch
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from ontogeny.inputs.attention_only import AttentionOnly
from ontogeny.inputs.load_weights import load_into
from ontogeny.metrics import attention_scores
from ontogeny.studies.attention_heads.behaviour import PERIOD, REPEATS
from ontogeny.studies.attention_heads.settings import PRESETS, TEXT
from ontogeny.studies.attention_heads.text import prepare_text
from ontogeny.studies.attention_heads.training import train_seed

FORMED = 0.3
"""Score from which on a head counts as formed."""
NAMES = ("previous_token", "current_token", "prefix_matching")


def main() -> None:
    """Train, try every checkpoint, and say when the scores pass 0.3."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=PRESETS, default="quick")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="in place of the preset's")
    parser.add_argument("--rows", type=int, help="rows of training text, in place of the preset's")
    parser.add_argument("--batch-size", type=int, help="rows a step, in place of the preset's")
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--position-start", choices=("normal", "sinusoidal"), help="in place of the preset's")
    parser.add_argument("--mixture", help="text in place of the preset's")
    parser.add_argument("--out", type=Path, default=Path("runs/induction-trial"))
    asked = parser.parse_args()
    settings = PRESETS[asked.preset]
    names = ("steps", "rows", "batch_size", "learning_rate")
    changed = {name: getattr(asked, name) for name in names if getattr(asked, name) is not None}
    settings = replace(
        settings,
        training=replace(settings.training, **changed),
        model=replace(settings.model, position_start=asked.position_start or settings.model.position_start),
        datasets={},
        mixture=asked.mixture or settings.mixture,
    )
    began = time.monotonic()
    text = prepare_text(settings, asked.out / "text")
    print(f"text in {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    trained = train_seed(settings, text, asked.out / "training", asked.seed)
    print(f"trained in {time.monotonic() - began:.0f} s\n")
    print(f"{'step':>7} {'M tokens':>9} {'loss':>7}  " + "  ".join(f"{name:>22}" for name in NAMES))
    passed: dict[str, float] = {}
    model = AttentionOnly(settings.model.config(), asked.seed)
    for step in trained.steps:
        load_into(model, trained.weights(step))
        found = attention_scores(
            model,
            tokens=text.datasets[TEXT].unique(),
            period=min(PERIOD, (settings.model.context - 1) // REPEATS),
            repeats=REPEATS,
            start=text.tokenizer.end_of_text,
        )
        tokens = (trained.tokens(step) or 0) / 1e6
        cells = []
        for name in NAMES:
            head = str(found["head"].values[int(found[name].values.argmax())])
            value, error = (float(found[word].sel(head=head)) for word in (name, f"{name}_se"))
            cells.append(f"{head} {value:.3f} ± {error:.3f}".rjust(22))
            if value < FORMED:
                passed.pop(name, None)
            else:
                passed.setdefault(name, tokens)
        print(f"{step:>7} {tokens:>9.2f} {trained.loss(step):>7.3f}  " + "  ".join(cells))
    for name in NAMES:
        said = f"from {passed[name]:.2f} M tokens on" if name in passed else "not by the end"
        print(f"largest {name} score above {FORMED}: {said}")


if __name__ == "__main__":
    main()
