from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from langsmith import Client

from alpha_umi.errors import ConfigError
from alpha_umi.training.evaluation.langsmith import EvalSuite, Pushed, push_suite
from alpha_umi.training.evaluation.langsmith import push as push_module
from alpha_umi.training.evaluation.langsmith.suite import make_example
from tests.langsmith_sink import KEY, Sink, run_sink

N_TASKS = 7


@pytest.fixture(params=[True, False], ids=["parts", "json"])
def sink(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    monkeypatch.setattr(push_module, "BATCH_SIZE", 3)
    with run_sink(multipart=request.param) as sink:
        yield sink


def push(sink: Sink, n_tasks: int = N_TASKS) -> Pushed:
    return push_suite(EvalSuite("builtin", n_tasks=n_tasks), "tasks", sink.make_client())


def count_requests(sink: Sink, verb: str) -> int:
    return sum(each.startswith(verb) and "/examples" in each for each in sink.requests)


def test_a_suite_becomes_a_dataset(sink: Sink) -> None:
    assert push(sink) == Pushed(N_TASKS, 0, 0)
    (dataset,) = sink.datasets.values()
    assert dataset["name"] == "tasks"
    held = {each["inputs"]["task"]: each for each in sink.examples.values()}
    tasks = EvalSuite("builtin", n_tasks=N_TASKS).tasks
    assert held.keys() == tasks.keys()
    for key, example in held.items():
        assert (example["inputs"], example["outputs"]) == make_example(tasks[key])
        assert example["metadata"] == {"kind": tasks[key].group, "suite": "builtin-1"}
        assert example["dataset_id"] == dataset["id"]
    assert count_requests(sink, "POST") == 3  # batches of three


def test_a_second_push_changes_nothing_and_more_tasks_are_added(sink: Sink) -> None:
    push(sink)
    before = {id_: dict(example) for id_, example in sink.examples.items()}
    assert push(sink) == Pushed(0, 0, N_TASKS)
    assert push(sink, N_TASKS + 2) == Pushed(2, 0, N_TASKS)
    assert {id_: sink.examples[id_] for id_ in before} == before


class StoppedClient(Client):
    """Somebody presses Ctrl-C after the first batch."""

    def create_examples(self, **given: Any) -> Any:
        super().create_examples(**given)
        raise KeyboardInterrupt


def test_a_push_that_was_stopped_goes_on(sink: Sink) -> None:
    with pytest.raises(KeyboardInterrupt):
        push_suite(EvalSuite("builtin", n_tasks=N_TASKS), "tasks", StoppedClient(api_url=sink.url, api_key=KEY))
    assert len(sink.examples) == 3
    assert push(sink) == Pushed(N_TASKS - 3, 0, 3)


def test_changed_examples_are_set_back_and_others_stay(sink: Sink) -> None:
    push(sink)
    (dataset_id,) = sink.datasets
    changed, *_ = sink.examples.values()
    was = dict(changed)
    changed["outputs"] = {"answer": "something else"}
    changed["metadata"] = {**changed["metadata"], "dataset_split": ["hard"]}
    own = str(uuid4())
    sink.put(sink.examples, {"id": own, "dataset_id": dataset_id, "inputs": {"messages": "Hi!"}, "outputs": None})
    assert push(sink) == Pushed(0, 1, N_TASKS - 1)
    assert count_requests(sink, "PATCH") == 1
    assert (changed["inputs"], sink.examples[was["id"]]["outputs"]) == (was["inputs"], was["outputs"])
    assert sink.examples[was["id"]]["metadata"] == {**was["metadata"], "dataset_split": ["hard"]}
    assert sink.examples[own]["inputs"] == {"messages": "Hi!"}
    assert push(sink) == Pushed(0, 0, N_TASKS)


def test_one_suite_fits_in_two_datasets(sink: Sink) -> None:
    push(sink)
    assert push_suite(EvalSuite("builtin", n_tasks=2), "others", sink.make_client()) == Pushed(2, 0, 0)


@pytest.mark.parametrize("key", [None, "lsv2_pt_secret"])
def test_a_wrong_key_is_told_before_any_task_is_made(sink: Sink, key: str | None) -> None:
    suite = EvalSuite("nothing")  # which would be an error too
    with pytest.raises(ConfigError, match=r"set LANGSMITH_API_KEY.*LANGSMITH_ENDPOINT") as error:
        push_suite(suite, "tasks", sink.make_client(key))
    assert "secret" not in str(error.value)


def test_an_address_where_nobody_answers_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with run_sink() as gone:
        client = gone.make_client("lsv2_pt_secret")
    with caplog.at_level(logging.ERROR), pytest.raises(ConfigError, match="check LANGSMITH_ENDPOINT") as error:
        push_suite(EvalSuite("builtin"), "tasks", client)
    assert "lsv2" not in str(error.value)


def test_what_langsmith_refuses_is_told(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    client = sink.make_client()
    client.api_url = f"{sink.url}/elsewhere"
    with pytest.raises(ConfigError, match=r"refused the examples.*404"):
        push_suite(EvalSuite("builtin", n_tasks=1), "tasks", client)
