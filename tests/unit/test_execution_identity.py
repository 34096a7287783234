"""Content told from content: data, losses, masks and models that differ, and those that only look different."""

import functools
import types

import numpy as np
import pytest
import torch
from made_modules import made, make
from torch import nn

import ontogeny as og
import tiny
from ontogeny.execution.identity import data_digest, loss_identity, mask_digest, model_identity
from ontogeny.inputs.datasets import as_examples


def digest(data):
    return data_digest(as_examples(data))


def test_data_of_the_same_content_have_one_digest():
    x, y = tiny.data()
    same = [
        (x, y),
        [x.clone(), y],
        (x.numpy(), y.numpy()),
        torch.utils.data.TensorDataset(x, y),
        list(zip(x, y, strict=True)),
    ]
    assert len({digest(data) for data in same}) == 1
    assert digest({"x": x}) == digest({"x": np.asfortranarray(x.numpy())})


def test_data_that_differ_have_their_own():
    x, y = tiny.data()
    others = [
        x,
        (x,),
        {"x": x},
        {"y": x},
        (x, y),
        (y, x),
        x.double(),
        x[:39],
        x.flip(0),
        x.reshape(40, 3, 1),
        x.half(),
        -x,
    ]
    assert len({digest(data) for data in others}) == len(others)


def test_large_data_are_read_in_pieces(monkeypatch):
    taken = []
    x = torch.arange(10_000)

    class Rows:
        def __len__(self):
            return len(x)

        def __getitem__(self, i):
            taken.append(int(i))
            return x[i]

    assert digest(Rows()) == digest(x) and taken == list(range(len(x)))


def test_masks():
    whole, part = torch.ones(2, 3), torch.tensor([[1, 0, 1], [0, 0, 0]])
    assert (
        mask_digest({"a": None}) == mask_digest({"a": whole}) == mask_digest({"a": whole.bool(), "b": torch.zeros(3)})
    )
    assert mask_digest({"a": part, "b": None}) == mask_digest({"b": None, "a": part.float()})
    others = [{"a": None}, {"b": None}, {"a": part}, {"a": 1 - part}, {"b": part}, {"a": None, "b": None}]
    assert len({mask_digest(masks) for masks in others}) == len(others)


PLAIN = "def loss(model, batch):\n    return (model(batch) * scale).sum(-1)\n"


def test_a_function_is_told_by_its_code_and_what_it_reads():
    same = [make(PLAIN, scale=1.0), make(PLAIN, scale=1.0), make("\n\n# a remark\n" + PLAIN, scale=1.0)]
    documented = PLAIN.replace("    return", '    """What it is."""\n    return')
    same.append(make(documented, scale=1.0))
    assert len({repr(loss_identity(loss)) for loss in same}) == 1
    helper = "def part(x):\n    return x{}\ndef loss(model, batch):\n    return part(model(batch)).sum(-1)\n"
    nested = "def loss(model, batch):\n    def part(x):\n        return x * {}\n    return part(model(batch)).sum(-1)\n"
    others = [
        same[0],
        make(PLAIN, scale=2.0),
        make(PLAIN, scale=torch.ones(3)),
        make(PLAIN.replace("*", "+"), scale=1.0),
        make(PLAIN.replace("sum", "mean"), scale=1.0),
        make(PLAIN.replace("batch):", "batch, scale=3.0):")),
        make(PLAIN.replace("batch):", "batch, *, scale=3.0):")),
        make(PLAIN.replace("batch):", "batch, *, scale=4.0):")),
        make(helper.format("")),
        make(helper.format(" * 2")),
        make(nested.format(1)),
        make(nested.format(2)),
    ]
    assert len({repr(loss_identity(loss)) for loss in others}) == len(others)


def test_partial_and_closures_are_told_by_what_they_hold():
    def scaled(by):
        return lambda model, batch: by * model(batch)

    assert loss_identity(scaled(1.0)) != loss_identity(scaled(2.0))
    assert loss_identity(scaled(torch.ones(2))) != loss_identity(scaled(torch.zeros(2)))
    halves = [functools.partial(tiny.squares, weight) for weight in (1.0, 2.0)]
    assert loss_identity(halves[0]) != loss_identity(halves[1]) != loss_identity(tiny.squares)


CALLS = "def loss(model, batch):\n    return helper.part(model(batch)).sum(-1)\n"
PART = "def inner(x):\n    return x * {}\ndef part(x):\n    return inner(x) + offset\n"
CLASS = """
from dataclasses import dataclass

@dataclass
class Weighing:
    by: float = {}

    @property
    def scale(self):
        return {} * self.by

def loss(model, batch):
    return model(batch) * Weighing().scale
"""


@pytest.mark.parametrize("name", ["made.helper", "of_the_same_folder"])
def test_what_is_called_through_a_module_or_is_a_class_of_ones_own_is_told(name):
    losses = [
        make(CALLS, helper=made(PART.format(by), name, offset=offset))
        for by, offset in ((1, 0), (2, 0), (1, 1), (1, 0))
    ]
    losses += [make(CLASS.format(*numbers)) for numbers in ((1, 1), (2, 1), (1, 2), (1, 1))]
    told = [repr(loss_identity(loss)) for loss in losses]
    assert len(set(told)) == 6 and told[0] == told[3] and told[4] == told[7]


def test_an_object_with_an_identity_may_be_read():
    source = "def loss(model, batch):\n    return base(model, batch)\n"
    told = [loss_identity(make(source, base=WithSettings(value))) for value in (1, 2, 1)]
    assert told[0] == told[2] != told[1]
    assert loss_identity(make(source, base=og.NextToken())) == loss_identity(make(source, base=og.NextToken()))


def test_a_function_that_calls_itself_ends():
    source = "def loss(model, batch, depth=2):\n    return loss(model, batch, depth - 1) if depth else model(batch)\n"
    assert loss_identity(make(source)) == loss_identity(make(source))


class WithSettings:
    def __init__(self, value):
        self.value = value

    def identity(self):
        return {"value": self.value}

    def __call__(self, model, batch):
        return self.value * tiny.squares(model, batch)


def test_an_identity_that_is_offered_is_taken():
    assert loss_identity(WithSettings(1)) == loss_identity(WithSettings(1)) != loss_identity(WithSettings(2))
    with pytest.raises(
        og.OntogenyError, match=r"loss_fn: the identity of WithSettings must .* JSON can hold .* got dict"
    ):
        loss_identity(WithSettings(torch.ones(1)))


class Silent:
    def __call__(self, model, batch):
        return tiny.squares(model, batch)


@pytest.mark.parametrize("loss", [Silent(), nn.CrossEntropyLoss(reduction="none")])
def test_what_cannot_be_told_is_refused(loss):
    with pytest.raises(og.OntogenyError, match=r"what \w+ computes cannot be told, .* a method identity\(\)"):
        loss_identity(loss)


def test_a_model_hidden_in_a_loss_is_refused():
    """A reference model in a closure or a global would else be exchanged unseen."""
    source = "def loss(model, batch):\n    return (model(batch) - reference(batch)).square()\n"
    with pytest.raises(og.OntogenyError, match="loss_fn reads a global of type Linear, whose content cannot be told"):
        loss_identity(make(source, reference=nn.Linear(2, 2)))
    reference = nn.Linear(2, 2)
    with pytest.raises(og.OntogenyError, match="loss_fn was made with reference, of type Linear, whose content cannot"):
        loss_identity(lambda model, batch: model(batch) - reference(batch))


class Rebuilt(nn.Linear):
    """A table that a checkpoint may leave out."""

    def __init__(self, start):
        super().__init__(2, 2)
        self.register_buffer("position_ids", torch.tensor(start))


class Scaled(nn.Module):
    """k·f(x): k is no parameter, no buffer, and not in the text of the layers."""

    def __init__(self, by):
        super().__init__()
        self.inner, self.by = nn.Linear(2, 2), by

    def forward(self, x):
        return self.by * self.inner(x)


MODEL = """
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 2)

    def forward(self, x):
        return {} * part(self.inner(x))

    def note(self):
        return logger

def part(x):
    return x + {}
"""


def test_models_of_one_class_differ_by_what_they_hold_and_by_their_code():
    held = [1.0, 5.0, torch.ones(2), torch.zeros(2), [1, 2], torch.tanh, torch.sigmoid, tiny.squares, tiny.Regression]
    held += [functools.partial(torch.clamp, min=bound) for bound in (0, 1)]
    models = [Scaled(value) for value in held] + [Scaled(1.0), Scaled(1.0)]
    models[-2].register_forward_hook(lambda *_: None)
    models[-1].register_forward_pre_hook(lambda *_: None)
    models += [made(MODEL.format(*numbers), logger=object()).Model() for numbers in ((1, 2), (5, 2), (1, 3))]
    models += [nn.Sequential(Scaled(value)) for value in (1.0, 5.0)]
    models += [nn.MultiheadAttention(4, heads) for heads in (1, 2)]
    assert len({repr(model_identity(model)) for model in models}) == len(models)
    assert model_identity(Scaled(1.0)) == model_identity(Scaled(1.0))
    twice = [made(MODEL.format(1, 2), logger=object()).Model() for _ in range(2)]
    assert model_identity(twice[0]) == model_identity(twice[1])


def test_where_a_model_was_saved_is_no_part_of_it(tmp_path):
    import transformers

    config = transformers.GPT2Config(vocab_size=11, n_embd=4, n_layer=1, n_head=1, n_positions=6)
    first = transformers.GPT2LMHeadModel(config)
    told = []
    for place in ("here", "there"):
        first.save_pretrained(tmp_path / place)
        told.append(model_identity(transformers.GPT2LMHeadModel.from_pretrained(tmp_path / place)))
    assert told[0] == told[1] and told[0]["configuration"]["n_embd"] == 4


class Two(nn.Module):
    """Two layers, which may be one, or have one weight."""

    def __init__(self, *layers):
        super().__init__()
        self.one, self.other = layers


def test_types_belong_to_names_and_tied_weights_are_told():
    low = torch.bfloat16
    pairs = [(nn.Linear(2, 2), nn.Linear(2, 2)) for _ in range(5)]
    pairs[1][0].to(low), pairs[2][1].to(low)
    pairs[3][0].weight = pairs[3][1].weight
    pairs[4] = pairs[4][:1] * 2
    told = [model_identity(Two(*pair)) for pair in pairs]
    assert len({repr(one) for one in told}) == 5
    assert told[0]["types"] == "torch.float32" and told[1]["types"]["one.weight"] == "torch.bfloat16"
    assert told[3]["tied"] == [["one.weight", "other.weight"]]


class Power:
    """Its ``identity`` is no settings."""

    def __init__(self, by):
        self.by = by

    def identity(self, size):
        return torch.eye(size) * self.by


def test_attributes_of_every_kind_are_told_or_refused_in_a_sentence():
    loops = [[1], [1], [2]]
    for loop in loops:
        loop.append(loop)
    held = [torch.Tensor.relu, torch.Tensor.tanh, Power(1.0), Power(2.0), *loops[1:], [loops[1]], np.random.default_rng]
    assert len({repr(model_identity(Scaled(value))) for value in held}) == len(held)
    for one, same in ((Power(1.0), Power(1.0)), loops[:2]):
        assert model_identity(Scaled(one)) == model_identity(Scaled(same))
    layer = WithSettings(1)
    layer.identity = nn.Identity()
    model_identity(Scaled(layer))
    with pytest.raises(og.OntogenyError, match="model: the identity of WithSettings must be or return what JSON can"):
        model_identity(Scaled(WithSettings(torch.ones(1))))


def test_models_are_told_apart_by_what_is_beside_their_weights():
    class Counting(nn.Linear):
        def __init__(self, start):
            super().__init__(2, 2)
            self.register_buffer("count", torch.tensor(start))

    with torch.no_grad():
        one, other = nn.Linear(2, 2), nn.Linear(2, 2)
        other.weight.mul_(2)
    assert model_identity(one) == model_identity(other)
    assert model_identity(Counting(0)) == model_identity(Counting(1)), "a checkpoint overwrites that buffer"
    kept = [Counting(number) for number in (0, 1)]
    for model in kept:
        model._non_persistent_buffers_set.add("count")
    rebuilt = [Rebuilt(number) for number in (0, 1)]
    others = [one, nn.Linear(2, 2, bias=False), nn.Linear(2, 2).double(), *kept, *rebuilt]
    others += [nn.Sequential(nn.Linear(2, 2), layer) for layer in (nn.ReLU(), nn.Tanh(), nn.GELU())]
    assert len({repr(model_identity(model)) for model in others}) == len(others)
    one.config, other.config = types.SimpleNamespace(eps=1e-5), types.SimpleNamespace(eps=1e-6)
    assert model_identity(one) != model_identity(other)
