"""Many threads on a real `langgraph dev` server: no lost and no crossed messages, bounded memory, fair latency.

In each turn every thread tells its own secret, a tool repeats it, and the answer has to list the secrets of this thread
and no other. Run by ``make faults``; ``python benchmarks/load.py --threads 20 --turns 5`` is a short version.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import torch
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from alpha_umi.nodes.format.render import load_template

START_S = 120.0
THREADS_PER_CLIENT = 50  # the SDK's client holds at most a hundred connections
FAIR_ROUNDS = 3
MAX_GROWTH_MB = 512.0
AGENT = '''
from alpha_umi import create_umi_agent
from alpha_umi.nodes.models.scripted import ScriptedChatModel
from alpha_umi.tools import declare_effects

def say(role, messages):
    told = [message.content for message in messages if message.role == "user"]
    if role == "planner":
        is_kept = messages[-1].role == "observation"
        return "All is kept.\\nNext: conclusion." if is_kept else "I keep it.\\nNext: caller."
    if role == "caller":
        return f'Action: keep\\nAction Input: {{"secret": "{told[-1]}"}}'
    kept = [message.content for message in messages if message.role == "observation"]
    return f"{' '.join(told)} | {' '.join(kept)}"

@declare_effects("none")
def keep(secret: str) -> str:
    """Keep a secret."""
    return secret

graph = create_umi_agent(ScriptedChatModel(script=say), [keep], approvals=False)
'''


LOCAL_AGENT = "from alpha_umi.graph.agent import graph as graph"
LOCAL_SETTINGS = {
    "ALPHA_UMI_TOOLS": "builtin:calculator",
    "ALPHA_UMI_LIMITS__MAX_STEPS": "2",
    "ALPHA_UMI_GENERATION__MAX_TOKENS": "64",
    "ALPHA_UMI_GENERATION__MAX_RATIONALE_TOKENS": "8",
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Server:
    """A server in its own process, with the graph ``agent``."""

    url: str
    process: subprocess.Popen[bytes]

    def read_memory_mb(self) -> float:
        """Return what the process holds in memory."""
        status = Path(f"/proc/{self.process.pid}/status")
        lines = status.read_text().splitlines() if status.exists() else []
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), math.nan)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return what so many percent of the values do not exceed; nan where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else math.nan


@dataclass
class Load:
    """How the turns of all threads went.

    Args:
        n_threads: Threads that talked at the same time.
        n_turns: Questions of each, one after the other.
        n_lost: Turns without a right answer, and turns that a thread's state lacks.
        n_crossed: Answers that hold another thread's secret.
        latencies_s: Of every turn.
        n_asked: Questions so far.
        answered: The numbers of those that were answered, in this order.
        n_overtaken: Most later questions that were answered while one waited: fairness on a machine of any speed.
        start_mb: Memory of the server after a first turn.
        end_mb: Memory of the server at the end.
        faults: What else was answered.
    """

    n_threads: int
    n_turns: int
    n_lost: int = 0
    n_crossed: int = 0
    latencies_s: list[float] = field(default_factory=list)
    n_asked: int = 0
    answered: list[int] = field(default_factory=list)
    n_overtaken: int = 0
    start_mb: float = math.nan
    end_mb: float = math.nan
    faults: list[str] = field(default_factory=list)

    def percentile_s(self, percent: float) -> float:
        """Return the latency that so many percent of the turns do not exceed."""
        return percentile(self.latencies_s, percent)

    def note_answer(self, number: int) -> None:
        """Note that a question was answered, and how many that came later had been."""
        self.n_overtaken = max(self.n_overtaken, sum(other > number for other in self.answered))
        self.answered.append(number)

    @property
    def is_fair(self) -> bool:
        """Whether nobody waits while all others are answered several times."""
        return self.n_overtaken <= FAIR_ROUNDS * self.n_threads

    @property
    def is_harmless(self) -> bool:
        """Whether nothing was lost or crossed, and memory did not run away."""
        return not (self.n_lost or self.n_crossed) and not self.end_mb - self.start_mb > MAX_GROWTH_MB

    def describe(self) -> str:
        """Return the figures in one line."""
        p50_s, p99_s = self.percentile_s(50), self.percentile_s(99)
        return (
            f"{self.n_threads} threads x {self.n_turns} turns: {self.n_lost} lost, {self.n_crossed} crossed; "
            f"p50 {p50_s:.2f} s, p99 {p99_s:.2f} s; overtaken by {self.n_overtaken} at most; "
            f"memory {self.start_mb:.0f} MB at the start, {self.end_mb:.0f} MB at the end"
        )


@contextmanager
def serve(
    folder: Path, *, agent: str = AGENT, n_jobs: int = 10, environment: dict[str, str] | None = None
) -> Iterator[Server]:
    """Start `langgraph dev` in a folder, with the checkpointer that servers get.

    Args:
        folder: Empty; gets the server's files.
        agent: Python module that makes ``graph``.
        n_jobs: Runs at the same time.
        environment: Further variables.
    """
    (folder / "load_agent.py").write_text(agent)
    config = {
        "dependencies": ["."],
        "graphs": {"agent": "load_agent:graph"},
        "checkpointer": {"path": "alpha_umi.graph.checkpointers.serve_checkpointer"},
    }
    (folder / "langgraph.json").write_text(json.dumps(config))
    with run_server(folder, n_jobs=n_jobs, environment=environment or {}) as server:
        yield server


@contextmanager
def run_server(folder: Path, *, n_jobs: int = 10, environment: dict[str, str]) -> Iterator[Server]:
    """Start `langgraph dev` in a folder that holds ``langgraph.json``; see `serve`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = {"LANGGRAPH_CLI_NO_ANALYTICS": "1", "LANGGRAPH_NO_VERSION_CHECK": "true", "LANGSMITH_TRACING": "false"}
    command = [str(Path(sys.executable).with_name("langgraph")), "dev", "--no-browser", "--no-reload"]
    command += ["--port", str(port), "--n-jobs-per-worker", str(n_jobs), "--server-log-level", "WARNING"]
    log = folder / "server.log"
    variables = os.environ | settings | environment
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=output, stderr=subprocess.STDOUT)
    server = Server(f"http://127.0.0.1:{port}", process)
    try:
        _wait_until_ready(server, log)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_ready(server: Server, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            if httpx.get(f"{server.url}/ok").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.25)
    raise RuntimeError(f"The server did not start:\n{log.read_text()}")


async def run_load(server: Server, n_threads: int, n_turns: int, *, knows_secrets: bool = True) -> Load:
    """Let threads talk at the same time, each with one question after the other.

    Args:
        server: Where the agent is.
        n_threads: How many.
        n_turns: Questions of each.
        knows_secrets: Whether answers list the secrets, as those of `AGENT` do; else only the threads' states are
            compared with what was said.
    """
    load = Load(n_threads, n_turns)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(get_client(url=server.url))
            for _ in range(-(-n_threads // THREADS_PER_CLIENT))
        ]
        warm = Load(1, 1)
        await _talk(clients[0], "warm", warm, knows_secrets)
        load.start_mb = server.read_memory_mb()
        names = [f"T{i:03}" for i in range(n_threads)]
        talks = [_talk(clients[i % len(clients)], name, load, knows_secrets) for i, name in enumerate(names)]
        await asyncio.gather(*talks)
        load.end_mb = server.read_memory_mb()
    return load


async def _talk(client: LangGraphClient, name: str, load: Load, knows_secrets: bool) -> None:
    thread = str((await client.threads.create())["thread_id"])
    secrets = [f"{name}-{turn}" for turn in range(load.n_turns)]
    for turn, secret in enumerate(secrets):
        start, number = time.perf_counter(), load.n_asked
        load.n_asked += 1
        payload: Any = {"messages": [{"role": "user", "content": secret}]}
        try:
            result: Any = await client.runs.wait(thread, "agent", input=payload, raise_error=False)
        except httpx.HTTPError as error:
            load.n_lost += load.n_turns - turn
            load.faults.append(f"{name}, turn {turn}: {type(error).__name__}")
            return
        load.latencies_s.append(time.perf_counter() - start)
        load.note_answer(number)
        if knows_secrets:
            _check(str(result.get("answer")), secrets[: turn + 1], load)
        elif not result.get("finish"):
            load.n_lost += 1
            load.faults.append(str(result)[:300])
    state: Any = await client.threads.get_state(thread)
    said = [message["content"] for message in state["values"]["messages"] if message["type"] == "human"]
    load.n_lost += len(set(secrets) - set(said))
    load.n_crossed += len(set(said) - set(secrets))


def _check(answer: str, secrets: Sequence[str], load: Load) -> None:
    if answer == f"{' '.join(secrets)} | {' '.join(secrets)}":
        return
    load.n_lost += 1
    load.n_crossed += bool(set(answer.replace(" | ", " ").split()) - set(secrets))
    load.faults.append(answer[:300])


def measure(n_threads: int, n_turns: int, n_jobs: int) -> Load:
    """Serve the scripted agent and let many threads talk to it."""
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder), n_jobs=n_jobs) as server:
        return asyncio.run(run_load(server, n_threads, n_turns))


def measure_local(n_threads: int, n_turns: int) -> Load:
    """Serve a tiny local model with random weights, whose answers say nothing, and let many threads talk to it."""
    with tempfile.TemporaryDirectory() as folder:
        make_tiny_model(Path(folder) / "tiny")
        settings = LOCAL_SETTINGS | {"ALPHA_UMI_MODELS": f"hf:{folder}/tiny"}
        with serve(Path(folder), agent=LOCAL_AGENT, n_jobs=n_threads, environment=settings) as server:
            return asyncio.run(run_load(server, n_threads, n_turns, knows_secrets=False))


def make_tiny_model(folder: Path) -> None:
    """Save a Llama of two layers with a tokenizer of bytes."""
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    vocabulary = {token: i for i, token in enumerate([*control, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(control)
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=control[2], pad_token=control[2])  # type: ignore[no-untyped-call]
    tokenizer.chat_template = load_template("umi")
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=65_536,
        initializer_range=0.3,
        eos_token_id=2,
        pad_token_id=2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def main() -> int:
    """Print the figures; return 1 if something was lost or unfair."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=200)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=10, help="runs at the same time (--n-jobs-per-worker)")
    parser.add_argument("--local", action="store_true", help="with a tiny local model in place of the scripted one")
    options = parser.parse_args()
    if options.local:
        load = measure_local(options.threads, options.turns)
    else:
        load = measure(options.threads, options.turns, options.jobs)
    print(load.describe())
    print("\n".join(load.faults[:5]))
    return 0 if load.is_harmless and load.is_fair else 1


if __name__ == "__main__":
    sys.exit(main())
