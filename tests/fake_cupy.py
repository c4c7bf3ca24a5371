"""As much of CuPy as the adapter asks for, in this machine's memory: `install` puts it where CuPy would be."""

import contextlib
import sys
import types

import numpy as np


class ndarray(np.ndarray):  # noqa: N801 - CuPy's name
    """A NumPy array that says where it is as CuPy's do, and which NumPy's own functions take as they take CuPy's."""

    number = 0

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.__array_interface__["data"][0])

    @property
    def device(self):
        return Device(self.number)

    def get(self):
        return self.view(np.ndarray)


class Device(contextlib.nullcontext):
    def __init__(self, number):
        super().__init__()
        self.id = number


def asarray(a, dtype=None):
    return np.array(a, dtype).view(ndarray)


def install(monkeypatch):
    module = types.ModuleType("cupy")
    module.ndarray, module.asarray = ndarray, asarray
    module.empty = lambda shape, dtype: np.full(shape, 77).astype(dtype).view(ndarray)
    module.moveaxis = np.moveaxis
    module.cuda = types.SimpleNamespace(get_current_stream=lambda: types.SimpleNamespace(ptr=0))
    monkeypatch.setitem(sys.modules, "cupy", module)
    return module
