"""What the training loop costs over the bare model: views, indexing, bookkeeping.

Both run the same steps of the same model. The loop is ``clop_nb.train.one_epoch``; the bare model is forward, loss,
backward and the optimiser's step on views that are made already. The laptop's net at 8x8 may spend half of its time
outside the model, ResNet-18 at 32x32 may cost five per cent more. Evaluation is in neither.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from record import interleaved, table, target, write

from clop_nb import recipe, train
from clop_nb.augment import two_views
from clop_nb.config import RunConfig

THREADS = (1, 2)
# Images are random: their content costs nothing. Case -> configuration, image shape, training images, rounds.
CASES = {
    "ResNet-8, 1x8x8, batch 256": (RunConfig(encoder="resnet8", batch_size=256, epochs=1), (1, 8, 8), 1280, 15),
    "ResNet-8, 1x8x8, batch 32": (RunConfig(encoder="resnet8", batch_size=32, epochs=1), (1, 8, 8), 640, 15),
    "ResNet-18, 3x32x32, batch 64": (RunConfig(encoder="resnet18", batch_size=64, epochs=1), (3, 32, 32), 128, 7),
}


def contestants(config: RunConfig, shape: tuple[int, ...], n: int) -> dict[str, Callable[[], object]]:
    """Two functions that take the steps of one epoch: the loop, and the bare model."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, *shape), dtype=torch.uint8, generator=generator)
    labels, size = torch.arange(n) % 10, config.batch_size
    model = recipe.model(config, shape[0]).to(memory_format=torch.channels_last).train()
    criterion, optimizer = recipe.criterion(config, None), recipe.optimizer(config, model)
    pair = torch.cat(two_views(images[:size], generator)).contiguous(memory_format=torch.channels_last)
    streams = {purpose: recipe.stream(config, purpose) for purpose in ("batches", "views", "redraws")}
    loop = lambda: train.one_epoch(config, 0, model, criterion, optimizer, images, labels, streams)  # noqa: E731

    def bare() -> None:
        for _ in range(n // size):
            _, z = model(pair)
            loss = criterion(z[:size], z[size:], labels[:size])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return {"the loop, views included": loop, "the bare model": bare}


def main() -> None:
    tables, targets = [], []
    for threads in THREADS:
        torch.set_num_threads(threads)
        figures, share = {}, {}
        for case, (config, shape, n, rounds) in CASES.items():
            seconds = interleaved(contestants(config, shape, n), rounds)
            loop, bare = seconds.values()
            figures[case] = {name: [n / s for s in taken] for name, taken in seconds.items()}
            # Round by round, since what else the machine does meets both of a round alike.
            outside = statistics.median(max(0.0, 1 - b / a) for a, b in zip(loop, bare, strict=True))
            share[case] = dict(zip(seconds, (outside, 0.0), strict=True))
            limit = 0.5 if config.encoder == "resnet8" else 0.05 / 1.05
            statement = f"{case}, {threads} thread(s): share of the loop's time outside the model below {limit:.3g}"
            targets.append(target(statement, outside, below=limit))
        title = f"Training, {threads} thread(s)"
        tables.append(table(title, "images/s", figures, better="higher", columns={"share outside the model": share}))
    write("train", tables, targets=targets, threads=THREADS, packages=("torchvision",))


if __name__ == "__main__":
    main()
