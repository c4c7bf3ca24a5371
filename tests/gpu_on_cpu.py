"""The GPU's kernels on a CPU: the source that a GPU's compiler gets, compiled by g++ and run thread after thread.

What is planned, compiled and told to the kernels is the engine's own: only the driver is ours.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from depthwise import _core
from depthwise.arrays import bits, dtype_code
from depthwise.enums import FORWARD, INPUT_GRAD, WEIGHT_GRAD

HEADER = Path(__file__).parent.parent / "csrc" / "cuda" / "on_cpu.hpp"
MULTIPROCESSORS = 4  # few, so that small arrays have tiles of a GPU's sizes

_RUN = {
    "correlate.cuh": """
extern "C" void run(const char*, unsigned blocks, unsigned threads, const depthwise::cuda::CorrelateParameters* p) {
  depthwise::cuda::for_all_threads(blocks, threads, [&](unsigned block, unsigned thread) {
    depthwise::cuda::correlate_tile(*p, block * threads + thread);
  });
}""",
    "weight_grad.cuh": """
extern "C" void run(const char* entry, unsigned blocks, unsigned threads,
                    const depthwise::cuda::WeightGradParameters* p) {
  using namespace depthwise::cuda;
  const bool total = __builtin_strcmp(entry, "weight_grad_total") == 0;
  static Value shared[slots * DW_THREADS];
  static Sum shared_total[DW_THREADS];
  for (unsigned block = 0; block < blocks; ++block) {
    for (Value& sum : shared) sum = Sum(__builtin_nan(""));
    for (Sum& sum : shared_total) sum = __builtin_nan("");
    for (int thread = 0; thread < static_cast<int>(threads); ++thread)
      if (total)
        sum_parts(*p, shared_total, thread, block);
      else
        sum_share(*p, shared, thread, block);
    for (int thread = 0; thread < static_cast<int>(threads); ++thread)
      if (total)
        write_weight(*p, shared_total, thread, block);
      else
        sum_members(*p, shared, thread, block);
  }
}""",
    "fold.cuh": """
extern "C" void run(const char*, unsigned blocks, unsigned threads, const depthwise::cuda::FoldParameters* p) {
  depthwise::cuda::for_all_threads(blocks, threads, [&](unsigned block, unsigned thread) {
    depthwise::cuda::fold_element(*p, block * threads + thread);
  });
}""",
}


_changes: tuple[tuple[str, str, str], ...] = ()  # planted faults: (source, before, after)


@contextlib.contextmanager
def fault(source: str, before: str, after: str):
    """Kernels whose source has, in its only place, something else."""
    global _changes
    assert dict(_core.gpu_sources())[source].count(before) == 1, "this fault has lost its place"
    _changes = ((source, before, after),)
    try:
        yield
    finally:
        _changes = ()


@functools.cache
def _folder(changes: tuple[tuple[str, str, str], ...]) -> Path:
    """Compiled kernels, shared by the processes of a test run and kept from one run to the next."""
    sources = dict(_core.gpu_sources(), **{"gpu.cuh": "#pragma once\n"})
    for source, before, after in changes:
        sources[source] = sources[source].replace(before, after)
    text = "".join(name + source for name, source in sources.items()) + HEADER.read_text() + "".join(_RUN.values())
    name = "depthwise-on-cpu-" + hashlib.sha256(text.encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, source in sources.items():
        if not (folder / name).exists():
            unfinished = folder / f"{name}.{os.getpid()}"
            unfinished.write_text(source)
            unfinished.rename(folder / name)
    return folder


@functools.cache
def _library(source: str, options: str, changes: tuple[tuple[str, str, str], ...]) -> ctypes.CDLL:
    folder = _folder(changes)
    name = hashlib.sha256((source + options).encode()).hexdigest()[:24]
    path = folder / f"{name}.so"
    if not path.exists():
        program = folder / f"{name}.{os.getpid()}.cpp"
        program.write_text(f'#include "{HEADER}"\n#include "{source}"\n{_RUN[source]}\n')
        built = folder / f"{name}.{os.getpid()}.so"
        # Without -w the options' unused branches would be a page of warnings for each kernel.
        command = ["g++", "-std=c++20", "-O0", "-ffp-contract=off", "-w", "-shared", "-fPIC"]
        subprocess.run([*command, *options.split(), f"-I{folder}", str(program), "-o", str(built)], check=True)
        built.rename(path)
        program.unlink()
    return ctypes.CDLL(str(path))


def available() -> bool:
    return shutil.which("g++") is not None


def _place(a):
    if a is None:
        return 0, [], 0
    code = dtype_code("an array", a.dtype)
    a = bits(a, code)
    return a.ctypes.data, [s // a.itemsize for s in a.strides], code


def run_places(kind, sizes, x, W, b, y, activation=0, multiprocessors=MULTIPROCESSORS):
    """As :func:`depthwise.gpu.run`, of places in the memory of this machine."""
    rest = kind, sizes, x, W, b, y, activation, multiprocessors
    size, _ = _core.gpu_steps(*rest, 0)
    workspace = np.full(max(size, 8), 0xFF, np.uint8)  # NaN, whatever it is read as
    _, launches = _core.gpu_steps(*rest, workspace.ctypes.data)
    for source, entry, options, blocks, threads, parameters in launches:
        _library(source, options, _changes).run(entry.encode(), blocks, threads, parameters)


def run_in_place_of_gpu(kind, sizes, x, W, b, y, activation, device, stream, allocate):
    """For a test to put in the place of :func:`depthwise.gpu.run`."""
    run_places(kind, sizes, x, W, b, y, activation)


def run(kind, g, x, W, b, y, **more):
    """Compute a pass; the array that it gives is already there."""
    run_places(kind, g.sizes, *map(_place, (x, W, b, y)), **more)


def forward(g, x, W, b=None, y=None, **more):
    y = np.full(g.y_shape, np.nan).astype(x.dtype) if y is None else y
    run(FORWARD, g, x, W, b, y, **more)
    return y


def input_grad(g, gy, W, gx=None, **more):
    gx = np.full(g.x_shape, np.nan).astype(gy.dtype) if gx is None else gx
    run(INPUT_GRAD, g, gx, W, None, gy, **more)
    return gx


def weight_grad(g, x, gy, gW=None, gb=None, **more):
    gW = np.full(g.W_shape, np.nan).astype(x.dtype) if gW is None else gW
    run(WEIGHT_GRAD, g, x, gW, gb, gy, **more)
    return gW
