"""``ontogeny measure``: the numbers of og.measure from a command line; what is wrong with one is said in a sentence."""

import json
import shutil
import sys
from pathlib import Path

import measure_command
import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import save_file

import ontogeny as og
from ontogeny.cli import main
from ontogeny.core.rng import generator
from ontogeny.core.schema import setting
from ontogeny.execution.measure import measure
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.inputs.language_losses import NextToken
from ontogeny.inputs.text import train_tokenizer, write_blocks
from ontogeny.store import read_zarr
from ontogeny.training.language_model import LanguageTraining, train_language_model

HERE = Path(__file__).parent
FROZEN = {"n_beta": 20.0, "localization": 50.0}
SHORT = {"step_size": 1e-3, "batch_size": 4, "chains": 2, "draws": 6, "burn_in": 2}
OPTIONS = [part for name, value in (FROZEN | SHORT).items() for part in (f"--{name.replace('_', '-')}", str(value))]
FUNCTION = "measure_command:build"


@pytest.fixture
def call(monkeypatch, capsys):
    """Call ``ontogeny measure`` in this process, one worker; returns (status, stdout, stderr) with lines unbroken."""
    monkeypatch.setattr("ontogeny.cli.interruption.end_in_order", lambda: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ontogeny", "measure", *map(str, arguments), "--workers", "1"])
        monkeypatch.setenv("COLUMNS", "400")
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return (ended.value.code or 0), out, err

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A training run of three checkpoints, a transformers model, token blocks, files of tokens and a text."""
    base = tmp_path_factory.mktemp("inputs")
    words = generator(0, "words")
    (base / "text").mkdir()
    for number in range(40):
        picked = torch.randint(6, (60,), generator=words).tolist()
        text = " ".join(("loss", "head", "learns", "falls", "the", "model")[i] for i in picked)
        (base / "text" / f"{number}.txt").write_text(text, encoding="utf-8")
    source = f"dir:{base / 'text'}"
    tokenizer = train_tokenizer(source, 280)
    rows = write_blocks(base / "blocks", source, tokenizer, 12, 20, held_out=3, held_out_share=0.2, progress=False)
    settings = LanguageTraining(steps=4, batch_size=4, learning_rate=0.05, warm_up=0, checkpoints=(0, 2))
    train_language_model(measure_command.build(), rows, settings, base / "run", progress=False)
    tokens = torch.randint(280, (8, 14), generator=generator(0, "tokens"))
    save_file({"input_ids": tokens.int(), "other": tokens[:3].clone()}, base / "rows.safetensors")
    np.save(base / "sequence.npy", tokens.flatten().numpy())
    save_file({"only": torch.zeros(3, 4)}, base / "real.safetensors")
    return base


@pytest.fixture(scope="module")
def llama(folder):
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=300,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=12,
        max_position_embeddings=12,
        bos_token_id=0,
        eos_token_id=0,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(folder / "llama")
    return folder / "llama"


def rows_of(folder, name="input_ids", columns=14):
    from safetensors.torch import load_file

    return load_file(folder / "rows.safetensors")[name].long()[:, :columns]


def test_the_numbers_are_those_of_measure(call, folder, tmp_path):
    status, out, err = call(
        *("--model", folder / "run", "--data", f"blocks={folder / 'blocks'}"),
        *("--data", f"file={folder / 'rows.safetensors'}", "--context", 12, "--examples", 6),
        *("--components", "0:1", "--components", "both=1:0,1:1", "--metrics", "gradient_norm,loss", "--steps", "0,4"),
        *("--out", tmp_path / "out"),
    )
    assert status == 0 and err == "", err
    blocks = torch.from_numpy(np.load(folder / "blocks" / "train.npy").astype(np.int64))
    measure(
        measure_command.build(),
        Checkpoints.from_folder(folder / "run").select([0, 4]),
        {"blocks": blocks[:6], "file": rows_of(folder, columns=12)[:6]},
        NextToken(),
        {"0:1": "0:1", "both": ["1:0", "1:1"]},
        ("gradient_norm", "loss"),
        out=tmp_path / "again",
        workers=1,
    )
    found = read_zarr(tmp_path / "out" / "results.zarr")
    xr.testing.assert_identical(found, read_zarr(tmp_path / "again" / "results.zarr"))
    for name in ("blocks", "file"):
        last = found.isel(checkpoint=-1).sel(component="both", dataset=name)
        assert (
            f"{last.loss.item():.4g} ± {last.loss_se.item():.2g}" in out and f"{last.gradient_norm.item():.3g}" in out
        )
    assert "AttentionOnly" in out and "steps 0, 4" in out and "file: 6 rows of 12 tokens" in out
    assert "12 tasks (2 checkpoints, 2 components, 2 data sets)" in out and "0 done already" in out
    assert "0:1, both" in out and str(tmp_path / "out" / "results.zarr") in out


def test_an_estimate_with_the_settings_asked_for_and_what_its_status_means(call, folder, tmp_path):
    status, out, err = call(
        *("--model", folder / "run", "--data", f"blocks={folder / 'blocks'}", "--components", "1:1", "--count", 1),
        *("--out", tmp_path / "out", "--precision", "bfloat16", *OPTIONS),
    )
    assert status == 0 and err == "", err
    found = read_zarr(tmp_path / "out" / "results.zarr")
    one, word = found.isel(checkpoint=0, component=0, dataset=0), found["status"].item()
    assert {name: setting(one, name) for name in FROZEN | SHORT} == FROZEN | SHORT
    assert found.attrs["precision"] == "bfloat16"
    assert found["step"].item() == 4 and f"{one.llc.item():.4g} ± {one.llc_se.item():.2g}" in out
    assert word != "ok"  # six draws are too few
    assert f"0 of 1 estimates are ok; not ok:\n  {word}, 1: {og.describe_status(word)}" in out


def test_a_dry_run_writes_nothing(call, folder, tmp_path):
    status, out, err = call(
        *("--model", FUNCTION, "--data", f"file={folder / 'rows.safetensors'}", "--context", 12),
        *("--components", "heads", "--out", tmp_path / "out", "--dry-run", *OPTIONS),
    )
    assert status == 0 and err == "" and not (tmp_path / "out").exists()
    assert "4 tasks (1 checkpoint, 4 components, 1 data set)" in out and "gradients of a minibatch" in out
    assert "0:0, 0:1, 1:0, 1:1" in out and "±" not in out


def test_text_is_cut_once_and_kept_with_its_record(call, folder, tmp_path):
    arguments = (
        *("--model", FUNCTION, "--tokenizer", folder / "blocks" / "tokenizer.json"),
        *("--data", f"words=dir:{folder / 'text'}", "--examples", 5, "--metrics", "loss", "--out", tmp_path / "out"),
    )
    assert call(*arguments, "--dry-run")[0] == 0 and not (tmp_path / "out").exists()
    status, out, err = call(*arguments)
    assert status == 0 and err == "" and "words: 5 rows of 12 tokens" in out
    record = json.loads((tmp_path / "out" / "data" / "words" / "manifest.json").read_text(encoding="utf-8"))
    assert record["request"]["mixture"] == [[1.0, "dir:text"]] and record["request"]["blocks"] == 5
    assert "1 done already" in call(*arguments)[1]
    status, _, err = call(*arguments, "--examples", 6)
    assert status == 1 and err.startswith("ontogeny: data 'words': ") and "blocks" in err


def test_rows_of_text_are_kept_before_the_work_begins(call, folder, tmp_path, monkeypatch):
    """A run that is killed has them too, and another process may see no half of them."""
    seen = []

    def run(self, *given, **named):
        seen.extend(sorted(path.name for path in (tmp_path / "out").iterdir()))
        raise og.OntogenyError("far enough.")

    monkeypatch.setattr("ontogeny.execution.study.Study.run", run)
    status, _, err = call(
        *("--model", FUNCTION, "--tokenizer", folder / "blocks" / "tokenizer.json", "--metrics", "loss"),
        *("--data", f"words=dir:{folder / 'text'}", "--examples", 5, "--out", tmp_path / "out"),
    )
    assert status == 1 and err == "ontogeny: far enough.\n" and seen == ["data", "study.json"]
    assert (tmp_path / "out" / "data" / "words" / "manifest.json").exists()


def test_names_may_hold_brackets(call, folder, tmp_path):
    status, out, err = call(
        *("--model", FUNCTION, "--data", f"[bold]={folder / 'rows.safetensors'}", "--context", 12),
        *("--components", "[red]=0:0", "--metrics", "gradient_norm", "--out", tmp_path / "out"),
    )
    assert status == 0 and err == "", err
    table = out[out.index("step 0") :]
    assert "[bold]" in table and "[red]" in table


def test_a_folder_of_measure_has_no_report(call, folder, tmp_path, monkeypatch, capsys):
    status, _, err = call(
        *("--model", FUNCTION, "--data", f"d={folder / 'rows.safetensors'}", "--context", 12, "--metrics", "loss"),
        *("--out", tmp_path / "out"),
    )
    assert status == 0, err
    monkeypatch.setattr(sys, "argv", ["ontogeny", "report", str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert said.startswith(f"ontogeny: {tmp_path / 'out'} was written by `ontogeny measure`, whose measurements are in")
    assert "results.zarr; `ontogeny report` makes the reports of what `ontogeny run` wrote." in said


def test_checkpoints_of_a_trainer_come_before_the_model_it_saved_last(llama, tmp_path):
    from ontogeny.inputs.named.models import named_model

    for place in ("trained", "trained/checkpoint-100", "trained/checkpoint-20"):
        shutil.copytree(llama, tmp_path / place)
    assert named_model(str(tmp_path / "trained"))[1]().steps == (20, 100)
    assert named_model(str(llama))[1]().steps == (0,)


def test_heads_of_grouped_queries_and_what_they_share(call, folder, llama, tmp_path):
    status, out, err = call(
        *("--model", llama, "--data", f"file={folder / 'rows.safetensors'}", "--context", 8, "--examples", 4),
        *("--components", "1:0,1:1", "--components", "layers", "--metrics", "gradient_norm", "--out", tmp_path / "out"),
    )
    assert status == 0 and err == "", err
    found = read_zarr(tmp_path / "out" / "results.zarr")
    assert list(found["component"].values) == ["1:0", "1:1", "0:attn", "1:attn", "0:mlp", "1:mlp"]
    assert list(found["step"].values) == [0] and bool((found["gradient_norm"] > 0).all())
    assert "3 pairs of components share weights, 1:0 and 1:attn the most, 64" in out
    assert "LlamaForCausalLM" in out


def test_divergence_from_the_last_checkpoint_is_zero_there(call, folder, tmp_path):
    status, _, err = call(
        *("--model", folder / "run", "--loss", f"divergence:{folder / 'run'}", "--metrics", "loss", "--count", 2),
        *("--data", f"blocks={folder / 'blocks'}#held_out", "--out", tmp_path / "out"),
    )
    assert status == 0 and err == "", err
    found = read_zarr(tmp_path / "out" / "results.zarr")["loss"].values.ravel()
    assert found[0] > 1e-3 and abs(found[1]) < 1e-6


WRONG = [
    (("--data", "blocks"), ("--data", "NAME=WHERE", "'blocks'")),
    (("--data", "rows=a.npy", "--data", "rows=b.npy"), ("--data", "'rows' twice")),
    (("--metrics", "llc,beauty"), ("--metrics", "llc, loss, gradient_norm", "'beauty'")),
    (("--kernel", "popcorn"), ("--kernel", "baoab", "sgld", "'popcorn'")),
    (("--executor", "moon"), ("--executor", "local, ray", "'moon'")),
    (("--address", "10.0.0.1:6379"), ("--address", "--executor ray")),
    (("--precision", "float8"), ("--precision", "float32, bfloat16", "'float8'")),
    (("--loss", "accuracy"), ("--loss", "next-token", "divergence:REFERENCE", "'accuracy'")),
    (("--steps", "0,last"), ("--steps", "0,100,200", "'0,last'")),
    (("--steps", "0", "--count", "2"), ("--steps", "--count", "not both")),
    (("--count", "0"), ("--count", "1")),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=lambda part: " ".join(part))
def test_a_wrong_call_has_status_two(call, tmp_path, arguments, said):
    given = () if "--data" in arguments else ("--data", "rows=rows.npy")
    status, _, err = call("--model", FUNCTION, "--out", tmp_path / "out", *given, *arguments)
    assert status == 2 and "Traceback" not in err and not (tmp_path / "out").exists()
    for word in said:
        assert word in err


FAULTS = [
    (("--model", "nowhere"), ("model must be a folder", "MODULE:FUNCTION", "'nowhere'")),
    (("--model", "{}/blocks"), ("was not written by training",)),
    (("--model", "no_such_module:build"), ("no_such_module:build cannot be imported", "Run the command in the folder")),
    (("--model", "measure_command:absent"), ("measure_command:absent cannot be imported",)),
    (("--model", "measure_command:nothing"), ("must return a torch.nn.Module", "NoneType")),
    (("--model", "measure_command:broken"), ("failed with ValueError: no luck.",)),
    (("--checkpoints", "{}/text"), ("holds no checkpoints",)),
    (("--checkpoints", "hub:owner/name@step1,main"), ("STEP=REVISION", "'main'")),
    (("--checkpoints", "hub:owner/name"), ("hub:REPOSITORY@REVISION",)),
    (("--checkpoints", "hub:owner/name@step1,1=b"), ("step 1 stands twice",)),
    (("--steps", "3"), ("step 3 is no checkpoint",)),
    (("--components", "5:0"), ("layer 5", "0:0 … 1:1")),
    (("--components", "0:0,"), ("components must be SELECTION", "'0:0,'")),
    (("--components", "a,b=0:0"), ("components must be SELECTION", "'a,b=0:0'")),
    (("--components", "0:0,0:0"), ("components names '0:0' twice",)),
    (("--components", "0:0", "--components", "0:0=0:1"), ("components names '0:0' twice",)),
    (("--data", "d=nowhere.npy"), ("nowhere.npy cannot be read",)),
    (("--data", "d=rows.csv"), ("data 'd' must be a folder of token blocks", "dir:PATH", "'rows.csv'")),
    (("--data", "d={}/text"), ("holds no token blocks", "write dir:")),
    (("--data", "d={}/blocks#test"), ("split must be one that", "held_out (3 rows)")),
    (("--data", "d={}/rows.safetensors#absent"), ("holds the tensors", "input_ids")),
    (("--data", "d={}/real.safetensors"), ("whole numbers", "torch.float32")),
    (("--data", "d={}/rows.safetensors", "--loss", "divergence:nowhere"), ("model must be a folder",)),
    (("--data", "d=dir:{}/text"), ("no tokenizer.json comes with measure_command:build", "--tokenizer")),
    (("--n-beta", "-1"), ("n_beta must be a positive number",)),
]


@pytest.mark.parametrize(("arguments", "said"), FAULTS, ids=lambda part: " ".join(part))
def test_what_cannot_be_is_one_sentence(call, folder, tmp_path, arguments, said):
    arguments = [part.replace("{}", str(folder)) for part in arguments]
    given = [*(() if "--model" in arguments else ("--model", FUNCTION))]
    given += [] if "--data" in arguments else ["--data", f"rows={folder / 'rows.safetensors'}"]
    status, _, err = call(*given, *arguments, "--context", 12, "--out", tmp_path / "out", "--dry-run")
    assert status == 1 and err.startswith("ontogeny: ") and err.endswith(".\n") and err.count("\n") == 1, err
    assert not (tmp_path / "out").exists()
    for word in said:
        assert word in err


def test_tokens_beyond_the_vocabulary_are_refused(call, folder, tmp_path):
    np.save(tmp_path / "large.npy", np.full((4, 12), 300))
    status, _, err = call("--model", FUNCTION, "--data", f"d={tmp_path / 'large.npy'}", "--out", tmp_path / "out")
    assert status == 1 and "tokens go from 300 to 300, and the model's vocabulary is 0 to 299" in err


@pytest.mark.parametrize("known", [300, None])
def test_negative_tokens_are_refused(folder, tmp_path, known):
    from ontogeny.inputs.named.data import RowsOfTokens

    np.save(tmp_path / "filled.npy", np.array([[1, 2, -100]]))
    reading = RowsOfTokens(lambda: pytest.fail("no tokenizer is needed"), 3, False, None, known, folder, folder)
    with pytest.raises(og.OntogenyError, match=r"filled\.npy holds the token -100, and tokens must not be negative"):
        reading.read("d", str(tmp_path / "filled.npy"))


def test_a_long_sequence_is_cut_into_rows(folder):
    from ontogeny.inputs.named.data import RowsOfTokens

    reading = RowsOfTokens(lambda: pytest.fail("no tokenizer is needed"), 10, False, 4, None, folder, folder)
    rows = reading.read("d", str(folder / "sequence.npy"))
    assert rows.dtype == torch.int64
    assert torch.equal(rows, rows_of(folder).flatten()[:40].reshape(4, 10))


def test_revisions_of_the_hub():
    from ontogeny.inputs.named.checkpoints import named_checkpoints

    run = named_checkpoints("hub:owner/name@step1000,0=start,seed3-step20")
    assert run.steps == (0, 20, 1000)
    assert [run._entry(step).source.revision for step in run.steps] == ["start", "seed3-step20", "step1000"]


def test_a_model_of_the_hub_is_built_from_its_configuration(llama, monkeypatch):
    import transformers

    from ontogeny.inputs.named.models import named_model

    config = transformers.AutoConfig.from_pretrained(llama)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", {"owner/name": config}.__getitem__)
    model, checkpoints = named_model("hf:owner/name")
    assert isinstance(model, transformers.LlamaForCausalLM) and model.dtype == torch.float32
    source = checkpoints()._entry(0).source
    assert (source.repository, source.revision) == ("owner/name", "main")
    with pytest.raises(
        og.OntogenyError, match=r"^model: owner/other cannot be built .* transformers: 'owner/other'\.$"
    ):
        named_model("hf:owner/other")


def test_all_and_unions_of_every_head(folder):
    from ontogeny.inputs.named.components import named_components

    model = measure_command.build()
    assert named_components(model, []) == {"all": None}
    assert named_components(model, ["all", "attention=heads"]) == {
        "all": None,
        "attention": ["0:0", "0:1", "1:0", "1:1"],
    }
    assert named_components(model, ["layers"]) == {"0:attn": "0:attn", "1:attn": "1:attn"}


def test_help_says_what_can_be_given(call):
    status, out, _ = call("--help")
    assert status == 0
    for word in ("--model", "--checkpoints", "--data", "--components", "--dry-run", "What is measured", "heads"):
        assert word in out
