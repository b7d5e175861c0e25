"""Config-steps per second of the collapse dynamics: the fast path against two plain forms.

Time is processor time on one thread: the matrices are too small for a second one to pay.
"""

from __future__ import annotations

import time

import torch
from record import interleaved, row, table, target, write

from clop_nb import dynamics

K, M, LR = 30, 100, 2.0
CONFIGURATIONS, ROUNDS = 128, 9
SETTLE_STEPS = (60, 200, 1000)  # a basis of the span is paid once a run, so that short runs gain less
TARGETS = {"autograd loop": 50.0, "plain batched form": 3.0}
PLAIN_STEPS, LOOP_STEPS = 60, 400  # the plain forms cost the same in every step


def batched_plain(x: torch.Tensor, steps: int) -> torch.Tensor:
    """The update written down as it reads, over all configurations at once."""
    for _ in range(steps):
        gradient = (x.sum(-2, keepdim=True) - x) / (K - 1)
        moved = x - LR * gradient
        x = moved / moved.norm(dim=-1, keepdim=True)
    return x


def autograd_loop(x: torch.Tensor, steps: int) -> torch.Tensor:
    """One configuration after another, gradient by autograd of Eq. (3) in the step's scale."""
    finished = []
    for single in x:
        for _ in range(steps):
            single = single.detach().requires_grad_()
            gram = single @ single.T
            loss = (gram.sum() - gram.diagonal().sum()) / (2 * (K - 1))
            (gradient,) = torch.autograd.grad(loss, single)
            single = torch.nn.functional.normalize((single - LR * gradient).detach(), dim=-1)
        finished.append(single)
    return torch.stack(finished)


def main() -> None:
    x = dynamics.random_embeddings(K, M, CONFIGURATIONS, generator=torch.Generator().manual_seed(0))
    single = x[:1]
    assert torch.allclose(dynamics.settle(x, LR, 30), batched_plain(x, 30), atol=1e-4)
    assert torch.allclose(autograd_loop(single, 30), batched_plain(single, 30), atol=1e-4)
    contestants = {
        **{steps: (lambda steps=steps: dynamics.settle(x, LR, steps)) for steps in SETTLE_STEPS},
        "plain batched form": lambda: batched_plain(x, PLAIN_STEPS),
        "autograd loop": lambda: autograd_loop(single, LOOP_STEPS),
    }
    config_steps = {
        **{steps: CONFIGURATIONS * steps for steps in SETTLE_STEPS},
        "plain batched form": CONFIGURATIONS * PLAIN_STEPS,
        "autograd loop": LOOP_STEPS,
    }
    torch.set_num_threads(1)
    seconds = interleaved(contestants, ROUNDS, clock=time.process_time)
    rates = {name: [config_steps[name] / s for s in taken] for name, taken in seconds.items()}
    figures = {
        f"{steps} steps": {"dynamics.settle": rates[steps]} | {name: rates[name] for name in TARGETS}
        for steps in SETTLE_STEPS
    }
    title = f"Collapse dynamics, k = {K}, m = {M}, {CONFIGURATIONS} configurations"
    made = table(title, "config-steps per second of processor time", figures, better="higher")
    targets = [
        target(
            f"{steps} steps: at least {factor:g} times as fast as the {name}",
            row(made, f"{steps} steps", name)["ratio"],
            at_least=factor,
        )
        for steps in SETTLE_STEPS
        for name, factor in TARGETS.items()
    ]
    write("dynamics", [made], targets=targets)


if __name__ == "__main__":
    main()
