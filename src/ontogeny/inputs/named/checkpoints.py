"""Checkpoints by name: a folder, or revisions of a Hugging Face repository."""

from __future__ import annotations

import re

from ontogeny.core.errors import OntogenyError
from ontogeny.inputs.checkpoints import Checkpoints
from ontogeny.inputs.paths import expanded

HUB = "hub:"
REVISION = re.compile(r"(?:(?P<step>\d+)=)?(?P<name>[^,=\s]*?(?P<number>\d+)?)")


def named_checkpoints(name: str) -> Checkpoints:
    """A folder as in ``Checkpoints.from_folder``; or ``hub:REPOSITORY@REVISION,…``, each STEP=REVISION.

    STEP= may be left out where the name ends in the step, as in ``hub:owner/name@step0,step1000,143000=main``.

    Raises:
        OntogenyError: if there are no such checkpoints, or a revision does not say its step.
    """
    if not name.startswith(HUB):
        return Checkpoints.from_folder(expanded(name))
    repository, _, revisions = name.removeprefix(HUB).partition("@")
    found: dict[int, str] = {}
    for written in revisions.split(","):
        revision = REVISION.fullmatch(written.strip())
        step = revision and (revision["step"] or revision["number"])
        if not repository or revision is None or not revision["name"] or step is None:
            raise OntogenyError(
                "checkpoints of the hub must be written hub:REPOSITORY@REVISION,… with STEP=REVISION where a name does "
                f"not end in the step, as in hub:owner/name@step0,step1000,143000=main; got {written!r} in {name!r}."
            )
        if int(step) in found:
            raise OntogenyError(f"checkpoints: step {int(step)} stands twice in {name!r}; keep one of the two.")
        found[int(step)] = revision["name"]
    return Checkpoints.from_hub(repository, found)
