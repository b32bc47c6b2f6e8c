"""One session of ``gswarm chaos``: deeds drawn from a seed, one at a time, and a look at the work after each."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gswarm.cli.chaos_deeds import Deed, Target, commit, local_clients, targets
from gswarm.cli.output import Json
from gswarm.domain.errors import ConflictError, GswarmError, NotFoundError, UnavailableError

if TYPE_CHECKING:
    from gswarm.sdk import Host

GOES_ON_S = 300.0
"""How long the work may take to go on after a deed: a lease, a restart, loading a base and a chunk."""
LOOK_EVERY_S = 0.5
WORKING = frozenset({"queued", "running", "stopping"})
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to draw from, how long and how often.

    Args:
        every_s: mean pause between the end of one deed and the next one.
        freeze_s: how long a frozen process stands still.
        goes_on_s: how long the work may take to go on.
    """

    deeds: tuple[Deed, ...]
    for_s: float
    every_s: float
    freeze_s: float
    seed: int
    goes_on_s: float = GOES_ON_S


@dataclass(slots=True)
class Report:
    """What was done and what came of it. ``faults`` are what must not happen."""

    seed: int
    deeds: list[Json] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    runs: list[Json] = field(default_factory=list)
    refused_reports: int = 0

    def document(self) -> Json:
        counts = Counter(deed["deed"] for deed in self.deeds)
        return {
            "seed": self.seed,
            "ok": not self.faults,
            "counts": dict(sorted(counts.items())),
            "refused_reports": self.refused_reports,
            "deeds": self.deeds,
            "runs": self.runs,
            "faults": self.faults,
        }


class Session:
    """Disturbs the clients that run from ``homes`` and that the host is connected with.

    Args:
        ca_pem: of the host's cluster, if it is known here.
        say: takes a line for people.
        clock_s, sleep: time, which tests make up.
    """

    def __init__(
        self,
        host: Host,
        homes: Sequence[Path],
        ca_pem: bytes | None,
        plan: Plan,
        say: Say,
        clock_s: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._host = host
        self._homes = homes
        self._ca_pem = ca_pem
        self._plan = plan
        self._say = say
        self._clock_s = clock_s
        self._sleep = sleep
        self._draw = random.Random(plan.seed)  # noqa: S311 - the same seed must draw the same deeds
        self.report = Report(plan.seed)

    def possible(self) -> list[Target]:
        """What could be done now."""
        connected = {client["name"] for client in self._host.clients() if client["connected"]}
        clients = [client for client in local_clients(self._homes, self._ca_pem) if client.name in connected]
        return [target for target in targets(clients) if target.deed in self._plan.deeds]

    def run(self) -> None:
        """Until the time is over, all work is done, the work does not go on, or Ctrl-C.

        Raises:
            ConflictError: nothing trains.
            NotFoundError: no client of this machine is connected.
        """
        before = self._positions()
        if not before:
            raise ConflictError("nothing trains, so nothing can be disturbed", "submit an experiment first")
        if not self.possible():
            raise NotFoundError("no client of this host runs here from that data dir, under this account", "name its --data-dir")
        refused = int(self._host.ready()["refused_reports"])
        try:
            self._disturb_all()
        except KeyboardInterrupt:
            self._say("stopped; nothing more is disturbed")
        self.report.refused_reports = int(self._host.ready()["refused_reports"]) - refused
        after = {run["id"]: run["position"] for run in self._host.runs()}
        self.report.runs = [
            {"run": run, "from": before.get(run, 0), "to": position} for run, position in after.items() if position > before.get(run, 0)
        ]

    def _disturb_all(self) -> None:
        began_s = self._clock_s()
        while (elapsed_s := self._clock_s() - began_s) < self._plan.for_s and not self.report.faults:
            if not self._positions():
                self._say("all work is done")
                break
            target = self._next_target()
            if target is not None:
                self._disturb(target, elapsed_s)
            pause_s = self._plan.every_s * self._draw.uniform(0.5, 1.5)
            self._sleep(max(0.0, min(pause_s, began_s + self._plan.for_s - self._clock_s())))

    def verify(self) -> None:
        """Every run that trained meanwhile is trained again without interruption."""
        for row in self.report.runs:
            self._say(f"verifying {row['run']} up to step {row['to']}")
            job = self._host.wait_for_job(self._host.verify_run(row["run"])["id"])
            row["identical"] = job["failure"] is None and job["result"]["identical"]
            if not row["identical"]:
                why = job["failure"]["message"] if job["failure"] is not None else "its weights differ from uninterrupted training"
                self.report.faults.append(f"run {row['run']}: {why}")

    def _next_target(self) -> Target | None:
        """Kind first, so that a machine with many slots does not mean that only trainers are hit."""
        possible = self.possible()
        kinds = [deed for deed in self._plan.deeds if any(target.deed is deed for target in possible)]
        if not kinds:
            return None
        kind = self._draw.choice(kinds)
        return self._draw.choice([target for target in possible if target.deed is kind])

    def _disturb(self, target: Target, elapsed_s: float) -> None:
        self._say(f"{elapsed_s:6.0f} s  {target}")
        lowest = self._positions()
        outcome = "done"
        try:
            commit(target, self._plan.freeze_s)
        except NotFoundError:
            outcome = "it had ended by itself"
        except GswarmError as error:
            outcome = str(error)
            self.report.faults.append(f"{target}: {error}")
        over_s = self._clock_s()
        self._await_progress(target, lowest)
        deed = {"at_s": round(elapsed_s, 1), "deed": target.deed.value, "client": target.client, "pid": target.process.pid}
        self.report.deeds.append({**deed, "outcome": outcome, "went_on_after_s": round(self._clock_s() - over_s, 1)})

    def _await_progress(self, target: Target, lowest: dict[str, int]) -> None:
        """Until the client is back and a chunk counted that did not before, or nothing is left to do."""
        deadline_s = self._clock_s() + self._plan.goes_on_s
        seen: dict[str, int] | None = None
        while self._clock_s() < deadline_s:
            try:
                positions = self._positions()
                is_back = self._host.client(target.client)["connected"]
            except UnavailableError:
                self._sleep(LOOK_EVERY_S)
                continue
            back = [run for run, position in positions.items() if position < lowest.get(run, 0)]
            if back:
                self.report.faults.append(f"{target}: steps of {', '.join(back)} that counted do not count any more")
                return
            seen = positions if seen is None else seen
            if is_back and (positions.keys() != seen.keys() or sum(positions.values()) > sum(seen.values()) or not positions):
                return
            self._sleep(LOOK_EVERY_S)
        self.report.faults.append(f"{target}: the work did not go on within {self._plan.goes_on_s:.0f} s")

    def _positions(self) -> dict[str, int]:
        """Of the runs that are not over."""
        return {run["id"]: run["position"] for run in self._host.runs() if run["state"] in WORKING}
