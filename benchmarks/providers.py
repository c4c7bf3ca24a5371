"""Who can compute a layer. `prepare` hands out a call without arguments, or None for what a library does not do.

Results, or functions that fetch them after the clock has stopped, compare with ours after `as_ours`. Weights are handed
over in each library's own layout and, where the library prepares a model, prepared before the clock runs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

import depthwise
from decoding import DECODERS, ours_decoding
from depthwise import ops
from depthwise.geometry import geometry
from layers import DECODE, Layer, channels_first, channels_last
from tensors import tensor

Call = Callable[[], Any]


class Provider(NamedTuple):
    name: str
    prepare: Callable[[Layer, str, str, dict[str, Any]], Call | None]  # layer, pass, layout, arrays
    enter: Callable[[], object] = lambda: None  # before each round


def ours(layer: Layer, kind: str, layout: str, a: dict[str, Any], method: str = "direct") -> Call:
    if kind == DECODE:
        return ours_decoding(a)
    steps = layer.steps | {"method": method}
    if kind == "forward":
        return lambda: ops.forward(a["x"], a["W"], a["b"], **steps)
    if kind == "input_grad":
        return lambda: ops.input_grad(a["gy"], a["W"], layer.size, **steps)
    return lambda: ops.weight_grad(a["x"], a["gy"], layer.kernel, **steps)


def grouped(layer: Layer, W: Any) -> Any:
    """(M, C, kernel...) as (C * M, 1, kernel...)."""
    return np.ascontiguousarray(W.swapaxes(0, 1)).reshape(layer.C * layer.M, 1, *layer.kernel)


def as_ours(layer: Layer, kind: str, result: Any) -> Any:
    if callable(result):
        result = result()
    if type(result).__module__ == "torch":
        result = result.float() if result.element_size() == 2 else result  # NumPy has no bfloat16
    a = np.asarray(result)
    if kind == "weight_grad" and a.shape[0] == layer.C * layer.M and a.shape[1] == 1:
        a = a.reshape(layer.C, layer.M, *layer.kernel).swapaxes(0, 1)
    return a


def torch(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call | None:
    """PyTorch pads both sides alike: as its models do, more is computed where they differ, and cut off."""
    import torch

    if kind == DECODE or any(before < after for before, after in layer.pads):
        return None
    x, gy, W, b = (tensor(v) for v in (a["x"], a["gy"], grouped(layer, a["W"]), a["b"]))
    axes = len(layer.size)
    pads = [before for before, _ in layer.pads]
    steps = list(layer.stride), pads, list(layer.dilate)
    if kind == "forward":
        convolve = (torch.conv1d, torch.conv2d, torch.conv3d)[axes - 1]
        if layer.is_symmetric:
            return lambda: convolve(x, W, b, *steps, layer.C)
        kept = (..., *(slice(out) for out in layer.outs))
        return lambda: convolve(x, W, b, *steps, layer.C)[kept]
    if not layer.is_symmetric:  # what was cut off has no gradient
        after = geometry(a["x"].shape, a["W"].shape, layer.stride, tuple(pads), layer.dilate).y_shape[2:]
        sides = [side for out, kept in zip(after, layer.outs, strict=True) for side in (out - kept, 0)]
        gy = torch.nn.functional.pad(gy, sides[::-1])
    wanted = [kind == "input_grad", kind == "weight_grad", False]

    def backward() -> Any:
        grads = torch.ops.aten.convolution_backward(gy, x, W, None, *steps, False, [0] * axes, layer.C, wanted)
        return grads[wanted.index(True)]

    return backward


def torch_by_float32(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call | None:
    """What a user of PyTorch can do about its speed in bfloat16: images converted in the call, weights before."""
    if kind == DECODE or a["x"].dtype.itemsize != 2:
        return None
    import torch

    dtype = tensor(a["x"]).dtype
    wide = {name: v.astype(np.float32) for name, v in a.items()}
    call = globals()["torch"](layer, kind, layout, wide)
    images = [tensor(a[name]) for name in {"forward": ["x"], "input_grad": ["gy"], "weight_grad": ["x", "gy"]}[kind]]

    def convert() -> Any:
        for image in images:
            image.to(torch.float32)
        return call().to(dtype)

    return convert if call else None


def onnx_model(layer: Layer, a: dict[str, Any]) -> bytes:
    import onnx
    from onnx import helper

    W = grouped(layer, a["W"])
    node = helper.make_node(
        "Conv",
        ["x", "W", "b"],
        ["y"],
        group=layer.C,
        kernel_shape=layer.kernel,
        strides=layer.stride,
        pads=[side for sides in zip(*layer.pads, strict=True) for side in sides],
        dilations=layer.dilate,
    )
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "layer",
        [helper.make_tensor_value_info("x", kind, list(a["x"].shape))],
        [helper.make_tensor_value_info("y", kind, None)],
        [helper.make_tensor("W", kind, list(W.shape), W.ravel()), helper.make_tensor("b", kind, [len(a["b"])], a["b"])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def takes_onnx(kind: str, layout: str, a: dict[str, Any]) -> bool:
    return kind == "forward" and layout == "planar" and a["x"].dtype == np.float32


def onnxruntime(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call | None:
    if not takes_onnx(kind, layout, a):
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = depthwise.get_num_threads(), 1
    session = onnxruntime.InferenceSession(onnx_model(layer, a), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": a["x"]})[0]


def openvino(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call | None:
    if not takes_onnx(kind, layout, a):
        return None
    import openvino

    core = openvino.Core()
    options = {
        "INFERENCE_NUM_THREADS": depthwise.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(core.read_model(onnx_model(layer, a)), "CPU", options).create_infer_request()
    request.set_input_tensor(openvino.Tensor(a["x"], shared_memory=True))

    def call() -> Any:
        request.infer()
        return request.get_output_tensor().data

    return call


def tensorflow_lite(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call | None:
    if kind != "forward" or layout == "planar" or a["x"].dtype != np.float32 or len(layer.size) != 2:
        return None
    step = layer.stride[0]
    if step != layer.stride[1] or (step > 1 and layer.dilate != (1, 1)):
        return None
    import tensorflow as tf

    same = geometry(a["x"].shape, a["W"].shape, layer.stride, "same", layer.dilate)
    is_same = tuple(axis.pad for axis in same.axes) == layer.pads
    pads = [(0, 0), *layer.pads, (0, 0)]
    x = np.ascontiguousarray(channels_last(a["x"]))
    W = np.ascontiguousarray(a["W"].transpose(2, 3, 1, 0))

    @tf.function(input_signature=[tf.TensorSpec(x.shape, tf.float32)])
    def model(x: Any) -> Any:
        image, name = (x, "SAME") if is_same else (tf.pad(x, pads), "VALID")
        return tf.nn.depthwise_conv2d(image, W, [1, step, step, 1], name, None, layer.dilate) + a["b"]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([model.get_concrete_function()])
    interpreter = tf.lite.Interpreter(model_content=converter.convert(), num_threads=depthwise.get_num_threads())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    y = interpreter.get_output_details()[0]["index"]

    def call() -> Any:
        interpreter.invoke()
        return lambda: channels_first(interpreter.get_tensor(y))

    return call


def chainer(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call | None:
    if len(layer.size) != 2 or kind == DECODE or layer.dilate != (1, 1) or a["x"].dtype.name == "bfloat16":
        return None
    import chainer

    x, W, b = (chainer.Variable(a[k]) for k in ("x", "W", "b"))
    steps = layer.stride, tuple(before for before, _ in layer.pads)

    def forward() -> Any:
        return chainer.functions.depthwise_convolution_2d(x, W, b, *steps)

    if kind == "forward":
        return lambda: forward().array
    y, gy = forward(), chainer.Variable(a["gy"])
    wanted = x if kind == "input_grad" else W
    return lambda: chainer.grad([y], [wanted], [gy])[0].array


def jax(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call | None:
    # Of a weight gradient XLA computes every pair of channels: those that would take it half a minute are left out.
    if kind == DECODE or (kind == "weight_grad" and layer.C**2 * layer.N * prod(layer.outs + layer.kernel) > 4e10):
        return None
    import jax

    spatial = "DHW"[-len(layer.size) :]
    order = order_of(layer, layout)
    steps = layer.stride, layer.pads, None, layer.dilate

    def convolve(x: Any, W: Any, b: Any = None) -> Any:
        y = jax.lax.conv_general_dilated(x, W, *steps, (order, "OI" + spatial, order), layer.C)
        return y if b is None else y + b.reshape((-1, *[1] * len(spatial)) if layout == "planar" else (-1,))

    return jitted(convolve, kind, layout, a | {"W": grouped(layer, a["W"])})


def order_of(layer: Layer, layout: str) -> str:
    spatial = "DHW"[-len(layer.size) :]
    return f"NC{spatial}" if layout == "planar" else f"N{spatial}C"


def ours_in_jax(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call:
    from depthwise.jax import conv

    order = order_of(layer, layout)
    return jitted(lambda x, W, b=None: conv(x, W, b, **layer.steps, layout=order), kind, layout, a)


def jitted(convolve: Any, kind: str, layout: str, a: dict[str, Any]) -> Call:
    """One pass of a function of (x, W, b), in the memory that JAX would have."""
    import jax

    x, W, b, gy = (jax.numpy.asarray(a[k]) for k in ("x", "W", "b", "gy"))
    if layout != "planar":
        x, gy = channels_last(x), channels_last(gy)

    def as_planar(y: Any) -> Any:
        return np.asarray(y) if layout == "planar" or kind == "weight_grad" else channels_first(np.asarray(y))

    if kind == "forward":
        f, args = jax.jit(convolve), (x, W, b)
    elif kind == "input_grad":
        f, args = jax.jit(lambda gy, W: jax.linear_transpose(lambda x: convolve(x, W), x)(gy)[0]), (gy, W)
    else:
        f, args = jax.jit(lambda gy, x: jax.linear_transpose(lambda W: convolve(x, W), W)(gy)[0]), (gy, x)

    def call() -> Any:
        y = f(*args).block_until_ready()
        return lambda: as_planar(y)

    return call


PEERS = {
    "torch": torch,
    "torch by float32": torch_by_float32,
    **DECODERS,
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "tflite": tensorflow_lite,
    "jax": jax,
    "chainer": chainer,
}
TORCH = ["torch by float32", *DECODERS]  # what is asked for, and not asked for, with "torch"
NEEDS = {"onnxruntime": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnx"), "tflite": ("tensorflow",)}


def available(targets: list[str], peers: list[str], through: str, method: str = "direct") -> list[Provider]:
    """Ours on each target, first, called through NumPy or JAX, and those peers that are installed."""
    call = {"numpy": partial(ours, method=method), "jax": ours_in_jax}[through]
    found = [Provider(f"ours {t}", call, lambda t=t: depthwise.use_target(t)) for t in targets]
    for name in peers:
        if all(importlib.util.find_spec(module) for module in NEEDS.get(name, (name,))):
            found += [Provider(each, PEERS[each]) for each in [name, *(TORCH if name == "torch" else [])]]
    return found
