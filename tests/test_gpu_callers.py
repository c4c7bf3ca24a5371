"""What PyTorch's and CuPy's adapters tell the kernels, on a CPU; what is said where there is no GPU; kept kernels."""

import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import depthwise
import fake_cupy
import gpu_on_cpu
from depthwise import _core, gpu, ops

CUDA = Path(__file__).parent.parent / "csrc" / "cuda"
on_cpu = pytest.mark.skipif(not gpu_on_cpu.available(), reason="the kernels are compiled by g++")


def integers(rng, *shape, dtype=np.float32):
    return rng.integers(-3, 4, shape).astype(dtype)


def test_the_module_has_the_kernels_that_are_in_the_tree():
    texts = dict(_core.gpu_sources())
    assert texts == {path.name: re.sub(" *//.*", "", path.read_text()) for path in CUDA.glob("*.cuh")}


# --- CuPy


@pytest.fixture
def cupy(monkeypatch):
    monkeypatch.setattr(gpu, "run", gpu_on_cpu.run_in_place_of_gpu)
    return fake_cupy.install(monkeypatch)


@on_cpu
def test_cupy(cupy):
    from depthwise import cupy as on_gpu

    rng = np.random.default_rng(0)
    x, W, b = integers(rng, 2, 3, 9, 12), integers(rng, 2, 3, 3, 3), integers(rng, 6)
    there = [cupy.asarray(a) for a in (x, W, b)]
    more = {"stride": 2, "pad": 1}
    y = depthwise.depthwise_convolution_2d(*there, **more)
    want = ops.forward(x, W, b, **more)
    assert isinstance(y, cupy.ndarray)
    np.testing.assert_array_equal(y, want)
    gy = integers(rng, *want.shape)
    gy_there = cupy.asarray(gy)
    gx, gW = ops.input_grad(gy, W, (9, 12), **more), ops.weight_grad(x, gy, (3, 3), **more)
    np.testing.assert_array_equal(on_gpu.input_grad(gy_there, there[1], (9, 12), **more), gx)
    np.testing.assert_array_equal(on_gpu.weight_grad(there[0], gy_there, (3, 3), **more), gW)
    np.testing.assert_array_equal(on_gpu.bias_grad(gy_there), ops.bias_grad(gy))
    pixels = np.moveaxis(cupy.asarray(np.ascontiguousarray(np.moveaxis(x, 1, -1))), -1, 1)
    y = on_gpu.forward(pixels, there[1], activation="relu", **more)
    assert np.moveaxis(y, 1, -1).flags.c_contiguous
    np.testing.assert_array_equal(y, ops.forward(x, W, activation="relu", **more))

    variables = [depthwise.Variable(a) for a in there]
    assert variables[0].xp is cupy
    y = depthwise.depthwise_convolution_2d(*variables, **more)
    y.grad = gy_there
    y.backward(enable_double_backprop=True)
    for v, g in zip(variables, (gx, gW, ops.bias_grad(gy)), strict=True):
        assert isinstance(v.grad, cupy.ndarray)
        np.testing.assert_array_equal(v.grad, g)
    y = depthwise.depthwise_convolution_2d(there[0], variables[1])  # one Variable makes it one
    assert isinstance(y, depthwise.Variable)
    assert isinstance((y * 2 + 1).mean().array, cupy.ndarray)


def test_cupy_refuses(cupy):
    from depthwise import cupy as on_gpu

    x, W = cupy.asarray(np.ones((1, 2, 4, 4), np.float32)), cupy.asarray(np.ones((1, 2, 3, 3), np.float32))
    with pytest.raises(TypeError, match="W must be a CuPy array, as the other is, got ndarray"):
        depthwise.depthwise_convolution_2d(x, np.ones((1, 2, 3, 3), np.float32))
    with pytest.raises(TypeError, match="x must be a CuPy array"):
        depthwise.depthwise_convolution_2d(depthwise.Variable(np.ones((1, 2, 4, 4), np.float32)), W)
    with pytest.raises(TypeError, match="W must be float16, bfloat16, float32 or float64, got int64"):
        on_gpu.forward(x, cupy.asarray(np.ones((1, 2, 3, 3), np.int64)))
    with pytest.raises(ValueError, match="does not fit"):
        on_gpu.forward(x, W, dilate=2)
    with pytest.raises(ValueError, match="gy must have shape"):
        on_gpu.input_grad(x, W, (4, 4))
    with pytest.raises(ValueError, match="b must have shape"):
        on_gpu.forward(x, W, cupy.asarray(np.ones(3, np.float32)))
    v = depthwise.Variable(x)
    with pytest.raises(TypeError, match="grad must be an array of cupy"):
        v.grad = np.ones((1, 2, 4, 4), np.float32)
    with pytest.raises(TypeError, match="on a GPU"):
        np.asarray(v)
    other = cupy.asarray(np.ones((1, 2, 3, 3), np.float32))
    other.number = 1
    with pytest.raises(ValueError, match="W is on GPU 1, the other array on GPU 0"):
        on_gpu.forward(x, other)


# --- PyTorch


@on_cpu
@pytest.mark.parametrize("channels_last", [False, True])
def test_torch(monkeypatch, channels_last):
    torch = pytest.importorskip("torch")
    import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation

    import depthwise.torch as dt
    from depthwise.torch import cuda

    calls = []

    def run(kind, sizes, *arrays, activation, like):
        calls.append(kind)
        gpu_on_cpu.run_places(kind, sizes, *arrays, activation)

    monkeypatch.setattr(cuda, "is_cuda", lambda a: True)
    monkeypatch.setattr(cuda, "run", run)
    rng = np.random.default_rng(1)
    x, w, b = (torch.from_numpy(integers(rng, *s)) for s in ((2, 4, 9, 8), (8, 1, 3, 3), (8,)))
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    ours, theirs = ([a.clone().requires_grad_() for a in (x, w, b)] for _ in range(2))
    y, want = dt.conv2d(*ours, 2, 1, activation="relu"), F.conv2d(*theirs, 2, 1, 1, 4).relu()
    gy = torch.from_numpy(integers(rng, *want.shape))
    y.backward(gy)
    want.backward(gy)
    assert torch.equal(y, want)
    assert y.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    for a, c in zip(ours, theirs, strict=True):
        assert torch.equal(a.grad, c.grad)
    assert len(calls) >= 3


# --- no driver, no compiler


def _without_gpu():
    try:
        _core.gpu_driver_version()
    except _core.GpuError:
        return True
    return False


@pytest.mark.skipif(not _without_gpu(), reason="there is a GPU")
def test_no_driver():
    g = depthwise.geometry.geometry((1, 1, 4, 4), (1, 1, 3, 3), 1, 0, 1)
    with pytest.raises(RuntimeError, match="install NVIDIA's driver"):
        gpu.run(0, g.sizes, gpu.NOTHING, gpu.NOTHING, gpu.NOTHING, gpu.NOTHING, 0, 0, 0, lambda size: 0)


def test_where_nvrtc_is_looked_for(tmp_path):
    for name in ("cuda_nvrtc/lib/libnvrtc.so.12", "cu13/lib/libnvrtc.so.13", "cu13/lib/libnvrtc-builtins.so.13.0"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    class Spec:
        submodule_search_locations = (str(tmp_path),)

    assert [Path(p).name for p in gpu.nvrtc_paths(Spec)] == ["libnvrtc.so.13", "libnvrtc.so.12"]


def _has_nvrtc():
    gpu.find_nvrtc()
    try:
        _core.gpu_nvrtc_version()
    except _core.GpuError:
        return False
    return True


nvrtc = pytest.mark.skipif(not _has_nvrtc(), reason="NVRTC is not installed: pip install nvidia-cuda-nvrtc")


@pytest.mark.skipif(_has_nvrtc(), reason="NVRTC is installed")
def test_no_nvrtc():
    with pytest.raises(RuntimeError, match="pip install nvidia-cuda-nvrtc"):
        _core.gpu_nvrtc_version()


def _options(shape, kernel, layout="planar", kind=0, code=2, **steps):
    """(source, options) of a problem's first launch on a GPU of 132 multiprocessors."""
    g = depthwise.geometry.geometry(shape, (1, shape[1], *kernel), steps.get("stride", 1), steps.get("pad", 0), 1)

    def strides(s):
        n, c, *size = s
        order = (n, *size, c) if layout == "channels last" else s
        dense = [int(v) for v in np.cumprod((1, *order[:0:-1]))[::-1]]
        return [dense[0], dense[-1], *dense[1:-1]] if layout == "channels last" else dense

    x, y = ((0, strides(s), code) for s in (g.x_shape, g.y_shape))
    W = 0, [int(v) for v in np.cumprod((1, *g.W_shape[:0:-1]))[::-1]], code
    _, launches = _core.gpu_steps(kind, g.sizes, x, W, gpu.NOTHING, y, steps.get("activation", 0), 132, 0)
    return launches[0][0], launches[0][2]


def _check_compiles(architecture, code, k, layout, kind):
    """What a thread spills is stored once or twice, not once a product: a few words of some hundred."""
    source, options = _options((32, 64, 56, 56), (k, k), layout, kind, code, pad=k // 2)
    machine_code, log = _core.gpu_compile(source, options, architecture)
    assert machine_code[:4] == b"\x7fELF"
    assert sum(map(int, re.findall(r"(\d+) bytes spill stores", log))) <= 64, (options, log)


@nvrtc
@pytest.mark.parametrize("architecture", [80, 90, 100])
@pytest.mark.parametrize(("code", "k", "layout"), [(2, 7, "planar"), (1, 3, "channels last")])
def test_kernels_compile(architecture, code, k, layout):
    for kind in (0, 2):
        _check_compiles(architecture, code, k, layout, kind)


@nvrtc
@pytest.mark.parametrize("code", [0, 1, 2, 3], ids=["float16", "bfloat16", "float32", "float64"])
def test_activations_compile(code):
    for activation in range(1, 7):
        source, options = _options((1, 2, 8, 8), (1, 1), code=code, activation=activation)
        _, log = _core.gpu_compile(source, options, 90)
        assert "error" not in log


@nvrtc
@pytest.mark.parametrize("architecture", [75, 80])
def test_bfloat16_before_its_instructions(architecture):
    assert _core.gpu_compile(*_options((1, 2, 8, 8), (3, 3), code=1), architecture)[0]


@nvrtc
@pytest.mark.slow
@pytest.mark.parametrize("architecture", [80, 90, 100])
@pytest.mark.parametrize("code", [0, 1, 2, 3], ids=["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("layout", ["planar", "channels last"])
@pytest.mark.parametrize("k", [3, 5, 7, 9, 31])
def test_all_kernels_compile(architecture, code, k, layout):
    for kind in range(3):
        _check_compiles(architecture, code, k, layout, kind)


@nvrtc
def test_too_old_a_gpu():
    source, options = _options((1, 1, 8, 8), (3, 3))
    with pytest.raises(RuntimeError, match=r"compute capability 3\.5 is older than"):
        _core.gpu_compile(source, options, 35)


def _keep(folder, source, options):
    os.environ["DEPTHWISE_KERNEL_CACHE"] = folder
    gpu.find_nvrtc()
    _core.gpu_keep(source, options, 90)


@nvrtc
def test_kept_kernels(tmp_path, monkeypatch):
    """Of several processes one compiles; a file that is cut short or another kernel's is compiled anew."""
    source, options = _options((1, 2, 8, 8), (3, 3))
    folder = str(tmp_path / "kernels")
    spawned = multiprocessing.get_context("spawn")
    processes = [spawned.Process(target=_keep, args=(folder, source, options)) for _ in range(3)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
        assert p.exitcode == 0
    (kept,) = Path(folder).glob("*.kernel")
    whole = kept.read_bytes()
    assert b"sm_90" in whole[:400]
    monkeypatch.setenv("DEPTHWISE_KERNEL_CACHE", folder)
    for damaged in (
        whole[:-5],
        whole[:100],
        b"",
        whole.replace(b"sm_90", b"sm_80", 1),
        whole[:-1] + bytes([whole[-1] ^ 1]),
    ):
        kept.write_bytes(damaged)
        _core.gpu_keep(source, options, 90)
        assert kept.read_bytes() == whole
    stamp = kept.stat().st_mtime_ns
    _core.gpu_keep(source, options, 90)
    assert kept.stat().st_mtime_ns == stamp
    monkeypatch.setenv("DEPTHWISE_KERNEL_CACHE", "/proc/no/such/folder")
    _core.gpu_keep(source, options, 90)  # compiled, and kept nowhere


def test_importing_loads_nothing_of_cuda():
    program = (
        "import depthwise, sys; maps = open('/proc/self/maps').read();"
        "assert 'libcuda' not in maps and 'nvrtc' not in maps; assert 'cupy' not in sys.modules"
    )
    if not Path("/proc/self/maps").exists():
        pytest.skip("this system does not say what is loaded")
    subprocess.run(
        [sys.executable, "-c", program], check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
