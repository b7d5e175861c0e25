"""Config-steps per second of the collapse dynamics: the fast path against two plain forms, in one run.

Run ``make bench``; it interleaves the contestants and prints medians and ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

from clop_nb import dynamics

K, M, LR = 30, 100, 2.0
CONFIGURATIONS, ROUNDS = 128, 7
SETTLE_STEPS = (60, 200, 1000)  # a basis of the span is paid once a run, so that short runs gain less


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


def rate(run: Callable[[torch.Tensor, int], torch.Tensor], x: torch.Tensor, steps: int) -> float:
    start = time.perf_counter()
    run(x, steps)
    return x.shape[0] * steps / (time.perf_counter() - start)


def main() -> None:
    x = dynamics.random_embeddings(K, M, CONFIGURATIONS, generator=torch.Generator().manual_seed(0))
    single = x[:2]
    fast = lambda x, steps: dynamics.settle(x, LR, steps)  # noqa: E731
    assert torch.allclose(fast(x, 30), batched_plain(x, 30), atol=1e-4)
    assert torch.allclose(autograd_loop(single, 30), batched_plain(single, 30), atol=1e-4)
    contestants = {
        **{f"settle, {steps} steps": (fast, x, steps) for steps in SETTLE_STEPS},
        "batched plain": (batched_plain, x, 60),
        "autograd loop, 1 configuration": (autograd_loop, single, 400),
    }
    rates: dict[tuple[str, int], list[float]] = {}
    for _ in range(ROUNDS):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            for name, (run, start, steps) in contestants.items():
                rates.setdefault((name, threads), []).append(rate(run, start, steps))
    medians = {key: statistics.median(values) for key, values in rates.items()}
    print(
        f"k={K}, m={M}, float32, {CONFIGURATIONS} configurations, torch {torch.__version__}, medians of {ROUNDS} rounds"
    )
    for (name, threads), value in sorted(medians.items()):
        print(f"{name:32s} {threads} thread(s) {value:12,.0f} config-steps/s")
    best = {name: max(medians[name, 1], medians[name, 2]) for name in contestants}
    for steps in SETTLE_STEPS:
        ours = best[f"settle, {steps} steps"]
        print(
            f"settle, {steps} steps: {ours / best['autograd loop, 1 configuration']:.0f}x the autograd loop, "
            f"{ours / best['batched plain']:.1f}x batched plain"
        )


if __name__ == "__main__":
    main()
