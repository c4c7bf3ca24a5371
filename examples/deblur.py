"""A photograph blurred by a moving hand, made sharp again by gradient descent through the filter.

    pip install '.[demo]' && python examples/deblur.py [--steps 60] [--output deblur.png]

The blur is known, the image is not: what is wanted is the image x for which the square of ``A x - y``, its blur beside
the photograph, and a little of x's own roughness are least. The gradient is ``A' (A x - y)``, which is what
`ops.input_grad` computes, the border included. Each step goes on where the last two pointed (Nesterov).
"""

import argparse
import time

import numpy as np
import numpy.typing as npt

from depthwise import ops

try:
    from matplotlib.figure import Figure

    from depthwise.demo import photograph
except ImportError as e:
    raise SystemExit(f"this example draws a picture ({e}): pip install '.[demo]'") from e

Array = npt.NDArray[np.float32]
SIZE = 25
STEPS = {"pad": SIZE // 2, "pad_mode": "reflect"}


def shake() -> Array:
    """The path of a hand during the exposure."""
    t = np.linspace(0, 1, 400)
    y, x = 9 * np.sin(2.1 * t + 0.3) * np.cos(3 * t), 10 * t - 5 + 3 * np.cos(6 * t)
    path = np.zeros((SIZE, SIZE), np.float32)
    places = np.rint(y - y.mean()).astype(int) + SIZE // 2, np.rint(x - x.mean()).astype(int) + SIZE // 2
    np.add.at(path, places, 1)
    return path / path.sum()


def laplacian() -> Array:
    return np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32)


def of_each_channel(kernel: Array) -> Array:
    return np.broadcast_to(kernel, (1, 3, *kernel.shape))


def sharpen(blurred: Array, W: Array, steps: int, smoothness: float = 2e-4) -> Array:
    rough = of_each_channel(laplacian())
    x = before = blurred
    for step in range(steps):
        ahead = x + np.float32(step / (step + 3)) * (x - before)
        error = ops.forward(ahead, W, **STEPS) - blurred
        gradient = ops.input_grad(error, W, ahead.shape[2:], **STEPS)
        gradient += smoothness * ops.forward(ahead, rough, pad=1, pad_mode="edge")
        before, x = x, np.clip(ahead - gradient, 0, 1)
        if step % 20 == 0 or step == steps - 1:
            print(f"step {step:3d}  root of the mean square of A x - y {np.sqrt((error**2).mean()):.4f}")
    return x


def psnr(a: Array, b: Array) -> float:
    return float(-10 * np.log10(((a - b) ** 2).mean()))


def main() -> float:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--output", default="deblur.png")
    args = parser.parse_args()
    sharp = np.ascontiguousarray(photograph().transpose(2, 0, 1)[None])
    W = of_each_channel(shake())
    noise = np.random.default_rng(0).normal(0, 0.003, sharp.shape).astype(np.float32)
    blurred = ops.forward(sharp, W, **STEPS) + noise
    start = time.perf_counter()
    found = sharpen(blurred, W, args.steps)
    took = time.perf_counter() - start
    before, after = psnr(blurred, sharp), psnr(found, sharp)
    print(f"{args.steps} steps in {took:.2f} s; from {before:.1f} dB to {after:.1f} dB")
    fig = Figure(figsize=(12, 5.2), facecolor="#101014")
    for i, (title, image) in enumerate({"blurred": blurred, "found": found, "sharp": sharp}.items()):
        axes = fig.add_subplot(1, 3, i + 1)
        axes.imshow(np.clip(image[0].transpose(1, 2, 0), 0, 1))
        axes.set_title(title, color="#e8e8ee")
        axes.set_axis_off()
    corner = fig.add_axes((0.01, 0.03, 0.07, 0.16))
    corner.imshow(shake(), cmap="gray")
    corner.set_axis_off()
    fig.subplots_adjust(left=0.005, right=0.995, top=0.93, bottom=0.005, wspace=0.02)
    fig.savefig(args.output, dpi=100)
    print(f"picture: {args.output}")
    return after - before


if __name__ == "__main__":
    assert main() > 3
