"""The two machines of a comparison, both stated: a quantum computer by its gate time, a classical one by its rates."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ..backends.base import Backend
from ..errors import FileFormatError, ParameterError, UnknownNameError

ACCESS = ("qram", "qrom")
READOUT = ("none", "copies", "inverse")


@dataclass(frozen=True)
class Hardware:
    """A quantum machine, for projections only: nothing here touches what is simulated.

    gate_time in seconds a logical gate. access: one query costs log2(N)^2 gates ("qram", the paper's assumption) or
    one gate for each stored entry ("qrom", loading is paid for). readout charged: "none" (the paper), "copies"
    (0.65 N/eps^2 preparations) or "inverse" (N/eps, arXiv 2207.08800). amplification: 2m + 1 runs instead of 1/p.
    state_preparation: loading the right-hand side is charged in every run.
    """

    gate_time: float = 1e-7
    access: str = "qram"
    readout: str = "none"
    amplification: bool = True
    state_preparation: bool = False

    def __post_init__(self) -> None:
        if not (isinstance(self.gate_time, (int, float)) and 1e-24 <= self.gate_time <= 1e6):
            problem = f"{self.gate_time!r} is not a number of seconds between 1e-24 and 1e6"
            raise ParameterError("gate_time", problem, "Use for example 1e-7")
        if self.access not in ACCESS:
            raise UnknownNameError.among("access", self.access, ACCESS)
        if self.readout not in READOUT:
            raise UnknownNameError.among("readout", self.readout, READOUT)

    def assumptions(self) -> list[str]:
        """What a projection on this machine takes for granted, in words."""
        query = {
            "qram": "one query takes log2(N)^2 gates (QRAM, data loaded for free)",
            "qrom": "one query takes a gate for each stored entry (QROM, loading is paid for)",
        }
        readout = {
            "none": "reading the solution is not charged",
            "copies": "reading the solution takes 0.65 N/eps^2 preparations",
            "inverse": "reading the solution takes N/eps preparations (inverse access)",
        }
        return [
            f"gate time {self.gate_time:.3g} s, error-corrected gates in sequence",
            query[self.access],
            "failures are repaired by amplitude amplification" if self.amplification else "failed runs are repeated",
            readout[self.readout],
            "preparing the right-hand side is " + ("charged in every run" if self.state_preparation else "not charged"),
        ]

    def honest(self) -> Hardware:
        """The same machine with readout and state preparation charged."""
        return replace(self, readout="inverse" if self.readout == "none" else self.readout, state_preparation=True)


@dataclass(frozen=True)
class ClassicalMachine:
    """A classical machine by its rates: flops of Cholesky and LU in 1/s, memory bandwidth in bytes/s."""

    name: str
    cholesky_flops: float
    lu_flops: float
    bandwidth: float
    source: str = "stated"

    def __post_init__(self) -> None:
        for field in ("cholesky_flops", "lu_flops", "bandwidth"):
            value = getattr(self, field)
            if not (isinstance(value, (int, float)) and math.isfinite(value) and value > 0):
                raise ParameterError(field, f"{value!r} is not a rate > 0", "Give it in units a second")

    def product_seconds(self, flops: float, bytes_moved: float) -> float:
        """A product is bound by arithmetic or by memory, whichever takes longer."""
        return max(flops / self.lu_flops, bytes_moved / self.bandwidth)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def load(cls, name: str = "reference") -> ClassicalMachine:
        """A machine file that ships with the package, by name, or a JSON file by its path."""
        folder = resources.files("qnewton_gpu.costs") / "machines"
        shipped = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))
        if name in shipped:
            text = (folder / f"{name}.json").read_text(encoding="utf-8")
        elif Path(name).is_file():
            text = Path(name).read_text(encoding="utf-8")
        else:
            raise UnknownNameError.among("machine", name, [*shipped, "the path of a JSON file"])
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError) as problem:
            raise FileFormatError(
                "machine", f"{name} is no machine file ({problem})", "See costs/machines/reference.json"
            ) from None


def calibrate(backend: Backend, *, size: int = 1200, repeats: int = 5) -> ClassicalMachine:
    """Measure this machine: the best of `repeats` Cholesky and LU solves of order `size`, and of a matrix product.

    For `--calibrate`: frozen into the run's config.json, so that its plans stay reproducible.
    """
    random = np.random.default_rng(0)
    A = random.standard_normal((size, size))
    H = backend.asarray(A @ A.T / size + np.eye(size))
    b = backend.asarray(random.standard_normal((size, 1)))

    def best(function: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(repeats + 1):  # the first call warms up
            start = time.perf_counter()
            function()
            backend.synchronize()
            seconds.append(time.perf_counter() - start)
        return min(seconds[1:])

    return ClassicalMachine(
        name=f"calibrated: {backend.device}",
        cholesky_flops=size**3 / 3 / best(lambda: backend.cholesky_solve(H, b)),
        lu_flops=2 * size**3 / 3 / best(lambda: backend.lu_solve(H, b)),
        bandwidth=8 * size**2 / best(lambda: backend.real_product(H, b)),
        source=f"measured at order {size}, best of {repeats}",
    )
