"""Write what a finished study says into CLAIMS.md, and the figures it was made of beside it.

python benchmarks/claims.py sparsity-sweep runs/sparsity-sweep-quick
python benchmarks/claims.py sorting runs/sorting-quick
python benchmarks/claims.py attention-heads runs/attention-heads-quick
python benchmarks/claims.py feature-targeted runs/feature-targeted-quick
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ontogeny.report.attention_heads import claims as attention_heads
from ontogeny.report.feature_targeted import claims as feature_targeted
from ontogeny.report.sorting import claims as sorting
from ontogeny.report.sparsity_sweep import claims as sparsity_sweep

ROOT = Path(__file__).resolve().parents[1]
STUDIES = {
    "sparsity-sweep": sparsity_sweep,
    "sorting": sorting,
    "attention-heads": attention_heads,
    "feature-targeted": feature_targeted,
}


def marks(study: str) -> tuple[str, str]:
    """What stands around the rows of a study in CLAIMS.md."""
    words = study.replace("-", " ")
    return f"<!-- {words}: written by benchmarks/claims.py -->", f"<!-- end of the {words} -->"


def main() -> None:
    """Replace the rows between the two marks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("folder", type=Path, help="what `ontogeny run` wrote")
    asked = parser.parse_args()
    summary = json.loads((asked.folder / "summary.json").read_text(encoding="utf-8"))
    study = STUDIES[asked.study]
    kept = json.dumps(study.excerpt(summary), indent=1, ensure_ascii=False, allow_nan=False)
    (ROOT / "claims" / f"{asked.study.replace('-', '_')}.json").write_text(kept + "\n", encoding="utf-8")
    claims, (begin, end) = ROOT / "CLAIMS.md", marks(asked.study)
    text = claims.read_text(encoding="utf-8")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    table = "\n".join(["| statement | measured here | command | verdict |", "|---|---|---|---|", *study.rows(summary)])
    claims.write_text(f"{before}{begin}\n\n{table}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
