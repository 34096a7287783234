"""Train a small language model on the docstrings of Python's own modules, and measure two heads along its training.

python examples/measure_a_language_model.py
"""

import tempfile
from pathlib import Path

import ontogeny as og

TEXT = "installed:docs?packages=email,http,logging,unittest&most_characters=200000"


def main() -> None:
    """Text, training, measurement. In a folder that is kept, a second call goes on where the first was stopped."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = og.text.train_tokenizer(TEXT, vocabulary=300)
        rows = og.text.write_blocks(Path(folder) / "rows", TEXT, tokenizer, context=16, blocks=256, progress=False)
        model = og.AttentionOnly(og.AttentionOnlyConfig(tokenizer.vocabulary, context=16, width=16, layers=2, heads=2))
        settings = og.LanguageTraining(steps=60, batch_size=16, learning_rate=0.01, warm_up=5, checkpoints=(20, 60))
        checkpoints = og.train_language_model(model, rows, settings, Path(folder) / "training", progress=False)
        results = og.measure(
            model,
            checkpoints,
            {"docs": rows.take(range(64))},
            og.NextToken(),
            components={"head 0:0": "0:0", "head 1:1": "1:1"},
            metrics=("llc", "loss"),
            out=Path(folder) / "measured",
            n_beta=30.0,
            localization=300.0,
            step_size=0.0025,
            batch_size=8,
            chains=8,
            draws=120,
            burn_in=30,
            workers=1,
            progress=False,
        )
        for step in range(results.sizes["checkpoint"]):
            here = results.isel(checkpoint=step, dataset=0)
            print(f"step {here.step.item()}: loss {here.loss.item():.3f} ± {here.loss_se.item():.3f}")
            for component in here["component"].values:
                one = here.sel(component=component)
                print(f"  {component}  λ̂ = {one.llc.item():.2f} ± {one.llc_se.item():.2f}   {one.status.item()}")
        for word in sorted(set(results["status"].values.ravel())):
            print(f"{word}: {og.describe_status(word)}")


if __name__ == "__main__":
    main()
