"""Records are whole, valid and kept: the store against bad files, full disks and processes that die."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest

from clop_nb import provenance, records, store
from clop_nb.config import AUTHORS, PRINTED, RunConfig


def record(config=None, **changes):
    config = config or RunConfig()
    probes = [{"probe_fraction": f, "top1": 0.9, "top5": 1.0, "knn": 0.8} for f in config.probe_fractions]
    values = dict(
        config=config,
        outcome="finished",
        metrics={"probes": probes, "embedding_rank": 7.5},
        curves={"loss": [2.0, 1.5]},
        seed=config.seed,
        threads=1,
        versions={"torch": "2"},
        device="cpu (some)",
        seconds=1.5,
        peak_memory_mib=300.0,
        code_hash="a" * 16,
        date="2026-01-01T00:00:00+00:00",
    )
    return records.RunRecord(**{**values, **changes})


@pytest.mark.parametrize(
    ("field", "value", "accepted"),
    [
        ("dataset", "mnist", "digits, fashion_mnist"),
        ("loss", "supcon", "info_nce, sup_con"),
        ("encoder", "vgg", "resnet8, resnet18"),
        ("optimizer", "adam", "sgd, lars"),
        ("lr_rule", "cubic", "constant, linear, sqrt"),
        ("schedule", "step", "cosine, constant"),
        ("prototypes", "random", "orthonormal, simplex_etf"),
        ("label_subset", "some", "fixed, redrawn"),
        ("precision", "fp16", "float32, bf16"),
        ("probe", "svm", "logistic, authors"),
        ("batch_size", 1, "at least 2"),
        ("batch_size", 64.0, "integer"),
        ("epochs", True, "integer"),
        ("lr", 0, "above 0"),
        ("lr", float("nan"), "finite"),
        ("temperature", "0.5", "above 0"),
        ("clop_weight", -1, "at least 0"),
        ("momentum", 1.0, "below 1"),
        ("label_fraction", 0.0, "above 0"),
        ("label_fraction", 1.1, "at most 1"),
        ("probe_fraction", (), "above 0"),
        ("probe_fraction", (0.1, 2), "at most 1"),
        ("warmup_epochs", 16, "at most epochs"),
        ("train_samples", 1, "at least 2"),
        ("compile", 1, "True or False"),
        ("seed", -1, "at least 0"),
    ],
)
def test_a_configuration_says_which_field_is_wrong_and_what_is_accepted(field, value, accepted):
    with pytest.raises(ValueError, match=f"^{field} must be .*{accepted}"):
        RunConfig(**{field: value})


def test_labels_only_needs_a_weight():
    with pytest.raises(ValueError, match="clop_weight"):
        RunConfig(loss="labels_only")


def test_a_loss_without_labels_is_one_training_for_all_label_fractions():
    for loss in ("info_nce", "dcl", "vicreg", "barlow_twins"):
        assert RunConfig(loss=loss, label_fraction=0.1).id == RunConfig(loss=loss, label_fraction=0.5).id
        assert RunConfig(loss=loss, label_fraction=0.1, clop_weight=1).id != RunConfig(loss=loss, clop_weight=1).id
    assert RunConfig(label_fraction=0.1).id != RunConfig(label_fraction=0.5).id
    assert RunConfig(loss="vicreg", temperature=0.1).id == RunConfig(loss="vicreg").id
    assert RunConfig(temperature=0.1).id != RunConfig().id
    assert RunConfig(prototypes="simplex_etf").id == RunConfig().id
    assert RunConfig(prototypes="simplex_etf", clop_weight=1).id != RunConfig(clop_weight=1).id


def test_every_other_field_belongs_to_the_identity():
    base = RunConfig(clop_weight=1.0, label_fraction=0.5)
    other = dict(
        dataset="cifar10", train_samples=500, encoder="resnet18", dim=64, normalise_features=True, loss="info_nce",
        temperature=0.1, clop_weight=0.5, prototypes="simplex_etf", label_fraction=0.1, label_subset="redrawn",
        probe_fraction=0.1, probe="authors", batch_size=64, epochs=3, optimizer="lars", lr=1, lr_rule="linear",
        momentum=0.5, weight_decay=0.1, schedule="constant", warmup_epochs=2, precision="bf16", compile=True, seed=1,
    )  # fmt: skip
    assert set(other) == {field.name for field in dataclasses.fields(RunConfig)}
    assert len({base.id, *(dataclasses.replace(base, **{name: value}).id for name, value in other.items())}) == 26


def test_numbers_that_are_equal_are_one_configuration():
    a, b = RunConfig(lr=1, probe_fraction=[0.5, 0.1]), RunConfig(lr=1.0, probe_fraction=(0.1, 0.5))
    assert a == b
    assert hash(a) == hash(b)
    assert a.id == b.id
    assert RunConfig(probe_fraction=(0.1,)).probe_fraction == 0.1


def test_named_configurations_have_the_printed_and_the_authors_rates():
    assert PRINTED["cifar100"].peak_lr == pytest.approx(0.3 * 1024 / 256)
    assert AUTHORS["cifar100"].peak_lr == pytest.approx(0.075 * 1024**0.5)
    assert AUTHORS["tiny_imagenet"].peak_lr == pytest.approx(1.2)
    assert {c.temperature for c in AUTHORS.values()} == {0.5, 0.2, 0.1}
    for name in PRINTED:
        assert RunConfig.from_dict(json.loads(json.dumps(PRINTED[name].to_dict()))) == PRINTED[name]


def test_a_record_survives_the_round_trip(tmp_path):
    written = record(RunConfig(loss="info_nce", probe_fraction=(0.1, 0.5), label_fraction=0.1))
    file = store.write(tmp_path, written)
    assert file.name == f"{written.config.id}.json"
    assert store.read(tmp_path, RunConfig(loss="info_nce", probe_fraction=(0.1, 0.5))) == written
    assert store.read_all(tmp_path) == [written]
    assert store.read(tmp_path, RunConfig()) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("seconds"), "missing: .*seconds"),
        (lambda v: v.update(extra=1), "unknown: .*extra"),
        (lambda v: v.update(schema=2), "schema must be 1"),
        (lambda v: v.update(outcome="good"), "outcome must be one of finished"),
        (lambda v: v.update(seconds="long"), "seconds must be"),
        (lambda v: v.update(threads=True), "threads must be"),
        (lambda v: v["config"].update(lr=0.7), "id is"),
        (lambda v: v["config"].pop("lr"), "config must have the fields"),
        (lambda v: v.update(seed=3), "seed must be that of the configuration"),
        (lambda v: v.update(error="oops"), "error must go with"),
        (lambda v: v.update(metrics={"top1": [float("nan")]}), r"metrics\.top1\[0\] must be finite"),
        (lambda v: v.update(config="x"), "config must be an object"),
    ],
)
def test_a_file_that_is_no_record_is_named_with_what_is_wrong(tmp_path, change, message):
    file = store.write(tmp_path, record())
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=f"(?s){file.name} is not a valid run record.*{message}"):
        store.read_all(tmp_path)


def test_truncated_and_misnamed_files_are_named(tmp_path):
    file = store.write(tmp_path, record())
    text = file.read_text()
    file.rename(tmp_path / "0123456789abcdef.json")
    with pytest.raises(ValueError, match="0123456789abcdef"):
        store.read_all(tmp_path)
    (tmp_path / "0123456789abcdef.json").unlink()
    file.write_text(text[:100])
    with pytest.raises(ValueError, match="not JSON"):
        store.read(tmp_path, RunConfig())


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "regime.json").write_text("{}")
    (tmp_path / "benchmarks").mkdir()
    assert store.read_all(tmp_path) == []


FULL_DISK = textwrap.dedent("""
    import resource, sys
    from clop_nb import store
    sys.path.insert(0, {tests!r})
    from test_records import record
    store.write({folder!r}, record())                      # the older record
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))  # a write beyond 4 KiB fails half-way
    try:
        store.write({folder!r}, record(curves={{"loss": [0.5] * 5000}}))
    except OSError as error:
        print(error)
""")


def test_a_full_disk_leaves_the_older_record_and_nothing_partial(tmp_path):
    code = FULL_DISK.format(tests=os.path.dirname(__file__), folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "could not write" in done.stdout
    assert "nothing of it was kept" in done.stdout
    assert store.read(tmp_path, RunConfig()) == record()
    assert [file.name for file in (tmp_path / ".work").iterdir()] == [".gitignore"]
    assert len(list(tmp_path.glob("*"))) == 2


def test_a_lock_keeps_others_out_and_dies_with_its_process(tmp_path):
    config = RunConfig()
    code = f"""
import time
from clop_nb import store
from clop_nb.config import RunConfig
with store.lock({str(tmp_path)!r}, RunConfig()) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "True\n"
        assert store.locked(tmp_path, config)
        with store.lock(tmp_path, config) as mine:
            assert not mine
        holder.send_signal(signal.SIGKILL)
    assert not store.locked(tmp_path, config)
    assert store.interrupted(tmp_path, config)
    with store.lock(tmp_path, config) as mine, store.lock(tmp_path, config) as again:
        assert mine
        assert not again
    assert not store.interrupted(tmp_path, config)


def test_rows_have_the_accuracy_of_their_probe_fraction_and_say_what_is_stale():
    config = RunConfig(probe_fraction=(0.1, 0.5))
    fresh, old = record(config, code_hash=provenance.code_hash()), record(RunConfig(seed=1))
    broken = record(RunConfig(seed=2), outcome="diverged", error="the loss was not finite", metrics={}, curves={})
    table = records.frame([fresh, old, broken])
    assert table.probe_fraction.tolist() == [0.1, 0.5, 1.0, 1.0]
    assert table.top1.tolist()[:3] == [0.9, 0.9, 0.9]
    assert table.top1.isna().tolist() == [False, False, False, True]
    assert table.stale.tolist() == [False, False, True, True]
    assert table.lr.tolist() == [0.3] * 4
    assert records.frame([]).empty


def package(folder, **modules):
    folder.mkdir(parents=True)
    for name, text in {"__init__": "", **modules}.items():
        (folder / f"{name}.py").write_text(textwrap.dedent(text))
    return folder


def test_code_hash_sees_code_and_not_words(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    texts = dict(
        start='"""Docs."""\nfrom hashed_a import near\n\nX = 1\n"""About X."""\ndef f():\n    "doc"\n    import hashed_a.far\n',
        near="from .deep import y",
        far="Z = 1",
        deep="y = 1",
        other="q = 1",
    )

    def hash_of(name, **changes):
        package(tmp_path / name, **{**texts, **changes})
        return provenance.code_hash.__wrapped__(f"{name}.start", without=())

    def again(**changes):
        shutil.rmtree(tmp_path / "hashed_a", ignore_errors=True)
        return hash_of("hashed_a", **changes)

    base = again()
    words = texts["start"].replace("Docs.", "Other docs.").replace("X = 1", "X  =  1  # why").replace('"doc"', '"d"')
    assert words != texts["start"]
    assert again(start=words) == base
    assert again(other="q = 2") == base  # nothing imports it
    changes = [
        ("near", "from .deep import y\nw = 2"),
        ("far", "Z = 2"),
        ("deep", "y = 2"),
        ("start", words + "v = 1\n"),
    ]
    assert all(again(**{name: text}) != base for name, text in changes)


def test_code_hash_of_training_leaves_the_bookkeeping_out():
    assert provenance.code_hash("clop_nb.train") != provenance.code_hash("clop_nb.train", without=())
