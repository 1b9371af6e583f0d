"""The exact simulation of a QSVT circuit, in the modes that must agree.

One query is S, and after it a phase exp(i phi (2 T T^t - 1)) on the register psi:
    psi <- S psi ;  v = T^t psi ;  psi <- exp(-i phi) [ psi + (exp(2 i phi) - 1) T v ]
`fused` does that on the whole register. `subspace` keeps u, v in psi = T u + S T v, which is exact: S swaps the two
and the phase adds (exp(2 i phi) - 1)(u + (A/alpha) v) to u. T alternates between T_R and T_L where they differ.
`circuit` runs the gate program of an encoding that has one, gate by gate.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .backends.base import Backend
from .circuit import qsvt_circuit
from .encodings import WITH_GATES
from .encodings.base import BlockEncoding, EncodedProducts, Side, other
from .errors import CombinationError, UnknownNameError
from .operators import check_memory


@dataclass(frozen=True)
class Outcome:
    """The register after the circuit. Columns are independent runs, each started from a unit vector."""

    amplitudes: Any
    """Re T^t psi, (N, k): what post-selection on success leaves, read exactly."""
    success_probability: Any
    """||Re T^t psi||^2 for each column, from the simulated register."""
    register_norm: Any
    """||psi|| for each column: 1 but for rounding."""
    queries: int
    register: Callable[[], Any]
    """psi itself, (register_size, k), made on request."""


def choose_mode(mode: str, encoding_name: str) -> str:
    """The mode meant by "auto" on a CPU; raises UnknownNameError and CombinationError."""
    if mode == "auto":
        return "subspace"
    if mode not in MODES:
        raise UnknownNameError.among("mode", mode, ("auto", *MODES))
    if mode == "fused" and encoding_name == "gram":
        raise CombinationError(
            "mode",
            "fused has no gram register yet",
            "Use mode='subspace', which is exact, or encoding='walk' with an explicit matrix",
        )
    if mode == "circuit" and encoding_name not in ("auto", *WITH_GATES):
        raise CombinationError(
            "mode",
            f"{encoding_name} has no gate program",
            f"Use encoding='{WITH_GATES[0]}', or mode='subspace' or 'fused'",
        )
    return mode


def predicted_bytes(mode: str, size: int, register_size: int, columns: int) -> float:
    """Memory that a simulation takes: three complex copies of what it keeps, and the tables of T and S."""
    if mode == "subspace":
        return 7 * 16.0 * size * columns
    return 48.0 * register_size * columns + 40.0 * register_size


def check_simulation_memory(mode: str, size: int, register_size: int, columns: int, backend: Backend) -> None:
    """Raise NotEnoughMemoryError, which says what is needed and what would fit, before the simulation takes it."""
    subspace = predicted_bytes("subspace", size, register_size, columns)
    if mode != "subspace":
        fits = f"mode='subspace' needs {subspace / 2**20:.3g} MiB for the same answer"
    else:
        fits = (
            f"About {int(backend.available_bytes() / subspace * size * columns)} unknowns (N times columns) would fit"
        )
    check_memory("mode", predicted_bytes(mode, size, register_size, columns), backend, fits)


def run_sequence(
    encoding: EncodedProducts,
    phases: Any,
    start: Any,
    backend: Backend,
    *,
    side: Side = "right",
    mode: str = "subspace",
) -> Outcome:
    """Run the circuit with reflection phases phi_0..phi_d (phi_d first) on T_side `start`, (N, k) with unit columns.

    The d queries apply Re T^t psi = P(A/alpha) start, P the real polynomial of the phases. It ends on `side` if d is
    even and on the other one if d is odd. Raises NotEnoughMemoryError before it takes memory that is not there.
    """
    columns = start.shape[1]
    size = encoding.operator.shape[0]
    padded = 1 << (encoding.system_qubits + encoding.ancilla_qubits)
    register_size = padded if mode == "circuit" else encoding.register_size
    check_simulation_memory(mode, size, register_size, columns, backend)
    return MODES[mode](encoding, phases, start, backend, side)


def _subspace(encoding: Any, phases: Any, start: Any, backend: Backend, side: Side) -> Outcome:
    xp = backend.xp
    product = {"right": encoding.rmatvec, "left": encoding.matvec}
    x, y, image = start.astype(xp.complex128), None, None
    for k, phi in enumerate(phases[::-1]):
        if k:
            x, y, side = y, x, other(side)
            image = product[side](y)  # T_side^t S T_other y
            if x is None:
                x = xp.zeros_like(image)
            change = x + image
            change *= cmath.exp(2j * phi) - 1
            x += change
        else:
            x *= cmath.exp(2j * phi)
    # the factors exp(-i phi) are common to x and y: one multiplication at the end
    common = cmath.exp(-1j * math.fsum(phases))
    x *= common
    inner = encoding.inner
    if y is None:
        amplitudes, norm = x.real, inner(x, x, side).real
        return _outcome(encoding, amplitudes, norm, 0, side, lambda: encoding.lift(x, side), xp)
    y *= common
    image = image * common
    norm = inner(x, x, side).real + inner(y, y, other(side)).real + 2 * inner(x, image, side).real

    def register() -> Any:
        return encoding.lift(x, side) + encoding.reflect(encoding.lift(y, other(side)))

    return _outcome(encoding, (x + image).real, norm, len(phases) - 1, side, register, xp)


def _fused(encoding: BlockEncoding, phases: Any, start: Any, backend: Backend, side: Side) -> Outcome:
    psi = encoding.lift(start.astype(backend.xp.complex128), side)
    for k, phi in enumerate(phases[::-1]):
        if k:
            psi, side = encoding.reflect(psi), other(side)
        v = encoding.lower(psi, side)
        psi = cmath.exp(-1j * phi) * (psi + (cmath.exp(2j * phi) - 1) * encoding.lift(v, side))
    norm = (psi.real**2 + psi.imag**2).sum(axis=0)
    return _outcome(encoding, encoding.lower(psi, side).real, norm, len(phases) - 1, side, lambda: psi, backend.xp)


def _circuit(encoding: Any, phases: Any, start: Any, backend: Backend, side: Side) -> Outcome:
    """The gate program on 2^(system + ancillas) amplitudes; N is padded with zeros."""
    xp, n = backend.xp, start.shape[0]
    block = encoding.circuit()
    program = qsvt_circuit(block, encoding.system_qubits, phases)
    state = xp.zeros((1 << program.num_qubits, start.shape[1]), dtype=xp.complex128)
    state[:n] = start
    for gate in program.gates:
        state = backend.apply_gate(gate, state)
    state *= cmath.exp(1j * program.global_phase)
    norm = (state.real**2 + state.imag**2).sum(axis=0)
    return _outcome(encoding, state[:n].real, norm, len(phases) - 1, side, lambda: state, xp)


def _outcome(
    encoding: EncodedProducts,
    amplitudes: Any,
    norm: Any,
    queries: int,
    side: Side,
    register: Callable[[], Any],
    xp: Any,
) -> Outcome:
    probability = encoding.inner(amplitudes, amplitudes, side)
    return Outcome(amplitudes, probability, xp.sqrt(norm), queries, register)


MODES = {"subspace": _subspace, "fused": _fused, "circuit": _circuit}
