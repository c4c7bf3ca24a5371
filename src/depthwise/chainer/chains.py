"""Links that hold links: by name, in a list, or one after the other."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, MutableSequence, Sequence
from typing import Any

from .link import Link

__all__ = ["Chain", "ChainList", "Sequential"]


class _Composite(Link):
    def __repr__(self) -> str:
        rows = [textwrap.indent(f"({name}): {item!r},\n", "  ") for name, item in self._shown()]
        return f"{type(self).__name__}({chr(10) if rows else ''}{''.join(rows)})"

    def _shown(self) -> Iterable[tuple[Any, Any]]:
        return self._named_children()


class Chain(_Composite):
    """Links by name: ``chainer.Chain``. A subclass sets them in ``init_scope`` and calls them in ``forward``.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise
    >>> import depthwise.functions as F
    >>> import depthwise.links as L
    >>> class Block(depthwise.Chain):
    ...     def __init__(self):
    ...         super().__init__()
    ...         with self.init_scope():
    ...             self.dw = L.DepthwiseConvolution2D(None, 1, 3, pad=1)
    ...
    ...     def forward(self, x):
    ...         return x + F.relu(self.dw(x))
    >>> block = Block()
    >>> block(np.ones((1, 4, 8, 8), np.float32)).shape
    (1, 4, 8, 8)
    >>> [path for path, _ in block.namedparams()]
    ['/dw/W', '/dw/b']
    """

    _children: set[str] = frozenset()  # type: ignore[assignment] # before __init__

    def __init__(self, **links: Link) -> None:
        super().__init__()
        self._children = set()
        for name, link in links.items():
            self.add_link(name, link)

    def _named_children(self) -> Iterator[tuple[str, Link]]:
        return ((name, getattr(self, name)) for name in sorted(self._children))

    def __getitem__(self, name: str) -> Any:
        """The attribute of that name."""
        return getattr(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if self.within_init_scope and isinstance(value, Link):
            if hasattr(self, name):
                msg = f"cannot register a new link {name}: attribute exists"
                raise AttributeError(msg)
            value.name = name
            self._children.add(name)
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        self._children.discard(name)
        super().__delattr__(name)

    def add_link(self, name: str, link: Link) -> None:
        """Hold a link under a new name."""
        self._check_new("link", name)
        if not isinstance(link, Link):
            msg = f"{name} must be a Link, got {type(link).__name__}"
            raise TypeError(msg)
        with self.init_scope():
            setattr(self, name, link)

    def _copy_children(self) -> None:
        self._children = set(self._children)
        for name, child in self._named_children():
            twin = child.copy()
            twin.name = name
            setattr(self, name, twin)


class ChainList(_Composite, MutableSequence[Any]):
    """A list of links: ``chainer.ChainList``. Their names are "0", "1" and so on.

    Examples
    --------
    >>> import depthwise
    >>> import depthwise.links as L
    >>> chain = depthwise.ChainList(*(L.DepthwiseConvolution2D(3, 1, 3, nobias=True) for _ in range(2)))
    >>> [path for path, _ in chain.namedparams()]
    ['/0/W', '/1/W']
    """

    _items: Sequence[Any] = ()

    def __init__(self, *links: Any) -> None:
        super().__init__()
        self._items = []
        self.extend(links)

    def _check_item(self, item: Any) -> None:
        self._names()  # raises where __init__ has not been called
        if not isinstance(item, Link):
            msg = f"a {type(self).__name__} holds links, got {type(item).__name__}"
            raise TypeError(msg)

    def _named_children(self) -> Iterator[tuple[str, Link]]:
        return ((str(i), link) for i, link in enumerate(item for item in self._items if isinstance(item, Link)))

    def _shown(self) -> Iterable[tuple[Any, Any]]:
        return enumerate(self._items)

    def _set(self, items: list[Any]) -> None:
        for item in items:
            self._check_item(item)
        self._items = items
        for name, child in self._named_children():
            child.name = name

    def __setattr__(self, name: str, value: Any) -> None:
        if self.within_init_scope and isinstance(value, Link):
            msg = f"a {type(self).__name__} takes links by append or add_link, not as attributes"
            raise TypeError(msg)
        super().__setattr__(name, value)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        items = list(self._items)
        items[index] = value
        self._set(items)

    def __delitem__(self, index: Any) -> None:
        items = list(self._items)
        del items[index]
        self._set(items)

    def insert(self, index: int, value: Any) -> None:
        """Put a link before another."""
        items = list(self._items)
        items.insert(index, value)
        self._set(items)

    def add_link(self, link: Any) -> None:
        """Put a link at the end."""
        self.append(link)

    def _copy_children(self) -> None:
        self._set([item.copy() if isinstance(item, Link) else item for item in self._items])


class Sequential(ChainList):
    """Links and functions, of which each takes what the one before gives: ``chainer.Sequential``.

    Names count the links alone.

    Examples
    --------
    >>> import numpy as np
    >>> import depthwise
    >>> import depthwise.functions as F
    >>> import depthwise.links as L
    >>> model = depthwise.Sequential(L.DepthwiseConvolution2D(None, 2, 3), F.relu, L.DepthwiseConvolution2D(None, 1, 3))
    >>> model(np.ones((1, 4, 8, 8), np.float32)).shape
    (1, 8, 4, 4)
    >>> [path for path, _ in model.namedparams()]
    ['/0/W', '/0/b', '/1/W', '/1/b']
    """

    def _check_item(self, item: Callable[..., Any]) -> None:
        if not callable(item):
            msg = f"a {type(self).__name__} holds links and functions, got {type(item).__name__}"
            raise TypeError(msg)

    def forward(self, *args: Any) -> Any:
        """What the last gives; a tuple is the next one's arguments."""
        if not self._items:
            msg = f"this {type(self).__name__} is empty"
            raise RuntimeError(msg)
        x: Any = args
        for item in self._items:
            x = item(*x) if isinstance(x, tuple) else item(x)
        return x

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            return NotImplemented
        return Sequential(*self, *other)
