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
import scipy.fft

from ..errors import ParameterError

DEFAULT_SCALE = 0.98
LARGEST_SCALE = 0.999  # the sampled sup norm may be 3e-4 too small, and beyond |P| = 1 there is no completion
RECONSTRUCTION_TOLERANCE = 1e-12
_LEAF = 96  # below this length stripping one factor at a time beats the transforms
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
    length = 1 << (16 * (d + 1) - 1).bit_length()
    while True:
        gammas = inverse_nonlinear_fft(weiss_completion(sequence, length), sequence)
        wx = np.arctan(gammas)
        wx[0] += math.pi / 4
        wx[-1] += math.pi / 4
        error = reconstruction_error(wx, target)
        if error <= RECONSTRUCTION_TOLERANCE:
            return PhaseFactors(wx, scale, polynomial.sup_norm, error)
        length *= 4
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
    """gamma_0..gamma_d of the layers (a, b) <- ((a + gamma b)/c, (b - gamma a)/(c z)), gamma = b_0/a_0, by halving."""
    return _strip(a, b)[0]


def _strip(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """gammas, and p, q (in 1/z) with (a, b) after all layers = [[p, q], [-rev q, rev p]] (a, b)."""
    n = len(a)
    if n <= _LEAF:
        return _strip_one_by_one(a, b)
    h = n // 2
    first, p1, q1 = _strip(a[:h], b[:h])
    length = scipy.fft.next_fast_len(n + h, real=True)
    fa, fb, fp_reversed, fq_reversed, fp, fq = scipy.fft.rfft(_padded([a, b, p1[::-1], q1[::-1], p1, q1]), length)
    rest = scipy.fft.irfft(np.stack([fp_reversed * fa + fq_reversed * fb, fp * fb - fq * fa]), length)[:, h:n]
    second, p2, q2 = _strip(rest[0], rest[1])
    length = scipy.fft.next_fast_len(n + 1, real=True)
    fp2, fq2, fp1, fq1, fp1_reversed, fq1_reversed = scipy.fft.rfft(
        _padded([p2, q2, p1, q1, p1[::-1], q1[::-1]]), length
    )
    both = scipy.fft.irfft(np.stack([fp2 * fp1 - fq2 * fq1_reversed, fp2 * fq1 + fq2 * fp1_reversed]), length)
    return np.concatenate([first, second]), both[0, : n + 1], both[1, : n + 1]


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    table = np.zeros((len(rows), max(map(len, rows))))
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return table


def _strip_one_by_one(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = len(a)
    gammas = np.empty(n)
    # each row: a or b, then its p and q from the highest power of 1/z down, so that one shift serves all three
    rows = np.zeros((2, 3 * n + 2))
    rows[0, :n], rows[1, :n] = a, b
    rows[0, 2 * n] = rows[1, 3 * n + 1] = 1.0
    for k in range(n):
        gamma = rows[1, 0] / rows[0, 0]
        c = math.hypot(1.0, gamma)
        rows = np.array([[1 / c, gamma / c], [-gamma / c, 1 / c]]) @ rows
        rows[1, :-1] = rows[1, 1:]
        rows[1, -1] = 0.0
        gammas[k] = gamma
    return gammas, rows[0, 2 * n : n - 1 : -1], rows[0, : 2 * n : -1]


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
        a1, b1, a2, b2 = A[::2], B[::2], A[1::2], B[1::2]
        A, B = _multiply([(a1, a2), (-b1, b2[:, ::-1])]), _multiply([(a1, b2), (b1, a2[:, ::-1])])
    # the size - d factors diag(z, 1) behind the last phase shift A; D is A reversed; <+|.|+> = (A + D + i B + i C)/2
    real_part = A[0][size - d :]
    laurent = 0.5 * (real_part + real_part[::-1])
    chebyshev = 2 * laurent[(d + 1) // 2 :]
    if d % 2 == 0:
        chebyshev[0] /= 2
    return chebyshev


def _multiply(pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Row by row, the sum of the products of pairs of real polynomials of equal length."""
    n = pairs[0][0].shape[1]
    if n <= _LEAF:  # nearly equal short factors share their FFT rounding, which would add up coherently
        total = np.zeros((len(pairs[0][0]), 2 * n - 1))
        for x, y in pairs:
            for i in range(n):
                total[:, i : i + n] += x[:, i : i + 1] * y
        return total
    length = scipy.fft.next_fast_len(2 * n - 1, real=True)
    spectra = [scipy.fft.rfft(x, length) * scipy.fft.rfft(y, length) for x, y in pairs]
    return scipy.fft.irfft(np.sum(spectra, axis=0), length)[:, : 2 * n - 1]


def reconstruction_error(wx: np.ndarray, target: np.ndarray) -> float:
    """sup over [-1, 1] of |polynomial of the phases - target|, on a grid 8 times finer than the degree."""
    d = len(wx) - 1
    difference = np.zeros(8 * (d + 1))
    difference[d % 2 : d + 1 : 2] = reconstruct(wx) - target
    difference[1:] /= 2
    return float(np.max(np.abs(scipy.fft.dct(difference, type=1))))
