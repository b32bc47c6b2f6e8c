"""A TCP relay that delays what passes: ``python slow_proxy.py DELAY_S TARGET PORT...``; it listens on the ports that it forwards to."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

PIECE_BYTES = 64 * 1024
PIECES_ON_THE_WAY = 64
DEAD_MS = 5000


async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """What is read now is written ``delay_s`` later, in order, and so is the end."""
    loop = asyncio.get_running_loop()
    on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES_ON_THE_WAY)

    async def deliver() -> None:
        while True:
            due_s, data = await on_the_way.get()
            await asyncio.sleep(due_s - loop.time())
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()

    async def collect() -> None:
        while data := await reader.read(PIECE_BYTES):
            await on_the_way.put((loop.time() + delay_s, data))
        await on_the_way.put((loop.time() + delay_s, b""))

    await asyncio.gather(collect(), deliver())


async def relay(target: str, port: int, delay_s: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, EOFError), contextlib.closing(writer):
        there, onward = await asyncio.wait_for(asyncio.open_connection(target, port), 5)
        for end in (writer, onward):
            # A line would not keep up the half of a connection whose other half is gone.
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_MS)
        with contextlib.closing(onward):
            async with asyncio.TaskGroup() as both:
                both.create_task(forward(reader, onward, delay_s))
                both.create_task(forward(there, writer, delay_s))


async def main() -> None:
    delay_s, target = float(sys.argv[1]), sys.argv[2]

    async def listen(port: int) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ExceptionGroup):
                await relay(target, port, delay_s, reader, writer)

        return await asyncio.start_server(serve, "0.0.0.0", port)

    servers = [await listen(int(port)) for port in sys.argv[3:]]
    print("up", flush=True)
    await asyncio.gather(*(one.serve_forever() for one in servers))


if __name__ == "__main__":
    asyncio.run(main())
