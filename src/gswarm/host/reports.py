"""What clients report, as events: the check before a commit, and the memory of what was refused."""

from __future__ import annotations

import itertools
import json
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import assert_never

from gswarm.datapool.layout import is_digest
from gswarm.domain.errors import (
    ConflictError,
    CorruptDataError,
    FencedError,
    ForbiddenError,
    GswarmError,
    InvalidInputError,
    NotFoundError,
    StorageError,
)
from gswarm.domain.ids import HOST_HOLDER, ClientName, Digest, JobId, RunId
from gswarm.domain.messages import (
    Ack,
    ChunkCommittedReport,
    ChunkFailedReport,
    ChunkTrainedReport,
    GrantReturnedReport,
    JobReport,
    ReliableMessage,
)
from gswarm.domain.plan import Checkpoint, Failure, JobKind, Run
from gswarm.domain.spec import Durability
from gswarm.domain.strict_json import load_json
from gswarm.host.access.rights import PoolRights
from gswarm.host.clock import Clock
from gswarm.host.keeper import PoolKeeper
from gswarm.host.loop import PlanLoop
from gswarm.scheduler.core import ClusterState
from gswarm.scheduler.events import ChunkCommitted, ChunkFailed, ChunkTrained, Event, GrantReturned, JobFinished
from gswarm.scheduler.jobs import held_by

REFUSED_KEPT_MAX = 200
INCOMPLETE = "incomplete"
"""Code of the answer to a report that names blobs which its sender has not brought: push a checkpoint and report again; do a job again."""

_log = logging.getLogger("gswarm.host.pool")
_FOR_GOOD = (FencedError, ConflictError, NotFoundError, InvalidInputError, ForbiddenError, CorruptDataError)


@dataclass(frozen=True, slots=True)
class RefusedReport:
    """A report that does not count, for people to see."""

    at_s: float
    client: ClientName
    kind: str
    subject: str
    """The run or job."""
    generation: int | None
    code: str
    message: str


class _PoolFailsError(StorageError):
    """The disk of the pool, not the journal's."""


class ReportDesk:
    """Takes clients' reliable messages into the plan and says what to answer.

    Args:
        rights: who may name which blobs in a checkpoint; ``None`` where clients prove nothing about themselves (plaintext).
    """

    def __init__(self, loop: PlanLoop, keeper: PoolKeeper, clock: Clock, rights: PoolRights | None = None) -> None:
        self._loop = loop
        self._keeper = keeper
        self._clock = clock
        self._rights = rights
        self._checks = itertools.count()
        self.refused_count = 0
        self.refused: deque[RefusedReport] = deque(maxlen=REFUSED_KEPT_MAX)

    async def take(self, client: ClientName, report: ReliableMessage) -> Ack:
        """Journals the report, or refuses it for good. A refused report leaves no grant open behind it, for its client forgets it.

        Raises:
            GswarmError: neither was possible now (the queue is full, the disk failed); the client keeps the report and sends it again.
        """
        state = self._loop.state
        # What it was may still be on its way to the disk.
        if already_counts(state, client, report) and await self._loop.at_rest(lambda: already_counts(state, client, report)):
            return Ack(report.seq, accepted=True)
        try:
            if isinstance(report, ChunkCommittedReport):
                return await self._commit(client, report)
            event = event_of(state, client, report)
            if isinstance(event, JobFinished) and self._rights is not None:
                return await self._finish(client, report, event, self._rights)
            await self._loop.submit(event)
        except _PoolFailsError as error:
            # To send it again meets the same disk and fails the chunk with its reason; a new session would only bring the same report.
            _log.warning("what %s brought cannot be looked at: %s", client, error)
            return Ack(report.seq, accepted=False, error_code=INCOMPLETE, message=str(error))
        except _FOR_GOOD as error:
            await self._close(client, report, error)
            return self._refuse(client, report, error)
        return Ack(report.seq, accepted=True)

    async def _close(self, client: ClientName, report: ReliableMessage, error: GswarmError) -> None:
        """The chunk of a refused report has failed, unless its grant was over anyway."""
        if isinstance(report, JobReport):
            return
        failure = Failure(error.code, f"a report of {client} was refused: {error.message}", machine_suspect=True)
        with suppress(FencedError):
            await self._loop.submit(ChunkFailed(client, report.run, report.generation, failure))

    async def _finish(self, client: ClientName, report: ReliableMessage, event: JobFinished, rights: PoolRights) -> Ack:
        """Whoever is granted a run may read its model and data, and people its export, so what is named must be its sender's to give."""
        owner = self._owner(f"job:{client}:{event.job}")
        state = self._loop.state
        named = [digest for size in event.sizes for digest in (size.base, size.data)]
        if _is_export(state, event.job) and event.result_json and (exported := exported_manifest(event.result_json)) is not None:
            named.append(exported)
        try:
            for manifest in dict.fromkeys(named):
                lacking = await self._lacking(client, manifest, False, owner)
                if lacking:
                    await self._loop.at_rest(lambda: held_by(state, client, event.job))
                    return _incomplete(client, report, manifest, lacking)
            await rights.check_prepared(event.sizes)
            await self._loop.submit(event)
        finally:
            self._keeper.let_go(owner)
        return Ack(report.seq, accepted=True)

    async def _commit(self, client: ClientName, report: ChunkCommittedReport) -> Ack:
        """The bytes come first: a position must never be ahead of what can be resumed."""
        owner = self._owner(f"commit:{client}:{report.run}:{report.generation}")
        try:
            return await self._commit_held(client, report, owner)
        finally:
            self._keeper.let_go(owner)

    def _owner(self, what: str) -> str:
        """A name of this check alone: the one of a session that was cut may still be going on, and lets go of what is its own."""
        return f"{what}:{next(self._checks)}"

    async def _commit_held(self, client: ClientName, report: ChunkCommittedReport, owner: str) -> Ack:
        run, manifest = self._loop.state.runs.get(report.run), report.checkpoint.manifest
        is_local = run is None or self._durability(run) is Durability.LOCAL
        lacking = await self._lacking(client, manifest, is_local, owner)
        if lacking:
            # Nobody needs the bytes of a grant that is over.
            state = self._loop.state
            await self._loop.at_rest(lambda: state.open_grant(client, report.run, report.generation))
            return _incomplete(client, report, manifest, lacking)
        await self._loop.submit(_committed(client, report, (client,) if is_local else (client, HOST_HOLDER)))
        return Ack(report.seq, accepted=True)

    async def _lacking(self, client: ClientName, manifest: Digest, is_local: bool, owner: str) -> list[Digest]:
        """What the client must still bring: what is not here, and what is here but it has shown no right to."""
        try:
            lacking = [] if is_local else await self._keeper.lacking(manifest, owner)
        except StorageError as error:
            raise _PoolFailsError(f"on the host: {error.message}", error.hint) from error
        if lacking or self._rights is None:
            return lacking
        return await self._rights.not_owned(client, manifest)

    def _durability(self, run: Run) -> Durability:
        return self._loop.state.experiments[run.experiment].spec.checkpoint.durability

    def _refuse(self, client: ClientName, report: ReliableMessage, error: GswarmError) -> Ack:
        subject, generation = (report.job, None) if isinstance(report, JobReport) else (report.run, report.generation)
        kind = type(report).__name__.removesuffix("Report")
        self.refused_count += 1
        self.refused.append(RefusedReport(self._clock.now_s(), client, kind, subject, generation, error.code, error.message))
        return Ack(report.seq, accepted=False, error_code=error.code, message=str(error))


def _incomplete(client: ClientName, report: ReliableMessage, manifest: Digest, lacking: Sequence[Digest]) -> Ack:
    message = f"{client} has not brought {len(lacking)} blobs of {manifest}, the first is {lacking[0]}"
    return Ack(report.seq, accepted=False, error_code=INCOMPLETE, message=message)


def already_counts(state: ClusterState, client: ClientName, report: ReliableMessage) -> bool:
    """Whether this very report took effect before: it was flushed, but the client was cut off before it heard so."""
    match report:
        case ChunkCommittedReport(checkpoint=checkpoint):
            return any(kept.step == checkpoint.step and kept.manifest == checkpoint.manifest for kept in _kept(state, report.run))
        case ChunkTrainedReport(reached_step=step):
            return any(kept.step == step and client in kept.holders for kept in _kept(state, report.run))
        case JobReport():
            job = state.jobs.get(report.job)
            finished = _finished(state, client, report)
            outcome = (finished.result_json, finished.failure)
            return job is not None and job.client == client and outcome == (job.result_json, job.failure) and outcome != (None, None)
        case ChunkFailedReport() | GrantReturnedReport():
            return False
        case _:
            assert_never(report)


def _kept(state: ClusterState, run_id: RunId) -> list[Checkpoint]:
    run = state.runs.get(run_id)
    return run.checkpoints if run is not None else []


def event_of(
    state: ClusterState, client: ClientName, report: ChunkTrainedReport | ChunkFailedReport | GrantReturnedReport | JobReport
) -> Event:
    """The report as an event of that client."""
    match report:
        case ChunkTrainedReport():
            return ChunkTrained(client, report.run, report.generation, report.reached_step, report.step_time_s)
        case ChunkFailedReport():
            return ChunkFailed(client, report.run, report.generation, report.failure)
        case GrantReturnedReport():
            return GrantReturned(client, report.run, report.generation)
        case JobReport():
            return _finished(state, client, report)
        case _:
            assert_never(report)


def _finished(state: ClusterState, client: ClientName, report: JobReport) -> JobFinished:
    """A result that nobody could read fails its job, as does an export that names no manifest; numbers that are not finite become gaps."""
    text = report.result_json
    try:
        if text:
            document = load_json(text, with_gaps=True)
            if not isinstance(document, dict):
                raise InvalidInputError("it is no object")
            text = json.dumps(document, ensure_ascii=False)
    except InvalidInputError as error:
        return JobFinished(client, report.job, failure=Failure(error.code, f"the result of {client} cannot be read: {error.message}"))
    if report.failure is None and _is_export(state, report.job) and exported_manifest(text or "{}") is None:
        return JobFinished(client, report.job, failure=Failure("invalid_input", f"the export of {client} names no manifest"))
    return JobFinished(client, report.job, text, report.failure, report.sizes)


def exported_manifest(result_json: str) -> Digest | None:
    """What an export's result names, if that is a digest: the bytes come from a client, or from a journal of before it was looked at."""
    try:
        result = load_json(result_json, with_gaps=True)
    except InvalidInputError:
        return None
    manifest = result.get("manifest") if isinstance(result, dict) else None
    return Digest(manifest) if isinstance(manifest, str) and is_digest(manifest) else None


def _is_export(state: ClusterState, job_id: JobId) -> bool:
    job = state.jobs.get(job_id)
    return job is not None and job.kind is JobKind.EXPORT


def _committed(client: ClientName, report: ChunkCommittedReport, holders: tuple[str, ...]) -> ChunkCommitted:
    """Who holds the bytes is the host's finding, not the client's claim."""
    return ChunkCommitted(client, report.run, report.generation, replace(report.checkpoint, holders=holders))
