"""What code reads beside its own text, told by content: methods, partials, imports, objects; in losses and models."""

import sys

import pytest
import torch
from made_modules import made, make
from torch import nn

import ontogeny as og
from ontogeny.execution.identity import loss_identity, model_identity

HEAD = """
import functools, types
from dataclasses import dataclass, field
"""
SOURCES = {
    "a bound method": """
class Penalty:
    def __init__(self, by):
        self.by = by

    def value(self, x):
        return self.by * x

part = Penalty({}).value
""",
    "a method of a distribution": "part = torch.distributions.Normal(0.0, {}).log_prob",
    "a method of a tensor": "part = torch.tensor({}).mul",
    "a partial": "part = functools.partial(torch.clamp, max={})",
    "a partial of one's own": """
def power(by, x):
    return x**by

part = functools.partial(power, {})
""",
    "a list of partials": """
parts = [functools.partial(torch.clamp, max={})]

def part(x):
    return parts[0](x)
""",
    "a class's partial": """
class Settings:
    act = functools.partial(torch.clamp, max={})

def part(x):
    return Settings.act(x)
""",
    "a class's method with arguments": """
class Settings:
    def to(self, by, x):
        return by * x

    act = functools.partialmethod(to, {})

def part(x):
    return Settings().act(x)
""",
    "a class's object": """
class Settings:
    held = types.SimpleNamespace(by={})

def part(x):
    return Settings.held.by * x
""",
    "an object": """
class Settings(dict):
    pass

held = Settings()
held.by = {}

def part(x):
    return held.by * x
""",
    "a default": """
@dataclass
class Settings:
    by: float = {}

def part(x):
    return Settings().by * x
""",
    "a default factory": """
@dataclass(slots=True)
class Settings:
    by: list = field(default_factory=lambda: [{}])

def part(x):
    return Settings().by[0] * x
""",
}
READS = """
def loss(model, batch):
    return part(model(batch)).sum(-1)

class Model(torch.nn.Module):
    def forward(self, x):
        return part(x)
"""


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("tell", [lambda it: loss_identity(it.loss), lambda it: model_identity(it.Model())])
def test_what_is_read_is_told_by_what_it_holds(tell, name):
    told = [tell(made(HEAD + SOURCES[name].format(number) + READS)) for number in (1.0, 2.0, 1.0)]
    assert told[0] == told[2] != told[1]


PART = "def part(x):\n    return x * {}\n"
LOSS = "def loss(model, batch):\n    {}\n    return {}(model(batch)).sum(-1)\n"


@pytest.mark.parametrize(
    "line, called",
    [
        ("from box.near import part", "part"),
        ("from .near import part as other", "other"),
        ("from . import near", "near.part"),
        ("import box.near", "box.near.part"),
        ("import box.near as n", "n.part"),
        ("from unheard_of import part as _; from box.near import part", "part"),
    ],
)
def test_what_is_imported_inside_is_told(line, called, monkeypatch):
    told = []
    for number in (1, 2, 1):
        near = made(PART.format(number), "box.near")
        monkeypatch.setitem(sys.modules, "box.near", near)
        monkeypatch.setitem(sys.modules, "box", made("", "box", near=near, __path__=[]))
        told.append(loss_identity(make(LOSS.format(line, called), __package__="box")))
    assert told[0] == told[2] != told[1]


def test_what_is_imported_inside_for_the_first_time_is_told(tmp_path, monkeypatch):
    told = []
    for number in (1, 2, 1):
        place = tmp_path / str(len(told))
        place.mkdir()
        (place / "first_seen.py").write_text(PART.format(number))
        monkeypatch.syspath_prepend(place)
        told.append(loss_identity(make(LOSS.format("from first_seen import part", "part"))))
        monkeypatch.delitem(sys.modules, "first_seen")
    assert told[0] == told[2] != told[1]


KINDS = """
import abc, enum, typing
from dataclasses import dataclass

T = typing.TypeVar("T")

class Form(enum.Enum):
    FLAT = 1

class Pair(typing.NamedTuple):
    by: float = 1.0

@dataclass(frozen=True, slots=True)
class Slotted:
    by: float = 1.0

class Shape(typing.Protocol):
    def area(self): ...

class Box(abc.ABC, typing.Generic[T]):
    __slots__ = ("by",)

def loss(model, batch):
    return model(batch) * Form.FLAT.value * Pair().by * Slotted().by * Box[int, Shape].by
"""


def test_classes_of_every_kind_can_be_told():
    assert loss_identity(make(KINDS)) == loss_identity(make(KINDS))
    assert loss_identity(make(KINDS)) != loss_identity(make(KINDS.replace("FLAT = 1", "FLAT = 2")))


def test_which_of_two_occurs_again_is_told():
    source = "def by(k):\n    return lambda x: k * x\na, b = by(1), by(2)\nparts = [{}]\n"
    source += "def loss(model, batch):\n    return parts[-1](model(batch))\n"
    assert loss_identity(make(source.format("a, b, a"))) != loss_identity(make(source.format("a, b, b")))


@pytest.mark.parametrize("held", ["object()", "torch.Generator()", "[iter([1])]"])
def test_what_a_class_of_a_loss_holds_is_told_or_refused(held):
    source = f"class Settings:\n    held = {held}\ndef loss(model, batch):\n    return model(batch) * Settings.held\n"
    with pytest.raises(og.OntogenyError, match=r"loss_fn reads Settings.held, of type \w+, whose content cannot be"):
        loss_identity(make(source))


def test_a_list_that_holds_itself_ends():
    held = [1]
    held.append(held)
    source = "def loss(model, batch):\n    return model(batch) * held[0]\n"
    assert loss_identity(make(source, held=held)) == loss_identity(make(source, held=held))
    assert loss_identity(make(source, held=held)) != loss_identity(make(source, held=[1, [1]]))


def test_a_model_in_an_identity_is_told_with_its_weights_and_code():
    class Against:
        def __init__(self, reference):
            self.identity = {"reference": reference}

        def __call__(self, model, batch):
            return model(batch) - self.identity["reference"](batch)

    torch.manual_seed(0)
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    same = nn.Linear(2, 2)
    same.load_state_dict(first.state_dict())
    assert loss_identity(Against(first)) == loss_identity(Against(same)) != loss_identity(Against(second))
    source = "def loss(model, batch):\n    return base(model, batch)\n"
    told = [loss_identity(make(source, base=Against(one))) for one in (first, same, second)]
    assert told[0] == told[1] != told[2]


def test_a_function_without_a_module_is_told_by_name():
    assert loss_identity(torch.Tensor.relu) != loss_identity(torch.Tensor.tanh)
