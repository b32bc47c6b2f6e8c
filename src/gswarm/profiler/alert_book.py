"""From findings to alerts, pure: what is bad for long enough fires, what is fine for long enough is over."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from gswarm.domain.alerts import Alert, AlertRule, Severity, Subject, alert_id

TRACKS_MAX = 5_000
"""Things that are wrong at the same time; more are left out, and counted."""
ENDED_MAX = 200
"""Alerts that are over and remembered, the newest."""
UNSEEN_CLEAR_S = 3600.0
"""What nobody can look at any more may still be wrong: it is called over after so long."""
_SEVERITIES = list(Severity)
"""The worst last."""


class Level(StrEnum):
    """Between bad and fine an alert that fires goes on, and none begins: a value near a threshold does not flap."""

    BAD = "bad"
    BETWEEN = "between"
    FINE = "fine"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found out about a subject just now.

    Attributes:
        occurrence: tells one thing that happened from the next of its kind, which is another alert; 0 for what is a state.
    """

    rule: AlertRule
    subject: Subject
    level: Level
    severity: Severity = Severity.WARNING
    text: str = ""
    value: float | None = None
    occurrence: float = 0.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Bad for ``for_s`` without a break fires; not bad for ``clear_s`` is over."""

    for_s: float = 0.0
    clear_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Track:
    """A subject that a rule found bad: pending until ``alert`` is there."""

    bad_since_s: float
    alert: Alert | None = None
    better_since_s: float | None = None
    occurrence: float = 0.0


Key = tuple[AlertRule, Subject]
Tracks = Mapping[Key, Track]


@dataclass(frozen=True, slots=True)
class Change:
    """A counter's or a number's value, and since when it has it."""

    value: float
    since_s: float


@dataclass(frozen=True, slots=True)
class Book:
    """All that is remembered from one evaluation to the next."""

    tracks: Tracks
    seen: Mapping[tuple[AlertRule, Subject], Change]
    """What rules about changes saw last."""
    ended: tuple[Alert, ...] = ()
    """The oldest first."""
    left_out: int = 0
    """Findings that were bad and had no room, in the last evaluation."""

    @property
    def firing(self) -> list[Alert]:
        return [track.alert for track in self.tracks.values() if track.alert is not None]


EMPTY = Book({}, {})


def turn(
    book: Book, findings: Iterable[Finding], timings: Mapping[AlertRule, Timing], now_s: float, unseen: Collection[Key] = ()
) -> tuple[Book, list[Alert]]:
    """The book after one evaluation, and the alerts that began, grew worse or ended with it.

    A subject that nothing was found out about counts as not bad, but for those in ``unseen``: they are there, and their sensors say
    nothing. Their alerts go on, for ``UNSEEN_CLEAR_S`` at most.
    """
    tracks: dict[Key, Track] = {}
    changed: list[Alert] = []
    begun = left_out = 0
    found = {(finding.rule, finding.subject): finding for finding in findings}
    for key, finding in found.items():
        track = book.tracks.get(key)
        if track is None and finding.level is not Level.BAD:
            continue
        if track is None:
            if len(book.tracks) + begun >= TRACKS_MAX:
                left_out += 1
                continue
            begun += 1
        after = _follow(track, finding, timings.get(finding.rule, Timing()), now_s, changed)
        if after is not None:
            tracks[key] = after
    for key, track in book.tracks.items():
        if key not in found:
            timing = Timing(clear_s=UNSEEN_CLEAR_S) if key in unseen else timings.get(key[0], Timing())
            after = _recover(track, timing, now_s, changed)
            if after is not None:
                tracks[key] = after
    ended = (*book.ended, *(alert for alert in changed if alert.until_s is not None))
    return replace(book, tracks=tracks, ended=ended[-ENDED_MAX:], left_out=left_out), changed


def _follow(track: Track | None, finding: Finding, timing: Timing, now_s: float, changed: list[Alert]) -> Track | None:
    match finding.level:
        case Level.FINE:
            return None if track is None else _recover(track, timing, now_s, changed)
        case Level.BETWEEN:
            return None if track is None or track.alert is None else replace(track, better_since_s=None)
        case Level.BAD:
            return _worsen(track, finding, timing, now_s, changed)


def _worsen(track: Track | None, finding: Finding, timing: Timing, now_s: float, changed: list[Alert]) -> Track:
    if track is not None and track.occurrence != finding.occurrence:
        if track.alert is not None:
            changed.append(replace(track.alert, until_s=now_s))
        track = None
    since_s = now_s if track is None else track.bad_since_s
    alert = track.alert if track is not None else None
    if alert is not None:
        is_worse = _SEVERITIES.index(finding.severity) > _SEVERITIES.index(alert.severity)
        alert = replace(alert, text=finding.text, value=finding.value, severity=finding.severity if is_worse else alert.severity)
        if is_worse:
            changed.append(alert)
    elif now_s - since_s >= timing.for_s:
        identity = alert_id(finding.rule, finding.subject, since_s)
        alert = Alert(identity, finding.rule, finding.severity, finding.subject, finding.text, finding.value, since_s)
        changed.append(alert)
    return Track(since_s, alert, occurrence=finding.occurrence)


def _recover(track: Track, timing: Timing, now_s: float, changed: list[Alert]) -> Track | None:
    """What only was pending is forgotten at once."""
    if track.alert is None:
        return None
    better_since_s = now_s if track.better_since_s is None else track.better_since_s
    if now_s - better_since_s < timing.clear_s:
        return replace(track, better_since_s=better_since_s)
    changed.append(replace(track.alert, until_s=now_s))
    return None
