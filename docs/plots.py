"""The site's plots, from the tables of docs/layers*.md: nothing is measured here.

conf.py calls it at each build; ``python docs/plots.py --readme`` writes docs/images/speed.svg, which is committed.
"""

import json
import re
import sys
from math import prod
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

HERE = Path(__file__).parent
FASTER, SLOWER, GREY = "#1f77b4", "#d62728", "#6b7280"
PASSES = {"forward": "forward", "input_grad": "input gradient", "weight_grad": "weight gradient"}
LAYOUTS = {"planar": "planar", "channels_last": "channels last"}
# docs/performance.md, of the machine of docs/layers.md: GFLOP/s of multiply-adds, and GB/s of copies.
ARITHMETIC, COPIES = 118, {"copies of 1 MiB": 99, "copies of 64 MiB": 26}

mpl.rcParams.update({"font.size": 9, "svg.hashsalt": "depthwise", "axes.spines.top": False, "axes.spines.right": False})


def tables(page):
    """The rows of a page's tables: {(pass, layout): [{column: cell}]}."""
    result, key, columns = {}, None, []
    for line in (HERE / page).read_text().splitlines():
        if line.startswith("## "):
            words = re.split(r",\s*", line[3:].removeprefix("2-D, ").replace("float32, ", ""))
            key, columns = tuple(words), []
            result[key] = []
        elif key and line.startswith("|"):
            cells = [c.strip() for c in line.strip("|").split("|")]
            if not columns:
                columns = cells
            elif not set(line) <= set("|-: "):
                result[key].append(dict(zip(columns, cells, strict=True)))
    return result


def ratios(rows):
    """How many times our time the best peer takes, of each row."""
    return np.array([float(r["best peer / ours"]) for r in rows])


def geometric_mean(values):
    """The mean of ratios."""
    return float(np.exp(np.log(values).mean()))


def colours(values):
    """Red where another library is faster."""
    return np.where(values < 1, SLOWER, FASTER)


def log_axis(axis):
    """Plain numbers at powers of ten."""
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(mpl.ticker.NullFormatter())


def layers(page, title, path):
    """A panel for each pass and layout: the layers in the order of their ratios."""
    figure = Figure((8, 8.4), layout="constrained")
    data = tables(page)
    for i, (key, rows) in enumerate(data.items()):
        axes = figure.add_subplot(3, 2, i + 1)
        rows = sorted(rows, key=lambda r: float(r["best peer / ours"]))
        values = ratios(rows)
        axes.scatter(range(len(values)), values, c=colours(values), s=14)
        axes.axhline(1, color=GREY, lw=1)
        axes.set_yscale("log")
        lost = int((values < 1).sum())
        axes.set_ylim(0.4 if lost else 0.5, max(20, values.max() * 1.5))
        log_axis(axes.yaxis)
        axes.set_title(
            f"{PASSES[key[0]]}, {LAYOUTS[key[1]]}: mean {geometric_mean(values):.2f}, {lost} slower", fontsize=9
        )
        axes.text(0.97, 0.03, f"{len(values)} layers", ha="right", color=GREY, fontsize=8, transform=axes.transAxes)
        for rank, row in enumerate(rows[:lost]):
            axes.text(
                0.06,
                0.03 + 0.05 * rank,
                f"{row['layer']} {values[rank]:.2f}",
                fontsize=7,
                color=SLOWER,
                transform=axes.transAxes,
            )
        if i % 2 == 0:
            axes.set_ylabel("best peer's time / ours")
        axes.set_xticks([])
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, facecolor="white")


def work(layer):
    """FLOP of a forward pass without taps in the padding, and its bytes in float32."""
    met, outs = [], []
    for size, kernel, stride, pad, dilate in zip(
        *(layer[k] for k in ("size", "kernel", "stride", "pad", "dilate")), strict=True
    ):
        before, after = pad if isinstance(pad, list) else (pad, pad)
        out = (size + before + after - dilate * (kernel - 1) - 1) // stride + 1
        places = np.arange(out)[:, None] * stride - before + np.arange(kernel) * dilate
        met.append(int(((places >= 0) & (places < size)).sum()))
        outs.append(out)
    channels = layer["N"] * layer["C"]
    elements = channels * prod(layer["size"]) + channels * layer["M"] * prod(outs)
    return 2 * channels * layer["M"] * prod(met), 4 * (elements + layer["C"] * layer["M"] * prod(layer["kernel"]))


def roofline(path):
    """GFLOP/s of each layer's forward pass against FLOP a byte, beneath the machine's roofs."""
    named = {layer["name"]: layer for layer in json.loads((HERE / "../benchmarks/layers.json").read_text())}
    figure = Figure((8, 4.2), layout="constrained")
    axes = figure.add_subplot()
    x = np.geomspace(0.3, 400, 200)
    for (label, rate), style in zip(COPIES.items(), ("-", "--"), strict=True):
        axes.plot(x, np.minimum(ARITHMETIC, rate * x), style, color=GREY, lw=1.2, label=f"limit: {label}, {rate} GB/s")
    markers = {"planar": ("o", FASTER), "channels_last": ("^", "#2ca02c")}
    for (what, layout), rows in tables("layers.md").items():
        if what != "forward":
            continue
        points = []
        for row in rows:
            flop, size = work(named[row["layer"]])
            points.append((flop / size, flop / float(row["ours avx512"]) / 1e3))
        axes.scatter(*zip(*points, strict=True), s=16, alpha=0.8, marker=markers[layout][0], c=markers[layout][1],
                     label=LAYOUTS[layout], lw=0)  # fmt: skip
    axes.set(xscale="log", yscale="log", xlabel="FLOP for each byte of x, W and y", ylabel="GFLOP/s", ylim=(0.8, 200))
    log_axis(axes.xaxis)
    log_axis(axes.yaxis)
    axes.legend(frameon=False, loc="lower right")
    axes.set_title(f"Forward passes of 67 layers; arithmetic ends at {ARITHMETIC} GFLOP/s", fontsize=10)
    figure.savefig(path, facecolor="white")


def speed(path):
    """The picture of the front page: all layers of a pass in a line."""
    figure = Figure((7, 2.9), layout="constrained")
    axes = figure.add_subplot()
    labels = []
    for i, (key, rows) in enumerate(tables("layers.md").items()):
        values = ratios(rows)
        spread = np.random.default_rng(i).uniform(-0.22, 0.22, len(values))
        axes.scatter(values, -i + spread, c=colours(values), s=12, alpha=0.75, lw=0)
        mean = geometric_mean(values)
        axes.plot([mean, mean], [-i - 0.38, -i + 0.38], color="#111827", lw=2)
        axes.text(1500, -i, f"{mean:.1f}", va="center", ha="right", fontweight="bold")
        labels.append(f"{PASSES[key[0]]}, {LAYOUTS[key[1]]}")
    axes.axvline(1, color=GREY, lw=1)
    axes.set(xscale="log", xlim=(0.6, 1600), yticks=range(0, -len(labels), -1), yticklabels=labels)
    axes.set_xlabel(
        "time of the fastest other library / ours (number and bar: geometric mean; red: ours is slower)", x=0.3
    )
    log_axis(axes.xaxis)
    axes.tick_params(axis="y", length=0)
    figure.savefig(path, facecolor="white", metadata={"Date": None})


def for_site(folder):
    """All plots of performance.md."""
    folder.mkdir(exist_ok=True)
    machine = "AMD EPYC of the fourth generation, one thread, float32"
    layers("layers.md", f"AVX-512: {machine}", folder / "layers-avx512.svg")
    layers("layers-avx2.md", f"AVX2: {machine}, without AVX-512", folder / "layers-avx2.svg")
    roofline(folder / "roofline.svg")


if __name__ == "__main__":
    for_site(HERE / "_generated")
    if "--readme" in sys.argv:
        speed(HERE / "images" / "speed.svg")
