"""The scheduler: predicts what every solver would cost on the stated machines, takes the cheapest, and checks it.

A plan depends on the stated machines and on kappa and p rounded to a grid, never on timings taken during the run,
unless it is asked to adapt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain, repeat
from typing import Any

from .backends import select_backend
from .backends.base import Backend
from .backends.tensornet import TensornetBackend
from .concurrency import side_by_side
from .costs import Cost, CostModel
from .encodings import ENCODINGS, WITH_GATES
from .errors import CombinationError, NotEnoughMemoryError, ParameterError, QNewtonError, UnknownNameError
from .noise import Noise
from .planning.adaptation import Adaptation
from .planning.plan import Handicap, Plan, beyond_queries, make_plan, margin, predict_all
from .planning.schedule import ASKED, SCHEDULES, Schedule, make_schedule
from .readout import Readout, as_readout
from .simulation import RegisterBudget, check_mode, mode_on
from .solvers import (
    CLASSICAL,
    QUANTUM,
    SOLVERS,
    LinearSystem,
    Predictor,
    Solution,
    Status,
    make_predictor,
    make_solver,
    runs_as,
)
from .solvers.base import relative_residuals
from .stages import stage


class Scheduler:
    """Plans and runs linear systems. `solver` other than "auto" is taken as told, and the reason says so.

    encoding, mode, max_queries, register_budget, precision, readout and noise are the options of the quantum solvers;
    mode "circuit" takes an encoding that has a gate program. backend is where everything is computed: a name or what
    `select_backend` gives. cross_check is the fraction of systems that `compare_modes` is meant for. schedule is how
    the systems of a step share the two machines: "makespan" (the step ends soonest) or "paper" (each system to its
    faster machine). adapt corrects predictions by what solves took (`Adaptation`), on a classical machine that was
    measured here. Raises BackendUnavailableError, UnknownNameError, ParameterError, CombinationError.
    """

    def __init__(
        self,
        model: CostModel | None = None,
        solver: str = "auto",
        encoding: str = "auto",
        mode: str = "auto",
        max_queries: int = 10**6,
        backend: str | Backend = "auto",
        register_budget: RegisterBudget | None = None,
        cross_check: float = 0.0,
        precision: str = "double",
        readout: Readout | str | None = None,
        noise: Noise | None = None,
        schedule: str = "makespan",
        adapt: bool = False,
    ) -> None:
        if not isinstance(model, (CostModel, type(None))):
            raise ParameterError(
                "model", f"{model!r} is no CostModel", "Pass CostModel(Hardware(gate_time=...)), or None"
            )
        if solver != "auto" and solver not in SOLVERS:
            raise UnknownNameError.among("solver", solver, ("auto", *SOLVERS))
        if encoding != "auto" and encoding not in ENCODINGS:
            raise UnknownNameError.among("encoding", encoding, ("auto", *ENCODINGS))
        self.backend = select_backend(backend)
        mode = mode_on(self.backend, mode)
        if mode == "circuit" and encoding == "auto":
            encoding = WITH_GATES[0]
        check_mode(mode, encoding)
        if not (isinstance(cross_check, (int, float)) and 0 <= cross_check <= 1):
            raise ParameterError("cross_check", f"{cross_check!r} is not in [0, 1]", "Give a fraction such as 0.05")
        if schedule not in SCHEDULES:
            raise UnknownNameError.among("schedule", schedule, SCHEDULES)
        self.model, self.solver, self.schedule = model or CostModel(), solver, schedule
        self.encoding, self.mode, self.cross_check = encoding, mode, cross_check
        self.readout = as_readout(readout)
        if not isinstance(noise, (Noise, type(None))):
            raise ParameterError("noise", f"{noise!r} is no Noise", "Pass qn.Noise(phase_error=1e-3), say, or None")
        if solver in CLASSICAL and (noise or not self.readout.exact):
            problem = f"{solver} runs no circuit that could be read by shots or disturbed"
            raise CombinationError("solver", problem, "Use a quantum solver, or leave readout and noise out")
        self.adaptation = Adaptation() if adapt else None
        if adapt and not (self.solver == "auto" and self.model.classical.measured):
            problem = "compares predictions with this machine's seconds, and the classical machine is a stated one"
            if self.solver != "auto":
                problem = f"chooses solvers, and {solver} was asked for"
            remedy = "Use solver='auto' and a CostModel whose classical machine is calibrate(backend): --calibrate"
            raise CombinationError("adapt", problem, remedy)
        self._options = {
            "encoding": encoding,
            "max_queries": max_queries,
            "budget": register_budget or RegisterBudget(),
            "precision": precision,
            "readout": self.readout,
            "noise": noise or Noise(),
        }
        compared = (*self.model.candidates, *self.model.honest().candidates, *CLASSICAL)
        names = dict.fromkeys(compared if solver == "auto" else (*compared, solver))
        self._predictors = {name: self._predictor(name) for name in names}
        run = dict.fromkeys(runs_as(name) for name, predictor in self._predictors.items() if predictor)
        self._solvers = {name: make_solver(name, mode=mode, **self._options) for name in run}

    def _predictor(self, name: str) -> Predictor | None:
        """None where the options exclude a candidate that was not asked for: it has no such mode, say."""
        try:
            return make_predictor(name, mode=self.mode, **self._options)
        except CombinationError:
            if name == self.solver:
                raise
            return None

    def equation(self, solver: str, system: LinearSystem) -> LinearSystem:
        """The system whose residual certifies what a solver gave: the same one but for functions other than 1/x."""
        asked: Any = self._solvers.get(solver)
        return asked.equation(system) if solver in QUANTUM else system

    def plan(self, system: LinearSystem) -> Plan:
        """The cheapest candidate of the comparison for this system, with the reason in words.

        Where a solver was asked for by name, that one.
        """
        asked = None if self.solver == "auto" else self.solver
        with stage("plan", category=system.name, payload=system.bounds.kappa):
            honest_model = self.model.honest()
            costs = honest = predict_all(system, self.model, self.backend, self._predictors, asked)
            if honest_model is not self.model:
                honest = predict_all(system, honest_model, self.backend, self._predictors, asked)
            handicaps: dict[str, Handicap] = {}
            if self.adaptation is not None:
                costs, honest = self.adaptation.corrected(costs), self.adaptation.corrected(honest)
                handicaps = self.adaptation.handicaps(system.name, self.model.candidates)
            limit: Any = self._options["max_queries"]
            handicaps |= beyond_queries(costs, self.model.quantum_candidates, limit)
            plan = make_plan(costs, honest, self.model, handicaps)
        if asked is None:
            return plan
        others = [name for name in self.model.candidates if name != asked]
        said = f"{asked} was asked for; {plan.reason}"
        return replace(plan, solver=asked, planned_by=asked, reason=said, margin=margin(costs, asked, others))

    def plan_many(self, systems: Sequence[LinearSystem]) -> Schedule:
        """Plans for the systems of a step, which share a classical and a quantum machine."""
        plans = [self.plan(system) for system in systems]
        names = "+".join(system.name for system in systems)
        with stage("plan", category=names) if len(systems) > 1 else nullcontext():
            schedule = make_schedule(plans, self.model, self.schedule if self.solver == "auto" else ASKED)
        if self.adaptation is not None:
            for system, plan in zip(systems, schedule.plans, strict=True):
                self.adaptation.took(system.name, plan.planned_by)
        return schedule

    def solve(self, system: LinearSystem, plan: Plan | None = None) -> tuple[Solution, Plan]:
        """Run the plan of one system; see `solve_many`."""
        return self.solve_many([system], [plan or self.plan(system)])[0]

    def solve_many(
        self, systems: Sequence[LinearSystem], plans: Sequence[Plan] | None = None
    ) -> list[tuple[Solution, Plan]]:
        """Run the plans; where a certificate fails, fall back to Cholesky, then LU, and say why in the plan.

        Systems that are planned for the same quantum solver go side by side: on a GPU their circuits share launches.
        Classical solves run at the same time, as they would on the two machines, but one after the other where the
        classical machine was measured here, so that their seconds tell how good a prediction was. A solver that was
        asked for by name is not replaced. The projected seconds of a solution are those of what was really run: the
        queries made and the success probabilities seen.
        """
        plans = plans or self.plan_many(systems).plans
        classical = [place for place, plan in enumerate(plans) if plan.solver not in QUANTUM]
        quantum = [place for place in range(len(plans)) if place not in classical]

        def solve_classically() -> dict[int, Solution]:
            return {p: self._solvers[plans[p].solver].solve(systems[p], self.backend) for p in classical}

        def simulate() -> dict[int, Solution]:
            found: dict[int, Solution] = {}
            for name in dict.fromkeys(plans[p].solver for p in quantum):
                places = [p for p in quantum if plans[p].solver == name]
                found.update(zip(places, self._simulated(name, [systems[p] for p in places]), strict=True))
            return found

        tasks = [task for task, places in ((simulate, quantum), (solve_classically, classical)) if places]
        # on a machine that was measured predictions are compared with seconds, which have to be a solve's own
        alone = self.model.classical.measured
        parts = [task() for task in tasks] if alone else side_by_side(tasks, self.backend)
        first = {place: solution for part in parts for place, solution in part.items()}
        return [self._to_the_end(s, p, first[i]) for i, (s, p) in enumerate(zip(systems, plans, strict=True))]

    def _simulated(self, name: str, systems: Sequence[LinearSystem]) -> list[Solution]:
        """Systems side by side; one that this machine cannot hold is refused where the solver was asked for by name,
        and else left to the fallbacks."""
        solver: Any = self._solvers[name]
        try:
            found: list[Solution] = solver.solve_many(systems, self.backend)
        except NotEnoughMemoryError as problem:
            if self.solver != "auto":
                raise
            if len(systems) > 1:
                return [solution for system in systems for solution in self._simulated(name, [system])]
            message = f"The simulation does not fit into memory ({problem})."
            found = [Solution(systems[0].zeros(), Status.NO_MEMORY, message, 1.0, name)]
        return found

    def _to_the_end(self, system: LinearSystem, plan: Plan, first: Solution) -> tuple[Solution, Plan]:
        """The planned solution, or what the fallbacks make of it."""
        tried = [self._charged(first, system, plan)]
        self._learn(first, system, plan)
        for name in fallbacks(system):
            if self.solver != "auto" or tried[-1].solved:
                break
            if name == plan.solver:
                continue
            last = tried[-1]
            note = f"{last.solver} ended {last.status.value} ({last.message}), so {name} was tried"
            plan = replace(plan, fallbacks=[*plan.fallbacks, note])
            tried.append(self._charged(self._solvers[name].solve(system, self.backend), system, plan))
        # where none solved it, the one that came closest says why; all that was spent is charged
        solution = min(tried, key=lambda attempt: (not attempt.solved, attempt.relative_residual))
        solution.simulated_seconds = sum(attempt.simulated_seconds for attempt in tried)
        solution.projected_seconds = sum(attempt.projected_seconds or 0.0 for attempt in tried)
        solution.queries = sum(attempt.queries for attempt in tried)
        solution.history = [entry for attempt in tried for entry in attempt.history]
        return solution, plan

    def _learn(self, solution: Solution, system: LinearSystem, plan: Plan) -> None:
        """Tell the adaptation what a plan promised, and what came: on the projected clock of a quantum solver, in
        seconds of this machine, assembly included, of a classical one. A first guess of the success probability is
        no prediction: the next plan has the one that was seen."""
        if self.adaptation is None or not solution.solved or plan.planned_by != solution.solver:
            return
        quantum = solution.solver in QUANTUM
        if quantum and solution.solver not in system.expected_success:
            return
        cost = (plan.costs if quantum else plan.honest_costs)[solution.solver]
        actual = solution.projected_seconds if quantum else solution.simulated_seconds
        self.adaptation.observe(solution.solver, cost.seconds / cost.factors.get("correction", 1.0), actual or 0.0)

    def _charged(self, solution: Solution, system: LinearSystem, plan: Plan) -> Solution:
        solution.projected_seconds = self._projected(solution, system, plan, self.readout)
        if not self.readout.exact and solution.solver in QUANTUM:
            # the same rounds, had their amplitudes been read as the hardware states it
            solution.resources["exact_readout_seconds"] = self._projected(solution, system, plan, Readout())
        return solution

    def _projected(self, solution: Solution, system: LinearSystem, plan: Plan, readout: Readout) -> float:
        if solution.solver not in QUANTUM:
            return plan.costs[solution.solver].seconds
        asked: Any = self._solvers[solution.solver]
        posed = asked.pose(system)  # what was run, of a square A often [[0, A], [A^t, 0]]

        def costs(entry: dict[str, Any]) -> list[Cost]:
            """Of each column in this round."""
            # runs of a norm search come once, whatever is read of the circuit after it
            searched, runs = entry.get("norm_search_queries", 0), entry.get("norm_search_runs", 0)
            read = [n for n in entry["preparations"] if n] if not readout.exact and "preparations" in entry else []
            return [
                self.model.quantum(
                    solution.solver,
                    queries=entry["queries"] - searched,
                    rounds=1,
                    success_probability=p,
                    size=posed.size,
                    nonzeros=posed.operator.nonzeros,
                    epsilon=entry["epsilon"],
                    preparations=preparations,
                    search_queries=searched,
                    search_runs=runs,
                )
                for p, preparations in zip(entry["success_probability"], chain(read, repeat(None)), strict=False)
            ]

        return self.model.seconds_of_rounds([costs(entry) for entry in solution.history], posed.size)

    def is_cross_checked(self, step: int, name: str, solution: Solution) -> bool:
        """Whether a solved system is among the fraction `cross_check`: (step, name) decide, so every rerun agrees."""
        digest = hashlib.sha256(f"{step} {name}".encode()).digest()
        chosen = int.from_bytes(digest[:6], "big") / 2**48 < self.cross_check
        return chosen and solution.solver in QUANTUM and solution.solved

    def compare_modes(self, system: LinearSystem, solution: Solution) -> dict[str, Any]:
        """Solve a system a second time, in another mode of the simulation, and compare.

        relative_difference is max over columns of ||x1 - x2||/||x1||; simulated_seconds are those of the second solve.
        Where the second mode is impossible nothing is raised: `skipped` says why instead.
        """
        mode = "fused" if solution.resources["mode"] == "subspace" else "subspace"
        impossible: tuple[type[Exception], ...] = (QNewtonError, *self.backend.out_of_memory)
        backend = self.backend.base if isinstance(self.backend, TensornetBackend) else self.backend
        try:
            second = make_solver(solution.solver, mode=mode, **self._options).solve(system, backend)
        except impossible as problem:
            return {"mode": mode, "skipped": str(problem) or "Not enough memory."}
        if second.status is Status.NO_MEMORY:
            return {"mode": mode, "skipped": second.message}
        p, q = solution.success_probability, second.success_probability
        return {
            "mode": mode,
            "relative_difference": float(relative_residuals(solution.x - second.x, solution.x, self.backend).max()),
            "success_probability_difference": None if p is None or q is None else abs(p - q),
            "simulated_seconds": second.simulated_seconds,
        }


def fallbacks(system: LinearSystem) -> tuple[str, ...]:
    """Direct solvers for this system, the cheapest first."""
    if system.normal:
        return ("qr",)
    definite = system.operator.symmetric and not system.bounds.negative
    return ("cholesky", "lu", "qr") if definite else ("lu", "qr")


__all__ = ["Plan", "Schedule", "Scheduler"]
