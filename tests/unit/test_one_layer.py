"""A transformer with one MLP: its forward pass by hand, its sizes, and Adam on data that are generated."""

import pytest
import torch

import ontogeny as og
from ontogeny.inputs.one_layer import OneLayerConfig, OneLayerTransformer
from ontogeny.training.generated_data import train_on_generated_data

SMALL = {"vocabulary": 5, "outputs": 3, "context": 4, "width": 8, "head_width": 4, "mlp_width": 6}
TOKENS = torch.tensor([[0, 3, 1, 4], [2, 2, 0, 1]])


@pytest.mark.parametrize("layer_norm", [True, False])
def test_the_mlp_adds_to_what_attention_leaves(layer_norm):
    """Without its MLP the model is what its attention layer and unembedding make; with it, plus relu(x W_in) W_out."""
    model = OneLayerTransformer(OneLayerConfig(**SMALL, layer_norm=layer_norm), seed=1).double()
    block = model.blocks[0]
    residual = model.embed(TOKENS) + model.pos_embed(TOKENS)
    middle = residual + block.attn(block.ln1(residual), None)
    read = block.ln2(middle)
    written = torch.relu(read @ block.mlp.W_in + block.mlp.b_in) @ block.mlp.W_out + block.mlp.b_out
    expected = model.unembed(model.ln_final(middle + written))
    found = model(TOKENS)
    assert found.shape == (2, 4, 3)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert float(written.detach().abs().max()) > 1e-3


@pytest.mark.parametrize(("name", "value"), [("outputs", 0), ("mlp_width", 2.5), ("width", 0)])
def test_sizes_that_are_none_are_refused(name, value):
    with pytest.raises(og.OntogenyError, match=rf"^{name} must be a whole number of at least 1; got {value}"):
        OneLayerConfig(**{**SMALL, name: value})


def test_training_is_adam_with_the_decay_in_its_gradient():
    """The first step of Adam is η·sign(gradient), of the loss and the decay together."""
    model = torch.nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0, 0.5]]))
    rows = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    kept = train_on_generated_data(
        model,
        lambda m, batch: -m(batch)[:, 0],  # gradient (-1, 0, 0)
        lambda step: rows,
        learning_rate=0.1,
        weight_decay=0.3,
        steps=1,
        keep=[0, 1],
    )
    # -1 + 0.3·1 < 0, so up; 0.3·(-2) < 0, so up; 0.3·0.5 > 0, so down
    torch.testing.assert_close(
        kept[1]["weight"] - kept[0]["weight"], torch.tensor([[0.1, 0.1, -0.1]]), rtol=1e-5, atol=0
    )
