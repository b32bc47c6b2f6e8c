"""What another client may fetch from this one, with a host and a clock that the test plays."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from gswarm.client import peer_rights
from gswarm.client.peer_rights import ASK_INTERVAL_S, KEPT_S, PeerRights
from gswarm.datapool.manifest import ingest_folder
from gswarm.datapool.memory import MemoryStore
from gswarm.domain.errors import ForbiddenError, UnavailableError
from gswarm.domain.ids import ClientName, Digest
from gswarm.wire.tls import Peer

B, C = Peer("b", "client", "1"), Peer("c", "client", "1")


@dataclass
class World:
    store: MemoryStore
    manifest: Digest
    entries: list[Digest]
    may: dict[Peer, tuple[Digest, ...]] = field(default_factory=dict)
    now_s: float = 100.0
    asked: list[tuple[float, str]] = field(default_factory=list)
    superseded: set[str] = field(default_factory=set)
    is_away: bool = False

    def rights(self) -> PeerRights:
        return PeerRights(self.ask, self.store, lambda: self.now_s, self.sleep)

    async def ask(self, client: ClientName, enrolment: str) -> Sequence[Digest]:
        self.asked.append((self.now_s, client))
        await asyncio.sleep(0)
        if self.is_away:
            raise UnavailableError("the host is away")
        return () if enrolment in self.superseded else self.may.get(Peer(client, "client"), ())

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def world(tmp_path: Path) -> World:
    store = MemoryStore()
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.bin").write_text(f"weights {number}")
    digest, manifest = ingest_folder(store, "checkpoint", folder)
    return World(store, digest, [entry.digest for entry in manifest.entries])


async def test_a_manifest_of_a_grant_opens_itself_and_what_it_names_for_that_client_only(world: World) -> None:
    world.may[B] = (world.manifest,)
    rights = world.rights()
    for digest in (world.manifest, *world.entries):
        await rights.check(B, digest)
        with pytest.raises(ForbiddenError):
            await rights.check(C, digest)
    with pytest.raises(ForbiddenError):
        await rights.check(B, Digest("0" * 64))
    assert rights.refused_count == 4


async def test_an_answer_is_believed_for_a_moment_and_a_refusal_is_always_fresh(world: World) -> None:
    rights = world.rights()
    with pytest.raises(ForbiddenError):
        await rights.check(B, world.manifest)
    world.may[B] = (world.manifest,)
    world.now_s += 0.001
    await rights.check(B, world.manifest)
    asked = len(world.asked)
    for _ in range(50):
        await rights.check(B, world.entries[0])
    assert len(world.asked) == asked
    del world.may[B]
    await rights.check(B, world.manifest)
    world.now_s += KEPT_S
    with pytest.raises(ForbiddenError):
        await rights.check(B, world.manifest)


async def test_what_a_name_may_fetch_is_nothing_to_the_machine_that_had_it_before(world: World) -> None:
    world.may[B] = (world.manifest,)
    world.superseded.add("0")
    rights = world.rights()
    for _ in range(2):
        await rights.check(B, world.manifest)
        with pytest.raises(ForbiddenError):
            await rights.check(Peer("b", "client", "0"), world.manifest)


async def test_a_greedy_client_makes_no_flood_of_questions(world: World) -> None:
    rights = world.rights()
    answers = await asyncio.gather(*(rights.check(B, Digest(f"{number:064x}")) for number in range(200)), return_exceptions=True)
    assert all(isinstance(answer, ForbiddenError) for answer in answers)
    times = [at_s for at_s, _client in world.asked]
    assert len(times) <= 3
    assert all(later - earlier >= ASK_INTERVAL_S for earlier, later in pairwise(times))


async def test_without_the_host_nothing_is_given_away(world: World) -> None:
    world.may[B] = (world.manifest,)
    rights = world.rights()
    world.is_away = True
    with pytest.raises(UnavailableError):
        await rights.check(B, world.manifest)
    world.is_away = False
    await rights.check(B, world.manifest)


async def test_answers_are_forgotten_at_the_limit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_rights, "ANSWERS_MAX", 3)
    rights = world.rights()
    for number in range(10):
        peer = Peer(f"n{number}", "client")
        world.may[peer] = (world.manifest,)
        await rights.check(peer, world.manifest)
    assert len(rights._answers) == 3
