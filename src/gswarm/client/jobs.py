"""Prepare, verify and export: one job process at a time, manifests in and manifests out."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, assert_never

from pydantic import TypeAdapter, ValidationError

from gswarm.client.agent_events import JobDone
from gswarm.client.devices import JOBS, Devices
from gswarm.client.pool import ClientPool
from gswarm.client.processes import how_it_ended, kill_group, slot_environment
from gswarm.client.trainer_log import CappedLog
from gswarm.domain.errors import CorruptDataError, GswarmError, InvalidInputError, StorageError, TrainingError
from gswarm.domain.ids import Digest, JobId
from gswarm.domain.messages import JobOrder
from gswarm.domain.plan import Checkpoint, Failure, JobKind, RunSize, SlotSpec
from gswarm.domain.spec import RunSpec
from gswarm.training.job_types import (
    ExportRequest,
    ExportResult,
    JobRequest,
    JobResult,
    PreparedRun,
    PrepareRequest,
    PrepareResult,
    VerifyRequest,
    VerifyResult,
    decode_response,
    encode_request,
)
from gswarm.training.presence import check_present

logger = logging.getLogger(__name__)

JOB_COMMAND = (sys.executable, "-m", "gswarm.client.job_process")
RESPONSE_BYTES_MAX = 64 * 1024 * 1024
TIME_LIMITS_S = {JobKind.PREPARE: 12 * 3600.0, JobKind.VERIFY: 7 * 86400.0, JobKind.EXPORT: 12 * 3600.0}


@dataclass(frozen=True, slots=True)
class _PrepareOrder:
    runs: tuple[dict[str, Any], ...]
    shared: dict[str, Any] = field(default_factory=dict)
    """Values that all runs have."""
    trusted_code: tuple[str, ...] = ()

    def specs(self) -> tuple[RunSpec, ...]:
        """Raises ValidationError."""
        return _SPECS.validate_python([self.shared | run for run in self.runs])


@dataclass(frozen=True, slots=True)
class _VerifyOrder:
    spec: RunSpec
    base: Digest
    data: Digest
    total_steps: int
    steps_per_epoch: int
    until_step: int
    weights_digest: str
    manifest: Digest
    start: Checkpoint | None = None
    warm_start: bool = False
    first_step: int = 0
    trusted_code: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _ExportOrder:
    spec: RunSpec
    base: Digest
    checkpoint: Checkpoint
    format: str
    trusted_code: tuple[str, ...] = ()


_SPECS: TypeAdapter[tuple[RunSpec, ...]] = TypeAdapter(tuple[RunSpec, ...])
_ORDERS: dict[JobKind, TypeAdapter[Any]] = {
    JobKind.PREPARE: TypeAdapter(_PrepareOrder),
    JobKind.VERIFY: TypeAdapter(_VerifyOrder),
    JobKind.EXPORT: TypeAdapter(_ExportOrder),
}


class JobRunner:
    """Runs jobs of this client, one after another.

    Args:
        pool: where manifests come from and go to.
        directory: the client's own; a job's files are under ``jobs`` in it while it runs.
        slot: the device and threads that jobs use.
        log_path: what job processes print.
        devices: keeps a job process away from one of an earlier client.
        command: how a job process starts; it gets the client's pid as its argument.
    """

    def __init__(
        self,
        pool: ClientPool,
        directory: Path,
        slot: SlotSpec,
        log_path: Path,
        devices: Devices,
        command: tuple[str, ...] = JOB_COMMAND,
    ) -> None:
        self._pool = pool
        self._work_dir = directory / "jobs"
        shutil.rmtree(self._work_dir, ignore_errors=True)
        self._work_dir.mkdir(mode=0o700)
        self._slot = slot
        self._log_path = log_path
        self._devices = devices
        self._command = command
        self._turn = asyncio.Lock()
        self.running: tuple[int, JobId] | None = None
        """The process that works now, and for which job."""

    async def run(self, order: JobOrder) -> JobDone:
        """Does the job when its turn comes. Cancelling kills its process. What goes wrong is in the answer."""
        owner = f"job:{order.job}"
        async with self._turn:
            folder = Path(tempfile.mkdtemp(prefix=f"{order.kind.value}-", dir=self._work_dir))
            log = CappedLog(self._log_path)
            try:
                return await self._run(order, owner, folder, log)
            except GswarmError as error:
                suspect = isinstance(error, StorageError) or (isinstance(error, TrainingError) and error.machine_suspect)
                return JobDone(order.job, failure=Failure(error.code, str(error), suspect, log.tail()))
            except OSError as error:
                return JobDone(order.job, failure=Failure("storage", f"the job process cannot start: {error}", machine_suspect=True))
            finally:
                log.close()
                self._pool.release(owner)
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _run(self, order: JobOrder, owner: str, folder: Path, log: CappedLog) -> JobDone:
        request = await self._request(order, owner, folder)
        try:
            async with asyncio.timeout(TIME_LIMITS_S[order.kind]):
                result = await self._process(order.job, request, folder, log, is_offline=order.kind is not JobKind.PREPARE)
        except TimeoutError:
            raise TrainingError(f"the {order.kind.value} job took longer than {TIME_LIMITS_S[order.kind] / 3600:.0f} h") from None
        match result:
            case Failure():
                return JobDone(order.job, failure=result if result.log_tail else replace(result, log_tail=log.tail()))
            case PrepareResult():
                return await self._prepared(order, owner, result)
            case VerifyResult():
                return JobDone(order.job, json.dumps(asdict(result)))
            case ExportResult():
                return await self._exported(order, owner, result)
            case _:
                assert_never(result)

    async def _request(self, order: JobOrder, owner: str, folder: Path) -> JobRequest:
        try:
            asked = _ORDERS[order.kind].validate_json(order.request_json)
            specs = asked.specs() if isinstance(asked, _PrepareOrder) else ()
        except ValidationError as error:
            raise InvalidInputError(f"the {order.kind.value} job cannot be read: {str(error).splitlines()[0]}") from error
        match asked:
            case _PrepareOrder():
                await asyncio.to_thread(check_present, specs)  # a mistyped path is told at once, not when torch is imported
                return PrepareRequest(specs, str(folder), asked.trusted_code)
            case _ExportOrder():
                inputs = [asked.base, asked.checkpoint.manifest]
                base, checkpoint = [str(await self._pool.unpack(owner, digest)) for digest in inputs]
                return ExportRequest(asked.spec, base, checkpoint, asked.format, str(folder / "out"), asked.trusted_code)
            case _VerifyOrder():
                dirs = await self._pool.inputs(owner, asked.base, asked.data, asked.manifest)
                start = str(await self._pool.unpack(owner, asked.start.manifest)) if asked.start is not None else None
                return VerifyRequest(
                    spec=asked.spec,
                    base_dir=dirs.base_dir,
                    data_dir=dirs.data_dir,
                    total_steps=asked.total_steps,
                    steps_per_epoch=asked.steps_per_epoch,
                    until_step=asked.until_step,
                    expected_weights_digest=asked.weights_digest,
                    checkpoint_dir=dirs.checkpoint_dir or "",
                    start_checkpoint_dir=start,
                    warm_start=asked.warm_start,
                    first_step=asked.first_step,
                    trusted_code=asked.trusted_code,
                )
            case _:
                raise InvalidInputError(f"this client knows no {order.kind.value} jobs", "install the host's version of gswarm here")

    async def _prepared(self, order: JobOrder, owner: str, result: PrepareResult) -> JobDone:
        manifests: dict[str, Digest] = {}
        for kind, folder in [("base", run.base_dir) for run in result.runs] + [("data", run.data_dir) for run in result.runs]:
            if folder not in manifests:
                manifests[folder], _ = await self._pool.add_folder(owner, kind, Path(folder))
        for manifest in manifests.values():
            # What came first may have grown old on the host while the rest was on its way: asking for it keeps it there.
            await self._pool.push(manifest)
        sizes = tuple(_size_of(run, manifests) for run in result.runs)
        dropped = max((run.dropped_rows for run in result.runs), default=0)
        return JobDone(order.job, json.dumps({"seconds": result.seconds, "dropped_rows": dropped}), sizes=sizes)

    async def _exported(self, order: JobOrder, owner: str, result: ExportResult) -> JobDone:
        digest, _ = await self._pool.add_folder(owner, "export", Path(result.out_dir))
        answer = {"manifest": digest, "format": result.format, "files": list(result.files), "size_bytes": result.size_bytes}
        return JobDone(order.job, json.dumps(answer))

    async def _process(self, job: JobId, request: JobRequest, folder: Path, log: CappedLog, *, is_offline: bool) -> JobResult | Failure:
        """Raises:
        TrainingError: the process ended without an answer.
        CorruptDataError: its answer cannot be read.
        ConflictError: a job process of an earlier client does not end.
        """
        async with self._devices.seat(JOBS) as seat_fd:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                str(os.getpid()),
                pass_fds=(seat_fd,),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                env=slot_environment(self._slot, os.environ, is_offline=is_offline, scratch=folder),
            )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        copying = asyncio.create_task(_copy(process.stderr, log))
        self.running = (process.pid, job)
        try:
            process.stdin.write(encode_request(request).encode())
            process.stdin.close()
            answer = await _read_all(process.stdout)
            code = await process.wait()
        finally:
            self.running = None
            kill_group(process.pid)
            await process.wait()
            await copying
        if not answer:
            raise TrainingError(how_it_ended("job process", code), machine_suspect=True)
        return decode_response(answer)


def _size_of(run: PreparedRun, manifests: dict[str, Digest]) -> RunSize:
    return RunSize(run.steps_per_epoch, run.total_steps, run.train_rows, run.eval_rows, manifests[run.base_dir], manifests[run.data_dir])


async def _read_all(stream: asyncio.StreamReader) -> bytes:
    data = bytearray()
    while piece := await stream.read(64 * 1024):
        data += piece
        if len(data) > RESPONSE_BYTES_MAX:
            raise CorruptDataError(f"the job's answer is longer than {RESPONSE_BYTES_MAX} bytes")
    return bytes(data)


async def _copy(stream: asyncio.StreamReader, log: CappedLog) -> None:
    while data := await stream.read(64 * 1024):
        log.write(data)
