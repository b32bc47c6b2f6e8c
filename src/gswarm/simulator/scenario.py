"""What a seed stands for: a cluster, and a list of things that happen to it. Any part of the list makes a simulation of its own."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from gswarm.domain.ids import ClientName


class Kind(StrEnum):
    """What can happen. ``PEOPLE`` are a person's doing, the others are ``FAULTS`` or ``DISORDER``."""

    SUBMIT = "a person submits an experiment"
    OPERATE = "a person stops, resumes, deletes or restores a run"
    OPERATE_ALL = "a person stops, resumes, deletes or restores an experiment"
    CLONE = "a person clones a run"
    ASK_JOB = "a person asks for a verification or an export"
    DRAIN = "a person drains a client, or gives it work again"
    CUT = "a client's connections are reset"
    PARTITION = "a client and the others do not reach each other"
    PARTITION_IN = "a client hears nothing"
    PARTITION_OUT = "a client is not heard"
    FREEZE_CLIENT = "a client stands still"
    FREEZE_HOST = "the host stands still"
    KILL_CLIENT = "a client is killed"
    KILL_HOST = "the host is killed"
    STOP_HOST = "the host is stopped and started"
    LEAVE = "a client is asked to leave"
    TRAP_FLUSH = "something happens around the host's next flush"
    TRAP_HOST_EFFECT = "the host is killed between two effects"
    TRAP_CLIENT_EFFECT = "a client is killed between two effects"
    FULL_DISK = "a disk is full"
    SLOW_DISK = "a disk is slow"
    CLOCK_STEP = "a wall clock is set"
    TRAINER_DIES = "a trainer process dies"
    RANGE_FAILS = "a range fails"
    EVICT = "a trainer process lets go of what it holds"
    FULL_SNAPSHOTS = "a client has no room for snapshots"
    LOSE_COPIES = "the host loses blobs that nothing refers to yet"
    SWEEP = "a person asks for a sweep"
    HALF_OPEN = "what a client says gets stuck, and arrives when it speaks on a new connection"
    REPEAT = "calls arrive twice"


PEOPLE = (Kind.SUBMIT, Kind.OPERATE, Kind.OPERATE_ALL, Kind.CLONE, Kind.ASK_JOB, Kind.DRAIN, Kind.SWEEP)
_PEOPLE_WEIGHTS = (4, 6, 1, 3, 2, 2, 1)
DISORDER = (Kind.HALF_OPEN, Kind.REPEAT)
"""Faults of the network that are drawn apart: without them a seed is what it was before there were any."""
FAULTS = tuple(kind for kind in Kind if kind not in (*PEOPLE, *DISORDER))


@dataclass(frozen=True, slots=True)
class Happening:
    """``salt`` seeds what is drawn when it happens (which run, how long), so that it does not depend on the other happenings."""

    at_s: float
    kind: Kind
    salt: str

    def random(self) -> Random:
        return Random(self.salt)  # noqa: S311 - a simulation must be repeatable


@dataclass(frozen=True, slots=True)
class ClientShape:
    name: ClientName
    slots: int
    step_s: float
    """Seconds of one step on its devices."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A cluster and what happens to it. Times are virtual seconds."""

    seed: int
    clients: tuple[ClientShape, ...]
    latency_s: float
    lease_timeout_s: float
    undo_window_s: float
    snapshot_every_events: int
    entries_kept: int
    """Of the journal, however old they are."""
    queued_events_max: int
    rough_s: float
    """So long things happen; then they are healed and everything must end."""
    happenings: tuple[Happening, ...]

    def stream(self, name: str) -> Random:
        """A random source of its own for each part, so that one part's draws do not move another's."""
        return Random(f"{self.seed}/{name}")  # noqa: S311


def draw(seed: int) -> Scenario:
    """The seed's scenario."""
    random = Random(f"{seed}/scenario")  # noqa: S311
    clients = tuple(
        ClientShape(ClientName("abcd"[index]), random.choice((1, 1, 2, 3)), random.choice((0.2, 0.5, 1.0, 2.5)))
        for index in range(random.choice((1, 2, 2, 3, 3, 4)))
    )
    rough_s = random.uniform(20.0, 70.0)
    return Scenario(
        seed=seed,
        clients=clients,
        latency_s=random.choice((0.001, 0.01, 0.05, 0.3)),
        lease_timeout_s=random.choice((8.0, 15.0)),
        undo_window_s=random.choice((2.0, 10.0, 40.0)),
        snapshot_every_events=random.choice((5, 20, 60, 2_000)),
        entries_kept=random.choice((0, 10, 10_000)),
        queued_events_max=random.choice((4, 50, 10_000)),
        rough_s=rough_s,
        happenings=_happenings(random, seed, rough_s),
    )


def _happenings(random: Random, seed: int, rough_s: float) -> tuple[Happening, ...]:
    kinds = [Kind.SUBMIT]
    kinds += random.choices(PEOPLE, _PEOPLE_WEIGHTS, k=random.randint(3, 18))
    # Few kinds at a time, often: what one of them does must not hide behind the others.
    kinds += random.choices(random.sample(FAULTS, random.randint(1, 8)), k=random.randint(0, 14))
    times_s = [random.uniform(0.5, 3.0), *(random.uniform(0.0, rough_s) for _ in kinds[1:])]
    drawn = [Happening(at_s, kind, f"{seed}/{index}") for index, (at_s, kind) in enumerate(zip(times_s, kinds, strict=True))]
    return tuple(sorted([*drawn, *_disorder(seed, rough_s)], key=lambda one: one.at_s))


def _disorder(seed: int, rough_s: float) -> list[Happening]:
    random = Random(f"{seed}/disorder")  # noqa: S311
    kinds = random.choices(DISORDER, k=random.choice((0, 0, 1, 2, 4)))
    return [Happening(random.uniform(0.0, rough_s), kind, f"{seed}/disorder/{index}") for index, kind in enumerate(kinds)]
