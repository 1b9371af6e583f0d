"""Registers as matrix-product states of cuTensorNet's NetworkState: the StateVector protocol, k columns of n qubits.

NetworkState keeps operators until something is computed. Here at most STRETCH of them wait: then the chain is computed,
taken as the next start, and the operators go, so that memory is that of the chains whatever the length of the circuit.
cuTensorNet truncates after every operator, so stretches change no result; and since each one is a new structure, there
is no operator left for update_tensor_operator to update.

Mode i is qubit i. What cuTensorNet takes, in its order of axes:
    gate on (a, b)   (out_a, out_b, in_a, in_b): our matrices have the first target least significant, so modes are
                     the targets in reverse;
    chain            (left, d, right), without `left` in the first and without `right` in the last tensor;
    operator chain   (left, in, right, out), likewise; it has to be immutable.

NetworkState reports no truncation error. The one below comes from the norm: unitary gates keep it, so what a stretch of
m operators loses, w = | ||psi||^2 - ||psi'||^2 |, is what its truncations dropped, and sqrt(m w) bounds the sum of
their 2-norms where each is an orthogonal projection. cuTensorNet does not promise that (its chains have no gauge by
default), so this is an estimate, which does not resolve less than about sqrt(m 1e-15); ChainStateVector has a bound.
"""

from __future__ import annotations

import importlib
import weakref
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..circuit import Gate, MatrixGate
from ..errors import CombinationError, NotEnoughMemoryError, ParameterError, ShapeError
from ..tensor_networks.gate_operators import LocalOperator, fuse_where_cheaper, gate_operator
from .base import Backend, StateVector
from .tensornet import TensornetBackend
from .tensornet_chain import ChainStateVector

if TYPE_CHECKING:
    from .tensornet_gpu import CuTensorNetEngine

STRETCH = 64
"""Operators that wait together: the chain is prepared and computed once for all of them."""
MOST_QUBITS = 63
"""NetworkState counts the exact bonds in signed 64-bit integers."""
MOST_BOND = 1024
"""Of NetworkState."""


class NetworkStateBackend(TensornetBackend):
    """As "tensornet:CHI" on a GPU, but with cuTensorNet's NetworkState for the chains and its estimate of their error.

    Raises BackendUnavailableError where cuTensorNet is missing, CombinationError where `base` is no GPU.
    """

    def __init__(self, base: Backend, bond_dimension: int, cutoff: float = 1e-12) -> None:
        if base.name != "gpu":
            raise CombinationError("base", f"cuTensorNet needs a GPU, not {base.device}", 'Use backend="tensornet:64"')
        super().__init__(base, bond_dimension, cutoff)
        self._most_bond = bond_dimension
        self.engine  # noqa: B018  raises at once where it cannot be used

    def state_vector(self, start: Any, num_qubits: int) -> StateVector:
        engine: Any = self.engine
        return NetworkStateChain(engine, start, num_qubits, self._most_bond, self.cutoff)


class NetworkStateChain:
    """k registers of n qubits as chains of bond dimension at most `bond_dimension`, on the GPU of the engine's backend.

    `start` is (N, k), the lowest amplitudes, or a MatrixProductState over the lowest qubits; singular values below
    `cutoff` times the largest are dropped. Raises ShapeError, ParameterError, NotEnoughMemoryError.
    """

    def __init__(
        self, engine: CuTensorNetEngine, start: Any, num_qubits: int, bond_dimension: int, cutoff: float = 1e-12
    ) -> None:
        self.engine, self.backend, self.num_qubits = engine, engine.base, num_qubits
        if not 2 <= num_qubits <= MOST_QUBITS:
            remedy = f"Use 2 to {MOST_QUBITS} qubits, or the chains of this package"
            raise ShapeError("num_qubits", f"{num_qubits} is no register for cuTensorNet's NetworkState", remedy)
        if not 1 <= min(bond_dimension, 2 ** (num_qubits // 2)) <= MOST_BOND:
            problem = f"{bond_dimension} is not in [1, {MOST_BOND}], which cuTensorNet's NetworkState allows"
            raise ParameterError("bond_dimension", problem, "Choose a smaller one, or the chains of this package")
        experimental = importlib.import_module("cuquantum.tensornet.experimental")
        config = experimental.MPSConfig(max_extent=bond_dimension, rel_cutoff=cutoff)
        chains = [c.compressed(bond_dimension, cutoff) for c in ChainStateVector(start, num_qubits).chains]
        self._states: list[Any] = []
        with engine.lock:
            for chain, _ in chains:
                state = experimental.NetworkState((2,) * num_qubits, config=config, options=engine.options())
                weakref.finalize(self, state.free).atexit = False
                first, *middle, last = map(self._complex, chain.tensors)
                state.set_initial_mps([first[0], *middle, last[..., 0]], stream=self.backend.stream)
                self._states.append(state)
        self._operators: dict[int, tuple[Any, ...]] = {}
        self._waiting = 0
        self._lost = np.array([error for _, error in chains])
        self._squares = np.array([chain.norm() ** 2 for chain, _ in chains])
        self._measured: np.ndarray | None = None
        self._most = max(chain.bond_dimension for chain, _ in chains)

    @property
    def truncation_error(self) -> np.ndarray:
        """(k,): estimates of ||simulated - exact register||, see above."""
        return self._lost + np.sqrt(self._waiting * np.abs(self._squared_norms() - self._squares))

    @property
    def bond_dimension(self) -> int:
        """The largest that was met where chains were computed."""
        for tensors in self._ask("compute_output_state"):
            self._most = max(self._most, *(tensor.shape[-1] for tensor in tensors[:-1]))
        return self._most

    @property
    def amplitudes(self) -> Any:
        """(2^n, k), written out; raises NotEnoughMemoryError where they do not fit."""
        return self.lowest(1 << self.num_qubits)

    def lowest(self, size: int) -> Any:
        """Amplitudes of the first `size` basis states, (size, k)."""
        kept = max(1, (size - 1).bit_length())
        needed, free = 2 * 16 * len(self._states) << kept, self.backend.available_bytes()
        if needed > free:
            problem = (
                f"{len(self._states)} x 2^{kept} amplitudes need {needed / 2**30:.3g} GiB, {free / 2**30:.3g} are free"
            )
            raise NotEnoughMemoryError("size", problem, "Ask for fewer amplitudes")
        fixed = dict.fromkeys(range(kept, self.num_qubits), 0)
        reverse = tuple(reversed(range(kept)))  # the first axis is qubit 0
        found = self._ask("compute_batched_amplitudes", fixed)
        return self.backend.xp.stack([table.transpose(reverse).reshape(-1)[:size] for table in found], axis=1)

    def norms(self) -> Any:
        """(k,)."""
        return self.backend.xp.asarray(np.sqrt(self._squared_norms()))

    def apply(self, gate: Gate | LocalOperator) -> None:
        if self._waiting >= STRETCH:
            self._restart()
        if id(gate) not in self._operators:
            # the gate as well, so that its id stays its own
            self._operators[id(gate)] = (gate, *self._operator(gate))
        _, modes, tensors, controls = self._operators[id(gate)]
        common = {"immutable": True, "unitary": True, "stream": self.backend.stream}
        with self.engine.lock:
            for state in self._states:
                if isinstance(tensors, list):
                    state.apply_mpo(modes, tensors, **common)
                else:
                    state.apply_tensor_operator(modes, tensors, **controls, **common)
        self._applied()

    def run(self, gates: Iterable[Any]) -> None:
        for gate in gates:
            self.apply(gate)

    def fuse(self, gates: Iterable[Any]) -> list[LocalOperator]:
        return fuse_where_cheaper(gates)

    def probability(self, qubits: Iterable[int]) -> Any:
        """That all of these qubits are |0>, (k,); of no qubits: the squared norm."""
        zeros = list(qubits)
        if not zeros:
            return self.backend.xp.asarray(self._squared_norms())
        fixed = dict.fromkeys(zeros[1:], 0)
        found = self._ask("compute_reduced_density_matrix", tuple(zeros[:1]), fixed=fixed, diagonal=True)
        return self.backend.xp.stack([diagonal[0].real for diagonal in found])

    def postselect(self, qubits: Iterable[int]) -> Any:
        """Collapse to all of these qubits being |0>, and scale to norm one; returns the probability, (k,).

        The truncation error becomes at most twice itself over the square root of the probability.
        """
        zeros = list(qubits)
        probability = self.probability(zeros)
        self._restart()
        onto, stream = np.diag([1.0, 0.0 if zeros else 1.0]).astype(np.complex128), self.backend.stream
        for column, p in enumerate(self.backend.to_numpy(probability)):
            scale = 1 / np.sqrt(p) if p > 0 else 1.0
            with self.engine.lock:
                for place, qubit in enumerate(zeros or [0]):
                    operand = self.backend.xp.asarray(onto if place else scale * onto)
                    self._states[column].apply_tensor_operator(
                        (qubit,), operand, immutable=True, unitary=False, stream=stream
                    )
            self._lost[column] *= 2 * scale
            self._squares[column] = float(p > 0)
        self._applied()
        return probability

    def sample(self, shots: int, seed: int, column: int = 0) -> np.ndarray:
        """Basis indices measured in `shots` runs of a normalised column, (shots,) on the host."""
        # cuTensorNet's seeds are positive
        (counts,) = self._ask("compute_sampling", shots, seed=seed + 1, column=column)
        found = [int(bits[::-1], 2) for bits in counts]
        return np.random.default_rng(seed).permutation(
            np.repeat(np.array(found, dtype=np.int64), list(counts.values()))
        )

    def marginal(self, qubits: Sequence[int]) -> Any:
        """Probabilities of the outcomes of these qubits, (2^m, k), the first least significant."""
        tables = self._ask("compute_reduced_density_matrix", tuple(reversed(qubits)), diagonal=True)
        return self.backend.xp.stack([table.real.reshape(-1) for table in tables], axis=1)

    def _operator(self, gate: Gate | LocalOperator) -> tuple[tuple[int, ...], Any, dict[str, Any]]:
        """(modes, one tensor or the list of an operator chain, controls)."""
        if isinstance(gate, MatrixGate) and len(gate.targets) == 1:  # under controls: of one target only
            controls = {"control_modes": tuple(gate.controls), "control_values": tuple(gate.control_values)}
            return gate.targets, self._complex(gate.matrix), controls if gate.controls else {}
        if isinstance(gate, MatrixGate) and len(gate.targets) == 2 and not gate.controls:
            return gate.targets[::-1], self._complex(gate.matrix.reshape(2, 2, 2, 2)), {}
        local = gate_operator(gate)
        if len(local.operator) == 1:
            return local.qubits, self._complex(local.operator.tensors[0][0, :, :, 0]), {}
        first, *middle, last = (tensor.transpose(0, 2, 3, 1) for tensor in local.operator.tensors)
        return local.qubits, [self._complex(tensor) for tensor in (first[0], *middle, last[:, :, 0])], {}

    def _complex(self, array: Any) -> Any:
        xp = self.backend.xp
        return xp.ascontiguousarray(self.backend.asarray(array, dtype=np.complex128))

    def _applied(self) -> None:
        self._waiting += 1
        self._measured = None

    def _ask(self, method: str, *arguments: Any, column: int | None = None, **options: Any) -> list[Any]:
        """What this method of NetworkState gives for each column, or for one."""
        if not self._waiting:  # a state is computed from operators
            self.apply(MatrixGate("identity", np.eye(2), (0,)))
        chosen = self._states if column is None else [self._states[column]]
        with self.engine.lock:
            return [getattr(state, method)(*arguments, stream=self.backend.stream, **options) for state in chosen]

    def _squared_norms(self) -> np.ndarray:
        if self._measured is None:
            found = self._ask("compute_amplitude", (0,) * self.num_qubits, return_norm=True)
            self._measured = self.backend.to_numpy(self.backend.xp.stack([square for _, square in found]).real)
        return self._measured

    def _restart(self) -> None:
        """Compute the chains and begin anew from them, without operators."""
        self._lost, self._squares = self.truncation_error, self._squared_norms().copy()
        self._most = self.bond_dimension
        self._ask("compute_output_state", release_operators=True)
        self._waiting = 0
