"""The table and the picture of what run.py has measured; `python benchmarks/report.py RESULT.json` makes them again.

`python benchmarks/report.py --compact RESULT.json ...` prints the summary and one line a layer, as docs have them.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any


def mean(values: list[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, values)))


def best_peer(row: dict[str, Any]) -> float | None:
    return min((t for name, t in row["seconds"].items() if not name.startswith("ours")), default=None)


def our_time(row: dict[str, Any]) -> float:
    return float(next(t for name, t in row["seconds"].items() if name.startswith("ours")))


def groups(results: dict[str, Any]) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """Rows by dimensions, pass, dtype and memory."""
    found: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in sorted(results["rows"], key=lambda r: r["axes"]):
        found.setdefault((f"{row['axes']}-D", row["pass"], row["dtype"], row["layout"]), []).append(row)
    return found


def summary(rows: list[dict[str, Any]]) -> list[str]:
    """Geometric mean and worst of the best peer's time over ours, and our share of the limit from 1 MFLOP on."""
    ratios = [(best_peer(r) / our_time(r), r["layer"]) for r in rows if best_peer(r)]  # type: ignore[operator]
    shares = [r["limit"] / our_time(r) for r in rows if r["flop"] >= 1e6]
    worst = min(ratios, default=None)
    return [
        f"{mean([q for q, _ in ratios]):.2f}" if ratios else "-",
        f"{worst[0]:.2f} ({worst[1]})" if worst else "-",
        f"{sum(q < 1 for q, _ in ratios)} of {len(ratios)}",
        f"{mean(shares):.2f}" if shares else "-",
    ]


def heading(results: dict[str, Any]) -> list[str]:
    m = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in m["versions"].items())
    lines = [
        f"{m['cpu']}, {m['threads']} thread{'s' * (m['threads'] > 1)}, target {m['target']}; "
        f"{m['multiply_adds'] / 1e9:.0f} GFLOP/s of multiply-adds. Python {m['python']}, {versions}.",
        "",
        "| | pass | dtype | memory | best peer / ours, geometric mean | worst | layers lost | share of the limit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key, rows in groups(results).items():
        lines.append("| " + " | ".join([*key, *summary(rows)]) + " |")
    return lines


def compact(results: dict[str, Any]) -> str:
    """One line a layer and dtype, of each pass and layout: microseconds, best peer / ours, share of the limit."""
    lines = heading(results)
    for axes in sorted({r["axes"] for r in results["rows"]}):
        found: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        for r in (r for r in results["rows"] if r["axes"] == axes):
            found.setdefault((r["layer"], r["dtype"]), {})[f"{r['pass']}, {r['layout'].replace('_', ' ')}"] = r
        for columns in dict.fromkeys(tuple(cells) for cells in found.values()):
            lines += ["", "| layer | dtype | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
            for key, cells in found.items():
                if tuple(cells) == columns:
                    lines.append("| " + " | ".join([*key, *map(cell, cells.values())]) + " |")
    return "\n".join(lines) + "\n"


def cell(row: dict[str, Any]) -> str:
    ours, peer = our_time(row), best_peer(row)
    parts = [f"{ours * 1e6:.{0 if ours > 1e-4 else 1}f}"]
    if peer:
        parts.append(f"{peer / ours:.{1 if peer > ours else 2}f}")
    return ", ".join([*parts, f"{row['limit'] / ours:.2f}"])


def table(results: dict[str, Any]) -> str:
    lines = heading(results)
    for key, rows in groups(results).items():
        names = list(dict.fromkeys(name for r in rows for name in r["seconds"]))
        lines += ["", f"## {', '.join(key)}", "", "Microseconds.", ""]
        lines.append("| layer | limit | bound by | " + " | ".join(names) + " | best peer / ours | share of the limit |")
        lines.append("|---" * (len(names) + 5) + "|")
        for r in rows:
            times = [f"{r['seconds'][n] * 1e6:.1f}" if n in r["seconds"] else "" for n in names]
            peer = best_peer(r)
            ratio = f"{peer / our_time(r):.2f}" if peer else ""
            ends = [ratio, f"{r['limit'] / our_time(r):.2f}"]
            lines.append("| " + " | ".join([r["layer"], f"{r['limit'] * 1e6:.1f}", r["bound"], *times, *ends]) + " |")
    return "\n".join(lines) + "\n"


def picture(results: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    found = groups(results)
    figure, axes = plt.subplots(len(found), 1, figsize=(14, 4.2 * len(found)), squeeze=False, layout="constrained")
    for ax, (key, rows) in zip(axes[:, 0], found.items(), strict=True):
        rows = sorted(rows, key=lambda r: r["limit"] / our_time(r))
        places = range(len(rows))
        for name in dict.fromkeys(n for r in rows for n in r["seconds"]):
            mine = name.startswith("ours")
            shares = [r["limit"] / r["seconds"][name] if name in r["seconds"] else math.nan for r in rows]
            ax.plot(places, shares, "o" if mine else ".", ms=6 if mine else 5, label=name, zorder=3 if mine else 2)
        ax.axhline(1, color="black", lw=0.8)
        ax.set(yscale="log", ylim=(0.002, 1.6), ylabel="share of the limit", title=", ".join(key))
        ax.set_xticks(places, [r["layer"] for r in rows], rotation=90, fontsize=6)
        ax.grid(axis="y", alpha=0.3)
        ax.legend(loc="lower right", ncols=5)
    figure.savefig(path, dpi=110)


def write(results: dict[str, Any], output: Path) -> None:
    text = table(results)
    output.with_suffix(".md").write_text(text)
    picture(results, output.with_suffix(".png"))
    print(text.split("\n## ")[0])
    print("written:", ", ".join(str(output.with_suffix(s)) for s in (".md", ".png", ".json")))


if __name__ == "__main__":
    paths = [Path(name) for name in sys.argv[1:] if name != "--compact"]
    found = [json.loads(path.read_text()) for path in paths]
    if "--compact" in sys.argv:
        print(compact({"machine": found[0]["machine"], "rows": [row for results in found for row in results["rows"]]}))
    else:
        write(found[0], paths[0])
