"""Every public name is documented, importable, and cheap to reach; every example in a docstring is true."""

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import ontogeny as og

MODULES = ["ontogeny", *(found.name for found in pkgutil.walk_packages(og.__path__, "ontogeny."))]
IMPORTABLE = [name for name in MODULES if not name.endswith("__main__")]


def public(module):
    """Return (name, object) of every public function, class and method that the module itself defines."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value) or inspect.isroutine(value) or hasattr(value, "__wrapped__"):
            yield f"{module.__name__}.{name}", value
        if inspect.isclass(value):
            for member, raw in vars(value).items():
                function = getattr(raw, "__func__", raw)
                if member.startswith("_") or not (inspect.isroutine(function) or isinstance(raw, property)):
                    continue
                if getattr(getattr(function, "fget", function), "__module__", None) == module.__name__:
                    yield f"{module.__name__}.{name}.{member}", raw


def documentation(value):
    """The docstring a person wrote; dataclasses and named tuples make one of their own."""
    text = inspect.getdoc(getattr(value, "__func__", value)) or ""
    made_up = inspect.isclass(value) and text.startswith(f"{value.__name__}(")
    return "" if made_up else text


def test_the_walk_finds_the_package():
    names = {name for module in IMPORTABLE for name, _ in public(importlib.import_module(module))}
    assert {
        "ontogeny.sampling.estimate.estimate_llc",
        "ontogeny.inputs.losses.Potential.to",
        "ontogeny.sampling.posterior.LocalPosterior.dim",
        "ontogeny.store.Store",
    } <= names


@pytest.mark.parametrize("name", IMPORTABLE)
def test_every_public_name_has_a_docstring(name):
    module = importlib.import_module(name)
    assert (module.__doc__ or "").strip(), f"{name} has no docstring"
    bare = [where for where, value in public(module) if len(documentation(value)) < 15]
    assert not bare, f"without a docstring: {', '.join(bare)}"


@pytest.mark.parametrize("name", og.__all__)
def test_public_names_are_importable_and_documented(name):
    value = getattr(og, name)
    if name != "__version__":
        assert len(documentation(value)) > 40
        assert value.__name__.rpartition(".")[2] == name


def test_all_is_sorted_complete_and_star_importable():
    assert list(og.__all__) == sorted(og.__all__) and dir(og) == sorted(og.__all__)
    taken = {}
    exec("from ontogeny import *", taken)
    assert set(og.__all__) <= set(taken)
    assert {"estimate_llc", "sample", "llc_from_draws", "describe_status", "Potential"} <= set(og.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        og.nonsense  # noqa: B018


def test_both_entry_points_take_the_same_arguments():
    first, second = (inspect.signature(f).parameters for f in (og.estimate_llc, og.sample))
    assert [(p.name, p.default) for p in first.values()] == [(p.name, p.default) for p in second.values()]
    contract = "model data loss_fn components n_beta localization step_size batch_size chains draws burn_in kernel"
    added = ["calibration", "precision"]
    assert list(first) == [*contract.split(), "target_se", "max_draws", "seed", "device", "progress", *added]


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_importing_the_package_is_cheap():
    heavy = {"torch", "plotly", "ray", "transformers", "datasets", "xarray", "scipy", "pandas", "typer", "jinja2"}
    assert not loaded_by("import ontogeny") & heavy
    assert not loaded_by("import ontogeny; ontogeny.OntogenyError; dir(ontogeny)") & heavy


def test_analysis_and_estimators_do_without_torch():
    for module in ("ontogeny.estimators.llc", "ontogeny.analysis", "ontogeny.plots.llc"):
        assert "torch" not in loaded_by(f"import {module}"), module


def test_the_package_is_typed():
    from importlib.resources import files

    assert files("ontogeny").joinpath("py.typed").is_file()


FINDER = doctest.DocTestFinder(exclude_empty=True)
EXAMPLES = [test for name in IMPORTABLE for test in FINDER.find(importlib.import_module(name)) if test.examples]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda test: test.name)
def test_docstring_examples_are_true(example):
    told = []
    results = doctest.DocTestRunner(verbose=False).run(example, out=told.append)
    assert results.failed == 0, "".join(told)
    assert results.attempted == len(example.examples)


def test_no_docstring_example_is_overlooked():
    """Every line that begins with >>> in the sources belongs to an example that is run."""
    written = 0
    for name in IMPORTABLE:
        source = inspect.getsource(importlib.import_module(name))
        written += sum(line.lstrip().startswith(">>> ") for line in source.splitlines())
    assert written == sum(len(test.examples) for test in EXAMPLES) > 5
    assert "doctest: +SKIP" not in "".join(example.source for test in EXAMPLES for example in test.examples)
