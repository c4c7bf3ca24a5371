"""Figures as dots beside their names, which `bench` and the benchmarks end with; needs Matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

# By name of the panel, of the row in it and of the series, which is a colour.
Panels = Mapping[str, Mapping[str, Mapping[str, float]]]


def write(
    output: str | PathLike[str],
    title: str,
    panels: Panels,
    scale: str,
    *,
    logarithmic: bool = False,
    line: float | None = None,
) -> str:
    """Draw a dot for each figure and say so, or what to install.

    Parameters
    ----------
    output
        The picture's file, a PNG by its name. Folders that are missing are made.
    title, scale
        What stands above all, and below the scale.
    panels
        The figures.
    logarithmic
        Whether steps of the scale are ratios; else it begins at zero.
    line
        Where to draw a line to compare with.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import AutoLocator, LogLocator, NullLocator, StrMethodFormatter
    except ImportError:
        return "no picture, which needs Matplotlib: pip install 'depthwise[demo]'"
    rows = [len(panel) for panel in panels.values()]
    names = list(dict.fromkeys(name for panel in panels.values() for row in panel.values() for name in row))
    figures = sorted(x for panel in panels.values() for row in panel.values() for x in row.values())
    figure = Figure(figsize=(10, 1.3 + 0.55 * len(rows) + 0.21 * sum(rows)), layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True, squeeze=False, height_ratios=[n + 1 for n in rows])[:, 0]
    for ax, (heading, panel) in zip(axes, panels.items(), strict=True):
        for i, name in enumerate(names):
            beside = 0.4 * ((i + 0.5) / len(names) - 0.5)  # dots of one row that would hide one another
            found = [(row[name], place + beside) for place, row in enumerate(panel.values()) if name in row]
            ax.scatter(
                [x for x, _ in found], [y for _, y in found], s=30, color=f"C{i}", alpha=0.8, label=name, zorder=3
            )
        ax.set_yticks(range(len(panel)), list(panel), fontsize=8)
        ax.set_ylim(len(panel) - 0.5, -0.5)
        ax.set_title(heading, fontsize=10, loc="left")
        ax.grid(alpha=0.3)
        if line is not None:
            ax.axvline(line, color="black", lw=0.8)
        if logarithmic:
            ax.set_xscale("log")
            within_ten = figures[-1] < 10 * figures[0]
            ax.xaxis.set_major_locator(AutoLocator() if within_ten else LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        else:
            ax.set_xlim(left=0)
    axes[-1].set_xlabel(scale)
    handles, _ = axes[0].get_legend_handles_labels()
    figure.suptitle(title, fontsize=11)
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 5), fontsize=9)
    Path(output).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=110)
    return f"picture: {output}"
