"""On a GPU, beside PyTorch's own, CuPy's and JAX's arrays; skipped where there is none."""

import numpy as np
import pytest

import depthwise
from depthwise import _core

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not (torch.version.cuda and torch.cuda.is_available()), reason="there is no GPU"),
]

if torch.version.cuda and torch.cuda.is_available():
    import torch.nn.functional as F  # noqa: N812 - PyTorch's own abbreviation

    import depthwise.torch as dt

CONV = {1: "conv1d", 2: "conv2d", 3: "conv3d"}


def tensors(shape, outs, kernel, dtype, channels_last=False, seed=0):
    generator = torch.Generator(device="cuda").manual_seed(seed)
    x, w, b = (
        torch.randn(s, generator=generator, device="cuda").to(dtype) for s in (shape, (outs, 1, *kernel), (outs,))
    )
    if channels_last:
        x = x.to(memory_format=torch.channels_last if len(shape) == 4 else torch.channels_last_3d)
    return x, w, b


def close(a, b, dtype):
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 1e-2}[dtype]
    assert (a.double() - b.double()).norm() <= tolerance * b.double().norm()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("shape", "m", "kernel", "stride", "padding", "dilation"),
    [
        ((2, 8, 28, 28), 1, (3, 3), 1, 1, 1),
        ((2, 6, 15, 17), 2, (5, 3), (2, 1), (2, 1), 1),
        ((1, 34, 14, 14), 1, (7, 7), 1, 3, 1),
        ((1, 4, 30, 32), 1, (13, 13), 1, 6, 1),
        ((2, 5, 40, 40), 1, (3, 3), 9, 1, 1),
        ((1, 4, 33, 32), 1, (3, 3), 1, 6, 6),
        ((2, 4, 6, 9, 12), 1, (3, 3, 3), (1, 2, 1), 1, 1),
        ((2, 6, 301), 1, (4,), 1, 3, 1),
        ((2, 6, 400), 2, (31,), 2, 15, 1),
    ],
)
def test_as_pytorch(shape, m, kernel, stride, padding, dilation, channels_last, dtype):
    dtype, axes = getattr(torch, dtype), len(kernel)
    x, w, b = tensors(shape, m * shape[1], kernel, dtype, channels_last and axes > 1)
    steps = stride, padding, dilation
    before = _core.gpu_launches()
    ours, theirs = ([a.detach().clone().requires_grad_() for a in (x, w, b)] for _ in range(2))
    theirs = [a.double().detach().requires_grad_() for a in theirs]
    y = getattr(dt, CONV[axes])(*ours, *steps)
    want = getattr(F, CONV[axes])(*theirs, *steps, shape[1])
    assert _core.gpu_launches() == before + 1
    gy = torch.randn(y.shape, device="cuda").to(dtype)
    y.backward(gy)
    want.backward(gy.double())
    close(y, want, dtype)
    for a, c in zip(ours, theirs, strict=True):
        close(a.grad, c.grad, dtype)
    if axes == 2 and channels_last:
        assert y.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_modes(mode):
    x, w, _ = tensors((2, 4, 12, 16), 4, (5, 5), torch.float64)
    layer = dt.DepthwiseConv2d(
        4, kernel_size=5, padding=2, padding_mode=mode, bias=False, device="cuda", dtype=torch.float64
    )
    with torch.no_grad():
        layer.weight.copy_(w)
    own = x.clone().requires_grad_()
    other = x.clone().requires_grad_()
    y, want = layer(own), F.conv2d(F.pad(other, (2, 2, 2, 2), mode), w, groups=4)
    gy = torch.randn_like(y)
    y.backward(gy)
    want.backward(gy)
    close(y, want, torch.float64)
    close(own.grad, other.grad, torch.float64)


def test_gradcheck():
    x, w, b = (a.requires_grad_() for a in tensors((1, 2, 5, 6), 4, (3, 3), torch.float64))
    assert torch.autograd.gradcheck(lambda *a: dt.conv2d(*a, 2, 1), (x, w, b))
    assert torch.autograd.gradgradcheck(lambda *a: dt.conv2d(*a, 1, 1), (x, w, b))


def test_the_same_bits_every_time():
    x, _, _ = tensors((8, 32, 28, 28), 32, (3, 3), torch.float32)
    gy = torch.randn_like(x)
    steps = [1, 1], [1] * 4, [1, 1], "direct", "constant"
    first = torch.ops.depthwise.conv_weight_grad(x, gy, [3, 3], torch.float32, *steps)
    for _ in range(5):
        assert torch.equal(first, torch.ops.depthwise.conv_weight_grad(x, gy, [3, 3], torch.float32, *steps))


def test_what_is_not_finite():
    x, w, _ = tensors((1, 4, 12, 12), 4, (3, 3), torch.float32)
    w[1, 0, 0, 2], w[2, 0, 2, 1], x[0, 3, 4, 5] = float("inf"), float("nan"), float("nan")
    torch.testing.assert_close(
        dt.conv2d(x, w, None, 1, 1).cpu(), dt.conv2d(x.cpu(), w.cpu(), None, 1, 1), equal_nan=True
    )


def test_streams_and_graphs():
    x, w, b = tensors((4, 16, 32, 32), 16, (3, 3), torch.float32)
    gy = torch.randn_like(x)
    steps = [1, 1], [1] * 4, [1, 1], "direct", "constant"

    def work():
        return dt.conv2d(x, w, b, 1, 1), torch.ops.depthwise.conv_weight_grad(x, gy, [3, 3], torch.float32, *steps)

    want = work()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        got = work()
    stream.synchronize()
    assert all(torch.equal(a, c) for a, c in zip(got, want, strict=True))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        got = work()
    x.mul_(2)
    graph.replay()
    torch.cuda.synchronize()
    assert all(torch.equal(a, c) for a, c in zip(got, work(), strict=True))


def test_autocast():
    x, w, b = tensors((2, 8, 16, 16), 8, (3, 3), torch.float32)
    with torch.autocast("cuda", torch.bfloat16):
        y = dt.conv2d(x, w, b, 1, 1)
    assert y.dtype is torch.bfloat16
    close(y, F.conv2d(x, w, b, 1, 1, 1, 8), torch.bfloat16)


def test_accelerate():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(8, 8, 3, padding=1, groups=8), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 5, padding=2, groups=8)
    ).cuda()
    x = torch.randn(2, 8, 20, 20, device="cuda")
    want, before = model(x), _core.gpu_launches()
    dt.accelerate(model)
    close(model(x), want, torch.float32)
    assert _core.gpu_launches() == before + 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own, of its compiler
def test_compile():
    x, w, b = tensors((2, 8, 16, 16), 8, (3, 3), torch.float32)
    w.requires_grad_()
    step = torch.compile(lambda x, w, b: dt.conv2d(x, w, b, 1, 1).relu().sum(), fullgraph=True)
    before = _core.gpu_launches()
    step(x, w, b).backward()
    assert _core.gpu_launches() > before
    want = torch.autograd.grad(F.conv2d(x, w, b, 1, 1, 1, 8).relu().sum(), w)[0]
    close(w.grad, want, torch.float32)


def test_devices_that_differ():
    x, w, _ = tensors((1, 4, 8, 8), 4, (3, 3), torch.float32)
    with pytest.raises(RuntimeError, match="device"):
        dt.conv2d(x, w.cpu())
    with pytest.raises(ValueError, match="not made for GPU"):
        dt.conv2d(x, w, method="fft")


def test_cupy():
    cupy = pytest.importorskip("cupy")
    from depthwise import cupy as on_gpu
    from depthwise import ops

    rng = np.random.default_rng(0)
    x, W, b = (rng.integers(-3, 4, s).astype(np.float32) for s in ((2, 3, 9, 12), (2, 3, 3, 3), (6,)))
    there = [cupy.asarray(a) for a in (x, W, b)]
    y = depthwise.depthwise_convolution_2d(*there, stride=2, pad=1)
    assert isinstance(y, cupy.ndarray)
    want = ops.forward(x, W, b, stride=2, pad=1)
    np.testing.assert_array_equal(y.get(), want)
    gy = rng.integers(-3, 4, want.shape).astype(np.float32)
    gy_there = cupy.asarray(gy)
    more = {"stride": 2, "pad": 1}
    np.testing.assert_array_equal(
        on_gpu.input_grad(gy_there, there[1], (9, 12), **more).get(), ops.input_grad(gy, W, (9, 12), **more)
    )
    gW = ops.weight_grad(x, gy, (3, 3), **more)
    np.testing.assert_array_equal(on_gpu.weight_grad(there[0], gy_there, (3, 3), **more).get(), gW)
    np.testing.assert_array_equal(on_gpu.bias_grad(gy_there).get(), ops.bias_grad(gy))
    pixels = cupy.moveaxis(cupy.ascontiguousarray(cupy.moveaxis(there[0], 1, -1)), -1, 1)
    y = on_gpu.forward(pixels, there[1], activation="relu", **more)
    assert cupy.moveaxis(y, 1, -1).flags.c_contiguous
    np.testing.assert_array_equal(y.get(), ops.forward(x, W, activation="relu", **more))

    variables = [depthwise.Variable(a) for a in there]
    assert variables[0].xp is cupy
    y = depthwise.depthwise_convolution_2d(*variables, **more)
    y.grad = gy_there
    y.backward()
    np.testing.assert_array_equal(variables[1].grad.get(), gW)
    np.testing.assert_array_equal(variables[2].grad.get(), ops.bias_grad(gy))
    loss = ((y * y).mean() + y[0].mean()) * 2
    loss.backward()
    assert isinstance(variables[0].grad, cupy.ndarray)
    with pytest.raises(TypeError, match="W must be a CuPy array"):
        depthwise.depthwise_convolution_2d(there[0], W)


def test_jax():
    jax = pytest.importorskip("jax")
    if not hasattr(_core, "xla_handler") or jax.default_backend() != "gpu":
        pytest.skip("JAX has no GPU, or its handler was not built")
    from depthwise.jax import conv

    rng = np.random.default_rng(0)
    x, W = (rng.integers(-3, 4, s).astype(np.float32) for s in ((2, 3, 9, 12), (2, 3, 3, 3)))
    before = _core.gpu_launches()

    def loss(x, W):
        y = conv(x, W, stride=2, pad=1)
        return (y * y).sum(), y

    (_, y), (gx, gW) = jax.block_until_ready(jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(x, W))
    assert _core.gpu_launches() >= before + 4
    from depthwise import ops

    want = ops.forward(x, W, stride=2, pad=1)
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(gx, ops.input_grad(2 * want, W, (9, 12), stride=2, pad=1))
    np.testing.assert_array_equal(gW, ops.weight_grad(x, 2 * want, (3, 3), stride=2, pad=1))
