"""A small superposition study made without the package: the toy model trained in numpy, measurements made up around it.

The trajectories are real (x̂ = ReLU(WᵀWx + b) trained by Adam on sparse features); the LLC is a smooth function of the
weights plus noise of a known size, with every status a reader may meet and λ̂
far below zero in the first steps, so that figures and page can be tested
before, and apart from, the study.
"""

from typing import Any

import numpy as np
import xarray as xr

SOME = [0, 1, 2, 5, 7, 8, 12, 15]
"""Of the twenty default seeds, some of every class; 2, 7, 12 and 15 jump."""


def train(seeds: int, steps: int, every: int, *, features: int = 6, sparsity: float = 0.7, seed0: int = 3):
    """Weights (seed, time, 2, feature), biases, losses and the steps they belong to; all seeds in one batch."""
    rng = np.random.default_rng(seed0)
    importance = 0.9 ** np.arange(features)
    weight = 0.1 * rng.standard_normal((seeds, 2, features))
    bias = np.zeros((seeds, features))
    moments = [[np.zeros_like(p), np.zeros_like(p)] for p in (weight, bias)]
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    batch, rate = 64, 6.0 / steps
    for step in range(steps + 1):
        x = rng.random((seeds, batch, features)) * (rng.random((seeds, batch, features)) > sparsity)
        hidden = x @ weight.transpose(0, 2, 1)
        before = hidden @ weight + bias[:, None]
        error = np.maximum(before, 0) - x
        if step % every == 0:
            kept.append((weight.copy(), bias.copy(), (importance * error**2).mean((1, 2))))
        grad = 2 * importance * error * (before > 0) / (batch * features)
        grads = (
            hidden.transpose(0, 2, 1) @ grad
            + (x.transpose(0, 2, 1) @ (grad @ weight.transpose(0, 2, 1))).transpose(0, 2, 1),
            grad.sum(1),
        )
        for p, g, (m, v) in zip((weight, bias), grads, moments, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g**2 - v)
            p -= rate * (m / (1 - 0.9 ** (step + 1))) / (np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8)
    return np.arange(0, steps + 1, every), *(np.stack([k[i] for k in kept], axis=1) for i in range(3))


def effective_rank(weight: np.ndarray) -> np.ndarray:
    """Participation ratio (Σσ²)²/Σσ⁴ of the singular values over the last two axes."""
    square = np.linalg.svd(weight, compute_uv=False) ** 2
    return square.sum(-1) ** 2 / (square**2).sum(-1)


def cosine(weight: np.ndarray) -> np.ndarray:
    """Cosines between the columns of (…, 2, feature)."""
    unit = weight / np.linalg.norm(weight, axis=-2, keepdims=True)
    return np.swapaxes(unit, -1, -2) @ unit


def study(seeds: int = 20, steps: int = 1500, checkpoints: int = 40, every: int = 10) -> tuple[xr.Dataset, xr.Dataset]:
    """(measurements, trajectory) in the schema of the superposition study."""
    rng = np.random.default_rng(1)
    step, weight, bias, loss = train(seeds, steps, every)
    rank = effective_rank(weight)
    norm = np.linalg.norm(weight, axis=-2)
    trajectory = xr.Dataset(
        {
            "effective_rank": (("seed", "time"), rank),
            "feature_norm": (("seed", "time", "feature"), norm),
            "loss": (("seed", "time"), loss),
            "weight": (("seed", "time", "hidden", "feature"), weight),
        },
        coords={"seed": np.arange(seeds), "time": np.arange(len(step)), "step": ("time", step)},
    )
    pick = np.stack([_checkpoints(rank[s], checkpoints, rng) for s in range(seeds)])
    at = np.arange(seeds)[:, None], pick
    w, n, r = weight[at], norm[at], rank[at]
    represented = (n > 0.5).sum(-1)
    se = 0.02 + 0.05 * rng.random(r.shape)
    llc = 0.9 * represented + 2.0 * (r - 1) + 0.4 * np.log1p(step[pick] / steps) + se * rng.standard_normal(r.shape)
    status = np.full(r.shape, "ok", dtype="<U16")
    for word, share in (("target_not_met", 0.05), ("not_mixed", 0.04), ("drifting", 0.03), ("diverged", 0.02)):
        status[rng.random(r.shape) < share] = word
    r_hat = 1 + 0.02 * rng.random(r.shape) + 0.2 * (status == "not_mixed")
    lost = np.where(status == "diverged", 1, 0)
    llc, se = np.where(lost > 0, np.nan, llc), np.where(lost > 0, np.nan, se)
    early = step[pick] < 0.02 * steps
    llc = np.where(early, llc - 200 + 8000 * step[pick] / steps, llc)
    regime = np.select([early & np.isfinite(llc), n.max(-1) < 0.3], ["below_baseline", "prior_dominated"], "localised")
    h_max = 0.05 + 0.3 * (n**2).max(-1)
    variables: dict[str, tuple[np.ndarray, str, str]] = {
        "loss": (loss[at], "training loss", ""),
        "llc": (llc, "local learning coefficient", ""),
        "llc_se": (se, "standard error of the local learning coefficient", ""),
        "r_hat": (r_hat, "R-hat", ""),
        "ess": (200 + 800 * rng.random(r.shape), "effective sample size", "draws"),
        "chains_lost": (lost, "diverged chains", "chains"),
        "status": (status, "how well the LLC was measured", ""),
        "regime": (regime, "what was measured", ""),
        "effective_rank": (r, "effective rank", ""),
        "features_represented": (represented, "features represented", "features"),
        "polygon": (np.maximum(represented, 2), "closest polygon", "corners"),
        "features_near_zero": ((n < 0.2).sum(-1), "features near zero", "features"),
        "polygon_distance": (0.3 * rng.random(r.shape), "distance from the closest polygon", ""),
        "h_max": (h_max, "largest Hessian eigenvalue", "loss/weight²"),
        "localisation_ratio": (100 * h_max, "nβ·h_max/γ", ""),
    }
    dims = ("seed", "checkpoint")
    measured = xr.Dataset(
        {k: (dims, v, {"long_name": name, "units": unit}) for k, (v, name, unit) in variables.items()}
    )
    measured["feature_norm"] = ((*dims, "feature"), n)
    measured["weight"] = ((*dims, "hidden", "feature"), w)
    measured["bias"] = ((*dims, "feature"), bias[at])
    measured["cosine_similarity"] = ((*dims, "feature", "other_feature"), cosine(w))
    measured = measured.assign_coords(seed=np.arange(seeds), checkpoint=np.arange(checkpoints), step=(dims, step[pick]))
    measured.attrs = settings(seeds, steps)
    return measured.assign(curvature(measured)), trajectory


EXPLAINED = 0.8


def curvature(measured: xr.Dataset) -> xr.Dataset:
    """Trace, rank and a second-order prediction of 0.8 λ̂; early the gradient makes it λ̂ itself; none at step 0."""
    llc, early = measured["llc"], measured["regime"] == "below_baseline"
    curved = xr.where(early, 1.0, EXPLAINED * llc)
    pulled = xr.where(early, llc - 1.0, -1e-3 * abs(llc))
    defined = (measured["step"] > 0) & llc.notnull()
    out = xr.Dataset(
        {
            "second_order_llc": (curved + pulled).where(defined),
            "second_order_llc_curvature": curved.where(defined),
            "second_order_llc_gradient": pulled.where(defined),
            "second_order_llc_se": (0.01 * abs(curved)).where(defined),
            "hessian_trace": 2.0 * measured["features_represented"] + 0.1,
            "hessian_trace_se": 0.05 + 0.0 * measured["h_max"],
            "hessian_rank": 2.0 * measured["features_represented"],
        }
    )
    return out.assign(second_order_llc_status=xr.where(defined, "ok", "no_posterior"))


def settings(seeds: int, steps: int) -> dict[str, Any]:
    """The settings a study stores as attributes."""
    training = {"n_features": 6, "sparsity": 0.7, "importance_decay": 0.9, "init_scale": 0.1, "train_steps": steps}
    training |= {"learning_rate": 6.0 / steps, "train_batch": 64, "dataset_size": 4096}
    sampling = {"n_beta": 100.0, "localization": 1.0, "step_size": 1e-3, "kernel": "sgld", "batch_size": 300}
    sampling |= {"chains": 4, "draws": 500, "burn_in": 200}
    return {"preset": "quick", "seeds": seeds, **training, **sampling, "ontogeny_version": "0.1.0"}


def _checkpoints(rank: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Half of the checkpoints spread over training, half around the steepest rise of this seed's effective rank."""
    n = len(rank)
    steepest = int(np.argmax(np.gradient(np.convolve(rank, np.ones(5) / 5, "same"))[n // 20 : -3])) + n // 20
    chosen = set(np.linspace(0, n - 1, count // 2).astype(int)) | set(
        np.clip(np.arange(-count // 4, count // 4) + steepest, 0, n - 1)
    )
    rest = rng.permutation([i for i in range(n) if i not in chosen])
    return np.sort([*sorted(chosen)[:count], *rest][:count])


def analysed(measurements: xr.Dataset, trajectory: xr.Dataset) -> dict[str, xr.Dataset]:
    """What the analysis says about a study, under the names that the report asks for."""
    from ontogeny import analysis
    from ontogeny.estimators.status import usable

    llc = measurements["llc"].where(usable(measurements))
    rank, norm = trajectory["effective_rank"], trajectory["feature_norm"]
    start = analysis.start_of_representation(norm)
    kinds = analysis.classify_trajectories(rank, start=start)
    fits = analysis.fit_sigmoids(rank, start=analysis.start_of_rise(rank, start))
    emerged = analysis.feature_emergence(norm)
    inflection = fits["inflection"].where(fits["accepted"] & (kinds["kind"] == "plateau_then_jump"))
    tests = analysis.cut_point_test(
        llc, inflection, llc_se=measurements["llc_se"], rng=np.random.default_rng(0), start=start
    )
    return {
        "fits": fits,
        "kinds": kinds,
        "emergence": emerged,
        "relation": analysis.emergence_against_jump(emerged, inflection, margin=3 * fits["width"]),
        "tests": tests,
        "association": analysis.associations(
            llc, {k: measurements[k] for k in ("effective_rank", "loss", "features_represented")}
        ),
        "fractions": analysis.class_fractions(kinds["kind"], analysis.CLASSES),
    }


def some(checkpoints: int = 24) -> tuple[xr.Dataset, xr.Dataset]:
    """Return a study of the seeds in SOME only."""
    measurements, trajectory = study(checkpoints=checkpoints)
    return measurements.sel(seed=SOME), trajectory.sel(seed=SOME)


def write(path, measurements: xr.Dataset, trajectory: xr.Dataset):
    """Write the report of a synthetic study to `path`; returns the summary."""
    from ontogeny.report.superposition import summarise, write_superposition_report

    said = analysed(measurements, trajectory)
    association = said.pop("association")
    summary = summarise(measurements, **said)
    del said["relation"]
    write_superposition_report(path, measurements, trajectory, summary, association=association, **said)
    return summary


def neighbours(measurements: xr.Dataset, inflection: xr.DataArray, **factors: float) -> xr.Dataset:
    """The group "sensitivity" of a study: λ̂ of the first four jumping seeds, times a factor at each neighbour."""
    from ontogeny.plots.sensitivity import NAMES

    names = ("llc", "llc_se", "status", "regime", "chains_lost", "r_hat", "ess", "h_max", "localisation_ratio")
    names += ("hessian_rank", *(name for name in measurements if str(name).startswith("second_order_llc")))
    seeds = inflection.dropna("seed")["seed"].values[:4]
    one = measurements[list(names)].sel(seed=seeds)
    every = []
    for name in NAMES:
        times = factors.get(name, 1.0)
        every.append(one.assign(llc=times * one["llc"], llc_se=abs(times) * one["llc_se"]))
    out = xr.concat(every, "setting").assign_coords(setting=list(NAMES))
    for name, values in {"n_beta": [100, 50, 200, 100, 100], "localization": [1, 1, 1, 0.5, 2]}.items():
        out[name] = ("setting", np.array(values, dtype=float))
    for name, value in {"step_size": 1e-3, "burn_in": 40, "draws": 160, "chains": 4}.items():
        out[name] = ("setting", np.full(5, value))
    return out.rename(llc="llc_sensitivity", llc_se="llc_sensitivity_se")
