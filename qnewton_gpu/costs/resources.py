"""Qubits, depth and T gates of a whole solve, for every encoding: of its gate program, or else by formula.

access "qrom": the matrix is part of the program, and a query pays for reading it.
    matching, banded, pauli, dilation   the gate program of the encoding, counted
    kronecker                           the factors, one after the other
    the others                          look-ups of R stored entries by unary iteration, R - 1 ANDs each (arXiv
                                        1805.03662; arXiv 1812.00954 trades ANDs for qubits):
        walk, two_sided     T and T^t, R = register_size: 2 (R - 1) ANDs, and 2 (b + n) to compare b bits with what an
                            alias table keeps, and to swap n qubits where they are larger
        gram                the same, with the mean of R = register_size (T_L) and R = m + 1 (T_R)
        sparse_access       positions and values, there and back: 4 (R - 1) ANDs, R the stored entries, and 2 b for the
                            rotation by a value of b bits
    b = ceil(log2(1/rotation_error)). Every look-up writes b + n bits by as many CNOTs for each entry.
access "qram": a query is log2(N)^2 deep and the memory's own gates are not counted: what arXiv 2405.00252 assumes.
Between the queries stands a rotation under the control of all ancillas: see backends/counting.py.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..backends.counting import Resources, count
from ..circuit import Circuit
from ..errors import CombinationError, ParameterError, UnknownNameError
from .hardware import ACCESS
from .model import query_depth

LOOK_UPS = ("walk", "two_sided", "gram", "sparse_access")
T_GATES_OF_AND = 4


def solve_resources(
    encoding: Any, queries: int, *, access: str = "qrom", phases: int | None = None, rotation_error: float = 1e-10
) -> Resources:
    """What `queries` queries take with `phases` phase rotations between them, None: one more than queries, as in QSVT.

    Qubits are those of the register, the one of the real part, and what a look-up needs: its address and its data.
    Depth is that of gates in sequence. Raises ParameterError, UnknownNameError, and CombinationError for an encoding of
    unknown cost.

    >>> import numpy as np
    >>> from qnewton_gpu.backends import select_backend
    >>> from qnewton_gpu.encodings import encode
    >>> from qnewton_gpu.operators import as_operator
    >>> cpu = select_backend("cpu")
    >>> encoding = encode(as_operator(np.diag(np.arange(1.0, 17.0)), cpu), cpu, "walk")
    >>> solve_resources(encoding, 99).t_count, solve_resources(encoding, 99, access="qram").t_count
    (79020, 11700)
    """
    if access not in ACCESS:
        raise UnknownNameError.among("access", access, ACCESS)
    phases = queries + 1 if phases is None else phases
    for name, value in (("queries", queries), ("phases", phases)):
        if not (isinstance(value, int) and value >= 0):
            raise ParameterError(name, f"{value!r} is not an integer >= 0", "Count them, for example by predict()")
    qubits = encoding.system_qubits + encoding.ancilla_qubits + 1
    between = Circuit(qubits)
    between.rz(1.0, qubits - 1, zeros=range(encoding.system_qubits, qubits - 1))
    ends = Circuit(qubits)
    if phases:
        ends.hadamard(qubits - 1)
        ends.rz(1.0, qubits - 1)
        ends.hadamard(qubits - 1)
    phase, around = count(between, rotation_error), count(ends, rotation_error)
    once = _query(encoding, rotation_error) if access == "qrom" else _query_of_memory(encoding)
    return _total([(queries, once), (phases, phase), (1, around)], queries)


def _total(parts: Sequence[tuple[int, Resources]], queries: int) -> Resources:
    gates: Counter[str] = Counter()
    for times, part in parts:
        gates.update({label: times * number for label, number in part.gates.items() if times * number})

    def total(name: str) -> int:
        return sum(times * int(getattr(part, name)) for times, part in parts)

    return Resources(
        qubits=max(part.qubits for _, part in parts),
        queries=queries,
        gates=dict(gates),
        rotations=total("rotations"),
        ands=total("ands"),
        cnots=total("cnots"),
        t_count=total("t_count"),
        depth=total("depth"),
    )


def _query(encoding: Any, rotation_error: float) -> Resources:
    if encoding.name in LOOK_UPS:
        return _look_ups(encoding, rotation_error)
    if encoding.name == "kronecker":
        parts = [encoding.parts[place] for place in encoding.active]
        costs = [_query(part, rotation_error) for part in parts]
        spare = max(c.qubits - p.system_qubits - p.ancilla_qubits for c, p in zip(costs, parts, strict=True))
        qubits = encoding.system_qubits + encoding.ancilla_qubits + spare
        return replace(_total([(1, cost) for cost in costs], 1), qubits=qubits)
    if hasattr(encoding, "circuit"):
        return count(encoding.circuit(), rotation_error)
    raise CombinationError(
        "encoding", f"the cost of a query of {encoding.name} is not known", f"Use one of {', '.join(LOOK_UPS)}"
    )


def _look_ups(encoding: Any, rotation_error: float) -> Resources:
    n, bits = encoding.system_qubits, math.ceil(math.log2(1 / rotation_error))
    if encoding.name == "sparse_access":
        entries = 4 * [encoding.operator.count_nonzero()]
        arithmetic = 2 * bits
    else:
        entries = 2 * [encoding.register_size]
        if encoding.name == "gram":  # T_L on one side of the query, T_R on the other
            entries = [encoding.register_size, encoding.factor.shape[0] + 1]
        arithmetic = 2 * (bits + n)
    ands = sum(max(R - 1, 0) for R in entries) + arithmetic
    cnots = sum(R * (bits + n) for R in entries)
    address = max(max(entries) - 1, 0).bit_length()
    return Resources(
        qubits=n + encoding.ancilla_qubits + 1 + address + bits + n,
        queries=1,
        gates={"look_up": len(entries)},
        rotations=0,
        ands=ands,
        cnots=cnots,
        t_count=T_GATES_OF_AND * ands,
        depth=ands + sum(entries),  # the bits of an entry are written at once, by one CNOT to many
    )


def _query_of_memory(encoding: Any) -> Resources:
    unknowns, nonzeros = encoding.shape[1], encoding.operator.nonzeros
    qubits = encoding.system_qubits + encoding.ancilla_qubits + 1
    depth = math.ceil(query_depth("qram", unknowns, nonzeros))
    return Resources(qubits, 1, {"qram": 1}, rotations=0, ands=0, cnots=0, t_count=0, depth=depth)
