"""Two views of a batch of 32x32 colour images: ours against torchvision image by image and kornia by the batch.

All three do SimCLR's crop, flip, colour jitter and grayscale, with parameters of their own for every view. torchvision
gets its images as PIL ones, as its data sets give them, and in one process; ours and kornia's use ``THREADS`` threads.
The second table counts the time of all threads, which is fair to the one that uses a single thread, and which holds on
a machine that is busy otherwise. kornia is no dependency of ours; where it is absent its rows are left out.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision.transforms as T
from record import interleaved, row, table, target, write
from torch import Tensor

from clop_nb.augment import two_views

BATCHES, SIZE, MAIN = (64, 256, 512), 32, "batch of 256"
THREADS, ROUNDS = 2, 9
TORCHVISION, KORNIA = "torchvision, PIL", "kornia"


def torchvision_views(images: Tensor) -> Callable[[], Tensor]:
    """SimCLR's augmentation as its PyTorch recipes write it, ending in the batch that a net would get."""
    transform = T.Compose(
        [
            T.RandomResizedCrop(SIZE),
            T.RandomHorizontalFlip(),
            T.RandomApply([T.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            T.RandomGrayscale(0.2),
            T.ToTensor(),
        ]
    )
    pictures = [T.functional.to_pil_image(image) for image in images]
    return lambda: torch.stack([transform(picture) for _ in range(2) for picture in pictures])


def kornia_views(images: Tensor) -> Callable[[], tuple[Tensor, Tensor]]:
    """The same from kornia's batched modules. Raises ImportError where there is no kornia."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kornia.augmentation as K

        augment = torch.nn.Sequential(
            K.RandomResizedCrop((SIZE, SIZE), scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)),
            K.RandomHorizontalFlip(),
            K.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
            K.RandomGrayscale(p=0.2),
        )

    def views() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            unit = images.float() / 255
            return augment(unit), augment(unit)

    return views


def contestants(batch: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name; ours comes first."""
    noise = torch.rand(batch, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    images = (255 * F.avg_pool2d(noise, 5, 1, 2)).to(torch.uint8)
    calls = {"two_views": lambda: two_views(images), TORCHVISION: torchvision_views(images)}
    with contextlib.suppress(ImportError):
        calls[KORNIA] = kornia_views(images)
    return calls


def main() -> None:
    torch.set_num_threads(THREADS)
    elapsed, used = {}, {}
    for batch in BATCHES:
        calls, case = contestants(batch), f"batch of {batch}"
        for rates, clock in ((elapsed, time.perf_counter), (used, time.process_time)):
            seconds = interleaved(calls, ROUNDS, clock=clock)
            rates[case] = {name: [2 * batch / s for s in taken] for name, taken in seconds.items()}
    title = f"Two views at {SIZE}x{SIZE}x3"
    views = table(title, "views/s", elapsed, better="higher")
    per_core = table(f"{title}, time of all threads", "views per core and second", used, better="higher")
    targets = [target("at least 9 times as fast as torchvision", row(views, MAIN, TORCHVISION)["ratio"], at_least=9)]
    packages = ["torchvision"]
    if KORNIA in elapsed[MAIN]:
        packages.append(KORNIA)
        targets.append(target("at least 2.5 times as fast as kornia", row(views, MAIN, KORNIA)["ratio"], at_least=2.5))
    else:
        print("kornia is not installed: measured without it")
    write("augment", [views, per_core], targets=targets, packages=packages)


if __name__ == "__main__":
    main()
