"""One linear system with our block encodings and phase factors, as a file that every peer can read (NumPy, SciPy)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp


@dataclass(frozen=True)
class Encoded:
    """A block encoding U = PREP^t S PREP and the phases of its circuit; qubit 0 is the least significant bit.

    The circuit is phi_d, U, phi_(d-1), ..., U, phi_0, where phi stands for exp(i phi (2 Pi - 1)) and Pi projects the
    ancillas, which are above the system, on |0>. Then x = gain Re <0|psi>, for the unit start b/||b||.
    """

    select: np.ndarray | sp.csr_array
    """S, real, on all qubits: dense or sparse."""
    prepare: np.ndarray
    """PREP on the most significant qubits, real and its own inverse; [[1]] where there is none."""
    phases: np.ndarray
    """phi_0..phi_d."""
    gain: float

    @property
    def qubits(self) -> int:
        return self.select.shape[0].bit_length() - 1

    @property
    def first_phases(self) -> np.ndarray:
        """The phases in the order in which they act."""
        return self.phases[::-1]


@dataclass(frozen=True)
class Case:
    """A x = b with the spectrum of A in [1/kappa, 1]."""

    matrix: sp.csr_array
    b: np.ndarray
    kappa: float
    epsilon: float
    encoded: dict[str, Encoded]

    @property
    def size(self) -> int:
        return len(self.b)

    @property
    def qubits(self) -> int:
        return self.size.bit_length() - 1

    def start(self, encoding: str) -> np.ndarray:
        """|0> x b/||b||."""
        state = np.zeros(1 << self.encoded[encoding].qubits, dtype=np.complex128)
        state[: self.size] = self.b / np.linalg.norm(self.b)
        return state

    def solution(self, encoding: str, state: np.ndarray) -> np.ndarray:
        """x from the final state: the system is real, so its real part needs no qubit of its own."""
        return self.encoded[encoding].gain * np.asarray(state)[: self.size].real

    def prepared_projector(self, encoding: str) -> np.ndarray:
        """PREP |0><0| PREP: a phase between two PREP is one gate, exp(-i phi) [1 + (exp(2 i phi) - 1) of this]."""
        first = self.encoded[encoding].prepare[:, 0]
        return np.outer(first, first)

    def save(self, path: Path) -> None:
        arrays = {**_csr(self.matrix, "A"), "b": self.b, "kappa": self.kappa, "epsilon": self.epsilon}
        for name, e in self.encoded.items():
            arrays |= _csr(e.select, f"{name}-S") if sp.issparse(e.select) else {f"{name}-S": e.select}
            arrays |= {f"{name}-prepare": e.prepare, f"{name}-phases": e.phases, f"{name}-gain": e.gain}
        np.savez(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> Case:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        encoded = {
            name: Encoded(
                arrays[f"{name}-S"] if f"{name}-S" in arrays else _from_csr(arrays, f"{name}-S"),
                arrays[f"{name}-prepare"],
                arrays[f"{name}-phases"],
                float(arrays[f"{name}-gain"]),
            )
            for name in (key.removesuffix("-gain") for key in arrays if key.endswith("-gain"))
        }
        kappa, epsilon = float(arrays["kappa"]), float(arrays["epsilon"])
        return cls(_from_csr(arrays, "A"), arrays["b"], kappa, epsilon, encoded)


def _csr(matrix: sp.csr_array, name: str) -> dict[str, np.ndarray]:
    return {f"{name}-{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}


def _from_csr(arrays: dict[str, np.ndarray], name: str) -> sp.csr_array:
    indptr = arrays[f"{name}-indptr"]
    shape = (len(indptr) - 1, len(indptr) - 1)
    return sp.csr_array((arrays[f"{name}-data"], arrays[f"{name}-indices"], indptr), shape=shape)
