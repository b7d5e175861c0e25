"""Fixed targets for the classes: orthonormal prototypes (Section 4 of the paper) and a simplex ETF to compare with."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["orthonormal", "simplex_etf"]


def orthonormal(num_classes: int, dim: int, generator: torch.Generator | None = None) -> Tensor:
    r"""Orthonormal prototypes, one row a class (claim M1).

    The paper draws ``num_classes`` i.i.d. vectors and takes an orthonormal basis by SVD. Of :math:`A = U S V^\top` we
    return :math:`U V^\top`, the orthonormal rows nearest to the Gaussian rows of A: uniformly distributed, and without
    the ordering by singular value that the rows of :math:`V^\top` alone carry.

    Args:
        num_classes: k, a positive integer.
        dim: dimension of the embeddings, at least k.
        generator: source of randomness; torch's global one if ``None``.

    Returns:
        Shape (num_classes, dim), float32, unit rows with zero inner products. On the generator's device.

    Raises:
        ValueError: if there are more classes than dimensions, or a size is not a positive integer.
    """
    _check_sizes(num_classes, dim, least_dim=num_classes)
    device = generator.device if generator is not None else "cpu"
    gaussian = torch.randn(num_classes, dim, generator=generator, device=device, dtype=torch.float64)
    u, _, vh = torch.linalg.svd(gaussian, full_matrices=False)
    return (u @ vh).float()


def simplex_etf(num_classes: int, dim: int, generator: torch.Generator | None = None) -> Tensor:
    r"""A randomly rotated simplex equiangular tight frame: unit rows with cosines :math:`-1/(k-1)` and zero mean.

    Args:
        num_classes: k, an integer of at least 2.
        dim: dimension of the embeddings, at least k - 1.
        generator: source of randomness; torch's global one if ``None``.

    Returns:
        Shape (num_classes, dim), float32. On the generator's device.

    Raises:
        ValueError: if ``dim < num_classes - 1``, there are fewer than 2 classes, or a size is not a positive integer.
    """
    _check_sizes(num_classes, dim, least_dim=num_classes - 1 if isinstance(num_classes, int) else 0)
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2 for a simplex, got {num_classes}")
    device = generator.device if generator is not None else "cpu"
    # Vertices in their own k - 1 dimensions: an orthonormal basis of the complement of the all-ones vector.
    centring = torch.eye(num_classes, dtype=torch.float64, device=device) - 1 / num_classes
    basis = torch.linalg.eigh(centring).eigenvectors[:, 1:]  # (k, k - 1)
    vertices = basis * (num_classes / (num_classes - 1)) ** 0.5
    rotation = torch.randn(num_classes - 1, dim, generator=generator, device=device, dtype=torch.float64)
    u, _, vh = torch.linalg.svd(rotation, full_matrices=False)
    return (vertices @ (u @ vh)).float()


def _check_sizes(num_classes: int, dim: int, least_dim: int) -> None:
    for name, value in (("num_classes", num_classes), ("dim", dim)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")
    if dim < least_dim:
        raise ValueError(f"dim must be at least {least_dim} for {num_classes} classes, got {dim}")
