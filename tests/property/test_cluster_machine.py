"""Whatever breaks, in whatever order: first anything may go wrong, then nothing more does, and all work must end."""

from __future__ import annotations

import os

import pytest

from cluster_world import NAMES, World
from gswarm.client import agent_events as ev
from gswarm.domain.plan import ClientState

FIRST_SEED = int(os.environ.get("GSWARM_SIM_SEED", "0"))
SEEDS = int(os.environ.get("GSWARM_SIM_COUNT", "150"))
SEEDS_A_TEST = 15
ACTIONS = 260


@pytest.mark.parametrize("first", range(FIRST_SEED, FIRST_SEED + SEEDS, SEEDS_A_TEST))
def test_whatever_breaks_every_step_counts_once_and_all_work_ends(first: int) -> None:
    for seed in range(first, min(first + SEEDS_A_TEST, FIRST_SEED + SEEDS)):
        try:
            world = World(seed)
            for _ in range(ACTIONS):
                world.act()
            world.heal()
            world.check_end()
        except Exception as error:
            error.add_note(f"again: make sim SEED={seed} COUNT=1")
            raise


@pytest.mark.parametrize("seed", range(10))
def test_a_client_that_is_asked_to_leave_leaves_in_a_few_turns_and_others_go_on(seed: int) -> None:
    """Also while there is more work than slots, so that whatever it gives back is granted again at once."""
    world = World(seed)
    world.is_rough = False
    for client in world.clients.values():
        world.connect(client)
    for _ in range(3):
        world.submit()
        for _ in range(seed):
            world.calm_turn()
    leaving = world.clients[NAMES[0]]
    granted = world.grants
    leaving.feed(ev.ShutdownRequested("update"))
    for _ in range(30):
        world.calm_turn()
    assert leaving.has_left
    assert world.state.clients[leaving.name].state is ClientState.LOST
    assert world.grants - granted < 40
    world.heal()
    world.check_end()
