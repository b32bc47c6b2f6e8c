"""Metric batches and blob locations <-> protobuf. Used through ``gswarm.wire.convert``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gswarm.domain.errors import InvalidInputError
from gswarm.domain.ids import ClientName, Digest, RunId
from gswarm.domain.messages import LogLine, MetricBatch, StepMetrics
from gswarm.wire import fields
from gswarm.wire._pb import metrics_pb2 as metrics_pb
from gswarm.wire._pb import pool_pb2 as pool_pb


def batch_to_proto(batch: MetricBatch) -> metrics_pb.MetricBatch:
    """Steps of the same run, generation and metrics become one set of columns.

    Steps of different runs may come out in another order; those of one run under one grant and with the same metrics keep theirs.
    """
    fields.limited(batch.steps, "steps", fields.ROWS_MAX)
    columns: dict[tuple[RunId, int, tuple[str, ...]], metrics_pb.StepColumns] = {}
    for step in batch.steps:
        names = tuple(name for name, _ in step.values)
        key = (step.run, step.generation, names)
        column = columns.get(key)
        if column is None:
            checked = fields.names(names, "metric names", fields.PAIRS_MAX)
            column = metrics_pb.StepColumns(run=fields.name(step.run, "run"), generation=step.generation, names=checked)
            columns[key] = column
        column.steps.append(step.step)
        column.at_s.append(fields.finite(step.at_s, "at_s"))
        column.values.extend(value for _, value in step.values)
    logs = fields.each(batch.logs, "logs", fields.LOG_LINES_MAX, _log_to_proto)
    return metrics_pb.MetricBatch(seq=batch.seq, columns=columns.values(), logs=logs)


def batch_from_proto(batch: metrics_pb.MetricBatch) -> MetricBatch:
    fields.limited(batch.columns, "columns", fields.ROWS_MAX)
    fields.total((len(column.steps) for column in batch.columns), "steps", fields.ROWS_MAX)
    return MetricBatch(
        seq=batch.seq,
        steps=tuple(step for column in batch.columns for step in _rows(column)),
        logs=fields.each(batch.logs, "logs", fields.LOG_LINES_MAX, _log_from_proto),
    )


def _rows(column: metrics_pb.StepColumns) -> Iterator[StepMetrics]:
    run = RunId(fields.name(column.run, "run"))
    names = fields.names(column.names, "metric names", fields.PAIRS_MAX)
    rows, width = len(column.steps), len(names)
    if len(column.at_s) != rows or len(column.values) != rows * width:
        raise InvalidInputError(f"the columns of run {run} have different lengths")
    values = list(column.values)
    for row, (step, at_s) in enumerate(zip(column.steps, column.at_s, strict=True)):
        pairs = tuple(zip(names, values[row * width : (row + 1) * width], strict=True))
        yield StepMetrics(run, column.generation, step, fields.finite(at_s, "at_s"), pairs)


def _log_to_proto(line: LogLine) -> metrics_pb.LogLine:
    return metrics_pb.LogLine(
        run=fields.name(line.run, "run"),
        at_s=fields.finite(line.at_s, "at_s"),
        level=fields.name(line.level, "level"),
        text=fields.clip(line.text),
    )


def _log_from_proto(line: metrics_pb.LogLine) -> LogLine:
    return LogLine(
        run=RunId(fields.name(line.run, "run")),
        at_s=fields.finite(line.at_s, "at_s"),
        level=fields.name(line.level, "level"),
        text=fields.text(line.text, "text"),
    )


def locate_request_to_proto(digests: Sequence[Digest]) -> pool_pb.LocateRequest:
    return pool_pb.LocateRequest(
        digests=fields.each(digests, "digests", fields.LOCATE_MAX, lambda digest: fields.digest_to_bytes(digest, "digests"))
    )


def locate_request_from_proto(request: pool_pb.LocateRequest) -> tuple[Digest, ...]:
    return fields.each(request.digests, "digests", fields.LOCATE_MAX, lambda digest: fields.digest_from_bytes(digest, "digests"))


def locate_reply_to_proto(locations: Mapping[Digest, Sequence[tuple[str, str]]]) -> pool_pb.LocateReply:
    """``locations``: digest to (base URL, holder's name), best first."""
    fields.limited(locations, "locations", fields.LOCATE_MAX)
    return pool_pb.LocateReply(
        locations=[
            pool_pb.BlobLocation(
                digest=fields.digest_to_bytes(digest, "digest"),
                sources=[
                    pool_pb.BlobSource(url=_url(url), holder=fields.name(holder, "holder"))
                    for url, holder in fields.limited(sources, "sources", fields.HOLDERS_MAX)
                ],
            )
            for digest, sources in locations.items()
        ]
    )


def locate_reply_from_proto(reply: pool_pb.LocateReply) -> dict[Digest, list[tuple[str, str]]]:
    fields.limited(reply.locations, "locations", fields.LOCATE_MAX)
    return {
        fields.digest_from_bytes(location.digest, "digest"): [
            (_url(source.url), fields.name(source.holder, "holder"))
            for source in fields.limited(location.sources, "sources", fields.HOLDERS_MAX)
        ]
        for location in reply.locations
    }


def reach_request_to_proto(client: ClientName, enrolment: str) -> pool_pb.ReachRequest:
    return pool_pb.ReachRequest(client=fields.name(client, "client"), enrolment=fields.name(enrolment, "enrolment", may_be_empty=True))


def reach_request_from_proto(request: pool_pb.ReachRequest) -> tuple[ClientName, str | None]:
    """The enrolment is ``None`` where the asker does not send it yet."""
    client = ClientName(fields.name(request.client, "client"))
    if not request.HasField("enrolment"):
        return client, None
    return client, fields.name(request.enrolment, "enrolment", may_be_empty=True)


def reach_reply_to_proto(manifests: Sequence[Digest]) -> pool_pb.ReachReply:
    return pool_pb.ReachReply(
        manifests=fields.each(manifests, "manifests", fields.LOCATE_MAX, lambda digest: fields.digest_to_bytes(digest, "manifests"))
    )


def reach_reply_from_proto(reply: pool_pb.ReachReply) -> tuple[Digest, ...]:
    return fields.each(reply.manifests, "manifests", fields.LOCATE_MAX, lambda digest: fields.digest_from_bytes(digest, "manifests"))


def _url(value: str) -> str:
    return fields.name(value, "url", chars_max=fields.URL_CHARS_MAX)
