r"""LARS: stochastic gradient descent in which every parameter tensor has its own step, in proportion to its norm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["LARS", "without_norms_and_biases"]


class LARS(Optimizer):
    r"""Layer-wise adaptive rate scaling, in the form of SimCLR's code.

    For each parameter tensor :math:`w` with gradient :math:`g`, from :math:`v = 0`,

    .. math::
        g' &= g + \beta w \\
        v &\leftarrow m v + \gamma \, \eta \frac{\lVert w \rVert}{\lVert g' \rVert} \, g' \\
        w &\leftarrow w - v

    with the learning rate :math:`\gamma` (``lr``), the momentum :math:`m`, the weight decay :math:`\beta` and the trust
    coefficient :math:`\eta` (``eeta``, the name in SimCLR's code). The trust ratio
    :math:`\eta \lVert w \rVert / \lVert g' \rVert` is 1 where either norm is 0: a bias that starts at zero takes a
    plain step. So the decay is inside the ratio (You et al. divide by
    :math:`\lVert g \rVert + \beta \lVert w \rVert` instead), and the learning rate is inside the momentum: a change of
    ``lr`` acts on the steps to come, not on what :math:`v` already holds.

    A group with ``adapt=False`` has the trust ratio 1, which is momentum SGD. SimCLR leaves biases and batch
    normalisation out of both adaptation and decay (:func:`without_norms_and_biases` makes the groups); the authors of
    the CLOP paper leave out nothing, which is what plain ``LARS(net.parameters(), ...)`` does.

    Gradients are read and never written. A group's parameters have to be on one device.

    Args:
        params: Parameters or groups of them, as for every optimiser of torch. A group may set any option below.
        lr: Learning rate, at least 0.
        momentum: In [0, 1).
        weight_decay: At least 0.
        eeta: Trust coefficient, above 0.
        adapt: Whether steps are scaled by the trust ratio.

    Raises:
        ValueError: If an option, a group's own included, is out of its range.

    Source: You, Gitman and Ginsburg 2017 (arXiv 1708.03888); github.com/google-research/simclr, lars_optimizer.py,
    with its default "classic" momentum, not Nesterov's.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        eeta: float = 0.001,
        adapt: bool = True,
    ) -> None:
        options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eeta": eeta, "adapt": adapt}
        super().__init__(params, options)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; ``Optimizer.__init__`` comes through here too, so that every option is checked once."""
        _check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Take one step.

        Args:
            closure: Computes the loss and the gradients anew; called once, with gradients enabled.

        Returns:
            What the closure returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [w for w in group["params"] if w.grad is not None]
            if not weights:
                continue
            for w in weights:
                if "momentum_buffer" not in self.state[w]:
                    self.state[w]["momentum_buffer"] = torch.zeros_like(w, memory_format=torch.preserve_format)
            velocities = [self.state[w]["momentum_buffer"] for w in weights]
            _step(weights, [w.grad for w in weights], velocities, group)
        return loss


def without_norms_and_biases(module: nn.Module) -> list[dict[str, Any]]:
    """Groups that keep biases and normalisation out of LARS's adaptation and decay, as SimCLR does.

    They are told by their shape: a parameter with at most one dimension. In nets of convolutions, linear layers and
    batch normalisation that is exactly the biases and the normalisation's scales.

    Args:
        module: The net. Parameters that need no gradient are left out.

    Returns:
        Up to two groups for :class:`LARS`: the weights, and the rest with ``adapt=False`` and ``weight_decay=0``.

    Raises:
        ValueError: If nothing in the module is trainable.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    if not trainable:
        raise ValueError(f"module is a {type(module).__name__} without trainable parameters: expected some")
    weights = [p for p in trainable if p.dim() > 1]
    others = [p for p in trainable if p.dim() <= 1]
    groups: list[dict[str, Any]] = [{"params": weights}, {"params": others, "adapt": False, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _step(weights: list[Tensor], gradients: list[Tensor], velocities: list[Tensor], group: dict[str, Any]) -> None:
    """One group's update, over whole lists: a net has a hundred tensors, most of them tiny."""
    if group["weight_decay"]:
        gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))  # new tensors
    torch._foreach_mul_(velocities, group["momentum"])
    if group["adapt"]:
        weight_norms, gradient_norms = (torch.stack(torch._foreach_norm(t)) for t in (weights, gradients))
        moving = (weight_norms > 0) & (gradient_norms > 0)
        trust = torch.where(moving, group["eeta"] * weight_norms / gradient_norms, 1.0)
        torch._foreach_addcmul_(velocities, gradients, list((group["lr"] * trust).unbind()))
    else:
        torch._foreach_add_(velocities, gradients, alpha=group["lr"])
    torch._foreach_sub_(weights, velocities)


def _check(options: dict[str, Any]) -> None:
    ranges = {
        "lr": (0, math.inf, "at least 0"),
        "momentum": (0, 1, "at least 0 and below 1"),
        "weight_decay": (0, math.inf, "at least 0"),
        "eeta": (math.ulp(0.0), math.inf, "above 0"),
    }
    for name, (low, high, accepted) in ranges.items():
        value = options[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value < high:
            raise ValueError(f"{name} is {value!r}: expected a number {accepted}")
    if not isinstance(options["adapt"], bool):
        raise ValueError(f"adapt is {options['adapt']!r}: expected True or False")
