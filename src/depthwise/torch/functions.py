"""The functions of ``torch.nn.functional`` that convolve, for tensors whose channels are convolved each alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from .convolution import convolve_axes, convolve_axes_transposed, convolve_each

Ints = int | Sequence[int]


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    activation: str | None = None,
    method: str = "direct",
    padding_mode: str = "zeros",
) -> Tensor:
    """``torch.nn.functional.conv1d`` with ``groups=input.shape[1]``, faster.

    Parameters
    ----------
    input : Tensor of shape (n, c_I, l) or (c_I, l)
        In contiguous memory, or seen through ``transpose(1, 2)`` of an (n, l, c_I) tensor, which are both read in
        place, or of any other strides. The result lies in memory as it does.
    weight : Tensor of shape (c_I * c_M, 1, k)
    padding : int, (int,), "same", "valid" or "causal", default 0
        "causal" puts all ``dilation * (k - 1)`` zeros before the first element: no output sees what comes after it.
    bias, stride, dilation, activation, method, padding_mode
        As :func:`conv2d`, whose notes and errors hold too.

    Returns
    -------
    Tensor of shape (n, c_I * c_M, l_O)

    Examples
    --------
    >>> import torch
    >>> from depthwise.torch import conv1d
    >>> conv1d(torch.ones(1, 2, 5), torch.ones(2, 1, 3), padding="causal")[0, 0]
    tensor([1., 2., 3., 3., 3.])
    """
    return _call(conv1d, 1, input, weight, bias, stride, padding, dilation, activation, method, padding_mode)


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    activation: str | None = None,
    method: str = "direct",
    padding_mode: str = "zeros",
) -> Tensor:
    """``torch.nn.functional.conv2d`` with ``groups=input.shape[1]``, faster.

    Parameters
    ----------
    input : Tensor of shape (n, c_I, h, w) or (c_I, h, w)
        float16, bfloat16, float32 or float64, in contiguous or channels_last memory, which are both read in place, or
        of any other strides.
    weight : Tensor of shape (c_I * c_M, 1, k_H, k_W)
        Of input's dtype; filters c * c_M to (c + 1) * c_M - 1 belong to channel c. With an axis more, of shape
        (n, c_I * c_M, 1, k_H, k_W), each image has filters of its own.
    bias : Tensor of shape (c_I * c_M,), optional
        Of input's dtype.
    stride, dilation : int or pair of ints, default 1
        (vertical, horizontal).
    padding : int, pair of ints, "same" or "valid", default 0
        Zeros on both sides; "same" needs stride 1 and puts an odd one at the end, as in PyTorch.
    activation : str, optional
        "silu" (also "swish"), "relu", "relu6", "hardswish", "gelu" or "gelu_tanh": what ``torch.nn.functional`` has of
        this name, applied to each sum before it is rounded and stored.
    method : {"direct", "fft", "auto"}, default "direct"
        How sums are formed, those of the gradients too, as :func:`depthwise.ops.forward` takes it. It counts where the
        engine convolves.
    padding_mode : {"zeros", "reflect", "replicate", "circular", "symmetric"}, default "zeros"
        What the padding holds, without a padded copy: what ``torch.nn.Conv2d`` has of this name; "symmetric" repeats
        the border itself, too, as :func:`numpy.pad` has it.

    Returns
    -------
    Tensor of shape (n, c_I * c_M, h_O, w_O)
        In channels_last memory where input is. Sums are kept in float32, in float64 for float64, and rounded once.

    Raises
    ------
    RuntimeError, TypeError, ValueError
        PyTorch's own: every argument that the engine does not take is handed to PyTorch's convolution, which computes
        or refuses it. So are tensors on devices other than CPUs and CUDA's GPUs, subclasses of Tensor, and
        forward-mode differentiation. A ValueError or TypeError where there is no such activation, and a ValueError for
        CUDA tensors where `method` is "fft".

    Notes
    -----
    Differentiable to any order; made of operators ``torch.ops.depthwise.*`` with fake implementations and batching
    rules, so that ``torch.compile``, ``torch.export``, ``torch.func`` and ``torch.autocast`` take it as one of
    PyTorch's. ``torch.get_num_threads()`` threads share the work; results have the same bits for any number of them.
    With an activation nothing is stored between the two; the backward pass convolves once more.

    Examples
    --------
    >>> import torch
    >>> from depthwise.torch import conv2d
    >>> conv2d(torch.ones(1, 2, 4, 4), torch.ones(2, 1, 3, 3), padding=1).shape
    torch.Size([1, 2, 4, 4])
    """
    return _call(conv2d, 2, input, weight, bias, stride, padding, dilation, activation, method, padding_mode)


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints | str = 0,
    dilation: Ints = 1,
    activation: str | None = None,
    method: str = "direct",
    padding_mode: str = "zeros",
) -> Tensor:
    """``torch.nn.functional.conv3d`` with ``groups=input.shape[1]``, faster.

    Parameters
    ----------
    input : Tensor of shape (n, c_I, d, h, w) or (c_I, d, h, w)
        In contiguous or channels_last_3d memory, which are both read in place, or of any other strides.
    weight : Tensor of shape (c_I * c_M, 1, k_D, k_H, k_W)
    bias, stride, padding, dilation, activation, method, padding_mode
        As :func:`conv2d`, with three ints for a pair; so are notes and errors.

    Returns
    -------
    Tensor of shape (n, c_I * c_M, d_O, h_O, w_O)

    Examples
    --------
    >>> import torch
    >>> from depthwise.torch import conv3d
    >>> conv3d(torch.ones(1, 2, 4, 6, 6), torch.ones(2, 1, 3, 3, 3), stride=(1, 2, 2)).shape
    torch.Size([1, 2, 2, 2, 2])
    """
    return _call(conv3d, 3, input, weight, bias, stride, padding, dilation, activation, method, padding_mode)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
) -> Tensor:
    """``torch.nn.functional.conv_transpose1d`` with ``groups=input.shape[1]``, faster.

    As :func:`conv_transpose2d`, for an input (n, c_I, l) and a weight (c_I, c_M, k).

    Examples
    --------
    >>> import torch
    >>> from depthwise.torch import conv_transpose1d
    >>> conv_transpose1d(torch.ones(1, 2, 3), torch.ones(2, 1, 3), stride=2)[0, 0]
    tensor([1., 1., 2., 1., 2., 1., 1.])
    """
    return _call_transposed(conv_transpose1d, 1, input, weight, bias, stride, padding, output_padding, dilation)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
) -> Tensor:
    """``torch.nn.functional.conv_transpose2d`` with ``groups=input.shape[1]``, faster.

    Parameters
    ----------
    input : Tensor of shape (n, c_I, h, w) or (c_I, h, w)
        As :func:`conv2d` takes it.
    weight : Tensor of shape (c_I, c_M, k_H, k_W)
        Of input's dtype.
    bias : Tensor of shape (c_I * c_M,), optional
        Of input's dtype.
    stride, padding, output_padding, dilation : int or pair of ints
        As in PyTorch: those of the convolution that this is the transpose of, and how many rows and columns its input
        has that it reads nothing of.

    Returns
    -------
    Tensor of shape (n, c_I * c_M, h_O, w_O)
        ``h_O = (h - 1) * stride - 2 * padding + dilation * (k_H - 1) + output_padding + 1``, and so is w_O.

    Raises
    ------
    RuntimeError, TypeError, ValueError
        PyTorch's own, as for :func:`conv2d`.

    Notes
    -----
    As :func:`conv2d`, of whose operators it is the second.

    Examples
    --------
    >>> import torch
    >>> from depthwise.torch import conv_transpose2d
    >>> conv_transpose2d(torch.ones(1, 2, 4, 4), torch.ones(2, 1, 2, 2), stride=2).shape
    torch.Size([1, 2, 8, 8])
    """
    return _call_transposed(conv_transpose2d, 2, input, weight, bias, stride, padding, output_padding, dilation)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    dilation: Ints = 1,
) -> Tensor:
    """``torch.nn.functional.conv_transpose3d`` with ``groups=input.shape[1]``, faster.

    As :func:`conv_transpose2d`, for an input (n, c_I, d, h, w) and a weight (c_I, c_M, k_D, k_H, k_W).

    Examples
    --------
    >>> import torch
    >>> from depthwise.torch import conv_transpose3d
    >>> conv_transpose3d(torch.ones(1, 2, 2, 4, 4), torch.ones(2, 1, 2, 2, 2), stride=2).shape
    torch.Size([1, 2, 4, 8, 8])
    """
    return _call_transposed(conv_transpose3d, 3, input, weight, bias, stride, padding, output_padding, dilation)


def _channels(input: Any, axes: int) -> int:
    return input.shape[-axes - 1] if isinstance(input, Tensor) and input.dim() > axes else 1


def _call(function: Any, axes: int, input: Any, weight: Any, bias: Any, *rest: Any) -> Tensor:
    if has_torch_function((input, weight, bias)):  # a subclass of Tensor sees the function that was called
        return handle_torch_function(function, (input, weight, bias), input, weight, bias, *rest)  # type: ignore[no-any-return]
    stride, padding, dilation, activation, method, padding_mode = rest
    dims = [a.dim() for a in (input, weight) if isinstance(a, Tensor)]
    if dims == [axes + 2, axes + 3]:
        return convolve_each(axes, input, weight, bias, *rest)
    groups = _channels(input, axes)
    return convolve_axes(axes, input, weight, bias, stride, padding, dilation, groups, activation, method, padding_mode)


def _call_transposed(function: Any, axes: int, input: Any, weight: Any, bias: Any, *rest: Any) -> Tensor:
    if has_torch_function((input, weight, bias)):
        return handle_torch_function(function, (input, weight, bias), input, weight, bias, *rest)  # type: ignore[no-any-return]
    stride, padding, output_padding, dilation = rest
    groups = _channels(input, axes)
    return convolve_axes_transposed(axes, input, weight, bias, stride, padding, output_padding, groups, dilation)
