"""What a command line names: a model, its checkpoints, files of tokens; what is none of these is one sentence."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import ontogeny as og
from ontogeny.inputs.named.checkpoints import named_checkpoints
from ontogeny.inputs.named.data import RowsOfTokens, blocks_tokenizer
from ontogeny.inputs.named.models import named_model, tokenizer_file
from ontogeny.inputs.text import parse_source

NOBODY = "~no_such_user/place"


def read(where, context=3, examples=None):
    nowhere = Path("nowhere")
    reading = RowsOfTokens(
        lambda: pytest.fail("no tokenizer is needed"), context, True, examples, None, nowhere, nowhere
    )
    return reading.read("d", str(where))


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (np.array(5), r"must hold token ids of shape \(rows, positions\).* got shape \(\)\.$"),
        (np.ones((2, 3, 4), int), r"must hold token ids of shape .* got shape \(2, 3, 4\)\.$"),
        (np.array([["a", "word"]]), r"must hold token ids, whole numbers; got <U4\.$"),
        (np.ones((2, 3), complex), r"must hold token ids, whole numbers; got complex128\.$"),
        (np.ones((2, 3), bool), r"must hold token ids, whole numbers; got bool\.$"),
        (
            np.array([[1, 2**63, 2**64 - 100]], np.uint64),
            rf"holds the token {2**64 - 100}, and tokens must be below 2\*\*63;",
        ),
        (np.array([[{}]]), r"cannot be read as \.npy: .*allow_pickle=False\.$"),
    ],
)
def test_an_array_of_another_kind_is_one_sentence(tmp_path, held, said):
    np.save(tmp_path / "a.npy", held)
    with pytest.raises(og.OntogenyError, match=rf"a\.npy {said}"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ({}, r"holds no tensors; expected token ids of shape \(rows, positions\)\.$"),
        ({"a": torch.tensor(5)}, r"must hold token ids of shape .* got shape \(\)\.$"),
        (
            {"a": torch.ones(2, 3, dtype=torch.complex64)},
            r".* whole numbers; got torch\.complex64\.$",
        ),
        (
            {"a": torch.tensor([[2**64 - 1]], dtype=torch.uint64)},
            rf"holds the token {2**64 - 1}, and tokens must",
        ),
    ],
)
def test_a_tensor_of_another_kind_is_one_sentence(tmp_path, held, said):
    save_file(held, tmp_path / "a.safetensors")
    with pytest.raises(og.OntogenyError, match=rf"a\.safetensors {said}"):
        read(tmp_path / "a.safetensors")


def test_an_archive_under_the_name_of_an_array_is_one_sentence(tmp_path):
    with (tmp_path / "a.npy").open("wb") as file:
        np.savez(file, tokens=np.ones((2, 3), int))
    with pytest.raises(og.OntogenyError, match=r"a\.npy cannot be read as \.npy: .*magic string"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("kind", [">i4", "<u2", "uint8", "uint64"])
def test_whole_numbers_of_any_kind_are_tokens(tmp_path, kind):
    held = np.arange(8).reshape(2, 4).astype(kind)
    np.save(tmp_path / "a.npy", np.asfortranarray(held))
    assert torch.equal(read(tmp_path / "a.npy", examples=1), torch.tensor([[0, 1, 2]]))


def test_the_home_of_an_unknown_user_is_a_place_where_nothing_is(tmp_path):
    for call, said in (
        (lambda: named_model(NOBODY), rf"got '{NOBODY}', and there is no such folder"),
        (lambda: named_checkpoints(NOBODY), rf"must be a folder of checkpoints; .*{NOBODY} is none"),
        (lambda: read(f"{NOBODY}.npy"), r"place\.npy cannot be read as \.npy"),
        (lambda: list(parse_source(f"dir:{NOBODY}").read(Counter())), NOBODY),
    ):
        with pytest.raises(og.OntogenyError, match=said):
            call()
    assert tokenizer_file(NOBODY) is None and blocks_tokenizer([NOBODY]) is None


@pytest.mark.parametrize("prefix", ["", "hf:"])
def test_a_folder_without_a_model_is_said_to_be_one(tmp_path, monkeypatch, prefix):
    (tmp_path / "weights").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        og.OntogenyError, match=r"^model: the folder weights holds neither the manifest\.json .*config\."
    ):
        named_model(f"{prefix}weights")


@pytest.mark.parametrize(
    ("code", "said"),
    [("def build(:", r"SyntaxError: .*line 1\)\."), ("1 / 0", r"ZeroDivisionError: division by zero\.")],
)
def test_a_module_that_cannot_be_imported_is_one_sentence(tmp_path, monkeypatch, code, said):
    module = f"cannot_be_imported_{len(code)}"
    (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(og.OntogenyError, match=rf"^model: importing {module} failed with {said}$"):
        named_model(f"{module}:build")


CONFIG = '{"vocabulary": 9, "context": 3, "width": 4, "layers": 1, "heads": 1}'


@pytest.mark.parametrize(
    ("beside", "steps"),
    [
        (("step_100", "step_200"), (100, 200)),
        (("model-00001-of-00002",), (0,)),
        (("rng_state_0", "rng_state_1"), (0,)),
    ],
)
def test_numbered_files_beside_a_saved_model_are_its_checkpoints(tmp_path, beside, steps):
    (tmp_path / "config.json").write_text(CONFIG, encoding="utf-8")
    for name in ("model", *beside):
        save_file({"a": torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    assert named_model(str(tmp_path))[1]().steps == steps
