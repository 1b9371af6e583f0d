"""The cuStateVec functions that the package calls, on host pointers: the same parameters, NumPy inside."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

COMPLEX = {5: np.dtype(np.complex128), 4: np.dtype(np.complex64)}  # cudaDataType
_samplers: dict[int, dict[str, Any]] = {}
_handlers: dict[int, Any] = {}
_streams: dict[int, int] = {}
_numbers = itertools.count(1)


def _at(pointer: int, count: int, dtype: Any) -> np.ndarray:
    """The array of `count` elements at an address."""
    dtype = np.dtype(dtype)
    assert pointer, "a null pointer"
    buffer = (ctypes.c_char * (count * dtype.itemsize)).from_address(pointer)
    return np.frombuffer(buffer, dtype=dtype)


def _places(bits: Sequence[int], n_index_bits: int) -> np.ndarray:
    """For every index of a state its bits at `bits`, the first of them least significant."""
    index = np.arange(1 << n_index_bits)
    assert all(0 <= b < n_index_bits for b in bits) and len(set(bits)) == len(bits)
    return sum(((index >> b & 1) << place for place, b in enumerate(bits)), np.zeros_like(index))


def create() -> int:
    return next(_numbers)


def set_stream(handle, stream_id):  # type: ignore[no-untyped-def]
    _streams[handle] = stream_id


def set_device_mem_handler(handle, handler):  # type: ignore[no-untyped-def]
    allocate, release, name = handler
    assert callable(allocate) and callable(release) and isinstance(name, str)
    _handlers[handle] = allocate, release


class cuStateVecError(Exception):
    pass


def _take_workspace(handle: int) -> None:
    """Memory for a moment through the handler; as in the library, its exception becomes a status."""
    assert _streams[handle] == torch.cuda.current_stream().cuda_stream, "the handle is on the stream of another thread"
    allocate, release = _handlers[handle]
    try:
        pointer = allocate(64, 0)
    except Exception:
        raise cuStateVecError("CUSTATEVEC_STATUS_DEVICE_ALLOCATOR_ERROR") from None
    release(pointer, 64, 0)


def apply_matrix(  # type: ignore[no-untyped-def]
    handle, sv, sv_data_type, n_index_bits, matrix, matrix_data_type, layout, adjoint, targets, n_targets, controls,
    control_bit_values, n_controls, compute_type, extra_workspace, extra_workspace_size_in_bytes,
):  # fmt: skip
    assert n_targets == len(targets) and n_controls == len(controls) == len(control_bit_values) and compute_type == 16
    _take_workspace(handle)
    state = _at(sv, 1 << n_index_bits, COMPLEX[sv_data_type])
    m = _at(matrix, 4**n_targets, COMPLEX[matrix_data_type]).reshape(1 << n_targets, -1)
    m = m if layout == 1 else m.T
    m = m.conj().T if adjoint else m
    index, mine = np.arange(len(state)), _places(targets, n_index_bits)
    base = index & ~sum(1 << t for t in targets)
    new = np.zeros_like(state)
    for column in range(1 << n_targets):
        source = base + sum((column >> place & 1) << t for place, t in enumerate(targets))
        new += m[mine, column] * state[source]
    wanted = sum(value << place for place, value in enumerate(control_bit_values))
    chosen = _places(controls, n_index_bits) == wanted
    state[chosen] = new[chosen]


def apply_generalized_permutation_matrix(  # type: ignore[no-untyped-def]
    handle, sv, sv_data_type, n_index_bits, permutation, diagonals, diagonals_data_type, adjoint, targets, n_targets,
    controls, control_bit_values, n_controls, extra_workspace, extra_workspace_size_in_bytes,
):  # fmt: skip
    assert n_targets == len(targets) and not adjoint and not n_controls
    _take_workspace(handle)
    state = _at(sv, 1 << n_index_bits, COMPLEX[sv_data_type])
    index, mine = np.arange(len(state)), _places(targets, n_index_bits)
    base = index & ~sum(1 << t for t in targets)
    table = _at(permutation, 1 << n_targets, np.int64) if permutation else np.arange(1 << n_targets)
    source = base + sum((table[mine] >> place & 1) << t for place, t in enumerate(targets))
    new = state[source]
    if diagonals:
        new = _at(diagonals, 1 << n_targets, COMPLEX[diagonals_data_type])[mine] * new
    state[:] = new


def abs2sum_array(  # type: ignore[no-untyped-def]
    handle, sv, sv_data_type, n_index_bits, abs2sum, bit_ordering, bit_ordering_len, mask_bit_string, mask_ordering,
    mask_len,
):  # fmt: skip
    assert bit_ordering_len == len(bit_ordering) and mask_len == len(mask_bit_string) == len(mask_ordering)
    state = _at(sv, 1 << n_index_bits, COMPLEX[sv_data_type])
    wanted = sum(value << place for place, value in enumerate(mask_bit_string))
    chosen = _places(mask_ordering, n_index_bits) == wanted
    weight = np.where(chosen, np.abs(state) ** 2, 0.0)
    out = _at(abs2sum, 1 << bit_ordering_len, np.float64)
    out[:] = np.bincount(_places(bit_ordering, n_index_bits), weights=weight, minlength=len(out))


def collapse_by_bit_string(  # type: ignore[no-untyped-def]
    handle, sv, sv_data_type, n_index_bits, bit_string, bit_ordering, bit_string_len, norm
):
    assert bit_string_len == len(bit_string) == len(bit_ordering) > 0
    state = _at(sv, 1 << n_index_bits, COMPLEX[sv_data_type])
    wanted = sum(value << place for place, value in enumerate(bit_string))
    state[_places(bit_ordering, n_index_bits) != wanted] = 0
    state /= np.sqrt(norm)


def sampler_create(handle, sv, sv_data_type, n_index_bits, n_max_shots):  # type: ignore[no-untyped-def]
    number = next(_numbers)
    _samplers[number] = {"state": _at(sv, 1 << n_index_bits, COMPLEX[sv_data_type]), "bits": n_index_bits,
                         "most": n_max_shots}  # fmt: skip
    return number, 64


def sampler_preprocess(handle, sampler, extra_workspace, extra_workspace_size_in_bytes):  # type: ignore[no-untyped-def]
    assert extra_workspace and extra_workspace_size_in_bytes == 64
    _samplers[sampler]["cumulative"] = np.cumsum(np.abs(_samplers[sampler]["state"]) ** 2)


def sampler_sample(  # type: ignore[no-untyped-def]
    handle, sampler, bit_strings, bit_ordering, bit_string_len, randnums, n_shots, output
):
    kept = _samplers[sampler]
    assert n_shots == len(randnums) <= kept["most"] and bit_string_len == len(bit_ordering) and output == 0
    found = np.searchsorted(kept["cumulative"], np.asarray(randnums) * kept["cumulative"][-1], side="right")
    _at(bit_strings, n_shots, np.int64)[:] = _places(bit_ordering, kept["bits"])[found]


def sampler_destroy(sampler):  # type: ignore[no-untyped-def]
    del _samplers[sampler]
