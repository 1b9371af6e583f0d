"""The classical machine of a comparison: rates that are stated in a file, or measured by calibration.py."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import FileFormatError, ParameterError, UnknownNameError

VECTOR_BYTES_OF_A_STEP = 120.0
"""Moved by the vector operations of one step of conjugate gradients, for each unknown: 15 vectors in FP64 (SciPy)."""

LARGEST = sys.float_info.max
_RATES = ("cholesky_flops", "lu_flops", "bandwidth")
_OPTIONAL_RATES = (
    "qr_flops", "assembly_flops", "table_bandwidth", "sparse_lu_flops", "sparse_bandwidth", "vector_bandwidth",
    "graph_bandwidth",
)  # fmt: skip
_AMOUNTS = (
    "latency", "cholesky_half_order", "lu_half_order", "qr_half_order", "sparse_entry_seconds", "step_latency",
    "graph_latency", "measured_at",
)  # fmt: skip


@dataclass(frozen=True)
class ClassicalMachine:
    """A classical machine by its rates: flops in 1/s, bandwidths in bytes/s, latencies in s.

    dense factorisations   latency + flops/rate (1 + half_order/N): order half_order runs at half the rate (Hockney's
                           n_1/2). flops are N^3/3 (cholesky), 2 N^3/3 (lu), 2 p^2 (q - p/3) (qr); qr_flops None:
                           lu_flops
    sparse LU              sparse_entry_seconds * stored entries + flops of the fill/sparse_lu_flops (None: lu_flops)
    products               the longer of flops/lu_flops and bytes/bandwidth (of a sparse matrix sparse_bandwidth);
                           through the graph of a network graph_latency + bytes/graph_bandwidth
    conjugate gradients    beside each product step_latency + 120 N bytes/vector_bandwidth
    assembling G^t G       flops/assembly_flops (None: the rate of the factorisation) + bytes/table_bandwidth

    A bandwidth that is None is that of `bandwidth` for products, and not charged for tables and vectors. measured:
    whether the rates were measured on the machine that runs, at measured_at (Unix time), or stated.
    """

    name: str
    cholesky_flops: float
    lu_flops: float
    bandwidth: float
    source: str = "stated"
    qr_flops: float | None = None
    cholesky_half_order: float = 0.0
    lu_half_order: float = 0.0
    qr_half_order: float = 0.0
    latency: float = 0.0
    assembly_flops: float | None = None
    table_bandwidth: float | None = None
    sparse_lu_flops: float | None = None
    sparse_entry_seconds: float = 0.0
    sparse_bandwidth: float | None = None
    step_latency: float = 0.0
    vector_bandwidth: float | None = None
    graph_latency: float = 0.0
    graph_bandwidth: float | None = None
    measured: bool = False
    measured_at: float = 0.0

    def __post_init__(self) -> None:
        for field, kind in (("name", str), ("source", str), ("measured", bool)):
            if not isinstance(getattr(self, field), kind):
                raise ParameterError(field, f"{getattr(self, field)!r} is no {kind.__name__}", "See its description")
        for field in (*_RATES, *_OPTIONAL_RATES):
            value = getattr(self, field)
            if value is None and field in _OPTIONAL_RATES:
                continue
            if not (_is_number(value) and value > 0):
                raise ParameterError(field, f"{value!r} is not a rate > 0", "Give it in units a second")
        for field in _AMOUNTS:
            value = getattr(self, field)
            if not (_is_number(value) and value >= 0):
                raise ParameterError(field, f"{value!r} is not a number >= 0", "The default is 0")

    def rate(self, solver: str, order: float) -> float:
        """Flops in 1/s of a dense "cholesky", "lu" or "qr" of this order, without its latency."""
        top, half = {
            "cholesky": (self.cholesky_flops, self.cholesky_half_order),
            "lu": (self.lu_flops, self.lu_half_order),
            "qr": (self.qr_flops or self.lu_flops, self.qr_half_order),
        }[solver]
        return top / (1 + half / max(order, 1))

    def sparse_lu_seconds(self, flops: float, entries: float) -> float:
        """Of a sparse LU with that many stored entries, whose fill takes `flops`."""
        return self.sparse_entry_seconds * entries + flops / (self.sparse_lu_flops or self.lu_flops)

    def product_seconds(self, flops: float, bytes_moved: float, kind: str = "dense") -> float:
        """Of one product, by the "dense" or "sparse" matrix, or through the "graph" of a network."""
        bandwidth = {"dense": None, "sparse": self.sparse_bandwidth, "graph": self.graph_bandwidth}[kind]
        moved = bytes_moved / (bandwidth or self.bandwidth)
        if kind == "graph" and self.graph_bandwidth:
            return self.graph_latency + moved  # measured as a whole, arithmetic included
        return (self.graph_latency if kind == "graph" else 0.0) + max(flops / self.lu_flops, moved)

    def step_seconds(self, size: float) -> float:
        """Of one step of conjugate gradients, beside its product."""
        return self.step_latency + (
            VECTOR_BYTES_OF_A_STEP * size / self.vector_bandwidth if self.vector_bandwidth else 0
        )

    def assembly_seconds(self, flops: float, bytes_moved: float, rate: float) -> float:
        """Of forming a matrix: at assembly_flops, or else at `rate`, and its tables at table_bandwidth."""
        tables = bytes_moved / self.table_bandwidth if self.table_bandwidth else 0.0
        return flops / (self.assembly_flops or rate) + tables

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def load(cls, name: str = "reference") -> ClassicalMachine:
        """A machine file that ships with the package, by name, or a JSON file by its path."""
        folder = resources.files("qnewton_gpu.costs") / "machines"
        shipped = sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))
        if name not in shipped and name.endswith(".json") and not Path(name).exists():
            raise FileFormatError("machine", f"there is no file {name}", "Check the path")
        if name not in shipped and not Path(name).is_file():
            raise UnknownNameError.among("machine", name, [*shipped, "the path of a JSON file"])
        file = folder / f"{name}.json" if name in shipped else Path(name)
        try:
            return cls(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError, RecursionError) as problem:
            raise FileFormatError(
                "machine", f"{name} is no machine file ({problem})", "See costs/machines/reference.json"
            ) from None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST
