"""``python -m depthwise info | demo | bench``."""

from __future__ import annotations

import argparse
import platform
import sys

import numpy as np

import depthwise

from . import _core


def info() -> None:
    """Print what a bug report needs."""
    plan = depthwise.explain((1, 32, 112, 112), (1, 32, 3, 3), pad=1)
    rows = {
        "depthwise": depthwise.__version__,
        "numpy": np.__version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{sys.platform} {platform.machine()}",
        "cpu": cpu_name(),
        "targets": ", ".join(depthwise.targets()),
        "in use": plan["target"],
        "threads": depthwise.get_num_threads(),
        "caches": ", ".join(f"{size >> 10} KiB" for size in _core.caches()),
        "kept": f"at most {depthwise.get_cache_limit() >> 20} MiB of freed results",
        "for JAX": "built" if hasattr(_core, "xla_handler") else "not built (DEPTHWISE_JAX=1 pip install)",
    }
    for name, value in rows.items():
        print(f"{name:10s} {value}")


def cpu_name() -> str:
    """As the system calls it."""
    try:
        with open("/proc/cpuinfo") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def main(argv: list[str] | None = None) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m depthwise", description=depthwise.__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="what was built and what this CPU has, for bug reports")
    demo_parser = commands.add_parser("demo", help="a photograph through oriented filters, as a picture")
    demo_parser.add_argument("--output", default="depthwise-demo.png", help="the PNG to write (%(default)s)")
    commands.add_parser("bench", help="this machine's limits and the speed of a dozen layers against them, in a minute")
    args = parser.parse_args(argv)
    if args.command == "info":
        info()
    elif args.command == "bench":
        from . import bench

        bench.run()
    else:
        try:
            from . import demo
        except ImportError as error:
            parser.exit(1, f"the demo needs matplotlib and Pillow ({error}): pip install 'depthwise[demo]'\n")
        demo.run(args.output)


if __name__ == "__main__":
    main()
