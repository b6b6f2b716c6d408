"""Matrix products of a training step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

# With fewer columns than this, a matrix product takes up to five times as long as its transpose.
NARROW = 8
# PyTorch multiplies matrices with MKL, which leaves AVX-512 aside on processors of AMD. There oneDNN, which comes with
# PyTorch as well, takes half the time (512 × 128 × 128 on one thread of a Zen 5: 71 µs instead of 144 µs). PyTorch has
# no function for it; this is the operator of compiled linear layers.
ONEDNN = torch.ops.mkldnn._linear_pointwise.default if torch.backends.mkldnn.is_available() else None  # noqa: SLF001
# With fewer rows, columns or terms than this, the call of oneDNN takes longer than the product.
LEAST_SIZE = 16


def product(a: Tensor, b: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Return the product of two matrices in the fastest way; it cannot be differentiated.

    The result is written to `out`, if this is given.
    """
    n_columns = b.shape[1]
    if n_columns < NARROW:
        found = torch.mm(b.T, a.T).T
    elif ONEDNN and a.dtype == torch.float32 and a.device.type == "cpu" and min(*a.shape, n_columns) >= LEAST_SIZE:
        found = ONEDNN(a, b.T, None, "none", [], "")
    else:
        return torch.mm(a, b, out=out)
    return found if out is None else out.copy_(found)
