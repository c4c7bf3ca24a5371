"""Who can compute a layer. `prepare` hands out a call without arguments, or None for what a library does not do.

Results, or functions that fetch them after the clock has stopped, compare with ours after `as_ours`. Weights are handed
over in each library's own layout and, where the library prepares a model, prepared before the clock runs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import depthwise
from depthwise import ops
from depthwise.geometry import geometry
from layers import Layer

Call = Callable[[], Any]


class Provider(NamedTuple):
    name: str
    prepare: Callable[[Layer, str, str, dict[str, Any]], Call | None]  # layer, pass, layout, arrays
    enter: Callable[[], object] = lambda: None  # before each round


def ours(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call:
    if kind == "forward":
        return lambda: ops.forward(a["x"], a["W"], a["b"], **layer.steps)
    if kind == "input_grad":
        return lambda: ops.input_grad(a["gy"], a["W"], (layer.H, layer.W), **layer.steps)
    return lambda: ops.weight_grad(a["x"], a["gy"], (layer.KH, layer.KW), **layer.steps)


def grouped(layer: Layer, W: Any) -> Any:
    """(M, C, KH, KW) as (C * M, 1, KH, KW)."""
    return np.ascontiguousarray(W.transpose(1, 0, 2, 3)).reshape(layer.C * layer.M, 1, layer.KH, layer.KW)


def as_ours(layer: Layer, kind: str, result: Any) -> Any:
    a = np.asarray(result() if callable(result) else result)
    if kind == "weight_grad" and a.shape[0] == layer.C * layer.M and a.shape[1] == 1:
        a = a.reshape(layer.C, layer.M, layer.KH, layer.KW).transpose(1, 0, 2, 3)
    return a


def torch(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call | None:
    import torch

    if a["x"].dtype.name == "bfloat16":
        return None
    x, gy, b = (torch.from_numpy(a[k]) for k in ("x", "gy", "b"))  # the strides say which memory format
    W = torch.from_numpy(grouped(layer, a["W"]))
    steps = list(layer.steps.values())
    if kind == "forward":
        return lambda: torch.conv2d(x, W, b, *steps, layer.C)
    wanted = [kind == "input_grad", kind == "weight_grad", False]

    def backward() -> Any:
        grads = torch.ops.aten.convolution_backward(gy, x, W, None, *steps, False, (0, 0), layer.C, wanted)
        return grads[wanted.index(True)]

    return backward


def onnx_model(layer: Layer, a: dict[str, Any]) -> bytes:
    import onnx
    from onnx import helper

    W = grouped(layer, a["W"])
    node = helper.make_node(
        "Conv",
        ["x", "W", "b"],
        ["y"],
        group=layer.C,
        kernel_shape=[layer.KH, layer.KW],
        strides=[layer.SH, layer.SW],
        pads=[layer.PH, layer.PW, layer.PH, layer.PW],
        dilations=[layer.DH, layer.DW],
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
    dilated_steps = layer.SH > 1 and (layer.DH, layer.DW) != (1, 1)
    if kind != "forward" or layout == "planar" or a["x"].dtype != np.float32 or layer.SH != layer.SW or dilated_steps:
        return None
    import tensorflow as tf

    same = geometry(a["x"].shape, a["W"].shape, (layer.SH, layer.SW), "same", (layer.DH, layer.DW))
    is_same = [a.pad for a in same.axes] == [(layer.PH, layer.PH), (layer.PW, layer.PW)]
    pads = [(0, 0), (layer.PH, layer.PH), (layer.PW, layer.PW), (0, 0)]
    x = np.ascontiguousarray(a["x"].transpose(0, 2, 3, 1))
    W = np.ascontiguousarray(a["W"].transpose(2, 3, 1, 0))

    @tf.function(input_signature=[tf.TensorSpec(x.shape, tf.float32)])
    def model(x: Any) -> Any:
        image, name = (x, "SAME") if is_same else (tf.pad(x, pads), "VALID")
        return tf.nn.depthwise_conv2d(image, W, [1, layer.SH, layer.SW, 1], name, None, [layer.DH, layer.DW]) + a["b"]

    converter = tf.lite.TFLiteConverter.from_concrete_functions([model.get_concrete_function()])
    interpreter = tf.lite.Interpreter(model_content=converter.convert(), num_threads=depthwise.get_num_threads())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    y = interpreter.get_output_details()[0]["index"]

    def call() -> Any:
        interpreter.invoke()
        return lambda: interpreter.get_tensor(y).transpose(0, 3, 1, 2)

    return call


def chainer(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call | None:
    if (layer.DH, layer.DW) != (1, 1) or a["x"].dtype.name == "bfloat16":
        return None
    import chainer

    x, W, b = (chainer.Variable(a[k]) for k in ("x", "W", "b"))
    steps = (layer.SH, layer.SW), (layer.PH, layer.PW)

    def forward() -> Any:
        return chainer.functions.depthwise_convolution_2d(x, W, b, *steps)

    if kind == "forward":
        return lambda: forward().array
    y, gy = forward(), chainer.Variable(a["gy"])
    wanted = x if kind == "input_grad" else W
    return lambda: chainer.grad([y], [wanted], [gy])[0].array


def jax(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call | None:
    # Of a weight gradient XLA computes every pair of channels: those that would take it half a minute are left out.
    outs = layer.outs
    if kind == "weight_grad" and layer.C**2 * layer.N * outs[0] * outs[1] * layer.KH * layer.KW > 4e10:
        return None
    import jax

    order = "NCHW" if layout == "planar" else "NHWC"
    steps = (layer.SH, layer.SW), [(layer.PH, layer.PH), (layer.PW, layer.PW)], None, (layer.DH, layer.DW)

    def convolve(x: Any, W: Any, b: Any = None) -> Any:
        y = jax.lax.conv_general_dilated(x, W, *steps, (order, "OIHW", order), layer.C)
        return y if b is None else y + b.reshape((-1, 1, 1) if layout == "planar" else (-1,))

    return jitted(convolve, kind, layout, a | {"W": grouped(layer, a["W"])})


def ours_in_jax(layer: Layer, kind: str, layout: str, a: dict[str, Any]) -> Call:
    from depthwise.jax import conv

    order = "NCHW" if layout == "planar" else "NHWC"
    return jitted(lambda x, W, b=None: conv(x, W, b, **layer.steps, layout=order), kind, layout, a)


def jitted(convolve: Any, kind: str, layout: str, a: dict[str, Any]) -> Call:
    """One pass of a function of (x, W, b), in the memory that JAX would have."""
    import jax

    x, W, b, gy = (jax.numpy.asarray(a[k]) for k in ("x", "W", "b", "gy"))
    if layout != "planar":
        x, gy = x.transpose(0, 2, 3, 1), gy.transpose(0, 2, 3, 1)

    def as_planar(y: Any) -> Any:
        return np.asarray(y) if layout == "planar" or kind == "weight_grad" else np.asarray(y).transpose(0, 3, 1, 2)

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
    "onnxruntime": onnxruntime,
    "openvino": openvino,
    "tflite": tensorflow_lite,
    "jax": jax,
    "chainer": chainer,
}
NEEDS = {"onnxruntime": ("onnxruntime", "onnx"), "openvino": ("openvino", "onnx"), "tflite": ("tensorflow",)}


def available(targets: list[str], peers: list[str], through: str) -> list[Provider]:
    """Ours on each target, first, called through NumPy or JAX, and those peers that are installed."""
    call = {"numpy": ours, "jax": ours_in_jax}[through]
    found = [Provider(f"ours {t}", call, lambda t=t: depthwise.use_target(t)) for t in targets]
    for name in peers:
        if all(importlib.util.find_spec(module) for module in NEEDS.get(name, (name,))):
            found.append(Provider(name, PEERS[name]))
    return found
