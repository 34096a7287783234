"""What every study looks at before it does anything."""

import re

import pytest
import xarray as xr

from ontogeny.core.errors import OntogenyError
from ontogeny.core.version import __version__
from ontogeny.store import Store
from ontogeny.studies import start

PRESETS = {"quick": 1, "full": 2}


def test_a_call_that_can_be_carried_out_passes():
    start.check_call("full", None, presets=PRESETS, fewest=3)
    start.check_call("quick", 3, presets=PRESETS, fewest=3)


def test_an_unknown_preset_is_refused():
    with pytest.raises(OntogenyError, match=r"^preset must be one of quick, full; got 'long'\.$"):
        start.check_call("long", None, presets=PRESETS)


@pytest.mark.parametrize("seeds", [0, -1, True, 2.0, "3"])
def test_what_is_no_number_of_seeds_is_refused(seeds):
    with pytest.raises(OntogenyError, match=rf"^seeds must be at least 1; got {seeds!r}\.$"):
        start.check_call("quick", seeds, presets=PRESETS)


def test_too_few_seeds_are_refused_with_the_reason():
    with pytest.raises(OntogenyError, match=r"^seeds must be at least 3, since intervals need them; got 2\.$"):
        start.check_call("quick", 2, presets=PRESETS, fewest=3, since="intervals need them")


@pytest.mark.parametrize("found", [True, False])
def test_a_missing_compiler_is_told_on_stderr(found, monkeypatch, capsys):
    monkeypatch.setattr(start, "compiler_available", lambda: found)
    start.say_if_slow()
    out, told = capsys.readouterr()
    assert out == "" and told.startswith("" if found else "ontogeny: no C++ compiler") and bool(told) != found


def test_results_of_a_version_that_measured_less_are_told_what_to_run(tmp_path):
    folder = Store(tmp_path / "out", {"study": "superposition", "preset": "quick"}).folder
    start.check_measured(folder, xr.Dataset({"llc": 1.0}), ["llc"])
    with pytest.raises(
        OntogenyError,
        match=r"out was measured by a version that did not measure hessian_rank, which the report states: "
        r"`ontogeny run superposition --preset quick --out .*out` measures it, and anew whatever else is not "
        rf"of version {re.escape(__version__)}\.$",
    ):
        start.check_measured(folder, xr.Dataset({"llc": 1.0}), ["llc", "hessian_rank"])
