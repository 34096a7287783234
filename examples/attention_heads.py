"""What the heads of a transformer do: an induction circuit is trained in some seconds, and found again.

A two-layer attention-only model learns to continue sequences that repeat themselves. Scores say where its heads look,
ablation which of them matter, and path patching what the most important one reads from the layer below.

python examples/attention_heads.py
"""

import torch
from torch import Tensor, nn

import ontogeny as og

VOCABULARY, CONTEXT, STEPS = 16, 20, 400
torch.set_num_threads(1)


def sequences(number: int, seed: int, period: int) -> Tensor:
    """Different tokens in random order, again and again, up to the context."""
    rows = og.metrics.repeated_tokens(range(VOCABULARY), number, period=period, repeats=4, seed=seed)
    return rows[:, :CONTEXT]


def of_the_repeats(model: nn.Module, tokens: Tensor) -> Tensor:
    """The loss where the next token can be foretold: half-way into the rows all have begun to repeat themselves."""
    return og.NextToken()(model, tokens)[:, CONTEXT // 2 :]


model = og.AttentionOnly(og.AttentionOnlyConfig(VOCABULARY, context=CONTEXT, width=32, layers=2, heads=2))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.01)
for step in range(STEPS):
    loss = of_the_repeats(model, sequences(32, seed=step, period=5 + step % 6)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

scores = og.metrics.attention_scores(model, period=8, repeats=2)
held_out = sequences(200, seed=STEPS, period=8)
ablated = og.interventions.ablation_scores(model, held_out, kinds=["mean"], loss_fn=of_the_repeats)
print(f"loss {ablated['loss'].item():.4f} ± {ablated['loss_se'].item():.4f} nats")
print("head   previous token   prefix matching   loss when mean-ablated")
for head in scores["head"].values:
    look, change = scores.sel(head=head), ablated.sel(head=head, ablation="mean")
    print(
        f"{head}    {look['previous_token'].item():.2f} ± {look['previous_token_se'].item():.2f}"
        f"      {look['prefix_matching'].item():.2f} ± {look['prefix_matching_se'].item():.2f}"
        f"       {change['ablation_score'].item():+.3f} ± {change['ablation_score_se'].item():.3f}"
    )

paths = og.interventions.path_patching_scores(
    model, held_out, ["0:0", "0:1"], "1:0", through=["q", "k", "v"], loss_fn=of_the_repeats
)
print("layer 0 mean-ablated in what 1:0 reads alone:")
for way in paths["through"].values:
    one = paths.sel(through=way)
    print(f"  {way}: {one['path_score'].item():+.3f} ± {one['path_score_se'].item():.3f} nats")
