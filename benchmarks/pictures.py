"""The picture that a benchmark ends with: --picture FILE, else benchmarks/results/NAME.png."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from depthwise import picture


def add_option(parser: ArgumentParser, name: str) -> None:
    default = Path(__file__).with_name("results") / f"{name}.png"
    parser.add_argument(
        "--picture", type=Path, default=default, help=f"the PNG to write (benchmarks/results/{name}.png)"
    )


def write(output: Path, title: str, panels: picture.Panels, scale: str, **options: Any) -> None:
    """As depthwise.picture.write, which leaves out what nothing was measured for."""
    measured = {name: panel for name, panel in panels.items() if panel}
    if measured:
        print(picture.write(output, title, measured, scale, **options))
