r"""Contrastive losses, their non-contrastive peers, and the CLOP term.

Conventions, the same for every function here:

- ``z0`` and ``z1`` are the embeddings of two views, both of shape (N, d), row i of each belonging to sample i;
  ``labels`` has shape (N,), dtype int64, and -1 marks an unlabelled sample.
- The contrastive losses (:func:`info_nce`, :func:`dcl`, :func:`sup_con`) normalise their inputs themselves and
  return the **mean over the 2N anchors**, both directions counted, **without** the factor
  :math:`\tau / \tau_\text{base}` of some public code. The papers print sums: divide by 2N to compare.
- :func:`vicreg` and :func:`barlow_twins` take unnormalised embeddings.
- Autocast is switched off inside; half precision is computed in float32 and float64 stays float64.
- Everything is per process: nothing is gathered across devices, so under data parallelism the negatives (and the
  batch statistics) are those of the local batch.
- Bad input raises ``ValueError``. Shapes, types and temperatures are checked always. The *values* of labels are
  checked on the CPU only: reading them from an accelerator would wait for it, and under ``torch.compile`` or
  ``torch.func`` there are no values to read. There the caller has to see to it that they are in range.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import forward_ad

__all__ = ["CLOPLoss", "barlow_twins", "clop", "dcl", "info_nce", "sup_con", "vicreg"]

# info_nce runs in row chunks when its 2N x 2N logits have more entries than this.
CHUNK_ABOVE = 1024 * 1024
# Entries of one chunk's block of logits: 4 MiB of float32.
CHUNK_ENTRIES = 2**20


def info_nce(z0: Tensor, z1: Tensor, temperature: float = 0.5) -> Tensor:
    r"""InfoNCE over two views, also called NT-Xent.

    With :math:`z_1, \dots, z_{2N}` the unit embeddings of both views and :math:`j(i)` the other view of :math:`i`,

    .. math::
        \mathcal L = -\frac{1}{2N} \sum_{i=1}^{2N}
            \log \frac{\exp(z_i^\top z_{j(i)} / \tau)}{\sum_{a \neq i} \exp(z_i^\top z_a / \tau)} .

    The paper's Eq. (1) is the same without the factor 1/(2N). At exact collapse the value is ln(2N - 1) and the
    gradient is zero.

    Above 2N = 1024 rows the logits are formed in row chunks, never all at once: same value, same gradient, a
    fraction of the memory. Under ``torch.compile`` and ``torch.func`` the plain form runs at every size, and so it
    does for second derivatives.

    Args:
        z0: Embeddings of the first view, (N, d), N >= 2.
        z1: Embeddings of the second view, (N, d).
        temperature: :math:`\tau > 0`.

    Returns:
        Scalar, the mean over the 2N anchors.

    Raises:
        ValueError: If the shapes differ or are not (N, d) with N >= 2, if the inputs are not floating point, or if
            the temperature is not a positive number.

    Source: van den Oord et al. 2018 (arXiv 1807.03748); in this form Chen et al. 2020, SimCLR (arXiv 2002.05709).
    """
    _check_views(z0, z1)
    _check_temperature(temperature)
    with _autocast_off(z0):
        z = _unit_views(z0, z1)
        if z.shape[0] ** 2 <= CHUNK_ABOVE or _transformed(z):
            return _nt_xent(z, temperature)
        return _ChunkedNTXent.apply(z, temperature)


def _nt_xent(z: Tensor, temperature: float) -> Tensor:
    """InfoNCE of unit rows, z (2N, d): the plain form, and the reference for the chunked one."""
    logits = (z / temperature) @ z.T  # (2N, 2N)
    logits.diagonal().fill_(-math.inf)  # fill_diagonal_ has no rule for vmap
    other_view = torch.arange(z.shape[0], device=z.device).roll(z.shape[0] // 2)
    return F.cross_entropy(logits, other_view)


class _ChunkedNTXent(torch.autograd.Function):
    r"""``_nt_xent`` in blocks of rows; the gradient is accumulated while a block is at hand.

    With P the row softmax and Y the ones at the other views, the gradient is
    :math:`((P - Y) + (P - Y)^\top) z / (2N\tau)`.
    """

    @staticmethod
    def forward(ctx, z: Tensor, temperature: float) -> Tensor:  # type: ignore[no-untyped-def]
        rows = z.shape[0]
        size = min(rows, max(1, CHUNK_ENTRIES // rows))
        scaled = z / temperature
        block = z.new_empty(size, rows)  # reused: fresh memory costs page faults
        log_p = torch.empty_like(block)
        total = z.new_zeros(())
        gradient = torch.zeros_like(z) if ctx.needs_input_grad[0] else None
        for start in range(0, rows, size):
            here = torch.arange(start, min(start + size, rows), device=z.device)
            part, local, other = z[start : start + size], here - start, (here + rows // 2) % rows
            if len(part) < len(block):
                block, log_p = block[: len(part)], log_p[: len(part)]
            torch.mm(scaled[start : start + size], z.T, out=block)  # (size, 2N)
            block[local, here] = -math.inf
            torch.log_softmax(block, 1, out=log_p)
            total -= log_p[local, other].sum()
            if gradient is not None:
                p = log_p.exp_()
                p[local, other] -= 1
                gradient[start : start + size].addmm_(p, z)
                gradient.addmm_(p.T, part)
        ctx.temperature = temperature
        if gradient is not None:
            ctx.save_for_backward(z, gradient.div_(rows * temperature))
        return total / rows

    @staticmethod
    def backward(ctx, upstream: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def, override]
        z, gradient = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return upstream * gradient, None
        # create_graph=True: the gradient itself must be differentiable, which the plain form's is.
        with _autocast_off(z):
            (again,) = torch.autograd.grad(_nt_xent(z, ctx.temperature), z, upstream, create_graph=True)
        return again, None


def dcl(z0: Tensor, z1: Tensor, temperature: float = 0.5) -> Tensor:
    r"""Decoupled contrastive learning: InfoNCE with the positive pair taken out of the denominator.

    .. math::
        \mathcal L = \frac{1}{2N} \sum_{i=1}^{2N} \Big[ -z_i^\top z_{j(i)} / \tau
            + \log \sum_{a \notin \{i, j(i)\}} \exp(z_i^\top z_a / \tau) \Big] .

    The unweighted form. The authors' training code adds the two directions, which is twice this.

    Args:
        z0: Embeddings of the first view, (N, d), N >= 2.
        z1: Embeddings of the second view, (N, d).
        temperature: :math:`\tau > 0`.

    Returns:
        Scalar, the mean over the 2N anchors.

    Raises:
        ValueError: As :func:`info_nce`.

    Source: Yeh et al. 2022, Eq. (6) without weights (arXiv 2110.06848).
    """
    _check_views(z0, z1)
    _check_temperature(temperature)
    with _autocast_off(z0):
        z = _unit_views(z0, z1)
        n = z.shape[0] // 2
        positives = (z[:n] * z[n:]).sum(1).mean() / temperature  # symmetric: both directions have the same
        pair = torch.eye(n, dtype=torch.bool, device=z.device).tile(2, 2)  # (2N, 2N): the row itself and its other view
        logits = ((z / temperature) @ z.T).masked_fill_(pair, -math.inf)
        return logits.logsumexp(1).mean() - positives


def sup_con(z0: Tensor, z1: Tensor, labels: Tensor, temperature: float = 0.5) -> Tensor:
    r"""Supervised contrastive loss, the form with the sum outside the logarithm (:math:`\mathcal L_\text{out}`).

    .. math::
        \mathcal L = \frac{1}{2N} \sum_{i=1}^{2N} \frac{-1}{|P(i)|} \sum_{p \in P(i)}
            \log \frac{\exp(z_i^\top z_p / \tau)}{\sum_{a \neq i} \exp(z_i^\top z_a / \tau)}

    :math:`P(i)` holds every other row of the class of :math:`i`, in both views. **A row labelled -1 has its other
    view as its only positive**; it stays among the negatives of all other rows. So with no label at all this is
    :func:`info_nce`. Khosla et al. multiply by :math:`\tau / 0.07` in their code; here no such factor stands.

    Since :math:`|P(i)|^{-1} \sum_p z_i^\top z_p` needs only the sum of a class's embeddings, no 2N x 2N mask is made.

    Args:
        z0: Embeddings of the first view, (N, d), N >= 2.
        z1: Embeddings of the second view, (N, d).
        labels: Class of each sample, (N,) int64, -1 for unlabelled.
        temperature: :math:`\tau > 0`.

    Returns:
        Scalar, the mean over the 2N anchors.

    Raises:
        ValueError: As :func:`info_nce`, and if the labels are not (N,) int64 on the embeddings' device or are
            below -1 (values: CPU only, see the module's docstring).

    Source: Khosla et al. 2020, Eq. (2) (arXiv 2004.11362).
    """
    _check_views(z0, z1)
    _check_temperature(temperature)
    _check_labels(labels, z0)
    with _autocast_off(z0):
        z = _unit_views(z0, z1)
        n = z.shape[0] // 2
        same = (labels[:, None] == labels) & (labels >= 0)  # (N, N)
        same = (same | torch.eye(n, dtype=torch.bool, device=z.device)).to(z.dtype)
        class_sum = same @ (z[:n] + z[n:])  # (N, d), the anchor itself included
        positives = 2 * same.sum(1) - 1  # (N,), |P(i)|
        attraction = (z * (class_sum.tile(2, 1) - z)).sum(1) / positives.tile(2)  # (2N,)
        logits = (z / temperature) @ z.T  # (2N, 2N)
        logits.diagonal().fill_(-math.inf)  # fill_diagonal_ has no rule for vmap
        return (logits.logsumexp(1) - attraction / temperature).mean()


def vicreg(
    z0: Tensor,
    z1: Tensor,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
) -> Tensor:
    r"""VICReg with the normalisation of the authors' code.

    .. math::
        \mathcal L = \lambda \frac{\lVert z_0 - z_1 \rVert_F^2}{Nd}
            + \frac{\mu}{2} \sum_{v} \frac1d \sum_{j=1}^d
              \max\big(0, 1 - \sqrt{\operatorname{Var}(z_{v,j}) + 10^{-4}}\big)
            + \nu \sum_{v} \frac1d \sum_{i \neq j} [\operatorname{Cov}(z_v)]_{ij}^2

    Variance and covariance are the unbiased ones (N - 1), v runs over the two views. The 1/d of the invariance
    term and the 1/2 of the variance term are those of the authors' code; the 1/2 shows only where a feature's
    standard deviation is below 1.

    Args:
        z0: Embeddings of the first view, (N, d), N >= 2, not normalised.
        z1: Embeddings of the second view, (N, d), not normalised.
        invariance_weight: :math:`\lambda`.
        variance_weight: :math:`\mu`.
        covariance_weight: :math:`\nu`.

    Returns:
        Scalar.

    Raises:
        ValueError: If the shapes differ or are not (N, d) with N >= 2, or the inputs are not floating point.

    Source: Bardes, Ponce and LeCun 2022 (arXiv 2105.04906), github.com/facebookresearch/vicreg.
    """
    _check_views(z0, z1)
    with _autocast_off(z0):
        z0, z1 = _promote(z0, z1)
        n, d = z0.shape
        invariance = F.mse_loss(z0, z1)  # first, so that its gradients come last and are not held through the others
        variance, covariance = z0.new_zeros(()), z0.new_zeros(())
        for z in (z0, z1):
            z = z - z.mean(0)
            cov = z.T @ z / (n - 1)  # (d, d)
            variance = variance + F.relu(1 - (cov.diagonal() + 1e-4).sqrt()).mean() / 2
            covariance = covariance + _off_diagonal(cov).square().sum() / d
        return invariance_weight * invariance + variance_weight * variance + covariance_weight * covariance


def barlow_twins(z0: Tensor, z1: Tensor, redundancy_weight: float = 5e-3) -> Tensor:
    r"""Barlow Twins at the scale of the paper (the authors' code at scale 1).

    With :math:`C` the d x d cross-correlation of the two views over the batch,

    .. math::
        \mathcal L = \sum_i (1 - C_{ii})^2 + \lambda \sum_{i \neq j} C_{ij}^2 .

    Each feature is standardised over the batch as batch normalisation does it: biased variance plus
    :math:`10^{-5}`. So the loss does not change when a feature is shifted or rescaled by a positive factor, as
    long as its variance is large against :math:`10^{-5}`. It is a sum over features: its size grows with d.

    Args:
        z0: Embeddings of the first view, (N, d), N >= 2, not normalised.
        z1: Embeddings of the second view, (N, d), not normalised.
        redundancy_weight: :math:`\lambda`.

    Returns:
        Scalar.

    Raises:
        ValueError: As :func:`vicreg`.

    Source: Zbontar et al. 2021, Eq. (1) and (2) (arXiv 2103.03230), github.com/facebookresearch/barlowtwins.
    """
    _check_views(z0, z1)
    with _autocast_off(z0):
        z0, z1 = _promote(z0, z1)
        z0, z1 = (F.batch_norm(z, None, None, training=True) for z in (z0, z1))
        c = z0.T @ z1 / z0.shape[0]  # (d, d)
        invariance = (c.diagonal() - 1).square().sum()
        return invariance + redundancy_weight * _off_diagonal(c).square().sum()


def clop(z: Tensor, labels: Tensor, prototypes: Tensor) -> Tensor:
    r"""The CLOP term: labelled embeddings are pulled to the prototype of their class.

    With :math:`S` the labelled rows of the batch and :math:`c_1, \dots, c_k` the prototypes,

    .. math::
        \mathcal L = \frac{1}{|S|} \sum_{i \in S} \big(1 - \cos(z_i, c_{y_i})\big) .

    The paper's Eq. (4) prints

    .. math::
        \mathcal L_\text{CLOP} = \mathcal L_\text{CL} + \lambda \sum_{i=1}^{|S|} \big(1 - s(z_i, c_{y_i})\big),

    a **sum** over the labelled samples beside a contrastive loss that Eq. (1) prints as a sum too; here both are
    means, as in the authors' code. What that does to :math:`\lambda`: the printed objective divided by 2N has the
    weight :math:`\lambda |S| / (2N)` in front of the mean, so the printed :math:`\lambda` corresponds to
    :math:`\lambda` times the *labelled fraction* of the batch here (equal at 100 % labels, a tenth at 10 %).
    Beside a contrastive loss that is already a mean, the printed sum would correspond to :math:`\lambda |S|`.

    A batch without a labelled row gives 0 with a zero gradient, not NaN. Where all embeddings coincide the
    gradient does not vanish in general, unlike that of every other loss here.

    Args:
        z: Embeddings, (N, d), any N; both views stacked or one, as the caller likes.
        labels: Class of each row, (N,) int64, in -1 .. k-1; -1 for unlabelled.
        prototypes: One row per class, (k, d). Their length does not matter.

    Returns:
        Scalar, the mean over the labelled rows, between 0 and 2.

    Raises:
        ValueError: If the shapes do not fit, the types or devices are wrong, or a label is outside -1 .. k-1
            (values: CPU only, see the module's docstring).

    Source: Li, Nguyen and Pimentel-Alarcon 2024, Eq. (4) (arXiv 2403.18699v2).
    """
    _check_embeddings("z", z)
    _check_prototypes(prototypes)
    if prototypes.shape[1] != z.shape[1]:
        raise ValueError(
            f"prototypes have dimension {prototypes.shape[1]} and the embeddings {z.shape[1]}: expected the same"
        )
    if prototypes.device != z.device:
        raise ValueError(f"prototypes are on {prototypes.device} and the embeddings on {z.device}: expected the same")
    _check_labels(labels, z, num_classes=prototypes.shape[0])
    with _autocast_off(z):
        z, prototypes = _promote(z, prototypes)
        targets = F.normalize(prototypes, dim=1)[labels.clamp(min=0)]  # (N, d)
        distance = 1 - (F.normalize(z, dim=1) * targets).sum(1)  # (N,)
        labelled = labels >= 0
        return torch.where(labelled, distance, 0.0).sum() / labelled.sum().clamp(min=1)


class CLOPLoss(nn.Module):
    r"""A loss of two views with the CLOP term beside it.

    .. math::
        \mathcal L = \mathcal L_\text{base}(z_0, z_1[, y])
            + \lambda \, \operatorname{clop}\big([z_0; z_1], [y; y], c\big)

    ``base`` is any callable of ``(z0, z1)`` or ``(z0, z1, labels)``: a function of this module,
    ``functools.partial(sup_con, temperature=0.1)``, a lightly criterion, pytorch-metric-learning's
    ``SelfSupervisedLoss``, a lambda. **It is given the labels if its third parameter has no default or is named**
    ``labels``; otherwise it is called with the two views. pytorch-metric-learning's supervised losses take stacked
    embeddings and need one line (they hold all rows labelled -1 for one class)::

        base = lambda z0, z1, labels: supervised(torch.cat([z0, z1]), torch.cat([labels, labels]))

    The prototypes are a buffer: they follow ``.to(device)``, stand in the ``state_dict`` and are not trained.
    A base that is an ``nn.Module`` becomes a submodule. Losses of other libraries run as they are, in the precision
    that autocast gives them; only the functions of this module switch it off. The meaning of ``weight`` depends
    on the base being a mean over anchors, as the contrastive ones here are; see :func:`clop` for the paper's sum.

    Args:
        base: The loss beside which CLOP stands.
        prototypes: One row per class, (k, d), from :mod:`clop_nb.prototypes` or elsewhere; copied.
        weight: :math:`\lambda \ge 0`; the paper uses 1.

    Raises:
        ValueError: If the base is not a callable of the two forms, the prototypes are not a floating-point
            matrix, or the weight is negative or not finite.

    Example:
        >>> import torch
        >>> from clop_nb.losses import CLOPLoss, info_nce
        >>> from clop_nb.prototypes import orthonormal
        >>> criterion = CLOPLoss(info_nce, orthonormal(10, 128), weight=1.0)
        >>> z0, z1 = torch.randn(64, 128, requires_grad=True), torch.randn(64, 128)
        >>> labels = torch.randint(-1, 10, (64,))
        >>> criterion(z0, z1, labels).backward()
    """

    prototypes: Tensor

    def __init__(self, base: Callable[..., Tensor], prototypes: Tensor, weight: float = 1.0) -> None:
        super().__init__()
        if not isinstance(weight, (int, float)) or not math.isfinite(weight) or weight < 0:
            raise ValueError(f"weight is {weight!r}: expected a finite number >= 0")
        _check_prototypes(prototypes)
        self._base_takes_labels = _takes_labels(base)
        self.base = base
        self.weight = float(weight)
        self.register_buffer("prototypes", prototypes.detach().clone())

    def forward(self, z0: Tensor, z1: Tensor, labels: Tensor) -> Tensor:
        """Return the base loss plus ``weight`` times the CLOP term.

        Args:
            z0: Embeddings of the first view, (N, d), N >= 2.
            z1: Embeddings of the second view, (N, d).
            labels: Class of each sample, (N,) int64, -1 for unlabelled.

        Returns:
            Scalar.

        Raises:
            ValueError: If views or labels are not as described (label values: CPU only).
        """
        _check_views(z0, z1)
        _check_labels(labels, z0, num_classes=self.prototypes.shape[0])
        base = self.base(z0, z1, labels) if self._base_takes_labels else self.base(z0, z1)
        return base + self.weight * clop(torch.cat([z0, z1]), torch.cat([labels, labels]), self.prototypes)

    def extra_repr(self) -> str:
        k, d = self.prototypes.shape
        base = "" if isinstance(self.base, nn.Module) else f"base={self.base!r}, "
        return f"{base}num_classes={k}, dim={d}, weight={self.weight:g}"


def _takes_labels(base: Callable[..., Tensor]) -> bool:
    """Whether a base loss is to be called with (z0, z1, labels) rather than (z0, z1)."""
    forms = "expected a callable of (z0, z1) or (z0, z1, labels)"
    if not callable(base):
        raise ValueError(f"base is {base!r}: {forms}")
    try:
        parameters = inspect.signature(base.forward if isinstance(base, nn.Module) else base).parameters
    except (TypeError, ValueError):
        raise ValueError(f"base is {base!r}, whose parameters cannot be read: {forms}; a lambda will do") from None
    kinds = inspect.Parameter
    positional = [p for p in parameters.values() if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)]
    if "labels" in [p.name for p in positional[:2]]:
        raise ValueError(
            f"base is {base!r}, which takes stacked embeddings and labels: {forms}; wrap it as "
            "lambda z0, z1, labels: base(torch.cat([z0, z1]), torch.cat([labels, labels]))"
        )
    required = [p for p in positional if p.default is kinds.empty]
    keyword_only = [p for p in parameters.values() if p.kind is kinds.KEYWORD_ONLY and p.default is kinds.empty]
    if len(positional) < 2 or len(required) > 3 or keyword_only:
        raise ValueError(f"base is {base!r} with the parameters ({', '.join(parameters)}): {forms}; a lambda will do")
    return len(positional) > 2 and (len(required) == 3 or positional[2].name == "labels")


def _unit_views(z0: Tensor, z1: Tensor) -> Tensor:
    return F.normalize(torch.cat(_promote(z0, z1)), dim=1)  # (2N, d)


def _off_diagonal(matrix: Tensor) -> Tensor:
    """The matrix with a zero diagonal; subtracting the diagonal's squares from the sum of all would cancel."""
    return matrix - matrix.diagonal().diag_embed()


def _promote(*tensors: Tensor) -> tuple[Tensor, ...]:
    """All tensors in one floating-point type, float32 at least."""
    dtype = torch.float32
    for tensor in tensors:
        dtype = torch.promote_types(dtype, tensor.dtype)
    return tuple(tensor.to(dtype) for tensor in tensors)


def _autocast_off(z: Tensor) -> torch.autocast:
    return torch.autocast(z.device.type, enabled=False)


def _transformed(z: Tensor) -> bool:
    """Whether z is traced by torch.compile, inside a torch.func transform, or carries a forward-mode tangent."""
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return True
    return forward_ad.unpack_dual(z).tangent is not None


def _check_embeddings(name: str, z: Tensor) -> None:
    if not isinstance(z, Tensor) or not z.is_floating_point():
        kind = z.dtype if isinstance(z, Tensor) else type(z).__name__
        raise ValueError(f"{name} is {kind}: expected a floating-point tensor")
    if z.dim() != 2:
        raise ValueError(f"{name} has shape {tuple(z.shape)}: expected (N, d)")


def _check_views(z0: Tensor, z1: Tensor) -> None:
    _check_embeddings("z0", z0)
    _check_embeddings("z1", z1)
    if z0.shape != z1.shape:
        raise ValueError(f"z0 has shape {tuple(z0.shape)} and z1 {tuple(z1.shape)}: expected the same")
    if z0.device != z1.device:
        raise ValueError(f"z0 is on {z0.device} and z1 on {z1.device}: expected the same")
    if z0.shape[0] < 2 or z0.shape[1] < 1:
        raise ValueError(f"z0 has shape {tuple(z0.shape)}: expected N >= 2 samples of dimension d >= 1")


def _check_temperature(temperature: float) -> None:
    if not isinstance(temperature, (int, float)) or not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature!r}: expected a finite number > 0")


def _check_prototypes(prototypes: Tensor) -> None:
    if not isinstance(prototypes, Tensor) or not prototypes.is_floating_point():
        kind = prototypes.dtype if isinstance(prototypes, Tensor) else type(prototypes).__name__
        raise ValueError(f"prototypes is {kind}: expected a floating-point tensor")
    if prototypes.dim() != 2 or 0 in prototypes.shape:
        raise ValueError(f"prototypes has shape {tuple(prototypes.shape)}: expected (num_classes, d), neither zero")


def _check_labels(labels: Tensor, z: Tensor, num_classes: int | None = None) -> None:
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(f"labels is {kind}: expected an int64 tensor, -1 for unlabelled")
    if labels.shape != z.shape[:1]:
        raise ValueError(f"labels has shape {tuple(labels.shape)}: expected ({z.shape[0]},), one label per sample")
    if labels.device != z.device:
        raise ValueError(f"labels are on {labels.device} and the embeddings on {z.device}: expected the same")
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        return
    if labels.device.type != "cpu" or labels.numel() == 0:
        return
    low, high = (int(value) for value in torch.aminmax(labels))
    if low < -1:
        raise ValueError(f"labels contains {low}: expected -1 for unlabelled or a class from 0")
    if num_classes is not None and high >= num_classes:
        raise ValueError(
            f"labels contains {high}: expected at most {num_classes - 1}, there being {num_classes} prototypes"
        )
