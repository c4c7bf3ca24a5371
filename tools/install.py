"""Installs this checkout's version, from a wheel where the index has one: python tools/install.py [EXTRA ...]."""

import os
import subprocess
import sys
from pathlib import Path


def version() -> str:
    lines = (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("version = "))


def main(extras: str) -> int:
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    named = f"depthwise[{extras}]=={version()}"
    print(f"installing {named}", flush=True)
    if subprocess.run([*pip, "--only-binary", "depthwise", named], stderr=subprocess.DEVNULL).returncode == 0:
        return 0
    print("the index has no wheel of it for this machine: compiling, which takes some minutes", flush=True)
    jax = {"DEPTHWISE_JAX": "1"} if "jax" in extras.split(",") else {}
    return subprocess.run([*pip, f"{Path(__file__).parent.parent}[{extras}]"], env=os.environ | jax).returncode


if __name__ == "__main__":
    sys.exit(main(",".join(sys.argv[1:])))
