"""Qubitised walks: what the textbook solvers (HHL, CKS, discrete adiabatic) are made of, simulated exactly.

For a symmetric encoding T^t S T = A/alpha one query S is a step of the walk
    W = (2 T T^t - 1) S,    T^t W^s T = T_s(A/alpha)  (Chebyshev),
with eigenvalues exp(+-i arccos(lambda/alpha)). Every solver is one program on a `Space`, which says how a register is
kept: as it is (`WholeRegister`), or as u, v with psi = T u + S T v (`TwoVectors`), which is exact and costs one product
with A/alpha a query. Registers are (rows, columns); an index, clock or flag register is more columns, outermost first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
import scipy  # its submodules load at their first use: predictions need none of them

from ..backends.base import Backend
from ..encodings.base import BlockEncoding
from ..operators import check_memory
from ..simulation import Outcome, Program, predicted_bytes
from .formulations import normalised
from .method import Method, Round
from .quantum import QuantumSolver


class Space(Protocol):
    """Registers psi of shape (rows, columns), and T, T^t and S on them."""

    def lift(self, v: Any) -> Any:
        """T v for v of shape (N, columns)."""
        ...

    def lower(self, psi: Any) -> Any:
        """T^t psi."""
        ...

    def reflect(self, psi: Any) -> Any:
        """S psi: one query."""
        ...

    def norms_squared(self, psi: Any) -> Any:
        """||psi||^2 of each column."""
        ...


class WholeRegister:
    """Every amplitude: the specification."""

    def __init__(self, encoding: BlockEncoding) -> None:
        self.encoding, self.rows = encoding, encoding.register_size

    def lift(self, v: Any) -> Any:
        return self.encoding.lift(v, "right")

    def lower(self, psi: Any) -> Any:
        return self.encoding.lower(psi, "right")

    def reflect(self, psi: Any) -> Any:
        return self.encoding.reflect(psi)

    def norms_squared(self, psi: Any) -> Any:
        return (psi.real**2 + psi.imag**2).sum(axis=0)


class TwoVectors:
    """u above v, psi = T u + S T v: T^t psi = u + (A/alpha) v, and S swaps the two."""

    def __init__(self, encoding: BlockEncoding, backend: Backend) -> None:
        self.encoding, self.xp, self.size = encoding, backend.xp, encoding.operator.shape[0]
        self.rows = 2 * self.size

    def lift(self, v: Any) -> Any:
        return self.xp.concatenate([v, self.xp.zeros_like(v)])

    def lower(self, psi: Any) -> Any:
        return psi[: self.size] + self.encoding.matvec(psi[self.size :])

    def reflect(self, psi: Any) -> Any:
        return self.xp.concatenate([psi[self.size :], psi[: self.size]])

    def norms_squared(self, psi: Any) -> Any:
        u, v = psi[: self.size], psi[self.size :]
        return (u * u + v * v + 2 * u * self.encoding.matvec(v)).sum(axis=0)


def walk(space: Space, psi: Any) -> tuple[Any, Any]:
    """W psi and T^t W psi, in one query: T^t (2 T T^t - 1) = T^t."""
    psi = space.reflect(psi)
    lowered = space.lower(psi)
    return space.lift(2 * lowered) - psi, lowered


def walk_back(space: Space, psi: Any) -> Any:
    """W^-1 psi = S (2 T T^t - 1) psi, in one query."""
    return space.reflect(space.lift(2 * space.lower(psi)) - psi)


def chebyshev_series(space: Space, coefficients: Any, start: Any) -> tuple[Any, Any]:
    """sum_s c_s T_s(A/alpha) start, s = 0..d, and W^d T start: the walk itself, d queries and no index register."""
    constant, *others = coefficients.tolist()
    psi, total = space.lift(start), constant * start
    for c in others:
        psi, lowered = walk(space, psi)
        if c:
            total += c * lowered
    return total, psi


def linear_combination(space: Space, coefficients: Any, start: Any, backend: Backend) -> tuple[Any, Any]:
    """The same sum over sum |c_s| with its index register |s>, post-selected, and the register before that.

    PREP = sum_s sqrt(|c_s|/sum|c|) |s>; W^s by unary iteration: query number q acts where s >= q (arXiv 1805.03662).
    """
    powers = np.flatnonzero(coefficients)
    weights = coefficients[powers] / np.abs(coefficients).sum()
    put, columns = backend.asarray, start.shape[1]
    psi = space.lift(outer(put(np.sqrt(np.abs(weights))), start))
    for query in range(1, int(powers[-1]) + 1):
        first = columns * int(np.searchsorted(powers, query))
        psi[:, first:] = walk(space, psi[:, first:])[0]
    lowered = columns_of(space.lower(psi), len(powers))
    unprepare = put(np.sign(weights) * np.sqrt(np.abs(weights)))
    return (lowered * unprepare[:, None]).sum(axis=1), psi


def outer(amplitudes: Any, start: Any) -> Any:
    """|amplitudes> x |start>, the new register outermost among the columns."""
    return (start[:, None, :] * amplitudes[:, None]).reshape(len(start), -1)


def columns_of(psi: Any, values: int) -> Any:
    """(rows, values, k): the columns by the value of their outermost register."""
    return psi.reshape(len(psi), values, -1)


def inversion_error(coefficients: np.ndarray, kappa: float) -> float:
    """max |x P(x) - 1| over 1/kappa <= |x| <= 1 for P = sum_s c_s T_s: 8 points a degree and 1/kappa itself."""
    points = scipy.fft.next_fast_len(8 * len(coefficients), real=True)
    x = np.cos(np.pi * (np.arange(points) + 0.5) / points)
    halved = np.zeros(points)
    halved[: len(coefficients)] = coefficients / 2
    halved[0] *= 2
    inside = np.abs(x) * kappa >= 1
    # the error is often largest at the end, where it is steep
    at_end = coefficients @ np.cos(np.arange(len(coefficients)) * np.arccos(1 / kappa)) / kappa - 1
    return float(np.abs(x * scipy.fft.dct(halved, type=3) - 1)[inside].max(initial=abs(at_end)))


@dataclass(frozen=True)
class WalkProgram(ABC):
    """A simulation that is made of walk steps, on unit columns `start`, (N, k).

    Mode "fused" keeps the whole register, index or clock included; "subspace" is the exact shortcut.
    """

    encoding: Any
    start: Any
    mode: str
    measured: ClassVar[bool] = True

    @property
    @abstractmethod
    def queries(self) -> int: ...

    @property
    @abstractmethod
    def copies(self) -> int:
        """Registers of the encoding that are kept side by side: values of the index or clock, and flags."""

    @abstractmethod
    def run(self, backend: Backend) -> tuple[Any, Any, Any]:
        """Post-selected amplitudes (N, k), squared norm of the final register (k,), and the register."""

    def space(self, backend: Backend) -> Space:
        return TwoVectors(self.encoding, backend) if self.mode == "subspace" else WholeRegister(self.encoding)

    def bytes_needed(self, mode: str, backend: Backend) -> float:
        size, columns = self.start.shape
        return replace(self, mode=mode).copies * predicted_bytes(
            mode, size, self.encoding.register_size, columns, backend
        )

    def execute(self, backend: Backend) -> Outcome:
        """Run it. Raises NotEnoughMemoryError before memory is taken that is not there."""
        smaller = self.bytes_needed("subspace", backend) / 2**20
        remedy = f"mode='subspace' needs {smaller:.3g} MiB for the same answer"
        if self.mode == "subspace":
            remedy = "Solve fewer right-hand sides at once"
        check_memory("mode", self.bytes_needed(self.mode, backend), backend, remedy)
        amplitudes, norm_squared, register = self.run(backend)
        return Outcome(
            amplitudes=amplitudes,
            success_probability=(amplitudes * amplitudes).sum(axis=0),
            register_norm=backend.xp.sqrt(norm_squared),
            queries=self.queries,
            register=lambda: register if self.mode == "fused" else replace(self, mode="fused").run(backend)[2],
        )


class WalkMethod(Method):
    """A textbook solver put to one system. kappa is rounded up to its grid, as in every plan."""

    mode = "subspace"

    @abstractmethod
    def program(self, epsilon: float, start: Any) -> Any:
        """The circuit of one round at accuracy epsilon on unit columns `start`."""

    def queries(self, epsilon: float) -> int:
        queries: int = self.program(epsilon, None).queries
        return queries

    def scale(self, program: Any, amplitudes: Any, residual: Any, norms: Any) -> Any:
        """What the amplitudes are multiplied by to give a correction of x, (k,)."""
        return norms * program.gain / self.encoding.alpha

    def round(self, x: Any, residual: Any, epsilon: float) -> Generator[Program, Outcome, Round]:
        start, norms = normalised(residual, self.backend)
        program = self.program(epsilon, start)
        outcome = yield program
        return Round(
            x=x + self.scale(program, outcome.amplitudes, residual, norms) * outcome.amplitudes,
            outcome=outcome,
            active=norms > 0,
            queries=program.queries,
            errors={"polynomial": program.relative_error},
            gain=program.gain,
            details={"degree": program.degree, "kappa_on_grid": program.kappa},
        )

    def resources(self) -> dict[str, Any]:
        epsilon, _ = self.split()
        program = self.program(epsilon, None)
        return {"degree": program.degree, "kappa_on_grid": program.kappa}


@dataclass(frozen=True)
class WalkSolver(QuantumSolver):
    """Options of a textbook solver: any symmetric encoding, registers in FP64."""

    modes: ClassVar[tuple[str, ...]] = ("subspace", "fused")

    def mode_for(self, encoding: Any, queries: int, columns: int, backend: Backend) -> str:
        """No backend has kernels for registers with an index or a clock, so that "auto" never keeps one."""
        return "subspace" if self.mode == "auto" else self.mode
