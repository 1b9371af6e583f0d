"""Records what the real CuPy, cuStateVec and cuTensorNet offer, so that the stand-ins can be held to it elsewhere.

`make record-signatures` installs them and writes signatures.json; `make check-signatures` compares with it and fails
where they differ. Neither needs a GPU.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import sys
import types
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RECORD = HERE / "signatures.json"
PACKAGES = ("cupy-cuda13x", "cuquantum-python-cu13", "custatevec-cu13", "cutensornet-cu13")
FUNCTIONS = (
    *("apply_matrix", "apply_generalized_permutation_matrix", "abs2sum_array", "collapse_by_bit_string"),
    *("sampler_create", "sampler_preprocess", "sampler_sample", "sampler_destroy"),
    *("create", "set_stream", "set_device_mem_handler"),
)
TENSOR_NETWORKS = {
    "cuquantum.tensornet": ("contract_path", "Network", "NetworkOptions", "OptimizerOptions", "OptimizerInfo"),
    "cuquantum.tensornet.experimental": ("NetworkState", "MPSConfig"),
}
BINDINGS = ("create", "destroy")
METHODS = {
    "Network": ("contract_path", "reset_operands", "contract", "free", "__enter__", "__exit__"),
    "NetworkState": (
        *("set_initial_mps", "apply_tensor_operator", "apply_mpo", "compute_output_state", "compute_amplitude"),
        *("compute_batched_amplitudes", "compute_reduced_density_matrix", "compute_sampling", "free"),
    ),
}


def _tensor_networks() -> dict[str, list[str]]:
    """Parameters of what is called in cuquantum.tensornet: functions, constructors and methods."""
    found = {}
    for module, things in TENSOR_NETWORKS.items():
        for name in things:
            thing = getattr(importlib.import_module(module), name)
            found[f"{module}.{name}"] = list(inspect.signature(thing).parameters)
            for method in METHODS.get(name, ()):
                found[f"{module}.{name}.{method}"] = list(inspect.signature(getattr(thing, method)).parameters)
    return found


def _names(thing: Any) -> list[str]:
    return sorted(name for name in dir(thing) if not name.startswith("_"))


def _parameters_from_source(module: str, name: str) -> list[str]:
    """Of a function whose module cannot be imported without cuBLAS: read from its source."""
    package, _, file = module.rpartition(".")
    path = Path(importlib.import_module(package.split(".")[0]).__file__ or "").parent
    text = path.joinpath(*package.split(".")[1:], f"{file}.py").read_text()
    found = next(n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef) and n.name == name)
    return [argument.arg for argument in (*found.args.args, *found.args.kwonlyargs)]


def record() -> dict[str, Any]:
    warnings.simplefilter("ignore")
    cupy = importlib.import_module("cupy")
    custatevec = importlib.import_module("cuquantum.bindings.custatevec")
    cutensornet = importlib.import_module("cuquantum.bindings.cutensornet")
    cuquantum: types.ModuleType = importlib.import_module("cuquantum")
    return {
        "versions": {name: version(name) for name in PACKAGES},
        "custatevec": {name: list(inspect.signature(getattr(custatevec, name)).parameters) for name in FUNCTIONS},
        "constants": {
            "CUDA_C_64F": int(cuquantum.cudaDataType.CUDA_C_64F),
            "COMPUTE_64F": int(cuquantum.ComputeType.COMPUTE_64F),
            "ROW_MAJOR": int(custatevec.MatrixLayout.ROW),
            "RANDNUM_ORDER": int(custatevec.SamplerOutput.RANDNUM_ORDER),
        },
        "cutensornet": _tensor_networks(),
        "cutensornet bindings": {
            name: list(inspect.signature(getattr(cutensornet, name)).parameters) for name in BINDINGS
        },
        "cupyx.scipy.sparse.linalg.cg": _parameters_from_source("cupyx.scipy.sparse.linalg._iterative", "cg"),
        "cupy": _names(cupy),
        "cupy.linalg": _names(cupy.linalg),
        "cupy.ndarray": _names(cupy.ndarray),
        "cupy.cuda": _names(cupy.cuda),
        "cupy.cuda.Stream": _names(cupy.cuda.Stream),
        "cupy.cuda.Graph": _names(importlib.import_module("cupy.cuda.graph").Graph),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with signatures.json instead of writing it")
    if not parser.parse_args().check:
        RECORD.write_text(json.dumps(record(), indent=1) + "\n")
        print(f"{RECORD} written")
        return 0
    now, kept = record(), json.loads(RECORD.read_text())
    differing = [key for key in now if now[key] != kept.get(key)]
    for key in differing:
        print(f"{key} differs: recorded {kept.get(key)}, installed {now[key]}", file=sys.stderr)
    print(
        "run make record-signatures, then make test" if differing else "the record is that of the installed libraries"
    )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
