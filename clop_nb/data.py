"""The image sets of the experiments, each split as one uint8 tensor.

- ``digits``: 1437 + 360 images, 1x8x8, 10 classes. scikit-learn's ``load_digits``, which is the test part of Alpaydin
  and Kaynak's "Optical Recognition of Handwritten Digits" (UCI, 1998), CC BY 4.0. Comes with scikit-learn.
- ``fashion_mnist``: 60000 + 10000 images, 1x28x28, 10 classes. Xiao, Rasul and Vollgraf 2017 (arXiv 1708.07747),
  Zalando SE, MIT licence.
- ``cifar10``, ``cifar100``: 50000 + 10000 images, 3x32x32, 10 and 100 classes. Krizhevsky 2009, "Learning Multiple
  Layers of Features from Tiny Images". No licence is stated; the report is to be cited.
- ``tiny_imagenet``: 100000 + 10000 images, 3x64x64, 200 classes. Stanford CS231n's reduction of ImageNet (Russakovsky
  et al. 2015), under ImageNet's terms: non-commercial research and education. Its validation images are the test
  split here, because the labels of its test images are not public.

Archives are read where they lie, member by member; nothing is unpacked. The pickles inside CIFAR's can build lists,
dictionaries and arrays of bytes and nothing else.
"""

from __future__ import annotations

import gzip
import io
import math
import os
import pickle
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from clop_nb.archives import Archive, DataError, fetch, locked
from clop_nb.progress import progress

__all__ = ["DataError", "DataSet", "labelled_subset", "load"]

_ZALANDO = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_STANFORD = "http://cs231n.stanford.edu/"

# Debian packs Fashion-MNIST's four files anew, without name and date in gzip's header: hence their second checksums.
ARCHIVES = {
    name: Archive(name, where + name, tuple(md5))
    for name, where, *md5 in (
        (
            "train-images-idx3-ubyte.gz",
            _ZALANDO,
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "cf8536b0aa1a6ac5fa3f23001093305c",
        ),
        (
            "train-labels-idx1-ubyte.gz",
            _ZALANDO,
            "25c81989df183df01b3e8a0aad5dffbe",
            "10bea18fdb374794d4bb42e356e600c9",
        ),
        ("t10k-images-idx3-ubyte.gz", _ZALANDO, "bef4ecab320f06d8554ea6380940ec79", "f78720b4224f21cce2f2ccf2d7a94c9a"),
        ("t10k-labels-idx1-ubyte.gz", _ZALANDO, "bb300cfdad3c16e7a12a480ee83cd310", "0d30e22e447f3c33dab9ed536400ac01"),
        ("cifar-10-python.tar.gz", _TORONTO, "c58f30108f718f92721af3b95e74349a"),
        ("cifar-100-python.tar.gz", _TORONTO, "eb9058c3a382ffc7106e4002c42a8d85"),
        ("tiny-imagenet-200.zip", _STANFORD, "90528d7ca1a48142e341f4ef8d21d0de"),
    )
}
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")

_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


class DataSet(NamedTuple):
    """An image set.

    Attributes:
        train_images: (N, C, H, W) uint8.
        train_labels: (N,) int64, from 0.
        test_images: (M, C, H, W) uint8.
        test_labels: (M,) int64.
        class_names: One name per class, in the order of the labels.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]


def load(name: str, root: str | os.PathLike[str] | None = None, download: bool = False) -> DataSet:
    """Load an image set into memory.

    Checksums are verified each time. Tiny-ImageNet's images, once decoded, are kept as a file beside the archive
    (1.4 GB), because decoding takes most of a minute.

    Args:
        name: ``digits``, ``fashion_mnist``, ``cifar10``, ``cifar100`` or ``tiny_imagenet``.
        root: Folder of the archives; by default the environment variable ``CLOP_NB_DATA``, else ``~/.cache/clop_nb``.
            Fashion-MNIST's files lie in its ``FashionMNIST/raw``, as torchvision puts them, or where Debian's package
            ``dataset-fashion-mnist`` does. ``digits`` needs no files.
        download: Whether to download what is missing or corrupt.

    Returns:
        Both splits and the names of the classes.

    Raises:
        ValueError: If the name is unknown.
        FileNotFoundError: If an archive is missing and ``download`` is false.
        DataError: If an archive is truncated, corrupt or not what it should be, or a download fails.
    """
    if name not in tuple(_LOADERS):
        raise ValueError(f"name must be one of {', '.join(_LOADERS)}, got {name!r}")
    folder = Path(root or os.environ.get("CLOP_NB_DATA") or "~/.cache/clop_nb").expanduser()
    return _LOADERS[name](folder, download)


def labelled_subset(labels: Tensor, fraction: float, generator: torch.Generator | None = None) -> Tensor:
    """Keep a random fraction of the labels and hide the others, class by class.

    Of a class with n samples, ``fraction * n`` keep their label, rounded to the nearest integer, halves upwards.

    Args:
        labels: (N,) int64; samples labelled -1 stay so and count for no class.
        fraction: Share of the labels to keep, 0 < fraction <= 1.
        generator: Source of randomness; torch's global one if ``None``.

    Returns:
        (N,) int64 on the device of ``labels``: the label, or -1 where it is hidden.

    Raises:
        ValueError: If the fraction is out of range or leaves a class without any label, or labels are not (N,) int64
            with values from -1.
    """
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64 or labels.ndim != 1:
        described = f"{labels.dtype} of shape {tuple(labels.shape)}" if isinstance(labels, Tensor) else repr(labels)
        raise ValueError(f"labels must be an int64 tensor of shape (N,), got {described}")
    if not isinstance(fraction, (int, float)) or not 0 < fraction <= 1:
        raise ValueError(f"fraction must be a number with 0 < fraction <= 1, got {fraction!r}")
    if labels.numel() and labels.min() < -1:
        raise ValueError(f"labels must be -1 for unlabelled or a class from 0, got {int(labels.min())}")
    chosen = []
    for label in labels.unique().tolist():
        if label == -1:
            continue
        members = (labels == label).nonzero().squeeze(1)  # (n,)
        keep = math.floor(fraction * len(members) + 0.5)
        if keep == 0:
            raise ValueError(
                f"fraction {fraction} leaves class {label} without a label: it has {len(members)} samples, "
                f"so the fraction must be at least 0.5 / {len(members)}"
            )
        device = generator.device if generator is not None else "cpu"
        order = torch.randperm(len(members), generator=generator, device=device)[:keep]
        chosen.append(members[order.to(labels.device)])
    kept = torch.full_like(labels, -1)
    if chosen:
        index = torch.cat(chosen)
        kept[index] = labels[index]
    return kept


def _digits(root: Path, download: bool) -> DataSet:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]  # (N, 1, 8, 8), from values 0 .. 16
    labels = digits.target.astype(np.int64)
    split = train_test_split(images, labels, test_size=360, stratify=labels, random_state=0)
    train_images, test_images, train_labels, test_labels = (torch.from_numpy(part) for part in split)
    return DataSet(train_images, train_labels, test_images, test_labels, tuple("0123456789"))


def _fashion_mnist(root: Path, download: bool) -> DataSet:
    folders = (root / "FashionMNIST" / "raw", DEBIAN_FASHION_MNIST)
    parts = []
    for split in ("train", "t10k"):
        paths = [
            fetch(ARCHIVES[f"{split}-{kind}-ubyte.gz"], folders, download) for kind in ("images-idx3", "labels-idx1")
        ]
        with _reading(paths[0]):
            images = _idx(paths[0], ndim=3).unsqueeze(1)  # (N, 1, 28, 28)
        with _reading(paths[1]):
            labels = _idx(paths[1], ndim=1).long()
            _check_labels(images, labels, len(_CLOTHES))
        parts += [images, labels]
    return DataSet(*parts, _CLOTHES)


def _idx(path: Path, ndim: int) -> Tensor:
    """A gzipped IDX file of unsigned bytes: 0, 0, type 8, number of dimensions, big-endian sizes, values."""
    with gzip.open(path) as file:
        content = file.read()
    if content[:4] != bytes((0, 0, 8, ndim)):
        raise ValueError(f"it does not start as an IDX file of {ndim}-dimensional bytes does")
    shape = np.frombuffer(content, ">u4", count=ndim, offset=4).tolist()
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * ndim)
    return torch.from_numpy(values.reshape(shape).copy())


def _cifar10(root: Path, download: bool) -> DataSet:
    folder = "cifar-10-batches-py"
    train = [f"{folder}/data_batch_{i}" for i in range(1, 6)]
    path = fetch(ARCHIVES["cifar-10-python.tar.gz"], [root], download)
    return _cifar(path, train, f"{folder}/test_batch", f"{folder}/batches.meta", b"labels", b"label_names")


def _cifar100(root: Path, download: bool) -> DataSet:
    folder = "cifar-100-python"
    path = fetch(ARCHIVES["cifar-100-python.tar.gz"], [root], download)
    return _cifar(path, [f"{folder}/train"], f"{folder}/test", f"{folder}/meta", b"fine_labels", b"fine_label_names")


def _cifar(path: Path, train: list[str], test: str, meta: str, labels_key: bytes, names_key: bytes) -> DataSet:
    """Read a CIFAR archive of pickled batches: ``data`` (N, 3072), a row holding the red, green and blue plane."""
    with _reading(path):
        members = {name: _Unpickler(content).load() for name, content in _tar_members(path, [*train, test, meta])}
        class_names = tuple(name.decode() for name in members[meta][names_key])
        parts = []
        for names in (train, [test]):
            batches = [members[name] for name in names]
            pixels = np.concatenate([batch[b"data"].values for batch in batches])
            images = torch.from_numpy(pixels.reshape(len(pixels), 3, 32, 32))
            labels = torch.tensor([label for batch in batches for label in batch[labels_key]], dtype=torch.int64)
            _check_labels(images, labels, len(class_names))
            parts += [images, labels]
    return DataSet(*parts, class_names)


def _tar_members(path: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Contents of the named regular files of a tar archive, in one pass over it."""
    missing = set(names)
    with tarfile.open(path) as archive:
        for member in archive:
            if member.name in missing and member.isreg():
                missing.remove(member.name)
                yield member.name, archive.extractfile(member).read()  # type: ignore[union-attr]
    if missing:
        raise ValueError(f"it has no {', '.join(sorted(missing))}")


class _PickledDType:
    """Stands in for a numpy type."""

    def __init__(self, name: bytes, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Byte order and the like: a byte has none."""


class _PickledArray:
    """Stands in for a numpy array, which could be told to read memory that is not its own."""

    values: np.ndarray

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: tuple[int, tuple[int, ...], _PickledDType, bool, bytes]) -> None:
        _, shape, dtype, column_major, content = state
        if dtype.name != b"u1":
            raise pickle.UnpicklingError(f"an array of type {dtype.name!r} where only bytes belong")
        self.values = np.frombuffer(content, np.uint8).reshape(shape, order="F" if column_major else "C")


_KNOWN_TO_PICKLES = {
    ("numpy.core.multiarray", "_reconstruct"): _PickledArray,
    ("numpy", "ndarray"): _PickledArray,
    ("numpy", "dtype"): _PickledDType,
}


class _Unpickler(pickle.Unpickler):
    """Reads the pickles of Python 2 that CIFAR's archives hold: nothing they name is ever imported or called."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN_TO_PICKLES:
            raise pickle.UnpicklingError(f"a pickle in it asks for {module}.{name}, which no image set needs")
        return _KNOWN_TO_PICKLES[module, name]


def _tiny_imagenet(root: Path, download: bool) -> DataSet:
    archive = ARCHIVES["tiny-imagenet-200.zip"]
    path = fetch(archive, [root], download)
    kept = path.with_suffix(".decoded.pt")
    key = (_DECODED_AS, *archive.md5)
    data = _read_decoded(kept, key)
    if data is None:
        with _reading(path):
            data = _decode_tiny_imagenet(path)
        _write_decoded(kept, key, data)
    return data


# Part of the key of the file of decoded images: to be raised when their order, their labels or the names change.
_DECODED_AS = "1"
_TRAIN_IMAGE = re.compile(r"tiny-imagenet-200/train/(n\d+)/images/[^/]+\.JPEG")


def _decode_tiny_imagenet(path: Path) -> DataSet:
    """Classes in the order of their WordNet ids, training images in that of their names, as folder loaders do it."""
    folder = "tiny-imagenet-200"
    with zipfile.ZipFile(path) as archive:

        def rows(member: str) -> list[list[str]]:
            return [line.split("\t") for line in archive.read(f"{folder}/{member}").decode().splitlines() if line]

        ids = sorted(row[0] for row in rows("wnids.txt"))
        label_of = {wnid: label for label, wnid in enumerate(ids)}
        words = dict(row[:2] for row in rows("words.txt"))
        train = sorted(match.group() for match in map(_TRAIN_IMAGE.fullmatch, archive.namelist()) if match)
        train_labels = [label_of[name.split("/")[2]] for name in train]
        validation = rows("val/val_annotations.txt")
        test = [f"{folder}/val/images/{row[0]}" for row in validation]
        test_labels = [label_of[row[1]] for row in validation]
        show = progress("decoding Tiny-ImageNet, this once", len(train) + len(test), "images")
        parts = []
        for names, labels, done in ((train, train_labels, 0), (test, test_labels, len(train))):
            images = torch.empty(len(names), 3, 64, 64, dtype=torch.uint8)
            for i, name in enumerate(names):
                images[i] = _decode_jpeg(archive.read(name), name)
                show(done + i + 1)
            parts += [images, torch.tensor(labels, dtype=torch.int64)]
            _check_labels(*parts[-2:], len(ids))
    return DataSet(*parts, tuple(words[wnid] for wnid in ids))


def _decode_jpeg(content: bytes, name: str) -> Tensor:
    """(3, 64, 64) uint8; the few grey images get three equal channels."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    except OSError as error:
        raise ValueError(f"{name} cannot be decoded: {error}") from error
    if pixels.shape != (3, 64, 64):
        raise ValueError(f"{name} has shape {tuple(pixels.shape)} instead of (3, 64, 64)")
    return pixels


def _read_decoded(kept: Path, key: tuple[str, ...]) -> DataSet | None:
    """The decoded images, or None if there are none, they are of another archive, or the file is damaged."""
    try:
        content = torch.load(kept, weights_only=True)
        return DataSet(**content["data"]) if content["key"] == key else None
    except (OSError, EOFError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError):
        return None


def _write_decoded(kept: Path, key: tuple[str, ...], data: DataSet) -> None:
    part = kept.with_name(kept.name + ".part")
    try:
        with locked(kept):
            try:
                torch.save({"key": key, "data": data._asdict()}, part)
                os.replace(part, kept)
            finally:
                part.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"the decoded images could not be kept as {kept} ({error}): they will be decoded again", stacklevel=4
        )


def _check_labels(images: Tensor, labels: Tensor, num_classes: int) -> None:
    if len(images) != len(labels):
        raise ValueError(f"it has {len(images)} images and {len(labels)} labels in a split")
    if len(labels) == 0 or labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(f"a split has no labels, or labels outside 0 .. {num_classes - 1}")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Whatever a damaged file makes its parser raise, say which file it was and what to do."""
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        raise DataError(
            f"{path} has the right checksum and yet cannot be read: {error!r}. "
            "Delete it and fetch it again with download=True; if that does not help, the loader is at fault"
        ) from error


_LOADERS: dict[str, Callable[[Path, bool], DataSet]] = {
    "digits": _digits,
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "tiny_imagenet": _tiny_imagenet,
}
