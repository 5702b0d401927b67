"""Table and plot of what `compare.py` measured.

Run: python examples/benchmarks/report.py results.json --page docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]

BEGIN, END = "<!-- begin results -->", "<!-- end results -->"


def rows(record: Record) -> Iterator[list[str]]:
    """Give a header and a row for each candidate."""
    candidates = record["candidates"]
    measured = [c for c in candidates.values() if "median_s" in c]
    base: Record = next(iter(measured), {})
    has = {key for candidate in measured for key in candidate}
    limit = candidates.get("bare network, float32", {}).get("median_s")
    header = ["", "median", "to skdc"] + ["to bare, float32"] * (limit is not None)
    header += ["extra peak memory"] * ("extra_peak_mb" in has)
    header += ["weights"] * ("parameters" in has) + ["inertia"] * ("inertia" in has)
    yield header
    for name, candidate in candidates.items():
        if "median_s" not in candidate:
            yield [name, candidate["error"], *[""] * (len(header) - 2)]
            continue
        row = [name, f"{1000 * candidate['median_s']:.0f} ms"]
        row.append(f"{candidate['median_s'] / base['median_s']:.2f} x")
        if limit is not None:
            row.append(f"{candidate['median_s'] / limit:.2f} x")
        if "extra_peak_mb" in has:
            row.append(f"{candidate['extra_peak_mb']:.0f} MB")
        if "parameters" in has:
            row.append(f"{candidate['parameters'] / 1e6:.1f} M")
        if "inertia" in has:
            row.append(f"{candidate['inertia'] / base['inertia']:.5f} x")
        yield row


def print_case(record: Record) -> None:
    """Print one comparison."""
    print(record["title"])
    for row in rows(record):
        print("  " + row[0].ljust(24) + "".join(cell.rjust(20) for cell in row[1:]), flush=True)


def markdown(results: dict[str, Record]) -> str:
    """Give tables of all comparisons."""
    conditions = dict.fromkeys(f"{r['machine']}, {r['threads']} threads" for r in results.values())
    parts = [f"Measured on {'; '.join(conditions)}."]
    for record in results.values():
        header, *body = rows(record)
        lines = [header, ["---", *["---:"] * (len(header) - 1)], *body]
        parts.append(f"## {record['title']}")
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts)


def plot(results: dict[str, Record], path: Path) -> None:
    """Draw how many times as long as skdc each candidate took."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 0.8 * len(results) + 1), layout="constrained")
    axes = figure.subplots()
    colours: dict[str, str] = {}
    for place, record in enumerate(results.values()):
        times = {n: c["median_s"] for n, c in record["candidates"].items() if "median_s" in c}
        base = times.pop("skdc")
        height = 0.85 / max(len(times), 1)
        for index, (name, seconds) in enumerate(times.items()):
            is_new = name not in colours
            colour = colours.setdefault(name, f"C{len(colours)}")
            axes.barh(
                place + (index - (len(times) - 1) / 2) * height,
                seconds / base - 1,
                height,
                left=1,
                color=colour,
                label=name if is_new else None,
            )
    axes.axvline(1, color="black", linewidth=1)
    axes.set(xscale="log", xlabel="time, relative to skdc", yticks=range(len(results)))
    axes.set_yticklabels(list(results))
    axes.set_xticks([0.5, 1, 2, 4, 8, 16], ["0.5", "1", "2", "4", "8", "16"])
    axes.invert_yaxis()
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Print the tables, or put them into a page and the plot beside it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--page", type=Path, help="Markdown page with marks for the tables")
    args = parser.parse_args()
    results = json.loads(args.results.read_text("utf-8"))
    if args.page is None:
        print(markdown(results))
        return
    image = args.page.with_suffix(".png")
    plot(results, image)
    content = f"{BEGIN}\n\n![Times relative to skdc]({image.name})\n\n{markdown(results)}\n\n{END}"
    text = args.page.read_text("utf-8")
    pattern = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
    if not pattern.search(text):
        parser.error(f"{args.page} has no lines {BEGIN} and {END}")
    args.page.write_text(pattern.sub(lambda _: content, text), "utf-8")


if __name__ == "__main__":
    main()
