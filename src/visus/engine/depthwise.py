"""Depthwise convolutions in bfloat16 on a processor, with gradients from the faster kernels of float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Float32Gradients(TorchFunctionMode):
    """Compute, in a forward pass under bfloat16 autocast, slow depthwise convolutions so that gradients are float32.

    The forward pass is the one of autocast, bit by bit.  Backward, oneDNN's kernels of bfloat16 are fast for 3 x 3 with
    a stride of 1, and many times slower than those of float32 for every wider kernel or stride (measured with
    AVX512-BF16: 27 ms against 2 for 96 channels at 56 x 56 with a stride of 2).  A training step of EfficientNet-Lite0
    takes half the time.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run a function of PyTorch, slow depthwise convolutions in our own way."""
        if func is torch.conv2d:
            return _conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """Return what ``torch.conv2d`` returns."""
    depthwise = groups > 1 and weight.shape[1] == 1
    fast = tuple(weight.shape[2:]) == (3, 3) and stride in (1, (1, 1))
    if not depthwise or fast or isinstance(padding, str) or not torch.is_grad_enabled():
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    made: Tensor = _Depthwise.apply(input, weight, bias, _pair(stride), _pair(padding), _pair(dilation), groups)
    return made


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.how, ctx.biases = how, None if bias is None else list(bias.shape)
        return torch.conv2d(input, weight, bias, *how)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        input, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.how
        wanted = [*ctx.needs_input_grad[:2], ctx.biases is not None and ctx.needs_input_grad[2]]
        of_input, of_weight, of_bias = torch.ops.aten.convolution_backward(
            gradients[0].float(), input.float(), weight.float(), ctx.biases, stride, padding, dilation, False, [0, 0],
            groups, wanted,
        )  # fmt: skip
        return of_input.to(input.dtype) if wanted[0] else None, of_weight, of_bias, None, None, None, None


def _pair(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else list(value)
