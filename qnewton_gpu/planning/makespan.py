"""Many systems on machines that work at the same time: who takes which, so that the last one ends soonest.

Unrelated machines (R||Cmax): p_ij is what machine i would take for system j, whatever it takes for the others.
Systems are brought into one order before anything is decided, so that a schedule does not depend on how they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import NonFiniteError, ParameterError, ShapeError

MOST_EXACT = 40
"""Systems up to which the minimum itself is sought; beyond, a schedule within a proven factor of it."""
MOST_NODES = 500
"""Nodes of branch and bound: a limit of work and not of time, so that a plan does not depend on who else computes."""
RANGE = 1000.0
"""Makespan as the solver of mixed-integer programs sees it: its tolerances are absolute, 1e-6."""
SAME = 1e-6
"""A minimum is one to this relative gap."""
EQUAL = 1e-12
"""Two makespans that are relatively this close are the same."""


@dataclass(frozen=True)
class Makespan:
    """A schedule. `machines[j]` is the machine of system j, in the order in which the systems were given.

    `seconds` is when the last machine ends, on the clock of what was given. No schedule ends before `lower_bound`.
    `method` says what is known of it: "exact" (none ends earlier by more than 1e-6 of it), "bounded" (at most twice the
    minimum, 3/2 times on two machines) or "fastest" (each system on its fastest machine).
    """

    machines: tuple[int, ...]
    seconds: float
    lower_bound: float
    method: str


def paper_rule(seconds: Any) -> Makespan:
    """Every system to its fastest machine, the first of equal ones: what arXiv 2405.00252 does, system by system.

    seconds: as for `minimum_makespan`. All machines work at the same time, which is to the rule's favour. The lower
    bound is max(max_j min_i p_ij, sum_j min_i p_ij / machines). Raises what `minimum_makespan` raises.
    """
    times = _checked(seconds)
    machines, fastest = times.argmin(axis=1), times.min(axis=1)
    bound = max(fastest.max(initial=0.0), fastest.sum() / times.shape[1])
    return Makespan(_plain(machines), _ends(times, machines), float(bound), "fastest")


def minimum_makespan(seconds: Any) -> Makespan:
    """The schedule that ends first: min over assignments of max_i sum over systems j of machine i of p_ij.

    seconds: (systems, machines), of one clock; inf where a machine cannot serve a system. Up to 40 systems it is
    found by branch and bound (`scipy.optimize.milp`) with a limit of nodes. Beyond, or where that limit ends the
    search, it is the rounded relaxation, improved by moves of single systems: for the smallest deadline T at which
    the linear relaxation without the pairs p_ij > T ends by T (so T <= minimum), a vertex of it splits at most
    machines - 1 systems, and these can be matched to machines so that none gets two of them: every machine ends by
    T + max p_ij <= 2T (Lenstra, Shmoys, Tardos, Math. Program. 46, 259, 1990, theorem 1). On two machines one system
    is split, x on the first: there it adds (1 - x) p_1, on the second x p_2, and the smaller of the two is at most
    p_1 p_2/(p_1 + p_2) <= T/2, since neither exceeds T: 3/2 times the minimum (Shchepin, Vakhania, Oper. Res. Lett. 33,
    127, 2005, has 2 - 1/machines in general).
    Never later than `paper_rule`. The lower bound is one of weak duality, whatever the solver did: with weights w >= 0
    of sum 1, no schedule that respects deadline T ends before sum_j min over p_ij <= T of w_i p_ij.
    Raises ShapeError, NonFiniteError for NaN, ParameterError for a negative time or a system that no machine serves.

    >>> minimum_makespan([[3.0, 4.0], [2.0, 4.0], [2.0, 4.0]]).machines
    (1, 0, 0)
    """
    given = _checked(seconds)
    rule = paper_rule(given)
    if rule.seconds == 0:
        return Makespan(rule.machines, 0.0, 0.0, "exact")
    order = np.lexsort(given.T)
    with np.errstate(over="ignore"):  # what is that much longer than the rule's makespan is never chosen
        times = given[order] / rule.seconds
    fastest = times.argmin(axis=1)
    rounded, bound = _rounded_relaxation(times)
    found = [fastest, _improved(times, rounded)]
    best = min(_ends(times, machines) for machines in found)
    method = "exact" if best <= bound * (1 + EQUAL) else "bounded"
    if method != "exact" and len(times) <= MOST_EXACT:
        machines, optimal = _branch_and_bound(times, bound, best)
        found.append(machines)
        method = "exact" if optimal else "bounded"
    best = min(_ends(times, machines) for machines in found)
    # of equal ones the first: the paper's rule takes the least work, and moving systems less
    chosen = next(machines for machines in found if _ends(times, machines) <= best * (1 + EQUAL))
    machines = np.empty_like(chosen)
    machines[order] = chosen
    ends = _ends(given, machines)
    if ends > rule.seconds:  # by rounding alone: the sum was taken in another order
        machines, ends = np.array(rule.machines), rule.seconds
    return Makespan(_plain(machines), ends, min(max(bound * rule.seconds, rule.lower_bound), ends), method)


def _checked(seconds: Any) -> np.ndarray:
    times = np.asarray(seconds, dtype=np.float64)
    if times.ndim != 2 or times.shape[1] == 0:
        raise ShapeError("seconds", f"has shape {times.shape}", "Give an array (systems, machines)")
    if np.isnan(times).any():
        raise NonFiniteError("seconds", "holds NaN", "Give inf where a machine cannot serve a system")
    if (times < 0).any():
        raise ParameterError("seconds", f"holds {times.min()}, a negative time", "Give seconds >= 0")
    lost = np.flatnonzero(np.isinf(times).all(axis=1))
    if len(lost):
        problem = f"no machine serves system {lost[0]}: its seconds are infinite on every one"
        raise ParameterError("seconds", problem, "Give at least one machine that can solve it")
    return times


def _plain(machines: np.ndarray) -> tuple[int, ...]:
    return tuple(int(machine) for machine in machines)


def _loads(times: np.ndarray, machines: np.ndarray) -> np.ndarray:
    systems, count = times.shape
    return np.bincount(machines, weights=times[np.arange(systems), machines], minlength=count)


def _ends(times: np.ndarray, machines: np.ndarray) -> float:
    return float(_loads(times, machines).max())


def _improved(times: np.ndarray, machines: np.ndarray) -> np.ndarray:
    """Moves one system at a time off the machine that ends last, the best move first, while the makespan falls."""
    machines = machines.copy()
    for _ in range(machines.size):
        loads = _loads(times, machines)
        busiest = int(loads.argmax())
        moved = np.flatnonzero(machines == busiest)
        # (moved, machines): when the last one would end after this system went there
        ends = loads + times[moved]
        ends[:, busiest] = loads[busiest]
        others = np.delete(loads, busiest).max(initial=0.0)
        ends = np.maximum(np.maximum(ends, others), (loads[busiest] - times[moved, busiest])[:, None])
        place, target = np.unravel_index(ends.argmin(), ends.shape)
        if not ends[place, target] < loads[busiest]:
            break
        machines[moved[place]] = target
    return machines


def _rounded_relaxation(times: np.ndarray) -> tuple[np.ndarray, float]:
    """The rounded vertex at the smallest deadline that the relaxation can keep, and a lower bound of the minimum."""
    shortest = times.min(axis=1).max()
    deadlines = np.unique(times[(times >= shortest) & (times <= 1)])  # 1 is what the paper's rule needs
    nexts = np.append(deadlines[1:], np.inf)
    low, high, bound = 0, len(deadlines) - 1, float(shortest)
    vertices: dict[int, np.ndarray] = {}
    while low not in vertices:
        middle = (low + high) // 2 if low < high else low
        vertices[middle], relaxed = _relaxation(times, deadlines[middle])
        bound = max(bound, min(relaxed, nexts[middle]))
        if relaxed < nexts[middle]:
            high = middle
        else:  # no schedule ends before the next deadline
            low = min(middle + 1, len(deadlines) - 1)
    return _matched(vertices[low]), bound


def _relaxation(times: np.ndarray, deadline: float) -> tuple[np.ndarray, float]:
    """A vertex (systems, machines) of min T: sum_i x_ij = 1, sum_j p_ij x_ij <= T, x >= 0, and its dual lower bound.

    x_ij = 0 where p_ij > deadline; the times are in units of an upper bound, so at most 1 where they are used.
    """
    from scipy.optimize import linprog

    program = _Program(times, times <= deadline)
    solved = linprog(
        program.cost, A_ub=program.loads, b_ub=np.zeros(times.shape[1]), A_eq=program.once,
        b_eq=np.ones(len(times)), method="highs-ds",
    )  # fmt: skip
    if solved.x is None:
        return program.fastest(), 0.0
    weights = np.maximum(-solved.ineqlin.marginals, 0.0)
    weights /= weights.sum() or 1.0
    with np.errstate(invalid="ignore"):  # 0 * inf, of pairs that are left out
        bound = np.where(program.allowed, weights * times, np.inf).min(axis=1).sum()
    return program.shares(solved.x), float(bound)


def _matched(shares: np.ndarray) -> np.ndarray:
    """Whole systems stay; of the split ones each machine gets one at most, of those that it has a share of."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import maximum_bipartite_matching

    machines = shares.argmax(axis=1)
    split = np.flatnonzero(shares.max(axis=1) < 1 - 1e-9)
    if len(split):
        matched = maximum_bipartite_matching(csr_matrix(shares[split] > 1e-9), perm_type="column")
        machines[split] = np.where(matched >= 0, matched, machines[split])
    return machines


def _branch_and_bound(times: np.ndarray, lower: float, upper: float) -> tuple[np.ndarray, bool]:
    """The best assignment that was found, and whether it is proven to be a minimum."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    program = _Program(RANGE * times, times <= upper)
    unknowns = len(program.cost)
    whole = np.ones(unknowns, dtype=np.int64)
    whole[-1] = 0
    most = np.append(np.ones(unknowns - 1), np.inf)  # a makespan held below `upper` makes HiGHS print warnings
    least = np.append(np.zeros(unknowns - 1), RANGE * lower * (1 - 1e-9))
    solved = milp(
        program.cost, integrality=whole, bounds=Bounds(least, most),
        constraints=[LinearConstraint(program.loads, ub=0.0), LinearConstraint(program.once, 1.0, 1.0)],
        options={"node_limit": MOST_NODES, "mip_rel_gap": SAME, "presolve": False},
    )  # fmt: skip
    if solved.x is None:
        return times.argmin(axis=1), False
    machines = program.shares(solved.x).argmax(axis=1)
    # what the solver says is taken once it is seen: its schedule ends when it claims
    claimed = _ends(times, machines) <= solved.fun / RANGE * (1 + SAME)
    return machines, solved.status == 0 and claimed


class _Program:
    """The relaxation as sparse matrices: one unknown for each allowed pair (system, machine), the makespan last."""

    def __init__(self, times: np.ndarray, allowed: np.ndarray) -> None:
        from scipy.sparse import csr_matrix

        self.times, self.allowed = times, allowed
        self.systems, self.machines = np.nonzero(allowed)
        pairs, (systems, machines) = len(self.systems), times.shape
        self.cost = np.append(np.zeros(pairs), 1.0)
        self.loads: Any = csr_matrix(
            (
                np.append(times[allowed], -np.ones(machines)),
                (np.append(self.machines, range(machines)), np.append(np.arange(pairs), [pairs] * machines)),
            ),
            shape=(machines, pairs + 1),
        )
        self.once: Any = csr_matrix((np.ones(pairs), (self.systems, np.arange(pairs))), shape=(systems, pairs + 1))

    def shares(self, unknowns: np.ndarray) -> np.ndarray:
        shares = np.zeros(self.times.shape)
        shares[self.systems, self.machines] = unknowns[:-1]
        return shares

    def fastest(self) -> np.ndarray:
        return np.eye(self.times.shape[1])[self.times.argmin(axis=1)]


__all__ = ["Makespan", "minimum_makespan", "paper_rule"]
