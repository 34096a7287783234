"""Fused attention for many chains: values and gradients are those of the plain kernel, however chains are batched."""

import pytest
import torch
from torch.func import grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as attention

from ontogeny.core.rng import generator
from ontogeny.inputs import fused_attention
from ontogeny.inputs.fused_attention import FusedAttention

CHAINS, ROWS, HEADS, POSITIONS, WIDTH = 3, 2, 4, 7, 8


def drawn(name, *shape):
    return torch.randn(*shape, generator=generator(0, name), dtype=torch.float64)


def inputs(batched, kv_heads=HEADS):
    shapes = {name: (ROWS, HEADS if name == "q" else kv_heads, POSITIONS, WIDTH) for name in "qkv"}
    return [
        drawn(name, *([CHAINS] if one else []), *shape)
        for (name, shape), one in zip(shapes.items(), batched, strict=True)
    ]


MASK = torch.rand(1, 1, POSITIONS, POSITIONS, generator=generator(0, "mask")) > 0.3
MASK[..., 0] = True  # no row without anything to attend to
CASES = [
    {"is_causal": True},
    {},
    {"scale": 0.3, "is_causal": True},
    {"attn_mask": MASK},
    {"attn_mask": drawn("additive", 1, 1, POSITIONS, POSITIONS)},
]


def both_ways(function, batched, values):
    dims = tuple(0 if one else None for one in batched)

    def all_chains():
        return vmap(grad_and_value(function, argnums=(0, 1, 2)), in_dims=dims)(*values)

    with sdpa_kernel(SDPBackend.MATH):
        plain = all_chains()
    with FusedAttention():
        fused = all_chains()
    return fused, plain


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batched", [(True, True, True), (True, False, False), (False, True, True)])
def test_values_and_gradients(case, batched):
    weight = drawn("weight", ROWS, HEADS, POSITIONS, WIDTH)
    fused, plain = both_ways(lambda q, k, v: (weight * attention(q, k, v, **case)).sum(), batched, inputs(batched))
    torch.testing.assert_close(fused, plain)


def test_grouped_queries():
    batched = (True, True, True)
    values = inputs(batched, kv_heads=2)
    fused, plain = both_ways(
        lambda q, k, v: attention(q, k, v, is_causal=True, enable_gqa=True).square().sum(), batched, values
    )
    torch.testing.assert_close(fused, plain)


def test_it_is_the_fused_kernel_that_runs(monkeypatch):
    calls = []
    monkeypatch.setattr(fused_attention, "_forward", lambda *a, **k: calls.append(1) or plain(*a, **k))
    plain = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    q, k, v = inputs((False, False, False))
    with FusedAttention():
        attention(q, k, v, is_causal=True)
        assert calls == [1]
        attention(q, k, v, dropout_p=0.5)  # and the plain one where it cannot
        attention(q[0], k[0], v[0])
        assert calls == [1]
    attention(q, k, v)
    assert calls == [1]


def test_twice_is_refused():
    q, k, v = inputs((False, False, False))
    q.requires_grad_()
    with FusedAttention():
        slope = torch.autograd.grad(attention(q, k, v).square().sum(), q, create_graph=True)[0]
        with pytest.raises(RuntimeError):
            torch.autograd.grad(slope.sum(), q)
