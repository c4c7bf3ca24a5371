"""Installs this checkout's version, from a wheel where the index has one: python tools/install.py [EXTRA ...]."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PIP = [sys.executable, "-m", "pip", "install", "--quiet"]


def version() -> str:
    lines = (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    return next(line.split('"')[1] for line in lines if line.startswith("version = "))


def main(extras: list[str]) -> int:
    suffix = f"[{','.join(extras)}]" if extras else ""
    print(f"installing depthwise{suffix} {version()}", flush=True)
    # Again where it is there already: that may have been compiled before a change, or without what JAX needs.
    wheel = [*PIP, "--force-reinstall", "--no-deps", "--only-binary", "depthwise", f"depthwise=={version()}"]
    found = subprocess.run(wheel, stderr=subprocess.PIPE, text=True)
    if found.returncode == 0:
        return subprocess.run([*PIP, f"depthwise{suffix}=={version()}"]).returncode
    if "No matching distribution found for depthwise" not in found.stderr:
        sys.stderr.write(found.stderr)
        return found.returncode
    print("the index has no wheel of it for this machine: compiling, which takes some minutes", flush=True)
    jax = {"DEPTHWISE_JAX": "1"} if "jax" in extras else {}
    return subprocess.run([*PIP, f"{ROOT}{suffix}"], env=os.environ | jax).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
