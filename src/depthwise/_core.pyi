from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

version: str
build: str  # the compiler
methods: dict[str, int]
pad_modes: dict[str, int]
passes: dict[str, int]
dtypes: dict[str, int]
activations: dict[str, int]
Place: TypeAlias = tuple[int, Sequence[int], int]

class Refused(ValueError): ...  # noqa: N818

class Sizes:
    def __init__(
        self,
        batch: int,
        channels: int,
        multiplier: int,
        axes: Sequence[Sequence[int]],
        method: int,
        pad_mode: int,
        whole: Sizes | None = None,
        channels_last: bool = False,
        /,
    ) -> None: ...

class SpectraKeeper:
    def __init__(self) -> None: ...
    def bytes(self) -> int: ...

def run(
    kind: int,
    sizes: Sizes,
    x: Any,
    x_dtype: int,
    W: Any,
    W_dtype: int,
    b: Any,
    b_dtype: int,
    y: Any,
    y_dtype: int,
    target: int,
    threads: int,
    activation: int,
    kept: SpectraKeeper | None,
    /,
) -> None: ...
def activation_grad(
    activation: int,
    z: Any,
    z_dtype: int,
    gy: Any,
    gy_dtype: int,
    gz: Any,
    gz_dtype: int,
    target: int,
    threads: int,
    /,
) -> None: ...
def is_plain(value: object, /) -> bool: ...
def fits(a: Any, dtype: int, /) -> bool: ...

class Block:
    def __init__(self, n_bytes: int, /) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

def cache_limit() -> int: ...
def set_cache_limit(n_bytes: int, /) -> None: ...
def empty_cache() -> None: ...
def kept_memory() -> tuple[int, int, int]: ...
def run_at(
    kind: int,
    sizes: Sizes,
    x: Place,
    W: Place,
    b: Place,
    y: Place,
    target: int,
    threads: int,
    activation: int,
    kept: SpectraKeeper | None,
    /,
) -> None: ...
def causal_update_at(
    sizes: tuple[int, int, int, int, int, int],
    x: Place,
    state: Place,
    W: Place,
    b: Place,
    y: Place,
    starts: tuple[int, int, int],
    rows: tuple[int, int, int],
    target: int,
    threads: int,
    activation: int,
    /,
) -> bool: ...
def describe(
    kind: int,
    sizes: Sizes,
    x_strides: Sequence[int],
    x_dtype: int,
    W_dtype: int,
    y_strides: Sequence[int],
    y_dtype: int,
    target: int,
    threads: int,
    /,
) -> tuple[list[tuple[str, str]], list[tuple[str, float, str]], int, float, float]: ...
def channels_last(strides: Sequence[int], shape: Sequence[int], /) -> bool: ...
def targets() -> list[tuple[str, bool]]: ...
def set_target(target: int, /) -> None: ...
def lanes(target: int, /) -> tuple[int, int]: ...
def executions(target: int, /) -> int: ...
def multiply_add_rate(target: int, float64: bool, threads: int, /) -> float: ...
def copy_rate(n_bytes: int, threads: int, /) -> float: ...
def caches() -> tuple[int, int, int]: ...
def parse_caches(text: str, /) -> tuple[int, int, int]: ...
def numbers() -> list[tuple[str, bool, float]]: ...
def set_number(name: str, value: float, /) -> None: ...
def default_threads() -> int: ...
def cpus_of_quota(text: str, /) -> int: ...
def find_openmp(library: str, /) -> bool: ...
def has_openmp() -> bool: ...
def xla_handler() -> Any: ...
def xla_gpu_handler() -> Any: ...  # where the build has DEPTHWISE_JAX

class GpuError(RuntimeError): ...

def gpu_look_for_nvrtc(paths: list[str]) -> None: ...
def gpu_driver_version() -> int: ...
def gpu_nvrtc_version() -> int: ...
def gpu_launches() -> int: ...
def gpu_cache_folder() -> str: ...
def gpu_sources() -> list[tuple[str, str]]: ...
def gpu_run(
    kind: int,
    sizes: Sizes,
    x: Place,
    W: Place,
    b: Place,
    y: Place,
    activation: int,
    device: int,
    stream: int,
    allocate: Callable[[int], int],
) -> None: ...
def gpu_steps(
    kind: int,
    sizes: Sizes,
    x: Place,
    W: Place,
    b: Place,
    y: Place,
    activation: int,
    multiprocessors: int,
    workspace: int,
) -> tuple[int, list[tuple[str, str, str, int, int, bytes]]]: ...
def gpu_keep(source: str, options: str, architecture: int) -> None: ...
def gpu_compile(source: str, options: str, architecture: int) -> tuple[bytes, str]: ...
