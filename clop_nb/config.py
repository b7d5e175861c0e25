"""What one image run is: every choice that its result depends on, checked, hashable, and with an identity.

Device, threads and folders are not here: they say where a run happens, not what it is. The record keeps them.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

__all__ = ["AUTHORS", "LOSSES", "PRINTED", "RunConfig"]

DATASETS = ("digits", "fashion_mnist", "cifar10", "cifar100", "tiny_imagenet")
ENCODERS = ("resnet8", "resnet18", "resnet50")
LOSSES = ("info_nce", "sup_con", "dcl", "vicreg", "barlow_twins", "labels_only")
LR_RULES = ("constant", "linear", "sqrt")
OPTIMIZERS = ("sgd", "lars")
SCHEDULES = ("cosine", "constant")
PROTOTYPES = ("orthonormal", "simplex_etf")
LABEL_SUBSETS = ("fixed", "redrawn")
PRECISIONS = ("float32", "bf16")
PROBES = ("logistic", "authors")

_WITH_LABELS = ("sup_con", "labels_only")
_WITH_TEMPERATURE = ("info_nce", "sup_con", "dcl")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One image run. Frozen and hashable; fields are keyword-only.

    Raises:
        ValueError: if a value is not accepted; the message names the field and what is accepted.
    """

    dataset: str = "digits"
    """One of :data:`DATASETS`."""
    train_samples: int | None = None
    """Train on this many samples only, an equal share of each class as far as possible; ``None``: all of them."""
    encoder: str = "resnet8"
    """One of :data:`ENCODERS`."""
    dim: int = 128
    """Dimension of the embeddings."""
    normalise_features: bool = False
    """Divide the encoder's output by its norm before the projection head, as the authors' code does."""
    loss: str = "sup_con"
    """One of :data:`LOSSES`. ``labels_only`` is the CLOP term without a contrastive loss."""
    temperature: float = 0.5
    """Of InfoNCE, SupCon and DCL."""
    clop_weight: float = 0.0
    """Weight of the CLOP term beside the mean loss; 0 leaves it out."""
    prototypes: str = "orthonormal"
    """``orthonormal`` (the paper) or ``simplex_etf``."""
    label_fraction: float = 1.0
    """Share of the training labels that the loss sees, in (0, 1]; 0 in the canonical form of a loss without labels."""
    label_subset: str = "fixed"
    """``fixed``: one subset for the whole run. ``redrawn``: a new one each step (the authors' code at first)."""
    probe_fraction: float | tuple[float, ...] = 1.0
    """Share of the training labels that the classifier sees, in (0, 1]. Several: one training, a result for each."""
    probe: str = "logistic"
    """``logistic``, or ``authors`` for their protocol; see :mod:`clop_nb.evaluate`."""
    batch_size: int = 256
    """Samples a step, two views each; the rest of an epoch that does not fill a batch is left out."""
    epochs: int = 15
    optimizer: str = "sgd"
    """``sgd``, or ``lars`` as in google-research/simclr."""
    lr: float = 0.3
    """Learning rate, or its coefficient; see ``lr_rule``."""
    lr_rule: str = "constant"
    """The peak rate is ``constant``: lr, ``linear``: lr * batch_size / 256, ``sqrt``: lr * sqrt(batch_size)."""
    momentum: float = 0.9
    weight_decay: float = 1e-6
    schedule: str = "cosine"
    """``cosine`` from the peak to 0, or ``constant``; after the warm-up, counted in steps."""
    warmup_epochs: float = 0.0
    """The rate rises linearly over this many epochs."""
    precision: str = "float32"
    """``float32``, or ``bf16`` for autocast to bfloat16."""
    compile: bool = False
    """Run the model through ``torch.compile``."""
    seed: int = 0
    """Start of all the random streams: weights, prototypes, label subsets, batches, views."""

    def __post_init__(self) -> None:
        choices = {
            "dataset": DATASETS,
            "encoder": ENCODERS,
            "loss": LOSSES,
            "prototypes": PROTOTYPES,
            "label_subset": LABEL_SUBSETS,
            "probe": PROBES,
            "optimizer": OPTIMIZERS,
            "lr_rule": LR_RULES,
            "schedule": SCHEDULES,
            "precision": PRECISIONS,
        }
        for name, accepted in choices.items():
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} must be one of {', '.join(accepted)}, got {getattr(self, name)!r}")
        for name, least in {"dim": 1, "batch_size": 2, "epochs": 1, "seed": 0}.items():
            _whole(self, name, least)
        if self.train_samples is not None:
            _whole(self, "train_samples", 2)
        for name in ("normalise_features", "compile"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, got {getattr(self, name)!r}")
        for name in ("temperature", "lr"):
            _number(self, name, "a finite number above 0", lambda value: value > 0)
        for name in ("clop_weight", "weight_decay", "warmup_epochs"):
            _number(self, name, "a finite number of at least 0", lambda value: value >= 0)
        _number(self, "momentum", "a number of at least 0 and below 1", lambda value: 0 <= value < 1)
        unused = not self.uses_labels
        _number(
            self, "label_fraction", "above 0 and at most 1", lambda value: 0 < value <= 1 or (unused and value == 0)
        )
        self._set_probe_fraction()
        if self.loss == "labels_only" and self.clop_weight == 0:
            raise ValueError("clop_weight must be above 0 for the loss labels_only, got 0: there would be no loss")
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs must be at most epochs ({self.epochs}), got {self.warmup_epochs!r}")

    def _set_probe_fraction(self) -> None:
        given = self.probe_fraction
        fractions = given if isinstance(given, (tuple, list)) else (given,)
        if not fractions or not all(_is_number(value) and 0 < value <= 1 for value in fractions):
            raise ValueError(f"probe_fraction must be above 0 and at most 1, one number or several, got {given!r}")
        ordered = tuple(sorted({float(value) for value in fractions}))
        object.__setattr__(self, "probe_fraction", ordered if len(ordered) > 1 else ordered[0])

    @property
    def uses_labels(self) -> bool:
        """Whether the loss looks at labels."""
        return self.loss in _WITH_LABELS or self.clop_weight > 0

    @property
    def uses_prototypes(self) -> bool:
        """Whether the loss has the CLOP term."""
        return self.clop_weight > 0

    @property
    def probe_fractions(self) -> tuple[float, ...]:
        """``probe_fraction`` as a tuple, ascending."""
        return self.probe_fraction if isinstance(self.probe_fraction, tuple) else (self.probe_fraction,)

    @property
    def peak_lr(self) -> float:
        """The learning rate after the warm-up, from ``lr`` and ``lr_rule``."""
        scale = {"constant": 1.0, "linear": self.batch_size / 256, "sqrt": math.sqrt(self.batch_size)}
        return self.lr * scale[self.lr_rule]

    def canonical(self) -> RunConfig:
        """The same training with every field that does not matter to it at one agreed value.

        A loss without labels has ``label_fraction`` 0, so that it is trained once for all fractions; without CLOP the
        kind of prototypes, with all labels or none the kind of subset, and without a temperature its value, do not
        count.
        """
        plain: dict[str, Any] = {}
        if not self.uses_labels:
            plain["label_fraction"] = 0.0
        if not self.uses_prototypes:
            plain["prototypes"] = "orthonormal"
        if plain.get("label_fraction", self.label_fraction) in (0.0, 1.0):
            plain["label_subset"] = "fixed"
        if self.loss not in _WITH_TEMPERATURE:
            plain["temperature"] = RunConfig.temperature
        return replace(self, **plain)

    @property
    def id(self) -> str:
        """Identity: the first 16 hexadecimal digits of the SHA-256 of the canonical form. Names the record's file."""
        text = json.dumps(self.canonical().to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as JSON keeps them."""
        values = asdict(self)
        if isinstance(self.probe_fraction, tuple):
            values["probe_fraction"] = list(self.probe_fraction)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunConfig:
        """The inverse of :meth:`to_dict`.

        Raises:
            ValueError: if a field is missing, unknown or not accepted.
        """
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            missing, unknown = sorted(names - set(values)), sorted(set(values) - names)
            raise ValueError(f"config must have the fields of RunConfig; missing: {missing}, unknown: {unknown}")
        return cls(**values)


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _number(config: RunConfig, name: str, accepted: str, check: Callable[[float], bool]) -> None:
    """Check a real field and keep it as a float, so that 1 and 1.0 are one configuration."""
    value = getattr(config, name)
    if not _is_number(value) or not check(float(value)):
        raise ValueError(f"{name} must be {accepted}, got {value!r}")
    object.__setattr__(config, name, float(value))


def _whole(config: RunConfig, name: str, least: int) -> None:
    value = getattr(config, name)
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
    object.__setattr__(config, name, int(value))


def _at_scale(dataset: str, **values: Any) -> RunConfig:
    common = dict(encoder="resnet50", optimizer="lars", lr=0.3, lr_rule="linear", batch_size=1024, precision="bf16")
    return RunConfig(dataset=dataset, **{**common, **values})


PRINTED: dict[str, RunConfig] = {
    "cifar100": _at_scale("cifar100", epochs=200, temperature=0.2, dim=128, clop_weight=1.0),
    "tiny_imagenet": _at_scale("tiny_imagenet", epochs=100, temperature=0.1, dim=256, clop_weight=1.0),
}
"""The paper's setting, data set by data set: SupCon + CLOP, weight 1, all labels, at the batch size of its Fig. 7.

Printed are batch sizes, epochs, the rule 0.3 * batch / 256 for every method, weights and label fractions. **Not
printed**, and taken from the authors' code: encoder, embedding dimension, temperature, LARS, its momentum and decay.
Neither printed nor theirs: a cosine over the steps of the run (the text names no schedule, and the code's never
decays), Khosla's form of SupCon, a label subset that is fixed, and bfloat16. Vary it with ``dataclasses.replace``.
"""

_THEIR_WAY = dict(
    normalise_features=True, schedule="constant", label_subset="redrawn", probe="authors", precision="float32"
)
_SUP_CON_ON_CIFAR = dict(epochs=200, dim=128, lr=0.075, lr_rule="sqrt", clop_weight=1.0)
AUTHORS: dict[str, RunConfig] = {
    "cifar10": _at_scale("cifar10", temperature=0.5, **_SUP_CON_ON_CIFAR, **_THEIR_WAY),
    "cifar100": _at_scale("cifar100", temperature=0.2, **_SUP_CON_ON_CIFAR, **_THEIR_WAY),
    "tiny_imagenet": replace(PRINTED["tiny_imagenet"], warmup_epochs=10.0, **_THEIR_WAY),
}
"""What the authors' public code did (github.com/manhbeo/CLOP, 717b37a of 2024-09-20), by data set, with SupCon + CLOP.

Against :data:`PRINTED`: the encoder's output is divided by its norm; the rate of SupCon on CIFAR is
0.075 * sqrt(batch) (0.3 * batch / 256 for every other loss: set ``lr`` and ``lr_rule``); it never decays, since the
code's cosine counts epochs against a number of steps; Tiny-ImageNet warms up over 10 epochs; label subsets are redrawn
each step (which matters below ``label_fraction`` 1); the probe is theirs. Their number of epochs is not known: the
printed ones stand here. What is **not** imitated: their SupCon (the sum inside the logarithm, view 0 against view 1
only), RandAugment on Tiny-ImageNet, and the warm-up by epochs instead of steps. Their precision is not known.
"""
