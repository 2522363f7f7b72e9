"""Many ensembles on one server, with streams that are cut at random and a server that is killed again and again."""

import asyncio
import os
import secrets
from pathlib import Path
from random import Random

import pytest

pytest.importorskip("grpc", reason="the service needs the extra `service`")

from tests.chaos.world import World


async def chaos(folder, ensembles, jobs, kills, agent_kills, seed):
    random = Random(seed)
    async with World(folder, ensembles, jobs, random) as world:
        await world.submit()
        total, moments = ensembles * jobs, kills + agent_kills
        which = ["server"] * kills + ["agent"] * agent_kills
        random.shuffle(which)
        for number, what in enumerate(which, 1):
            # spread over the whole, at no particular moment
            least = total * number // (moments + 2)
            await world.until(lambda least=least: world.ended() >= least, f"{least} jobs have ended", 300)
            await asyncio.sleep(random.random() * 0.3)
            one = world.server if what == "server" else random.choice(world.agents)
            one.kill()
            one.start()
        await world.until(lambda: world.ended() >= total, "all jobs have ended", 300)
        await world.until(lambda: len(world.over()) == ensembles, "all runs are over", 120)
        assert await asyncio.to_thread(world.server.end) == 0
        for name in world.names:
            await asyncio.to_thread(world.check, name)
        await world.until(lambda: not world.left(), "nobody is left behind", 20)
        cuts = sum(cutter.cuts for cutter in world.cutters)
    assert cuts, "nothing was ever cut"
    print(f"{ensembles} ensembles x {jobs} jobs, {kills} kills of the server, {agent_kills} of agents, {cuts} cuts")


def seeded():
    seed = int(os.environ.get("ENSEMBLE_CHAOS_SEED", "0")) or secrets.randbelow(1 << 31)
    print(f"ENSEMBLE_CHAOS_SEED={seed} repeats its choices")
    return seed


def test_twenty_ensembles_of_a_hundred_jobs_survive_cuts_and_kills(tmp_path: Path):
    asyncio.run(chaos(tmp_path, 20, 100, 5, 0, seeded()))


def test_twenty_ensembles_survive_when_agents_are_killed_too(tmp_path: Path):
    asyncio.run(chaos(tmp_path, 20, 100, 5, 10, seeded()))
