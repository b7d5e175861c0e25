r"""The synthetic demonstration (Fig. 5, Table 3): three classes in 3-D, a 3-layer net, and a trainer for many at once.

Many small nets that differ in seed, learning rate, data or pull are trained as one stacked net. Each run draws its
data, labels, start, batches and views from generators of its own seed, so that

- a run gives the same numbers whatever it is stacked with (to float tolerance), and
- two runs of one seed share data, labels, start and views, whatever the loss: differences are paired.

The losses are those of :mod:`clop_nb.losses`, mapped over the stack with ``torch.vmap``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from clop_nb import losses, prototypes, spectra

__all__ = ["LOSSES", "Outcome", "Sample", "Setting", "accuracy", "class_cosines", "embed", "sample", "start", "train"]

LOSSES = ("info_nce", "dcl", "vicreg", "barlow_twins", "labels_only")
AMPLITUDES = ("unit", "uniform", "gaussian")
OPTIMIZERS = ("sgd", "adam")
CLASSES = 3
NEIGHBOURS = 5
"""The k of the kNN classifier. Printed."""
_DATA, _START, _VIEWS, _PROTOTYPES = range(4)
# Entries of the stacked similarity matrices in one stack: beyond this stacking more runs gains nothing.
STACK_ENTRIES = 2**20
# Fewer runs than this are not worth sharing out between processes.
SMALL_STACK = 10


@dataclass(frozen=True)
class Setting:
    """One choice for everything about a run but its seed. Printed values are marked; the rest the paper leaves open.

    Raises:
        ValueError: if a value is not accepted; the message names the field.
    """

    loss: str = "info_nce"
    """One of :data:`LOSSES`; ``labels_only`` is the CLOP term without a contrastive loss."""
    clop_weight: float = 0.0
    """Weight of the CLOP term; the paper uses 1."""
    samples: int = 500
    """Printed."""
    angle: float = 60.0
    """Degrees between any two class lines (or, for planes, between their normals), above 0 and at most 90.

    Lines drawn at random meet at one radian on average, 57 degrees.
    """
    subspace_dim: int = 1
    """Each class fills a line (1) or a plane (2)."""
    amplitude: str = "uniform"
    """Distance from the origin: ``unit``, ``uniform`` on 0.5 to 1.5, or ``gaussian`` (standard normal); either sign."""
    noise: float = 0.05
    """Standard deviation of the noise on the samples. 0.05 is printed, as a variance."""
    view_noise: float = 0.05
    """Standard deviation of the noise on the views. 0.05 is printed, as a variance."""
    flip: float = 0.5
    """Probability that a view changes sign. Printed."""
    labelled: float = 0.1
    """Fraction of the samples whose label is known. Printed."""
    width: int = 32
    """Width of the two hidden layers."""
    batch_norm: bool = False
    """Batch normalisation of the hidden layers, over both views; evaluation uses the statistics of all samples."""
    batch_size: int = 50
    """Samples in a step, at most ``samples``."""
    optimizer: str = "adam"
    """``adam``, or ``sgd`` with momentum 0.9."""
    lr: float = 1e-2
    epochs: int = 100
    temperature: float = 0.5
    """Of InfoNCE and DCL."""

    def __post_init__(self) -> None:
        _one_of("loss", self.loss, LOSSES)
        _one_of("amplitude", self.amplitude, AMPLITUDES)
        _one_of("optimizer", self.optimizer, OPTIMIZERS)
        _one_of("subspace_dim", self.subspace_dim, (1, 2))
        for name, least in (("samples", 10 * CLASSES), ("width", 1), ("batch_size", 2), ("epochs", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        if self.batch_size > self.samples:
            raise ValueError(f"batch_size must be at most samples = {self.samples}, got {self.batch_size}")
        _between("angle", self.angle, 0, 90, open_below=True)
        _between("flip", self.flip, 0, 1)
        _between("labelled", self.labelled, 0, 1, open_below=True)
        for name in ("clop_weight", "noise", "view_noise"):
            _between(name, getattr(self, name), 0, math.inf)
        for name in ("lr", "temperature"):
            _between(name, getattr(self, name), 0, math.inf, open_below=True)
        if self.loss == "labels_only" and self.clop_weight == 0:
            raise ValueError("clop_weight must be positive for the loss labels_only, got 0")
        if not self.samples > round(self.labelled * self.samples) >= NEIGHBOURS:
            raise ValueError(
                f"labelled must leave at least {NEIGHBOURS} samples labelled and one not, got {self.labelled!r}"
            )


@dataclass(frozen=True)
class Sample:
    """One drawing of the data."""

    points: Tensor
    """(n, 3)."""
    labels: Tensor
    """(n,) int64, every label."""
    visible: Tensor
    """(n,) int64, -1 where the label is hidden."""
    axes: Tensor
    """(3, 3), row i the direction of class i's line, or the normal of its plane."""


def _one_of(name: str, value: Any, known: Sequence[Any]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, got {value!r}")


def _between(name: str, value: Any, low: float, high: float, open_below: bool = False) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not low <= value <= high or math.isinf(value) or (open_below and value == low):
        bound = f"above {low:g}" if open_below else f"at least {low:g}"
        raise ValueError(
            f"{name} must be {bound}" + (f" and at most {high:g}" if high < math.inf else "") + f", got {value!r}"
        )


def _generator(seed: int, purpose: int) -> torch.Generator:
    return torch.Generator().manual_seed(8 * seed + purpose)


def sample(setting: Setting, seed: int) -> Sample:
    """Draw the data of one seed: three classes, each along its own line (or plane) through the origin, plus noise.

    The axes have equal pairwise angles and are turned at random. The labelled samples are drawn without
    regard to class.

    Args:
        setting: what is drawn.
        seed: an integer of at least 0.

    Returns:
        Points (n, 3) float64, labels, visible labels and class axes.

    Raises:
        ValueError: if the seed is not an integer of at least 0.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed must be an integer of at least 0, got {seed!r}")
    generator = _generator(seed, _DATA)
    normal = functools.partial(torch.randn, generator=generator, dtype=torch.float64)
    n = setting.samples
    cosine = math.cos(math.radians(setting.angle))
    gram = torch.full((CLASSES, CLASSES), cosine, dtype=torch.float64).fill_diagonal_(1.0)
    turn = torch.linalg.qr(normal(3, 3)).Q
    axes = torch.linalg.cholesky(gram) @ turn  # (3, 3)
    labels = torch.arange(n) % CLASSES
    coordinates = normal(n, 3)
    length = 0.5 + torch.rand(n, 1, generator=generator, dtype=torch.float64)
    own = axes[labels]  # (n, 3)
    along = (coordinates * own).sum(1, keepdim=True) * own
    inside = along if setting.subspace_dim == 1 else coordinates - along
    if setting.amplitude != "gaussian":
        inside = inside / torch.linalg.vector_norm(inside, dim=1, keepdim=True)
    if setting.amplitude == "uniform":
        inside = inside * length
    points = inside + setting.noise * normal(n, 3)
    visible = torch.full((n,), -1)
    known = torch.randperm(n, generator=generator)[: round(setting.labelled * n)]
    visible[known] = labels[known]
    return Sample(points, labels, visible, axes)


def start(setting: Setting, seed: int) -> list[Tensor]:
    """Weights and biases of the untrained net, by torch's default law for linear layers: uniform within 1/sqrt(fan-in).

    Returns:
        Weights (3, w), (w, w), (w, 3), each followed by its bias (1, out), float64.
    """
    generator = _generator(seed, _START)
    tensors = []
    for fan_in, fan_out in ((3, setting.width), (setting.width, setting.width), (setting.width, 3)):
        for rows in (fan_in, 1):
            draw = torch.rand(rows, fan_out, generator=generator, dtype=torch.float64)
            tensors.append((2 * draw - 1) / math.sqrt(fan_in))
    return tensors


def targets(seed: int) -> Tensor:
    """The prototypes of one seed, (3, 3), orthonormal rows."""
    return prototypes.orthonormal(CLASSES, 3, _generator(seed, _PROTOTYPES))


def embed(parameters: Sequence[Tensor], points: Tensor, batch_norm: bool = False) -> Tensor:
    """Outputs of the 3-layer net, or of a stack of nets.

    Args:
        parameters: as :func:`start` gives them, each with a leading dimension R for a stack.
        points: (n, 3), or (R, n, 3) for a stack.
        batch_norm: standardise the hidden layers over the n points before the ReLU.

    Returns:
        (n, 3), or (R, n, 3).
    """
    x = points
    for layer in range(3):
        weight, bias = parameters[2 * layer], parameters[2 * layer + 1]
        x = torch.baddbmm(bias, x, weight) if x.ndim == 3 else torch.addmm(bias, x, weight)
        if layer < 2:
            if batch_norm:
                variance, mean = torch.var_mean(x, dim=-2, correction=0, keepdim=True)
                x = (x - mean) / (variance + 1e-5).sqrt()
            x = x.relu()
    return x


def accuracy(embeddings: Tensor, labels: Tensor, visible: Tensor) -> float:
    """The paper's score: kNN with k = 5, fitted on the labelled samples and scored on the others.

    Euclidean distance, majority vote, the lowest class among equals.

    Args:
        embeddings: (n, d).
        labels: (n,) every label.
        visible: (n,) -1 where hidden.

    Returns:
        Fraction of the samples with hidden labels that are classified correctly.
    """
    known = visible >= 0
    distances = torch.cdist(embeddings[~known], embeddings[known], compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.topk(NEIGHBOURS, dim=1, largest=False).indices
    votes = torch.nn.functional.one_hot(visible[known][nearest], CLASSES).sum(1)  # (n hidden, 3)
    return float((votes.argmax(1) == labels[~known]).double().mean())


def class_cosines(embeddings: Tensor, labels: Tensor) -> tuple[float, float, float]:
    """Cosines between the class means of the unit embeddings, pairs (0, 1), (0, 2), (1, 2)."""
    unit = torch.nn.functional.normalize(embeddings, dim=1)
    means = torch.stack([unit[labels == c].mean(0) for c in range(CLASSES)])
    cosines = torch.nn.functional.normalize(means, dim=1)
    gram = cosines @ cosines.T
    return float(gram[0, 1]), float(gram[0, 2]), float(gram[1, 2])


@dataclass(frozen=True)
class Outcome:
    """What became of one run. Of a diverged run every score is NaN: count it, never average it."""

    setting: Setting
    seed: int
    diverged: int | None
    """The epoch in which a parameter or an output stopped being finite; ``None`` for a run that stayed finite."""
    accuracy: float
    """:func:`accuracy` of the embeddings' directions, which is what a loss of cosines shapes."""
    accuracy_outputs: float
    """:func:`accuracy` of the outputs as they are."""
    effective_rank: float
    """Of the unit embeddings of all samples, not centred; from 1 to 3."""
    cosines: tuple[float, float, float]
    """:func:`class_cosines`."""
    losses: Tensor
    """(epochs,) mean loss over the steps of an epoch."""
    norms: Tensor
    """(epochs,) mean length of the outputs in the last step of an epoch."""
    embeddings: Tensor
    """(n, 3) outputs for all samples at the end."""
    history: Tensor | None
    """(T, n, 3) outputs at epochs 0, e, 2e, ... where recording was asked for."""


def train(
    runs: Iterable[tuple[Setting, int]],
    *,
    record_every: int = 0,
    dtype: torch.dtype = torch.float32,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> list[Outcome]:
    """Train every run, stacking those that can be: same loss, temperature, sizes, optimiser and number of epochs.

    Args:
        runs: pairs of setting and seed.
        record_every: keep the embeddings of all samples every so many epochs; 0 for not at all.
        dtype: float32, or float64 to compare.
        jobs: processes, of one thread each, that share the stacks out; 1 stays in this process (needs joblib if not).
        progress: called with (runs finished, runs in all) after each stack.

    Returns:
        One outcome for each run, in the order given. A run that diverges is recorded as such and disturbs no other.

    Raises:
        ValueError: if ``jobs`` is not a positive integer.
    """
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise ValueError(f"jobs must be an integer of at least 1, got {jobs!r}")
    runs = list(runs)
    stacks = _stacks(runs, jobs)
    tasks = [(number, [runs[p] for p in stack], record_every, dtype) for number, stack in enumerate(stacks)]
    outcomes: dict[int, Outcome] = {}
    for number, finished in _results(tasks, jobs):
        outcomes |= zip(stacks[number], finished, strict=True)
        if progress is not None:
            progress(len(outcomes), len(runs))
    return [outcomes[position] for position in range(len(runs))]


def _stacks(runs: Sequence[tuple[Setting, int]], jobs: int) -> list[list[int]]:
    """Positions of the runs that are trained together."""
    alike: dict[Setting, list[int]] = {}
    for position, (setting, _) in enumerate(runs):
        alike.setdefault(replace(setting, **_PER_RUN), []).append(position)
    stacks = []
    for shared, positions in alike.items():
        positions.sort(key=lambda p: runs[p][1])  # runs of one seed share their draws
        largest = max(1, STACK_ENTRIES // (2 * shared.batch_size) ** 2)
        count = max(math.ceil(len(positions) / largest), min(jobs, math.ceil(len(positions) / SMALL_STACK)))
        size = math.ceil(len(positions) / count)
        stacks += [positions[first : first + size] for first in range(0, len(positions), size)]
    return stacks


def _results(tasks: list[tuple[int, Any, int, torch.dtype]], jobs: int) -> Iterable[tuple[int, list[Outcome]]]:
    if jobs == 1:
        return map(_train_stack, tasks)
    import joblib

    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")
    return parallel(joblib.delayed(_train_stack_alone)(task) for task in tasks)


def _train_stack_alone(task: tuple[int, Any, int, torch.dtype]) -> tuple[int, list[Outcome]]:
    torch.set_num_threads(1)
    return _train_stack(task)


# What runs of one stack may differ in, at values that stand for all.
_PER_RUN: dict[str, Any] = {
    field.name: field.default
    for field in fields(Setting)
    if field.name in {"angle", "subspace_dim", "amplitude", "noise", "view_noise", "flip", "labelled", "lr"}
} | {"clop_weight": 1.0}


def _objective(setting: Setting) -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Loss of one run from its outputs (2B, 3), labels (B,), prototypes (3, 3) and weight (); to be mapped."""
    base = {
        "info_nce": functools.partial(losses.info_nce, temperature=setting.temperature),
        "dcl": functools.partial(losses.dcl, temperature=setting.temperature),
        "vicreg": losses.vicreg,
        "barlow_twins": losses.barlow_twins,
        "labels_only": None,
    }[setting.loss]

    def objective(z0: Tensor, z1: Tensor, labels: Tensor, pull: Tensor, weight: Tensor) -> Tensor:
        term = weight * losses.clop(torch.cat([z0, z1]), torch.cat([labels, labels]), pull)
        return term if base is None else base(z0, z1) + term

    return objective


def _train_stack(task: tuple[int, Sequence[tuple[Setting, int]], int, torch.dtype]) -> tuple[int, list[Outcome]]:
    """Train runs that differ in nothing but what ``_PER_RUN`` names and their seeds; the number is passed through."""
    number, runs, record_every, dtype = task
    settings, seeds = zip(*runs, strict=True)
    shared = settings[0]
    drawn = [sample(setting, seed) for setting, seed in runs]
    points = torch.stack([d.points for d in drawn]).to(dtype)  # (R, n, 3)
    visible = torch.stack([d.visible for d in drawn])  # (R, n)
    pull = torch.stack([targets(seed) for seed in seeds]).to(dtype)  # (R, 3, 3)
    per_run = {
        name: torch.tensor([getattr(s, name) for s in settings], dtype=dtype)
        for name in ("lr", "clop_weight", "view_noise", "flip")
    }
    parameters = [torch.stack(p).to(dtype).requires_grad_() for p in zip(*map(start, settings, seeds), strict=True)]
    update = _optimizer(shared.optimizer, parameters, per_run["lr"][:, None, None])
    loss_of = torch.vmap(_objective(shared))
    generators = {seed: _generator(seed, _VIEWS) for seed in seeds}
    diverged: list[int | None] = [None] * len(runs)
    loss_curve, norm_curve, history = [], [], []

    def remember(epoch: int) -> None:
        if record_every and epoch % record_every == 0:
            with torch.no_grad():
                history.append(embed(parameters, points, shared.batch_norm))

    remember(0)
    for epoch in range(1, shared.epochs + 1):
        order, views = _epoch(shared, seeds, generators, points, per_run["view_noise"], per_run["flip"])
        total = points.new_zeros(len(runs))
        for step in range(order.shape[1]):
            z = embed(parameters, views[:, step].flatten(1, 2), shared.batch_norm)  # (R, 2B, 3)
            z0, z1 = z.chunk(2, dim=1)
            loss = loss_of(z0, z1, visible.gather(1, order[:, step]), pull, per_run["clop_weight"])
            update(torch.autograd.grad(loss.sum(), parameters))
            total += loss.detach()
        loss_curve.append(total / order.shape[1])
        norm_curve.append(torch.linalg.vector_norm(z.detach(), dim=2).mean(1))
        finite = torch.stack([p.detach().isfinite().flatten(1).all(1) for p in (*parameters, z)]).all(0)
        for run in (~finite).nonzero().flatten().tolist():
            diverged[run] = diverged[run] or epoch
        remember(epoch)

    with torch.no_grad():
        final = embed(parameters, points, shared.batch_norm)
    for run in (~final.isfinite().flatten(1).all(1)).nonzero().flatten().tolist():
        diverged[run] = diverged[run] or shared.epochs
    curves = [torch.stack(c, 1) if c else points.new_zeros(len(runs), 0) for c in (loss_curve, norm_curve)]
    kept = torch.stack(history, 1) if history else None  # (R, T, n, 3)
    return number, [
        _outcome(
            *runs[run],
            drawn[run],
            diverged[run],
            *(c[run] for c in curves),
            final[run],
            None if kept is None else kept[run],
        )
        for run in range(len(runs))
    ]


def _epoch(
    shared: Setting,
    seeds: Sequence[int],
    generators: dict[int, torch.Generator],
    points: Tensor,
    view_noise: Tensor,
    flip: Tensor,
) -> tuple[Tensor, Tensor]:
    """Batches of one epoch: which samples, (R, S, B), and their two views, (R, S, 2, B, 3)."""
    size = shared.batch_size
    steps = shared.samples // size
    fresh = {}
    for seed, generator in generators.items():
        order = torch.randperm(shared.samples, generator=generator)[: steps * size].view(steps, size)
        noise = torch.randn(steps, 2, size, 3, generator=generator, dtype=torch.float32)
        turn = torch.rand(steps, 2, size, 1, generator=generator, dtype=torch.float32)
        fresh[seed] = (order, noise, turn)
    order, noise, turn = (torch.stack(parts) for parts in zip(*(fresh[seed] for seed in seeds), strict=True))
    batches = points.gather(1, order.flatten(1)[..., None].expand(-1, -1, 3)).view(len(seeds), steps, 1, size, 3)
    per_run = (slice(None), None, None, None, None)
    views = batches + view_noise[per_run] * noise.to(points.dtype)
    return order, torch.where(turn < flip[per_run], -views, views)


def _optimizer(name: str, parameters: list[Tensor], lr: Tensor) -> Callable[[Sequence[Tensor]], None]:
    """The update rule as torch.optim has it, with a learning rate for each run (torch.optim has one for all)."""
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    steps = 0

    @torch.no_grad()
    def sgd(gradients: Sequence[Tensor]) -> None:
        for p, g, velocity in zip(parameters, gradients, first, strict=True):
            velocity.mul_(0.9).add_(g)
            p.sub_(lr * velocity)

    @torch.no_grad()
    def adam(gradients: Sequence[Tensor]) -> None:
        nonlocal steps
        steps += 1
        for p, g, mean, square in zip(parameters, gradients, first, second, strict=True):
            mean.lerp_(g, 0.1)
            square.mul_(0.999).addcmul_(g, g, value=0.001)
            denominator = (square / (1 - 0.999**steps)).sqrt_().add_(1e-8)
            p.sub_(lr / (1 - 0.9**steps) * mean / denominator)

    return {"sgd": sgd, "adam": adam}[name]


def _outcome(
    setting: Setting,
    seed: int,
    drawn: Sample,
    diverged: int | None,
    loss_curve: Tensor,
    norm_curve: Tensor,
    final: Tensor,
    history: Tensor | None,
) -> Outcome:
    scores: dict[str, Any] = {"accuracy": math.nan, "accuracy_outputs": math.nan, "effective_rank": math.nan}
    scores["cosines"] = (math.nan,) * 3
    if diverged is None:
        unit = torch.nn.functional.normalize(final.double(), dim=1)  # squares of huge outputs overflow float32
        scores = {
            "accuracy": accuracy(unit, drawn.labels, drawn.visible),
            "accuracy_outputs": accuracy(final.double(), drawn.labels, drawn.visible),
            "effective_rank": float(spectra.effective_rank(unit)),
            "cosines": class_cosines(unit, drawn.labels),
        }
    return Outcome(
        setting, seed, diverged, **scores, losses=loss_curve, norms=norm_curve, embeddings=final, history=history
    )
