"""What goes wrong: each kind of fault once it is its time, and the healing of all of them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING

from gswarm.datapool.pins import Pins
from gswarm.datapool.sweep import sweep
from gswarm.simulator.disk import FlushTrap
from gswarm.simulator.process import Machine, Process
from gswarm.simulator.scenario import Happening, Kind

if TYPE_CHECKING:
    from gswarm.simulator.world import SimClient, World

CLOCK_STEP_S = 3_600.0
EFFECTS_MAX = 6
SLOW_S = (0.5, 8.0)
LOOKED_AT_S = 1.0


class Faults:
    """Carries out the happenings that are no person's doing. Each heals by itself after a while; ``heal`` ends them all."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._blocked: list[tuple[Machine, Machine]] = []
        client, host = self._at_client, self._at_host
        self._acts: dict[Kind, Callable[[Random], None]] = {
            Kind.CUT: client(lambda one, random: world.network.cut(one.machine)),
            Kind.PARTITION: client(lambda one, random: self._partition(one, random, hears=False, is_heard=False)),
            Kind.PARTITION_IN: client(lambda one, random: self._partition(one, random, hears=False, is_heard=True)),
            Kind.PARTITION_OUT: client(lambda one, random: self._partition(one, random, hears=True, is_heard=False)),
            Kind.FREEZE_CLIENT: client(lambda one, random: self._freeze(one.machine.process, random)),
            Kind.FREEZE_HOST: host(self._freeze),
            Kind.KILL_CLIENT: client(lambda one, random: _kill(one.machine.process)),
            Kind.KILL_HOST: host(lambda process, random: _kill(process)),
            Kind.STOP_HOST: host(lambda process, random: self._stop_host(process)),
            Kind.LEAVE: client(lambda one, random: _leave(one)),
            Kind.TRAP_FLUSH: self._trap_flush,
            Kind.TRAP_HOST_EFFECT: host(_trap_effect),
            Kind.TRAP_CLIENT_EFFECT: client(lambda one, random: _trap_effect(one.machine.process, random)),
            Kind.FULL_DISK: self._fill_disk,
            Kind.SLOW_DISK: self._slow_disk,
            Kind.CLOCK_STEP: self._step_clock,
            Kind.TRAINER_DIES: client(_trainer_dies),
            Kind.RANGE_FAILS: client(_range_fails),
            Kind.EVICT: client(_evict),
            Kind.FULL_SNAPSHOTS: client(self._fill_snapshots),
            Kind.LOSE_COPIES: lambda random: self._lose_copies(),
            Kind.HALF_OPEN: client(self._half_open),
            Kind.REPEAT: self._repeat,
        }

    def act(self, happening: Happening) -> None:
        self._acts[happening.kind](happening.random())

    def heal(self) -> None:
        """Nothing is wrong any more, and nothing goes wrong from now on."""
        world = self._world
        for source, target in self._blocked:
            world.network.unblock(source, target)
        self._blocked.clear()
        world.network.heal()
        world.host.disk.trap = None
        for machine in world.machines:
            machine.is_disk_full, machine.slow_disk_s, machine.wall_offset_s = False, 0.0, 0.0
            if machine.process is not None:
                machine.process.effects_left = None
                machine.process.thaw()
        for client in world.clients.values():
            if client.program is not None:
                client.program.snapshots.is_full = False
                for trainer in client.program.trainers.running.values():
                    trainer.fails_next = False

    # ---- where -----------------------------------------------------------------------------------------------------

    def _at_client(self, act: Callable[[SimClient, Random], None]) -> Callable[[Random], None]:
        return lambda random: act(random.choice(list(self._world.clients.values())), random)

    def _at_host(self, act: Callable[[Process | None, Random], None]) -> Callable[[Random], None]:
        return lambda random: act(self._world.host.machine.process, random)

    def _machine(self, random: Random) -> Machine:
        return random.choice([self._world.host.machine, *(client.machine for client in self._world.clients.values())])

    def _some_s(self, random: Random) -> float:
        """Sometimes shorter and sometimes longer than a lease."""
        return self._world.scenario.lease_timeout_s * random.choice((0.1, 0.5, 1.2, 3.0))

    def _later(self, random: Random, undo: Callable[[], None]) -> None:
        self._world.heap.after(self._some_s(random), undo)

    # ---- what ------------------------------------------------------------------------------------------------------

    def _partition(self, client: SimClient, random: Random, *, hears: bool, is_heard: bool) -> None:
        host = self._world.host.machine
        everybody = [one for one in self._world.machines if one is not client.machine]
        # From everybody, from the host, or only from one of the other clients, whose checkpoints it may want.
        others = random.choice((everybody, [host], [random.choice(everybody)]))
        ways = [(other, client.machine) for other in others if not hears] + [(client.machine, other) for other in others if not is_heard]
        for way in ways:
            self._world.network.block(*way)
            self._blocked.append(way)
        self._later(random, lambda: self._open(ways))

    def _open(self, ways: list[tuple[Machine, Machine]]) -> None:
        for way in ways:
            if way in self._blocked:
                self._blocked.remove(way)
                self._world.network.unblock(*way)

    def _half_open(self, client: SimClient, random: Random) -> None:
        process, network = client.machine.process, self._world.network
        stuck_s, late_s = self._some_s(random), self._some_s(random)
        match random.randrange(4):
            case 0:
                network.half_open(client.machine, stuck_s, late_s, lambda: _kill(process))
            case 1:
                network.half_open(client.machine, stuck_s, late_s, lambda: None)
            case _:
                network.half_open_next(client.machine, stuck_s, late_s)

    def _repeat(self, random: Random) -> None:
        self._world.network.is_repeating = True
        self._later(random, lambda: setattr(self._world.network, "is_repeating", False))

    def _freeze(self, process: Process | None, random: Random) -> None:
        if process is not None and not process.is_frozen:
            process.freeze()
            self._world.network.process_froze(process)
            freezes = process.freezes
            self._later(random, lambda: process.thaw() if process.freezes == freezes else None)

    def _stop_host(self, process: Process | None) -> None:
        program = self._world.host.program
        if process is not None and program is not None and not process.is_frozen:
            process.create_task(program.stop(), name="stop")

    def _trap_flush(self, random: Random) -> None:
        self._world.host.disk.trap = random.choice(list(FlushTrap))

    def _fill_disk(self, random: Random) -> None:
        machine = self._machine(random)
        machine.is_disk_full = True
        self._later(random, lambda: setattr(machine, "is_disk_full", False))

    def _slow_disk(self, random: Random) -> None:
        machine = self._machine(random)
        machine.slow_disk_s = random.uniform(*SLOW_S)
        self._later(random, lambda: setattr(machine, "slow_disk_s", 0.0))

    def _step_clock(self, random: Random) -> None:
        self._machine(random).wall_offset_s = random.choice((-CLOCK_STEP_S, 0.0, CLOCK_STEP_S))

    def _lose_copies(self) -> None:
        """As by a sweep for which an upload took too long; what was looked at just now is safe, it may be about to become a root."""
        machine, store, process = self._world.host.machine, self._world.host.store, self._world.host.machine.process
        is_slow = machine.slow_disk_s > 0 or process is None or process.is_frozen or process.thawed_s > machine.heap.now_s - LOOKED_AT_S
        if not is_slow:
            sweep(store, self._world.plan.live_roots(), Pins(), machine.wall_s(), LOOKED_AT_S)

    def _fill_snapshots(self, client: SimClient, random: Random) -> None:
        program = client.program
        if program is not None:
            program.snapshots.is_full = True
            self._later(random, lambda: setattr(program.snapshots, "is_full", False))


def _kill(process: Process | None) -> None:
    if process is not None:
        process.die()


def _leave(client: SimClient) -> None:
    process, program = client.machine.process, client.program
    if process is not None and program is not None:
        process.call_soon(program.loop.shut_down, "a person asks for it")


def _trap_effect(process: Process | None, random: Random) -> None:
    if process is not None:
        process.effects_left = random.randrange(EFFECTS_MAX)


def _trainer_dies(client: SimClient, random: Random) -> None:
    if client.program is not None and client.program.trainers.running:
        client.program.trainers.crash(random.choice(sorted(client.program.trainers.running)))


def _range_fails(client: SimClient, _random: Random) -> None:
    if client.program is not None:
        for trainer in client.program.trainers.running.values():
            trainer.fails_next = True


def _evict(client: SimClient, _random: Random) -> None:
    if client.program is not None:
        for trainer in client.program.trainers.running.values():
            trainer.hot.clear()
