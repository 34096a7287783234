"""The suite of `ontogeny validate`: what a row says, what makes it fail, and the command around it."""

import dataclasses
import json

import pytest
from typer.testing import CliRunner

from ontogeny.cli.app import app
from ontogeny.core.errors import OntogenyError
from ontogeny.validation import suite

SETTING = suite.Setting(1000.0, 1.0, 0.05, 0.2)
JOBS = [
    suite.Job("quadratic", SETTING, False, 0),
    suite.Job("softmax 3", SETTING._replace(minibatch=True), False, 0),
    suite.Job("linear 3-3-3, rank 1", SETTING, True, 0),
]


@pytest.fixture(scope="module")
def rows():
    return [suite.estimate(job) for job in JOBS]


def test_a_row_holds_the_exact_value_and_the_distance_from_it(rows):
    quadratic, softmax, linear = rows
    assert quadratic.exact == pytest.approx(4.9272, abs=1e-4) and quadratic.exact_se == 0.0
    assert quadratic.error == pytest.approx(quadratic.estimate / quadratic.exact - 1)
    assert quadratic.z == pytest.approx((quadratic.estimate - quadratic.exact) / quadratic.se)
    assert softmax.minibatch and softmax.status == "ok" and softmax.gradients > 0
    assert linear.exact_se > 0 and linear.learning_coefficient == 4.0
    assert all(row.fault is None and abs(row.z) < 4 for row in rows)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"estimate": float("nan")}, "no estimate"),
        ({"z": -4.5}, "z = -4.5 is beyond ±4"),
        ({"z": float("nan")}, "z = .*nan is beyond ±4"),
        ({"error": 0.3}, r"an error of \+30.0% is beyond 20%"),
    ],
)
def test_what_makes_a_row_fail(rows, change, fault):
    import re

    assert re.fullmatch(fault, dataclasses.replace(rows[0], **change).fault)


def test_the_parts_of_the_suite():
    quick, full = suite.jobs(quick=True), suite.jobs(quick=False)
    assert len({job.name for job in full if not job.reference}) >= 20
    assert {job.name for job in quick} <= {job.name for job in full}
    assert any(job.setting.minibatch for job in quick) and any(job.reference for job in full)
    assert len(set(full)) == len(full)


def test_medians_and_worsts_are_of_exact_values_only(rows):
    columns = suite.summarise(rows)
    assert [column.problems for column in columns] == [1, 1]
    assert columns[0].worst == abs(rows[0].error) and columns[0].worst_problem == "quadratic"


def run_with(rows, monkeypatch, *arguments):
    monkeypatch.setattr(suite, "run", lambda quick, seed: rows)
    return CliRunner().invoke(app, ["validate", *arguments])


def test_the_command_prints_every_row_and_writes_the_file(rows, monkeypatch, tmp_path):
    found = run_with(rows, monkeypatch, "--json", str(tmp_path / "table.json"))
    assert found.exit_code == 0, found.output
    assert all(row.problem in found.output for row in rows) and "median error" in found.output
    stored = json.loads((tmp_path / "table.json").read_text())
    assert [row["problem"] for row in stored["rows"]] == [row.problem for row in rows]
    assert stored["rows"][0]["fault"] is None and stored["part"] == "quick"


def test_a_fault_ends_in_one_sentence(rows, monkeypatch):
    bad = [dataclasses.replace(rows[0], z=5.0), *rows[1:]]
    found = run_with(bad, monkeypatch)
    assert isinstance(found.exception, OntogenyError)
    assert "1 of 3 estimates are off: quadratic at nβ = 1000, γ = 1: z = +5.0 is beyond ±4." in str(found.exception)


def test_a_folder_is_no_file(monkeypatch, tmp_path):
    assert run_with([], monkeypatch, "--json", str(tmp_path)).exit_code == 2


def test_rows_come_through_worker_processes(monkeypatch):
    monkeypatch.setattr(suite, "jobs", lambda quick, seed: JOBS[:1])
    assert [row.problem for row in suite.run(True, progress=False)] == ["quadratic"]
