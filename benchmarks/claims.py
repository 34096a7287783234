"""Write what a finished sparsity sweep says into CLAIMS.md, and the figures it was made of beside it.

python benchmarks/claims.py runs/sparsity-sweep-quick
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ontogeny.report.sparsity_sweep.claims import excerpt, rows

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- sparsity sweep: written by benchmarks/claims.py -->", "<!-- end of the sparsity sweep -->"


def main() -> None:
    """Replace the rows between the two marks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what `ontogeny run sparsity-sweep` wrote")
    summary = json.loads((parser.parse_args().folder / "summary.json").read_text(encoding="utf-8"))
    kept = json.dumps(excerpt(summary), indent=1, ensure_ascii=False, allow_nan=False)
    (ROOT / "claims" / "sparsity_sweep.json").write_text(kept + "\n", encoding="utf-8")
    claims = ROOT / "CLAIMS.md"
    text = claims.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    table = "\n".join(["| statement | measured here | command | verdict |", "|---|---|---|---|", *rows(summary)])
    claims.write_text(f"{before}{BEGIN}\n\n{table}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
