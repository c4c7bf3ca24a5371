"""Times borders beside zero padding, filters of images beside OpenCV's and SciPy's, and filters that factor.

    pip install '.[test,benchmark]' && python benchmarks/images.py [borders | filters | separable] [--threads 1]

`borders`: layers with "reflect" and with zeros, and with PyTorch's padded copy before its convolution. `filters`: a
photograph of 2048 x 2048 pixels and three channels. Float32 unless said, medians of interleaved calls in milliseconds;
results are written to memory that is there, except by SciPy and PyTorch.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np

import depthwise
import pictures
from depthwise import filters, ops, progress
from large_kernels import drawn, medians

# What was measured, by name of the problem and then of whose it is.
Rows = dict[str, dict[str, float]]


def borders(threads: int) -> dict[str, Rows]:
    import torch
    from torch.nn import functional as F  # noqa: N812

    torch.set_num_threads(threads)
    rng = np.random.default_rng(0)
    sizes = (1, 64, 112, 112, 3), (1, 128, 56, 56, 5), (1, 512, 14, 14, 3), (8, 96, 56, 56, 7)
    layers = list(product(sizes, (False, True)))
    names = "forward", "input gradient", "weight gradient"
    panels: dict[str, Rows] = {name: {} for name in names}
    with progress.shown(len(layers)) as begin:
        for (n, c, h, w, k), last in layers:
            layer = f"{n}x{c}x{h}x{w} {k}x{k} {'channels last' if last else 'planar'}"
            begin(layer)
            x, gy, W = drawn(rng, n, c, h, w, last=last), drawn(rng, n, c, h, w, last=last), drawn(rng, 1, c, k, k)
            image, weight, gx, pad = torch.from_numpy(x), torch.from_numpy(W[0][:, None]), np.empty_like(x), k // 2

            def calls(mode: str, x: Any = x, W: Any = W, gy: Any = gy, gx: Any = gx, pad: int = pad) -> list[Any]:
                steps = {"pad": pad, "pad_mode": mode}
                return [
                    lambda: ops.forward(x, W, out=gx, **steps),
                    lambda: ops.input_grad(gy, W, x.shape[2:], out=gx, **steps),
                    lambda: ops.weight_grad(x, gy, W.shape[2:], **steps),
                ]

            def stock(image: Any = image, weight: Any = weight, pad: int = pad) -> Any:
                return F.conv2d(F.pad(image, [pad] * 4, "reflect"), weight, groups=weight.shape[0])

            with torch.no_grad():
                *times, theirs = medians([*calls("constant"), *calls("reflect"), stock], 2)
            zeros, reflect = times[:3], times[3:]
            each = []
            for name, a, b in zip(names, zeros, reflect, strict=True):
                each.append(f"{name} {a:.3f} and {b:.3f} ({b / a:.2f})")
                panels[name][layer] = {"zeros": a, "reflect": b}
            panels["forward"][layer]["PyTorch, reflect"] = theirs
            print(f"{layer}: {', '.join(each)}; PyTorch forward {theirs:.3f}", flush=True)
    return panels


def compare(
    begin: Callable[[str], None], rows: Rows, what: str, ours: Callable[[], object], /, **theirs: Callable[[], object]
) -> None:
    begin(what)
    first, *others = medians([ours, *theirs.values()], 1)
    rows[what] = {"ours": first, **dict(zip(theirs, others, strict=True))}
    beside = ", ".join(f"{name} {t:.1f} ({t / first:.1f})" for name, t in zip(theirs, others, strict=True))
    print(f"{what}: ours {first:.1f}, {beside}", flush=True)


def photograph(threads: int) -> dict[str, Rows]:
    import cv2
    from scipy import ndimage, signal

    cv2.setNumThreads(threads)
    rng = np.random.default_rng(0)
    image = rng.random((2048, 2048, 3), np.float32)
    planes, pixels = np.ascontiguousarray(np.moveaxis(image, -1, 0)), (image * 255).astype(np.uint8)
    out, out_planes = np.empty_like(image), np.empty_like(planes)
    border = cv2.BORDER_REFLECT
    planar: Rows = {}
    last: Rows = {}
    gaussians: Rows = {}
    sizes, sigmas = (3, 7, 31, 63, 101), (1, 3, 10)
    with progress.shown(2 * len(sizes) + len(sigmas)) as begin:
        for k in sizes:
            W = rng.random((k, k), np.float32)
            by_fft = {
                "fftconvolve": lambda W=W: [signal.fftconvolve(p, W, "same") for p in planes],
                "oaconvolve": lambda W=W: [signal.oaconvolve(p, W, "same") for p in planes],
            }
            compare(
                begin,
                planar,
                f"3x2048x2048 {k}x{k}",
                lambda W=W: filters.correlate(planes, W, out=out_planes),
                OpenCV=lambda W=W: [cv2.filter2D(p, -1, W, borderType=border) for p in planes],
                **(by_fft if k > 7 else {}),
            )
            compare(
                begin,
                last,
                f"2048x2048x3 {k}x{k}",
                lambda W=W: filters.correlate(image, W, channel_axis=-1, out=out),
                OpenCV=lambda W=W: cv2.filter2D(image, -1, W, dst=out, borderType=border),
                ours_of_uint8=lambda W=W: filters.correlate(pixels, W, channel_axis=-1, out=out),
                OpenCV_of_uint8=lambda W=W: cv2.filter2D(pixels, cv2.CV_32F, W, dst=out, borderType=border),
            )
        for sigma in sigmas:
            compare(
                begin,
                gaussians,
                f"2048x2048x3 gaussian {sigma}",
                lambda s=sigma: filters.gaussian(image, s, channel_axis=-1, out=out),
                OpenCV=lambda s=sigma: cv2.GaussianBlur(image, (0, 0), s, dst=out, borderType=border),
                SciPy=lambda s=sigma: ndimage.gaussian_filter(image, (s, s, 0), output=out),
            )
    return {"three planes": planar, "pixels of three": last, "Gaussians": gaussians}


def separable(_: int) -> dict[str, Rows]:
    rng = np.random.default_rng(0)
    rows: Rows = {}
    sizes = (1, 3, 2048, 63), (1, 3, 2048, 9), (1, 64, 112, 7), (1, 128, 56, 31), (8, 32, 128, 15)
    with progress.shown(2 * len(sizes)) as begin:
        for (n, c, size, k), last in product(sizes, (False, True)):
            x, line = drawn(rng, n, c, size, size, last=last), drawn(rng, 1, c, k)
            out, W = np.empty_like(x), line[..., None] * line[:, :, None]
            square: dict[str, Any] = {
                "whole": lambda x=x, W=W, k=k, out=out: ops.forward(x, W, pad=k // 2, out=out),
                "rows": lambda x=x, W=line[:, :, None], k=k, out=out: ops.forward(x, W, pad=(0, k // 2), out=out),
                "columns": lambda x=x, W=line[..., None], k=k, out=out: ops.forward(x, W, pad=(k // 2, 0), out=out),
            }
            compare(
                begin,
                rows,
                f"{n}x{c}x{size}x{size} {k}x{k} {'channels last' if last else 'planar'}",
                lambda x=x, line=line, k=k, out=out: ops.forward_separable(x, line, line, pad=k // 2, out=out),
                **square,
            )
    return {"by two passes, the whole filter, and a pass of each": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["borders", "filters", "separable"])
    parser.add_argument("--threads", type=int, default=1)
    pictures.add_option(parser, "images")
    asked = parser.parse_args()
    depthwise.set_num_threads(asked.threads)
    panels = {"borders": borders, "filters": photograph, "separable": separable}[asked.what](asked.threads)
    title = f"{asked.what}, threads: {asked.threads}"
    pictures.write(asked.picture, title, panels, "milliseconds", logarithmic=True)


if __name__ == "__main__":
    main()
