"""What a client says of other people's processes reaches the plan, once, and only about its own slots."""

from __future__ import annotations

from pathlib import Path

from host_rig import rig

from gswarm.domain.errors import InvalidInputError
from gswarm.domain.ids import SlotId
from gswarm.domain.messages import OutsidersSeen
from gswarm.scheduler.explain import explain_slot


async def test_occupied_slots_are_known_until_they_are_free(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        client = await r.connected("a", slots=2)
        client.send(OutsidersSeen(((1, "anna"),)))
        await client.hear()
        assert {slot_id: slot.outsider for slot_id, slot in r.state.slots.items()} == {"a/0": "", "a/1": "anna"}
        assert explain_slot(r.state, SlotId("a/1"), r.clock.now_s()).code == "outsiders"
        before = r.loop.seq
        client.send(OutsidersSeen(((1, "anna"),)))
        await client.hear()
        assert r.loop.seq == before, "what is known is not journaled again"
        client.send(OutsidersSeen(()))
        await client.hear()
        assert r.state.slots[SlotId("a/1")].outsider == ""


async def test_a_client_speaks_of_its_own_slots_only(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        await r.connected("b", slots=2)
        client = await r.connected("a")
        client.send(OutsidersSeen(((1, "anna"),)))
        assert isinstance(await client.ended(), InvalidInputError)
        assert not any(slot.outsider for slot in r.state.slots.values())
