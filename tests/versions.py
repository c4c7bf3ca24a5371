"""The suite with the lowest and the newest versions that pyproject.toml admits, in an environment of its own each.

python tests/versions.py --folder /tmp/versions --python python3.10 python3.11 python3.13 [-- -x -k torch]

An environment whose interpreter is not given is left out; one that is in the folder is used again. The engine is
compiled once in each: SKBUILD_CMAKE_ARGS=-DDEPTHWISE_TARGETS=avx2 makes that shorter. pip chooses the build of PyTorch;
those for GPUs bring several GiB.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]


class Environment(NamedTuple):
    name: str
    python: str
    packages: list[str]


ENVIRONMENTS = [
    Environment("lowest", "3.10", ["numpy==1.23.*", "torch==2.6.0"]),  # JAX 0.10 needs Python 3.11 and NumPy 2.0
    Environment("lowest JAX", "3.11", ["numpy==2.0.*", "jax==0.10.0", "jaxlib==0.10.0", "flatbuffers"]),
    Environment("newest", "3.13", ["numpy", "torch==2.13.0", "jax", "flax", "flatbuffers"]),
]
VERSION = "import sys; print('{}.{}'.format(*sys.version_info))"
INSTALLED = """
from importlib.metadata import PackageNotFoundError, version
for name in ("numpy", "torch", "jax"):
    try:
        print(version(name), end=" | ")
    except PackageNotFoundError:
        print("-", end=" | ")
"""


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def prepare(e: Environment, interpreter: str, folder: Path) -> str:
    """The environment's interpreter, with this package as it is now."""
    place = folder / e.name.replace(" ", "-")
    python = str(place / "bin" / "python")
    if not Path(python).exists():
        subprocess.run([interpreter, "-m", "venv", str(place)], check=True)
    flags = {**os.environ, "DEPTHWISE_JAX": "1"} if any(p.startswith("jax") for p in e.packages) else os.environ
    pip = [python, "-m", "pip", "install", "-q"]
    subprocess.run([*pip, *e.packages, f"{ROOT}[test]"], check=True, env=flags)
    return python


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the environments are made")
    parser.add_argument("--python", nargs="+", default=[sys.executable], help="interpreters")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, behind --")
    args = parser.parse_args()
    interpreters = {output(python, "-c", VERSION): python for python in args.python}
    rows, failed = [], 0
    for e in ENVIRONMENTS:
        if e.python not in interpreters:
            continue
        python = prepare(e, interpreters[e.python], args.folder.resolve())
        suite = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *args.pytest]
        run = subprocess.run(suite, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        print(run.stdout, flush=True)
        failed += run.returncode != 0
        rows.append(f"| {e.name} | {e.python} | {output(python, '-c', INSTALLED)} {run.stdout.splitlines()[-1]} |")
    print("| | Python | NumPy | PyTorch | JAX | |", "|---|---|---|---|---|---|", *rows, sep="\n")
    return failed > 0 or not rows


if __name__ == "__main__":
    sys.exit(main())
