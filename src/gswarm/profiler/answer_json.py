"""An answer as JSON, made by Arrow's own code: a chart of a thousand lines has a million numbers, and the host has other things to do."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

from gswarm.profiler.catalog import BY_NAME
from gswarm.profiler.store.rows import US
from gswarm.profiler.store.sample_store import AnswerSeries, SampleAnswer, Values


def encode_answer(answer: SampleAnswer) -> Iterator[bytes]:
    """Piece by piece: ``{from, to, step_s, series: [{client, device, owner, run, metric, unit, at, mean, min, max}]}``."""
    head = json.dumps({"from": answer.from_s, "to": answer.to_s, "step_s": answer.step_s})
    yield head[:-1].encode() + b', "series": ['
    for place, series in enumerate(answer.series):
        yield (b", " if place else b"") + _series(series)
    yield b"]}"


def _series(series: AnswerSeries) -> bytes:
    names = {"client": series.client, "device": series.device, "owner": series.owner, "run": series.run, "metric": series.metric}
    head = json.dumps({**names, "unit": BY_NAME[series.metric].unit})
    mean = numbers(series.mean)
    low, high = (mean, mean) if series.low is series.mean else (numbers(series.low), numbers(series.high))
    at = numbers(series.at_us / US)
    return b"".join((head[:-1].encode(), b', "at": [', at, b'], "mean": [', mean, b'], "min": [', low, b'], "max": [', high, b"]}"))


def numbers(values: Values) -> bytes:
    """Comma-separated JSON numbers; NaN is null."""
    texts = pa.array(values, pa.float64(), from_pandas=True).cast(pa.string()).fill_null("null")
    joined = pc.binary_join(pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts), ",")
    text: str = joined[0].as_py()
    return text.encode()
