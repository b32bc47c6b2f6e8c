"""What each alert rule finds in the readings of a moment. Pure: readings, thresholds and the time in, findings out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from gswarm.domain.alert_config import AlertConfig
from gswarm.domain.alerts import Alert, AlertRule, Severity, Subject
from gswarm.profiler.alert_book import Book, Change, Finding, Key, Level, Timing, turn
from gswarm.profiler.xid import is_of_program

LOSSES_MIN = 20
"""Losses that a run must have behind it before one can be a spike."""
LOSSES_NEWEST = 3
"""Their median is compared: one odd batch is no spike."""
RECENT_S = 3600.0
"""What happened (an XID error, a loss that is no number) is shown that long."""
LOST_SHOWN_S = 86400.0
"""A client that is lost for longer has been given up."""
GROWTH_S = 300.0
"""Samples were lost lately."""

_THERMAL_BITS = 0x20 | 0x40
"""nvmlClocksThrottleReasonSwThermalSlowdown and ...HwThermalSlowdown (nvml.h)."""
_MEASURED = frozenset({AlertRule.HANG, AlertRule.THERMAL_THROTTLE, AlertRule.LOSS_SPIKE, AlertRule.DISK_FULL, AlertRule.SAMPLES_LOST})
"""Rules about what somebody has to measure: that nothing is measured does not make it fine."""


@dataclass(frozen=True, slots=True)
class GpuReading:
    """NaN where the sensor had no answer, or none that is fresh."""

    client: str
    device: str
    utilization: float = math.nan
    power_watts: float = math.nan
    power_limit_watts: float = math.nan
    throttle_reasons: float = math.nan
    xid: float = math.nan
    owners: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunReading:
    """A run that trains, or that ended lately.

    Attributes:
        losses: the recent ones, oldest first.
        failure: the code of why it failed; empty if it did not.
    """

    run: str
    name: str
    losses: tuple[float, ...] = ()
    failure: str = ""
    ended_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class ClientReading:
    """Attributes:
    silent_since_s: when it was lost because it said nothing any more; ``None`` if it is there, or said good-bye.
    sample_age_s: of its newest sample, by the host's clock; ``None`` where nothing is expected of it.
    """

    name: str
    silent_since_s: float | None = None
    lost_reason: str = ""
    sample_age_s: float | None = None
    samples_lost: float = math.nan
    disk_free_bytes: float = math.nan
    disk_total_bytes: float = math.nan


@dataclass(frozen=True, slots=True)
class DiskReading:
    """One of the host's own."""

    name: str
    path: str
    free_bytes: float
    total_bytes: float


@dataclass(frozen=True, slots=True)
class Readings:
    """Everything the rules look at.

    Attributes:
        idle_slots: (client, slot) of those that could train and do not.
        waiting_runs: runs that any slot could take.
        broken_channels: (name, error) of webhook and mail, where the last attempts failed.
        there: clients that should measure; of others nothing is expected.
        queued: runs that will train again.
    """

    gpus: tuple[GpuReading, ...] = ()
    runs: tuple[RunReading, ...] = ()
    clients: tuple[ClientReading, ...] = ()
    disks: tuple[DiskReading, ...] = ()
    idle_slots: tuple[tuple[str, str], ...] = ()
    waiting_runs: int = 0
    broken_channels: tuple[tuple[str, str], ...] = ()
    there: frozenset[str] = frozenset()
    queued: frozenset[str] = frozenset()


_Seen = dict[tuple[AlertRule, Subject], Change]


@dataclass(frozen=True, slots=True)
class _Moment:
    readings: Readings
    config: AlertConfig
    now_s: float
    before: Mapping[tuple[AlertRule, Subject], Change]
    seen: _Seen
    """What rules about changes see now."""


def evaluate(book: Book, readings: Readings, config: AlertConfig, now_s: float) -> tuple[Book, list[Alert]]:
    """One evaluation of all rules that are on: what is remembered for the next, and the alerts that began, grew worse or ended."""
    moment = _Moment(readings, config, now_s, book.seen, {})
    findings = [found for rule, look in _RULES.items() if rule not in config.rules_off for found in look(moment)]
    # What a rule saw of a subject that has no reading now is kept: a client that comes back must not raise its old XIDs again.
    known = {client.name for client in readings.clients}
    kept = {key: change for key, change in book.seen.items() if key[1].client in known or now_s - change.since_s < LOST_SHOWN_S}
    unseen = {key for key, track in book.tracks.items() if track.alert is not None and _is_unseen(key, readings)}
    return turn(replace(book, seen=kept | moment.seen), findings, timings(config), now_s, unseen)


def _is_unseen(key: Key, readings: Readings) -> bool:
    """Whether nobody can say that it is over where nothing was found about it. Disks of the host are looked at by itself."""
    rule, subject = key
    return rule in _MEASURED and (subject.client in readings.there or subject.run in readings.queued)


def timings(config: AlertConfig) -> dict[AlertRule, Timing]:
    """How long each rule waits before it fires, and before it is over."""
    at_once = Timing(0.0, 0.0)
    return {
        AlertRule.HANG: Timing(config.hang_for_s),
        AlertRule.THERMAL_THROTTLE: Timing(config.throttle_for_s, 60.0),
        AlertRule.XID: at_once,
        AlertRule.LOSS_NAN: at_once,
        AlertRule.LOSS_SPIKE: Timing(0.0, 60.0),
        AlertRule.SLOT_IDLE: Timing(config.idle_for_s, 0.0),
        AlertRule.DISK_FULL: Timing(),
        AlertRule.CLIENT_LOST: at_once,
        AlertRule.SAMPLES_LATE: Timing(0.0, 10.0),
        AlertRule.SAMPLES_LOST: at_once,
        AlertRule.DELIVERY: Timing(60.0, 0.0),
    }


def _level(is_bad: bool, is_fine: bool) -> Level:
    return Level.BAD if is_bad else Level.FINE if is_fine else Level.BETWEEN


def _hang(moment: _Moment) -> Iterator[Finding]:
    config = moment.config
    for gpu in moment.readings.gpus:
        share = gpu.power_watts / gpu.power_limit_watts if gpu.power_limit_watts > 0 else math.nan
        if math.isnan(share) or math.isnan(gpu.utilization):
            continue
        busy, low = gpu.utilization >= config.hang_utilization, share < config.hang_power_ratio
        fine = gpu.utilization < config.hang_utilization - 0.1 or share > config.hang_power_ratio + 0.1
        whose = f" It is used by {', '.join(gpu.owners)}." if gpu.owners else ""
        text = (
            f"{gpu.device} of {gpu.client} is {gpu.utilization:.0%} busy but draws only {gpu.power_watts:.0f} W of "
            f"{gpu.power_limit_watts:.0f} W: a kernel may wait for something that never comes.{whose} Look at the run's log and step time; "
            "stop and resume the run if its steps stand still."
        )
        subject = Subject(client=gpu.client, device=gpu.device)
        yield Finding(AlertRule.HANG, subject, _level(busy and low, fine), Severity.CRITICAL, text, gpu.power_watts)


def _thermal_throttle(moment: _Moment) -> Iterator[Finding]:
    for gpu in moment.readings.gpus:
        if math.isnan(gpu.throttle_reasons):
            continue
        hot = bool(int(gpu.throttle_reasons) & _THERMAL_BITS)
        text = (
            f"{gpu.device} of {gpu.client} holds its clocks down because it is hot. "
            "Look at its fans and the air flow, or lower its power limit."
        )
        subject = Subject(client=gpu.client, device=gpu.device)
        yield Finding(AlertRule.THERMAL_THROTTLE, subject, _level(hot, not hot), Severity.WARNING, text, gpu.throttle_reasons)


def _xid(moment: _Moment) -> Iterator[Finding]:
    now = {Subject(client=gpu.client, device=gpu.device): gpu.xid for gpu in moment.readings.gpus}
    # A GPU that fell off the bus says nothing any more, and a sampler that began anew has heard of none: what was reported lately stands.
    lately = {subject: change for (rule, subject), change in moment.before.items() if rule is AlertRule.XID and _is_recent(moment, change)}
    for subject in sorted(now.keys() | lately.keys(), key=lambda one: (one.client or "", one.device or "")):
        number = now.get(subject, math.nan)
        if subject in lately and not number > 0:
            change = moment.seen[AlertRule.XID, subject] = lately[subject]
        elif math.isnan(number):
            continue
        else:
            change = _change(moment, AlertRule.XID, subject, number)
        yield _xid_finding(subject, change, is_new=_is_recent(moment, change))


def _is_recent(moment: _Moment, change: Change) -> bool:
    return change.value > 0 and moment.now_s - change.since_s < RECENT_S


def _xid_finding(subject: Subject, change: Change, *, is_new: bool) -> Finding:
    number = int(change.value)
    if is_of_program(number):
        severity, what = Severity.WARNING, "mostly the fault of the program that ran: look at the run's log"
    else:
        severity = Severity.CRITICAL
        what = f"the device may need a reset or a repair: drain {subject.client} and look at its kernel log (dmesg)"
    text = f"{subject.device} of {subject.client} reported XID {number}, {what}. NVIDIA's list of XID errors says what it means."
    return Finding(AlertRule.XID, subject, _level(is_new, not is_new), severity, text, change.value, change.since_s)


def _change(moment: _Moment, rule: AlertRule, subject: Subject, value: float) -> Change:
    """Since when the value is what it is."""
    before = moment.before.get((rule, subject))
    change = before if before is not None and before.value == value else Change(value, moment.now_s)
    moment.seen[rule, subject] = change
    return change


def _loss_nan(moment: _Moment) -> Iterator[Finding]:
    for run in moment.readings.runs:
        ended_s = run.ended_at_s if run.ended_at_s is not None else moment.now_s
        is_bad = run.failure == "nan_loss" and moment.now_s - ended_s < RECENT_S
        text = (
            f"The loss of {run.name} ({run.run}) is not a number, and the run failed. Lower its learning rate or clip its gradients: "
            f"'gswarm run clone {run.run} --set learning_rate=...' begins again from a checkpoint."
        )
        yield Finding(AlertRule.LOSS_NAN, Subject(run=run.run), _level(is_bad, not is_bad), Severity.CRITICAL, text)


def _loss_spike(moment: _Moment) -> Iterator[Finding]:
    for run in moment.readings.runs:
        if run.failure or len(run.losses) < LOSSES_MIN + LOSSES_NEWEST:
            continue
        newest, past = statistics.median(run.losses[-LOSSES_NEWEST:]), run.losses[:-LOSSES_NEWEST]
        mean = statistics.fmean(past)
        # A loss that hardly moves has next to no deviation; a hundredth of its mean is never a spike.
        deviation = max(statistics.pstdev(past, mean), abs(mean) * 0.01, 1e-9)
        score = (newest - mean) / deviation
        text = (
            f"The loss of {run.name} ({run.run}) is {newest:.4g}, {score:.1f} standard deviations above its recent mean of {mean:.4g}. "
            f"If it does not come back: 'gswarm run stop {run.run}', and clone it from a checkpoint before that with a lower learning rate."
        )
        level = _level(score >= moment.config.loss_z_score, score < moment.config.loss_z_score / 2)
        yield Finding(AlertRule.LOSS_SPIKE, Subject(run=run.run), level, Severity.WARNING, text, newest)


def _slot_idle(moment: _Moment) -> Iterator[Finding]:
    waiting = moment.readings.waiting_runs
    for client, slot in moment.readings.idle_slots:
        text = f"Slot {slot} is idle while {waiting} runs wait. 'gswarm experiment explain' says what they wait for."
        yield Finding(AlertRule.SLOT_IDLE, Subject(client=client, device=slot), _level(waiting > 0, waiting == 0), Severity.WARNING, text)


def _disk_full(moment: _Moment) -> Iterator[Finding]:
    ratio = moment.config.disk_free_ratio
    found = [
        (Subject(device=f"disk:{disk.name}"), f"the host ({disk.path})", disk.free_bytes, disk.total_bytes)
        for disk in moment.readings.disks
    ]
    found += [
        (Subject(client=one.name), f"client {one.name}", one.disk_free_bytes, one.disk_total_bytes) for one in moment.readings.clients
    ]
    for subject, whose, free, total in found:
        if not total > 0 or math.isnan(free):
            continue
        share = free / total
        severity = Severity.CRITICAL if share < ratio / 2 else Severity.WARNING
        text = (
            f"The disk of {whose} has {share:.1%} left, {free / 2**30:.1f} GiB. Delete runs that nobody needs, "
            "or free space: without any, checkpoints are not kept and the host ends."
        )
        yield Finding(AlertRule.DISK_FULL, subject, _level(share < ratio, share > ratio * 1.2), severity, text, share)


def _client_lost(moment: _Moment) -> Iterator[Finding]:
    for client in moment.readings.clients:
        since_s = client.silent_since_s
        is_bad = since_s is not None and moment.now_s - since_s < LOST_SHOWN_S
        text = (
            f"Client {client.name} is lost ({client.lost_reason}); others train what it had. "
            "Look whether the machine is up and reaches the host; 'gswarm client connect' brings it back."
        )
        yield Finding(AlertRule.CLIENT_LOST, Subject(client=client.name), _level(is_bad, not is_bad), Severity.CRITICAL, text)


def _samples_late(moment: _Moment) -> Iterator[Finding]:
    limit_s = moment.config.samples_late_s
    for client in moment.readings.clients:
        age_s = client.sample_age_s
        if age_s is None:
            continue
        text = (
            f"The newest sample of {client.name} is {age_s:.0f} s old, though it is connected. Its sampler may hang in the driver, "
            "or its spool is behind: look at its log for 'sampler'. Training is not disturbed."
        )
        level = _level(age_s > limit_s, age_s < limit_s * 0.8)
        yield Finding(AlertRule.SAMPLES_LATE, Subject(client=client.name), level, Severity.WARNING, text, age_s)


def _samples_lost(moment: _Moment) -> Iterator[Finding]:
    for client in moment.readings.clients:
        if math.isnan(client.samples_lost):
            continue
        subject = Subject(client=client.name)
        change = _change(moment, AlertRule.SAMPLES_LOST, subject, client.samples_lost)
        growing = client.samples_lost > 0 and moment.now_s - change.since_s < GROWTH_S
        text = (
            f"{client.name} has lost {client.samples_lost:.0f} samples since it began. Most often its spool is full or its disk stands "
            "still: raise client.spool_budget_bytes, free its disk, or look why it cannot send. Its log says which."
        )
        yield Finding(AlertRule.SAMPLES_LOST, subject, _level(growing, not growing), Severity.WARNING, text, client.samples_lost)


def _delivery(moment: _Moment) -> Iterator[Finding]:
    for name, error in moment.readings.broken_channels:
        text = f"Alerts do not reach anybody by {name}: {error}. Look at host.alerts in the config and at the receiver."
        yield Finding(AlertRule.DELIVERY, Subject(device=name), Level.BAD, Severity.WARNING, text)


_RULES: dict[AlertRule, Callable[[_Moment], Iterator[Finding]]] = {
    AlertRule.HANG: _hang,
    AlertRule.THERMAL_THROTTLE: _thermal_throttle,
    AlertRule.XID: _xid,
    AlertRule.LOSS_NAN: _loss_nan,
    AlertRule.LOSS_SPIKE: _loss_spike,
    AlertRule.SLOT_IDLE: _slot_idle,
    AlertRule.DISK_FULL: _disk_full,
    AlertRule.CLIENT_LOST: _client_lost,
    AlertRule.SAMPLES_LATE: _samples_late,
    AlertRule.SAMPLES_LOST: _samples_lost,
    AlertRule.DELIVERY: _delivery,
}
