"""What makes decoding on a CPU faster, and what does not: each choice against the same work without it.

Run it with `python benchmarks/decode_choices.py [--turns N] [--data FOLDER]`; it needs `alpha-umi models pull
smollm2-135m`. The work is turns of ToolBench's answers where a folder with them is given, else of generated ones. The
base model is untrained, so for the times a sampler makes it write what the trajectory says; greedy tokens are compared
as well.
"""

from __future__ import annotations

import argparse
import copy
import random
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, TypeAlias

import numpy as np
import torch
from transformers import Cache, DynamicCache, PreTrainedModel, StaticCache

from alpha_umi.nodes.format.render import encode_prompt, render_calls, render_messages, render_plan
from alpha_umi.nodes.format.trajectory import Step, Trajectory, Turn
from alpha_umi.nodes.models.engine.decode import PromptLookup, Sampler, make_sampler
from alpha_umi.nodes.models.engine.grammar import Grammar, GrammarCompiler, TokenMask, caller_grammar, planner_grammar
from alpha_umi.nodes.models.engine.pytorch.backbone import TorchBackbone
from alpha_umi.nodes.models.engine.spans import Logits
from alpha_umi.nodes.models.engine.weights import resolve
from alpha_umi.training.data.dataset import Tally
from alpha_umi.training.data.sources import builtin
from alpha_umi.training.data.sources.public import toolbench

NAME = "smollm2-135m"
TOOLBENCH = "toolbench_answers.tar.gz"
MAX_PROMPT_TOKENS = 900
MAX_TOKENS = 256
N_PLAN_TOKENS = 24
N_GREEDY_TURNS, N_GREEDY_TOKENS = 4, 32
COMPILE_LIMIT_S = 180
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Work:
    """One turn of one role.

    Args:
        prompt: Token ids.
        n_known: So many of them were computed in the turn of the role before.
        text: Token ids to be written.
        grammar: What the role may write.
    """

    prompt: tuple[int, ...]
    n_known: int
    text: tuple[int, ...]
    grammar: Grammar


Arm: TypeAlias = Callable[[Work, bool], Iterator[int]]
"""Writes what a turn says, or greedily; what is done before the iterator is returned is not measured."""


@dataclass(frozen=True)
class Row:
    """One line of the table: an arm against another."""

    name: str
    arm: Arm
    against: str
    plain: Arm
    works: Sequence[Work]
    goal: float | None = None
    is_choice: bool = True


def make_works(backbone: TorchBackbone, n: int, data: Path | None) -> tuple[list[Work], list[Work]]:
    """Return caller turns and planner turns, one of each from a trajectory."""
    source = toolbench.read(str(data / TOOLBENCH), Tally(), seed=0) if data else None
    examples = list(source or builtin.read("200", Tally(), seed=0))
    random.Random(0).shuffle(examples)
    pairs = (make_pair(backbone, example.trajectory) for example in examples)
    chosen = list(islice(filter(None, pairs), n))
    return [caller for caller, _ in chosen], [planner for _, planner in chosen]


def make_pair(backbone: TorchBackbone, trajectory: Trajectory) -> tuple[Work, Work] | None:
    """Return the caller's and the planner's turn of the last step with one call, None where there is none that fits."""
    steps = trajectory.turns[0].steps
    usable = [i for i, step in enumerate(steps) if len(step.calls) == 1 and isinstance(step.calls[0].arguments, dict)]
    grammar = caller_grammar({tool.name: tool.parameters for tool in trajectory.tools})
    if not usable or grammar is None:
        return None
    step = steps[usable[-1]]

    def encode(role: Any, *more: Step) -> tuple[int, ...]:
        turn = Turn(trajectory.turns[0].instruction, (*steps[: usable[-1]], *more))
        messages = render_messages(replace(trajectory, turns=(turn,)))
        template = backbone.find_template("umi")
        return tuple(encode_prompt(messages, backbone.tokenizer, template, role, trajectory.tools))

    asked, planned = encode("planner"), encode("caller", replace(step, calls=()))
    texts = [render_calls(step.calls), render_plan(step.rationale, step.decision)]
    call, plan = (tuple(backbone.tokenizer.encode(text, add_special_tokens=False)) for text in texts)
    # the caller's prompt continues where the planner's ended
    caller = Work(planned, len(asked), call, grammar)
    planner = Work(asked, len(asked) - 1, plan[:N_PLAN_TOKENS], planner_grammar(MAX_TOKENS))
    return (caller, planner) if len(planned) <= MAX_PROMPT_TOKENS and is_allowed(backbone, caller) else None


def is_allowed(backbone: TorchBackbone, work: Work) -> bool:
    """Tell whether the grammar lets the text be written with just these tokens."""
    mask = backbone.grammars.make_mask(work.grammar, MAX_TOKENS)
    written: list[int] = []
    logits = np.zeros(backbone.n_vocab, np.float32)
    try:
        while not mask.finished:
            written.append(mask.choose(logits, make_teacher(work, written)))
    except (IndexError, ValueError):
        return False
    return tuple(written) == work.text


def make_teacher(work: Work, written: list[int]) -> Sampler:
    """Return a sampler that picks the text's next token; `written` returns how many tokens are written."""

    def sample(logits: Logits) -> int:
        token = work.text[len(written)]
        if logits[token] == -np.inf:
            raise ValueError("the grammar forbids what the trajectory says")
        return token

    return sample


@torch.inference_mode()
def forward(model: Any, ids: Sequence[int], past: Cache, n_logits: int = 1) -> torch.Tensor:
    """Return the last positions' logits (float32, (n_logits, vocabulary))."""
    tokens = torch.tensor([list(ids)])
    output = model(input_ids=tokens, past_key_values=past, use_cache=True, logits_to_keep=n_logits)
    logits: torch.Tensor = output.logits[0].float()
    return logits


@cache
def compute_past(model: PreTrainedModel, work: Work) -> DynamicCache:
    """Return the known beginning of a prompt, computed."""
    past = DynamicCache(config=model.config)
    forward(model, work.prompt[: work.n_known], past)
    return past


def lend_past(model: PreTrainedModel, work: Work) -> DynamicCache:
    """Return the known beginning of a prompt, without what was written behind it the last time."""
    past = compute_past(model, work)
    past.crop(work.n_known - past.get_seq_length())
    return past


@dataclass(frozen=True)
class Loop:
    """One token after the other; forced ones without a pass for each, which the next pass reads."""

    model: PreTrainedModel
    grammars: GrammarCompiler
    jump_forward: bool = True
    constrained: bool = True

    def __call__(self, work: Work, greedy: bool) -> Iterator[int]:
        """Write one turn."""
        written: list[int] = []
        mask = self.grammars.make_mask(work.grammar, MAX_TOKENS) if self.constrained else None
        return self._write(work, greedy, written, mask, lend_past(self.model, work))

    def _write(
        self, work: Work, greedy: bool, written: list[int], mask: TokenMask | None, past: Cache
    ) -> Iterator[int]:
        sampler = make_sampler() if greedy else make_teacher(work, written)
        n_wanted = N_GREEDY_TOKENS if greedy else len(work.text)
        while len(written) < n_wanted and not (mask and mask.finished):
            token = mask.forced() if mask and self.jump_forward else None
            if token is not None and mask:
                token = mask.accept(token)
            else:
                logits = forward(self.model, [*work.prompt, *written][past.get_seq_length() :], past)[0].float().numpy()
                token = mask.choose(logits, sampler) if mask else sampler(logits)
            written.append(token)
            yield token


class Guesser(Loop):
    """Prompt lookup on top of it, as `decode_tokens` has it."""

    def _write(
        self, work: Work, greedy: bool, written: list[int], mask: TokenMask | None, past: Cache
    ) -> Iterator[int]:
        sampler = make_sampler() if greedy else make_teacher(work, written)
        n_wanted = N_GREEDY_TOKENS if greedy else len(work.text)
        lookup, draft = PromptLookup(), list[int]()
        logits: list[Logits] = []
        while len(written) < n_wanted and not (mask and mask.finished):
            token = mask.forced() if mask else None
            if token is not None and mask:
                token = mask.accept(token)
            else:
                if not logits:
                    ids = [*work.prompt, *written]
                    draft = lookup.guess(ids)
                    past.crop(min(len(ids) - 1 - past.get_seq_length(), 0))
                    found = forward(self.model, [*ids[past.get_seq_length() :], *draft], past, len(draft) + 1)
                    logits = list(found.float().numpy())
                token = mask.choose(logits[0], sampler) if mask else sampler(logits[0])
            written.append(token)
            yield token
            is_right = len(logits) > 1 and draft[0] == token
            draft, logits = (draft[1:], logits[1:]) if is_right else ([], [])
            if not is_right:
                past.crop(min(len(work.prompt) + len(written) - 1 - past.get_seq_length(), 0))


class Compiled(Loop):
    """A static cache and `torch.compile`, for one token at a time."""

    def __call__(self, work: Work, greedy: bool) -> Iterator[int]:
        """Write one turn."""
        past = StaticCache(config=self.model.config, max_cache_len=MAX_PROMPT_TOKENS + MAX_TOKENS)
        forward(self.model, work.prompt[:-1], past)
        mask = self.grammars.make_mask(work.grammar, MAX_TOKENS)
        return self._write(work, greedy, [], mask, past)

    def _write(
        self, work: Work, greedy: bool, written: list[int], mask: TokenMask | None, past: Cache
    ) -> Iterator[int]:
        sampler = make_sampler() if greedy else make_teacher(work, written)
        step = compile_model(self.model)
        for _ in range(N_GREEDY_TOKENS if greedy else len(work.text)):
            logits = forward(step, [[*work.prompt, *written][-1]], past)[0].float().numpy()
            written.append(mask.choose(logits, sampler) if mask else sampler(logits))
            yield written[-1]


@cache
def compile_model(model: PreTrainedModel) -> Any:
    """Return the model compiled; that happens at its first use."""
    return torch.compile(model, dynamic=False)


def quantize(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy with dynamic int8 weights."""
    quantized: PreTrainedModel = torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
        copy.deepcopy(model), {torch.nn.Linear}, torch.qint8
    )
    return quantized


def measure(arm: Arm, work: Work) -> tuple[float, float]:
    """Return seconds by the clock and of the processor."""
    tokens = arm(work, False)
    wall, cpu = time.perf_counter(), time.process_time()
    written = list(tokens)
    times = time.perf_counter() - wall, time.process_time() - cpu
    if tuple(written) != work.text:
        raise RuntimeError(f"Wrote {written}, not {work.text}.")
    return times


def compare(row: Row) -> str:
    """Return the cells of a row: ratios by the clock and of the processor, greedy turns that are equal, verdict."""
    for work in row.works:  # computes the prompts, compiles the grammars
        row.arm(work, False), row.plain(work, False)
    next(row.arm(row.works[0], False), None)
    walls, cpus = [], []
    for i, work in enumerate(row.works):
        order = (row.arm, row.plain) if i % 2 else (row.plain, row.arm)
        times = {arm: measure(arm, work) for arm in order}
        walls.append(times[row.arm][0] / times[row.plain][0])
        cpus.append(times[row.arm][1] / times[row.plain][1])
    cells = f"{median(walls):5.2f} {median(cpus):5.2f}"
    if not row.is_choice:
        return f"{cells}   {'–':>5}  {judge(median(walls), row.goal)}"
    greedy = row.works[:N_GREEDY_TURNS]
    n_equal = sum(list(row.arm(work, True)) == list(row.plain(work, True)) for work in greedy)
    verdict = judge(median(walls), row.goal) if row.goal else "faster" if median(walls) < 0.95 else "not faster"
    return f"{cells}   {n_equal:>2}/{len(greedy):<2}  {verdict}{'' if n_equal == len(greedy) else ', other tokens'}"


def judge(ratio: float, goal: float | None) -> str:
    """Compare a ratio with its goal, in words."""
    return "" if goal is None else f"goal {goal:.2f} {'reached' if ratio <= goal else f'MISSED by {ratio - goal:.2f}'}"


def show(row: Row, limit_s: int = 0) -> None:
    """Print one row; what cannot be run here gets one too."""

    def stop(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(limit_s)
    start, cpu = time.perf_counter(), time.process_time()
    try:
        cells = compare(row)
    except Exception as error:
        is_late = limit_s and time.perf_counter() - start >= limit_s
        late = f"not ready after {limit_s} s with its prompts, {time.process_time() - cpu:.0f} s of them computing"
        cells = f"{'–':>5} {'–':>5}   {'–':>5}  {late if is_late else f'cannot run here: {error!r:.60}'}"
    finally:
        signal.alarm(0)
    print(f"  {row.name:<34} {row.against:<24} {cells}", flush=True)


def show_loop(backbone: TorchBackbone, callers: list[Work], planners: list[Work], kind: str) -> None:
    """Print what can be chosen with the weights as they are."""
    model, grammars = backbone.model, backbone.grammars
    jump, steps = Loop(model, grammars), Loop(model, grammars, jump_forward=False)
    bare = Loop(model, grammars, jump_forward=False, constrained=False)
    show(Row(f"jump-forward, caller, {kind}", jump, "same grammar without", steps, callers, 0.6))
    show(Row(f"grammar, caller, {kind}", steps, "no grammar, no jumps", bare, callers, 1.1, is_choice=False))
    show(Row(f"grammar, planner, {kind}", steps, "no grammar, no jumps", bare, planners, 1.1, is_choice=False))
    lookup = Guesser(model, grammars)
    show(Row(f"prompt lookup, caller, {kind}", lookup, "jump-forward alone", jump, callers))
    show(Row(f"prompt lookup, planner, {kind}", lookup, "jump-forward alone", jump, planners))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--data", type=Path, help=f"folder with {TOOLBENCH}")
    options = parser.parse_args()
    n_turns = options.turns
    folder = resolve(NAME)
    single, half = (TorchBackbone(folder, CPU, dtype) for dtype in (torch.float32, torch.bfloat16))
    callers, planners = make_works(single, n_turns, options.data)
    n_text = [sum(len(work.text) for work in works) // n_turns for works in (callers, planners)]
    source = "ToolBench" if options.data else "generated"
    print(f"{NAME}, {n_turns} {source} turns each, {torch.get_num_threads()} threads; tokens written: {n_text[0]} by a")
    print(f"caller, the first {n_text[1]} of a planner; medians of ratios, below 1 is faster")
    print(f"  {'choice':<34} {'against':<24} {'clock':>5} {'cpu':>5}  {'greedy =':<6}")
    show_loop(single, callers, planners, "f32")
    f32, bf16 = (Loop(backbone.model, backbone.grammars) for backbone in (single, half))
    steps = replace(bf16, jump_forward=False)
    show(Row("jump-forward, caller, bf16", bf16, "same grammar without", steps, callers, 0.6))
    compiled = Compiled(single.model, single.grammars)
    show(Row("static cache + compile, planner", compiled, "dynamic cache, float32", f32, planners), COMPILE_LIMIT_S)
    for role, works in (("caller", callers), ("planner", planners)):
        show(Row(f"bf16, {role}", bf16, "float32", f32, works))
    int8 = Loop(quantize(single.model), single.grammars)
    for role, works in (("caller", callers), ("planner", planners)):
        show(Row(f"dynamic int8, {role}", int8, "float32", f32, works))
    show(Row("dynamic int8, planner", int8, "bf16", bf16, planners))


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # torch says that its quantization moves to another package
    main()
