"""Modules made from text, so that two of one name differ in a single number."""

import types

import torch


def made(source, name="made", **names):
    """A module from its text."""
    module = types.ModuleType(name)
    module.__dict__.update(names, torch=torch)
    exec(compile(source, "made.py", "exec"), module.__dict__)
    return module


def make(source, **names):
    """A module's function ``loss`` from its text."""
    return made(source, **names).loss
