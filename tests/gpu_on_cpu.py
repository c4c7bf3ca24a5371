"""The GPU's kernels on a CPU: the source that a GPU's compiler gets, compiled by g++ and run thread after thread.

What is planned, compiled and told to the kernels is the engine's own: only the driver is ours.
"""

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
  const bool total = std::strcmp(entry, "weight_grad_total") == 0;
  std::vector<Value> shared(slots * DW_THREADS);
  std::vector<Sum> shared_total(DW_THREADS);
  for (unsigned block = 0; block < blocks; ++block) {
    for (Value& sum : shared) sum = Sum(NAN);
    for (Sum& sum : shared_total) sum = NAN;
    for (int thread = 0; thread < static_cast<int>(threads); ++thread)
      if (total)
        sum_parts(*p, shared_total.data(), thread, block);
      else
        sum_share(*p, shared.data(), thread, block);
    for (int thread = 0; thread < static_cast<int>(threads); ++thread)
      if (total)
        write_weight(*p, shared_total.data(), thread, block);
      else
        sum_members(*p, shared.data(), thread, block);
  }
}""",
    "fold.cuh": """
extern "C" void run(const char*, unsigned blocks, unsigned threads, const depthwise::cuda::FoldParameters* p) {
  depthwise::cuda::for_all_threads(blocks, threads, [&](unsigned block, unsigned thread) {
    depthwise::cuda::fold_element(*p, block * threads + thread);
  });
}""",
}


@functools.cache
def _folder() -> Path:
    """Compiled kernels, shared by the processes of a test run and kept from one run to the next."""
    text = "".join(name + source for name, source in _core.gpu_sources()) + HEADER.read_text() + "".join(_RUN.values())
    name = "depthwise-on-cpu-" + hashlib.sha256(text.encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"{name}-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, source in _core.gpu_sources():
        if name != "gpu.cuh" and not (folder / name).exists():
            _written(folder / name, source)
    if not (folder / "gpu.cuh").exists():
        _written(folder / "gpu.cuh", "#pragma once\n")
    return folder


def _written(path: Path, text: str) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(text)
    unfinished.rename(path)


@functools.cache
def _library(source: str, options: str) -> ctypes.CDLL:
    folder = _folder()
    name = hashlib.sha256((source + options).encode()).hexdigest()[:24]
    path = folder / f"{name}.so"
    if not path.exists():
        program = folder / f"{name}.{os.getpid()}.cpp"
        program.write_text(f'#include "{HEADER}"\n#include "{source}"\n{_RUN[source]}\n')
        built = folder / f"{name}.{os.getpid()}.so"
        flags = ["-std=c++20", "-O1", "-fno-tree-vectorize", "-ffp-contract=off", "-w"]
        command = ["g++", *flags, "-shared", "-fPIC"]
        subprocess.run([*command, *options.split(), f"-I{folder}", str(program), "-o", str(built)], check=True)
        built.rename(path)
        program.unlink()
    return ctypes.CDLL(str(path))


def available() -> bool:
    return shutil.which("g++") is not None


def _place(a, code):
    a = bits(a, code)
    return a.ctypes.data, [s // a.itemsize for s in a.strides], code


def steps(kind, g, x, W, b, y, activation=0, multiprocessors=MULTIPROCESSORS, workspace=0):
    """(bytes of workspace, launches) that a GPU would be given for these arrays."""
    codes = [dtype_code("an array", a.dtype) if a is not None else 0 for a in (x, W, b, y)]
    places = [(0, [], 0) if a is None else _place(a, code) for a, code in zip((x, W, b, y), codes, strict=True)]
    return _core.gpu_steps(kind, g.sizes, *places, activation, multiprocessors, workspace)


def run(kind, g, x, W, b, y, activation=0, multiprocessors=MULTIPROCESSORS):
    """Compute a pass; the array that it gives is already there."""
    size, _ = steps(kind, g, x, W, b, y, activation, multiprocessors)
    workspace = np.full(max(size, 8), 0xFF, np.uint8)  # NaN, whatever it is read as
    _, launches = steps(kind, g, x, W, b, y, activation, multiprocessors, workspace.ctypes.data)
    for source, entry, options, blocks, threads, parameters in launches:
        _library(source, options).run(entry.encode(), blocks, threads, parameters)


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
