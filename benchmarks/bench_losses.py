"""Forward and backward of the losses against lightly, pytorch-metric-learning and the official formulas.

Time is processor time, over both threads, with :func:`record.interleaved`: on shared cores elapsed time says more
about the other processes. Peak memory is what torch's CPU allocator held at most during one
forward and backward, above what it held before: the two gradients are counted, the inputs and the libraries' own
scratch space (MKL, oneDNN) are not.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from lightly import loss as lightly
from pytorch_metric_learning.losses import SupConLoss
from record import interleaved, row, table, target, write
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from clop_nb import losses

Loss = Callable[[Tensor, Tensor], Tensor]

DIM, PAIRS, CLASSES = 128, (256, 1024, 2048), 10
TEMPERATURE = 0.5
THREADS, ROUNDS = 2, 9
MEMORY = "peak memory (MiB)"


def off_diagonal(matrix: Tensor) -> Tensor:
    """The entries off the diagonal, (d - 1, d): behind the first entry every d + 1st is on it."""
    d = matrix.shape[0]
    return matrix.flatten()[1:].view(d - 1, d + 1)[:, :-1]


def vicreg_official(z0: Tensor, z1: Tensor) -> Tensor:
    """VICReg term by term as in its authors' code: variance and covariance computed each from the embeddings."""
    n, d = z0.shape
    invariance, variance, covariance = F.mse_loss(z0, z1), 0.0, 0.0
    for z in (z0, z1):
        centred = z - z.mean(0)
        variance = variance + F.relu(1 - (centred.var(0) + 1e-4).sqrt()).mean() / 2
        covariance = covariance + off_diagonal(centred.T @ centred / (n - 1)).pow(2).sum() / d
    return 25 * invariance + 25 * variance + covariance


def barlow_twins_official(z0: Tensor, z1: Tensor) -> Tensor:
    """Barlow Twins as in its authors' code: two batch norms without parameters, then the cross-correlation."""
    normed0, normed1 = (F.batch_norm(z, None, None, training=True) for z in (z0, z1))
    c = normed0.T @ normed1 / z0.shape[0]
    return (c.diagonal() - 1).pow(2).sum() + 5e-3 * off_diagonal(c).pow(2).sum()


def contestants(labels: Tensor) -> dict[str, dict[str, Loss]]:
    """By loss, the forms of it; ours comes first."""
    both, sup_con = labels.repeat(2), SupConLoss(temperature=TEMPERATURE)
    return {
        "InfoNCE": {
            "info_nce": partial(losses.info_nce, temperature=TEMPERATURE),
            # Up to 2N = 1024 rows this is what info_nce itself runs.
            "info_nce, never in chunks": lambda z0, z1: losses._nt_xent(losses._unit_views(z0, z1), TEMPERATURE),
            "lightly NTXentLoss": lightly.NTXentLoss(TEMPERATURE),
        },
        "DCL": {
            "dcl": partial(losses.dcl, temperature=TEMPERATURE),
            "lightly DCLLoss": lightly.DCLLoss(TEMPERATURE),
        },
        "SupCon": {
            "sup_con": lambda z0, z1: losses.sup_con(z0, z1, labels, TEMPERATURE),
            "pytorch-metric-learning SupConLoss": lambda z0, z1: sup_con(torch.cat([z0, z1]), both),
        },
        "VICReg": {
            "vicreg": losses.vicreg,
            "official formula": vicreg_official,
            "lightly VICRegLoss": lightly.VICRegLoss(),
        },
        "Barlow Twins": {
            "barlow_twins": losses.barlow_twins,
            "official formula": barlow_twins_official,
            "lightly BarlowTwinsLoss": lightly.BarlowTwinsLoss(lambda_param=5e-3),
        },
    }


def forward_backward(loss: Loss, z0: Tensor, z1: Tensor) -> tuple[Tensor, ...]:
    """The value and both gradients."""
    value = loss(z0, z1)
    return value.detach(), *torch.autograd.grad(value, (z0, z1))


def peak_memory(call: Callable[[], object]) -> float:
    """MiB that torch's CPU allocator held at most during a call, above what it held before."""
    call()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        result = call()
    del result
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder, "trace.json")
        profiled.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak / 2**20


def main() -> None:
    torch.set_num_threads(THREADS)
    seconds, memory = {}, {}
    for n in PAIRS:
        generator = torch.Generator().manual_seed(0)
        z0, z1 = (torch.randn(n, DIM, generator=generator, requires_grad=True) for _ in range(2))
        labels = torch.randint(CLASSES, (n,), generator=generator)
        case = f"N = {n}"
        for name, forms in contestants(labels).items():
            calls = {form: partial(forward_backward, loss, z0, z1) for form, loss in forms.items()}
            expected, *others = (call() for call in calls.values())
            for found in others:
                for theirs, ours in zip(found, expected, strict=True):
                    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5 * ours.abs().max().item())
            seconds.setdefault(name, {})[case] = interleaved(calls, ROUNDS, clock=time.process_time)
            memory.setdefault(name, {})[case] = {form: peak_memory(call) for form, call in calls.items()}
    tables = {
        name: table(
            name,
            "ms of processor time",
            {case: {form: [1e3 * s for s in taken] for form, taken in forms.items()} for case, forms in cases.items()},
            columns={MEMORY: memory[name]},
        )
        for name, cases in seconds.items()
    }
    targets = [
        target(
            f"{name}: at least 0.91 times as fast as the fastest, at every N",
            min(row["ratio"] for row in made["rows"]),
            at_least=1 / 1.1,
        )
        for name, made in tables.items()
    ]
    for name, rival in (("InfoNCE", "lightly NTXentLoss"), ("SupCon", "pytorch-metric-learning SupConLoss")):
        ratio = row(tables[name], "N = 1024", rival)["ratio"]
        targets.append(target(f"{name}: at least 1.9 times as fast as {rival} at N = 1024", ratio, at_least=1.9))
    held = row(tables["InfoNCE"], "N = 2048", "info_nce")[MEMORY]
    targets.append(target("InfoNCE: peak memory below 40 MiB at N = 2048", held, below=40))
    packages = ("lightly", "pytorch-metric-learning")
    write("losses", list(tables.values()), targets=targets, packages=packages)


if __name__ == "__main__":
    main()
