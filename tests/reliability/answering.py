"""Answers agents at random, wrongly and with old answers, kills them meanwhile, and counts what nobody let run."""

import random
import signal
from collections import Counter
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from langchain_core.runnables import RunnableConfig

from alpha_umi.graph.checkpointers import open_checkpointer

JUNK = ["approve", {}, {"decisions": [{"type": "approve", "id": "0"}]}, {"decisions": [{"type": "approve"}] * 9}]
N_ROUNDS, N_LAST_ROUNDS = 12, 20
MAX_WAIT_S = 0.1


@dataclass
class Person:
    """Who answers one thread: what is asked, and what was asked, said and let run so far.

    Where several questions wait, of calls that were cut off side by side, LangGraph wants the answer by its question.
    """

    rng: random.Random
    asked: list[Any] = field(default_factory=list)
    question: str | None = None
    seen: dict[str, Any] = field(default_factory=dict)
    said: list[Any] = field(default_factory=list)
    allowed: set[tuple[str, int]] = field(default_factory=set)

    def read(self, questions: Any) -> None:
        """Look at what is asked; of several questions at the first."""
        self.asked = questions[0].value["action_requests"] if questions else []
        self.question = questions[0].id if len(questions) > 1 else None
        self.seen |= {action["id"]: action for action in self.asked}

    def address(self, value: Any) -> Any:
        """Return an answer as LangGraph wants it."""
        return {self.question: value} if self.question else value

    def reject(self) -> Any:
        """Reject everything."""
        decisions = [{"id": action["id"], "type": "reject"} for action in self.asked]
        return self.address({"decisions": decisions}) if decisions else None

    def answer(self) -> Any:
        """Say something, sensible or not; None says nothing."""
        kind = self.rng.choice(["new", "new", "new", "new", "junk", "old", "nothing"])
        # what names no call counts for any that is asked about, and what the process will ask next is not known
        old = [value for value in self.said if "'id'" in str(value)]
        if kind == "nothing" or (kind == "new" and not self.asked) or (kind == "old" and not old):
            return None
        value = self._decide() if kind == "new" else self.rng.choice(JUNK if kind == "junk" else old)
        self.said.append(value)
        self._note(value)
        return self.address(value)

    def _decide(self) -> Any:
        is_named = self.rng.random() < 0.7
        chosen = self.rng.sample(self.asked, self.rng.randint(1, len(self.asked))) if is_named else self.asked
        return {"decisions": [self._decide_on(action, is_named) for action in chosen]}

    def _decide_on(self, action: Any, is_named: bool) -> Any:
        # a repetition is never let run here, so that every effect takes place once
        kinds = (
            ["reject"]
            if "outcome unknown" in action["description"]
            else ["approve", "approve", "approve", "reject", "edit"]
        )
        decision: Any = {"type": self.rng.choice(kinds)}
        if decision["type"] == "edit":
            decision["edited_action"] = {"args": {"sum": self.rng.randint(100, 999)}}
        return {"id": action["id"], **decision} if is_named else decision

    def _note(self, value: Any) -> None:
        """Note what an answer lets run: what it names, or on the trunk what is asked at this moment."""
        decisions = value.get("decisions", []) if isinstance(value, dict) else []
        for i, decision in enumerate(decisions):
            action = self.seen.get(decision.get("id", ""))
            if "id" not in decision and len(decisions) == len(self.asked):
                action = self.asked[i]
            if action and decision["type"] != "reject":
                args = decision.get("edited_action", action)["args"]
                self.allowed.add((action["tool_call_id"], args["sum"]))


def answer_at_random(where: str, folder: Path, strategy: Any, n_kills: int, seed: int) -> Any:
    """Go on with threads until so many processes were killed; count effects that no answer let take place."""
    killing, agents = import_module("killing"), import_module("approved_agent")
    rng, damage = random.Random(seed), killing.Damage()

    def go_on(thread: str, person: Person, answer: Any, *, is_safe: bool) -> bool:
        """Run the agent once and read what it asks; return whether the thread is finished."""
        victim = killing.Victim(where, folder, target="approved_agent", answer=answer, strategy=strategy)
        is_spared = is_safe or rng.random() < 0.5
        exitcode = victim.run(thread, kill_after_s=None if is_spared else rng.uniform(0, MAX_WAIT_S))
        damage.n_kills += exitcode == -signal.SIGKILL
        damage.n_hangs += exitcode is None
        config: RunnableConfig = {"configurable": {"thread_id": thread}}
        with open_checkpointer(where) as saver:
            state = agents.make_agent(str(folder / thread), strategy, saver).get_state(config)
        person.read(state.interrupts)
        return bool(state.values) and not state.tasks

    for n in range(10 * n_kills):
        if damage.n_kills >= n_kills and damage.n_effects:
            break
        thread, person = f"{strategy}-{n}", Person(rng)
        is_done = False
        for _ in range(N_ROUNDS):
            is_done = is_done or go_on(thread, person, person.answer(), is_safe=False)
        for _ in range(N_LAST_ROUNDS):
            is_done = is_done or go_on(thread, person, person.reject(), is_safe=True)
        damage.n_lost += not is_done
        path = folder / thread
        lines = Counter(path.read_text().splitlines() if path.exists() else ())
        effects = {(id, int(sum)): n for (id, sum), n in ((line.split(), n) for line, n in lines.items())}
        damage.n_unapproved += sum(effect not in person.allowed for effect in effects)
        damage.n_doubled += sum(n > 1 for n in effects.values())
        damage.n_effects += len(effects)
    return damage
