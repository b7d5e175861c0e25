"""Singular spectra of embeddings, and the effective rank that summarises them."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["effective_rank", "singular_values"]


def singular_values(z: Tensor) -> Tensor:
    """Singular values of the embedding matrix, not centred.

    Args:
        z: embeddings, shape (..., n, d), floating point; half precision is computed in float32.

    Returns:
        Shape (..., min(n, d)), in descending order.

    Raises:
        ValueError: if z is not a floating-point tensor of at least two dimensions.
    """
    if not isinstance(z, Tensor) or not z.is_floating_point() or z.ndim < 2:
        described = f"{z.dtype} of shape {tuple(z.shape)}" if isinstance(z, Tensor) else repr(z)
        raise ValueError(f"z must be a floating-point tensor of shape (..., n, d), got {described}")
    return torch.linalg.svdvals(z if z.dtype in (torch.float32, torch.float64) else z.float())


def effective_rank(z: Tensor) -> Tensor:
    r"""Effective rank: the exponential of the entropy of the normalised singular values.

    :math:`\exp(-\sum_l p_l \log p_l)` with :math:`p_l = \sigma_l / \sum_j \sigma_j` (Roy and Vetterli, 2007). It is r
    for r equal non-zero singular values, and between 1 and min(n, d) for every matrix other than zero.

    Args:
        z: embeddings, shape (..., n, d), not centred.

    Returns:
        Shape (...); 0 for a zero matrix.

    Raises:
        ValueError: if z is not a floating-point tensor of at least two dimensions.
    """
    sigma = singular_values(z)
    total = sigma.sum(-1, keepdim=True)
    p = sigma / total.where(total > 0, torch.ones_like(total))
    rank = torch.special.entr(p).sum(-1).exp()
    return rank.where(total.squeeze(-1) > 0, torch.zeros_like(rank))
