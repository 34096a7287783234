"""The LLC of the computation of one feature: directions that a model uses beside random ones.

A small model learns to continue sequences that repeat themselves. For every direction of the activations after its
first layer only that direction's value counts: λ̂ says how many ways of moving the weights would change it. The
directions here are those that best explain the activations; the decoder rows of a sparse autoencoder go the same way,
``og.features.sae_directions("folder or safetensors file")``.

python examples/feature_targeted.py
"""

import torch

import ontogeny as og

VOCABULARY, CONTEXT, STEPS, DIRECTIONS = 16, 16, 300, 4
torch.set_num_threads(1)

rows = og.metrics.repeated_tokens(range(VOCABULARY), 128, period=6, repeats=3, seed=0)[:, :CONTEXT]
model = og.AttentionOnly(og.AttentionOnlyConfig(VOCABULARY, context=CONTEXT, width=16, layers=2, heads=2))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.01)
for _ in range(STEPS):
    loss = og.NextToken()(model, rows).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

site = og.features.Site(0, "resid_post")
seen = og.features.activations(model, rows, site)
used = torch.linalg.svd(seen - seen.mean(0), full_matrices=False).Vh[:DIRECTIONS]
directions, kinds = og.features.interleaved(used, og.features.random_directions(DIRECTIONS, 16), ("used", "random"))

calibration = og.features.calibrate_features(model, rows, directions, site, draws=60, max_draws=400)
found = og.features.estimate_features(model, rows, directions, site, calibration=calibration, draws=60)
print(f"λ̂(nβ = {calibration.n_beta:.3g}, γ = {calibration.localization:.3g}) of the computation of one direction")
for number, kind in enumerate(kinds):
    one = found.isel(feature=number)
    print(f"  {kind:6}  {one['llc'].item():6.2f} ± {one['llc_se'].item():.2f}  {one['status'].item()}")

llc = {kind: [found["llc"].values[i] for i, other in enumerate(kinds) if other == kind] for kind in ("used", "random")}
told = og.analysis.separation(llc["used"], llc["random"])
print(f"δ {told.delta:.2f}, 95 % interval {told.delta_low:.2f} to {told.delta_high:.2f}; 0.5: not told apart")
