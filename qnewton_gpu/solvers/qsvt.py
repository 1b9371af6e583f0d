"""Quantum singular value transformation with a polynomial that inverts, simulated exactly.

One round runs the circuit on the residual r and adds  ||start|| max|P| / (s alpha^q) Re(T^t psi)  to x, q = 1 for an
odd polynomial and 2 for an even one; s is the scale of the phase factors.
Source: Gilyen, Su, Low, Wiebe, arXiv 1806.01838.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from ..backends.base import Backend
from ..backends.counting import count
from ..circuit import qsvt_circuit
from ..encodings.gram import GramEncoding
from ..errors import CombinationError
from ..polynomials import phases_for, pseudo_inverse_polynomial, round_up_to_grid, uniform_inverse_polynomial
from ..simulation import Chain, Outcome, Program, Run
from .base import LinearSystem
from .formulations import Damped, FactorByFactor, Formulation, GramAnyRhs, GramPreimage, PseudoInverse, Symmetric
from .method import Method, Round
from .quantum import QuantumSolver

OTHER_POLYNOMIALS: dict[str, Callable[[float, float], Any]] = {
    "uniform": uniform_inverse_polynomial,
    "pseudo_inverse": pseudo_inverse_polynomial,
}


@dataclass(frozen=True)
class QSVT(QuantumSolver):
    """QSVT on any encoding in any mode that the simulation has.

    polynomial "residual" has the least degree for a relative residual, "uniform" for the absolute error of 1/x;
    "pseudo_inverse" drops the singular values below half of `bounds.lower`: least squares at a numerical rank. With
    certified bounds kappa is what they say; otherwise it grows while the residual does not fall, which is safe: the
    residual polynomial damps what lies below 1/kappa and amplifies nothing.
    """

    name: str = "qsvt"
    polynomial: str = "residual"
    any_operator: ClassVar[bool] = True
    noisy: ClassVar[bool] = True

    def equation(self, system: LinearSystem) -> LinearSystem:
        return replace(system, least_squares=True) if self.polynomial == "pseudo_inverse" else system

    def method(self, system: LinearSystem, backend: Backend) -> QSVTMethod:
        encoding: Any = self.encode(system, backend)
        formulation: Formulation
        if isinstance(encoding, GramEncoding):
            if system.preimage is None:
                formulation = GramAnyRhs(encoding, system, backend)
            else:
                formulation = GramPreimage(encoding, system, backend)
        elif system.damping:
            formulation = Damped(encoding, system, backend)
        elif encoding.name == "kronecker":
            formulation = FactorByFactor(encoding, system, backend)
        else:
            formulation = (Symmetric if encoding.symmetric else PseudoInverse)(encoding, system, backend)
        if self.polynomial in OTHER_POLYNOMIALS and (formulation.parity == "even" or system.damping):
            problem = f"{self.name} is for 1/x, and this system needs another function of the matrix"
            raise CombinationError("solver", problem, "Use solver='qsvt'")
        return QSVTMethod(self, system, formulation, backend)


class QSVTMethod(Method):
    """The polynomial of a formulation, its phases and the circuits that apply it."""

    def __init__(self, solver: QSVT, system: LinearSystem, formulation: Formulation, backend: Backend) -> None:
        self.formulation = formulation
        self._other = OTHER_POLYNOMIALS.get(solver.polynomial)
        self._last: dict[str, Any] = {"degree": 0, "kappa_on_grid": round_up_to_grid(formulation.kappa)}
        self._phases: list[Any] = []
        super().__init__(solver, system, formulation.encoding, backend)

    def first_kappa(self) -> float:
        return self.formulation.kappa

    def split(self) -> tuple[float, int]:
        # a round that makes x anew has to reach the tolerance on its own; what b has outside of the range of A would
        # be nearly all that a second round starts from
        once = not self.formulation.continues or (self.system.normal and not self.solver.disturbed)
        return (min(self.system.tolerance, 0.5), 1) if once else super().split()

    def kappa_of_system(self, kappa: float) -> float:
        return self.formulation.kappa_of_system(kappa)

    def polynomials(self, epsilon: float) -> list[Any]:
        """One for each circuit of a round; the relative errors of all add up to at most epsilon."""
        kappas = [round_up_to_grid(kappa) for kappa in self.formulation.kappas(self.kappa)]
        build = self._other or self.formulation.polynomial
        return [build(kappa, epsilon / len(kappas)) for kappa in kappas]

    def queries(self, epsilon: float) -> int:
        return sum(polynomial.degree for polynomial in self.polynomials(epsilon))

    def check(self) -> None:
        if isinstance(self.formulation, GramPreimage):
            self.formulation.check()

    def round(self, x: Any, residual: Any, epsilon: float) -> Generator[Program, Outcome, Round]:
        formulation = self.formulation
        polynomials = self.polynomials(epsilon)
        phases = [phases_for(polynomial) for polynomial in polynomials]
        encoding, start, norms = formulation.start(x, residual, self.mode)
        parts = formulation.factors if isinstance(formulation, FactorByFactor) else [encoding]
        runs = [
            Run(part, p.reflection, start, formulation.side, self.mode, self.solver.precision_of(p, self.mode))
            for part, p in zip(parts, phases, strict=True)
        ]
        outcome = yield runs[0] if len(runs) == 1 else Chain(runs)
        gain = math.prod(p.sup_norm / p.scale for p in phases)
        self._last = {
            "degree": sum(polynomial.degree for polynomial in polynomials),
            "kappa_on_grid": math.prod(polynomial.kappa for polynomial in polynomials),
            "parity": formulation.parity,
            "precision": runs[0].precision,
        }
        self._phases = [p.reflection for p in phases]
        return Round(
            x=formulation.continues * x + norms * gain / self.encoding.alpha**formulation.power * outcome.amplitudes,
            outcome=outcome,
            active=norms > 0,
            queries=outcome.queries,
            errors={
                "polynomial": sum(polynomial.relative_error for polynomial in polynomials),
                "phases": sum(p.error for p in phases) * gain,
            },
            gain=gain,
            details=self._last,
        )

    def resources(self) -> dict[str, Any]:
        """Degree, kappa and parity of the last round, and what its gate program is made of where gates were run."""
        if self.mode != "circuit" or len(self._phases) != 1:
            return self._last
        encoding: Any = self.encoding
        program = qsvt_circuit(encoding.circuit(), encoding.system_qubits, self._phases[0])
        return {**self._last, "gates": count(program)}
