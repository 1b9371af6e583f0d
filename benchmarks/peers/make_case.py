"""Systems with our block encodings and phase factors as arrays, for peers that share nothing else with us."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
import scipy.sparse as sp
from common import sparse_system

from qnewton_gpu.backends import select_backend
from qnewton_gpu.circuit import Gate, MatrixGate
from qnewton_gpu.encodings import encode
from qnewton_gpu.operators import MatrixOperator
from qnewton_gpu.polynomials import inverse_polynomial, phases_for, round_up_to_grid

from .case import Case, Encoded
from .measure import ENCODING, Run, Task


def make_case(task: Task, encodings: Iterable[str] = ("dilation", "matching")) -> Case:
    """The system with its encodings; phases that only our own modes need are put into the cache on the way."""
    backend, size = select_backend("cpu"), 2**task.exponent
    A = sparse_system(size, task.kappa)
    b = np.random.default_rng(1).standard_normal(size)
    encoded = {}
    for name in {*encodings, "walk"}:
        encoding = encode(MatrixOperator(A, backend), backend, name)
        phases = phases_for(inverse_polynomial(round_up_to_grid(encoding.alpha * task.kappa), task.epsilon))
        if name not in encodings:
            continue
        gates = encoding.circuit().gates  # type: ignore[attr-defined]
        prepare, select = np.eye(1), gates[0].matrix  # one dense gate
        if len(gates) > 1:
            total = encoding.system_qubits + encoding.ancilla_qubits
            prepare, select = gates[0].matrix, select_of(gates[1:-1], total)
        gain = float(np.linalg.norm(b)) * phases.sup_norm / phases.scale / encoding.alpha
        encoded[name] = Encoded(select, prepare, phases.reflection, gain)
    return Case(A, b, task.kappa, task.epsilon, encoded)


def time_encoding(task: Task, name: str, case: Case) -> Run:
    """What the peers are spared: our encoding of A and its gates."""
    backend, seconds = select_backend("cpu"), []
    for _ in range(3):
        began = time.perf_counter()
        encode(MatrixOperator(case.matrix, backend), backend, name).circuit()  # type: ignore[attr-defined]
        seconds.append(time.perf_counter() - began)
    return Run(task, ENCODING, f"{name}, alone", min(seconds))


def select_of(gates: Iterable[Gate], qubits: int) -> sp.csr_array:
    """The product of gates as one real sparse matrix on all qubits."""
    product = sp.eye_array(2**qubits, format="csr")
    for gate in gates:
        product = as_sparse(gate, qubits) @ product
    product = product.real.tocsr()
    product.data[np.abs(product.data) < 1e-15] = 0.0  # what cancels between H S^t and S H
    product.eliminate_zeros()
    product.sort_indices()
    return product


def as_sparse(gate: Gate, qubits: int) -> sp.csr_array:
    """A gate without controls as a sparse matrix on all qubits."""
    index = np.arange(2**qubits)
    own, rest = np.zeros_like(index), index.copy()
    for place, qubit in enumerate(gate.targets):
        own |= ((index >> qubit) & 1) << place
        rest &= ~(1 << qubit)

    def at(values: np.ndarray) -> np.ndarray:
        result = rest.copy()
        for place, qubit in enumerate(gate.targets):
            result |= ((values >> place) & 1) << qubit
        return result

    if isinstance(gate, MatrixGate):
        columns = range(len(gate.matrix))
        data = np.concatenate([gate.matrix[own, c] for c in columns])
        source = np.concatenate([at(np.full_like(index, c)) for c in columns])
        index = np.tile(index, len(columns))
    else:
        data = np.ones(len(index)) if gate.diagonal is None else gate.diagonal[own]
        source = index if gate.permutation is None else at(gate.permutation[own])
    return sp.csr_array((data, (index, source)), shape=(2**qubits, 2**qubits))
