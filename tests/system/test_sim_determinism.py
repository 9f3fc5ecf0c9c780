"""A seed is a run: fresh processes do the same under it, whatever their hashes of strings and their addresses are."""

import subprocess
import sys
from pathlib import Path

from tests.planted.unmeasured import unmeasured

SHOP = Path(__file__).parents[2] / "examples" / "shop"
TOKENS = ("hostile-1", "power-2", "deploy-3", "flaky-4")

RUNS = """
import msgspec, sys
sys.path.insert(0, {shop!r})
junk = [bytearray(hash(str(n)) % 999) for n in range(hash("junk") % 20_000)]
from worlds import checkout
from hanse.sim.run import run_once
from hanse.sim.simulation import simulation_of
from hanse.sim.token import Token
short = msgspec.structs.replace(simulation_of(checkout), seconds=15.0)
for token in {tokens!r}:
    outcome = run_once(short, Token.parse(token))
    print(token, outcome.hash, outcome.steps, outcome.packets, sorted(outcome.reached), outcome.violations)
"""


def runs(*tokens: str, hash_seed: str) -> list[str]:
    """What some runs came to, one after the other in a process of their own; by token."""
    program = RUNS.format(shop=str(SHOP), tokens=tokens)
    env = {**unmeasured(), "PYTHONHASHSEED": hash_seed}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return sorted(done.stdout.splitlines())


def test_fresh_processes_do_the_same_whatever_they_did_before() -> None:
    one = runs(*TOKENS, hash_seed="1")
    assert [line.split()[0] for line in one] == sorted(TOKENS)
    assert one == runs(*reversed(TOKENS), hash_seed="4711")
    assert one[-1:] == runs("power-2", hash_seed="31415")
