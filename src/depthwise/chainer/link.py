"""Link: what holds parameters, and links that do, under names."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from .initializers import NaN
from .parameter import Parameter

if TYPE_CHECKING:
    from .chains import Sequential

__all__ = ["Link"]


class Link:
    """What holds parameters: ``chainer.Link``.

    A subclass registers parameters by setting them in :meth:`init_scope`, and is called by its ``forward``.

    Attributes
    ----------
    name : str or None
        The name under which a chain holds it.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise
    >>> class Scale(depthwise.Link):
    ...     def __init__(self, channels):
    ...         super().__init__()
    ...         with self.init_scope():
    ...             self.factor = depthwise.Parameter(1.0, (1, channels, 1, 1))
    ...
    ...     def forward(self, x):
    ...         return x * self.factor
    >>> scale = Scale(3)
    >>> scale(np.ones((2, 3, 4, 4), np.float32)).shape
    (2, 3, 4, 4)
    >>> [path for path, _ in scale.namedparams()]
    ['/factor']
    """

    _params: set[str] | None = None
    _within_init_scope = False

    def __init__(self) -> None:
        self._params = set()
        self._persistent: set[str] = set()
        self.name: str | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What `forward` gives."""
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the link computes; a subclass says."""
        msg = f"{type(self).__name__} has no forward"
        raise NotImplementedError(msg)

    @property
    def printable_specs(self) -> Iterator[tuple[str, Any]]:
        """The arguments that repr shows, with their names."""
        return iter(())

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.printable_specs)})"

    @property
    def xp(self) -> Any:
        """The array module: numpy."""
        return np

    # --- what it holds

    def _names(self) -> set[str]:
        if self._params is None:
            msg = f"Link.__init__() has not been called: begin {type(self).__name__}.__init__ with super().__init__()"
            raise RuntimeError(msg)
        return self._params

    def _named_children(self) -> Iterator[tuple[str, Link]]:
        """The links directly under this one; none but in chains."""
        return iter(())

    @property
    def within_init_scope(self) -> bool:
        """Whether attributes that are set now are registered."""
        return self._within_init_scope

    @contextmanager
    def init_scope(self) -> Iterator[None]:
        """Context in which a :class:`Parameter` that is set as an attribute is registered, and in a chain a link."""
        self._names()
        before, self._within_init_scope = self._within_init_scope, True
        try:
            yield
        finally:
            self._within_init_scope = before

    def __setattr__(self, name: str, value: Any) -> None:
        if self._within_init_scope and isinstance(value, Parameter):
            value.name = name
            self._names().add(name)
            self._persistent.discard(name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._names().discard(name)
        self._persistent.discard(name)
        super().__delattr__(name)

    def _check_new(self, kind: str, name: str) -> None:
        if name in self.__dict__:
            msg = f"cannot register a new {kind} {name}: attribute exists"
            raise AttributeError(msg)

    def add_param(self, name: str, shape: Any = None, dtype: Any = np.float32, initializer: Any = None) -> None:
        """Register a new parameter; `dtype` is for one without an initializer, which is NaN."""
        self._check_new("parameter", name)
        with self.init_scope():
            setattr(self, name, Parameter(NaN(dtype) if initializer is None else initializer, shape))

    def add_persistent(self, name: str, value: Any) -> None:
        """Set an attribute that is saved and loaded with the parameters."""
        self._check_new("persistent value", name)
        setattr(self, name, value)
        self.register_persistent(name)

    def register_persistent(self, name: str) -> None:
        """Have an attribute saved and loaded with the parameters."""
        if not hasattr(self, name):
            msg = f"cannot register non-existent attribute {name} as a persistent value"
            raise AttributeError(msg)
        self._names().discard(name)
        self._persistent.add(name)

    def namedparams(self, include_uninit: bool = True) -> Iterator[tuple[str, Parameter]]:
        """("/W", W) and so on, those of links below as "/name/W"; without `include_uninit` those that have arrays."""
        for name in sorted(self._names()):
            parameter = getattr(self, name)
            if include_uninit or parameter.is_initialized:
                yield "/" + name, parameter
        for name, child in self._named_children():
            for path, parameter in child.namedparams(include_uninit):
                yield f"/{name}{path}", parameter

    def params(self, include_uninit: bool = True) -> Iterator[Parameter]:
        """The parameters, of links below too."""
        return (parameter for _, parameter in self.namedparams(include_uninit))

    def namedlinks(self, skipself: bool = False) -> Iterator[tuple[str, Link]]:
        """("/", itself), and the links below as "/name"."""
        if not skipself:
            yield "/", self
        for name, child in self._named_children():
            yield "/" + name, child
            for path, link in child.namedlinks(skipself=True):
                yield f"/{name}{path}", link

    def links(self, skipself: bool = False) -> Iterator[Link]:
        """Itself and the links below."""
        return (link for _, link in self.namedlinks(skipself))

    def children(self) -> Iterator[Link]:
        """The links directly below."""
        return (child for _, child in self._named_children())

    def count_params(self) -> int:
        """Number of elements of the parameters; warns of those that have no array yet."""
        count = 0
        for path, parameter in self.namedparams():
            if parameter.is_initialized:
                count += parameter.size
            else:
                warnings.warn(f"parameter {path} has no array yet and is not counted", stacklevel=2)
        return count

    # --- gradients and updates

    def cleargrads(self) -> None:
        """Forget the gradients of the parameters."""
        for parameter in self.params():
            parameter.cleargrad()

    def zerograds(self) -> None:
        """Give the parameters gradients of zeros; deprecated, as in Chainer: use :meth:`cleargrads`."""
        warnings.warn("zerograds is deprecated: use cleargrads", DeprecationWarning, stacklevel=2)
        for parameter in self.params(include_uninit=False):
            parameter.grad = np.zeros_like(parameter.array)

    def _beside(self, link: Link) -> list[tuple[Parameter, Parameter]]:
        """Its parameters beside those of the same names in another link."""
        others = dict(link.namedparams())
        for path, _ in self.namedparams():
            if path not in others:
                msg = f"{link!r} has no parameter {path}"
                raise ValueError(msg)
        return [(parameter, others[path]) for path, parameter in self.namedparams()]

    def addgrads(self, link: Link) -> None:
        """Add the gradients of another link's parameters to those of its own."""
        for parameter, other in self._beside(link):
            parameter.addgrad(other)

    def copyparams(self, link: Link, copy_persistent: bool = True) -> None:
        """Copy another link's parameters, and its persistent values, into its own."""
        for parameter, other in self._beside(link):
            parameter.copydata(other)
        others = dict(link.namedlinks())
        for path, mine in self.namedlinks() if copy_persistent else ():
            for name in mine._persistent:
                setattr(mine, name, copy.deepcopy(getattr(others[path], name)))

    def _set_update(self, enabled: bool) -> None:
        for parameter in self.params():
            if parameter.update_rule is not None:
                parameter.update_rule.enabled = enabled

    def enable_update(self) -> None:
        """Have the parameters' update rules work; without an optimizer there are none."""
        self._set_update(True)

    def disable_update(self) -> None:
        """Have the parameters' update rules rest; without an optimizer there are none."""
        self._set_update(False)

    @property
    def update_enabled(self) -> bool:
        """Whether the update rule of a parameter works."""
        return any(p.update_rule is not None and p.update_rule.enabled for p in self.params())

    # --- copies and files

    def _copy_children(self) -> None:
        """After a shallow copy: have copies of the children too."""

    def copy(self, mode: str = "share") -> Any:
        """A copy of it and of the links below.

        Parameters
        ----------
        mode : "share", "copy" or "init"
            Its parameters have the same arrays, copies of them, or new ones from their initializers.
        """
        if mode not in ("share", "copy", "init"):
            msg = f'mode must be "share", "copy" or "init", got {mode!r}'
            raise ValueError(msg)
        if mode == "share":
            twin = copy.copy(self)
            twin._params, twin._persistent = set(self._names()), set(self._persistent)
            for name in twin._params:
                parameter = copy.copy(getattr(self, name))
                parameter.cleargrad()
                setattr(twin, name, parameter)
            twin._copy_children()
        else:
            twin = copy.deepcopy(self)
            for parameter in twin.params(include_uninit=False) if mode == "init" else ():
                parameter.initialize(parameter.shape)
        twin.name = None
        return twin

    def repeat(self, n_repeat: int, mode: str = "init") -> Sequential:
        """A :class:`Sequential` of copies; `mode` as in :meth:`copy`."""
        from .chains import Sequential  # which is a Link

        return Sequential(*(self.copy(mode) for _ in range(n_repeat)))

    def _check_loaded(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise ValueError where a parameter that has no array yet cannot have this shape."""

    def serialize(self, serializer: Any) -> None:
        """Save or load it: ``serializer(name, value)`` gives the value to have, ``serializer[name]`` is for a child."""
        for name in sorted(self._names()):
            parameter = getattr(self, name)
            array = serializer(name, parameter.array)
            if array is not None and not parameter.is_initialized:
                self._check_loaded(name, array.shape)
                parameter.initialize(array.shape)
                parameter.array[...] = array
        for name in sorted(self._persistent):
            setattr(self, name, serializer(name, getattr(self, name)))
        for name, child in self._named_children():
            child.serialize(serializer[name])
