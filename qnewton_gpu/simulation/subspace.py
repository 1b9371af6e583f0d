"""Mode "subspace": psi = T u + S T v kept as u and v, one product with A/alpha a query."""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..backends.base import Backend
from ..encodings.base import other
from .outcome import Outcome, outcome_of

if TYPE_CHECKING:
    from .runs import Run


def run_subspace(runs: Sequence[Run], backend: Backend) -> list[Outcome]:
    outcomes = []
    for members, program in programs_for(runs, backend.subspace_program):
        if program is None:
            vectors = [two_vectors(run, backend) for run in members]
        else:
            pairs = program.run([run.phases for run in members], [run.start for run in members])
            vectors = [(x, y, run.encoding.matvec(y)) for run, (x, y) in zip(members, pairs, strict=True)]
        outcomes += [_oftwo_vectors(run, *three, backend) for run, three in zip(members, vectors, strict=True)]
    return outcomes


def two_vectors(run: Run, backend: Backend) -> tuple[Any, Any, Any]:
    """x, y and T_side^t S T_other y, psi = exp(-i sum of phases) (T_side x + S T_other y): one product a query."""
    xp, encoding, side = backend.xp, run.encoding, run.side
    product = {"right": encoding.rmatvec, "left": encoding.matvec}
    x, y, image = run.start.astype(xp.complex128), None, None
    for k, phi in enumerate(run.phases[::-1]):
        if k:
            x, y, side = y, x, other(side)
            image = product[side](y)
            if x is None:
                x = xp.zeros_like(image)
            change = x + image
            change *= cmath.exp(2j * phi) - 1
            x += change
        else:
            x *= cmath.exp(2j * phi)
    return x, y, image


def _oftwo_vectors(run: Run, x: Any, y: Any, image: Any, backend: Backend) -> Outcome:
    xp, encoding = backend.xp, run.encoding
    side = run.side if run.queries % 2 == 0 else other(run.side)
    # the factors exp(-i phi) are common to x and y: one multiplication at the end
    common = cmath.exp(-1j * math.fsum(run.phases))
    x = x * common
    norm = encoding.inner(x, x, side).real
    if run.queries == 0:
        return outcome_of(run, x.real, norm, lambda: encoding.lift(x, side), xp)
    y, image = y * common, image * common
    norm = norm + encoding.inner(y, y, other(side)).real + 2 * encoding.inner(x, image, side).real

    def register() -> Any:
        return encoding.lift(x, side) + encoding.reflect(encoding.lift(y, other(side)))

    return outcome_of(run, (x + image).real, norm, register, xp)


def programs_for(runs: Sequence[Run], make: Callable[[list[Any], str], Any]) -> Iterator[tuple[Sequence[Run], Any]]:
    """The runs with the backend's program for them: one for all, or else one for each; None where it has none."""
    program = make([run.encoding for run in runs], runs[0].dtype)
    if program is not None or len(runs) == 1:
        yield runs, program
        return
    for run in runs:
        yield [run], make([run.encoding], run.dtype)
