"""What is being done and how much is left: a bar on a terminal, a line for each step where there is none."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count


@contextmanager
def shown(total: int) -> Iterator[Callable[[str], None]]:
    """For so many steps: a function to be called with the name of each as it begins. What it writes goes to stderr."""
    begun = count()
    try:
        from rich import console, progress
    except ImportError:
        is_bar = False
    else:
        is_bar = sys.stderr.isatty()  # rich itself also takes a pipe for a terminal where FORCE_COLOR is set
    if not is_bar:
        yield lambda name: print(f"{next(begun) + 1} of {total}: {name}", file=sys.stderr, flush=True)
        return
    columns = (
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(elapsed_when_finished=True),
        progress.TextColumn("{task.description}", markup=False),
    )
    # What is printed meanwhile must go above the bar, but not into stderr where stdout is a file.
    with progress.Progress(
        *columns, console=console.Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty()
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda name: bar.update(task, completed=next(begun), description=name)
