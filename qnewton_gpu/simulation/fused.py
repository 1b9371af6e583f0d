"""Mode "fused": the whole register, three lines a query."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..backends.base import Backend
from ..encodings.base import BlockEncoding, other
from .outcome import Outcome, outcome_of
from .subspace import programs_for

if TYPE_CHECKING:
    from .runs import Run


def run_fused(runs: Sequence[Run], backend: Backend) -> list[Outcome]:
    outcomes = []
    for members, program in programs_for(runs, backend.register_program):
        if program is None:
            registers = [whole_register(run, backend) for run in members]
        else:
            phases, starts = [run.phases for run in members], [run.start for run in members]
            registers = program.run(phases, starts, members[0].side)
        outcomes += [_of_register(run, *pair, backend) for run, pair in zip(members, registers, strict=True)]
    return outcomes


def _of_register(run: Run, psi: Any, lowered: Any, backend: Backend) -> Outcome:
    return outcome_of(run, lowered.real, (psi.real**2 + psi.imag**2).sum(axis=0), lambda: psi, backend.xp)


def whole_register(run: Run, backend: Backend) -> tuple[Any, Any]:
    """psi and T^t psi: the three lines of a query, written out; psi is kept in the precision of the run."""
    encoding: BlockEncoding = run.encoding
    side, psi = run.side, encoding.lift(run.start.astype(run.dtype), run.side)
    for k, phi in enumerate(run.phases[::-1]):
        if k:
            psi, side = encoding.reflect(psi), other(side)
        v = encoding.lower(psi, side)
        psi = (psi + encoding.lift((cmath.exp(2j * phi) - 1) * v, side)).astype(run.dtype, copy=False)
    psi *= cmath.exp(-1j * math.fsum(run.phases))  # the factors exp(-i phi) are common: one multiplication at the end
    return psi, encoding.lower(psi, side)
