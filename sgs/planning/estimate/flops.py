"""The floating-point operations of matrix products, convolutions and attention."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import (
    flop_registry,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

_ATEN = torch.ops.aten


class FlopCount(TorchDispatchMode):
    """Counts like `torch.utils.flop_counter.FlopCounterMode`, and also attention on the CPU.

    A multiplication and an addition count as two. Element-wise operations count nothing.

    Attributes:
        key: What operations are counted under from now on; any hashable value.
        by_key: The operations so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.key: Any = None
        self.by_key: Counter[Any] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation and count it."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is _ATEN._scaled_dot_product_flash_attention_for_cpu.default:
            self.by_key[self.key] += sdpa_flop_count(*(x.shape for x in args[:3]))
        elif func is _ATEN._scaled_dot_product_flash_attention_for_cpu_backward.default:
            self.by_key[self.key] += sdpa_backward_flop_count(*(x.shape for x in args[:4]))
        elif formula := flop_registry.get(func._overloadpacket):
            self.by_key[self.key] += formula(*args, **kwargs, out_val=result)
        return result
