"""Imports go down one order of layers only (ARCHITECTURE, rule 1)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "qnewton_gpu"
# from top to bottom: a module may import what stands after it, and modules of its own package
LAYERS = (
    ["__init__", "__main__", "cli", "reproduction", "report", "training", "runfolder", "data"],
    ["optimizer", "step_records", "systems", "blocks", "curvature"],
    ["linear_solve", "scheduler"],
    ["planning"],
    ["solvers"],
    ["concurrency", "amplification", "costs", "noise", "simulation", "readout"],
    ["encodings", "polynomials", "conditioning"],
    ["operators"],
    ["backends"],
    ["tensor_networks", "interop", "circuit"],
    ["user_cache", "stages", "errors"],
)
ORDER = [name for layer in LAYERS for name in layer]
ALLOWED_BY_CURVATURE = {"curvature", "stages", "errors"}
GPU_LIBRARIES = {"cupy", "cupyx", "cuquantum"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def level_of(parts: tuple[str, ...]) -> str:
    return parts[0] if parts else "__init__"


def imports(path: Path) -> set[tuple[str, ...]]:
    """Every imported name of a module as its dotted parts; those of this package begin with an empty part."""
    found: set[tuple[str, ...]] = set()
    here = path.relative_to(PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = tuple(node.module.split(".")) if node.module else ()
            base = ("", *here[: len(here) - node.level], *module) if node.level else module
            found |= {(*base, alias.name) for alias in node.names}
    return {("", *parts[1:]) if parts[0] == PACKAGE.name else parts for parts in found}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path: Path) -> None:
    here = level_of(path.relative_to(PACKAGE).with_suffix("").parts)
    assert here in ORDER, f"{path} belongs to no named layer"
    for first, *rest in imports(path):
        if first:
            assert first not in GPU_LIBRARIES or here == "backends", f"{first} is imported outside backends/"
            continue
        # a name that is no layer is a public name of the package itself, which is its top
        there = rest[0] if rest and rest[0] in ORDER else "__init__"
        assert there == here or ORDER.index(there) > ORDER.index(here), f"{here} imports {there}, which is above it"
        assert here != "curvature" or there in ALLOWED_BY_CURVATURE, f"curvature imports {there}"


def test_every_layer_of_the_order_is_named_once() -> None:
    assert len(ORDER) == len(set(ORDER))
