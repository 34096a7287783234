"""Tables of the attention-heads report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ontogeny.report.attention_heads.claims import measured
from ontogeny.report.page import Table
from ontogeny.report.words import number, percent

Summary = Mapping[str, Any]


def taxonomy(summary: Summary) -> Table:
    """Table 1 of the paper."""
    rows = [
        [
            seed,
            head,
            one["type"],
            one["pattern"].replace("_", " ") or "none",
            percent(max(share for kind, share in one["shares"].items() if kind != "unexplained") or 0.0)
            if all(share is not None for share in one["shares"].values())
            else "—",
            one["multigrams"],
            *(
                f"{one[name][0]:.2f} ± {one[name][1]:.2f}"
                for name in ("previous_token", "current_token", "prefix_matching")
            ),
            one["early_type"],
        ]
        for seed, heads in enumerate(summary["types"])
        for head, one in heads.items()
    ]
    headers = [
        "seed", "head", "type", "pattern", "of its tokens", "multigrams", "previous-token score",
        "current-token score", "prefix-matching score", "type at the earlier checkpoint",
    ]  # fmt: skip
    return Table(headers, rows, text_columns=(1, 2, 3, 9))


def statements(summary: Summary) -> Table:
    """Every statement with its verdict, at every setting."""
    rows = [
        [claim["says"], setting, claim["verdict"], measured(claim["by_seed"])]
        for setting, claims in summary["claims"].items()
        for claim in claims.values()
    ]
    return Table(["statement", "setting", "verdict", "measured here"], rows, text_columns=(0, 1, 2, 3))


def stages(summary: Summary) -> Table:
    """Where stages begin and end, and what forms in them."""
    rows = [
        [
            setting,
            seed,
            one["name"] or "—",
            "—" if one["name_share"] is None else percent(one["name_share"]),
            number(one["start"]),
            f"{number(one['end'])} ({number(one['end_low'])} to {number(one['end_high'])})",
            one["boundary"],
            one["direction"],
            f"{number(one['change'])} ± {number(one['change_se'], 2)}",
        ]
        for setting, by_seed in summary["stages"].items()
        for seed, found in by_seed.items()
        for one in found
    ]
    headers = [
        "setting", "seed", "what forms", "share of its change", "from step", "to step", "ends with a", "λ̂",
        "change of λ̂",
    ]  # fmt: skip
    return Table(headers, rows, text_columns=(0, 2, 6, 7))


def migrations(summary: Summary) -> Table:
    """Multigrams that left one head and joined another (appendix B.6)."""
    rows = [
        [
            seed,
            " · ".join(repr(text)[1:-1] for text in one["multigram"]),
            one["pattern"].replace("_", " "),
            ", ".join(one["left"]),
            ", ".join(one["joined"]),
            one["tokens_before"],
            one["tokens_after"],
        ]
        for seed, found in enumerate(summary["migrations"])
        for one in found["shown"]
    ]
    headers = ["seed", "multigram", "pattern", "left", "joined", "tokens before", "tokens after"]
    return Table(headers, rows, text_columns=(1, 2, 3, 4))


def clusters(summary: Summary) -> Table:
    """How well heads part, how stable that is, and how it agrees with types."""
    rows: list[list[str | int | float]] = []
    for setting, records in summary["clusters"].items():
        for one in records:
            for algorithm, found in one["by_algorithm"].items():
                quality = found["quality"]
                alike = ", ".join(f"{value:.2f}" for value in found["standardised"].values())
                rows.append(
                    [
                        setting, one["layer"], one["count"], algorithm, *(number(value) for value in quality.values()),
                        alike, *_types(found["types"]),
                    ]
                )  # fmt: skip
            stable = one["stability"]
            told = (
                "—" if stable is None else f"stable {stable['mean']:.2f} ({stable['low']:.2f} to {stable['high']:.2f})"
            )
            rows.append([setting, one["layer"], one["count"], "vote", "—", "—", "—", told, *_types(one["types"])])
            for part in one["transfer"]:
                words = f"{part['algorithm']}, on seed {part['seed']}"
                rows.append([setting, one["layer"], one["count"], words, *"————", *_types(part["types"])])
    headers = [
        "setting", "layer", "clusters", "algorithm", "silhouette", "Calinski-Harabasz", "Davies-Bouldin",
        "ARI with standardised (each, all)", "ARI with types", "p", "least ARI with p ≤ 0.05",
    ]  # fmt: skip
    return Table(headers, rows, text_columns=(0, 3, 7))


def _types(agreement: Mapping[str, float] | None) -> list[str]:
    if agreement is None:
        return ["one type only", "—", "—"]
    return [f"{agreement['rand_index']:.2f}", f"{agreement['p_value']:.2g}", number(agreement["critical"], 2)]
