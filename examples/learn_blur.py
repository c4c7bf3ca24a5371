"""Learn a known blur from pairs of images: plain gradient descent on one depthwise layer."""

import numpy as np

import depthwise
import depthwise.functions as F  # noqa: N812
import depthwise.links as L  # noqa: N812


def main(steps: int = 200, rate: float = 0.5) -> float:
    rng = np.random.default_rng(0)
    np.random.seed(0)
    line = np.array([1, 4, 6, 4, 1], np.float32) / 16
    blur = np.broadcast_to(np.outer(line, line), (1, 3, 5, 5)).astype(np.float32)
    layer = L.DepthwiseConvolution2D(3, 1, 5, pad=2, nobias=True)
    for step in range(steps):
        sharp = rng.normal(size=(4, 3, 32, 32)).astype(np.float32)
        with depthwise.no_backprop_mode():
            blurred = F.depthwise_convolution_2d(sharp, blur, pad=2)
        error = layer(sharp) - blurred.array
        loss = F.mean(error * error)
        layer.cleargrads()
        loss.backward()
        layer.W.array -= rate * layer.W.grad
        if step % 50 == 0 or step == steps - 1:
            print(
                f"step {step:3d}  loss {loss.item():.2e}  largest weight error {np.abs(layer.W.array - blur).max():.1e}"
            )
    return float(np.abs(layer.W.array - blur).max())


if __name__ == "__main__":
    assert main() < 1e-3
