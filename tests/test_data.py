"""Image sets: the ones at hand, the others from small archives of the true format, and everything that can be wrong."""

import gzip
import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter

import numpy as np
import pytest
import torch

from clop_nb import data
from clop_nb.archives import Archive


def gen(seed=0):
    return torch.Generator().manual_seed(seed)


def random_bytes(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def publish(monkeypatch, path, content):
    """Put an archive in place, its checksum the one that is expected."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    archive = Archive(path.name, f"http://127.0.0.1:1/{path.name}", (hashlib.md5(content).hexdigest(),))
    monkeypatch.setitem(data.ARCHIVES, path.name, archive)


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


# Names, places, digits


def test_an_unknown_name_lists_the_known_ones():
    for name in ("mnist", None, ["digits"]):
        with pytest.raises(ValueError, match="digits, fashion_mnist, cifar10, cifar100, tiny_imagenet, got"):
            data.load(name)


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "cifar100", "tiny_imagenet"])
def test_what_is_missing_is_looked_for_under_root_else_the_variable_else_the_cache(name, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "DEBIAN_FASHION_MNIST", tmp_path / "none")
    monkeypatch.setenv("CLOP_NB_DATA", str(tmp_path / "variable"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for root, place in ((tmp_path / "root", "root"), (None, "variable")):
        with pytest.raises(FileNotFoundError, match=f"{tmp_path / place}.*download=True"):
            data.load(name, root)
    monkeypatch.delenv("CLOP_NB_DATA")
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "home/.cache/clop_nb")):
        data.load(name)
    assert files(tmp_path) == set()


def test_digits_are_the_same_split_everywhere():
    split = data.load("digits")
    assert [tuple(part.shape) for part in split[:4]] == [(1437, 1, 8, 8), (1437,), (360, 1, 8, 8), (360,)]
    assert [part.dtype for part in split[:4]] == [torch.uint8, torch.int64] * 2
    assert split.class_names == tuple("0123456789")
    hashes = [hashlib.sha256(part.numpy().tobytes()).hexdigest()[:16] for part in split[:4]]
    assert hashes == ["c55533fa45b670a4", "c1281028e5251b91", "ac6ada28192bd51a", "4493b2052e7b4258"]


def test_digits_are_all_of_scikit_learns_and_stratified():
    from sklearn.datasets import load_digits

    split, original = data.load("digits"), load_digits()

    def pairs(images, labels):
        return Counter((tuple(row), int(label)) for row, label in zip(images, labels, strict=True))

    images = torch.cat([split.train_images, split.test_images]).flatten(1)
    labels = torch.cat([split.train_labels, split.test_labels])
    sixteenths = (images.double() * 16 / 255).round().int().tolist()
    assert pairs(sixteenths, labels) == pairs(original.data.astype(int).tolist(), original.target)
    assert (images.min(), images.max()) == (0, 255)
    share = split.test_labels.bincount() / labels.bincount()
    assert (share - 360 / 1797).abs().max() < 1 / 174  # the smallest class has 174 samples: nearest integers


# Fashion-MNIST


def idx(values):
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes((0, 0, 8, values.ndim)) + sizes + values.tobytes()


def fashion_archives(train=20, test=10):
    return {
        "train-images-idx3-ubyte.gz": idx(random_bytes(train, 28, 28)),
        "train-labels-idx1-ubyte.gz": idx((np.arange(train) % 10).astype(np.uint8)),
        "t10k-images-idx3-ubyte.gz": idx(random_bytes(test, 28, 28, seed=1)),
        "t10k-labels-idx1-ubyte.gz": idx((np.arange(test) % 10).astype(np.uint8)),
    }


@pytest.mark.parametrize("debian", [False, True])
def test_fashion_mnist_is_read_from_torchvisions_folder_or_debians(tmp_path, monkeypatch, debian):
    monkeypatch.setattr(data, "DEBIAN_FASHION_MNIST", tmp_path / "debian")
    for name, content in fashion_archives().items():
        folder = tmp_path / "debian" if debian else tmp_path / "root" / "FashionMNIST" / "raw"
        publish(monkeypatch, folder / name, gzip.compress(content))
    split = data.load("fashion_mnist", tmp_path / "root")
    assert np.array_equal(split.train_images[:, 0].numpy(), random_bytes(20, 28, 28))
    assert np.array_equal(split.test_images[:, 0].numpy(), random_bytes(10, 28, 28, seed=1))
    assert split.train_labels.tolist() == list(range(10)) * 2
    assert split.test_labels.dtype == torch.int64
    assert split.class_names[0] == "T-shirt/top"
    assert len(split.class_names) == 10
    split.train_images.add_(1)  # the tensors are the caller's


def test_the_real_fashion_mnist_where_it_is_installed(tmp_path):
    if not data.DEBIAN_FASHION_MNIST.is_dir():
        pytest.skip("Debian's dataset-fashion-mnist is not installed")
    torchvision = pytest.importorskip("torchvision")
    (tmp_path / "FashionMNIST").mkdir()
    (tmp_path / "FashionMNIST" / "raw").mkdir()
    for archive in data.DEBIAN_FASHION_MNIST.glob("*.gz"):
        (tmp_path / "FashionMNIST" / "raw" / archive.stem).write_bytes(gzip.decompress(archive.read_bytes()))
    ours = data.load("fashion_mnist", tmp_path)
    for part, images, labels in (
        (True, ours.train_images, ours.train_labels),
        (False, ours.test_images, ours.test_labels),
    ):
        theirs = torchvision.datasets.FashionMNIST(str(tmp_path), train=part)
        assert torch.equal(images[:, 0], theirs.data)
        assert torch.equal(labels, theirs.targets)
        assert list(ours.class_names) == theirs.classes


def test_our_checksums_are_torchvisions():
    torchvision = pytest.importorskip("torchvision")
    theirs = dict(torchvision.datasets.FashionMNIST.resources)
    for cifar in (torchvision.datasets.CIFAR10, torchvision.datasets.CIFAR100):
        theirs[cifar.filename] = cifar.tgz_md5
        assert data.ARCHIVES[cifar.filename].url == cifar.url
    assert {name: data.ARCHIVES[name].md5[0] for name in theirs} == theirs
    for name in dict(torchvision.datasets.FashionMNIST.resources):
        assert data.ARCHIVES[name].url in [mirror + name for mirror in torchvision.datasets.FashionMNIST.mirrors]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda content: gzip.compress(content)[:-20], "end-of-stream"),
        (lambda content: b"not gzip", "Not a gzipped file"),
        (lambda content: gzip.compress(b"\0\0\x09\x01" + content[4:]), "IDX file of 1-dimensional"),
        (lambda content: gzip.compress(content[:-1]), "reshape"),
        (lambda content: gzip.compress(idx(np.zeros(19, np.uint8))), "20 images and 19 labels"),
        (lambda content: gzip.compress(idx(np.full(20, 10, np.uint8))), r"outside 0 \.\. 9"),
    ],
)
def test_spoilt_labels_of_fashion_mnist_are_refused(tmp_path, monkeypatch, spoil, words):
    raw = tmp_path / "FashionMNIST" / "raw"
    for name, content in fashion_archives().items():
        publish(monkeypatch, raw / name, gzip.compress(content))
    path = raw / "train-labels-idx1-ubyte.gz"
    content = spoil(fashion_archives()[path.name])
    path.write_bytes(content)
    with pytest.raises(data.DataError, match="truncated or corrupt"):
        data.load("fashion_mnist", tmp_path)
    publish(monkeypatch, path, content)
    with pytest.raises(data.DataError, match=words) as caught:
        data.load("fashion_mnist", tmp_path)
    assert str(path) in str(caught.value)


# CIFAR


def python2_pickle(value):
    """The bytes that Python 2 wrote at protocol 2, of the kinds of values that CIFAR's batches hold."""

    def text(content):
        return b"T" + len(content).to_bytes(4, "little") + content  # BINSTRING

    def write(value):
        if isinstance(value, bytes):
            return text(value)
        if isinstance(value, int):
            return b"J" + value.to_bytes(4, "little", signed=True)
        if isinstance(value, list):
            return b"](" + b"".join(map(write, value)) + b"e"
        if isinstance(value, dict):
            return b"}(" + b"".join(write(key) + write(entry) for key, entry in value.items()) + b"u"
        empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n(K\0t" + text(b"b") + b"\x87R"
        code = value.dtype.str[1:].encode()
        dtype = (
            b"cnumpy\ndtype\n"
            + text(code)
            + b"K\0K\1\x87R(K\3"
            + text(b"|")
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
        )
        shape = b"(" + b"".join(map(write, value.shape)) + b"t"
        column_major = not value.flags.c_contiguous
        order = b"\x88" if column_major else b"\x89"
        return empty + b"(K\1" + shape + dtype + order + text(value.tobytes("F" if column_major else "C")) + b"tb"

    return b"\x80\x02" + write(value) + b"."


def batch(pixels, labels, key=b"labels"):
    names = [b"image.png"] * len(labels)
    return {b"batch_label": b"a batch", key: labels, b"data": pixels, b"filenames": names}


def cifar10_members():
    members = {"batches.meta": {b"num_cases_per_batch": 4, b"label_names": [b"cat", b"dog", b"newt"], b"num_vis": 3072}}
    for i in range(5):
        members[f"data_batch_{i + 1}"] = batch(random_bytes(4, 3072, seed=i), [0, 1, 2, i % 3])
    members["test_batch"] = batch(random_bytes(3, 3072, seed=9), [2, 1, 0])
    return {f"cifar-10-batches-py/{name}": python2_pickle(member) for name, member in members.items()}


def cifar100_members():
    members = {
        "meta": {b"fine_label_names": [b"apple", b"beetle"], b"coarse_label_names": [b"fruit"]},
        "train": {**batch(random_bytes(4, 3072), [0, 1, 1, 0], b"fine_labels"), b"coarse_labels": [0, 0, 0, 0]},
        "test": {**batch(random_bytes(2, 3072, seed=1), [1, 0], b"fine_labels"), b"coarse_labels": [0, 0]},
    }
    return {f"cifar-100-python/{name}": python2_pickle(member) for name, member in members.items()}


def tar_gz(members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return stream.getvalue()


CIFAR10 = "cifar-10-python.tar.gz"


@pytest.mark.filterwarnings("ignore::numpy.exceptions.VisibleDeprecationWarning")  # numpy, of numpy 1's pickles
def test_the_pickles_of_these_tests_are_the_true_format():
    value = batch(random_bytes(2, 3), [1, 300, -1])
    read = pickle.loads(python2_pickle(value), encoding="bytes")
    assert np.array_equal(read.pop(b"data"), value.pop(b"data"))
    assert read == value


def test_cifar10(tmp_path, monkeypatch):
    publish(monkeypatch, tmp_path / CIFAR10, tar_gz(cifar10_members()))
    split = data.load("cifar10", tmp_path)
    planes = np.concatenate([random_bytes(4, 3072, seed=i) for i in range(5)])
    assert split.train_images.shape == (20, 3, 32, 32)
    assert np.array_equal(split.train_images.flatten(1).numpy(), planes)
    assert split.train_images[7, 1, 2, 3] == planes[7, 1024 + 2 * 32 + 3]
    assert split.train_labels.tolist() == [0, 1, 2, 0, 0, 1, 2, 1, 0, 1, 2, 2, 0, 1, 2, 0, 0, 1, 2, 1]
    assert np.array_equal(split.test_images.flatten(1).numpy(), random_bytes(3, 3072, seed=9))
    assert split.test_labels.tolist() == [2, 1, 0]
    assert split.class_names == ("cat", "dog", "newt")
    assert files(tmp_path) == {CIFAR10}


def test_cifar100_takes_the_fine_labels(tmp_path, monkeypatch):
    publish(monkeypatch, tmp_path / "cifar-100-python.tar.gz", tar_gz(cifar100_members()))
    split = data.load("cifar100", tmp_path)
    assert split.train_labels.tolist() == [0, 1, 1, 0]
    assert split.test_labels.tolist() == [1, 0]
    assert split.class_names == ("apple", "beetle")
    assert np.array_equal(split.train_images.flatten(1).numpy(), random_bytes(4, 3072))


def test_arrays_in_column_order_are_read_as_they_were(tmp_path, monkeypatch):
    members = cifar10_members()
    pixels = random_bytes(4, 3072)
    members["cifar-10-batches-py/data_batch_1"] = python2_pickle(batch(np.asfortranarray(pixels), [0, 1, 2, 0]))
    publish(monkeypatch, tmp_path / CIFAR10, tar_gz(members))
    assert np.array_equal(data.load("cifar10", tmp_path).train_images[:4].flatten(1).numpy(), pixels)


@pytest.mark.filterwarnings("ignore::numpy.exceptions.VisibleDeprecationWarning")  # numpy, of numpy 1's pickles
def test_torchvision_reads_the_same_from_the_same_files(tmp_path, monkeypatch):
    torchvision = pytest.importorskip("torchvision")
    content = tar_gz(cifar10_members())
    publish(monkeypatch, tmp_path / CIFAR10, content)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(tmp_path, filter="data")
    cifar = torchvision.datasets.CIFAR10
    monkeypatch.setattr(cifar, "_check_integrity", lambda self: True)
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *_: True)
    ours = data.load("cifar10", tmp_path)
    for train, images, labels in (
        (True, ours.train_images, ours.train_labels),
        (False, ours.test_images, ours.test_labels),
    ):
        theirs = cifar(str(tmp_path), train=train)
        assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), theirs.data)
        assert labels.tolist() == theirs.targets
    assert list(ours.class_names) == theirs.classes


def test_entries_that_point_outside_are_not_followed(tmp_path, monkeypatch):
    (tmp_path / "secret").write_bytes(b"not for reading")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name in ("../evil", str(tmp_path / "evil")):
            archive.addfile(tarfile.TarInfo(name))
        link = tarfile.TarInfo("cifar-10-batches-py/batches.meta")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret")
        archive.addfile(link)
        for name, content in cifar10_members().items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    publish(monkeypatch, tmp_path / "root" / CIFAR10, stream.getvalue())
    assert data.load("cifar10", tmp_path / "root").class_names == ("cat", "dog", "newt")
    assert files(tmp_path) == {"secret", f"root/{CIFAR10}"}


class Malicious:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (lambda tmp: pickle.dumps(Malicious(tmp / "evil"), 2), r"asks for (_io|io|__builtin__)\.open"),
        (lambda tmp: b"cos\nsystem\n(S'touch evil'\ntR.", r"asks for os\.system"),
        (lambda tmp: b"cnumpy\nload\n(S'evil.npy'\ntR.", r"asks for numpy\.load"),
        (lambda tmp: b"cnumpy\nndarray\nNb.", "TypeError"),
        (lambda tmp: python2_pickle(batch(np.zeros((4, 3072), np.int64), [0] * 4)), "where only bytes belong"),
        (lambda tmp: python2_pickle(batch(np.zeros((4, 3072), object), [0] * 4)), "where only bytes belong"),
        (lambda tmp: python2_pickle(batch(random_bytes(4, 3071), [0] * 4)), "ValueError"),
        (lambda tmp: python2_pickle(batch(random_bytes(4, 3072), [0] * 3)), "20 images and 19 labels"),
        (lambda tmp: python2_pickle(batch(random_bytes(4, 3072), [0, 1, 2, 3])), r"outside 0 \.\. 2"),
        (lambda tmp: python2_pickle(batch(random_bytes(4, 3072), [0, 1, 2, -1])), r"outside 0 \.\. 2"),
        (lambda tmp: python2_pickle(batch(random_bytes(4, 3072), [b"cat"] * 4)), "TypeError.*bytes"),
        (lambda tmp: python2_pickle({b"data": random_bytes(4, 3072)}), "labels"),
        (lambda tmp: python2_pickle(batch(random_bytes(4, 3072), [0] * 4))[:-900], "pickle data was truncated"),
        (lambda tmp: b"", "EOFError"),
    ],
)
def test_a_wrong_or_malicious_pickle_is_refused(tmp_path, monkeypatch, pickled, words):
    monkeypatch.chdir(tmp_path)
    members = cifar10_members()
    members["cifar-10-batches-py/data_batch_3"] = pickled(tmp_path)
    publish(monkeypatch, tmp_path / CIFAR10, tar_gz(members))
    with pytest.raises(data.DataError, match=words) as caught:
        data.load("cifar10", tmp_path)
    assert str(tmp_path / CIFAR10) in str(caught.value)
    assert files(tmp_path) == {CIFAR10}


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda content: content[:-30], "end-of-stream"),
        (lambda content: content[: len(content) // 2], "end-of-stream"),
        (lambda content: gzip.decompress(content)[:-9000], "unexpected end of data"),
        (lambda content: b"not an archive", "ReadError"),
        (lambda content: tar_gz({}), "it has no cifar-10-batches-py/batches.meta, "),
    ],
)
def test_a_spoilt_cifar_archive_is_refused(tmp_path, monkeypatch, spoil, words):
    publish(monkeypatch, tmp_path / CIFAR10, tar_gz(cifar10_members()))
    content = spoil((tmp_path / CIFAR10).read_bytes())
    (tmp_path / CIFAR10).write_bytes(content)
    with pytest.raises(data.DataError, match="truncated or corrupt"):
        data.load("cifar10", tmp_path)
    publish(monkeypatch, tmp_path / CIFAR10, content)
    with pytest.raises(data.DataError, match=words):
        data.load("cifar10", tmp_path)
    assert files(tmp_path) == {CIFAR10}


def test_a_cifar_archive_without_a_batch_says_which(tmp_path, monkeypatch):
    members = cifar10_members()
    del members["cifar-10-batches-py/data_batch_5"]
    publish(monkeypatch, tmp_path / CIFAR10, tar_gz(members))
    with pytest.raises(data.DataError, match="it has no cifar-10-batches-py/data_batch_5"):
        data.load("cifar10", tmp_path)


# Tiny-ImageNet

TINY = "tiny-imagenet-200.zip"
IDS = ("n02000001", "n01000002", "n03000003")


def smooth(seed, mode="RGB", size=(64, 64)):
    from PIL import Image

    return Image.fromarray(random_bytes(4, 4, 3, seed=seed)).resize(size).convert(mode)


def jpeg(*args, **kwargs):
    stream = io.BytesIO()
    smooth(*args, **kwargs).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def shows(image, *args):
    """Whether an image (3, 64, 64) is the smooth one that was compressed, up to the loss of the compression."""
    pixels = np.asarray(smooth(*args)).astype(float)
    pixels = np.broadcast_to(pixels.reshape(64, 64, -1), (64, 64, 3)).transpose(2, 0, 1)
    return np.abs(pixels - image.numpy()).mean() < 3


def tiny_members():
    members = {
        "wnids.txt": "\n".join(IDS).encode() + b"\n",
        "words.txt": b"n00000000\tentity\nn01000002\tgoldfish, Carassius auratus\nn02000001\tbee\nn03000003\tcliff\n",
        "val/val_annotations.txt": b"val_0.JPEG\tn03000003\t0\t32\t44\t62\nval_1.JPEG\tn01000002\t3\t3\t9\t9\n",
        "val/images/val_0.JPEG": jpeg(100),
        "val/images/val_1.JPEG": jpeg(101),
        "test/images/test_0.JPEG": b"never read",
    }
    for i, wnid in enumerate(IDS):
        members[f"train/{wnid}/{wnid}_boxes.txt"] = b"never read"
        for j in range(2):
            members[f"train/{wnid}/images/{wnid}_{j}.JPEG"] = jpeg(2 * i + j, mode="L" if j else "RGB")
    return {f"tiny-imagenet-200/{name}": content for name, content in members.items()}


def zipped(members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True)) and a.class_names == b.class_names


def test_tiny_imagenet(tmp_path, monkeypatch, capsys):
    publish(monkeypatch, tmp_path / TINY, zipped(tiny_members()))
    split = data.load("tiny_imagenet", tmp_path)
    assert split.class_names == ("goldfish, Carassius auratus", "bee", "cliff")
    assert split.train_labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert split.test_labels.tolist() == [2, 0]
    written = [(2 * i + j, "L" if j else "RGB") for i in (1, 0, 2) for j in range(2)]
    assert all(shows(image, *args) for image, args in zip(split.train_images, written, strict=True))
    assert shows(split.test_images[0], 100)
    assert shows(split.test_images[1], 101)
    assert not shows(split.test_images[1], 100)
    assert "decoding Tiny-ImageNet, this once: 100% of 8 images" in capsys.readouterr().err


def test_decoded_images_are_kept_and_used(tmp_path, monkeypatch):
    publish(monkeypatch, tmp_path / TINY, zipped(tiny_members()))
    first = data.load("tiny_imagenet", tmp_path)
    assert files(tmp_path) == {TINY, "tiny-imagenet-200.decoded.pt"}
    monkeypatch.setattr(data, "_decode_tiny_imagenet", None)
    assert same(data.load("tiny_imagenet", tmp_path), first)


@pytest.mark.parametrize("damage", [lambda kept: kept[: len(kept) // 2], lambda kept: b"", lambda kept: b"no archive"])
def test_a_damaged_file_of_decoded_images_is_made_anew(tmp_path, monkeypatch, damage):
    publish(monkeypatch, tmp_path / TINY, zipped(tiny_members()))
    first = data.load("tiny_imagenet", tmp_path)
    kept = tmp_path / "tiny-imagenet-200.decoded.pt"
    kept.write_bytes(damage(kept.read_bytes()))
    assert same(data.load("tiny_imagenet", tmp_path), first)
    monkeypatch.setattr(data, "_decode_tiny_imagenet", None)
    assert same(data.load("tiny_imagenet", tmp_path), first)


def test_decoded_images_of_another_archive_are_not_used(tmp_path, monkeypatch):
    publish(monkeypatch, tmp_path / TINY, zipped(tiny_members()))
    data.load("tiny_imagenet", tmp_path)
    members = tiny_members()
    del members["tiny-imagenet-200/train/n02000001/images/n02000001_1.JPEG"]
    publish(monkeypatch, tmp_path / TINY, zipped(members))
    assert data.load("tiny_imagenet", tmp_path).train_labels.tolist() == [0, 0, 1, 2, 2]


def test_a_malicious_file_of_decoded_images_is_not_run(tmp_path, monkeypatch):
    publish(monkeypatch, tmp_path / TINY, zipped(tiny_members()))
    torch.save(Malicious(tmp_path / "evil"), tmp_path / "tiny-imagenet-200.decoded.pt")
    assert len(data.load("tiny_imagenet", tmp_path).train_labels) == 6
    assert not (tmp_path / "evil").exists()


KILLED = """
import os, signal, sys, torch
from clop_nb import data
from clop_nb.archives import Archive
data.ARCHIVES["tiny-imagenet-200.zip"] = Archive("tiny-imagenet-200.zip", "", (sys.argv[2],))
save = torch.save
def half(content, part):
    save(content, part)
    os.truncate(part, os.path.getsize(part) // 2)
    os.kill(os.getpid(), signal.SIGKILL)
torch.save = half
data.load("tiny_imagenet", sys.argv[1])
"""


def test_a_process_killed_while_it_keeps_decoded_images_does_no_harm(tmp_path, monkeypatch):
    publish(monkeypatch, tmp_path / TINY, zipped(tiny_members()))
    md5 = data.ARCHIVES[TINY].md5[0]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), md5], capture_output=True, text=True)
    assert killed.returncode == -9, killed.stderr
    assert files(tmp_path) == {TINY, "tiny-imagenet-200.decoded.pt.part"}
    assert len(data.load("tiny_imagenet", tmp_path).train_labels) == 6
    assert files(tmp_path) == {TINY, "tiny-imagenet-200.decoded.pt"}


def test_where_decoded_images_cannot_be_kept_they_are_returned_with_a_warning(tmp_path, monkeypatch):
    publish(monkeypatch, tmp_path / TINY, zipped(tiny_members()))

    def full(content, part):
        part.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.warns(UserWarning, match="No space left on device") as caught:
        assert len(data.load("tiny_imagenet", tmp_path).train_labels) == 6
    assert caught[0].filename == __file__
    assert files(tmp_path) == {TINY}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("val/images/val_1.JPEG", jpeg(1, size=(64, 32)), r"val_1\.JPEG has shape \(3, 32, 64\)"),
        ("val/images/val_1.JPEG", jpeg(1)[:-300], r"val_1\.JPEG cannot be decoded"),
        ("val/images/val_1.JPEG", b"no image", r"val_1\.JPEG cannot be decoded"),
        ("val/val_annotations.txt", b"val_0.JPEG\tn09999999\t0\t0\t1\t1\n", "n09999999"),
        ("val/val_annotations.txt", b"", "no labels"),
        ("words.txt", b"n01000002\tgoldfish\n", "n02000001"),
        ("wnids.txt", None, "wnids.txt"),
        ("val/images/val_0.JPEG", None, "val_0.JPEG"),
    ],
)
def test_a_spoilt_tiny_imagenet_is_refused(tmp_path, monkeypatch, name, content, words):
    members = tiny_members()
    members[f"tiny-imagenet-200/{name}"] = content
    publish(monkeypatch, tmp_path / TINY, zipped({k: v for k, v in members.items() if v is not None}))
    with pytest.raises(data.DataError, match=words):
        data.load("tiny_imagenet", tmp_path)
    assert files(tmp_path) == {TINY}


def test_a_truncated_zip_is_refused(tmp_path, monkeypatch):
    content = zipped(tiny_members())
    publish(monkeypatch, tmp_path / TINY, content)
    (tmp_path / TINY).write_bytes(content[:-100])
    with pytest.raises(data.DataError, match="truncated or corrupt"):
        data.load("tiny_imagenet", tmp_path)
    publish(monkeypatch, tmp_path / TINY, content[:-100])
    with pytest.raises(data.DataError, match="BadZipFile"):
        data.load("tiny_imagenet", tmp_path)


def test_zip_entries_that_point_outside_are_not_followed(tmp_path, monkeypatch):
    members = {**tiny_members(), "../evil": b"", "tiny-imagenet-200/train/n01000002/images/../../../../evil.JPEG": b""}
    publish(monkeypatch, tmp_path / "root" / TINY, zipped(members))
    assert len(data.load("tiny_imagenet", tmp_path / "root").train_labels) == 6
    assert files(tmp_path) == {f"root/{TINY}", "root/tiny-imagenet-200.decoded.pt"}


# Labelled subsets


def test_a_labelled_subset_has_its_share_of_each_class():
    labels = torch.arange(7).repeat_interleave(torch.tensor([3, 10, 25, 4, 100, 5, 45]))
    labels = labels[torch.randperm(len(labels), generator=gen())]
    for fraction, expected in (
        (0.3, [1, 3, 8, 1, 30, 2, 14]),
        (0.5, [2, 5, 13, 2, 50, 3, 23]),
        (1, [3, 10, 25, 4, 100, 5, 45]),
    ):
        subset = data.labelled_subset(labels, fraction, gen())
        kept = subset >= 0
        assert subset[kept].bincount().tolist() == expected
        assert torch.equal(subset[kept], labels[kept])
        assert (subset[~kept] == -1).all()
        assert torch.equal(data.labelled_subset(labels, fraction, gen()), subset)


def test_every_sample_is_equally_likely_to_keep_its_label():
    labels = torch.tensor([0, 1, 1, 0, 0, 1, 0, 0])
    generator, runs = gen(), 4000
    share = sum((data.labelled_subset(labels, 0.4, generator) >= 0).double() for _ in range(runs)) / runs
    p = torch.where(labels == 0, 2 / 5, 1 / 3)
    assert ((share - p).abs() < 4.5 * (p * (1 - p) / runs).sqrt()).all()


def test_the_unlabelled_stay_so_and_do_not_count():
    labels = torch.tensor([-1, 0, 0, -1, 0, 0, -1, -1])
    subset = data.labelled_subset(labels, 0.5, gen())
    assert (subset >= 0).sum() == 2
    assert (subset[labels == -1] == -1).all()
    assert data.labelled_subset(torch.tensor([-1, -1]), 0.5, gen()).tolist() == [-1, -1]
    assert labels.tolist() == [-1, 0, 0, -1, 0, 0, -1, -1]


def test_a_fraction_that_leaves_a_class_without_labels_is_refused():
    labels = torch.tensor([0] * 100 + [4] * 11)
    with pytest.raises(ValueError, match=r"fraction 0\.04 leaves class 4 .* 11 samples, .* at least 0\.5 / 11"):
        data.labelled_subset(labels, 0.04, gen())
    assert (data.labelled_subset(labels, 0.5 / 11, gen()) == 4).sum() == 1


@pytest.mark.parametrize("fraction", [0, -0.1, 1.1, float("nan"), "all", None])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(ValueError, match="fraction must be a number with 0 < fraction <= 1"):
        data.labelled_subset(torch.tensor([0, 1]), fraction, gen())


@pytest.mark.parametrize("labels", [[0, 1], torch.tensor([0.0]), torch.tensor([[0]]), torch.tensor([0, -2])])
def test_labels_that_are_none_are_refused(labels):
    with pytest.raises(ValueError, match="labels must be"):
        data.labelled_subset(labels, 0.5, gen())
