"""`alpha-umi eval static`: every step of given trajectories, predicted from the reference history.

As in the paper, caller and summarizer continue from the planner's own text. They are also asked with the reference
plan, which shows whose mistake lost a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda

from alpha_umi.errors import ContextOverflow
from alpha_umi.nodes.format.parsing import parse_plan
from alpha_umi.nodes.format.reasoning import split_reasoning
from alpha_umi.nodes.format.trajectory import Decision, Role, Step, Trajectory
from alpha_umi.nodes.models.engine.checkpoint import CARD, hash_file, hash_weights
from alpha_umi.nodes.models.engine.weights import resolve
from alpha_umi.nodes.models.local import LocalChatModel
from alpha_umi.nodes.models.request import RoleRequest, make_request
from alpha_umi.progress import make_progress
from alpha_umi.training.data.dataset import Example
from alpha_umi.training.evaluation.examples import (
    Prediction,
    StepOutput,
    StepQuery,
    Usage,
    choose_examples,
    hash_examples,
    make_queries,
)
from alpha_umi.training.evaluation.metrics import score_static
from alpha_umi.training.evaluation.metrics.published import load_rouge
from alpha_umi.training.evaluation.metrics.strict import STRICT_METRICS
from alpha_umi.training.evaluation.render import TITLES, interval, percent, render_columns
from alpha_umi.training.evaluation.result_folder import PREDICTIONS, ResultFolder

BATCH_SIZE = 64
N_WORKERS = 8
_MAX_OBSERVATION_CHARS = 600
_DEFINITIONS = (
    "paper:  the published arithmetic; no 'Next:' counts as a call; references that do not parse are dropped.",
    "strict: ours; nothing is dropped, a missing name is a wrong one. The interval is a bootstrap over trajectories.",
    "Hallu.: lower is better. Step ACC: nobody lost the step. Call EM: name and all arguments are exact.",
)


def evaluate_static(
    models: Mapping[Role, BaseChatModel],
    examples: Sequence[Example],
    out: Path,
    *,
    limit: int | None = None,
    batch_size: int | None = None,
    isolated: bool = True,
    identity: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Predict every step, write ``predictions.jsonl`` and ``metrics.json``, and return the metrics.

    A run that was killed is resumed; so is one with a larger `limit`.

    Args:
        models: One chat model per role, asked greedily.
        examples: What to evaluate on.
        out: Folder to write into.
        limit: Only so many examples, see `choose_examples`.
        batch_size: How many steps are asked for, and then saved, at once. By default `BATCH_SIZE` where every model
            answers in batches, `N_WORKERS` where a server is asked from as many threads.
        isolated: Also ask caller and summarizer with the reference plan.
        identity: What names the models besides their own fields, such as the hash of a checkpoint.

    Raises:
        ConfigError: If the folder holds results with other settings, or the package ``rouge`` is missing.
    """
    load_rouge()
    settings = {
        "kind": "static",
        "models": {role: describe_model(model) for role, model in models.items()},
        "data": hash_examples(examples),
        "isolated": isolated,
        **(identity or {}),
    }
    if batch_size is None:
        batch_size = BATCH_SIZE if all(isinstance(model, BatchModel) for model in models.values()) else N_WORKERS
    queries = make_queries(choose_examples(examples, limit))
    with ResultFolder(out, PREDICTIONS, settings) as folder, make_progress(None) as progress:
        todo = [query for query in queries if query.key not in folder.rows]
        n_before = len(queries) - len(todo)
        task = progress.add_task("steps", total=len(queries), completed=n_before, first=n_before)
        for start in range(0, len(todo), batch_size):
            chunk = todo[start : start + batch_size]

            def show(role: Role, n_done: int, n_asked: int) -> None:
                progress.update(task, description=f"steps ({role}: {n_done} of the next {n_asked})")

            role_models = RoleModels(models, batch_size, show)
            folder.append(asdict(each) for each in predict(role_models, chunk, isolated=isolated))
            progress.update(task, advance=len(chunk), description="steps")
        metrics = score_static([Prediction.from_row(folder.rows[query.key]) for query in queries])
        folder.write_metrics(metrics)
    return metrics


def render_static(metrics: Mapping[str, Any]) -> str:
    """Return both definitions next to each other, in percent, and what they mean."""
    rows = [["%", "paper", "strict", "95% interval", "steps"]]
    for name in STRICT_METRICS:
        strict, paper = metrics["strict"][name], metrics["paper"].get(name)
        rows.append(
            [TITLES[name], percent(paper, 2), percent(strict["value"], 2), interval(strict), f"{strict['n']:,}"]
        )
    title = f"{metrics['n_steps']:,} steps of {metrics['n_examples']:,} trajectories"
    if metrics["n_overflowed"]:
        title += f", {metrics['n_overflowed']:,} with a prompt that did not fit"
    lost = [f"{fault} {n:,}" for fault, n in metrics["faults"].items() if n]
    faults = f"Who lost the step: {', '.join(lost) or 'nobody'}."
    return "\n".join([title, "", render_columns(rows, (12, 8, 8, 18, 9)), "", faults, "", *_DEFINITIONS])


def describe_model(model: BaseChatModel) -> dict[str, Any]:
    """Return what distinguishes a model from others, as far as it says; of a checkpoint also the hash of its card."""
    trained: dict[str, str] = {}
    if isinstance(model, LocalChatModel):
        folder = resolve(model.model)
        trained["card_sha256"] = hash_file(folder / CARD)
        places = [folder / model.adapter, Path(model.adapter)] if model.adapter else []
        trained["adapter_sha256"] = next((hash_weights(place) for place in places if place.is_dir()), "")
    return {"type": model._llm_type, **model._identifying_params, **trained}


@dataclass(frozen=True, slots=True)
class RoleModels:
    """The model of each role, and how it is asked; `on_progress` gets the role, how many are done and of how many."""

    models: Mapping[Role, BaseChatModel]
    n_workers: int = N_WORKERS
    on_progress: Callable[[Role, int, int], None] = lambda role, n_done, n_asked: None

    def make_requests(self, role: Role, trajectories: Sequence[Trajectory]) -> list[RoleRequest]:
        """Return what asks a role, greedily, to continue each trajectory."""
        return [make_request(self.models[role], role, each, temperature=0) for each in trajectories]

    def ask(self, role: Role, requests: Sequence[RoleRequest]) -> list[Completion]:
        """Return one reply per request."""
        return generate_many(
            self.models[role],
            requests,
            n_workers=self.n_workers,
            on_progress=lambda n_done: self.on_progress(role, n_done, len(requests)),
        )


def predict(models: RoleModels, queries: Sequence[StepQuery], *, isolated: bool = True) -> Iterator[Prediction]:
    """Yield the prediction of each query: first all plans are asked for, then all calls, then all answers."""
    requests = models.make_requests("planner", [query.history for query in queries])
    plans = models.ask("planner", requests)
    own = [_read_step(plan.text) for plan in plans]
    given = [Step(query.step.rationale, query.step.decision) for query in queries]
    asked = [*zip(queries, own, strict=True), *(zip(queries, given, strict=True) if isolated else ())]
    # by key, so that a planner that writes the reference plan costs one call, not two
    replies = _follow(models, {(query.key, step): query.extend(step) for query, step in asked})
    for i, query in enumerate(queries):
        reply = replies.get((query.key, own[i]))
        alone = replies.get((query.key, given[i]))
        yield Prediction(
            key=query.key,
            example=query.example.id,
            source=query.example.source,
            step=len(query.history.turns[-1].steps),
            prompt_chars=sum(len(str(message.text)) for message in requests[i].messages),
            instruction=query.history.turns[-1].instruction,
            observation=_find_observation(query)[:_MAX_OBSERVATION_CHARS],
            offered=tuple(tool.name for tool in query.history.tools),
            decision=query.step.decision,
            reference=query.reference,
            predicted=_make_output(plans[i].text, own[i], reply),
            isolated=_make_output(query.reference.plan, given[i], alone) if isolated else None,
            usage=plans[i].usage + (reply.usage if reply else Usage()),
            overflowed=any(each.overflowed for each in (plans[i], reply, alone) if each),
        )


def _read_step(plan: str) -> Step:
    """Return the step a plan begins; one without a decision goes to the caller, as in the paper's pipeline."""
    parsed = parse_plan(plan)
    return Step(parsed.rationale, parsed.decision or "caller")


def _follow(models: RoleModels, asked: Mapping[tuple[str, Step], Trajectory]) -> dict[tuple[str, Step], Completion]:
    """Ask caller or summarizer, whomever the step's decision names."""
    replies: dict[tuple[str, Step], Completion] = {}
    roles: Mapping[Role, Decision] = {"caller": "caller", "summarizer": "conclusion"}
    for role, decision in roles.items():
        wanted = [key for key in asked if key[1].decision == decision]
        requests = models.make_requests(role, [asked[key] for key in wanted])
        replies |= zip(wanted, models.ask(role, requests), strict=True)
    return replies


def _make_output(plan: str, step: Step, reply: Completion | None) -> StepOutput:
    text = reply.text if reply else None
    return StepOutput(
        plan, text if step.decision == "caller" else None, text if step.decision == "conclusion" else None
    )


def _find_observation(query: StepQuery) -> str:
    calls = [call for step in query.history.turns[-1].steps for call in step.calls]
    return next((call.observation.text for call in reversed(calls) if call.observation is not None), "")


@runtime_checkable
class BatchModel(Protocol):
    """A chat model that answers several requests in one forward pass per token, such as `LocalChatModel`."""

    def generate_many(
        self, requests: Sequence[RoleRequest], *, on_progress: Callable[[int], None] | None = None
    ) -> list[AIMessage | ContextOverflow]:
        """Return one reply per request; a prompt that does not fit must not cost the others theirs."""
        ...


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote; ``""`` where the prompt did not fit its window."""

    text: str
    usage: Usage
    overflowed: bool = False


def generate_many(
    model: BaseChatModel,
    requests: Sequence[RoleRequest],
    *,
    n_workers: int = 8,
    on_progress: Callable[[int], None] | None = None,
) -> list[Completion]:
    """Return one reply per request, in order; whatever the model raises is raised, except for prompts that do not fit.

    A `BatchModel` gets all requests at once, and calls `on_progress` with the number it has answered; any other model
    is asked from `n_workers` threads.
    """
    if isinstance(model, BatchModel):
        return [_make_completion(reply) for reply in model.generate_many(requests, on_progress=on_progress)]

    def ask(request: RoleRequest) -> AIMessage:
        return model.invoke(request.messages, **request.kwargs)

    replies = RunnableLambda(ask).batch(list(requests), {"max_concurrency": n_workers}, return_exceptions=True)
    return [_make_completion(reply) for reply in replies]


def _make_completion(reply: AIMessage | Exception) -> Completion:
    if isinstance(reply, ContextOverflow):
        return Completion("", Usage(), overflowed=True)
    if isinstance(reply, Exception):
        raise reply
    return Completion(split_reasoning(str(reply.text))[1], Usage.from_metadata(reply.usage_metadata))
