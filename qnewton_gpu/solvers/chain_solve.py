"""QSVT where no vector fits: H a Toeplitz operator on 2^n points, b, x and the whole register matrix-product states.

The circuit is the gate program of the encoding between the phases of 1/x, as in mode "circuit"; after it the ancillas
are found in |0>, and  x <- x + ||r|| max|P|/(s alpha) Re <0|psi>.  A register that was truncated by e_k in 2-norm is
off by at most sum e_k, because gates are unitary, and the relative residual by max|P|/s times that, as ||H|| <= alpha.
The residual itself is the chain b - H x without truncation, and its norm is what certifies x.
"""

from __future__ import annotations

import cmath
import logging
import math
import time
from dataclasses import replace
from functools import cached_property
from typing import Any

from ..backends.tensornet_chain import ChainStateVector
from ..circuit import branch_gates
from ..conditioning import FP64_EPSILON, SpectrumBounds, estimate_spectrum
from ..costs import CostModel
from ..encodings.toeplitz import ToeplitzEncoding
from ..errors import DataTypeError, NonFiniteError, NotEnoughMemoryError, ParameterError, ShapeError
from ..operators import ToeplitzOperator, check_magnitude
from ..polynomials import PhaseFactors, inverse_polynomial, phases_for, round_up_to_grid
from ..stages import stage
from ..tensor_networks import MatrixProductOperator, MatrixProductState
from ..tensor_networks.decompositions import array_module
from .base import Solution, Status, beyond_double_precision
from .refinement import STAGNATION, TRUNCATED, End, split_tolerance

_log = logging.getLogger(__name__)
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
    while that falls; bounds that are not certified are widened where it does not. Raises ShapeError, DataTypeError,
    NonFiniteError, and ParameterError where ||b|| is beyond 1e+-60, or the bounds of the spectrum enclose zero and no
    others are given.
    """
    began = time.perf_counter()
    rhs = _checked(operator, rhs)
    norm, x = rhs.moved(0).norm(), rhs * 0.0
    if norm == 0:
        return Solution(x, Status.SOLVED, "b = 0 is solved by x = 0.", 0.0, "none", projected_seconds=0.0)
    with stage("encode"):
        circuit = ChainCircuit(operator, bounds or _bounds(operator), backend, tolerance, max_queries)
    status = circuit.refusal()
    if status is not None:
        return Solution(x, *status, relative_residual=1.0, solver="none", resources=circuit.resources())
    residual, error, arithmetic, history = rhs, 1.0, 0.0, list[dict[str, Any]]()
    while status is None:
        try:
            with stage("solve", payload=circuit.queries):
                correction, entry = circuit.apply(residual)
            with stage("verify"):
                improved, _ = (x + correction).compressed(cutoff=circuit.solution_cutoff)
                left = (rhs - circuit.image(improved)).moved(0)
        except (NotEnoughMemoryError, *backend.out_of_memory) as problem:
            status = Status.NO_MEMORY, f"The simulation ran out of memory ({problem})."
            break
        before, reached = error, left.norm() / norm
        lost = circuit.gain * entry["truncation_error"]
        arithmetic = lost * before
        history.append({**entry, "relative_residual": [reached]})
        _log.info(
            "round %d: %d queries, bond dimension %d, truncation error %.1e, relative residual %.2e",
            len(history), entry["queries"], entry["bond_dimension"], entry["truncation_error"], reached,
        )  # fmt: skip
        if reached < before:
            x, error = improved, reached
            residual, _ = left.compressed(cutoff=circuit.residual_cutoff(error))
        floor = 32 * FP64_EPSILON * (1 + circuit.encoding.alpha * x.moved(0).norm() / norm)
        status = circuit.end(error, reached, before, lost, floor)
        if status is None:
            following = circuit if reached < STAGNATION * before else circuit.widened(residual)
            status = following.refusal(sum(entry["queries"] for entry in history))
            circuit = following if status is None else circuit
    return _solution(circuit, x, status, error, arithmetic, history, model, time.perf_counter() - began)


def _solution(
    circuit: ChainCircuit,
    x: MatrixProductState,
    status: End,
    error: float,
    arithmetic: float,
    history: list[dict[str, Any]],
    model: CostModel,
    seconds: float,
) -> Solution:
    made = sum(entry["queries"] for entry in history)
    p = min((entry["success_probability"][0] for entry in history), default=None)
    operator: Any = circuit.encoding.operator
    cost = model.quantum(
        "qsvt", queries=made / max(len(history), 1), rounds=len(history), success_probability=p or 1.0,
        size=operator.shape[0], nonzeros=operator.nonzeros, epsilon=circuit.epsilon,
    )  # fmt: skip
    largest = {
        name: max((entry[name] for entry in history), default=0)
        for name in ("truncation_error", "bond_dimension", "bytes")
    }
    return Solution(
        x,
        *status,
        relative_residual=error,
        solver="qsvt",
        queries=made,
        success_probability=p,
        resources={
            **circuit.resources(),
            **largest,
            "cutoff": circuit.cutoff,
            "solution_bond_dimension": x.bond_dimension,
        },
        simulated_seconds=seconds,
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
        self.product = operator.as_mpo().reduced()
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

    def residual_cutoff(self, error: float) -> float:
        """Of a bond of the residual that the next round starts from: small beside what that round is to leave."""
        left = min(max(self.epsilon, self.tolerance / error), 1.0)
        return TRUNCATED_SHARE * left / math.sqrt(self.encoding.system_qubits)

    def image(self, x: MatrixProductState) -> MatrixProductState:
        """H x, exact but for rounding, where the arrays of x are."""
        xp = array_module(x.tensors[0])
        return MatrixProductOperator([xp.asarray(w) for w in self.product.tensors]) @ x

    def refusal(self, made: int = 0) -> End | None:
        """What rules a further round out after so many queries: the spectrum, or max_queries."""
        problem = beyond_double_precision(self.bounds.kappa, self.tolerance)
        if problem:
            return Status.TOO_ILL_CONDITIONED, problem
        if made + self.queries <= self.max_queries:
            return None
        return Status.TOO_MANY_QUERIES, (
            f"A round takes {self.queries} queries for alpha/|lambda|_min = {self.kappa:.3g}, after {made} already "
            f"made, and max_queries is {self.max_queries}: raise it or the tolerance."
        )

    def end(self, error: float, reached: float, before: float, lost: float, floor: float) -> End | None:
        """How the rounds end, if they do: the last took the residual from `before` to `reached`, `error` is the best.

        `lost` bounds the share of `before` that truncation left, `floor` is what rounding may leave of b.
        """
        if error <= self.tolerance:
            return Status.SOLVED, f"The relative residual {error:.2e} is within {self.tolerance:.1e}."
        if reached < STAGNATION * before:
            return None
        stays = f"The relative residual stays at {error:.2e} above {self.tolerance:.1e}"
        if lost > TRUNCATED * STAGNATION:
            most = self.backend.bond_dimension
            return Status.NOT_CONVERGED, (
                f"{stays}: truncation to bond dimension {most} left up to {lost * before:.1e} of it; raise the bond "
                f"dimension, backend='tensornet:{2 * most}', or the tolerance."
            )
        if error <= floor:
            return Status.NOT_CONVERGED, (
                f"{stays}; rounding alone leaves about {floor:.1e}: raise the tolerance or the screening."
            )
        if not self.bounds.certified:
            return None
        return Status.NOT_CONVERGED, (
            f"{stays}, and truncation explains at most {lost * before:.1e} of it: an |eigenvalue| lies below "
            f"{self.bounds.lower:.3g}, although these bounds were said to be certified; lower bounds.lower."
        )

    def widened(self, residual: MatrixProductState) -> ChainCircuit:
        """The circuit for the smaller |eigenvalue| that a residual which no longer falls consists of."""
        seen = self.image(residual).moved(0).norm() / (self.encoding.alpha * residual.norm())
        kappa = max(2 * self.kappa, min(1 / max(seen, FP64_EPSILON), 16 * self.kappa))
        lower = self.encoding.alpha / kappa
        bounds = replace(self.bounds, lower=lower, upper=max(self.bounds.upper, lower))
        return ChainCircuit(self.encoding.operator, bounds, self.backend, self.tolerance, self.max_queries)

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
            "bytes": state.bytes,
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


def _checked(operator: ToeplitzOperator, rhs: MatrixProductState) -> MatrixProductState:
    """b in FP64; raises ShapeError, DataTypeError, NonFiniteError, ParameterError."""
    if rhs.dims != (2,) * sum(operator.qubits):
        levels = " and ".join(map(str, sorted({*rhs.dims})))
        problem = f"has {len(rhs)} sites of {levels} levels, and A acts on {sum(operator.qubits)} qubits"
        raise ShapeError("b", problem, "Give one site of two levels a qubit, the least significant first")
    kinds = {tensor.dtype.kind for tensor in rhs.tensors}
    if "c" in kinds:
        raise DataTypeError("b", "is complex", "Solve for b.real and b.imag")
    if not kinds <= {*"fiub"}:
        raise DataTypeError("b", f"holds {rhs.dtype}, not numbers", "Convert its tensors to float64")
    xp = array_module(rhs.tensors[0])
    double = MatrixProductState([tensor.astype(xp.float64, copy=False) for tensor in rhs.tensors])
    if not all(bool(xp.isfinite(tensor).all()) for tensor in double.tensors):
        raise NonFiniteError("b", "holds NaN or infinite entries", "Remove or replace them")
    check_magnitude(10.0 ** min(max(_log_norm(double), -300.0), 300.0), "b")
    return double


def _log_norm(state: MatrixProductState) -> float:
    """log10 ||psi||, whatever leaves the range of FP64 on the way; 0 where psi = 0."""
    xp, logarithm = array_module(state.tensors[0]), 0.0
    right = xp.ones((1, 1))
    for tensor in reversed(state.tensors):
        tensor = tensor / (float(abs(tensor).max()) or 1.0)
        block = (tensor @ right).reshape(tensor.shape[0], -1)
        largest = float(abs(block).max())
        if largest == 0:
            return 0.0
        right = xp.linalg.qr(block.T / largest, mode="r").T
        logarithm += math.log10(largest)
    return (
        logarithm
        + math.log10(float(abs(right).max()))
        + sum(math.log10(float(abs(tensor).max())) for tensor in state.tensors)
    )


def _bounds(operator: ToeplitzOperator) -> SpectrumBounds:
    """Certified bounds in closed form; raises ParameterError where the eigenvalues may enclose zero."""
    low, high = operator.eigenvalue_range
    if low <= 0 <= high:
        problem = f"are not given, and the eigenvalues lie in [{low:.3g}, {high:.3g}], which encloses zero"
        raise ParameterError("bounds", problem, "Pass SpectrumBounds(lower, upper) of |eigenvalue|")
    return estimate_spectrum(operator)
