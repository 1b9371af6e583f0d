"""QSVT where no vector fits: H a Toeplitz operator on 2^n points, b, x and the whole register matrix-product states.

The circuit is the gate program of the encoding between the phases of 1/x, as in mode "circuit"; after it the ancillas
are found in |0>, and  x <- x + ||r|| max|P|/(s alpha) Re <0|psi>.  A register that was truncated by e_k in 2-norm is
off by at most sum e_k, because gates are unitary, and the relative residual by max|P|/s times that, as ||H|| <= alpha.
The residual itself is the chain b - H x without truncation, and its norm is what certifies x.
"""

from __future__ import annotations

import cmath
import math
import time
from functools import cached_property
from typing import Any

import numpy as np

from ..backends.tensornet_chain import ChainStateVector
from ..circuit import branch_gates
from ..conditioning import SpectrumBounds, estimate_spectrum
from ..costs import CostModel
from ..encodings.toeplitz import ToeplitzEncoding
from ..errors import DataTypeError, NotEnoughMemoryError, ParameterError, ShapeError
from ..operators import ToeplitzOperator
from ..polynomials import PhaseFactors, inverse_polynomial, phases_for, round_up_to_grid
from ..stages import stage
from ..tensor_networks.chain import MatrixProductState
from .base import Solution, Status, beyond_double_precision
from .refinement import STAGNATION, End, split_tolerance

TRUNCATED_SHARE = 0.1
"""Of the tolerance that truncation may use up; the polynomial has the rest."""


def solve_chain(
    operator: ToeplitzOperator,
    rhs: MatrixProductState,
    *,
    tolerance: float = 1e-2,
    bounds: SpectrumBounds | None = None,
    backend: Any,
    model: CostModel,
    max_queries: int = 10**6,
) -> Solution:
    """H x = b by QSVT on matrix-product states, to the relative residual ||b - H x||/||b|| <= tolerance.

    `rhs` has one site a qubit, site 0 the least significant; x has the same sites, real. `backend` is a tensornet
    backend with a bond dimension, which no bond of the register exceeds; its cutoff is raised to what the tolerance
    allows. Everything is computed where the arrays of b are. Each round starts from the residual of the one before,
    while that falls. Raises ShapeError, DataTypeError, and ParameterError where the bounds of the spectrum enclose zero
    and no others are given.
    """
    began = time.perf_counter()
    _check(operator, rhs)
    norm, x = rhs.moved(0).norm(), rhs * 0.0
    if norm == 0:
        return Solution(x, Status.SOLVED, "b = 0 is solved by x = 0.", 0.0, "none", projected_seconds=0.0)
    with stage("encode"):
        circuit = ChainCircuit(operator, bounds or _bounds(operator), backend, tolerance, max_queries)
    status = circuit.refusal()
    if status is not None:
        return Solution(x, *status, relative_residual=1.0, solver="none", resources=circuit.resources())
    residual, error, history, arithmetic = rhs, 1.0, [], 0.0
    while status is None:
        try:
            with stage("solve", payload=circuit.queries):
                correction, entry = circuit.apply(residual)
            with stage("verify"):
                improved, _ = (x + correction).compressed(cutoff=circuit.solution_cutoff)
                left = (rhs - circuit.product @ improved).moved(0)
        except (NotEnoughMemoryError, *backend.out_of_memory) as problem:
            status = Status.NO_MEMORY, f"The simulation ran out of memory ({problem})."
            break
        before, reached = error, left.norm() / norm
        arithmetic = circuit.gain * entry["truncation_error"] * before
        history.append({**entry, "relative_residual": [reached]})
        if reached < before:
            x, error = improved, reached
            residual, _ = left.compressed(cutoff=TRUNCATED_SHARE)
        status = circuit.end(error, reached, before, arithmetic, len(history))
    p = min((entry["success_probability"][0] for entry in history), default=None)
    truncation = sum(entry["truncation_error"] for entry in history)
    cost = model.quantum(
        "qsvt", queries=circuit.queries, rounds=max(len(history), 1), success_probability=p or 1.0,
        size=operator.shape[0], nonzeros=operator.nonzeros, epsilon=circuit.epsilon,
    )  # fmt: skip
    return Solution(
        x,
        *status,
        relative_residual=error,
        solver="qsvt",
        queries=len(history) * circuit.queries,
        success_probability=p,
        resources={
            **circuit.resources(),
            "truncation_error": truncation,
            "bond_dimension": max((entry["bond_dimension"] for entry in history), default=1),
            "cutoff": circuit.cutoff,
            "bytes": max((entry["bytes"] for entry in history), default=0),
            "solution_bond_dimension": x.bond_dimension,
        },
        simulated_seconds=time.perf_counter() - began,
        projected_seconds=cost.seconds,
        history=history,
        ledger={
            "polynomial": circuit.epsilon,
            "phases": circuit.phases.error * circuit.gain,
            "arithmetic": arithmetic,
        },
    )


class ChainCircuit:
    """One QSVT circuit of 1/x on a register that is a matrix-product state."""

    def __init__(
        self, operator: ToeplitzOperator, bounds: SpectrumBounds, backend: Any, tolerance: float, max_queries: int
    ) -> None:
        self.bounds, self.backend, self.tolerance, self.max_queries = bounds, backend, tolerance, max_queries
        self.encoding = ToeplitzEncoding(operator, backend)
        self.block = self.encoding.circuit()
        self.product = operator.as_mpo().compressed()[0]
        self.kappa = max(self.encoding.alpha / bounds.lower, 1.0)
        self.epsilon, _ = split_tolerance((1 - TRUNCATED_SHARE) * tolerance)
        self.polynomial: Any = inverse_polynomial(round_up_to_grid(self.kappa), self.epsilon)
        self.queries: int = self.polynomial.degree
        self.solution_cutoff = TRUNCATED_SHARE * tolerance / (self.kappa * math.sqrt(self.block.num_qubits))

    @cached_property
    def phases(self) -> PhaseFactors:
        return phases_for(self.polynomial)

    @property
    def gain(self) -> float:
        """What an error of the register is multiplied by in the relative residual, at most."""
        return self.phases.sup_norm / self.phases.scale

    @cached_property
    def cutoff(self) -> float:
        """Of a bond in each query: these errors add up in squares along the chain, and query by query."""
        truncations = self.queries * math.sqrt(self.block.num_qubits)
        return max(TRUNCATED_SHARE * self.epsilon / (self.gain * truncations), self.backend.cutoff)

    def refusal(self) -> End | None:
        """What the spectrum alone rules out."""
        problem = beyond_double_precision(self.bounds.kappa, self.tolerance)
        if problem:
            return Status.TOO_ILL_CONDITIONED, problem
        return self._too_many(1)

    def end(self, error: float, reached: float, before: float, truncation: float, rounds: int) -> End | None:
        """How the rounds end, if they do: the last one took the residual from `before` to `reached`."""
        if error <= self.tolerance:
            return Status.SOLVED, f"The relative residual {error:.2e} is within {self.tolerance:.1e}."
        if not reached < STAGNATION * before:
            most = self.backend.bond_dimension
            return Status.NOT_CONVERGED, (
                f"The relative residual stays at {error:.2e} above {self.tolerance:.1e}: truncation to bond dimension "
                f"{most} left up to {truncation:.1e} of it; raise the bond dimension, backend='tensornet:{2 * most}', "
                "or the tolerance."
            )
        return self._too_many(rounds + 1)

    def _too_many(self, rounds: int) -> End | None:
        if rounds * self.queries <= self.max_queries:
            return None
        return Status.TOO_MANY_QUERIES, (
            f"A round takes {self.queries} queries for alpha/|lambda|_min = {self.kappa:.3g}, and max_queries is "
            f"{self.max_queries}: raise it or the tolerance."
        )

    def apply(self, residual: MatrixProductState) -> tuple[MatrixProductState, dict[str, Any]]:
        """(||r|| max|P|/(s alpha) Re <0|psi>, what the run showed) for the circuit on r/||r||."""
        encoding, system = self.encoding, self.encoding.system_qubits
        norm, qubits = residual.norm(), self.block.num_qubits
        state = ChainStateVector(residual * (1 / norm), qubits, self.backend.bond_dimension, self.cutoff)
        state.run(branch_gates(state.fuse(self.block), qubits, system, self.phases.reflection))
        (psi,) = state.where_zero(range(system, qubits))
        common = cmath.exp(-1j * math.fsum(self.phases.reflection))
        found, _ = (psi * common).real.compressed(cutoff=self.cutoff)
        entry = {
            "queries": self.queries,
            "kappa": self.kappa,
            "epsilon": self.epsilon,
            "success_probability": [found.norm() ** 2],
            "truncation_error": float(state.truncation_error[0]),
            "bond_dimension": state.bond_dimension,
            "bytes": sum(chain.bytes for chain in state.chains),
        }
        return found * (norm * self.gain / encoding.alpha), entry

    def resources(self) -> dict[str, Any]:
        encoding = self.encoding
        return {
            "encoding": encoding.name,
            "mode": "circuit",
            "alpha": encoding.alpha,
            "degree": self.polynomial.degree,
            "kappa": self.kappa,
            "kappa_on_grid": self.polynomial.kappa,
            "system_qubits": encoding.system_qubits,
            "ancilla_qubits": encoding.ancilla_qubits,
            "register_size": encoding.register_size,
            "bounds": self.bounds,
        }


def _check(operator: ToeplitzOperator, rhs: MatrixProductState) -> None:
    if rhs.dims != (2,) * sum(operator.qubits):
        levels = " or ".join(map(str, sorted(set(rhs.dims))))
        problem = f"has {len(rhs.dims)} sites of {levels} levels, and A acts on {sum(operator.qubits)} qubits"
        raise ShapeError("b", problem, "Give one site of two levels a qubit, the least significant first")
    if np.issubdtype(rhs.dtype, np.complexfloating):
        raise DataTypeError("b", "is complex", "Solve for b.real and b.imag")


def _bounds(operator: ToeplitzOperator) -> SpectrumBounds:
    """Certified bounds in closed form; raises ParameterError where the eigenvalues may enclose zero."""
    low, high = operator.eigenvalue_range
    if low <= 0 <= high:
        problem = f"are not given, and the eigenvalues lie in [{low:.3g}, {high:.3g}], which encloses zero"
        raise ParameterError("bounds", problem, "Pass SpectrumBounds(lower, upper) of |eigenvalue|")
    return estimate_spectrum(operator)
