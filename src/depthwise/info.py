"""What a bug report needs: versions, the build, the CPU and what there is for GPUs."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np

import depthwise

from . import _core, gpu


def run() -> None:
    """Print it."""
    plan = depthwise.explain((1, 32, 112, 112), (1, 32, 3, 3), pad=1)
    gpu.find_nvrtc()
    rows = {
        "depthwise": depthwise.__version__,
        "build": build(),
        "compiler": _core.build.strip(),  # Clang ends its version with a blank
        "numpy": np.__version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{sys.platform} {platform.machine()}",
        "cpu": cpu_name(),
        "targets": ", ".join(depthwise.targets()),
        "in use": plan["target"],
        "threads": depthwise.get_num_threads(),
        "caches": ", ".join(f"{size >> 10} KiB" for size in _core.caches()),
        "kept": f"at most {depthwise.get_cache_limit() >> 20} MiB of freed results",
        "for JAX": "built" if hasattr(_core, "xla_handler") else "not built (docs/jax.md)",
        "CUDA": version_of(_core.gpu_driver_version),
        "NVRTC": version_of(_core.gpu_nvrtc_version),
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


def build() -> str:
    """Whether this is a wheel of ours, and which, or was built from source."""
    try:
        found = metadata.distribution("depthwise")
    except metadata.PackageNotFoundError:
        return "from a source tree, not installed"
    origin = found.read_text("direct_url.json")
    is_here = Path(str(found.locate_file("depthwise/__init__.py"))) == Path(depthwise.__file__)
    return build_of(found.read_text("WHEEL"), origin, is_here)


def build_of(wheel: str | None, origin: str | None, is_here: bool) -> str:
    """The same of what an installation notes: WHEEL, direct_url.json, and whether it is this package's."""
    came_from = json.loads(origin) if origin else {}
    if came_from.get("dir_info", {}).get("editable"):
        return "from a source tree, installed to be edited"
    if not is_here:
        return "from a source tree, not the package that is installed"
    tags = [line.partition(":")[2].strip() for line in (wheel or "").splitlines() if line.startswith("Tag:")]
    tag = ", ".join(tags) or "of no known tag"
    # pip builds what it gets as source for this system alone, whose tags PyPI does not take.
    local = (
        "dir_info" in came_from
        or "vcs_info" in came_from
        or any(t.endswith(("-linux_x86_64", "-linux_aarch64")) for t in tags)
    )
    return f"built from source, {tag}" if local else f"wheel {tag}"


def version_of(ask: Callable[[], int]) -> str:
    """Such as 12.9; or why there is none."""
    try:
        return cuda_version(ask())
    except Exception as error:  # a report does not fail for what it reports
        return str(error)


def cuda_version(number: int) -> str:
    """12090 is 12.9."""
    return f"{number // 1000}.{number % 1000 // 10}"
