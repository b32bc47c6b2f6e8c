"""What fires, when, how long, and what never does."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from gswarm.domain.alert_config import AlertConfig
from gswarm.domain.alerts import Alert, AlertRule, Severity, Subject
from gswarm.profiler import alert_book
from gswarm.profiler.alert_book import EMPTY, ENDED_MAX, Book, Finding, Level, Timing, turn
from gswarm.profiler.alert_rules import ClientReading, DiskReading, GpuReading, Readings, RunReading, evaluate
from gswarm.profiler.xid import telling

CONFIG = AlertConfig()
BUSY = GpuReading("a", "gpu:0", utilization=1.0, power_watts=90.0, power_limit_watts=700.0, throttle_reasons=0, xid=0, owners=("run:r1",))
STEADY = tuple(2.0 + 0.01 * (number % 5) for number in range(40))


class Watch:
    """Evaluates readings at times and keeps what came of it."""

    def __init__(self, config: AlertConfig = CONFIG) -> None:
        self.config, self.book, self.now_s = config, EMPTY, 1000.0

    def see(self, readings: Readings, after_s: float = 0.0) -> list[Alert]:
        self.now_s += after_s
        self.book, changed = evaluate(self.book, readings, self.config, self.now_s)
        return changed

    def rules(self) -> list[AlertRule]:
        return sorted(alert.rule for alert in self.book.firing)


def gpu(**changes: float) -> Readings:
    return Readings(gpus=(replace(BUSY, **changes),))  # type: ignore[arg-type]


def test_busy_at_low_watts_is_a_hang_after_a_while() -> None:
    watch = Watch()
    assert watch.see(gpu()) == []
    assert watch.see(gpu(), CONFIG.hang_for_s - 1) == []
    (alert,) = watch.see(gpu(), 1)
    assert (alert.rule, alert.severity, alert.subject) == (AlertRule.HANG, Severity.CRITICAL, Subject("a", "gpu:0"))
    assert (alert.since_s, alert.until_s, alert.value) == (1000.0, None, 90.0)
    assert "run:r1" in alert.text
    assert "90 W of 700 W" in alert.text
    assert watch.see(gpu(), 5) == [], "told once"


def test_a_break_begins_the_wait_anew() -> None:
    watch = Watch()
    watch.see(gpu())
    watch.see(gpu(power_watts=300.0), 100)
    assert watch.see(gpu(), CONFIG.hang_for_s - 1) == []
    assert watch.book.firing == []


def test_near_the_threshold_it_goes_on_and_beyond_it_ends_after_some_time() -> None:
    watch = Watch()
    watch.see(gpu())
    watch.see(gpu(), CONFIG.hang_for_s)
    between = 700 * (CONFIG.hang_power_ratio + 0.05)
    assert watch.see(gpu(power_watts=between), 3600) == []
    assert watch.rules() == [AlertRule.HANG]
    assert watch.see(gpu(power_watts=500.0), 5) == []
    assert watch.see(gpu(), 20) == []
    assert watch.see(gpu(power_watts=500.0), 20) == [], "fine for 30 s from here on, not from before"
    (over,) = watch.see(gpu(power_watts=500.0), 30)
    assert over.until_s == watch.now_s
    assert watch.book.firing == []
    assert watch.book.ended == (over,)


def test_between_the_thresholds_nothing_begins() -> None:
    watch = Watch()
    for _ in range(5):
        assert watch.see(gpu(power_watts=700 * (CONFIG.hang_power_ratio + 0.05)), 600) == []


@pytest.mark.parametrize("field", ["utilization", "power_watts", "power_limit_watts"])
def test_a_missing_sensor_raises_nothing(field: str) -> None:
    watch = Watch()
    for _ in range(3):
        watch.see(gpu(**{field: math.nan}), CONFIG.hang_for_s)
    assert watch.rules() == []


def test_a_client_that_is_gone_ends_it() -> None:
    watch = Watch()
    watch.see(gpu())
    watch.see(gpu(), CONFIG.hang_for_s)
    watch.see(Readings(), 5)
    assert watch.rules() == [AlertRule.HANG]
    assert [alert.until_s for alert in watch.see(Readings(), 30)] == [watch.now_s]


@pytest.mark.parametrize("readings", [Readings(there=frozenset({"a"})), replace(gpu(power_watts=math.nan), there=frozenset({"a"}))])
def test_a_sensor_that_says_nothing_does_not_end_it_for_an_hour(readings: Readings) -> None:
    watch = Watch()
    watch.see(gpu())
    watch.see(gpu(), CONFIG.hang_for_s)
    assert watch.see(readings, 5) == []
    assert watch.see(readings, 3599) == []
    assert watch.rules() == [AlertRule.HANG]
    assert [alert.until_s for alert in watch.see(readings, 1)] == [watch.now_s]


def test_a_gpu_that_falls_off_the_bus_keeps_its_xid() -> None:
    watch = Watch()
    (fallen,) = watch.see(gpu(power_watts=600.0, xid=79.0))
    for readings in (gpu(xid=math.nan, power_watts=math.nan), Readings(), gpu(power_watts=600.0)):
        assert watch.see(readings, 60) == []
    assert watch.book.firing == [fallen]
    (over,) = watch.see(gpu(power_watts=600.0), 3600)
    assert (over.id, watch.rules()) == (fallen.id, [])


def test_an_old_xid_is_no_news_after_days() -> None:
    watch = Watch()
    client = (ClientReading("a"),)
    watch.see(replace(gpu(power_watts=600.0, xid=63.0), clients=client))
    watch.see(replace(gpu(power_watts=600.0, xid=63.0), clients=client), 3600)
    watch.see(Readings(clients=client), 3 * 86400)
    assert watch.see(replace(gpu(power_watts=600.0, xid=63.0), clients=client), 5) == []


def test_of_xids_of_one_moment_the_devices_own_tells() -> None:
    assert (telling([48, 45]), telling([45, 48, 79]), telling([31, 45])) == (48, 48, 45)


@pytest.mark.parametrize(("bits", "is_hot"), [(0x20, True), (0x40, True), (0x68, True), (0x4, False), (0x1, False), (0x80, False)])
def test_heat_alone_is_thermal(bits: int, is_hot: bool) -> None:
    watch = Watch()
    cool = {"power_watts": 600.0, "throttle_reasons": float(bits)}
    watch.see(gpu(**cool))
    watch.see(gpu(**cool), CONFIG.throttle_for_s)
    assert watch.rules() == ([AlertRule.THERMAL_THROTTLE] if is_hot else [])


def test_an_xid_fires_at_once_and_again_for_another_one() -> None:
    watch = Watch()
    assert watch.see(gpu(power_watts=600.0)) == []
    (first,) = watch.see(gpu(power_watts=600.0, xid=31.0), 1)
    assert (first.severity, "XID 31" in first.text) == (Severity.WARNING, True)
    (over,) = watch.see(gpu(power_watts=600.0, xid=31.0), 3600)
    assert over.id == first.id, "the driver keeps the number; after an hour it is no news"
    assert watch.see(gpu(power_watts=600.0, xid=31.0), 3600) == []
    (second,) = watch.see(gpu(power_watts=600.0, xid=79.0), 1)
    assert second.severity is Severity.CRITICAL
    assert second.id != first.id


def test_another_xid_while_one_is_shown_is_another_alert() -> None:
    watch = Watch()
    (first,) = watch.see(gpu(power_watts=600.0, xid=31.0))
    over, second = watch.see(gpu(power_watts=600.0, xid=13.0), 60)
    assert (over.id, over.until_s) == (first.id, watch.now_s)
    assert (second.since_s, second.until_s, second.id == first.id) == (watch.now_s, None, False)
    assert watch.book.firing == [second]


def test_what_grows_worse_is_told_again() -> None:
    watch = Watch()

    def disk(free_bytes: float) -> Readings:
        return Readings(disks=(DiskReading("data", "/data", free_bytes, 1e11),))

    (first,) = watch.see(disk(4e9))
    assert watch.see(disk(3.9e9), 5) == []
    (worse,) = watch.see(disk(1e9), 5)
    assert (worse.id, worse.since_s) == (first.id, first.since_s)
    assert (first.severity, worse.severity) == (Severity.WARNING, Severity.CRITICAL)
    assert watch.see(disk(4e9), 5) == [], "it does not grow milder"
    assert watch.book.firing[0].severity is Severity.CRITICAL


def test_an_xid_that_was_told_is_not_told_again_when_the_client_comes_back() -> None:
    watch = Watch()
    watch.see(gpu(power_watts=600.0, xid=31.0))
    watch.see(gpu(power_watts=600.0, xid=31.0), 3600)
    watch.see(Readings(), 600)
    assert watch.see(gpu(power_watts=600.0, xid=31.0), 600) == []


def run(*losses: float, failure: str = "", ended_at_s: float | None = None) -> Readings:
    return Readings(runs=(RunReading("r1", "tiny-1", losses, failure, ended_at_s),))


def test_a_loss_that_is_no_number() -> None:
    watch = Watch()
    (alert,) = watch.see(run(failure="nan_loss", ended_at_s=990.0))
    assert (alert.rule, alert.subject.run, alert.value) == (AlertRule.LOSS_NAN, "r1", None)
    assert watch.see(run(failure="trainer_died", ended_at_s=990.0), 1)[0].until_s is not None
    old = Watch()
    assert old.see(run(failure="nan_loss", ended_at_s=1000.0 - 3601)) == []


def test_a_loss_spike() -> None:
    watch = Watch()
    assert watch.see(run(*STEADY)) == []
    assert watch.see(run(*STEADY, 9.0)) == [], "one odd batch"
    (alert,) = watch.see(run(*STEADY, 3.0, 3.1, 3.2))
    assert (alert.rule, alert.severity) == (AlertRule.LOSS_SPIKE, Severity.WARNING)
    assert "run stop r1" in alert.text


@pytest.mark.parametrize(
    "losses",
    [
        (*STEADY[:10], 9.0, 9.0, 9.0),
        tuple(4.0 - 0.05 * number for number in range(40)),
        (2.0,) * 40 + (2.05,) * 3,
        tuple(2.0 + 0.8 * (-1) ** number for number in range(40)),
        (*STEADY, 0.5, 0.5, 0.5),
        (0.0,) * 40,
    ],
    ids=["too few", "falling", "hardly moves", "noisy", "drops", "zero"],
)
def test_what_is_no_spike(losses: tuple[float, ...]) -> None:
    assert Watch().see(run(*losses)) == []


def test_a_slot_that_is_idle_while_runs_wait() -> None:
    watch = Watch()
    idle = Readings(idle_slots=(("a", "a/0"),), waiting_runs=3)
    watch.see(idle)
    (alert,) = watch.see(idle, CONFIG.idle_for_s)
    assert alert.subject == Subject("a", "a/0")
    assert watch.see(Readings(idle_slots=(("a", "a/0"),)), 1)[0].until_s is not None
    assert Watch().see(Readings(idle_slots=(("a", "a/0"),))) == []


def test_disks_that_are_nearly_full() -> None:
    watch = Watch()
    low = ClientReading("a", disk_free_bytes=1e9, disk_total_bytes=1e11)
    changed = watch.see(Readings(clients=(low,), disks=(DiskReading("data", "/data", 4e9, 1e11), DiskReading("pool", "/pool", 5e10, 1e11))))
    assert [(alert.severity, alert.subject) for alert in changed] == [
        (Severity.WARNING, Subject(device="disk:data")),
        (Severity.CRITICAL, Subject("a")),
    ]
    assert Watch().see(Readings(clients=(ClientReading("a"),), disks=(DiskReading("data", "/d", math.nan, math.nan),))) == []


def test_a_client_that_fell_silent_but_not_one_that_left() -> None:
    watch = Watch()
    left = ClientReading("b", lost_reason="it said good-bye")
    silent = ClientReading("a", silent_since_s=995.0, lost_reason="silent for 15 s")
    (alert,) = watch.see(Readings(clients=(silent, left)))
    assert (alert.subject.client, alert.severity) == ("a", Severity.CRITICAL)
    assert "silent for 15 s" in alert.text
    (over,) = watch.see(Readings(clients=(ClientReading("a"), left)), 5)
    assert over.id == alert.id
    assert Watch().see(Readings(clients=(replace(silent, silent_since_s=1000.0 - 86401),))) == [], "given up"


def test_samples_that_are_late_and_a_spool_that_is_full() -> None:
    watch = Watch()
    assert watch.see(Readings(clients=(ClientReading("a", sample_age_s=2.0, samples_lost=0.0),))) == []
    changed = watch.see(Readings(clients=(ClientReading("a", sample_age_s=31.0, samples_lost=500.0),)), 5)
    assert sorted(alert.rule for alert in changed) == [AlertRule.SAMPLES_LATE, AlertRule.SAMPLES_LOST]
    over = watch.see(Readings(clients=(ClientReading("a", sample_age_s=1.0, samples_lost=500.0),)), 300)
    assert [alert.rule for alert in over] == [AlertRule.SAMPLES_LOST], "it does not grow any more"
    over = watch.see(Readings(clients=(ClientReading("a", sample_age_s=1.0, samples_lost=500.0),)), 10)
    assert [alert.rule for alert in over] == [AlertRule.SAMPLES_LATE]


def test_a_broken_channel_is_itself_shown() -> None:
    watch = Watch()
    broken = Readings(broken_channels=(("webhook", "the webhook answers 500"),))
    watch.see(broken)
    (alert,) = watch.see(broken, 60)
    assert (alert.rule, alert.subject.device) == (AlertRule.DELIVERY, "webhook")
    assert watch.see(Readings(), 5)[0].until_s is not None


@pytest.mark.parametrize("rule", list(AlertRule))
def test_every_rule_can_be_switched_off(rule: AlertRule) -> None:
    everything = Readings(
        gpus=(replace(BUSY, throttle_reasons=0x40, xid=79.0),),
        runs=(RunReading("r1", "a", (), "nan_loss", 1000.0), RunReading("r2", "b", (*STEADY, 9.0, 9.0, 9.0))),
        clients=(ClientReading("a", 990.0, "silent for 15 s", 100.0, 5.0, 1.0, 1e9),),
        idle_slots=(("b", "b/0"),),
        waiting_runs=1,
        broken_channels=(("mail", "no"),),
    )
    found = []
    for config in (CONFIG, AlertConfig(rules_off=(rule.value,))):
        watch = Watch(config)
        watch.see(everything)
        watch.see(everything, 200)
        found.append(set(watch.rules()))
    assert found == [set(AlertRule), set(AlertRule) - {rule}]


def test_there_is_a_limit_to_what_can_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_book, "TRACKS_MAX", 3)
    findings = [Finding(AlertRule.XID, Subject("a", f"gpu:{number}"), Level.BAD) for number in range(5)]
    book, changed = turn(EMPTY, findings, {}, 1.0)
    assert (len(changed), book.left_out) == (3, 2)
    book, changed = turn(book, findings[3:], {}, 2.0)
    assert (len(book.tracks), book.left_out) == (3, 2)
    book, changed = turn(book, findings[3:], {AlertRule.XID: Timing(0, 0)}, 3.0)
    assert all(alert.until_s is not None for alert in changed)
    book, changed = turn(book, findings[3:], {}, 4.0)
    assert (len(changed), book.left_out) == (2, 0)


def test_only_the_newest_of_what_is_over_is_remembered() -> None:
    book, at_once = Book({}, {}), {AlertRule.XID: Timing(0.0, 0.0)}
    for number in range(ENDED_MAX + 5):
        book, _ = turn(book, [Finding(AlertRule.XID, Subject(str(number)), Level.BAD)], at_once, float(number))
    assert len(book.ended) == ENDED_MAX
    assert book.ended[-1].subject == Subject(str(ENDED_MAX + 3))
