"""``python -m depthwise``: what can be done without a program."""

from __future__ import annotations

import argparse

import depthwise

DESCRIPTION = f"""{(depthwise.__doc__ or "").splitlines()[0]}

  python -m depthwise info                      what was built and what this machine has, for bug reports
  python -m depthwise demo --output edges.png   a photograph through oriented filters, as a picture
  python -m depthwise bench --output bench.png  this machine's limits and a dozen layers against them, in a minute
"""
PICTURES = {
    "demo": "A photograph through oriented filters, as a picture. Needs pip install 'depthwise[demo]'.",
    "bench": "This machine's limits and the speed of a dozen layers against them, in a minute; a picture too where "
    "Matplotlib is. It says when the machine was too busy for its figures to be believed; the exit status is 0 even "
    "then.",
}


def main(argv: list[str] | None = None) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(
        prog="python -m depthwise", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--version", action="version", version=f"depthwise {depthwise.__version__}")
    commands = parser.add_subparsers(dest="command", help="each has a --help of its own")
    commands.add_parser("info", description="What was built and what this machine has, for bug reports.")
    for name, what in PICTURES.items():
        command = commands.add_parser(name, description=what)
        command.add_argument("--output", default=f"depthwise-{name}.png", help="the PNG to write (%(default)s)")
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
    elif args.command == "info":
        from . import info

        info.run()
    elif args.command == "bench":
        from . import bench

        bench.run(args.output)
    else:
        try:
            from . import demo
        except ImportError as error:
            parser.exit(1, f"the demo needs matplotlib and Pillow ({error}): pip install 'depthwise[demo]'\n")
        demo.run(args.output)


if __name__ == "__main__":
    main()
