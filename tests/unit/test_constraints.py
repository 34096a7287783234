"""constraints.txt names every package that an installation brings, so that the same versions come tomorrow."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


def pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {canonicalize_name(line.partition("==")[0]): line.partition("==")[2] for line in lines if "==" in line}


def required():
    """Everything that ``pip install .[dev]`` needs here, by name; what its parent pins itself is left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    left, seen = [(None, frozenset({""}))], set()
    while left:
        name, extras = entry = left.pop()
        if entry in seen:
            continue
        seen.add(entry)
        for line in own if name is None else importlib.metadata.requires(name) or ():
            wanted = Requirement(line)
            fixed = any(one.operator == "==" and "*" not in one.version for one in wanted.specifier)
            needed = wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in extras)
            itself = canonicalize_name(wanted.name) == "ontogeny"  # dev brings the project's own extras
            if itself:
                extras_of_its_own = project["optional-dependencies"]
                own_lines = [line for extra in wanted.extras for line in extras_of_its_own[extra]]
                left += [
                    (canonicalize_name(one.name), frozenset({"", *one.extras})) for one in map(Requirement, own_lines)
                ]
            elif needed and not fixed:
                left.append((canonicalize_name(wanted.name), frozenset({"", *wanted.extras})))
    return {name for name, _ in seen if name is not None}


def test_every_package_that_comes_is_pinned():
    assert len(required()) > 20
    assert not sorted(required() - pinned().keys())


def test_pins_are_exact_and_torch_needs_no_other():
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pinned().values())
    for line in importlib.metadata.requires("torch"):
        wanted = Requirement(line)
        if canonicalize_name(wanted.name) in pinned():
            assert wanted.specifier.contains(pinned()[canonicalize_name(wanted.name)]), line
