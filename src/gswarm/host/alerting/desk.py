"""Looks every few seconds whether something is wrong, remembers what is, and tells people."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gswarm.domain.alert_config import AlertConfig
from gswarm.domain.alerts import Alert, AlertRule, Severity, Subject
from gswarm.domain.errors import GswarmError, NotFoundError
from gswarm.host.alerting.channels import Channel
from gswarm.host.alerting.courier import Courier
from gswarm.host.clock import Clock, TimerHandle
from gswarm.profiler.alert_book import EMPTY, Book, Change, Track
from gswarm.profiler.alert_rules import Readings, evaluate
from gswarm.wire.private_files import read_private, save_private

ENDED_SHOWN_S = 3600.0
"""Alerts that are over are listed that long."""

_log = logging.getLogger("gswarm.host.alerts")
_LOG_LEVELS = {Severity.INFO: logging.INFO, Severity.WARNING: logging.WARNING, Severity.CRITICAL: logging.ERROR}

Look = Callable[[Sequence[tuple[str, str]]], Callable[[], Readings]]
"""Given the broken channels, reads the plan at once, on the event loop's thread; what it returns reads the rest, in another."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What survives the host's process: people are not told twice of the same, nor not at all."""

    tracks: list[tuple[AlertRule, Subject, Track]] = field(default_factory=list)
    seen: list[tuple[AlertRule, Subject, Change]] = field(default_factory=list)
    ended: tuple[Alert, ...] = ()
    undelivered: dict[str, tuple[Alert, ...]] = field(default_factory=dict)


_KEPT: TypeAdapter[_Kept] = TypeAdapter(_Kept)


class AlertDesk:
    """All methods are called on the event loop's thread.

    Args:
        look: what the rules look at.
        channels: how people are told, besides the log and the API.
        path: where the state is kept; replaced when it changes.
    """

    def __init__(self, config: AlertConfig, clock: Clock, look: Look, channels: Sequence[Channel], path: Path) -> None:
        self._config = config
        self._clock = clock
        self._look = look
        self._path = path
        self._book: Book = EMPTY
        self._couriers = [Courier(channel, clock, self._on_delivered) for channel in channels]
        self._timer: TimerHandle | None = None
        self._evaluating: asyncio.Task[None] | None = None
        self._looking = asyncio.Lock()
        self._saving = asyncio.Lock()
        self._savings: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def firing(self) -> list[Alert]:
        """The worst first, then the newest."""
        order = list(Severity)
        return sorted(self._book.firing, key=lambda alert: (-order.index(alert.severity), -alert.since_s, alert.id))

    @property
    def rules(self) -> dict[AlertRule, bool]:
        """Every rule, and whether it is looked at."""
        return {rule: rule not in self._config.rules_off for rule in AlertRule}

    @property
    def channels(self) -> dict[str, str]:
        """Who is told, by the channel's name, and why it does not work; empty while it does."""
        return {courier.channel.name: courier.error for courier in self._couriers}

    @property
    def left_out(self) -> int:
        """Things that are wrong and beyond what is kept, at the last look."""
        return self._book.left_out

    def listed(self) -> list[Alert]:
        """What fires, then what was over lately, the newest first."""
        oldest_s = self._clock.now_s() - ENDED_SHOWN_S
        return [*self.firing, *(alert for alert in reversed(self._book.ended) if (alert.until_s or 0.0) >= oldest_s)]

    async def start(self) -> None:
        """Goes on where the last process ended. Its undelivered alerts are delivered first."""
        kept = await asyncio.to_thread(_load, self._path)
        tracks = {(rule, subject): track for rule, subject, track in kept.tracks}
        self._book = Book(tracks, {(rule, subject): change for rule, subject, change in kept.seen}, kept.ended)
        for courier in self._couriers:
            courier.offer(kept.undelivered.get(courier.channel.name, ()))
            courier.start()
        self._arm()

    def _arm(self) -> None:
        if not self._closed:
            self._timer = self._clock.call_at(self._clock.now_s() + self._config.interval_s, self._begin)

    def _begin(self) -> None:
        self._timer = None
        self._evaluating = asyncio.get_running_loop().create_task(self._evaluate(), name="alerts")

    async def _evaluate(self) -> None:
        try:
            await self.evaluate()
        except GswarmError as error:
            _log.warning("the alert rules could not be looked at: %s", error)
        except Exception:
            _log.exception("the alert rules failed; they are tried again")
        finally:
            self._arm()

    async def evaluate(self) -> list[Alert]:
        """One look: the alerts that began, grew worse or ended. They are on their way when this returns. Raises StorageError."""
        async with self._looking:
            rest = self._look([(courier.channel.name, courier.error) for courier in self._couriers if courier.error])
            now_s = self._clock.now_s()
            before = self._book
            book, changed = await asyncio.to_thread(lambda: evaluate(before, rest(), self._config, now_s))
            self._book = book
        for alert in changed:
            _tell_log(alert)
        if changed or book.seen != before.seen:
            for courier in self._couriers:
                courier.offer(changed)
            await self._save()
        return changed

    def _on_delivered(self) -> None:
        task = asyncio.get_running_loop().create_task(self._save())
        self._savings.add(task)
        task.add_done_callback(self._savings.discard)

    async def _save(self) -> None:
        """A disk that takes nothing keeps nobody from being told."""
        async with self._saving:
            try:
                await asyncio.to_thread(save_private, self._path.parent, {self._path.name: self._kept()})
            except GswarmError as error:
                _log.warning("the state of the alerts is not kept: %s", error)

    def _kept(self) -> bytes:
        kept = _Kept(
            [(rule, subject, track) for (rule, subject), track in self._book.tracks.items() if track.alert is not None],
            [(rule, subject, change) for (rule, subject), change in self._book.seen.items()],
            self._book.ended,
            {courier.channel.name: courier.pending for courier in self._couriers},
        )
        return _KEPT.dump_json(kept)

    async def close(self) -> None:
        """Idempotent. What is not delivered is kept for the next start."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._evaluating is not None:
            await asyncio.gather(self._evaluating, return_exceptions=True)
        for courier in self._couriers:
            await courier.close()
        if self._savings:
            await asyncio.wait(self._savings)


def _load(path: Path) -> _Kept:
    try:
        return _KEPT.validate_json(read_private(path))
    except NotFoundError:
        return _Kept()
    except (GswarmError, ValidationError) as error:
        _log.warning("%s is not used, alerts begin anew: %s", path, error)
        return _Kept()


def _tell_log(alert: Alert) -> None:
    details: dict[str, Any] = {"alert": alert.id, "rule": alert.rule.value}
    if alert.until_s is None:
        _log.log(_LOG_LEVELS[alert.severity], "alert %s: %s", alert.rule.value, alert.text, extra=details)
    else:
        _log.info("alert %s is over: %s", alert.rule.value, alert.text, extra=details)
