"""A step of the chain loop through ``torch.compile``, and the plain one where that fails."""

from __future__ import annotations

import itertools
import shutil
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


class CompiledStep:
    """A step through ``torch.compile``; the plain one where that fails, and it says so."""

    def __init__(self, step: Callable[..., Any]) -> None:
        # the compiler keeps its programs by code object and gives up after eight; a copy of its own for every loss
        step.__code__ = step.__code__.replace(co_name=f"step_{next(_COPIES)}")
        self._plain, self._run, self._works = step, torch.compile(step, dynamic=False), False

    def __call__(self, *tensors: Any) -> Any:
        """The step's result."""
        if self._works:
            return self._run(*tensors)
        try:
            result = self._run(*tensors)
        except Exception as error:  # the compiler's own, of many classes; an error of the loss comes again below
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            print(f"ontogeny: going on without torch.compile, with the same draws: {reason}", file=sys.stderr)
            self._run, result = self._plain, self._plain(*tensors)
        self._works = True
        return result


_COPIES = itertools.count()


def compiler_available() -> bool:
    """Whether this machine has what ``torch.compile`` needs: a C++ compiler and Python's headers."""
    headers = Path(sysconfig.get_paths()["include"], "Python.h")
    return headers.exists() and any(shutil.which(name) for name in ("c++", "g++", "clang++"))
