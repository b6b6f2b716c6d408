"""Matrix products of a training step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

# With fewer columns than this, a matrix product takes up to five times as long as its transpose.
NARROW = 8
# With fewer rows, columns or terms than this, the call of oneDNN takes longer than the product.
LEAST_SIZE = 16


def find_onednn() -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return the product of oneDNN, or None if this version of PyTorch does not have it.

    PyTorch multiplies matrices with MKL, which does not use AVX-512 on AMD processors. There, oneDNN, which comes with
    PyTorch as well, takes half the time (512 × 128 × 128 on one thread of a Zen 5: 71 µs instead of 144 µs). The only
    way to it is a private operator for compiled linear layers, which other versions may lack or define differently. So
    it is tried on a small product first.
    """
    try:
        operator = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001

        def multiply(a: Tensor, b: Tensor) -> Tensor:
            return operator(a, b.T, None, "none", [], "")

        a, b = torch.arange(18, dtype=torch.float32, device="cpu").view(6, 3).split([2, 4])
        return multiply if torch.equal(multiply(a, b.T), torch.mm(a, b.T)) else None
    except (AttributeError, RuntimeError, TypeError):
        return None


ONEDNN = find_onednn()


def product(a: Tensor, b: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Return the product of two matrices in the fastest way; it cannot be differentiated.

    The result is written to `out`, if this is given.
    """
    n_columns = b.shape[1]
    if n_columns < NARROW:
        found = torch.mm(b.T, a.T).T
    elif ONEDNN and a.dtype == torch.float32 and a.device.type == "cpu" and min(*a.shape, n_columns) >= LEAST_SIZE:
        found = ONEDNN(a, b)
    else:
        return torch.mm(a, b, out=out)
    return found if out is None else out.copy_(found)
