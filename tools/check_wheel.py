"""Checks a wheel that has been built, its size, its files and what it exports: python tools/check_wheel.py WHEEL."""

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MOST_BYTES = 3_000_000


def exported(module: Path) -> list[str]:
    """Names that a shared object of Linux defines for others."""
    listing = subprocess.run(["nm", "-D", "--defined-only", module], check=True, capture_output=True, text=True)
    return [line.split()[-1] for line in listing.stdout.splitlines()]


def main(wheel: Path) -> None:
    size = wheel.stat().st_size
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        names = archive.namelist()
        foreign = [n for n in names if not n.startswith(("depthwise/", "depthwise-"))]
        modules = [n for n in names if n.endswith((".so", ".pyd"))]
        assert not foreign, f"{wheel.name} holds what is not of the package: {foreign}"
        assert len(modules) == 1, f"{wheel.name} has the modules {modules}, and should have one"
        assert {"depthwise/py.typed", "depthwise/_core.pyi"} <= set(names), f"{wheel.name} has no types"
        assert any(n.endswith("/licenses/LICENSE") for n in names), f"{wheel.name} has no licence"
        seen = "exports looked at on Linux alone"
        if sys.platform == "linux":
            symbols = exported(Path(archive.extract(modules[0], folder)))
            assert symbols == ["PyInit__core"], f"{wheel.name} exports {symbols}"
            seen = "exports PyInit__core alone"
    assert size <= MOST_BYTES, f"{wheel.name} has {size:,} bytes, more than {MOST_BYTES:,}"
    print(f"{wheel.name}: {size:,} bytes, {len(names)} files, {seen}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
