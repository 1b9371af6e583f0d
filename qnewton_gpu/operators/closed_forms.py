"""Solutions of Toeplitz systems in closed form, entry by entry: what solvers are held to where no vector fits.

On one tridiagonal axis, c_0 x_j + c (x_(j-1) + x_(j+1)) = b_j with x_(-1) = x_N = 0 and |c_0| > 2|c|: the homogeneous
equation is solved by rho^j and rho^-j, rho = -2c/(c_0 + w), w = sgn(c_0) sqrt(c_0^2 - 4c^2), |rho| < 1, and
    b = e_s:    x_j = rho^|j-s| (1 - rho^(2 min(j,s) + 2)) (1 - rho^(2N - 2 max(j,s)))/(w (1 - rho^(2N + 2)))
    b_j = b:    x_j = b/(c_0 + 2c) (1 - (rho^(j+1) + rho^(N-j))/(1 + rho^(N+1)))            N even
On any number of tridiagonal axes b = sum_m a_m s_m, s_m the sine modes of unit norm, gives x = sum_m a_m/lambda_m s_m.
Powers are taken as exponentials of logarithms, so nothing overflows for N = 2^40.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ParameterError
from ..tensor_networks.functions import half_turns
from .toeplitz import ToeplitzOperator

Indices = Sequence[int] | np.ndarray
MOST_QUBITS = 61  # exponents up to 2N + 2 are int64


def _roots(operator: ToeplitzOperator) -> tuple[float, float, float, int]:
    """(rho, w, c, N) of a definite tridiagonal axis."""
    c0, c = operator.diagonal, operator.offsets[0].coefficient if operator.offsets else 0.0
    one_axis = len(operator.qubits) == 1 and all(offset.amount == 1 for offset in operator.offsets)
    if not one_axis or abs(c0) <= 2 * abs(c):
        raise ParameterError(
            "operator", "is not one tridiagonal axis with |c_0| > 2|c|", "Use sine modes, or a 1-D screened operator"
        )
    if operator.qubits[0] > MOST_QUBITS:
        problem = f"has {operator.qubits[0]} qubits, more than {MOST_QUBITS}"
        raise ParameterError("operator", problem, "Use sine modes, which have no such limit")
    w = math.copysign(math.sqrt((abs(c0) - 2 * abs(c)) * (abs(c0) + 2 * abs(c))), c0)
    return -2 * c / (c0 + w), w, c, operator.shape[0]


def _in_range(indices: Indices | int, size: int, argument: str = "indices") -> np.ndarray:
    """They as int64; raises ParameterError where they are not of the vector."""
    j = np.asarray(indices)
    if j.size and not (j.dtype.kind in "iu" and j.min() >= 0 and j.max() < size):
        raise ParameterError(argument, f"are not all integers in [0, {size})", "Give indices of the vector")
    return j.astype(np.int64)


def _power(rho: float, exponent: np.ndarray) -> np.ndarray:
    """rho^exponent for exponents >= 0 beyond FP64's range of results."""
    if not rho:
        return (exponent == 0).astype(float)
    sign = np.where(exponent % 2, math.copysign(1.0, rho), 1.0)
    return np.asarray(sign * np.exp(math.log(abs(rho)) * exponent.astype(float)))


def point_solution(operator: ToeplitzOperator, source: int, indices: Indices) -> np.ndarray:
    """x_j at `indices` for b = e_source: the discrete Green's function. Raises ParameterError (see above)."""
    rho, w, _, size = _roots(operator)
    j, s = _in_range(indices, size), _in_range(source, size, "source")
    low, high = np.minimum(j, s), np.maximum(j, s)
    walls = (1 - _power(rho, 2 * low + 2)) * (1 - _power(rho, 2 * size - 2 * high))
    return _power(rho, high - low) * walls / (w * (1 - _power(rho, np.array(2 * size + 2))))


def constant_solution(operator: ToeplitzOperator, indices: Indices) -> np.ndarray:
    """x_j at `indices` for b_j = N^(-1/2), of unit norm. Raises ParameterError (see above)."""
    rho, _, c, size = _roots(operator)
    j = _in_range(indices, size)
    walls = (_power(rho, j + 1) + _power(rho, size - j)) / (1 + _power(rho, np.array(size + 1)))
    return np.asarray((1 - walls) / (math.sqrt(size) * (operator.diagonal + 2 * c)))


def sine_solution(
    operator: ToeplitzOperator, amplitudes: Mapping[tuple[int, ...], float], indices: Indices
) -> np.ndarray:
    """x_j at `indices` for b = sum_m amplitudes[m] s_m, m = (m_0, m_1, ...) one mode an axis, s_m of unit norm.

    Raises ParameterError where an axis is not tridiagonal, or an index is not of the vector.
    """
    if not all(0 <= int(j) < operator.shape[0] for j in indices):
        raise ParameterError("indices", f"are not all in [0, {operator.shape[0]})", "Give indices of the vector")
    total = np.zeros(len(indices))
    for modes, amplitude in amplitudes.items():
        total += amplitude / operator.eigenvalue(modes) * _sines(operator, modes, indices)
    return total


def _sines(operator: ToeplitzOperator, modes: Sequence[int], indices: Indices) -> np.ndarray:
    product: Any = np.ones(len(indices))
    for mode, n, below in zip(modes, operator.qubits, np.cumsum([0, *operator.qubits]).tolist(), strict=False):
        size = 1 << n
        places = [int(j) >> below & (size - 1) for j in indices]
        angles = np.array([half_turns(mode * (place + 1), size + 1) for place in places])
        product = product * math.sqrt(2 / (size + 1)) * np.sin(angles)
    return np.asarray(product)
