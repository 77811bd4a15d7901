"""The generated tasks: solved by running tools, never the same in training and held out, always the same per seed."""

from __future__ import annotations

import random
import re
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from alpha_umi.errors import ConfigError
from alpha_umi.tools.convert import spec_from_tool
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.sources.builtin import make_tasks, read
from alpha_umi.training.data.split import called_tools
from alpha_umi.training.data.tasks.compose import GeneratedTask, join_questions
from alpha_umi.training.data.tasks.questions import Question
from alpha_umi.training.data.tasks.sampler import Sampler
from alpha_umi.training.data.tasks.sheets import InventedToolSheet, load_sheet
from alpha_umi.training.data.tasks.solve import Solution, solve
from alpha_umi.training.data.tasks.toolset import OUTAGE, list_abilities, list_heldout_names
from alpha_umi.training.evaluation.suites import read_tokens

N_TASKS = 300


@pytest.fixture(scope="module", params=[False, True], ids=["train", "heldout"])
def solved(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[GeneratedTask, Solution]]:
    folder = tmp_path_factory.mktemp("fixtures")
    return [(task, solve(task)) for task in make_tasks(N_TASKS, folder, seed=3, held_out=request.param)]


def test_every_kind_of_task_is_made(solved: list[tuple[GeneratedTask, Solution]]) -> None:
    kinds = Counter(task.kind for task, _ in solved)
    assert kinds["single"] > 20
    assert kinds["several"] > 20
    assert {"chain", "no tool", "no value", "outage", "chat", "turns"} <= kinds.keys()


def test_training_alone_has_conversations_for_one_list_of_tools(solved: list[tuple[GeneratedTask, Solution]]) -> None:
    conversations = [solution.trajectory for task, solution in solved if task.kind == "conversation"]
    if list_heldout_names().isdisjoint(tool.name for _, solution in solved for tool in solution.trajectory.tools):
        assert len(conversations) > N_TASKS / 3
        assert {len(trajectory.turns) for trajectory in conversations} >= {3, 4, 5}
        ends = Counter(turn.steps[-1].decision for trajectory in conversations for turn in trajectory.turns)
        assert ends["conclusion"] > ends["give up"] > 0
    else:
        assert not conversations


def test_request_after_another_never_lacks_a_value(solved: list[tuple[GeneratedTask, Solution]]) -> None:
    for task, _ in solved:
        if task.kind == "conversation":
            assert not any("does not say" in request.refusal for request in task.requests[1:])


def test_answer_holds_every_expected_value(solved: list[tuple[GeneratedTask, Solution]]) -> None:
    for task, solution in solved:
        last = solution.trajectory.turns[-1].steps[-1]
        if solution.expected is None:
            assert last.decision == "give up", task
        else:
            assert last.decision == "conclusion"
            assert last.answer is not None
            assert all(value and value in last.answer for value in solution.expected), task


def test_answerable_tasks_are_answered(solved: list[tuple[GeneratedTask, Solution]]) -> None:
    for task, solution in solved:
        if task.kind in ("single", "several", "chain", "turns", "chat"):
            assert solution.expected is not None, task


def test_unanswerable_tasks_are_given_up_without_a_call(solved: list[tuple[GeneratedTask, Solution]]) -> None:
    for task, solution in solved:
        if task.kind in ("no tool", "no value"):
            assert solution.expected is None
            assert [step.decision for turn in solution.trajectory.turns for step in turn.steps] == ["give up"]


def test_rationale_names_the_part_and_the_tool_and_leaves_the_arguments_to_the_caller(
    solved: list[tuple[GeneratedTask, Solution]],
) -> None:
    for _, solution in solved:
        for turn in solution.trajectory.turns:
            for step in turn.steps:
                for call in step.calls:
                    begin = r"(?:The call failed\. )?(?:Part \d \(.+\)|With .+)"
                    assert re.fullmatch(rf"{begin}: I call {re.escape(call.name)}\.", step.rationale, re.DOTALL)
                    assert len(step.rationale) < 250


def test_every_number_that_the_caller_writes_is_in_a_request_or_a_result(
    solved: list[tuple[GeneratedTask, Solution]],
) -> None:
    for _, solution in solved:
        found = {"3", "7"}  # in the average of three numbers, and in the days of a week
        for turn in solution.trajectory.turns:
            found |= read_numbers(turn.instruction)
            for call in (call for step in turn.steps for call in step.calls):
                assert isinstance(call.arguments, dict)
                assert set().union(*(read_numbers(str(value)) for value in call.arguments.values())) <= found, call
                assert call.observation is not None
                found |= read_numbers(call.observation.text)


def read_numbers(text: str) -> set[str]:
    """Return numbers, dates and times in one notation, without the sign."""
    tokens = read_tokens(re.sub(r"(?<=\d),(?=\d{3})", "", text))
    return {token.lstrip("-") for token in tokens if re.search(r"\d", token)}


def test_refusal_without_a_call_begins_with_the_part(solved: list[tuple[GeneratedTask, Solution]]) -> None:
    reasons: Counter[str] = Counter()
    for task, solution in solved:
        for request, turn in zip(task.requests, solution.trajectory.turns, strict=True):
            if request.refusal:
                (step,) = turn.steps
                refusal = re.fullmatch(
                    r"Part 1 \((.+)\): (no tool can|the request does not say) .+\.", step.rationale, re.DOTALL
                )
                assert refusal is not None, task
                assert refusal[1] in request.instruction
                reasons[refusal[2]] += 1
    assert min(reasons["no tool can"], reasons["the request does not say"]) > 3


def test_every_part_is_quoted_as_the_request_words_it(solved: list[tuple[GeneratedTask, Solution]]) -> None:
    n_quoted = 0
    for task, solution in solved:
        for request, turn in zip(task.requests, solution.trajectory.turns, strict=True):
            found = [re.match(r"Part (\d) \((.+)\): I call", step.rationale) for step in turn.steps]
            quotes = {match[1]: match[2] for match in found if match}
            asked = [each.text.rstrip("?.= ").lower() for each in request.questions if each.text]
            if turn.steps[-1].decision == "conclusion":
                assert [quote.lower() for quote in quotes.values()] == asked, task
            assert all(quote in request.instruction for quote in quotes.values()), task
            n_quoted += len(quotes)
    assert n_quoted > 100


def test_no_request_joins_two_sums_into_one() -> None:
    questions = [Question(f"{sum}?", "calculate", lambda _: {}) for sum in ("3 + 4", "7 / 2", "5 * 6")]
    for seed in range(300):
        joined = join_questions(Sampler(random.Random(seed), held_out=False), questions)
        assert not re.search(r"4\?? *[-+*/^]+ *7", joined), joined


def test_second_half_of_a_chain_begins_with_the_first_result(solved: list[tuple[GeneratedTask, Solution]]) -> None:
    chains = [solution.trajectory.turns[-1] for task, solution in solved if task.kind == "chain"]
    assert chains
    for turn in chains:
        first, second = (step for step in turn.steps if step.calls)
        result = re.match(r"With (.+?): I call", second.rationale)
        assert result is not None
        assert first.calls[0].observation is not None
        assert result[1] in first.calls[0].observation.text


def test_every_call_was_run_and_failures_are_mended_or_given_up(solved: list[tuple[GeneratedTask, Solution]]) -> None:
    n_mended = 0
    for _, solution in solved:
        for turn in solution.trajectory.turns:
            for step, following in zip(turn.steps, turn.steps[1:], strict=False):
                observation = step.calls[0].observation
                assert observation is not None
                assert observation.text
                if observation.is_error:
                    assert following.decision == "give up" or following.rationale.startswith("The call failed.")
                    n_mended += following.decision == "caller"
    assert n_mended > 3


def test_called_tools_are_offered_and_hidden_among_others(solved: list[tuple[GeneratedTask, Solution]]) -> None:
    sizes = []
    for _, solution in solved:
        names = [tool.name for tool in solution.trajectory.tools]
        assert len(names) == len(set(names))
        assert called_tools(solution.trajectory) <= set(names)
        sizes.append(len(names))
    assert min(sizes) >= 1
    assert sum(sizes) / len(sizes) > 4
    assert len(set(sizes)) > 4


def test_training_and_held_out_tasks_have_nothing_in_common(tmp_path: Path) -> None:
    instructions, numbers, tools = [], [], []
    for held_out in (False, True):
        tasks = list(make_tasks(N_TASKS, tmp_path / str(held_out), seed=3, held_out=held_out))
        answerable = [task for task in tasks if task.kind in ("single", "several", "chain")]
        instructions.append({request.instruction for task in answerable for request in task.requests})
        tools.append({tool.name for task in tasks for tool in task.toolset.tools})
        sampler = Sampler(random.Random(1), held_out=held_out)
        numbers.append({str(sampler.number(100, 9999)) for _ in range(500)} | {str(sampler.date()) for _ in range(500)})
    assert not instructions[0] & instructions[1]
    assert not numbers[0] & numbers[1]
    assert not tools[0] & list_heldout_names()
    assert tools[1] & list_heldout_names()


def test_training_has_hundreds_of_tool_names_and_arguments_of_many_names(tmp_path: Path) -> None:
    toolsets = [task.toolset for task in make_tasks(N_TASKS, tmp_path, seed=3, held_out=False)]
    specs = [spec_from_tool(tool) for toolset in toolsets for tool in toolset.tools]
    assert len({spec.name for spec in specs}) > N_TASKS
    assert len({name for spec in specs for name in spec.parameters["properties"]}) > 80
    written = {re.sub(r"[^a-z0-9]", "", spec.name.lower()) for spec in specs}
    assert written.isdisjoint(name.replace("_", "") for name in list_heldout_names())


def test_same_seed_gives_the_same_examples_and_another_seed_others() -> None:
    def first(seed: int) -> list[object]:
        return [example.trajectory for example in islice(read("12", Tally(), seed=seed), 12)]

    assert first(0) == first(0)
    assert first(0) != first(1)


def test_reader_adds_a_tenth_of_held_out_examples() -> None:
    examples = list(read("40", Tally(), seed=0))
    assert len({example.id for example in examples}) == 44
    assert Counter(example.split for example in examples)["train"] == 40
    for example in examples[40:]:
        uses_new_tool = bool(called_tools(example.trajectory) & list_heldout_names())
        assert example.split == ("dev-tools" if uses_new_tool else "dev-instructions")


@pytest.mark.parametrize("location", ["0", "many", "-3", "tasks.jsonl"])
def test_location_must_be_a_number(location: str) -> None:
    with pytest.raises(ConfigError, match="give the number of tasks"):
        list(read(location, Tally(), seed=0))


def test_views_and_invented_tools_have_names_of_their_own() -> None:
    hidden = [ability.views for ability in list_abilities().values() if ability.views]
    names = [view.name for views in hidden for view in views]
    names += [tool.name for tool in load_sheet("tools", InventedToolSheet).tools]
    assert len(names) == len(set(names))
    assert all({view.heldout for view in views} == {True, False} for views in hidden)


def test_tool_out_of_order_is_left_for_another_or_given_up(solved: list[tuple[GeneratedTask, Solution]]) -> None:
    outcomes: Counter[str] = Counter()
    for task, solution in solved:
        if task.kind == "outage":
            first, second, *_ = solution.trajectory.turns[0].steps
            assert first.calls[0].observation is not None
            assert OUTAGE in first.calls[0].observation.text
            outcomes[second.decision] += 1
            assert second.decision != "caller" or second.calls[0].name != first.calls[0].name
    assert sum(outcomes.values()) > 3
