"""The same systems, block encodings and phases through other simulators, side by side in one run: `make bench-peers`.

Every number is on the `simulated` clock: seconds of a whole solve on this machine. A peer's solve starts from our
encoding as arrays and from our phase factors, builds its gates, runs them and reads x; ours starts from A and b and
includes the encoding and the certificate. Imports, and the phase factors that all share, are not timed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from common import machine, table
from peers.make_case import make_case, time_encoding
from peers.measure import AGREEMENT, ENCODING, Run, Solver, Task, checked, run

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "peers.md"
EXPONENTS, KAPPAS, EPSILONS = (3, 6, 8, 10), (10, 50, 100), (1e-2, 1e-3)
LARGE_EXPONENTS, LARGE_KAPPA, LARGE_EPSILON = (16, 18, 20), 50, 1e-2
LARGEST_MATCHING = 18
"""Above it the matching tables are not made for the peers: none comes in sight of that size within the limit."""
GATES = "matching, circuit"
AS_DOCUMENTED = ("dilation, dense gate", "dilation, qml.QSVT", "dilation, circuit", "dilation, circuit fused")
"""A dense unitary on n+1 qubits through the documented interface: what a user of a peer writes first."""


def _venv(name: str) -> Path:
    return HERE.parent / name / "bin" / "python"


OURS = Solver(
    "ours",
    "ours",
    Path(sys.executable),
    (
        "matching, circuit",
        "dilation, circuit",
        "matching, fused",
        "dilation, fused",
        "walk, fused",
        "matching, two vectors, exact",
        "walk, two vectors, exact",
    ),
)
PEERS = (
    Solver("qulacs", "qulacs_gates", _venv(".venv-peers"), ("dilation, dense gate", "matching, sparse gate")),
    Solver(
        "lightning",
        "lightning",
        _venv(".venv-peers"),
        (
            "dilation, qml.QSVT",
            "dilation, sparse gate",
            "dilation, C++ methods",
            "matching, sparse gate",
            "matching, C++ methods",
        ),
    ),
    Solver(
        "Aer",
        "aer",
        _venv(".venv-peers"),
        ("dilation, circuit", "dilation, circuit fused", "dilation, AerState", "matching, AerState"),
    ),
    Solver("Qrisp", "qrisp_inversion", _venv(".venv-qrisp"), ("own, inversion",), own=True),
    Solver("NWQLib", "nwqlib_qls", _venv(".venv-nwqlib"), ("own, dense dilation",), own=True),
)
LARGE_PEERS = (
    Solver("qulacs", "qulacs_gates", _venv(".venv-peers"), ("matching, sparse gate",)),
    Solver("lightning", "lightning", _venv(".venv-peers"), ("matching, C++ methods",)),
)
LARGE_OURS = Solver("ours", "ours", OURS.python, ("matching, fused", "walk, fused", "walk, two vectors, exact"))


def run_all(
    tasks: list[Task], solvers: Iterable[Solver], options: argparse.Namespace, encodings: Iterable[str]
) -> list[Run]:
    """Every solver on every task, but not where it ran out of time or memory on an easier one."""
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as folder:
        for task in tasks:
            case = make_case(task, encodings if task.exponent <= LARGEST_MATCHING else ())
            path = Path(folder) / "case.npz"
            case.save(path)
            these = [time_encoding(task, name, case) for name in case.encoded]
            for solver in solvers:
                for variant in solver.variants:
                    failed = [
                        r
                        for r in runs
                        if (r.solver, r.variant) == (solver.name, variant)
                        and r.status.startswith((">", "out of", "not", "crashed"))
                        and r.task.no_harder_than(task)
                    ]
                    no_tables = solver.name != "ours" and not solver.own and not case.encoded
                    if failed or no_tables:
                        status = failed[-1].status if failed else "not tried"
                        these.append(Run(task, solver.name, variant, None, status))
                        continue
                    these.append(run(solver, variant, task, path, options.limit, options.memory, options.threads))
            for r in checked(these, case):
                print(f"{task}: {r.solver}, {r.variant}: {r.cell}", flush=True)
                runs.append(r)
    return runs


def times(runs: list[Run], tasks: list[Task]) -> tuple[list[str], list[list[str]]]:
    """Seconds, one line a variant, one column a task."""
    found = {(r.solver, r.variant, r.task): r.cell for r in runs}
    lines = dict.fromkeys((r.solver, r.variant) for r in runs)
    header = ["solver", "encoding, means", *(f"kappa {t.kappa:g}, eps {t.epsilon:g}" for t in tasks)]
    return header, [[*line, *(found.get((*line, t), "-") for t in tasks)] for line in lines]


def best(runs: Iterable[Run]) -> Run | None:
    solved = [r for r in runs if r.seconds is not None]
    return min(solved, key=lambda r: r.seconds or 0.0, default=None)


def ratios(runs: list[Run], tasks: list[Task]) -> tuple[list[str], list[list[str]]]:
    """How many times longer a peer took than we did: the best of all, the best with the same encoding, and one with
    all of its own against our gates."""
    own = [s.name for s in PEERS if s.own]
    shared = [r for r in runs if r.solver not in ("ours", ENCODING, *own)]
    rows = [["best peer is", *(_name(best(r for r in shared if r.task == t)) for t in tasks)]]
    for variant in dict.fromkeys(r.variant for r in runs if r.solver == "ours"):
        encoding = variant.split(",")[0]
        groups = [("best peer", shared), (f"best peer, {encoding}", [r for r in shared if r.encoding == encoding])]
        groups.append(("best peer, as documented", [r for r in shared if r.variant in AS_DOCUMENTED]))
        if variant == GATES:
            groups += [(name, [r for r in runs if r.solver == name]) for name in own]
        for name, group in groups:
            if not group:
                continue
            cells = []
            for task in tasks:
                our = best(r for r in runs if (r.solver, r.variant, r.task) == ("ours", variant, task))
                cells.append(_ratio([r for r in group if r.task == task], our))
            rows.append([f"{name} : {variant}", *cells])
    return ["ratio of seconds", *(f"kappa {t.kappa:g}, eps {t.epsilon:g}" for t in tasks)], rows


def _name(run: Run | None) -> str:
    return "-" if run is None else f"{run.solver} ({run.variant})"


def _ratio(theirs: list[Run], our: Run | None) -> str:
    """The fastest of theirs over ours; a lower bound where all that is known of theirs is that it exceeds the limit."""
    if our is None or our.seconds is None:
        return "-"
    peer = best(theirs)
    if peer is not None and peer.seconds is not None:
        return _plain(peer.seconds / our.seconds)
    late = [r.status for r in theirs if r.status.startswith("> ")]
    return f"> {_plain(float(late[0].split()[1]) / our.seconds)}" if late else "-"


def _plain(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"


def needs(runs: list[Run], tasks: list[Task]) -> tuple[list[str], list[list[str]]]:
    """What the two circuits of the peers would take: their state vector, and U as a dense gate."""
    header = ["", *(f"n = {t.exponent}" for t in tasks)]
    colour_qubits = 5  # at most 2 d = 16 colours, the diagonal among them, and the rotated qubit
    rows = [
        ["state vector, matching", *(size_of(16.0 * 2 ** (t.exponent + colour_qubits)) for t in tasks)],
        ["dense U, dilation", *(size_of(16.0 * 4 ** (t.exponent + 1)) for t in tasks)],
    ]
    found = {(r.solver, r.variant, r.task): r.cell for r in runs}
    lines = dict.fromkeys((r.solver, r.variant) for r in runs)
    return header, rows + [[f"{s}: {v}", *(found.get((s, v, t), "-") for t in tasks)] for s, v in lines]


def size_of(amount: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if amount < 1024 or unit == "TiB":
            break
        amount /= 1024
    return f"{amount:.3g} {unit}"


Table = tuple[str, list[str], list[list[str]]]


def markdown(tables: list[Table], notes: list[str]) -> str:
    parts = ["# Peers, side by side", "", "Made by `make bench-peers`; " + " ".join(notes), ""]
    for title, header, rows in tables:
        lines = [f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)]
        parts += [f"## {title}", "", *lines, ""]
    return "\n".join(parts)


def explain(runs: list[Run], options: argparse.Namespace) -> list[str]:
    versions = sorted({r.version for r in runs if r.version})
    missing = sorted({r.solver for r in runs if r.status == "not installed"})
    worst = max(
        (r.residual / r.task.epsilon for r in runs if r.x is not None and r.seconds is not None), default=float("nan")
    )
    return [
        f"{machine()}, {options.threads} threads; {', '.join(versions)}" + ".",
        *([f"Not installed: {', '.join(missing)} (NWQLib needs Python 3.12: PYTHON312=...)."] if missing else []),
        "Seconds of whole solves on the simulated clock, the fastest of up to 5, each solver in a process of its own; "
        f"limit {options.limit:g} s a solve and {size_of(options.memory)} a process. A peer that exceeded either on an "
        "easier task is not run again.",
        "qulacs, lightning and Aer get our block encoding as arrays and our phase factors for nothing, and "
        "read the real part off the amplitudes, with no qubit for it; "
        "our own times include the encoding, whose share is a row of its own, and the FP64 certificate.",
        "The systems are direct sums of 8 x 8 blocks, permuted; nobody makes use of that: U of the dilation is "
        "kept dense, as it is for any other A.",
        f"Their x agrees with ours to {AGREEMENT:g}, and every solve that has a time has a relative residual <= eps "
        f"(worst: {worst:.2f} eps). Qrisp and NWQLib use their own encoding, polynomial and phases, built within the "
        "solve; Qrisp returns magnitudes, so its signs are those of the exact x.",
        "`two vectors, exact` keeps u and v of the register T u + S T v, which is all that it holds; the peers keep "
        "the register.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds a solve may take (default 60)")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    parser.add_argument("--memory", type=int, default=3 * total // 4, help="bytes a process may map (default: 3/4)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="OMP_NUM_THREADS for all")
    parser.add_argument("--n", type=int, nargs="*", default=EXPONENTS, help="n of N = 2^n, compared with the peers")
    parser.add_argument("--kappa", type=float, nargs="*", default=KAPPAS)
    parser.add_argument("--epsilon", type=float, nargs="*", default=EPSILONS)
    parser.add_argument("--large", type=int, nargs="*", default=LARGE_EXPONENTS, help="n of the table of large sizes")
    parser.add_argument("--peers", nargs="*", default=[s.name for s in PEERS], choices=[s.name for s in PEERS])
    parser.add_argument("--output", type=Path, default=RESULTS, help="where the tables are written as markdown")
    options = parser.parse_args()

    chosen = [s for s in PEERS if s.name in options.peers]
    tables: list[Table] = []
    with tempfile.TemporaryDirectory() as folder:  # the user's own phase cache neither helps nor grows
        os.environ["QNEWTON_CACHE_DIR"] = folder
        tasks = [Task(n, k, e) for n in options.n for k in options.kappa for e in options.epsilon]
        runs = run_all(tasks, (OURS, *chosen), options, ("dilation", "matching"))
        for n in options.n:
            these = [t for t in tasks if t.exponent == n]
            tables.append((f"simulated: seconds, n = {n}", *times([r for r in runs if r.task in these], these)))
            tables.append((f"simulated: ratios, n = {n}", *ratios([r for r in runs if r.task in these], these)))
        tasks = [Task(n, LARGE_KAPPA, LARGE_EPSILON) for n in options.large]
        if tasks:
            large = run_all(
                tasks, (LARGE_OURS, *(s for s in LARGE_PEERS if s.name in options.peers)), options, ["matching"]
            )
            title = f"simulated: large sizes, kappa {LARGE_KAPPA}, eps {LARGE_EPSILON:g}"
            tables.append((title, *needs(large, tasks)))
            runs += large
    notes = explain(runs, options)
    for title, header, rows in tables:
        table(title, header, rows)
    print("\n" + "\n".join(notes))
    options.output.write_text(markdown(tables, notes))


if __name__ == "__main__":
    main()
