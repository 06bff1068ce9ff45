"""Turn what pytest-benchmark measured into the committed table: ``make bench`` runs both.

pytest tests/benchmarks --benchmark-only -p no:xdist --benchmark-json=.benchmarks/raw.json
python tests/benchmarks/table.py .benchmarks/raw.json

With --to=NAME first, the table goes to a file of its own, for a part of the benchmarks.
"""

import json
import sys
from pathlib import Path

from twoclocks.empirics.runs.run import environment

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    paths = sys.argv[1:]
    name = paths.pop(0).removeprefix("--to=") if paths[0].startswith("--to=") else "benchmarks"
    measured = [b for path in paths for b in json.loads(Path(path).read_text())["benchmarks"]]
    rows = [
        {
            "name": b["name"].removeprefix("test_").replace("_", " "),
            "median_ms": 1e3 * b["stats"]["median"],
            "iqr_ms": 1e3 * b["stats"]["iqr"],
            "rounds": b["stats"]["rounds"],
            **b["extra_info"],
        }
        for b in measured
    ]
    lines = [
        "# Benchmarks",
        "",
        f"`make bench`; one thread unless said otherwise; versions `{json.dumps(environment())}`.",
        "Ratios compare with the peer on the same input in the same process, turn by turn.",
        "",
        "| what | median ms | interquartile ms | rounds | measured beside it |",
        "|---|---|---|---|---|",
    ]
    known = ("name", "median_ms", "iqr_ms", "rounds")
    for row in rows:
        beside = "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in row.items() if key not in known)
        lines.append(f"| {row['name']} | {row['median_ms']:.4g} | {row['iqr_ms']:.2g} | {row['rounds']} | {beside} |")
    (RESULTS / f"{name}.json").write_text(
        json.dumps({"environment": environment(), "benchmarks": rows}, indent=1) + "\n"
    )
    (RESULTS / f"{name}.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
