"""Kill -9 at chosen and at random moments: no effect twice, no thread lost, and the model is told what is not known."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

EFFECT = "killed_agent:append"
LEDGER = "alpha_umi.nodes.durability.ledger:SqliteLedger"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("kill", "n_effects", "n_unknown"),
    [
        pytest.param(("before", f"{LEDGER}.begin", 2), 3, 0, id="before the intent is recorded"),
        pytest.param(("after", f"{LEDGER}.begin", 2), 2, 1, id="between the intent and the tool"),
        pytest.param(("before", EFFECT, 2), 2, 1, id="in the tool before its effect"),
        pytest.param(("after", EFFECT, 2), 3, 1, id="in the tool after its effect"),
        pytest.param(("before", f"{LEDGER}.finish", 2), 3, 1, id="before the observation is recorded"),
        pytest.param(("after", f"{LEDGER}.finish", 2), 3, 0, id="before the observation is saved"),
    ],
)
def test_kill_at_a_chosen_moment_doubles_no_effect(
    kill: Any, n_effects: int, n_unknown: int, is_async: bool, tmp_path: Path
) -> None:
    killing = import_module("killing")
    victim = killing.Victim(str(tmp_path / "threads.sqlite"), tmp_path, n_steps=3, is_async=is_async)
    assert victim.run("t", kill=kill) == -signal.SIGKILL
    assert victim.run("t") == 0
    damage = killing.Damage()
    victim.examine("t", 3, damage)
    assert damage.is_none, damage
    assert (victim.read_effects("t").total(), damage.n_unknown) == (n_effects, n_unknown)


@pytest.mark.parametrize("durability", ["async", "sync"])
def test_kill_at_random_moments_doubles_no_effect(durability: str, tmp_path: Path) -> None:
    killing = import_module("killing")
    victim = killing.Victim(str(tmp_path / "threads.sqlite"), tmp_path, n_steps=5, n_calls=2, durability=durability)
    damage = killing.kill_at_random(victim, n_kills=5, n_calls=10, seed=7)
    assert damage.n_kills == 5
    assert damage.is_none, damage


def test_kill_on_postgres_doubles_no_effect(postgres: str, tmp_path: Path) -> None:
    killing = import_module("killing")
    victim = killing.Victim(postgres, tmp_path, n_steps=5)
    damage = killing.kill_at_random(victim, n_kills=3, n_calls=5, seed=7)
    assert damage.n_kills == 3
    assert damage.is_none, damage
