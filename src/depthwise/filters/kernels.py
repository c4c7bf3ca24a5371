"""Weights of filters that people ask for by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

AnyArray = npt.NDArray[Any]


def gaussian_weights(sigma: float, truncate: float) -> AnyArray:
    """A Gaussian of `truncate` standard deviations on either side, whose sum is 1; as ``scipy.ndimage`` has it."""
    radius = int(truncate * sigma + 0.5)
    if not radius:
        return np.ones(1)
    places = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 / (sigma * sigma) * places**2)
    weights /= weights.sum()
    return np.asarray(weights)


def gabor_bank(
    frequencies: Sequence[float] | float, orientations: int = 8, *, bandwidth: float = 1.0, truncate: float = 3.0
) -> AnyArray:
    """A bank of Gabor filters: waves of some frequencies and directions under Gaussians.

    Parameters
    ----------
    frequencies : float or sequence of floats
        Cycles a pixel, above 0 and at most 0.5.
    orientations : int, default 8
        Directions in which the waves run, evenly over half a turn: direction i is ``pi * i / orientations`` from the
        last axis to the one before.
    bandwidth : float, default 1.0
        In octaves: the Gaussian's standard deviation is
        ``sqrt(log(2) / 2) / pi * (2**b + 1) / (2**b - 1) / frequency``, as ``skimage.filters.gabor_kernel`` has it.
    truncate : float, default 3.0
        Standard deviations on either side.

    Returns
    -------
    ndarray of shape (len(frequencies) * orientations * 2, k, k), float32
        For each frequency and direction the cosine, whose sum is 0, and the sine; k is odd, and what the lowest
        frequency needs. Absolute values of a pair have the sum 1.

    Raises
    ------
    ValueError
        A value is out of range.

    Notes
    -----
    Source: J. G. Daugman, Uncertainty relation for resolution in space, spatial frequency, and orientation optimized by
    two-dimensional visual cortical filters, JOSA A 2 (7), 1985.

    Examples
    --------
    >>> from depthwise.filters import gabor_bank
    >>> gabor_bank([0.1, 0.2], orientations=6).shape
    (24, 35, 35)
    """
    each = [float(f) for f in np.atleast_1d(np.asarray(frequencies, float))]
    for f in each:
        if not 0 < f <= 0.5:
            msg = f"frequencies must be above 0 and at most 0.5 cycles a pixel, got {f}"
            raise ValueError(msg)
    if orientations < 1 or not 0 < bandwidth < 64 or not 0 < truncate < np.inf or not each:
        msg = (
            "there must be a frequency and an orientation, and bandwidth must be positive and less than 64, truncate "
            f"positive and finite, got {frequencies!r}, {orientations!r}, {bandwidth!r} and {truncate!r}"
        )
        raise ValueError(msg)
    octaves = (2**bandwidth + 1) / (2**bandwidth - 1)
    sigmas = [np.sqrt(np.log(2) / 2) / np.pi * octaves / f for f in each]
    radius = int(truncate * max(sigmas) + 0.5)
    if not radius:
        msg = f"truncate must leave a pixel on either side, got {truncate!r}"
        raise ValueError(msg)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1].astype(float)
    bank = []
    for f, sigma in zip(each, sigmas, strict=True):
        envelope = np.exp(-(x**2 + y**2) / (2 * sigma**2))
        for i in range(orientations):
            angle = np.pi * i / orientations
            wave = np.exp(2j * np.pi * f * (x * np.cos(angle) + y * np.sin(angle))) * envelope
            wave -= envelope * (wave.real.sum() / envelope.sum())
            wave /= np.abs(wave).sum()
            bank += [wave.real, wave.imag]
    return np.array(bank, np.float32)
