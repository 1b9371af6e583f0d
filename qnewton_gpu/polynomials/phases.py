"""Phase factors of a real polynomial: Weiss completion and the inverse nonlinear Fourier transform, in real FFTs.

Sources: arXiv 2410.06409 (Weiss), arXiv 2505.12615 (inverse nonlinear FFT). Cost O(d log^2 d).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Protocol

import numpy as np
import scipy  # its submodules load at their first use: predictions need none of them
from numpy.lib.stride_tricks import sliding_window_view

from ..errors import ParameterError

DEFAULT_SCALE = 0.98
LARGEST_SCALE = 0.999  # the sampled sup norm may be 3e-4 too small, and beyond |P| = 1 there is no completion
RECONSTRUCTION_TOLERANCE = 1e-12
_LEAF = 96  # up to this length direct products beat the transforms
_LONGEST_FFT = 1 << 27


class ChebyshevPolynomial(Protocol):
    """A real polynomial of definite parity, as its Chebyshev coefficients on the degrees of that parity."""

    @property
    def degree(self) -> int: ...
    @property
    def chebyshev(self) -> np.ndarray: ...
    @property
    def sup_norm(self) -> float: ...


@dataclass(frozen=True)
class PhaseFactors:
    """Phases with Re <0| e^{i phi_0 Z} prod_k W(x) e^{i phi_k Z} |0> = scale * P(x)/sup_norm, W = e^{i acos(x) X}.

    `error` is the supremum of |reconstruction - target| over [-1, 1], measured.
    """

    wx: np.ndarray
    scale: float
    sup_norm: float
    error: float

    @property
    def degree(self) -> int:
        return len(self.wx) - 1

    @cached_property
    def reflection(self) -> np.ndarray:
        """The same sequence for circuits that alternate a reflection with exp(i phi (2 Pi - 1))."""
        # W = i e^{-i pi/4 Z} S e^{-i pi/4 Z}: each query gives -pi/4 to the phases beside it, and i to the whole
        phases = self.wx.copy()
        phases[:-1] -= math.pi / 4
        phases[1:] -= math.pi / 4
        phases[0] += self.degree * math.pi / 2
        return phases


def checked_scale(scale: float) -> float:
    """The scale as a float; raises ParameterError where 0 < scale <= 0.999 does not hold."""
    if not (isinstance(scale, Real) and 0 < scale <= LARGEST_SCALE):
        raise ParameterError("scale", f"{scale!r} is not in (0, {LARGEST_SCALE}]", f"Use the default {DEFAULT_SCALE}")
    return float(scale)


def phase_factors(polynomial: ChebyshevPolynomial, *, scale: float = DEFAULT_SCALE) -> PhaseFactors:
    """Phase factors of scale * P/max|P|, verified by reconstruction.

    Raises ParameterError where 0 < scale <= 0.999 does not hold, and ArithmeticError where the reconstruction misses
    the target by more than 1e-12 (a scale too close to 1).

    >>> from qnewton_gpu.polynomials import inverse_polynomial
    >>> bool(phase_factors(inverse_polynomial(10, 1e-2)).error < 1e-12)
    True
    """
    scale = checked_scale(scale)
    d = polynomial.degree
    target = polynomial.chebyshev * (scale / polynomial.sup_norm)
    sequence = _laurent(target, d)
    length = 2 * scipy.fft.next_fast_len(14 * (d + 1), real=True)  # even; enough for most at the default scale
    while True:
        half = d // 2 + 1  # a palindrome has palindromic phases
        first = np.arctan(inverse_nonlinear_fft(weiss_completion(sequence, length)[:half], sequence[:half]))
        wx = np.concatenate([first, first[(d + 1) // 2 - 1 :: -1]]) if d else first
        wx[0] += math.pi / 4
        wx[-1] += math.pi / 4
        error = reconstruction_error(wx, target)
        if error <= RECONSTRUCTION_TOLERANCE:
            return PhaseFactors(wx, scale, polynomial.sup_norm, error)
        length *= 2
        if length > max(_LONGEST_FFT, 256 * (d + 1)):
            raise ArithmeticError(
                f"the phases of degree {d} at scale {scale} reconstruct the polynomial only to {error:.1e}; "
                "lower the scale"
            )


def _laurent(chebyshev: np.ndarray, degree: int) -> np.ndarray:
    """b_k, k = 0..d, of the sequence whose nonlinear Fourier transform is sought."""
    if degree % 2:
        return -0.5 * np.concatenate([chebyshev[::-1], chebyshev])
    half = chebyshev[1:] / 2
    return -np.concatenate([half[::-1], chebyshev[:1], half])


def weiss_completion(b: np.ndarray, fft_length: int) -> np.ndarray:
    """a with |a|^2 + |b|^2 = 1 on the unit circle: a = exp of the analytic part of (1/2) log(1 - |b|^2)."""
    spectrum = scipy.fft.rfft(b, fft_length)
    half_log = 0.5 * np.log1p(-(spectrum.real**2 + spectrum.imag**2))
    coefficients = scipy.fft.irfft(half_log, fft_length)
    coefficients[1 : fft_length // 2] *= 2
    coefficients[fft_length // 2 + 1 :] = 0
    return scipy.fft.irfft(np.exp(scipy.fft.rfft(coefficients)), fft_length)[: len(b)]


def inverse_nonlinear_fft(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """gamma_k of the layers (a, b) <- ((a + gamma b)/c, (b - gamma a)/(c z)), gamma = b_0/a_0, one per coefficient."""
    return _strip(a, b, False)[0]


def _strip(a: np.ndarray, b: np.ndarray, layers: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """gammas, and if `layers` p, q (in 1/z) with (a, b) after all layers = [[p, q], [-rev q, rev p]] (a, b)."""
    n = len(a)
    if n <= _LEAF:
        return _strip_by_cholesky(a, b)
    h = n // 2
    first, p1, q1 = _strip(a[:h], b[:h], True)
    # only coefficients h to n - 1 are wanted, and what is longer than the transform wraps around to below h
    length = scipy.fft.next_fast_len(n + 1, real=True)
    fa, fb, fp1, fq1, fp1_reversed, fq1_reversed = _spectra([a, b, p1, q1, p1[::-1], q1[::-1]], length)
    rest = scipy.fft.irfft(np.stack([fp1_reversed * fa + fq1_reversed * fb, fp1 * fb - fq1 * fa]), length)[:, h:n]
    second, p2, q2 = _strip(rest[0], rest[1], layers)
    gammas = np.concatenate([first, second])
    if not layers:
        return gammas, p2, q2
    fp2, fq2 = _spectra([p2, q2], length)
    both = scipy.fft.irfft(np.stack([fp2 * fp1 - fq2 * fq1_reversed, fp2 * fq1 + fq2 * fp1_reversed]), length)
    return gammas, both[0, : n + 1], both[1, : n + 1]


def _spectra(rows: list[np.ndarray], length: int) -> np.ndarray:
    table = np.zeros((len(rows), length))
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return scipy.fft.rfft(table)


def _strip_by_cholesky(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The layers are Schur's algorithm for K = T_a T_a^t + T_b T_b^t = L L^t with lower triangular Toeplitz T_a, T_b.

    Column k of L is a after the rotation of layer k, so L_kk = a_0 c_0...c_k and (L^-1 b)_k = gamma_k/(c_0...c_k); the
    layers make [T_a T_b] (p, q) the last column, with (p, q) of norm 1, so it is the solution of least norm.
    """
    from scipy.linalg.blas import dtrsv
    from scipy.linalg.lapack import dpotrf  # scipy.linalg takes 0.2 s to import, and predictions need no phases

    n = len(a)
    padded = np.zeros((2, 2 * n - 1))
    padded[:, n - 1 :] = a, b
    # [T_a T_b], the columns of each in reverse
    toeplitz = np.concatenate([sliding_window_view(row, n) for row in padded], axis=1)
    L, _ = dpotrf(toeplitz @ toeplitz.T, lower=True)
    gammas = dtrsv(L, b, lower=True) * np.diagonal(L) / a[0]
    last = np.zeros(n)
    last[-1] = 1.0
    p, q = np.zeros(n + 1), np.zeros(n + 1)
    solution = dtrsv(L, last, lower=True, trans=True) @ toeplitz
    p[:n], q[:n] = solution[:n], solution[n:]
    return gammas, p, q


def reconstruct(wx: np.ndarray) -> np.ndarray:
    """Chebyshev coefficients, on the degrees of its parity, of the polynomial that phases in the Wx convention make.

    With H X H = Z the sequence is a product of e^{i phi X} diag(z, 1), z = e^{2 i acos x}; its first row is
    (A, i B) with real A, B and its second the reversed first, so one product tree of real polynomials suffices.
    """
    d = len(wx) - 1
    size = 1 << d.bit_length()
    phases = np.zeros(size)
    phases[: d + 1] = wx
    A = np.zeros((size, 2))
    B = np.zeros((size, 2))
    A[:, 1] = np.cos(phases)
    B[:, 0] = np.sin(phases)
    while len(A) > 1:
        A, B = _multiply(A[::2], B[::2], A[1::2], B[1::2])
    # the size - d factors diag(z, 1) behind the last phase shift A; D is A reversed; <+|.|+> = (A + D + i B + i C)/2
    real_part = A[0][size - d :]
    laurent = 0.5 * (real_part + real_part[::-1])
    chebyshev = 2 * laurent[(d + 1) // 2 :]
    if d % 2 == 0:
        chebyshev[0] /= 2
    return chebyshev


def _multiply(a1: np.ndarray, b1: np.ndarray, a2: np.ndarray, b2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row by row, the polynomials a1 a2 - b1 rev b2 and a1 b2 + b1 rev a2 of factors of equal length."""
    count, n = a1.shape
    a2_reversed, b2_reversed = a2[:, ::-1], b2[:, ::-1]
    if n <= _LEAF:  # nearly equal short factors share their FFT rounding, which would add up coherently
        A, B = np.zeros((2, count, 2 * n - 1))
        for i in range(n):
            a, b = a1[:, i : i + 1], b1[:, i : i + 1]
            A[:, i : i + n] += a * a2 - b * b2_reversed
            B[:, i : i + n] += a * b2 + b * a2_reversed
        return A, B
    length = scipy.fft.next_fast_len(2 * n - 1, real=True)
    fa1, fb1 = scipy.fft.rfft(a1, length), scipy.fft.rfft(b1, length)
    A = fa1 * scipy.fft.rfft(a2, length) - fb1 * scipy.fft.rfft(b2_reversed, length)
    B = fa1 * scipy.fft.rfft(b2, length) + fb1 * scipy.fft.rfft(a2_reversed, length)
    return scipy.fft.irfft(A, length)[:, : 2 * n - 1], scipy.fft.irfft(B, length)[:, : 2 * n - 1]


def reconstruction_error(wx: np.ndarray, target: np.ndarray) -> float:
    """sup over [-1, 1] of |polynomial of the phases - target|, on a grid 8 times finer than the degree."""
    d = len(wx) - 1
    points = scipy.fft.next_fast_len(4 * (d + 1), real=True)
    difference = np.zeros(points)
    difference[: len(target)] = reconstruct(wx) - target
    if d % 2:
        return float(np.max(np.abs(scipy.fft.dct(difference, type=4)))) / 2
    difference[1:] /= 2
    return float(np.max(np.abs(scipy.fft.dct(difference, type=3))))
