"""``ontogeny measure``: refined LLCs of a training run of one's own; states the cost, then measures or goes on."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ontogeny.cli.choices import check_executor, one_of

WHAT, HOW, WHERE = "What is measured", "How well; what is left out is chosen by rule", "Where"
DATA = re.compile(r"(?P<name>[^=:/\\?#*.][^=:/\\?#*]*)=(?P<where>.+)", re.DOTALL)
LONGEST_ROW = 1024
"""Tokens a row of text where the model reads more, or does not say."""


def measure(
    model: Annotated[
        str,
        typer.Option(
            help="A folder that training wrote (its checkpoints come with it) or that holds a transformers model, "
            "hf:NAME of the hub, or MODULE:FUNCTION that returns a torch.nn.Module.",
            rich_help_panel=WHAT,
        ),
    ],
    data: Annotated[
        list[str],
        typer.Option(
            help="NAME=WHERE, for each data set: a folder of token blocks, a .npy or .safetensors file of token ids "
            "(FILE#TENSOR), or a text such as dir:PATH, installed:docs or 0.8*dir:a + 0.2*dir:b. "
            "#held_out takes the held-out documents of blocks or text.",
            rich_help_panel=WHAT,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results; run again, it goes on.", rich_help_panel=WHAT)],
    checkpoints: Annotated[
        str | None,
        typer.Option(
            help="A folder of checkpoints, or hub:REPOSITORY@step0,step1000,143000=main. Left out: those that come "
            "with the model, or its own weights as step 0.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    steps: Annotated[
        str | None, typer.Option(help="Only these checkpoints, as 0,100,200.", rich_help_panel=WHAT)
    ] = None,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="Only so many checkpoints, evenly spaced in log(step + 1).", rich_help_panel=WHAT),
    ] = None,
    components: Annotated[
        list[str] | None,
        typer.Option(
            help="SELECTION,… or, for a union, NAME=SELECTION,…: 1:3 (layer:head), 1:attn, 1:mlp, embed, unembed, ln, "
            "a glob over parameter names, random:2000, all, heads (every head), layers (every attention and MLP). "
            "Left out: all weights.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            help="llc, loss, gradient_norm, hessian_trace, fisher_trace, empirical_fisher_trace, hessian_rank, "
            "second_order; several by commas. Left out: llc.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    loss: Annotated[
        str,
        typer.Option(
            help="next-token, or divergence:REFERENCE with a model named as in --model, which generates the data.",
            rich_help_panel=WHAT,
        ),
    ] = "next-token",
    examples: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="The first so many rows of each data set. Left out: all of a file or folder, 1000 of a text.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            min=2,
            help=f"Tokens a row; longer rows of files are cut. Left out: what the model reads, at most {LONGEST_ROW}.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="tokenizer.json for texts. Left out: the model's, or that of the token blocks.", rich_help_panel=WHAT
        ),
    ] = None,
    n_beta: Annotated[float | None, typer.Option(help="Inverse temperature nβ, 1/nat.", rich_help_panel=HOW)] = None,
    localization: Annotated[
        float | None,
        typer.Option(
            help="Localization γ, 1/weight²; what a study began with is kept in its folder.", rich_help_panel=HOW
        ),
    ] = None,
    step_size: Annotated[
        float | None, typer.Option(help="Step ε of the sampler, weight².", rich_help_panel=HOW)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows a step.", rich_help_panel=HOW)] = None,
    chains: Annotated[int | None, typer.Option(help="Chains of one estimate.", rich_help_panel=HOW)] = None,
    draws: Annotated[int | None, typer.Option(help="Exactly so many draws a chain.", rich_help_panel=HOW)] = None,
    burn_in: Annotated[int | None, typer.Option(help="Steps before the first draw.", rich_help_panel=HOW)] = None,
    kernel: Annotated[str | None, typer.Option(help="The sampler; by rule baoab.", rich_help_panel=HOW)] = None,
    target_se: Annotated[
        float | None, typer.Option(help="Draw until the standard error is this part of λ̂.", rich_help_panel=HOW)
    ] = None,
    max_draws: Annotated[
        int | None, typer.Option(help="The most gradients of one estimate.", rich_help_panel=HOW)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, or bfloat16 for the forward pass.", rich_help_panel=HOW)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all random streams.", rich_help_panel=HOW)] = 0,
    executor: Annotated[str, typer.Option(help="local (this machine) or ray.", rich_help_panel=WHERE)] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster to join; left out, one is started here.", rich_help_panel=WHERE)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; by rule one a core or GPU.", rich_help_panel=WHERE)
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by rule GPUs if any.", rich_help_panel=WHERE)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="State the cost and stop there.")] = False,
) -> None:
    """Measure a training run of your own: every checkpoint, component and data set, with errors and statuses.

    Says what it will cost before it starts. Stopped and run again, it goes on where it was.

    ontogeny measure --model runs/lm --data docs=installed:docs --components heads --count 8 --out measured --dry-run
    """
    from ontogeny.cli.measured import print_measured, print_plan
    from ontogeny.inputs.named.models import named_loss, named_model
    from ontogeny.inputs.precision import PRECISIONS
    from ontogeny.metrics.registry import METRICS
    from ontogeny.sampling.kernels import KERNELS

    places = _by_name(data)
    asked = list(dict.fromkeys(part.strip() for one in metrics or ["llc"] for part in one.split(",")))
    for name in asked:
        one_of(name, METRICS, "--metrics")
    check_executor(executor, address)
    one_of(kernel, sorted(KERNELS), "--kernel")
    one_of(precision, PRECISIONS, "--precision")
    chosen = _chosen(steps, count)
    _check_loss(loss)

    from ontogeny.execution.executors import executor as get_executor
    from ontogeny.execution.plan import plan
    from ontogeny.inputs.named.checkpoints import named_checkpoints
    from ontogeny.inputs.named.components import named_components
    from ontogeny.sampling.settings import Settings

    module, own = named_model(model)
    run = own() if checkpoints is None else named_checkpoints(checkpoints)
    run = run if chosen is None else run.select(chosen)
    selections = named_components(module, components or [])
    loss_fn = named_loss(loss)
    kept = out / "data"
    with tempfile.TemporaryDirectory() as temporary:
        rows = _rows(module, model, places, tokenizer, context, examples, kept, Path(temporary))
        settings = Settings(
            n_beta, localization, step_size, batch_size, chains, draws, burn_in, target_se, max_draws, kernel, seed,
            device, precision,
        )  # fmt: skip
        study = plan(module, run, rows, loss_fn, selections, asked, out=out, settings=settings)
        print_plan(model, module, run, rows, selections, asked, loss)
        typer.echo(study.cost().describe())
        sys.stdout.flush()  # the cost is to be read before the work, in a file too
        if dry_run:
            return
        study.begin()
        _keep(Path(temporary), kept)
    found = study.run(get_executor(executor, address), workers=workers)
    print_measured(found, out / "results.zarr")


def _rows(
    module: Any,
    model: str,
    places: dict[str, str],
    tokenizer: Path | None,
    context: int | None,
    examples: int | None,
    written: Path,
    fresh: Path,
) -> dict[str, Any]:
    """Every data set as rows of tokens."""
    from ontogeny.core.errors import OntogenyError
    from ontogeny.inputs.named.data import RowsOfTokens, blocks_tokenizer
    from ontogeny.inputs.named.models import longest_sequence, tokenizer_file, vocabulary
    from ontogeny.inputs.text import Tokenizer, load_tokenizer

    def find() -> Tokenizer:
        file = tokenizer or tokenizer_file(model) or blocks_tokenizer(places.values())
        if file is None:
            raise OntogenyError(
                f"no tokenizer.json comes with {model}, nor with token blocks; name one with --tokenizer."
            )
        return load_tokenizer(file)

    reading = RowsOfTokens(
        tokenizer=find,
        context=context or min(longest_sequence(module) or LONGEST_ROW, LONGEST_ROW),
        cut=context is not None,
        examples=examples,
        vocabulary=vocabulary(module),
        written=written,
        fresh=fresh,
    )
    return {name: reading.read(name, where) for name, where in places.items()}


def _keep(fresh: Path, kept: Path) -> None:
    """Put rows of text beside the study that they are made for, with the record of the text; whole or not at all."""
    for folder in fresh.iterdir():
        kept.mkdir(exist_ok=True)
        half = kept.parent / f".{folder.name}.{os.getpid()}.tmp"  # a name that is tidied up after a process was killed
        shutil.copytree(folder, half)
        half.rename(kept / folder.name)


def _by_name(data: Sequence[str]) -> dict[str, str]:
    out: dict[str, str] = {}
    for text in data:
        found = DATA.fullmatch(text)
        if found is None:
            raise typer.BadParameter(f"must be NAME=WHERE, as docs=installed:docs; got {text!r}.", param_hint="--data")
        name = found["name"].strip()
        if name in out:
            raise typer.BadParameter(f"names {name!r} twice; give each data set its own name.", param_hint="--data")
        out[name] = found["where"].strip()
    return out


def _chosen(steps: str | None, count: int | None) -> list[int] | int | None:
    if steps is None:
        return count
    if count is not None:
        raise typer.BadParameter("give either --steps or --count, not both.", param_hint="--steps")
    parts = [part.strip() for part in steps.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise typer.BadParameter(
            f"must be steps separated by commas, as 0,100,200; got {steps!r}.", param_hint="--steps"
        )
    return [int(part) for part in parts]


def _check_loss(loss: str) -> None:
    from ontogeny.inputs.named.models import DIVERGENCE, LOSSES

    if loss != LOSSES[0] and (not loss.startswith(DIVERGENCE) or loss == DIVERGENCE):
        raise typer.BadParameter(f"must be {' or '.join(LOSSES)}; got {loss!r}.", param_hint="--loss")
