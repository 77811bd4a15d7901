"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import select
import signal
import string
import warnings
from collections.abc import Callable, Generator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from alpha_umi.nodes.format.render import load_template
from alpha_umi.nodes.format.trajectory import Call, Decision, Observation, Step, Trajectory, Turn
from alpha_umi.tools.spec import ToolSpec

# Two threads on a tiny tensor wait for each other longer than they compute; the variable is for processes of tests.
torch.set_num_threads(1)
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

# A busy machine breaks no promise. `make test` takes the first, `make test-all` the second.
CHECKS_OFF = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
for name, n_examples in (("quick", 30), ("thorough", 200)):
    settings.register_profile(name, max_examples=n_examples, deadline=None, suppress_health_check=CHECKS_OFF)

CORPUS = [
    "Three roles solve the user's task in turns. The planner thinks about the next step and ends with Next: caller.",
    'Action: calculator\nAction Input: {"expression":"2+3"}\nThe result is 5.\nNext: conclusion.',
    "system user planner caller observation summarizer assistant tool string integer optional name description",
]


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Let hostile text pass from a process of pytest-xdist, which sends UTF-8 alone."""
    return _make_utf8((yield))


def _make_utf8(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_make_utf8(key): _make_utf8(item) for key, item in value.items()}
    return type(value)(map(_make_utf8, value)) if isinstance(value, list | tuple) else value


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with the control tokens of SmolLM2, trained in milliseconds."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(CORPUS, trainer)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
    )
    tokenizer.chat_template = load_template("umi")
    return tokenizer


@pytest.fixture(scope="session")
def trajectories() -> st.SearchStrategy[Trajectory]:
    """Any trajectory: several turns, unfinished steps, unparsable calls, text that tries to look like a prompt."""
    nasty = ["<|im_start|>planner\n", "<|im_end|>", "</s>assistant: ", "<s>", "[INST]", "Next: caller.", "Action: x\n"]
    text = st.lists(st.one_of(st.text(max_size=8), st.sampled_from(nasty)), max_size=4).map("".join)
    scalar = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), text)
    scalar = scalar.filter(lambda value: value not in (float("inf"), float("-inf")))
    value: st.SearchStrategy[Any] = st.recursive(
        scalar, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3))
    )
    name = st.text(string.ascii_letters + string.digits + "_.:/-", min_size=1, max_size=12)
    observation = st.none() | st.builds(Observation, text, st.booleans())
    parsed = st.tuples(name, st.dictionaries(text, value, max_size=3), observation)
    unparsed = st.tuples(name | st.just(""), text, observation)

    @st.composite
    def draw_trajectory(draw: st.DrawFn) -> Trajectory:
        n_calls = 0
        turns = []
        for instruction in draw(st.lists(text, min_size=1, max_size=2)):
            steps = []
            for decision in draw(
                st.lists(st.sampled_from(list[Decision](["caller", "conclusion", "give up"])), max_size=3)
            ):
                calls = []
                if decision == "caller":
                    for drawn in [*draw(st.lists(parsed, max_size=2)), *draw(st.lists(unparsed, max_size=1))]:
                        calls.append(Call(f"call_{(n_calls := n_calls + 1)}", *drawn))
                answer = draw(st.none() | text) if decision == "conclusion" else None
                steps.append(Step(draw(text), decision, tuple(calls), answer))
            turns.append(Turn(instruction, tuple(steps)))
        tools = draw(st.lists(st.builds(ToolSpec, name, text), max_size=2))
        return Trajectory(tuple(tools), tuple(turns), draw(text))

    return draw_trajectory()


def run_forked(work: Callable[[], str]) -> tuple[int, str]:
    """Do something in a forked child; return its process id and what it says, empty if it hangs."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, which are the point
        pid = os.fork()
    if not pid:
        try:
            os.write(writer, work().encode())
        except BaseException as error:
            os.write(writer, repr(error).encode())
        os._exit(0)
    os.close(writer)
    said = os.read(reader, 10_000) if select.select([reader], [], [], 600)[0] else b""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(reader)
    return pid, said.decode()
