"""Strangers, typos, slow files and crashes in a real Flux, and that none of them costs more than it must."""

from __future__ import annotations

import json

from ensemble.testing.bench import Bench, live
from tests.flux import test_faults as faults
from tests.flux.test_faults import another, downs

flux, harness = faults.flux, faults.harness


class TestStrangers:
    @live
    async def test_jobs_of_others_may_bear_whatever_their_owners_like(self, bench: Bench) -> None:
        with another() as own:
            options = {"uri": own.uri}
            member = await bench.open(options=options)
            spec = json.loads(own.run("submit", "--dry-run", "true"))
            path = bench.harness.folder / "odd.json"
            for odd in ("text", 5, None, ["a"], {"ensemble": 5}, {"ensemble": {"token": 5}}):
                spec["attributes"]["user"] = odd
                path.write_text(json.dumps(spec))
                assert own.run("job", "submit", str(path)).strip()
            assert (await bench.run(member, bench.harness.job("a-0"))).outcome == "success"
            # nor do they stand in the way of who comes later and reads of them in the history
            member = await bench.reopen(member, options=options)
            assert (await bench.run(member, bench.harness.job("b-0"))).outcome == "success"
            assert not downs(bench)
            await bench.close(member, "detach")
