"""What the core decided about an event, as a digest that stands beside it in the journal.

A replay decides again. Where it comes to something else, the code is not the code that wrote the entry, and the plan that would come
out is not the one that clients were told of: the digest shows it at that entry.
"""

from __future__ import annotations

from collections.abc import Iterable

from blake3 import blake3

from gswarm.scheduler.effects import Effect, SendGrant, SendJob, SendRevoke, SendStop

DIGEST_BYTES = 8


def decisions_digest(effects: Iterable[Effect]) -> bytes:
    """Of who was given what, and what was taken back; the order does not matter, nor what follows from the state alone."""
    lines = sorted(line for line in map(_line, effects) if line)
    return blake3("\n".join(lines).encode()).digest(DIGEST_BYTES)


def _line(effect: Effect) -> str:
    match effect:
        case SendGrant(client=client, grant=grant):
            return f"grant {client} {grant.run} {grant.generation} {' '.join(grant.slots)} {grant.from_step} {grant.to_step}"
        case SendJob(client=client, job=job):
            return f"job {client} {job}"
        case SendStop(client=client, run=run, generation=generation):
            return f"stop {client} {run} {generation}"
        case SendRevoke(client=client, run=run, generation=generation):
            return f"revoke {client} {run} {generation}"
        case _:
            return ""
