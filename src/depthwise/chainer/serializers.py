"""Links to npz and HDF5 files and back, under the keys that Chainer gives them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import IO, Any, TypeAlias

import numpy as np

from .link import Link

__all__ = ["load_hdf5", "load_npz", "save_hdf5", "save_npz"]

Path: TypeAlias = str | os.PathLike[str]
Links: TypeAlias = Link | Mapping[str, "Links"]
Name: TypeAlias = str | Callable[[str], bool]


def _serialize(obj: Links, serializer: Any) -> None:
    if isinstance(obj, Mapping):
        for name, link in obj.items():
            _serialize(link, serializer[name])
    elif hasattr(obj, "serialize"):
        obj.serialize(serializer)
    else:
        msg = f"a link or a dict of names and links is needed, got {type(obj).__name__}"
        raise TypeError(msg)


class _Writer:
    """Called with a name and a value, keeps the value under the path of the links above and the name."""

    def __init__(self, values: dict[str, Any], path: str = "") -> None:
        self.values, self.path = values, path

    def __getitem__(self, name: str) -> _Writer:
        return _Writer(self.values, f"{self.path}{name}/")

    def __call__(self, name: str, value: Any) -> Any:
        array = np.asarray(value)
        if array.dtype == object and value is not None:
            msg = f"{self.path}{name} is a {type(value).__name__}, which only pickle could save"
            raise TypeError(msg)
        # files know no bfloat16, whose values float32 has
        self.values[self.path + name] = array.astype(np.float32) if array.dtype.kind == "V" else array
        return value


def _values(obj: Links) -> dict[str, Any]:
    values: dict[str, Any] = {}
    _serialize(obj, _Writer(values))
    return values


class _Reader:
    """Called with a name and a value, gives the value to have in its place: arrays are filled where they are."""

    def __init__(
        self,
        read: Callable[[str], Any],  # raises KeyError; None is what was saved without a value
        path: str,
        strict: bool = True,
        ignored: tuple[Name, ...] = (),
    ) -> None:
        self.read, self.path, self.strict, self.ignored = read, path, strict, ignored

    def __getitem__(self, name: str) -> _Reader:
        return _Reader(self.read, f"{self.path}{name}/", self.strict, self.ignored)

    def __call__(self, name: str, value: Any) -> Any:
        key = self.path + name
        if any(key == i if isinstance(i, str) else i(key) for i in self.ignored):
            return value
        try:
            found = self.read(key)
        except KeyError:
            if self.strict:
                msg = f"{key} is not a file in the archive"
                raise KeyError(msg) from None
            return value
        if value is None:
            return found
        if found is None:
            if isinstance(value, np.ndarray):
                return value
            msg = f"{key} is None in the file, or was pickled, which is not read here"
            raise ValueError(msg)
        if not isinstance(value, np.ndarray):
            converted = type(value)(found[()])
            if isinstance(value, int) and converted != found:
                msg = f"{key} is {found} in the file, which {type(value).__name__} cannot hold"
                raise TypeError(msg)
            return converted
        if found.shape != value.shape:
            msg = f"{key} has shape {found.shape} in the archive but {value.shape} in the link"
            raise ValueError(msg)
        np.copyto(value, found, casting="same_kind")
        return value


def save_npz(file: Path | IO[bytes], obj: Links, compression: bool = True) -> None:
    """Save parameters and persistent values: ``chainer.serializers.save_npz``.

    Parameters
    ----------
    file : str, path or binary file
    obj : Link, or dict of names and links
        The keys are "W" and "b"; in chains and dicts, "<name>/W" and "<name>/b", to any depth.
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
    arrays = _values(obj)
    save = np.savez_compressed if compression else np.savez
    if isinstance(file, str | os.PathLike):
        with open(file, "wb") as f:
            save(f, **arrays)
    else:
        save(file, **arrays)


def load_npz(
    file: Path | IO[bytes],
    obj: Links,
    path: str = "",
    strict: bool = True,
    ignore_names: Name | list[Name] | tuple[Name, ...] | None = None,
) -> None:
    """Load what :func:`save_npz` or Chainer saved: ``chainer.serializers.load_npz``.

    Parameters
    ----------
    file : str, path or binary file
    obj : Link, or dict of names and links
        A link without `in_channels` takes its shape from the file.
    path : str, optional
        Names above `obj` in the file, as "block1/dw/".
    strict : bool, default True
        A missing key is an error.
    ignore_names : str, callable, or list of them, optional
        Keys that are left alone, or functions that say of a key whether it is.

    Raises
    ------
    KeyError
        A parameter is not in the file.
    ValueError
        A parameter in the file has another shape.
    """
    if ignore_names is None:
        ignore_names = ()
    ignored = tuple(ignore_names) if isinstance(ignore_names, list | tuple) else (ignore_names,)
    for name in ignored:
        if not isinstance(name, str) and not callable(name):
            msg = f"ignore_names must be a name, a callable, or a list of them, got {type(name).__name__}"
            raise TypeError(msg)
    # Chainer stores a parameter without a value as an object array of None, which only pickle can read; it is never
    # unpickled here.
    with np.load(file, allow_pickle=False) as archive:

        def read(key: str) -> Any:
            if key not in archive.files:
                raise KeyError(key)
            try:
                return archive[key]
            except ValueError:  # an object array: not initialised when it was saved
                return None

        _serialize(obj, _Reader(read, path.strip("/") + "/" if path.strip("/") else "", strict, ignored))


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        msg = "HDF5 files need h5py: pip install h5py"
        raise ImportError(msg, name="h5py") from error
    return h5py


def save_hdf5(filename: Path, obj: Links, compression: int = 4) -> None:
    """Save parameters and persistent values: ``chainer.serializers.save_hdf5``, which needs h5py.

    Parameters
    ----------
    filename : str or path
    obj : Link, or dict of names and links
    compression : int, default 4
        Level of gzip.

    Raises
    ------
    ImportError
        h5py is not installed.
    """
    h5py = _h5py()
    values = _values(obj)
    for key, value in values.items():
        if value.dtype.kind in "US":
            msg = f"{key} is a string, which HDF5 files of arrays do not hold: save it as npz"
            raise TypeError(msg)
    with h5py.File(filename, "w") as file:
        for key, value in values.items():
            if value.dtype == object:  # None: a parameter without a value
                file.create_dataset(key, data=h5py.Empty("f"))
            else:
                file.create_dataset(key, data=value, compression=compression if value.size > 1 else None)


def load_hdf5(filename: Path, obj: Links) -> None:
    """Load what :func:`save_hdf5` or Chainer saved: ``chainer.serializers.load_hdf5``, which needs h5py.

    Parameters
    ----------
    filename : str or path
    obj : Link, or dict of names and links
        A link without `in_channels` takes its shape from the file.

    Raises
    ------
    ImportError
        h5py is not installed.
    KeyError
        A parameter is not in the file.
    ValueError
        A parameter in the file has another shape.
    """
    with _h5py().File(filename, "r") as file:
        _serialize(obj, _Reader(lambda key: None if file[key].shape is None else np.asarray(file[key]), ""))
