"""Which jobs are open, waiting, finished, and whose they are."""

from __future__ import annotations

from gswarm.domain.ids import ClientName, JobId
from gswarm.domain.plan import Job

FINISHED_MAX = 1_000
"""Finished jobs that are remembered."""


def is_finished(job: Job) -> bool:
    return job.result_json is not None or job.failure is not None


class JobIndex:
    """Owns the dict of jobs: every change of a job goes through ``put``."""

    def __init__(self, jobs: dict[JobId, Job]) -> None:
        self._jobs = jobs
        self._open: dict[JobId, None] = {}
        self._finished: dict[JobId, None] = {}
        self._of: dict[ClientName, dict[JobId, None]] = {}
        for job in jobs.values():
            self._note(job)

    def put(self, job: Job) -> None:
        """Add or replace a job. Of the finished ones the newest ``FINISHED_MAX`` stay."""
        before = self._jobs.get(job.id)
        if before is not None and before.client is not None:
            self._of[before.client].pop(job.id, None)
            if not self._of[before.client]:
                del self._of[before.client]
        self._open.pop(job.id, None)
        if is_finished(job):
            self._jobs.pop(job.id, None)
        self._jobs[job.id] = job
        self._note(job)
        while len(self._finished) > FINISHED_MAX:
            oldest = next(iter(self._finished))
            del self._finished[oldest], self._jobs[oldest]

    def _note(self, job: Job) -> None:
        if is_finished(job):
            self._finished[job.id] = None
            return
        self._open[job.id] = None
        if job.client is not None:
            self._of.setdefault(job.client, {})[job.id] = None

    def open_ids(self) -> list[JobId]:
        """In order of request."""
        return sorted(self._open, key=lambda job_id: int(job_id[1:]))

    def waiting(self) -> list[Job]:
        """Open ones that no client has, in order of request."""
        if len(self._open) == sum(len(jobs) for jobs in self._of.values()):
            return []
        return [job for job in (self._jobs[job_id] for job_id in self.open_ids()) if job.client is None]

    def of_client(self, client: ClientName) -> list[Job]:
        """Open ones of a client, in order of request."""
        return [self._jobs[job_id] for job_id in sorted(self._of.get(client, ()), key=lambda job_id: int(job_id[1:]))]

    def count(self, client: ClientName) -> int:
        return len(self._of.get(client, ()))

    def open_count(self) -> int:
        return len(self._open)

    def content(self) -> tuple[object, ...]:
        """Everything it knows, for comparison."""
        return self._open, list(self._finished), self._of
