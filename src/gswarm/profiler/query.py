"""From rows to an answer: which resolution, whose rows, what a group of series makes together, and which points a chart needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from tsdownsample import MinMaxLTTBDownsampler

from gswarm.domain.errors import InvalidInputError
from gswarm.profiler.catalog import BY_NAME, METRICS_HINT
from gswarm.profiler.store.rows import US, Rows, Subjects, bucketed, group_starts, joined, merged, ordered
from gswarm.profiler.store.sample_store import Aggregate, AnswerSeries, By, SampleQuery, Span, Times, Values
from gswarm.profiler.store.segments import COARSE_S, MEDIUM_S, RAW
from gswarm.profiler.store.subjects import Subject

POINTS_MIN, POINTS_MAX = 4, 20_000
METRICS_MAX = 20
RANGE_MAX_S = 20 * 366 * 86400.0
ROWS_READ_MAX = 4_000_000
"""A finer resolution that would read more rows gives way to a coarser one."""
SERIES_MAX = 5_000
"""Lines of one metric in an answer."""
GAP_INTERVALS = 2.5
"""A line breaks where nothing came for so many of its usual intervals."""
INTERVALS_AROUND = 4
"""Before and after a place as many say what is usual there."""
LATE_S = 10.0
"""After so long, what a client has not sent will not come soon: it is lost, or was away."""

_DOWNSAMPLER = MinMaxLTTBDownsampler()  # type: ignore[no-untyped-call]


def check_query(query: SampleQuery) -> None:
    """Raises InvalidInputError."""
    unknown = [name for name in query.metrics if name not in BY_NAME]
    if unknown or not query.metrics:
        raise InvalidInputError(f"there is no metric {unknown[0][:80]!r}" if unknown else "a query needs a metric", METRICS_HINT)
    if len(query.metrics) > METRICS_MAX:
        raise InvalidInputError(f"{len(query.metrics)} metrics at once", f"ask for at most {METRICS_MAX}")
    if not POINTS_MIN <= query.points <= POINTS_MAX:
        raise InvalidInputError(f"{query.points} points a series", f"ask for {POINTS_MIN} to {POINTS_MAX}")
    if not (0 <= query.from_s < query.to_s <= RANGE_MAX_S * 10 and query.to_s - query.from_s <= RANGE_MAX_S):
        raise InvalidInputError("the range of time has no length, or is too long", "from lies before to")


def resolution(query: SampleQuery, rows: Mapping[int, float], kept_s: Mapping[int, float]) -> int:
    """The coarsest resolution with a quarter of the points that were asked for; coarser where it would read too much, or is not kept.

    Runs take turns on a slot, so where they matter the finest one is taken.

    Args:
        rows: about how many each resolution has in the range.
        kept_s: from when on a resolution has data.
    """
    range_s = query.to_s - query.from_s
    wanted = RAW
    if query.spans is None:
        wanted = max((width for width in (MEDIUM_S, COARSE_S) if range_s / width >= query.points / 4), default=RAW)
    for width in (RAW, MEDIUM_S, COARSE_S):
        if width == COARSE_S or (width >= wanted and rows[width] <= ROWS_READ_MAX and query.from_s >= kept_s[width]):
            return width
    return COARSE_S


def selected(query: SampleQuery, subjects: Sequence[Subject]) -> NDArray[np.bool_]:
    """Which subjects the query is about, by number."""
    spans = None if query.spans is None else {(span.client, span.device, span.owner) for span in query.spans}
    mask = np.zeros(len(subjects), np.bool_)
    for number, (client, device, owner) in enumerate(subjects):
        mask[number] = (
            (not query.clients or client in query.clients)
            and (not query.devices or device in query.devices)
            and (not query.owners or not owner or owner in query.owners)
            and (spans is None or not spans.isdisjoint(((client, device, owner), (client, "", owner))))
        )
    return mask


def reach_s(query: SampleQuery, metric: str, width_s: int) -> float:
    """How far outside of the range rows may lie that belong to its first and last bucket."""
    return max(_step_us(query, width_s) / US, BY_NAME[metric].interval_s)


def lines(
    query: SampleQuery, metric: str, rows: Rows, width_s: int, subjects: Sequence[Subject], now_s: float
) -> tuple[float, list[AnswerSeries]]:
    """The width of a point in seconds (0: samples themselves), and the lines of one metric.

    Args:
        rows: by the host's clock, of selected subjects; those that lie outside of the range and its first and last bucket are left out.
        width_s: their resolution.
    """
    groups = [_label(query.by, subject) for subject in subjects]
    least_us = BY_NAME[metric].interval_s * US
    rows = ordered(rows)
    if query.spans is not None:
        rows, subjects, groups = _in_spans(query, rows, width_s, subjects)
    if query.aggregate is Aggregate.NONE:
        groups = [*subjects] if query.spans is None else groups
    if width_s == RAW and query.aggregate is Aggregate.NONE:
        rows = rows.take((rows.at_us >= query.from_s * US) & (rows.at_us <= query.to_s * US))
        return 0.0, [_line(metric, groups[number], *_thinned(part, query.points, least_us)) for number, part in _each(rows)]
    reach_us = reach_s(query, metric, width_s) * US
    rows = rows.take((rows.at_us >= query.from_s * US - reach_us) & (rows.at_us <= query.to_s * US + reach_us))
    step_us = _step_us(query, width_s, _interval_us(rows) if width_s == RAW else 0.0)
    rows = bucketed(rows, step_us)
    rows = rows.take((rows.at_us > query.from_s * US - step_us) & (rows.at_us < query.to_s * US))
    if not len(rows):
        return float(width_s), []
    if query.aggregate is not Aggregate.NONE:
        rows, groups = _aggregated(rows, groups, query.aggregate, _Late(step_us, now_s))
    return step_us / US, [_line(metric, groups[number], *_with_gaps(part, step_us, least_us)) for number, part in _each(rows)]


_Group = tuple[str, str, str] | tuple[str, str, str, str]
"""(client, device, owner) and perhaps the run; what does not apply is empty."""


def _label(by: By, subject: Subject, run: str = "") -> _Group:
    client, device, owner = subject
    run = run or (owner.removeprefix("run:") if owner.startswith("run:") else "")
    match by:
        case By.DEVICE:
            return (client, device, "", run)
        case By.CLIENT:
            return (client, "", "", "")
        case By.RUN:
            return ("", "", "", run)
        case By.ALL:
            return ("", "", "", "")


def _in_spans(query: SampleQuery, rows: Rows, width_s: int, subjects: Sequence[Subject]) -> tuple[Rows, list[Subject], list[_Group]]:
    """The rows that lie in spans, with numbers of their own for each (subject, run)."""
    starts = group_starts(rows.subject).tolist()
    places = {int(rows.subject[start]): (start, end) for start, end in pairwise([*starts, len(rows)])}
    by_place: dict[tuple[str, str], list[int]] = {}
    for number in places:
        client, _device, owner = subjects[number]
        by_place.setdefault((client, owner), []).append(number)
    numbers: dict[tuple[int, str], int] = {}
    parts: list[Rows] = []
    for span in query.spans or ():
        for number in by_place.get((span.client, span.owner), ()):
            if span.device in ("", subjects[number][1]):
                part = _cut(rows, places[number], span, width_s)
                own = numbers.setdefault((number, span.run), len(numbers))
                parts.append(replace(part, subject=np.full(len(part), own, np.int32)))
    made: list[Subject] = [subjects[number] for number, _ in numbers]
    if query.aggregate is Aggregate.NONE:
        return ordered(joined(parts)), made, [(*subjects[number], run) for number, run in numbers]
    return ordered(joined(parts)), made, [_label(query.by, subjects[number], run) for number, run in numbers]


def _cut(rows: Rows, place: tuple[int, int], span: Span, width_s: int) -> Rows:
    start, end = place
    at_us = rows.at_us[start:end]
    first, last = np.searchsorted(at_us, [span.from_s * US - width_s * US / 2, span.to_s * US], side="left")
    return rows.take(slice(start + int(first), start + int(last)))


def _each(rows: Rows) -> Iterator[tuple[int, Rows]]:
    """Subject by subject, of ordered rows."""
    starts = group_starts(rows.subject)
    if len(starts) > SERIES_MAX:
        raise InvalidInputError(f"the answer would have {len(starts)} lines of one metric", f"select or aggregate; at most {SERIES_MAX}")
    for start, end in pairwise([*starts, len(rows)]):
        yield int(rows.subject[start]), rows.take(slice(start, end))


def _interval_us(rows: Rows) -> float:
    """The usual one between two samples of a series; 0 where there are none."""
    intervals = np.diff(rows.at_us)[rows.subject[1:] == rows.subject[:-1]]
    return float(np.median(intervals)) if len(intervals) else 0.0


def _step_us(query: SampleQuery, width_s: int, interval_us: float = 0.0) -> int:
    """A multiple of the resolution, with no more buckets than points were asked for.

    Args:
        interval_us: of the samples that are aggregated. It is no finer than that: sums over half of the devices would flicker.
    """
    base_us = max(width_s, 1) * US
    from_us, to_us = round(query.from_s * US), round(query.to_s * US)
    step_us = base_us
    # Of buckets that begin at multiples of their width, the range may touch one more than would hold it.
    for points in (query.points, query.points - 1):
        # A jitter of some percent must not make the bucket twice as wide.
        wanted_us = max((to_us - from_us) / points, 0.9 * interval_us)
        step_us = base_us * max(1, int(np.ceil(wanted_us / base_us)))
        if (to_us - 1) // step_us - from_us // step_us < query.points:
            break
    return step_us


@dataclass(frozen=True, slots=True)
class _Late:
    """What has not come yet: clients send what they sampled a little later, each at another time."""

    step_us: int
    now_s: float

    def complete_until(self, rows: Rows, group_of: Subjects, groups: int) -> Times:
        """Of each group the newest bucket that all of its series have that go on, as far as is known."""
        ends = np.append(group_starts(rows.subject)[1:], len(rows)) - 1
        newest_us, group = rows.at_us[ends], group_of[rows.subject[ends]]
        goes_on = newest_us + self.step_us > (self.now_s - LATE_S) * US
        found = np.full(groups, np.iinfo(np.int64).max)
        np.minimum.at(found, group[goes_on], newest_us[goes_on])
        return found


def _aggregated(rows: Rows, groups: Sequence[_Group], aggregate: Aggregate, late: _Late) -> tuple[Rows, list[_Group]]:
    """One row a group and bucket. Every series counts the same, however often it was sampled."""
    labels: dict[_Group, int] = {}
    number_of = np.array([labels.setdefault(group, len(labels)) for group in groups], np.int32)
    has_value = rows.count > 0
    mean = rows.mean
    subject = number_of[rows.subject]
    match aggregate:
        case Aggregate.SUM:
            low = _sums(subject, rows.at_us, rows.low, has_value)
            high = _sums(subject, rows.at_us, rows.high, has_value)
            total = _sums(subject, rows.at_us, mean, has_value)
            is_whole = total.at_us <= late.complete_until(rows, number_of, len(labels))[total.subject]
            low, high, total = (replace(one, total=np.where(is_whole, one.total, np.nan)) for one in (low, high, total))
            made = replace(total, low=low.total, high=high.total, count=((total.count > 0) & is_whole).astype(np.float64))
        case Aggregate.MIN:
            made = merged(Rows(subject, rows.at_us, rows.low, rows.low, rows.high, has_value.astype(np.float64)))
            made = replace(made, total=made.low, high=made.low, count=(made.count > 0).astype(np.float64))
        case Aggregate.MAX:
            made = merged(Rows(subject, rows.at_us, rows.high, rows.low, rows.high, has_value.astype(np.float64)))
            made = replace(made, total=made.high, low=made.high, count=(made.count > 0).astype(np.float64))
        case _:
            made = merged(Rows(subject, rows.at_us, mean, rows.low, rows.high, has_value.astype(np.float64)))
    return made, list(labels)


def _sums(subject: Subjects, at_us: Times, values: Values, has_value: NDArray[np.bool_]) -> Rows:
    return merged(Rows(subject, at_us, values, values, values, has_value.astype(np.float64)))


_Points = tuple[Times, Values, Values, Values]


def _line(metric: str, group: _Group, at_us: Times, mean: Values, low: Values, high: Values) -> AnswerSeries:
    client, device, owner, *run = group
    name = run[0] if run else owner.removeprefix("run:") if owner.startswith("run:") else ""
    return AnswerSeries(client, device, owner, name, metric, at_us, mean, low, high)


def _gaps(at_us: Times, least_us: float) -> NDArray[np.intp]:
    """Before which places nothing came for too long: for the intervals around, which change with sessions, and at least ``least_us``."""
    steps = np.diff(at_us)
    places = np.flatnonzero(steps > GAP_INTERVALS * least_us)
    if not len(places):
        return places
    around = places[:, None] + np.arange(-INTERVALS_AROUND, INTERVALS_AROUND + 1)
    is_there = (around >= 0) & (around < len(steps))
    near = np.where(is_there, steps[np.clip(around, 0, len(steps) - 1)], np.nan)
    usual = np.nanquantile(near, 0.5, axis=1, method="lower")
    return np.asarray(places[steps[places] > GAP_INTERVALS * usual] + 1)


def _with_gaps(rows: Rows, step_us: int, least_us: float) -> _Points:
    """All rows of one line, and a row of NaN in each gap."""
    at_us, mean = rows.at_us, rows.mean
    return _broken(at_us, mean, rows.low, rows.high, _gaps(at_us, max(step_us, least_us)))


def _broken(at_us: Times, mean: Values, low: Values, high: Values, places: NDArray[np.intp]) -> _Points:
    """NaN before each of the places, in the middle of the gap."""
    if not len(places):
        return at_us, mean, low, high
    middle = at_us[places - 1] + (at_us[places] - at_us[places - 1]) // 2
    nothing = np.full(len(places), np.nan)
    broken = [np.insert(values, places, nothing) for values in (mean, low, high)]
    return np.insert(at_us, places, middle), broken[0], broken[1], broken[2]


def _thinned(rows: Rows, points: int, least_us: float) -> _Points:
    """Samples of one line, by MinMaxLTTB (doi:10.48550/arXiv.2305.00332), with its gaps; at most ``points`` with them."""
    places = _gaps(rows.at_us, least_us)
    if len(rows) + len(places) <= points:
        return _broken(rows.at_us, rows.total, rows.low, rows.high, places)
    has_value = np.flatnonzero(rows.count > 0)
    if not len(has_value):
        at_us, nothing = rows.at_us[[0, -1]], np.full(2, np.nan)
        return at_us, nothing, nothing, nothing
    at_us, values = rows.at_us[has_value], rows.total[has_value]
    part = np.zeros(len(rows), np.int64)
    part[places] = 1
    part = np.cumsum(part)[has_value]
    breaks = np.zeros(len(at_us), np.int64)
    breaks[1:] = np.cumsum((np.diff(part) > 0) | (np.diff(has_value) > 1))
    room = points - min(int(breaks[-1]), points // 3)
    kept = np.arange(len(at_us))
    if len(at_us) > room:
        kept = np.asarray(_DOWNSAMPLER.downsample(at_us, np.ascontiguousarray(values), n_out=room)).astype(np.int64)
    at_us, values, breaks = at_us[kept], values[kept], breaks[kept]
    places = np.flatnonzero(np.diff(breaks)) + 1
    widest = np.argsort(at_us[places - 1] - at_us[places], kind="stable")[: points - len(kept)]
    return _broken(at_us, values, values, values, np.sort(places[widest]))
