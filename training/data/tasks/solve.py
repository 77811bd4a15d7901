"""The right way through a task, every observation produced by running the tool."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace

from alpha_umi.nodes.format.trajectory import Call, Observation, Step, Trajectory, Turn
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.data.clean import describe_calls, quote_part
from alpha_umi.training.data.tasks.compose import GeneratedTask, TaskRequest
from alpha_umi.training.data.tasks.questions import Arguments, Question

_MAX_TRIES = 4


@dataclass(frozen=True, slots=True)
class Solution:
    """What planner, caller and summarizer should write, and texts that the last answer must hold; None: give up."""

    trajectory: Trajectory
    expected: tuple[str, ...] | None


def solve(task: GeneratedTask) -> Solution:
    """Run the task's tools as a perfect agent would."""
    solver = _Solver(task)
    turns = tuple(Turn(request.instruction, tuple(solver.solve(request))) for request in task.requests)
    gave_up = turns[-1].steps[-1].decision == "give up"
    results = solver.results[-1:] if task.kind == "chain" else solver.results
    return Solution(Trajectory(solver.toolbox.specs, turns), None if gave_up else tuple(results))


class _Solver:
    """Solves the requests of one task one after the other."""

    def __init__(self, task: GeneratedTask) -> None:
        self.toolbox = Toolbox(task.toolset.tools)
        self.results: list[str] = []
        self._ways = task.toolset.ways
        self._n_calls = 0

    def solve(self, request: TaskRequest) -> Iterator[Step]:
        self.results = []
        if request.refusal:
            yield Step(request.refusal, "give up")
            return
        if request.reply:
            yield Step("No tool is needed.", "conclusion", answer=request.reply)
            return
        answers: list[str] = []
        for i, question in enumerate(request.questions, 1):
            # Not how many parts there are: small models fix the number before they have read the request.
            part = quote_part(i, question.text, request.instruction) if question.text else f"With {self.results[-1]}"
            arguments, observation = yield from self._try(question, part)
            if observation.is_error:
                error = observation.text.splitlines()[0].split(". ")[0].rstrip(".")
                yield Step(f"I cannot answer: {error}.", "give up")
                return
            self.results.append(question.read_result(observation.text))
            answers.append(question.answer(arguments, observation.text))
        yield Step("All parts are done.", "conclusion", answer=" ".join(answers))

    def _try(self, question: Question, part: str) -> Generator[Step, None, tuple[Arguments, Observation]]:
        """Yield calls until one succeeds, or nothing is left to try: better arguments first, then another tool."""
        arguments = question.arguments(self.results[-1] if self.results else "")
        way, *others = self._ways[question.ability]
        for n_tries in range(_MAX_TRIES):
            self._n_calls += 1
            call = Call(f"call_{self._n_calls}", way.tool, way.to_call(arguments))
            message = self.toolbox.execute(call.name, way.to_call(arguments), call.id)
            observation = Observation(message.text, message.status == "error")
            rationale = f"{'The call failed. ' if n_tries else ''}{part}: {describe_calls([call])}"
            yield Step(rationale, "caller", (replace(call, observation=observation),))
            better = question.correct(arguments, observation.text) if observation.is_error else None
            if better is not None:
                arguments = better
            elif observation.is_error and others:
                way = others.pop(0)
            else:
                break
        return arguments, observation
