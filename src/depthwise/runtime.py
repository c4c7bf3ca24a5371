"""How the engine runs: with which instruction set, how many threads and how much memory kept."""

from __future__ import annotations

import os
from contextvars import ContextVar
from operator import index
from typing import Any

from . import _core

_compiled = _core.targets()
_runnable = {name: i for i, (name, supported) in enumerate(_compiled) if supported}
_target: int | None = None
_threads: int | None = None
_MOST_BYTES = 1 << 59
_threads_here: ContextVar[int | None] = ContextVar("depthwise_threads", default=None)


def targets() -> tuple[str, ...]:
    """Names of the compiled instruction sets that this CPU can run, best first.

    Returns
    -------
    tuple of str
        A subset of "avx512", "avx2", "sse4", "neon", "scalar".

    Examples
    --------
    >>> import depthwise
    >>> depthwise.targets()[-1]
    'scalar'
    """
    return tuple(_runnable)


def _find_target(name: object, source: str) -> int:
    if not isinstance(name, str):
        msg = f"{source} must be a str, got {name!r}"
        raise TypeError(msg)
    if name not in _runnable:
        known = "is not supported by this CPU" if name in dict(_compiled) else "is not a compiled target"
        msg = f"{source}: {name!r} {known}; it can run {', '.join(_runnable)}"
        raise ValueError(msg)
    return _runnable[name]


def active_target() -> int:
    """Index of the target that runs now: a forced one, else the best."""
    if _target is None:
        _core.caches()  # where DEPTHWISE_CACHES is malformed, this says so
        _core.cache_limit()  # and this where DEPTHWISE_CACHE_LIMIT is
        forced = os.environ.get("DEPTHWISE_TARGET")
        return _activate(_find_target(forced, "DEPTHWISE_TARGET") if forced else next(iter(_runnable.values())))
    return _target


def _activate(target: int) -> int:
    """Make a target the active one, for Python's calls and for those that come from XLA."""
    global _target
    _core.set_target(target)
    _target = target
    return target


class use_target:  # noqa: N801 - reads as a function
    """Force one instruction set for the whole process, from now on or for a ``with`` block.

    Parameters
    ----------
    name : str
        One of :func:`depthwise.targets`.

    Raises
    ------
    ValueError
        `name` was not compiled or cannot run on this CPU.

    Notes
    -----
    The environment variable ``DEPTHWISE_TARGET`` does the same from the start.

    Examples
    --------
    >>> import depthwise
    >>> with depthwise.use_target("scalar"):
    ...     depthwise.explain((1, 2, 8, 8), (1, 2, 3, 3))["target"]
    'scalar'
    """

    def __init__(self, name: str) -> None:
        found = _find_target(name, "target")
        self._before = active_target()
        _activate(found)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        _activate(self._before)


def _thread_count(n: Any) -> int:
    try:
        count = index(n)
    except TypeError:
        msg = f"the number of threads must be an int, got {n!r}"
        raise TypeError(msg) from None
    if not 1 <= count <= 4096:
        msg = f"the number of threads must be in 1..4096, got {n}"
        raise ValueError(msg)
    return count


def get_num_threads() -> int:
    """Most threads that a call may use.

    The innermost :class:`depthwise.threads`, else :func:`depthwise.set_num_threads`, else ``DEPTHWISE_NUM_THREADS``,
    else ``OMP_NUM_THREADS``, else the CPUs that this process may use. Small problems use fewer.

    Returns
    -------
    int
    """
    global _threads
    here = _threads_here.get()
    if here is not None:
        return here
    if _threads is None:
        _threads = _core.default_threads()
    return _threads


def set_num_threads(n: int) -> None:
    """Set the most threads that a call may use, for the whole process. Results do not depend on it, bit for bit.

    Parameters
    ----------
    n : int
        At least 1.
    """
    global _threads
    _threads = _thread_count(n)


class threads:  # noqa: N801 - reads as a function
    """Limit the threads of the calls in a ``with`` block of this Python thread.

    Parameters
    ----------
    n : int
        At least 1.

    Examples
    --------
    >>> import depthwise
    >>> with depthwise.threads(1):
    ...     depthwise.get_num_threads()
    1
    """

    def __init__(self, n: int) -> None:
        self._n = _thread_count(n)
        self._tokens: list[Any] = []

    def __enter__(self) -> None:
        self._tokens.append(_threads_here.set(self._n))

    def __exit__(self, *exc: object) -> None:
        _threads_here.reset(self._tokens.pop())


def get_cache_limit() -> int:
    """Most bytes of freed results that are kept for the next ones.

    Returns
    -------
    int
        256 MiB where neither :func:`depthwise.set_cache_limit` nor ``DEPTHWISE_CACHE_LIMIT`` says otherwise.
    """
    return _core.cache_limit()


def set_cache_limit(n_bytes: int) -> None:
    """Set the most bytes of freed results that are kept, for the whole process; what is beyond is freed at once.

    Parameters
    ----------
    n_bytes : int
        0 for none: each result then has memory of its own, which is freed with it.

    Notes
    -----
    At most 32 blocks are kept, each of at least 32 KiB. Of what exceeds 64 MiB the system may take what it needs.
    The environment variable ``DEPTHWISE_CACHE_LIMIT`` does the same from the start: ``DEPTHWISE_CACHE_LIMIT=1G``. It is
    about NumPy's results alone: those of PyTorch and JAX are in memory of their own.

    Examples
    --------
    >>> import depthwise
    >>> before = depthwise.get_cache_limit()
    >>> depthwise.set_cache_limit(64 << 20)
    >>> depthwise.get_cache_limit()
    67108864
    >>> depthwise.set_cache_limit(before)
    """
    try:
        limit = index(n_bytes)
    except TypeError:
        msg = f"the cache's limit must be an int, got {n_bytes!r}"
        raise TypeError(msg) from None
    if not 0 <= limit <= _MOST_BYTES:
        msg = f"the cache's limit must be in 0..2**59 bytes, got {n_bytes}"
        raise ValueError(msg)
    _core.set_cache_limit(limit)


def empty_cache() -> None:
    """Free the memory of results that is kept for the next ones. Arrays that are in use are not touched."""
    _core.empty_cache()
