"""The LLC of a small regression, whole and by layer, with its error and what its status means.

python examples/estimate_llc.py
"""

import torch

import ontogeny as og

stream = torch.Generator().manual_seed(0)
inputs = torch.randn(500, 4, generator=stream)
targets = torch.tanh(inputs @ torch.randn(4, 1, generator=stream)) + 0.1 * torch.randn(500, 1, generator=stream)

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
optimiser = torch.optim.LBFGS(model.parameters(), max_iter=500, line_search_fn="strong_wolfe")


def loss_fn(model: torch.nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Half the squared error, one value per example."""
    x, y = batch
    return 0.5 * (model(x) - y).square().sum(-1)


def closure() -> torch.Tensor:
    """The mean loss, for the optimiser."""
    optimiser.zero_grad()
    loss = loss_fn(model, (inputs, targets)).mean()
    loss.backward()
    return loss


optimiser.step(closure)

estimate = og.estimate_llc(
    model,
    (inputs, targets),
    loss_fn,
    components={"all weights": None, "first layer": "0.*", "last layer": "2.*"},
    n_beta=500.0,
    localization=20.0,
    chains=8,
    draws=1000,
    batch_size=250,
    seed=0,
)
for component in estimate["component"].values:
    one = estimate.sel(component=component)
    words = f"{one.status.item()}, {one.regime.item()}"
    print(f"{component:12}  λ̂ = {one.llc.item():.2f} ± {one.llc_se.item():.2f}   R̂ {one.r_hat.item():.3f}   {words}")
for word in sorted(set(estimate["status"].values) | set(estimate["regime"].values)):
    print(f"{word}: {og.describe_status(word)}")
