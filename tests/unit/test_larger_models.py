"""Appendix H on a tiny GPT-NeoX: two checkpoints, two data sets, every head."""

import numpy as np
import pytest
import torch
import xarray as xr

import ontogeny as og
from ontogeny.core.rng import generator
from ontogeny.studies.attention_heads.larger_models import _relative, relative_llc_differences

transformers = pytest.importorskip("transformers")


def neox(seed):
    torch.manual_seed(seed)
    return transformers.GPTNeoXForCausalLM(
        transformers.GPTNeoXConfig(
            vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=16, use_cache=False,
        )
    ).eval()  # fmt: skip


def rows(name):
    return torch.randint(0, 20, (8, 12), generator=generator(0, name))


def test_every_head_has_a_relative_difference_and_its_scores(tmp_path):
    model, later = neox(0), neox(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = relative_llc_differences(
        model,
        [(0, model.state_dict()), (1000, later.state_dict())],
        rows("text"),
        rows("code"),
        out=tmp_path / "out",
        heads=["0:1", "1:0"],
        kernel="sgld", step_size=1e-3, burn_in=0, chains=2, draws=6, batch_size=4,
        sequences=3, period=4, repeats=3,
        workers=1, progress=False,
    )  # fmt: skip
    assert found["difference"].dims == ("checkpoint", "head") and found["step"].values.tolist() == [0, 1000]
    assert list(found["head"].values) == ["0:1", "1:0"] and found["llc"].sizes["dataset"] == 2
    assert bool(((found["prefix_matching"] >= 0) & (found["prefix_matching"] <= 1)).all())
    one, two = (found["llc"].sel(dataset=name) for name in ("reference", "other"))
    known = found["difference"].notnull()
    np.testing.assert_allclose(found["difference"].where(known), ((two - one) / one).where(known))
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())


def test_the_error_of_a_quotient_and_where_it_is_unknown():
    found = xr.Dataset(
        {
            "llc": (("head", "dataset"), [[4.0, 6.0], [0.1, 3.0], [4.0, 6.0]]),
            "llc_se": (("head", "dataset"), [[0.2, 0.3], [0.2, 0.3], [0.2, 0.3]]),
            "chains_lost": (("head", "dataset"), [[0, 0], [0, 0], [0, 1]]),
        },
        coords={"dataset": ["reference", "other"]},
    )
    known, difference, error = _relative(found)
    assert known.values.tolist() == [True, False, False]
    assert float(difference[0]) == pytest.approx(0.5)
    assert float(error[0]) == pytest.approx((0.3**2 + (1.5 * 0.2) ** 2) ** 0.5 / 4)


def test_what_is_chosen_here_cannot_be_given(tmp_path):
    with pytest.raises(og.OntogenyError, match="components is chosen here"):
        relative_llc_differences(
            neox(0), [(0, neox(0).state_dict())], rows("a"), rows("b"), out=tmp_path, components="all"
        )
