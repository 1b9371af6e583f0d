"""Matrices and vectors from files: Matrix Market, NumPy and SciPy sparse."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..errors import FileFormatError, UnknownNameError

SUFFIXES = (".mtx", ".npz", ".npy")


def load_array(path: Path, argument: str) -> Any:
    """The array in a .mtx, .npz (scipy.sparse.save_npz) or .npy file; raises FileFormatError, UnknownNameError."""
    if path.suffix not in SUFFIXES:
        raise UnknownNameError.among(argument, path.suffix or path.name, SUFFIXES)
    if not path.is_file():
        raise FileFormatError(argument, f"there is no file {path}", "Check the path")
    try:
        return _READERS[path.suffix](path)
    except Exception as problem:  # each reader has its own kinds for a truncated or foreign file
        reason = str(problem) or type(problem).__name__
        raise FileFormatError(
            argument, f"{path} cannot be read as {path.suffix} ({reason})", "Write the file again"
        ) from None


def _read_mtx(path: Path) -> Any:
    from scipy.io import mmread

    matrix = mmread(path)
    return matrix.tocsr() if hasattr(matrix, "tocsr") else matrix


def _read_npz(path: Path) -> Any:
    import scipy.sparse as sp

    with path.open("rb") as file:  # left open by NumPy where the archive is broken
        return sp.load_npz(file)


def _read_npy(path: Path) -> Any:
    import numpy as np

    with path.open("rb") as file:
        return np.load(file, allow_pickle=False)


_READERS = {".mtx": _read_mtx, ".npz": _read_npz, ".npy": _read_npy}


def check_writable(path: Path, argument: str = "--out") -> None:
    """Raise FileFormatError where the result could not be written, before it is computed."""
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise FileFormatError(argument, f"{path} cannot be written", "Choose a file in a folder that can be written")


def load_vector(path: Path) -> Any:
    """A right-hand side; a single column or row in a .mtx or .npz file becomes a vector."""
    array = load_array(path, "RHS")
    if hasattr(array, "toarray"):
        array = array.toarray()
    return array.ravel() if array.ndim == 2 and 1 in array.shape else array
