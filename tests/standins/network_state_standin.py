"""NetworkState of cuTensorNet as far as the package calls it, on this package's own chains in NumPy.

As strict as the real one (its source and headers were read): orders of axes, controlled operators of one target,
operator chains that are immutable, operands by position, output buffers that the next computation overwrites.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from qnewton_gpu.circuit import MatrixGate
from qnewton_gpu.tensor_networks import MatrixProductOperator, MatrixProductState
from qnewton_gpu.tensor_networks.gate_operators import gate_operator

from . import cupy_standin
from .cutensornet_standin import COMPLEX, InvalidNetworkState, Live, NetworkOptions, check_stream, numbers, on_device


@dataclasses.dataclass
class MPSConfig:
    max_extent: int | None = None
    canonical_center: int | None = None
    abs_cutoff: float | None = None
    rel_cutoff: float | None = None
    normalization: str | None = None
    discarded_weight_cutoff: float | None = None
    algorithm: str | None = None
    mpo_application: str | None = None
    gauge_option: str | None = None
    gesvdj_tol: float | None = 0
    gesvdj_max_sweeps: int | None = 0
    gesvdr_oversampling: int | None = 0
    gesvdr_niters: int | None = 0


class NetworkState:
    """Operators are kept and applied when something is computed, as there; a new one frees what was computed."""

    def __init__(
        self, state_mode_extents, *, dtype="complex128", pure_state=True, config=None, state_labels=None, options=None
    ):  # type: ignore[no-untyped-def]
        assert isinstance(config, MPSConfig) and isinstance(options, NetworkOptions) and pure_state
        assert tuple(state_mode_extents) == (2,) * len(state_mode_extents) and len(state_mode_extents) > 1
        assert dtype == "complex128" and state_labels is None
        self.n, self.config = len(state_mode_extents), config
        self.start = MatrixProductState.product([np.array([1.0 + 0j, 0.0])] * self.n)
        self.operators: list[tuple[MatrixProductOperator, int]] = []
        self.computed: MatrixProductState | None = None
        self.backend_setup, self.given = False, list[Any]()
        self.number = next(numbers)
        Live.states.add(self.number)

    def free(self):  # type: ignore[no-untyped-def]
        Live.states.discard(self.number)

    def _check(self, stream: Any) -> None:
        if self.number not in Live.states:
            raise InvalidNetworkState("The state cannot be used after resources are free'd")
        check_stream(stream)

    def _apply(self, operator: MatrixProductOperator, first: int) -> int:
        assert first >= 0 and first + len(operator) <= self.n
        self.backend_setup, self.computed = True, None
        self.operators.append((operator, first))
        return len(self.operators)

    # positional, as there: decorators of the real ones take the operand from the positional arguments
    def set_initial_mps(self, mps_tensors, /, *, stream=None):  # type: ignore[no-untyped-def]
        self._check(stream)
        arrays = on_device(mps_tensors)
        assert len(arrays) == self.n and not self.operators
        shapes = [(1, *arrays[0].shape), *(a.shape for a in arrays[1:-1]), (*arrays[-1].shape, 1)]
        self.start = MatrixProductState([a.reshape(s).copy() for a, s in zip(arrays, shapes, strict=True)])
        assert self.start.dims == (2,) * self.n
        self.backend_setup, self.computed = True, None

    def apply_tensor_operator(
        self,
        modes,
        operand,
        /,
        *,
        control_modes=None,
        control_values=None,
        immutable=False,
        adjoint=False,
        unitary=None,
        diagonal=False,
        gradient=None,
        stream=None,
    ):  # type: ignore[no-untyped-def]
        self._check(stream)
        (array,) = on_device([operand])
        if array.ndim > 4:
            raise ValueError("MPS simulation only supports one-body and two-body operators")
        assert array.shape == (2,) * (2 * len(modes)) and not adjoint and not diagonal and unitary is not None
        controls = tuple(control_modes or ())
        assert not controls or len(modes) == 1, "controlled operators have one target"
        # ABab for modes (a, b): the first mode is the most significant of the matrix
        matrix = array.reshape(2 ** len(modes), -1).copy()
        gate = MatrixGate("given", matrix, tuple(reversed(modes)), controls, tuple(control_values or ()))
        local = gate_operator(gate)
        if unitary:
            assert np.allclose(matrix @ matrix.conj().T, np.eye(len(matrix)), atol=1e-10), "said to be unitary"
        return self._apply(local.operator, local.first)

    def apply_mpo(self, modes, mpo_tensors, /, *, immutable=False, adjoint=False, unitary=False, stream=None):  # type: ignore[no-untyped-def]
        self._check(stream)
        assert immutable, "only immutable network operators are supported"
        arrays = on_device(mpo_tensors)
        assert len(arrays) == len(modes) > 1 and not adjoint
        assert list(modes) == list(range(modes[0], modes[0] + len(modes))), "others would be swapped: not rehearsed"
        first, last = arrays[0], arrays[-1]
        assert first.ndim == last.ndim == 3 and all(a.ndim == 4 for a in arrays[1:-1])
        # pknb: previous bond, ket (in), next bond, bra (out)
        full = [first[None], *arrays[1:-1], last[:, :, None]]
        return self._apply(MatrixProductOperator([a.transpose(0, 3, 1, 2).copy() for a in full]), modes[0])

    def _state(self, stream: Any) -> MatrixProductState:
        self._check(stream)
        if not self.backend_setup:
            raise RuntimeError("cannot be performed before operands or NetworkOperator has been applied.")
        assert self.operators, "nothing to compute: not rehearsed"
        cupy_standin.Allocator.ask()
        if self.computed is None:
            state = self.start
            for operator, first in self.operators:
                state, _ = operator.apply(state, self.config.max_extent, self.config.rel_cutoff or 0.0, first)
            self.computed = state
            for array in self.given:  # the buffers of the last computation are written again
                array[...] = np.nan
            self.given = []
        return self.computed

    def compute_output_state(self, *, stream=None, release_workspace=False, release_operators=False):  # type: ignore[no-untyped-def]
        state = self._state(stream)
        first, *middle, last = (tensor.astype(COMPLEX) for tensor in state.tensors)
        tensors = [first[0], *middle, last[..., 0]]
        self.given += tensors
        if release_operators:
            self.start, self.operators, self.computed = state, [], None
        return [cupy_standin.ndarray(tensor) for tensor in tensors]

    def compute_amplitude(self, bitstring, *, return_norm=False, stream=None, release_workspace=False):  # type: ignore[no-untyped-def]
        state = self._state(stream)
        if len(bitstring) != self.n:
            raise ValueError("Length of bitstring is expected to match the dimension of the underlying state")
        amplitude = state.entries(sum(int(bit) << place for place, bit in enumerate(bitstring)))
        return self._with_norm(amplitude, state, return_norm)

    def compute_batched_amplitudes(self, fixed, *, return_norm=False, stream=None, release_workspace=False):  # type: ignore[no-untyped-def]
        state = self._state(stream)
        assert isinstance(fixed, Mapping) and all(0 <= mode < self.n for mode in fixed)
        open_modes = [mode for mode in range(self.n) if mode not in fixed]
        index = np.zeros((2,) * len(open_modes), dtype=np.int64) + sum(v << mode for mode, v in fixed.items())
        for axis, mode in enumerate(open_modes):  # axes in ascending order of modes
            index += (np.arange(2) << mode).reshape([2 if a == axis else 1 for a in range(len(open_modes))])
        return self._with_norm(state.entries(index), state, return_norm)

    def _with_norm(self, amplitudes: Any, state: MatrixProductState, return_norm: bool) -> Any:
        found = cupy_standin.ndarray(np.asarray(amplitudes, dtype=COMPLEX))
        return (found, cupy_standin.ndarray(np.asarray(state.norm() ** 2, dtype=COMPLEX))) if return_norm else found

    def compute_reduced_density_matrix(
        self, where, *, fixed=types.MappingProxyType({}), diagonal=False, stream=None, release_workspace=False
    ):  # type: ignore[no-untyped-def]
        state = self._state(stream)
        assert diagonal, "only diagonals are rehearsed"
        if not set(fixed).isdisjoint(where):
            raise ValueError("`fixed` modes must be disjoint from the `where` modes")
        modes = [*where, *fixed]
        # modes `where` are axes in this order; of the fixed ones one value stays
        table = state.marginal(modes[::-1]).reshape((2,) * len(modes))
        table = table[(..., *(int(fixed[mode]) for mode in modes[len(where) :]))]
        return cupy_standin.ndarray(table.astype(COMPLEX))

    def compute_sampling(self, nshots, *, modes=None, seed=None, stream=None, release_workspace=False):  # type: ignore[no-untyped-def]
        state = self._state(stream)
        assert modes is None
        if seed is None or seed <= 0:
            raise ValueError("seed must be a positive integer")
        found, counts = np.unique(state.sample(nshots, seed), return_counts=True)
        bits = ["".join(str(int(j) >> q & 1) for q in range(self.n)) for j in found]
        return dict(zip(bits, counts, strict=True))


def modules() -> dict[str, types.ModuleType]:
    """What stands in sys.modules during a rehearsal."""
    module: Any = types.ModuleType("cuquantum.tensornet.experimental")
    module.NetworkState, module.MPSConfig = NetworkState, MPSConfig
    return {module.__name__: module}
