"""Parameters to npz files and back, under the keys that Chainer gives them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import IO, Any, TypeAlias

import numpy as np

from .links import DepthwiseConvolution2D
from .variable import Variable

__all__ = ["load_npz", "save_npz"]

File: TypeAlias = str | os.PathLike[str] | IO[bytes]
Links: TypeAlias = DepthwiseConvolution2D | Mapping[str, "Links"]


def _parameters(links: Links, path: str) -> Iterator[tuple[str, DepthwiseConvolution2D, str, Variable]]:
    """(key, link, attribute, parameter) of every parameter, Chainer's key being names joined by "/"."""
    if isinstance(links, DepthwiseConvolution2D):
        for name, v in links.namedparams():
            yield path + name[1:], links, name[1:], v
        return
    if not isinstance(links, Mapping):
        msg = f"a link or a dict of names and links is needed, got {type(links).__name__}"
        raise TypeError(msg)
    for name, link in links.items():
        yield from _parameters(link, f"{path}{name}/")


def save_npz(file: File, obj: Links, compression: bool = True) -> None:
    """Save parameters: ``chainer.serializers.save_npz``.

    Parameters
    ----------
    file : str, path or binary file
    obj : DepthwiseConvolution2D, or dict of names and links
        The keys are "W" and "b"; under a dict, "<name>/W" and "<name>/b", to any depth.
    compression : bool, default True

    Examples
    --------
    >>> import io
    >>> import depthwise.links as L
    >>> from depthwise import serializers
    >>> file = io.BytesIO()
    >>> serializers.save_npz(file, {"dw1": L.DepthwiseConvolution2D(3, 1, 3)})
    >>> _ = file.seek(0)
    >>> twin = L.DepthwiseConvolution2D(None, 1, 3)
    >>> serializers.load_npz(file, {"dw1": twin})
    >>> twin.W.shape
    (1, 3, 3, 3)
    """
    arrays: dict[str, Any] = {key: np.asarray(v.array) for key, _, _, v in _parameters(obj, "")}
    save = np.savez_compressed if compression else np.savez
    if isinstance(file, str | os.PathLike):
        with open(file, "wb") as f:
            save(f, **arrays)
    else:
        save(file, **arrays)


def load_npz(file: File, obj: Links, path: str = "", strict: bool = True) -> None:
    """Load parameters that :func:`save_npz` or Chainer saved: ``chainer.serializers.load_npz``.

    Parameters
    ----------
    file : str, path or binary file
    obj : DepthwiseConvolution2D, or dict of names and links
        A link without `in_channels` takes its shape from the file.
    path : str, optional
        Names above `obj` in the file, as "block1/dw/".
    strict : bool, default True
        A missing key is an error.

    Raises
    ------
    KeyError
        A parameter is not in the file.
    ValueError
        A parameter in the file has another shape.
    """
    # Chainer stores a parameter without a value as an object array of None, which only pickle can read; it is never
    # unpickled here.
    with np.load(file, allow_pickle=False) as archive:
        prefix = path.strip("/") + "/" if path.strip("/") else ""
        for key, link, name, v in _parameters(obj, prefix):
            if key not in archive.files:
                if strict:
                    msg = f"{key} is not a file in the archive"
                    raise KeyError(msg)
                continue
            try:
                value = archive[key]
            except ValueError:  # an object array: not initialised when it was saved
                continue
            if v.array is None:
                _check_lazy(key, link, name, value)
                v.array = value.astype(np.float32)
            else:
                if value.shape != v.shape:
                    msg = f"{key} has shape {value.shape} in the archive but {v.shape} in the link"
                    raise ValueError(msg)
                np.copyto(v.array, value, casting="same_kind")


def _check_lazy(key: str, link: DepthwiseConvolution2D, name: str, value: Any) -> None:
    from ..geometry import pair

    fits = value.ndim == 1
    if name == "W":
        fits = value.ndim == 4 and (value.shape[0], *value.shape[2:]) == (
            link.channel_multiplier,
            *pair("ksize", link.ksize, 0),
        )
    if not fits:
        msg = f"{key} has shape {value.shape} in the archive, which does not fit {link!r}"
        raise ValueError(msg)
