"""Text that every Python installation holds: the source code of its packages, and their documentation in it."""

from __future__ import annotations

import ast
import os
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.text.documents import Document, spread
from ontogeny.inputs.text.files import decoded

FEWEST_CHARACTERS = 200
"""Docstrings of a file shorter than this together are left out: little more than names."""

_NOT_ENTERED = {"__pycache__", "site-packages", "dist-packages"}


def installed_code(packages: tuple[str, ...], seed: int, skipped: Counter[str]) -> Iterator[Document]:
    """Each .py file of the standard library and of site-packages, or of some packages, in the order of ``spread``.

    Names are ``stdlib/json/decoder.py`` and ``site-packages/numpy/__init__.py``.

    Raises:
        OntogenyError: if a package is not installed, or none has a .py file.
    """
    roots = _roots()
    names = [name for root in roots for name in _python_files(root, roots[root], packages)]
    held = {_package(name) for name in names}
    missing = [package for package in packages if package not in held]
    if missing:
        raise OntogenyError(
            f"source: packages must be installed here as Python files; {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not. Give the names that are imported, e.g. sklearn."
        )
    if not names:
        raise OntogenyError("source: installed: needs packages as .py files; this Python has none. Use dir: instead.")
    files = ((name, roots[name.split("/", 1)[0]] / name.split("/", 1)[1]) for name in spread(names, seed))
    yield from decoded(files, skipped)


def installed_docs(packages: tuple[str, ...], seed: int, skipped: Counter[str]) -> Iterator[Document]:
    """The docstrings of those files, found without importing them; one document a file."""
    for document in installed_code(packages, seed, skipped):
        try:
            text = docstrings(document.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # all that ast.parse is known to raise
            skipped["not parsed"] += 1
            continue
        if len(text) < FEWEST_CHARACTERS:
            skipped["few docstrings"] += 1
            continue
        yield Document(document.name, text)


def docstrings(code: str) -> str:
    r"""Docstrings of the module and of its classes and functions in their order, as ``inspect.cleandoc`` has them.

    >>> docstrings("'About.'\ndef f():\n    'Do it.'\nclass C:\n    'A thing.'")
    'About.\n\nDo it.\n\nA thing.'
    """
    with warnings.catch_warnings():  # a stranger's file may hold escapes that Python warns of
        warnings.simplefilter("ignore")
        tree = ast.parse(code)
    found = []
    below: list[ast.AST] = [tree]
    while below:
        node = below.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(ast.get_docstring(node))
        if not isinstance(node, ast.expr):  # no definition stands inside an expression
            below.extend(reversed(list(ast.iter_child_nodes(node))))
    return "\n\n".join(text for text in found if text)


def _roots() -> dict[str, Path]:
    """Where packages lie, by the name that stands first in their files' names."""
    paths = {name: Path(sysconfig.get_path(key)) for name, key in (("stdlib", "stdlib"), ("site-packages", "purelib"))}
    compiled = Path(sysconfig.get_path("platlib"))
    if compiled.resolve() != paths["site-packages"].resolve():
        paths["site-packages-compiled"] = compiled
    return paths


def _python_files(root: str, folder: Path, packages: tuple[str, ...]) -> Iterator[str]:
    for here, folders, files in os.walk(folder):
        relative = Path(here).relative_to(folder)
        if packages and relative == Path():
            folders[:] = [name for name in folders if name in packages]
        folders[:] = [name for name in folders if name not in _NOT_ENTERED]
        for file in files:
            name = f"{root}/{(relative / file).as_posix()}"
            if file.endswith(".py") and (not packages or _package(name) in packages):
                yield name


def _package(name: str) -> str:
    """``numpy`` of ``site-packages/numpy/linalg/linalg.py``, ``heapq`` of ``stdlib/heapq.py``."""
    return name.split("/")[1].removesuffix(".py")
