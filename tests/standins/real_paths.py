"""The real cuTensorNet on networks of QSVT circuits: its path finder runs on a CPU.

`python tests/standins/real_paths.py .venv-cuda/bin/python`: that Python has cuQuantum and is asked for the paths; here
they are priced beside the paths of this package, walked with NumPy, and the result is compared with the state vector.
No number of this is a GPU result. Fails where cuTensorNet refuses a network or a result differs by more than 1e-10.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np

LIMIT = 8 * 2**30
CONTRACTED = 16
"""Qubits up to which a network is contracted and compared, too."""
COLUMNS = "{:<25} {:>6} {:>6} {:>8}  {:>11} {:>10} {:>10}  {:>9} {:>6} {:>8} {:>9}"


def find(networks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What contract_path says of each network, in the Python that has cuQuantum."""
    from cuquantum.tensornet import NetworkOptions, OptimizerOptions, contract_path
    from cuquantum.tensornet.experimental import MPSConfig

    NetworkOptions(device_id=0, handle=1, memory_limit=LIMIT, blocking="auto")
    MPSConfig(max_extent=64, rel_cutoff=1e-12)
    found = []
    for network in networks:
        # one number stands for every entry: nothing of the size of an operand is allocated
        arrays = [np.broadcast_to(np.complex128(0), shape) for shape in network["shapes"]]
        form = [part for pair in zip(arrays, network["indices"], strict=True) for part in pair]
        start = time.perf_counter()
        path, info = contract_path(
            *form, network["output"], options={"memory_limit": LIMIT}, optimize=OptimizerOptions(seed=0)
        )
        seconds = time.perf_counter() - start
        # a path and slices that are given, as for a contraction, are taken as they are
        sliced = network["output"][0]
        given = {"path": [(int(a), int(b)) for a, b in path], "slicing": ((sliced, 1),)}
        again, same = contract_path(*form, network["output"], options={"memory_limit": LIMIT}, optimize=given)
        assert list(again) == given["path"] and same.num_slices == 2 and list(same.slices) == [(sliced, 1)]
        found.append(
            {
                "path": [[int(a), int(b)] for a, b in path],
                "flops": info.opt_cost,
                "largest": info.largest_intermediate,
                "num_slices": info.num_slices,
                "slices": [[int(index), int(extent)] for index, extent in info.slices],
                "seconds": seconds,
            }
        )
    return found


def circuits() -> list[tuple[str, Any, int, np.ndarray]]:
    """(name, program, system qubits, start) of small QSVT circuits, whose state vectors fit."""
    import qnewton_gpu as qn
    from qnewton_gpu.circuit import qsvt_circuit
    from qnewton_gpu.encodings import encode
    from qnewton_gpu.operators import as_operator
    from qnewton_gpu.operators.toeplitz import screened_poisson
    from qnewton_gpu.polynomials import inverse_polynomial, phase_factors

    cpu = qn.select_backend("cpu")
    random = np.random.default_rng(0)
    sparse = random.standard_normal((8, 8)) * (random.random((8, 8)) < 0.3)
    band = np.diag(np.full(8, 4.0)) + np.diag(np.ones(7), 1) + np.diag(np.ones(7), -1)
    cases = [
        ("matching, 8 x 8", as_operator(sparse + sparse.T + 8 * np.eye(8), cpu), "matching"),
        ("banded, 8 x 8", as_operator(band, cpu), "banded"),
        ("toeplitz, 2^5", screened_poisson([5], 3.0), "toeplitz"),
        ("toeplitz, 2^(3+3)", screened_poisson([3, 3], 3.0), "toeplitz"),
        ("toeplitz, 2^20", screened_poisson([20], 3.0), "toeplitz"),
    ]
    made = []
    for name, operator, encoding_name in cases:
        encoding: Any = encode(operator, cpu, encoding_name)
        phases = phase_factors(inverse_polynomial(2, 1e-1)).reflection
        program = qsvt_circuit(encoding.circuit(), encoding.system_qubits, phases)
        start = random.standard_normal((operator.shape[0], 1))
        title = f"{name}, d = {len(phases) - 1}"
        made.append((title, program, encoding.system_qubits, start / np.linalg.norm(start)))
    return made


def main(python: str) -> int:
    import qnewton_gpu as qn
    from qnewton_gpu.backends.contraction_paths import path_cost, time_order
    from qnewton_gpu.backends.tensornet_cpu import NumpyContraction
    from qnewton_gpu.backends.tensornet_gpu import _sliced_cost
    from qnewton_gpu.backends.tensornet_state import TensorNetworkState

    cpu, tensornet = qn.select_backend("cpu"), qn.select_backend("tensornet")
    cases, networks = circuits(), []
    for _, program, system, start in cases:
        state: Any = tensornet.state_vector(start, program.num_qubits)
        assert isinstance(state, TensorNetworkState)
        state.run(state.fuse(program))
        fixed = dict.fromkeys(range(system, program.num_qubits), 0)
        networks.append(state.network.amplitudes(range(system), fixed))
    asked = [
        {"shapes": [o.shape for o in network.operands], "indices": network.indices, "output": network.output}
        for network in networks
    ]
    answer = subprocess.run([python, __file__, "--find"], input=json.dumps(asked), capture_output=True, text=True)
    if answer.returncode:
        print(answer.stderr, file=sys.stderr)
        return 1
    print(COLUMNS.format("", "", "", "", "real flops", "of paths", "", "largest", "", "seconds", ""))
    print(
        COLUMNS.format(
            *("circuit", "qubits", "arrays", "hyper", "cuTensorNet", "in time", "own best"),
            *("entries", "slices", "simul.", "error"),
        )
    )
    worst = 0.0
    for (title, program, system, start), network, found in zip(cases, networks, json.loads(answer.stdout), strict=True):
        cost = _sliced_cost(network, found["path"], types.SimpleNamespace(**found))
        # cuTensorNet counts a product and a sum of complex numbers as one each: 4 to 8 real operations for each
        assert cost.largest_intermediate == found["largest"] and 3.99 <= cost.flops / found["flops"] <= 8, found
        in_time = path_cost(network, time_order(network), "time order")
        best = tensornet.engine.find_path(network)  # type: ignore[attr-defined]
        error = float("nan")
        if program.num_qubits <= CONTRACTED:
            exact: Any = cpu.state_vector(start, program.num_qubits)
            exact.run(program)
            result = NumpyContraction(network, cost.path)().reshape(-1, 1)
            error = float(abs(result - exact.lowest(1 << system)).max())
            worst = max(worst, error)
        uses = [index for indices in (*network.indices, network.output) for index in set(indices)]
        hyper = sum(1 for count in np.unique(uses, return_counts=True)[1] if count > 2)
        print(
            COLUMNS.format(
                *(title, program.num_qubits, len(network.operands), hyper),
                *(f"{flops:.3g}" for flops in (cost.flops, in_time.flops, best.flops)),
                *(cost.largest_intermediate, found["num_slices"], f"{found['seconds']:.2g}"),
                "-" if np.isnan(error) else f"{error:.1e}",
            )
        )
    print("hyper: indices that more than two arrays share, which cuTensorNet takes as they are")
    print(f"slices: within {LIMIT / 2**30:.0f} GiB; error: of the amplitudes along cuTensorNet's path in NumPy")
    return 1 if worst > 1e-10 else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--find"]:
        print(json.dumps(find(json.load(sys.stdin))))
    else:
        sys.path.insert(0, str(Path(__file__).parents[2]))
        sys.exit(main(sys.argv[1]))
