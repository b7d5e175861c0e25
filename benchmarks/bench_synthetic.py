"""Runs per second of the synthetic demonstration: the stacked trainer against a plain loop over single nets."""

from __future__ import annotations

from dataclasses import replace

import torch
from record import interleaved, row, table, target, write
from torch import nn

from clop_nb import losses, synthetic
from clop_nb.synthetic import Setting

RUNS, EPOCHS, ROUNDS, THREADS = 20, 2, 7, 1
PLAIN, STACKED = "plain loop over single nets", "synthetic.train"


def plain_loop(setting: Setting, seeds: range) -> None:
    """What anybody would write: one net after the other, with torch's modules, optimiser and autograd."""
    base = {"info_nce": losses.info_nce, "vicreg": losses.vicreg}[setting.loss]
    for seed in seeds:
        drawn = synthetic.sample(setting, seed)
        points = drawn.points.float()
        generator = torch.Generator().manual_seed(seed)
        width = setting.width
        net = nn.Sequential(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3))
        optimizer = torch.optim.Adam(net.parameters(), lr=setting.lr)
        criterion = losses.CLOPLoss(base, synthetic.targets(seed), setting.clop_weight)
        for _ in range(setting.epochs):
            for batch in torch.randperm(len(points), generator=generator).split(setting.batch_size):
                views = points[batch] + setting.view_noise * torch.randn(2, len(batch), 3, generator=generator)
                signs = 1 - 2 * (torch.rand(2, len(batch), 1, generator=generator) < setting.flip).float()
                z0, z1 = net(views * signs)
                loss = criterion(z0, z1, drawn.visible[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


def main() -> None:
    torch.set_num_threads(THREADS)
    cases = {
        "InfoNCE + CLOP, batches of 50": Setting(clop_weight=1.0, epochs=EPOCHS),
        "VICReg + CLOP, batches of 50": Setting(loss="vicreg", clop_weight=1.0, epochs=EPOCHS),
        "InfoNCE + CLOP, full batch": Setting(clop_weight=1.0, epochs=EPOCHS, batch_size=500),
    }
    rates = {}
    for name, setting in cases.items():
        runs = [(replace(setting), seed) for seed in range(RUNS)]
        seconds = interleaved(
            {
                STACKED: lambda runs=runs: synthetic.train(runs),
                PLAIN: lambda setting=setting: plain_loop(setting, range(RUNS)),
            },
            rounds=ROUNDS,
        )
        steps = RUNS * EPOCHS * (setting.samples // setting.batch_size)
        rates[name] = {contestant: [steps / s for s in taken] for contestant, taken in seconds.items()}
    result = table(f"{RUNS} nets", "training steps/s", rates, better="higher")
    first = "InfoNCE + CLOP, batches of 50"
    ratio = row(result, first, PLAIN)["ratio"]
    write(
        "synthetic", [result], targets=[target("InfoNCE in batches of 50: at least 3 times a plain loop", ratio, 3.0)]
    )


if __name__ == "__main__":
    main()
