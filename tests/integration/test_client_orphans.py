"""A client that is killed leaves no trainer process behind, whatever that process does at the moment."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import psutil
import pytest
from client_rig import FAKE_TRAINER, rig

CLIENT = """
import json, sys
from gswarm.client.daemon import ClientSettings, run_client
from gswarm.domain.config import ClientConfig
values = json.loads(sys.argv[1])
settings = ClientSettings(trainer_command=tuple(values["trainer"]), pool_port=values["pool_port"], grace_s=5.0, sampler_command=None)
config = ClientConfig(host=values["host"], name="a", slots="cpu:1", data_dir=values["data_dir"], log_format="json")
sys.exit(run_client(config, insecure=True, settings=settings))
"""


async def start(address: str, pool_port: int, data_dir: Path) -> asyncio.subprocess.Process:
    values = {"host": address, "pool_port": pool_port, "data_dir": str(data_dir), "trainer": FAKE_TRAINER}
    command = (sys.executable, "-c", CLIENT, json.dumps(values))
    return await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)


@pytest.mark.e2e
async def test_kill_9_of_the_client_ends_its_trainer_and_a_restart_works(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        address = f"127.0.0.1:{r.server.port}"
        client = await start(address, r.pool_port, r.data_dir)
        await r.host.connected()
        r.host.say(r.grant("r1", 0, 90, does="slow"))
        await r.host.until(lambda: bool(r.host.metrics_rows))
        [trainer] = psutil.Process(client.pid).children()
        client.kill()
        await client.communicate()
        await asyncio.to_thread(trainer.wait, 10)
        again = await start(address, r.pool_port, r.data_dir)
        await r.host.connected(2)
        assert r.host.registers[1].held == ()
        assert r.host.registers[1].incarnation != r.host.registers[0].incarnation
        again.terminate()
        _, log = await asyncio.wait_for(again.communicate(), 20)
        assert again.returncode == 0
        assert {json.loads(line)["client"] for line in log.decode().splitlines() if line.startswith("{")} == {"a"}
        snapshots = list((r.data_dir / "clients/a/snapshots").iterdir())
        assert not snapshots


@pytest.mark.e2e
async def test_a_trainer_that_outlives_its_client_ends_before_the_next_one_starts(tmp_path: Path) -> None:
    """It hears nothing and is not told by the kernel, like one that waits for its GPU's driver: the slot's lock gives it away."""
    async with rig(tmp_path) as r:
        address = f"127.0.0.1:{r.server.port}"
        client = await start(address, r.pool_port, r.data_dir)
        await r.host.connected()
        r.host.say(r.grant("r1", 0, 90, does="hang@3"))
        await r.host.until(lambda: any(row.step == 3 for row in r.host.metrics_rows))
        [orphan] = psutil.Process(client.pid).children()
        client.kill()
        await client.communicate()
        assert orphan.is_running()
        again = await start(address, r.pool_port, r.data_dir)
        await r.host.connected(2)
        r.host.say(r.grant("r2", 0, 90, does="slow"))
        await r.host.until(lambda: any(row.run == "r2" for row in r.host.metrics_rows))
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE
        again.terminate()
        _, log = await asyncio.wait_for(again.communicate(), 20)
        assert f"process {orphan.pid}, which an earlier client started, still holds slot-0: it is killed" in log.decode()
