"""What og.measure says it will cost, what a worker is sent and holds at once, and which folder takes which model."""

import pickle

import measure_work as work
import numpy as np
import pytest
import torch
import xarray as xr

import ontogeny as og
import tiny
from ontogeny.core.schema import setting
from ontogeny.execution import study as study_module
from ontogeny.execution import tasks
from ontogeny.execution.chunks import LargeInputs
from ontogeny.execution.measure import measure
from ontogeny.execution.plan import plan
from ontogeny.inputs.attention_only import AttentionOnly, AttentionOnlyConfig
from ontogeny.inputs.checkpoints import Checkpoints, Entry
from ontogeny.metrics import registry
from ontogeny.sampling.settings import Settings


class Counted:
    """Weights that count how often they are read."""

    def __init__(self, step):
        self.step, self.read_ = step, 0

    def read(self):
        self.read_ += 1
        return work.weights(self.step)


def test_the_cost_of_a_new_study_is_stated_before_any_weights_are_read(tmp_path):
    sources = [Counted(step) for step in work.STEPS]
    run = Checkpoints(Entry(source.step, source) for source in sources)
    given = {"checkpoints": run, "metrics": ("loss",)}
    expected = work.small_study(tmp_path / "out", dry_run=True, **given)
    assert expected.attrs["chunks_done"] == 0 and sum(source.read_ for source in sources) == 0
    work.small_study(tmp_path / "out", **given)
    assert sum(source.read_ for source in sources) > 0
    assert work.small_study(tmp_path / "out", dry_run=True, **given).attrs["chunks_done"] == 6


@pytest.mark.parametrize("given", [{"step_size": 1e-3, "burn_in": 5, "draws": 100}, {"batch_size": 8, "draws": 400}])
def test_about_as_many_gradients_are_taken_as_are_said(tmp_path, given):
    """Within a factor of two, fixed beforehand: how long a burn-in or a search is, is found on the way."""
    settings = {"checkpoints": work.checkpoints([10]), "data": tiny.data(), "components": {"inner": "inner.*"}}
    settings |= {"metrics": ("llc",), "step_size": None, "burn_in": None, "chains": 4, "max_draws": 20_000, **given}
    said = work.small_study(tmp_path / "out", dry_run=True, **settings).attrs["gradient_evaluations"]
    taken = setting(work.small_study(tmp_path / "out", **settings), "gradient_evaluations")
    assert taken / 2 <= said <= 2 * taken


def test_few_gradients_allowed_are_a_plan_too(tmp_path, capsys):
    given = {"n_beta": None, "localization": None, "step_size": None, "draws": None, "burn_in": None, "max_draws": 9}
    expected = work.small_study(tmp_path / "out", dry_run=True, metrics=("llc",), **given)
    assert expected.attrs["tasks"] == 16 and expected.attrs["until_target"]
    assert "Left: at most about" in (said := capsys.readouterr().out) and "fewer where the target error is met" in said


def test_logits_of_all_chains_are_part_of_what_a_worker_holds(tmp_path):
    def held(chains):
        model = AttentionOnly(AttentionOnlyConfig(vocabulary=50, context=8, width=8, layers=1, heads=1))
        run = [(0, model.state_dict())]
        tokens = torch.zeros(6, 8, dtype=torch.int64)
        given = {"components": {"unembed": "unembed"}, "dry_run": True, **work.FROZEN, **work.SHORT, "chains": chains}
        found = measure(model, run, tokens, og.NextToken(), out=tmp_path / "out", batch_size=4, **given)
        return found.attrs["bytes_a_worker"]

    # float32: six copies of the selected weights, and three of batch × positions × vocabulary
    assert held(3) - held(2) == 4 * (6 * (8 + 1) * 50 + 3 * 4 * 8 * 50)


def test_large_rows_go_in_small_batches(tmp_path):
    """1024 positions a step of a model of 10,000 weights or more, at least four rows."""
    seen = []

    def logits(model, batch):
        seen.append(tuple(batch.shape))
        return sum(value.sum() for value in model.parameters()) * batch.float().mean(1)

    model = torch.nn.Linear(100, 100)
    rows = {"short": torch.ones(90, 2, dtype=torch.int64), "long": torch.ones(9, 512, dtype=torch.int64)}
    for name, expected in (("short", 64), ("long", 4)):
        for metric in ("loss", "gradient_norm"):
            seen.clear()
            asked = registry.Asked(Settings(*[None] * 10, 0, "cpu"))
            registry.METRICS[metric].compute(model, {name: rows[name]}, logits, {"all": None}, asked)
            assert max(shape[0] for shape in seen) == expected
            assert asked.batch_size_of(model, {name: rows[name]}) == expected


class Times(tiny.Regression):
    def __init__(self, by):
        super().__init__()
        self.by = by

    def forward(self, x):
        return self.by * super().forward(x)


def test_another_model_in_one_folder_is_refused_by_what_differs(tmp_path):
    given = {"metrics": ("loss",), "out": tmp_path / "out", "workers": 1}
    run = (work.checkpoints([0]), tiny.data(), tiny.squares)
    first = measure(Times(1.0), *run, **given)
    for model, part in ((Times(5.0), "attributes"), (tiny.Regression().double(), "attributes")):
        with pytest.raises(og.OntogenyError, match=rf"holds another study \(measure with model\.{part} = "):
            measure(model, *run, **given)
    other = measure(Times(5.0), *run, **given | {"out": tmp_path / "other"})
    assert first["loss"].item() != other["loss"].item()


def test_weights_in_memory_are_not_sent_to_every_worker(tmp_path):
    """As a bound method of what holds them all would; each reads from a file what it works on."""
    out = tmp_path / "out"

    def run(function, chunks, shelf, *, parts, shared, **given):
        assert b"inner.weight" not in pickle.dumps(parts)
        for step in work.STEPS:
            assert all(torch.equal(value, parts(step)[name]) for name, value in work.weights(step).items())
        for chunk in chunks:
            shelf.save(chunk.key, LargeInputs(shared, parts).compute(function, chunk))

    settings = Settings(*[None] * 10, 0, None)
    run_of = (work.checkpoints(), work.data(), tiny.squares, work.COMPONENTS, "loss")
    study = plan(tiny.Regression(), *run_of, out=out, settings=settings)
    assert study.cost().bytes_written >= 3 * 16 * 4
    expected = work.small_study(tmp_path / "one by one", metrics=("loss",))
    np.testing.assert_allclose(study.run(run)["loss"], expected["loss"], rtol=1e-6)
    assert not list(out.glob(".*"))


def test_a_loss_that_workers_cannot_be_sent_is_refused(tmp_path):
    def within(model, batch):
        return tiny.squares(model, batch)

    with pytest.raises(og.OntogenyError, match=r"worker processes cannot be given .* at the top level of a module"):
        work.small_study(tmp_path / "out", loss_fn=within, metrics=("loss",), workers=2)


def test_nothing_is_written_where_all_is_there(tmp_path, monkeypatch):
    given = {"metrics": ("loss",), "out": tmp_path / "out"}
    first = work.small_study(**given)
    monkeypatch.setattr(study_module, "write_weights", lambda *_: pytest.fail("weights were written"))
    xr.testing.assert_identical(work.small_study(**given), first)


def test_overlap_is_of_all_components_however_chunks_are_cut(tmp_path, monkeypatch):
    """Heads of two layers lie in chunks of their own, and so does every component where tasks are long."""
    model = AttentionOnly(AttentionOnlyConfig(vocabulary=20, context=8, width=8, layers=2, heads=2))
    tokens = torch.zeros(6, 8, dtype=torch.int64)
    components = {"one": "1:0", "both": ["0:0", "1:0"], "other": "0:1"}
    given = {**work.FROZEN, **work.SHORT, "progress": False, "workers": 1, "batch_size": 4}
    expected = "one & both: 140 weights"
    for name, seconds in (("long", 20.0), ("short", 1e-9)):
        monkeypatch.setattr(tasks, "CHUNK_SECONDS", seconds)
        found = measure(
            model, [(0, model.state_dict())], tokens, og.NextToken(), components, out=tmp_path / name, **given
        )
        assert found.attrs["overlap"] == expected and "overlap" not in found


def test_the_default_dtype_of_torch_changes_no_number(tmp_path):
    usual = work.small_study(tmp_path / "usual", workers=1)
    torch.set_default_dtype(torch.float64)
    try:
        xr.testing.assert_identical(work.small_study(tmp_path / "double", workers=1), usual)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_worker_multiplies_on_one_thread():
    from threadpoolctl import threadpool_info, threadpool_limits

    from ontogeny.execution.local import _as_in_a_worker

    with threadpool_limits(2):
        with _as_in_a_worker():
            assert {pool["num_threads"] for pool in threadpool_info()} == {1}
        assert max(pool["num_threads"] for pool in threadpool_info()) == 2
