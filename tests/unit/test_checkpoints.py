"""Checkpoints written, found, read, selected and loaded, and what is said when something does not fit."""

import hashlib
import json
import pickle
import sys

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ontogeny.core.errors import OntogenyError
from ontogeny.core.rng import generator
from ontogeny.inputs.checkpoint_writer import CheckpointWriter
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.inputs.load_weights import load_into
from ontogeny.inputs.weight_files import weights_digest, write_json


def weights(step):
    stream = generator(0, "weights", step)
    return {"b": torch.randn(3, generator=stream), "a": torch.randn(2, 3, generator=stream).bfloat16()}


def same(one, other):
    return one.keys() == other.keys() and all(
        torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one
    )


def written(folder, steps=(0, 1, 10)):
    writer = CheckpointWriter(folder, {"width": 4}, {"seed": 0})
    for step in steps:
        writer.write(step, weights(step), tokens=8 * step, loss=1.5 - step / 100)
    return writer


def test_what_is_written_is_read_back(tmp_path):
    checkpoints = written(tmp_path / "run", (10, 0, 1)).checkpoints()
    assert checkpoints.steps == (0, 1, 10) and len(checkpoints) == 3
    assert checkpoints.config == {"width": 4}
    assert checkpoints.tokens(10) == 80 and checkpoints.loss(10) == 1.4
    for step in checkpoints.steps:
        assert same(checkpoints.weights(step), weights(step))
        assert checkpoints.digest(step) == checkpoints.digest(step, verify=True) == weights_digest(weights(step))


def test_the_digest_is_sha256_over_names_types_shapes_and_bytes():
    held = {"b": torch.tensor([1.0, 2.0]), "a": torch.tensor(3, dtype=torch.int64), "empty": torch.zeros(0, 2)}
    stated = hashlib.sha256(
        b"a\0torch.int64\0()\0" + (3).to_bytes(8, "little")
        + b"b\0torch.float32\0(2,)\0" + held["b"].numpy().tobytes()
        + b"empty\0torch.float32\0(0, 2)\0"
    )  # fmt: skip
    assert weights_digest(held) == stated.hexdigest()[:16]
    for changed in (
        {**held, "b": torch.tensor([1.0, 2.0], dtype=torch.float64)},
        {**held, "b": torch.tensor([[1.0, 2.0]])},
        {**held, "b": torch.tensor([1.0, 2.0000002])},
        {("c" if name == "b" else name): value for name, value in held.items()},
    ):
        assert weights_digest(changed) != weights_digest(held)


def test_a_folder_of_safetensors_torch_files_and_hugging_face_folders(tmp_path):
    save_file(weights(100), tmp_path / "step_000100.safetensors")
    torch.save(weights(5), tmp_path / "step5.pt")
    torch.save({"model": weights(7), "epoch": 3}, tmp_path / "model-7.pt")
    (tmp_path / "checkpoint-20").mkdir()
    save_file(weights(20), tmp_path / "checkpoint-20" / "model.safetensors")
    sharded = tmp_path / "checkpoint-300"
    sharded.mkdir()
    save_file({"a": weights(300)["a"]}, sharded / "model-00001-of-00002.safetensors")
    save_file({"b": weights(300)["b"]}, sharded / "model-00002-of-00002.safetensors")
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    write_json(sharded / "model.safetensors.index.json", {"weight_map": places})
    write_json(sharded / "config.json", {"model_type": "gpt2"})
    (tmp_path / "log_000100.txt").write_text("not weights")
    (tmp_path / "runs-3").mkdir()
    save_file(weights(0), tmp_path / ".step_000001.safetensors")
    checkpoints = Checkpoints.from_folder(tmp_path)
    assert checkpoints.steps == (5, 7, 20, 100, 300)
    assert checkpoints.config == {"model_type": "gpt2"}
    assert checkpoints.tokens(5) is None and checkpoints.loss(5) is None
    for step in checkpoints.steps:
        assert same(checkpoints.weights(step), weights(step))
        assert checkpoints.digest(step) == weights_digest(weights(step))


def test_hub_revisions_are_downloaded_one_by_one_when_asked_for(tmp_path, monkeypatch):
    import huggingface_hub

    asked = []

    def snapshot_download(repository, *, revision, allow_patterns):
        asked.append((repository, revision))
        assert not [pattern for pattern in allow_patterns if pattern.endswith(".bin")]
        folder = tmp_path / revision
        if revision == "step9":
            raise OSError("no such revision\nand more")
        folder.mkdir(exist_ok=True)
        if revision != "step3":
            save_file(weights(int(revision[4:])), folder / "model.safetensors")
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    checkpoints = Checkpoints.from_hub("someone/pythia", {2: "step2", 1: "step1", 3: "step3", 9: "step9"})
    assert checkpoints.steps == (1, 2, 3, 9) and not asked
    assert same(checkpoints.weights(2), weights(2))
    assert asked == [("someone/pythia", "step2")]
    with pytest.raises(OntogenyError, match=r"revision 'step3' of 'someone/pythia' holds no model.safetensors"):
        checkpoints.weights(3)
    with pytest.raises(
        OntogenyError, match=r"'step9' of 'someone/pythia' could not be downloaded: no such revision\.$"
    ):
        checkpoints.weights(9)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(OntogenyError, match=r'needs the extra: pip install "ontogeny\[hub\]"'):
        checkpoints.weights(1)


def test_an_iterable_is_copied_so_that_training_on_does_not_change_it():
    model = nn.Linear(2, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    checkpoints = Checkpoints.from_iterable((step, model.state_dict()) for step in [4, 2])
    with torch.no_grad():
        model.weight.add_(1)
    assert checkpoints.steps == (2, 4)
    assert same(checkpoints.weights(4), before)


@pytest.mark.parametrize("kind", ["folder", "manifest", "memory"])
def test_they_survive_pickling(tmp_path, kind):
    if kind == "memory":
        checkpoints = Checkpoints.from_iterable([(3, weights(3))])
    elif kind == "manifest":
        checkpoints = written(tmp_path / "run", (3,)).checkpoints()
    else:
        save_file(weights(3), tmp_path / "step_3.safetensors")
        checkpoints = Checkpoints.from_folder(tmp_path)
    again = pickle.loads(pickle.dumps(checkpoints))
    assert again.steps == (3,) and again.digest(3) == checkpoints.digest(3)
    assert same(again.weights(3), weights(3))


def test_select_by_number_is_even_in_log_step_and_has_both_ends():
    checkpoints = Checkpoints.from_iterable((step, {"a": torch.zeros(1)}) for step in [0, 1, 2, 3, 7, 15, 31, 40, 63])
    assert checkpoints.select(4).steps == (0, 3, 15, 63)  # log2(step + 1) = 0, 2, 4, 6
    assert checkpoints.select(7).steps == (0, 1, 3, 7, 15, 31, 63)
    assert checkpoints.select(1).steps == (63,) and checkpoints.select(2).steps == (0, 63)
    assert checkpoints.select(100).steps == checkpoints.steps
    assert checkpoints.select([40, 2]).steps == (2, 40)
    crowded = Checkpoints.from_iterable((step, {"a": torch.zeros(1)}) for step in [0, 1000, 1001, 1002, 1003])
    for count in range(2, 6):
        chosen = crowded.select(count).steps
        assert len(chosen) == count and chosen[0] == 0 and chosen[-1] == 1003


def test_select_by_number_can_be_even_in_the_cube_root_of_the_step():
    checkpoints = Checkpoints.from_iterable((step, {"a": torch.zeros(1)}) for step in [0, 1, 8, 20, 27, 30, 64])
    assert checkpoints.select(5, spacing="cube root").steps == (0, 1, 8, 27, 64)
    with pytest.raises(OntogenyError, match=r"spacing must be one of 'log', 'cube root'; got 'linear'\."):
        checkpoints.select(5, spacing="linear")


def test_a_step_that_is_not_there_is_refused_with_its_neighbours():
    checkpoints = Checkpoints.from_iterable((step, {"a": torch.zeros(1)}) for step in [0, 10, 20, 500])
    with pytest.raises(OntogenyError, match=r"step 12 is no checkpoint; the nearest of the 4 there are: 0, 10, 20"):
        checkpoints.weights(12)
    with pytest.raises(OntogenyError, match=r"step 12 is no checkpoint"):
        checkpoints.select([12])
    with pytest.raises(OntogenyError, match=r"steps must be at least one checkpoint, or the steps themselves; got 0"):
        checkpoints.select(0)
    with pytest.raises(OntogenyError, match=r"steps must be how many checkpoints, or a list of steps; got 2.5"):
        checkpoints.select(2.5)


def test_impossible_runs_are_refused(tmp_path):
    with pytest.raises(OntogenyError, match=r"there are none; expected at least one step"):
        Checkpoints.from_iterable([])
    with pytest.raises(OntogenyError, match=r"step must be a whole number of at least 0; got -1"):
        Checkpoints.from_iterable([(-1, weights(0))])
    with pytest.raises(OntogenyError, match=r"step 1 must come with a state dict, tensors by name; got Linear"):
        Checkpoints.from_iterable([(1, nn.Linear(1, 1))])
    with pytest.raises(OntogenyError, match=r"holds no checkpoints; expected manifest.json"):
        Checkpoints.from_folder(tmp_path)
    with pytest.raises(OntogenyError, match=r"path must be a folder of checkpoints; .*gone is none"):
        Checkpoints.from_folder(tmp_path / "gone")
    save_file(weights(1), tmp_path / "step_1.safetensors")
    torch.save(weights(1), tmp_path / "optimizer-1.pt")
    with pytest.raises(OntogenyError, match=r"step 1 occurs twice \(.*optimizer-1.pt.*\); keep one of the two"):
        Checkpoints.from_folder(tmp_path)


class Dangerous:
    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a1.pt", {"a": torch.zeros(1), "b": Dangerous()}, "a1.pt holds more than tensors, and nothing is unpickled"),
        ("a1.pt", {"lr": 0.1}, "a1.pt holds no state dict; expected tensors by name, at the top or under 'model'"),
        ("a1.pt", b"cut off", "a1.pt (cannot be read as a torch file|holds more than tensors)"),
        ("a1.safetensors", b"cut off", "a1.safetensors cannot be read as safetensors"),
    ],
)
def test_files_that_are_no_weights_are_refused(tmp_path, capsys, name, content, message):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        torch.save(content, tmp_path / name)
    with pytest.raises(OntogenyError, match=message):
        Checkpoints.from_folder(tmp_path).weights(1)
    assert "must not run" not in capsys.readouterr().out


def test_a_changed_file_is_told_from_its_manifest(tmp_path):
    checkpoints = written(tmp_path / "run").checkpoints()
    save_file(weights(2), tmp_path / "run" / "step_00000001.safetensors")
    assert checkpoints.digest(1) == weights_digest(weights(1))
    for ask in (checkpoints.weights, lambda step: checkpoints.digest(step, verify=True)):
        with pytest.raises(OntogenyError, match=r"step 1 \(step_00000001.safetensors\) have digest .* was recorded"):
            ask(1)
    assert same(checkpoints.weights(10), weights(10))
    (tmp_path / "run" / "step_00000010.safetensors").unlink()
    with pytest.raises(OntogenyError, match=r"step_00000010.safetensors does not exist \(any more\)"):
        checkpoints.weights(10)


def test_manifests_of_others_are_refused(tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(OntogenyError, match=r"manifest.json was not written by training here"):
        Checkpoints.from_folder(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(OntogenyError, match=r"manifest.json holds no JSON object"):
        Checkpoints.from_folder(tmp_path)
    manifest = json.loads((written(tmp_path / "run").folder / "manifest.json").read_text())
    write_json(tmp_path / "manifest.json", {**manifest, "format": 99})
    with pytest.raises(OntogenyError, match=r"has format 99, and this version reads 1"):
        Checkpoints.from_folder(tmp_path)


def test_the_writer_goes_on_in_its_own_folder_only(tmp_path):
    written(tmp_path / "run", (0, 1))
    assert written(tmp_path / "run", (1, 10)).steps == (0, 1, 10)
    with pytest.raises(OntogenyError, match=r"another run, which differs in config.width \(4 there, 5 here\)"):
        CheckpointWriter(tmp_path / "run", {"width": 5}, {"seed": 0})
    with pytest.raises(
        OntogenyError, match=r"differs in settings.seed \(0 there, 1 here\); settings.more \(none there"
    ):
        CheckpointWriter(tmp_path / "run", {"width": 4}, {"seed": 1, "more": [1]})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(OntogenyError, match=r"mine holds files that no training wrote; name an empty or a new one"):
        CheckpointWriter(tmp_path / "mine", None, {})


def test_a_kill_at_any_rename_leaves_a_folder_that_reads_and_goes_on(tmp_path, monkeypatch):
    from pathlib import Path

    replace, count = Path.replace, 0

    def fails_at(number):
        def replacing(self, target):
            nonlocal count
            count += 1
            if count == number:
                raise KeyboardInterrupt
            return replace(self, target)

        return replacing

    interrupted = 0
    for number in range(1, 30):
        folder, count = tmp_path / str(number), 0
        monkeypatch.setattr(Path, "replace", fails_at(number))
        try:
            writer = written(folder, (0, 1))
            writer.write(1, weights(2), tokens=8, loss=1.49)  # replaces what is there
        except KeyboardInterrupt:
            interrupted += 1
        else:
            break
        finally:
            monkeypatch.setattr(Path, "replace", replace)
        if (folder / "manifest.json").exists() and CheckpointWriter(folder, {"width": 4}, {"seed": 0}).steps:
            found = Checkpoints.from_folder(folder)
            assert all(found.digest(step, verify=True) for step in found.steps)
        assert written(folder, (0, 1, 10)).checkpoints().steps == (0, 1, 10)
        assert same(Checkpoints.from_folder(folder).weights(1), weights(1))
    assert interrupted == 8  # manifest; twice file and manifest; manifest, file, manifest


class Tied(nn.Module):
    def __init__(self, tied=True):
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        if tied:
            self.head.weight = self.embed.weight
        self.register_buffer("scale", torch.ones(2))


def test_a_tied_weight_is_written_once_and_loads_under_both_names(tmp_path):
    model = Tied()
    checkpoints = Checkpoints.from_iterable([(0, model.state_dict())])
    writer = CheckpointWriter(tmp_path / "run", None, {})
    writer.write(0, model.state_dict(), None, None)
    for held in (checkpoints.weights(0), writer.checkpoints().weights(0)):
        assert held.keys() == {"embed.weight", "scale"}
        other = Tied()
        load_into(other, held)
        assert torch.equal(other.head.weight, model.embed.weight)
    load_into(other, {"head.weight": model.embed.weight, "scale": torch.zeros(2)})
    load_into(other, Tied().state_dict())
    with pytest.raises(OntogenyError, match=r"embed.weight and head.weight differ, and the model ties them"):
        load_into(other, Tied(tied=False).state_dict())


def test_buffers_that_a_model_builds_itself_may_be_missing_or_left_over():
    from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig

    config = AttentionOnlyConfig(vocabulary=5, context=4, width=4, layers=1, heads=2)
    model, other = AttentionOnly(config), AttentionOnly(config, seed=1)
    held = {**other.state_dict(), "blocks.0.attn.mask": torch.zeros(3), "blocks.0.attn.IGNORE": torch.tensor(0.0)}
    load_into(model, held)
    assert same(model.state_dict(), other.state_dict())
    model.blocks[0].attn.register_buffer("mask", torch.ones(2, 2))
    load_into(model, other.state_dict())
    load_into(model, held)
    assert torch.equal(model.blocks[0].attn.mask, torch.ones(2, 2))


def test_the_prefix_of_a_hugging_face_model_may_be_missing():
    class WithHead(nn.Module):
        base_model_prefix = "transformer"

        def __init__(self):
            super().__init__()
            self.transformer = nn.ModuleDict({"wte": nn.Embedding(3, 2)})

    model, table = WithHead(), torch.arange(6.0).view(3, 2)
    load_into(model, {"wte.weight": table.bfloat16()})
    assert torch.equal(model.transformer["wte"].weight, table)


def test_weights_of_another_model_are_refused_and_nothing_is_loaded():
    model, before = Tied(tied=False), Tied(tied=False)
    before.load_state_dict(model.state_dict())
    right = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    without_scale = {name: value for name, value in right.items() if name != "scale"}
    for wrong, message in [
        (without_scale, "weights do not fit the model: missing scale. Build the model from the configuration"),
        ({**right, "extra": torch.zeros(1)}, "weights do not fit the model: not expected extra"),
        ({**right, "scale": torch.zeros(3)}, r"scale has shape \(3,\), and the model's has \(2,\)"),
        ({}, "missing embed.weight, head.weight, scale"),
    ]:
        with pytest.raises(OntogenyError, match=message):
            load_into(model, wrong)
        assert same(model.state_dict(), before.state_dict())
