"""A stand-in for ``gswarm.client.job_process``: makes folders instead of models. The first run's ``dataset`` says what it does."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from gswarm.domain.plan import Failure
from gswarm.training import job_types as t


def folder(path: Path, text: str) -> str:
    path.mkdir(parents=True)
    (path / "part.bin").write_text(text)
    return str(path)


def answer(request: t.JobRequest) -> t.JobResult | Failure:
    match request:
        case t.PrepareRequest():
            match request.runs[0].dataset:
                case "die":
                    print("fake job: about to die", file=sys.stderr, flush=True)
                    os.kill(os.getpid(), signal.SIGKILL)
                case "missing":
                    return Failure("not_found", "no such data set")
                case "hang":
                    time.sleep(600)
                case "noise":
                    sys.stdout.write("this is no answer\n")
                    sys.exit(0)
            out = Path(request.out_dir)
            base, data = folder(out / "base-0", "base"), folder(out / "data-0", "data")
            return t.PrepareResult(tuple(t.PreparedRun(base, data, 80, 20, 1, 40, 120) for _ in request.runs), 0.1)
        case t.VerifyRequest():
            inputs = [request.base_dir, request.data_dir, request.checkpoint_dir, request.start_checkpoint_dir or ""]
            known = all(Path(place, "part.bin").is_file() for place in inputs if place)
            return t.VerifyResult(known, "d", request.expected_weights_digest, 0.0, 1, "cpu", 0.1, ())
        case t.ExportRequest():
            folder(Path(request.out_dir), Path(request.checkpoint_dir, "part.bin").read_text())
            return t.ExportResult(request.out_dir, request.format, ("part.bin",), 4)


def main() -> None:
    assert int(sys.argv[1]) == os.getppid()
    response = t.encode_response(answer(t.decode_request(sys.stdin.buffer.read())))
    sys.stdout.write(response + "\n")


if __name__ == "__main__":
    main()
