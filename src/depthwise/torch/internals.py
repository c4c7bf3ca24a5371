"""What this adapter needs of PyTorch beyond its public functions: the one file to look at where a new version moves it.

Each private name has a public one in its stead, which is taken where the private one is missing: slower, or narrower,
not wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function, forward_ad
from torch.compiler import is_compiling as _is_compiling
from torch.jit import is_tracing as _is_tracing

Rule = Callable[..., Any]

try:
    from torch._C import _are_functorch_transforms_active, _AutoDispatchBelowAutograd
    from torch._functorch.autograd_function import enable_single_level_autograd_function

    super(Function, Function).apply, forward_ad._current_level  # type: ignore[misc]
    IN_DISPATCHER = True
except (ImportError, AttributeError):
    IN_DISPATCHER = False

try:
    from torch._C import _len_torch_dispatch_stack
except ImportError:
    _len_torch_dispatch_stack = None  # type: ignore[assignment]

# What a layer calls with (input, weight, bias), or its public method, called with the input.
HOOK = "_conv_forward" if hasattr(nn.Conv2d, "_conv_forward") else "forward"

_library = torch.library.Library("depthwise", "FRAGMENT")


def differentiable(op: Any, context: Rule, backward: Rule, vmap: Rule) -> Rule:
    """`op`, whose derivative is `backward` of what `context(ctx, *args)` keeps, or a function in its place."""
    return (_record_in_dispatcher if IN_DISPATCHER else _record_around_dispatcher)(op, context, backward, vmap)


def _record_in_dispatcher(op: Any, context: Rule, backward: Rule, vmap: Rule) -> Rule:
    """`op` with a kernel for autograd.

    In place of torch.library.register_autograd, which torch.func.grad refuses and which costs 40 us more a call.
    """

    def forward(ctx: Any, *args: Any) -> Any:
        context(ctx, *args)
        # With grad for an outer transform of torch.func, which records for itself.
        with torch.enable_grad(), _AutoDispatchBelowAutograd():
            return op(*args)

    # Function.apply without its detours: the dispatcher has already seen to what they are for.
    record = super(Function, _function(op, forward=forward, backward=backward)).apply  # type: ignore[misc]

    def with_graph(*args: Any) -> Any:
        if torch.is_grad_enabled():
            for a in args[:3]:
                if isinstance(a, Tensor) and a.requires_grad:
                    if _are_functorch_transforms_active():
                        with enable_single_level_autograd_function():
                            return record(*args)
                    return record(*args)
        with _AutoDispatchBelowAutograd():
            return op(*args)

    _library.impl(op, with_graph, "Autograd")
    return op  # type: ignore[no-any-return]


def _record_around_dispatcher(op: Any, context: Rule, backward: Rule, vmap: Rule) -> Rule:
    """A function for all of torch.func; `op` itself, which the compiler has, is differentiable in reverse alone."""

    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        context(ctx, *inputs)

    def setup_both(ctx: Any, inputs: Any, output: Any) -> None:
        context(ctx, *inputs)
        ctx.save_for_forward(*inputs[:2])
        ctx.others = [None if isinstance(a, Tensor) else a for a in inputs[2:]]

    def jvp(ctx: Any, first: Any, second: Any, bias: Any, *_: Any) -> Any:
        a, b = ctx.saved_tensors
        terms = [] if first is None else [call(first, b, *ctx.others)]
        terms += [] if second is None else [call(a, second, *ctx.others)]
        return sum(terms, 0 if bias is None else bias.reshape(-1, *[1] * (a.dim() - 2)))

    def call(*args: Any) -> Any:
        return op(*args) if torch.compiler.is_compiling() else function.apply(*args)

    torch.library.register_autograd(op, backward, setup_context=setup_context)
    function = _function(op, forward=op, setup_context=setup_both, backward=backward, vmap=vmap, jvp=jvp)
    return call


def _function(op: Any, **methods: Rule) -> Any:
    return type(op.name(), (Function,), {name: staticmethod(f) for name, f in methods.items()})


def sees_operators() -> bool:
    """Whether someone may want to see each operator that runs: a compiler, a tracer, a mode, a transform."""
    return (
        not IN_DISPATCHER
        or _len_torch_dispatch_stack is None
        or _is_compiling()
        or _len_torch_dispatch_stack() > 0
        or _are_functorch_transforms_active()
        or _is_tracing()
    )


def is_forward_mode() -> bool:
    """Whether something is differentiated in forward mode, which is then PyTorch's convolution's."""
    return IN_DISPATCHER and forward_ad._current_level >= 0


def border(layer: Any) -> list[int]:
    """How far a layer with a padding mode pads, last axis first, as torch.nn.functional.pad takes it."""
    private = getattr(layer, "_reversed_padding_repeated_twice", None)
    return _border_of_padding(layer) if private is None else list(private)


def _border_of_padding(layer: Any) -> list[int]:
    """The same from its attribute `padding`, which may have been set since it was made."""
    sides = []
    for axis in reversed(range(len(layer.kernel_size))):
        if isinstance(layer.padding, str):
            total = 0 if layer.padding == "valid" else layer.dilation[axis] * (layer.kernel_size[axis] - 1)
            before = total if layer.padding == "causal" else total // 2
            sides += [before, total - before]
        else:
            sides += [layer.padding[axis]] * 2
    return sides


def pads_by_its_padding(layer: Any) -> bool:
    """False where PyTorch pads by what a layer was made with, and its padding was set since."""
    return layer.padding_mode == "zeros" or border(layer) == _border_of_padding(layer)
