"""`alpha-umi eval push`: a suite as a dataset of LangSmith."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid5

from langsmith import APIConnectionError, AuthenticationError, Client, LangsmithError, PermissionDeniedError
from langsmith.schemas import Dataset, Example
from langsmith.utils import LangSmithAuthError, LangSmithConnectionError, LangSmithError, LangSmithNotFoundError

from alpha_umi.errors import ConfigError
from alpha_umi.progress import make_progress
from alpha_umi.training.evaluation.langsmith.suite import EvalSuite, make_example

BATCH_SIZE = 100
"""Examples in one request; the client makes more of it if they are large."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """How many examples a push made, changed, and found as they are."""

    n_created: int
    n_updated: int
    n_unchanged: int


def push_suite(suite: EvalSuite, dataset_name: str, client: Client, *, show_progress: bool = True) -> Pushed:
    """Make a dataset of a suite, or bring it up to date.

    The id of an example depends on the dataset and on the task's key alone. So a second push changes nothing, one that
    was interrupted can be repeated, more tasks are added, and what was changed by hand is set back. Other examples of
    the dataset stay.

    Raises:
        ConfigError: If LangSmith cannot be reached, refuses the key or the examples, or there is no such suite.
    """
    with explain(client, "the examples"):
        dataset = _open(suite, dataset_name, client)
        known = {example.id: example for example in client.list_examples(dataset_id=dataset.id)}
        new, changed = _compare(suite, dataset.id, known)
        with make_progress(show=show_progress) as progress:
            bar = progress.add_task(f"pushing {dataset_name}", total=len(new) + len(changed))
            for batch in _batch(new):
                client.create_examples(dataset_id=dataset.id, examples=batch)
                progress.advance(bar, len(batch))
            for batch in _batch(changed):
                client.update_examples(dataset_id=dataset.id, updates=batch)
                progress.advance(bar, len(batch))
    return Pushed(len(new), len(changed), len(suite.tasks) - len(new) - len(changed))


def _open(suite: EvalSuite, name: str, client: Client) -> Dataset:
    try:
        found: Dataset = client.read_dataset(dataset_name=name)
        return found
    except LangSmithNotFoundError:
        return client.create_dataset(name, description=f"Suite {suite.name}, made by alpha-umi eval push.")


def _compare(
    suite: EvalSuite, dataset_id: UUID, known: dict[UUID, Example]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the examples that the dataset lacks, and those that it has otherwise."""
    new, changed = [], []
    for task in suite.tasks.values():
        inputs, outputs = make_example(task)
        id_, metadata = uuid5(dataset_id, task.key), {"kind": task.group, "suite": suite.name}
        if (old := known.get(id_)) is None:
            new.append({"id": id_, "inputs": inputs, "reference_outputs": outputs, "metadata": metadata})
        elif (old.inputs, old.outputs) != (inputs, outputs):
            metadata = {**(old.metadata or {}), **metadata}  # LangSmith keeps the splits in it
            changed.append({"id": id_, "inputs": inputs, "outputs": outputs, "metadata": metadata})
    return new, changed


def _batch(examples: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    return (examples[i : i + BATCH_SIZE] for i in range(0, len(examples), BATCH_SIZE))


def connect() -> Client:
    """Return LangSmith's client with the key of the environment, or of its own sign-in.

    Raises:
        ConfigError: If there is none; nothing is asked of LangSmith for it.
    """
    client = Client()
    if not client.api_key and getattr(client, "_profile_auth", None) is None:  # it has no public name
        raise ConfigError(
            "LANGSMITH_API_KEY is not set; set it to a key of LangSmith (Settings, API keys), and LANGSMITH_ENDPOINT "
            "if yours is not the American one."
        )
    return client


@contextmanager
def explain(client: Client, what: str) -> Iterator[None]:
    """Say what to do about what LangSmith refuses; errors of its client show parts of the key."""
    try:
        yield
    except (LangSmithConnectionError, APIConnectionError) as error:
        raise ConfigError(
            f"LangSmith cannot be reached at {client.api_url}; check LANGSMITH_ENDPOINT and the network."
        ) from error
    except (LangSmithAuthError, AuthenticationError, PermissionDeniedError) as error:
        raise ConfigError(
            f"LangSmith at {client.api_url} takes no such key; set LANGSMITH_API_KEY to one of this place (Settings, "
            "API keys), or LANGSMITH_ENDPOINT to the place of the key."
        ) from error
    except (LangSmithError, LangsmithError) as error:
        raise ConfigError(f"LangSmith at {client.api_url} refused {what}: {error}") from error
