"""``gswarm run verify|export``: jobs on a client, and bringing their results here."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gswarm.cli.output import Format, Json, Output, duration, print_json, put, say, size, text, warn
from gswarm.cli.reach import open_host
from gswarm.cli.select import Of, Runs, Where, chosen, require_choice
from gswarm.datapool.tree import path_below
from gswarm.domain.errors import ConflictError, GswarmError, InvalidInputError, error_from_code

if TYPE_CHECKING:
    from gswarm.sdk import Host

RunRef = Annotated[str, typer.Argument(metavar="R", help="Id or unique name.")]


class ExportFormat(StrEnum):
    ADAPTER = "adapter"
    MERGED = "merged"


def finish(host: Host, job: Json) -> Json:
    """The job's result once it has ended. Raises the failure as a typed error."""
    ended = host.wait_for_job(job["id"])
    failure = ended["failure"]
    if failure is not None:
        raise error_from_code(
            failure["code"], f"job {job['id']} failed: {failure['message']}", failure["log_tail"].strip().rpartition("\n")[2]
        )
    result: Json = ended["result"]
    return result


def verify(run: RunRef, output: Output = Format.TABLE) -> None:
    """Train the run again by plain TRL without interruption, and compare the weights. Exits 1 where they differ."""
    with open_host() as host:
        found = host.run(run)
        job = host.verify_run(found["id"])
        say(output, f"{found['id']}: training again up to step {found['position']} without interruption (job {job['id']})")
        result = finish(host, job)
    match output:
        case Format.JSON:
            print_json({"run": found["id"], **result})
        case Format.QUIET:
            put(result["digest"])
        case Format.TABLE:
            for line in verdict(result):
                put(line)
    if not result["identical"]:
        raise typer.Exit(1)


def verdict(result: Json) -> list[str]:
    """What a verification found, for people."""
    details = f"{result['steps']} steps on {result['device']} in {duration(result['seconds'])}"
    if result["identical"]:
        return [f"identical  {result['digest']}", details]
    return [
        f"different  largest difference {text(result['max_abs_difference'])}",
        f"expected   {result['expected']}",
        f"got        {result['digest']}",
        f"{details}; only devices with deterministic kernels repeat every bit",
    ]


def export(
    runs: Runs = None,
    export_format: Annotated[
        ExportFormat, typer.Option("--format", help="The LoRA weights alone, or a whole model.")
    ] = ExportFormat.ADAPTER,
    to: Annotated[Path | None, typer.Option("--to", help="A new folder.  [<run>-<format>; of several runs: the folder above]")] = None,
    checkpoint: Annotated[str, typer.Option("--checkpoint", metavar="best|latest|STEP", help="Which state of the run.")] = "best",
    where: Where = None,
    experiment: Of = None,
    output: Output = Format.TABLE,
) -> None:
    """Bring runs' adapters or merged models here, ready for peft or transformers."""
    require_choice(runs, where)
    with open_host() as host:
        refs = chosen(host, runs, where, experiment)
        documents: list[Json] = []
        failed: GswarmError | None = None
        for ref in refs:
            own_name = f"{ref}-{export_format}"
            target = path_below(to or Path(), own_name) if to is None or len(refs) > 1 else to
            try:
                document = export_one(host, ref, export_format, checkpoint, target)
            except GswarmError as error:
                if len(refs) == 1:
                    raise
                failed = error
                warn(f"error: {ref}: {error}")
                continue
            documents.append(document)
            if output is Format.QUIET:
                print(document["path"])
            what = f"{document['run']}: {document['format']} of step {document['step']}"
            say(output, f"{what} in {document['path']} ({size(document['size_bytes'])})")
    if output is Format.JSON:
        print_json(documents)
    if failed is not None:
        raise typer.Exit(failed.exit_code)


def export_one(host: Host, ref: str, export_format: str, checkpoint: str, to: Path) -> Json:
    """Runs the job, then writes its files under ``to``.

    Raises:
        ConflictError: the folder is not empty; nothing is ever overwritten.
        GswarmError: the job failed, or a file arrived damaged.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise ConflictError(f"{to} is there already", "name another folder with --to")
    job = host.export_run(ref, export_format, checkpoint)
    result = finish(host, job)
    manifest = result.get("manifest")
    if not isinstance(manifest, str):
        raise InvalidInputError(f"job {job['id']} names no files", "is the client of this version?")
    paths = host.download(manifest, to)
    return {
        "run": job["run"],
        "format": export_format,
        "step": job["request"].get("step"),
        "path": str(to.resolve()),
        "files": sorted(str(path.relative_to(to)) for path in paths),
        "size_bytes": sum(path.stat().st_size for path in paths),
        "manifest": manifest,
    }
