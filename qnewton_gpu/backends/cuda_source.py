"""The CUDA sources: finds kernels/*.cu, puts common.cuh before each, and names what is compiled of them.

CuPy caches compiled kernels by their source text and does not see included headers, so one text holds both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

NAMES = ("walk_query", "matching_query", "gram_query", "subspace_query")
REALS = {"complex64": "float", "complex128": "double"}
"""The template argument `Real` for each dtype of a register."""
LANES = (2, 4, 8, 16, 32)
COLUMNS = (1, 4)
OPTIONS = ("--std=c++17", "--generate-line-info")
FORMULAS = ("complex", "bytes", "flops", "bytes of the dense form")


def kernels_folder() -> Path:
    """kernels/ inside the installed package, or beside it in a checkout."""
    package = Path(str(resources.files("qnewton_gpu")))
    inside = package / "kernels"
    return inside if inside.is_dir() else package.parent / "kernels"


@dataclass(frozen=True)
class Source:
    """kernels/<name>.cu with common.cuh before it, and the kernels that are compiled of it."""

    name: str
    text: str
    name_expressions: tuple[str, ...]
    options: tuple[str, ...] = OPTIONS


@cache
def source(name: str, real: str) -> Source:
    """A file of kernels for `real`, "float" or "double"."""
    folder = kernels_folder()
    text = (folder / "common.cuh").read_text() + (folder / f"{name}.cu").read_text()
    return Source(name, text, _name_expressions(name, real))


def _name_expressions(name: str, real: str) -> tuple[str, ...]:
    expressions = {
        "walk_query": [f"walk_{part}<{real}, {lanes}>" for part in ("lift", "query", "lower") for lanes in LANES],
        "matching_query": [f"matching_query<{real}>"],
        "gram_query": [f"gram_rows<{real}>", f"gram_columns<{real}>"],
        "subspace_query": [
            *(f"subspace_query<{real}, {lanes}, {columns}>" for lanes in LANES for columns in COLUMNS),
            *(f"subspace_query_dense<{real}, {columns}>" for columns in COLUMNS),
        ],
    }
    return (*expressions[name], "advance")


def formula(name: str, quantity: str, **sizes: float) -> float:
    """A quantity of one query as the header of kernels/<name>.cu states it.

    `quantity` is "bytes", "flops" or "bytes of the dense form". `sizes` are the names in the formula:
    entries, rows, columns, colours, tiles, and real (bytes of a real number).
    """
    stated = _formulas(name)
    sizes = {"complex": eval(stated["complex"], {"__builtins__": {}}, dict(sizes)), **sizes}
    return float(eval(stated[quantity], {"__builtins__": {}}, sizes))


@cache
def _formulas(name: str) -> dict[str, str]:
    text = (kernels_folder() / f"{name}.cu").read_text()
    found = re.findall(rf"^// ({'|'.join(FORMULAS)}): (.+)$", text, re.MULTILINE)
    return {quantity: expression.removesuffix(" bytes") for quantity, expression in found}
