"""Lint, format, types, layers, file sizes, the set-up commands and the examples: what a reviewer need not check."""

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 400
LAYERS = "from importlinter.cli import lint_imports_command; lint_imports_command()"

CHECKS = {
    "ruff check": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "."],
    "mypy": ["-m", "mypy"],
    "import-linter": ["-c", LAYERS],
}


@pytest.mark.parametrize("check", CHECKS)
def test_tool(check):
    done = subprocess.run([sys.executable, *CHECKS[check]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_stay_small():
    sources = sorted((ROOT / "src").rglob("*.py"))
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in sources}
    assert len(lengths) > 50
    assert not {name: lines for name, lines in lengths.items() if lines > MOST_LINES}
    assert not [name for name in lengths if Path(name).stem in ("utils", "util", "helpers", "misc")]


def set_up_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text.partition("## Set up\n")[2], flags=re.MULTILINE)[0]
    return [block.strip() for block in re.findall(r"^```bash\n(.*?)^```", section, re.MULTILINE | re.DOTALL)]


def test_set_up_is_exactly_two_commands():
    blocks = set_up_commands()
    assert len(blocks) == 2 and all(blocks)
    for block in blocks:
        assert len(block.replace("\\\n", " ").splitlines()) == 1, block
    assert "ontogeny run superposition" in blocks[0] and "pytest" in blocks[1]


def test_ci_runs_the_test_command_and_nothing_cleverer():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line for line in script.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert lines[:2] == ["set -euo pipefail", 'cd "$(dirname "$0")/.."']
    assert "\n".join(lines[2:]) == set_up_commands()[1]


def pages():
    """The pages a reader meets, by name."""
    return {path.name: path for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]}


def python_blocks(path):
    return re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def what_a_reader_has():
    """The names that examples take for granted: a classifier whose last layer is ``head``, and its data."""
    stream = torch.Generator().manual_seed(0)
    layers = {"body": nn.Linear(4, 3), "squash": nn.Tanh(), "head": nn.Linear(3, 2)}
    inputs = torch.randn(60, 4, generator=stream)
    return {
        "model": nn.Sequential(OrderedDict(layers)),
        "inputs": inputs,
        "targets": (inputs[:, 0] > 0).long(),
    }


@pytest.mark.parametrize("page", [name for name, path in pages().items() if python_blocks(path)])
def test_examples_in_the_docs_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ontogeny.sampling.calibration.MAX_DRAWS_SMALL", 128 * 500)  # what is shown, not how well
    space = {"__name__": "example", **what_a_reader_has()}
    with contextlib.redirect_stdout(io.StringIO()):
        for number, block in enumerate(python_blocks(pages()[page])):
            exec(compile(ast.parse(block), f"{page}, example {number + 1}", "exec"), space)


def test_the_readme_shows_an_example_that_is_run():
    assert python_blocks(ROOT / "README.md")


@pytest.mark.parametrize("page", pages())
def test_links_within_the_repository_lead_somewhere(page):
    path = pages()[page]
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
    inside = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert not [link for link in inside if not (path.parent / link).exists()]
