"""What the commands of `alpha-umi eval` measure: the agent on a task, and methods that are trained.

Here graph, training and evaluation meet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool

from alpha_umi.cli.options import load_configuration
from alpha_umi.errors import ConfigError
from alpha_umi.graph.config import UmiSettings
from alpha_umi.graph.factory import create_umi_agent, make_retriever
from alpha_umi.nodes.format.certainty import get_probability
from alpha_umi.nodes.format.trajectory import ROLES, Role, Trajectory
from alpha_umi.nodes.models.request import RoleModel
from alpha_umi.nodes.models.specs import load_model, load_models
from alpha_umi.nodes.state import UmiInput
from alpha_umi.tools.convert import spec_from_tool
from alpha_umi.tools.http.breaker import RemoteSettings
from alpha_umi.tools.isolation import isolate_named
from alpha_umi.tools.load import load_tools
from alpha_umi.tools.retrieval import ToolRetriever
from alpha_umi.tools.toolbox import Toolbox
from alpha_umi.training.config import load_config
from alpha_umi.training.data.sheets.load import load_sheets
from alpha_umi.training.evaluation import EvalOutcome, EvalTask, Usage, evaluate_scaling, evaluate_static, load_examples
from alpha_umi.training.evaluation.evaluator import RunAgent, Scorer, evaluate_tasks
from alpha_umi.training.evaluation.examples import hash_examples
from alpha_umi.training.evaluation.judge import Judge
from alpha_umi.training.evaluation.questions import QuestionFile, check_questions, load_questions
from alpha_umi.training.evaluation.scaling import hash_share, write_share
from alpha_umi.training.evaluation.static import describe_model
from alpha_umi.training.evaluation.toolbench import make_answer_file

_OUTPUT = ["messages", "finish", "reason", "answer", "settings", "n_queries", "tree"]


@dataclass(frozen=True)
class MeasuredAgent:
    """What is measured: the models of each role, and the whole configuration."""

    models: Mapping[Role, RoleModel]
    settings: UmiSettings

    def get_single_models(self) -> dict[Role, BaseChatModel]:
        """Return the one model of each role.

        Raises:
            ConfigError: If a role has several.
        """
        single = {role: model for role, model in self.models.items() if isinstance(model, BaseChatModel)}
        if len(single) < len(self.models):
            raise ConfigError("Here one model per role is measured; give no list of models.")
        return single

    def describe(self) -> dict[str, Any]:
        """Return all that its outcomes depend on besides the tasks."""
        return {
            "specs": self.settings.models,
            "models": {role: _describe(model) for role, model in self.models.items()},
            "limits": self.settings.limits.model_dump(),
            "context": self.settings.make_context().model_dump(),
        }


def _describe(model: RoleModel) -> Any:
    return describe_model(model) if isinstance(model, BaseChatModel) else [describe_model(each) for each in model]


def load_agent(
    model: str | None, *, free: bool, max_steps: int | None = None, temperature: float | None = None
) -> MeasuredAgent:
    """Return what an option ``--model`` names; the weights are loaded at the first call.

    Raises:
        ConfigError: If it cannot be used.
        ModelNotAvailable: If its weights are not here.
    """
    name = f"hf:{model}" if model and Path(model).is_dir() else model
    settings = load_configuration(name, None, max_steps, temperature)
    if free:
        settings.generation.constrained = False
    generation = settings.generation.model_dump(exclude_none=True)
    if "dtype" not in generation:
        generation.setdefault("engine", "torch")  # the weights as they were trained; llama.cpp rounds them to 8 bits
    return MeasuredAgent(load_models(settings.models, remote=settings.remote, **generation), settings)


def load_judge(spec: str, n_votes: int, n_workers: int, remote: RemoteSettings) -> Judge:
    """Return the judge that an option ``--judge`` names."""
    temperature = 0.7  # several votes of a judge that decodes greedily would all be the same
    model = load_model(spec, "summarizer", remote=remote, temperature=temperature, max_tokens=512)
    identity = {"judge": spec, "n_votes": n_votes, "temperature": temperature}
    return Judge(model, n_votes, identity=identity, n_workers=n_workers)


def make_run(measured: MeasuredAgent, retriever: ToolRetriever | None = None) -> RunAgent:
    """Return a function that runs the agent on a task: with the task's tools, all its instructions in one thread.

    The retriever, if there is one, picks among the tools that all tasks have.
    """
    limits, context = measured.settings.limits, measured.settings.make_context()

    def run(task: EvalTask) -> EvalOutcome:
        toolbox = Toolbox(
            task.make_tools(), timeout_s=limits.tool_timeout_s, max_observation_chars=limits.max_observation_chars
        )
        agent = create_umi_agent(measured.models, toolbox, defaults=context, approvals=False, retriever=retriever)
        usage = UsageMetadataCallbackHandler()  # of all calls: not every one of them leaves a message
        config: RunnableConfig = {"configurable": {"thread_id": task.key}, "callbacks": [usage]}
        messages: list[AnyMessage] = []
        state: dict[str, Any] = {}
        for instruction in task.instructions:
            question: UmiInput = {"messages": [*messages, HumanMessage(instruction)]}
            state = agent.invoke(question, config, output_keys=_OUTPUT)
            messages = state["messages"]
        total = reduce(add, map(Usage.from_metadata, usage.usage_metadata.values()), Usage())
        tree = state.get("tree")
        n_tokens = total.input_tokens + total.output_tokens
        trajectory = Trajectory.from_messages(messages, toolbox.specs)
        answer = make_answer_file(state, tree, toolbox.specs, n_tokens) if tree else None
        known = [p for message in messages if (p := get_probability(message.response_metadata)) is not None]
        return EvalOutcome(trajectory, total, state["finish"], state["reason"], answer, min(known, default=None))

    return run


def load_asked(
    questions: Path, settings: UmiSettings, tools: Sequence[str] | None
) -> tuple[QuestionFile, list[BaseTool]]:
    """Return a file of questions and the tools that it is about: these, or those of the configuration.

    Raises:
        ConfigError: If tools or file cannot be used.
    """
    loaded = load_tools(tools or settings.tools, remote=settings.remote)
    names = {tool.name for tool in loaded}
    isolation = {name: how for name, how in settings.isolation.items() if not tools or name in names}
    loaded = isolate_named(loaded, isolation)
    return load_questions(questions, [spec_from_tool(tool) for tool in loaded]), loaded


def check_agent(
    agent: MeasuredAgent,
    questions: Path,
    tools: Sequence[str] | None,
    out: Path,
    *,
    sheets: Path | None = None,
    n_workers: int,
) -> dict[str, Any]:
    """Ask an agent the questions of a file; see `check_questions`.

    Args:
        agent: Whom to ask.
        questions: The file.
        tools: The tools at hand; None takes those of the configuration.
        out: Folder for the results.
        sheets: Tool sheets, which say what tools reply that are not run.
        n_workers: How many questions at the same time.

    Raises:
        ConfigError: If tools, file or folder cannot be used.
    """
    settings = agent.settings
    file, loaded = load_asked(questions, settings, tools)
    specs = [spec_from_tool(tool) for tool in loaded]
    identity = {"suite": "questions", "retrieval": settings.retrieval.model_dump(), **agent.describe()}
    run = make_run(agent, make_retriever(settings, specs))
    told = load_sheets(sheets) if sheets else ()
    return check_questions(run, file, loaded, out, identity=identity, sheets=told, n_workers=n_workers)


def evaluate_agent(
    measured: MeasuredAgent,
    tasks: Sequence[EvalTask],
    out: Path,
    *,
    identity: Mapping[str, Any],
    scorer: Scorer,
    n_workers: int,
) -> dict[str, Any]:
    """Let an agent do tasks, as far as that is not done, and free the memory of its weights for a training."""
    from alpha_umi.nodes.models.engine.scheduler import close_engines

    try:
        whole = {**identity, **measured.describe()}
        return evaluate_tasks(make_run(measured), tasks, out, identity=whole, scorer=scorer, n_workers=n_workers)
    finally:
        close_engines()


def evaluate_methods(
    configs: Sequence[str],
    fractions: Sequence[float],
    data: Path,
    out: Path,
    *,
    split: str | None,
    sources: Collection[str],
    limit: int | None,
    free: bool,
) -> dict[str, Any]:
    """Train and evaluate each configuration on each share of the training split.

    A method goes by the name of its configuration's file; `out` gets ``data/``, ``checkpoints/`` and ``static/``, each
    with one folder per point. `split`, `sources` and `limit` say what to evaluate on.

    Raises:
        ConfigError: If a configuration, a fraction or `out` cannot be used.
    """
    from alpha_umi.nodes.models.engine.scheduler import close_engines
    from alpha_umi.training.glpft import train

    names = [Path(config).name.removesuffix(".yaml") for config in configs]
    if len(set(names)) < len(names):
        raise ConfigError(f"Two of the configurations {', '.join(configs)} have one name; rename one of the files.")
    methods = {name: load_config(config) for name, config in zip(names, configs, strict=True)}
    examples = load_examples(data, split=split, sources=sources)

    def train_on_share(method: str, fraction: float) -> Path:
        share = write_share(data, fraction, out / "data" / f"{fraction:g}")
        checkpoint = out / "checkpoints" / f"{method}@{fraction:g}"
        train(methods[method], share, checkpoint, resume=True, progress=True)
        return checkpoint

    def evaluate(checkpoint: Path) -> Mapping[str, Any]:
        models = {role: load_model(f"hf:{checkpoint}", role, constrained=not free, engine="torch") for role in ROLES}
        try:
            return evaluate_static(models, examples, out / "static" / checkpoint.name, limit=limit)
        finally:
            close_engines()  # the next training needs the memory

    identity = {
        "configs": {name: config.model_dump() for name, config in methods.items()},
        "train_sha256": hash_share(data),
        "data": hash_examples(examples),
        "limit": limit,
        "free": free,
    }
    return evaluate_scaling(names, fractions, train_on_share, evaluate, out, identity=identity)
