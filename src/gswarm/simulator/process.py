"""A simulated machine, and a process on it: an asyncio event loop whose time, threads and death belong to the simulation."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from random import Random
from typing import Any, TypeVar

from gswarm.domain.errors import StorageError, UnavailableError
from gswarm.simulator.heap import Heap

T = TypeVar("T")

EPOCH_S = 1_700_000_000.0
"""What the wall clocks show when a simulation begins."""
THREAD_S_MAX = 0.004
"""A call in a thread, mostly a disk's, takes up to this long on a healthy machine."""
BURIAL_TURNS_MAX = 200
TURNS_AT_ONCE_MAX = 20
"""Of an event loop, while it has something to do at once; then the others get their turn."""

EXPECTED = (UnavailableError, StorageError)
"""What a task may end with when networks and disks fail. Anything else, an ``InvariantError`` too, is a bug."""


class Machine:
    """What outlives a process: clocks, a disk that may be full or slow, and who runs here now."""

    def __init__(self, heap: Heap, name: str, random: Random) -> None:
        self.heap = heap
        self.name = name
        self.random = random
        self.process: Process | None = None
        self.wall_offset_s = 0.0
        self.is_disk_full = False
        self.slow_disk_s = 0.0
        """Added to every call in a thread."""

    def wall_s(self) -> float:
        """What ``time.time()`` says here."""
        return EPOCH_S + self.heap.now_s + self.wall_offset_s

    def monotonic_s(self) -> float:
        return self.heap.now_s

    def thread_s(self) -> float:
        return self.random.random() * THREAD_S_MAX + self.slow_disk_s * self.random.random()


class Process:
    """One operating-system process. It offers what asyncio asks of an event loop; one heap event is one turn of the loop.

    After ``die`` the rest of the present callback may still run, as far as it goes, but nothing of it leaves the process: the
    network and the disks take nothing from the dead. Then its coroutines are closed.

    Args:
        on_broken: told of an exception that nobody handled, which is a bug.
        on_death: told once when the process is gone.
    """

    def __init__(
        self, machine: Machine, name: str, random: Random, on_broken: Callable[[str], None], on_death: Callable[[Process], None]
    ) -> None:
        self.machine = machine
        self.heap = machine.heap
        self.name = name
        self.random = random
        self.is_alive = True
        self.is_frozen = False
        self.freezes = 0
        self.thawed_s = -1.0
        """When it last woke up."""
        self.effects_left: int | None = None
        """Set by a trap: after so many more effects it dies."""
        self._on_broken = on_broken
        self._on_death = on_death
        self._ready: deque[asyncio.Handle] = deque()
        self._held: list[Callable[[], None]] = []
        self._tasks: dict[asyncio.Task[Any], None] = {}
        self._is_turn_due = False
        self._is_in_turn = False
        self._is_buried = False
        machine.process = self

    # ---- life ------------------------------------------------------------------------------------------------------

    def die(self) -> None:
        """As by SIGKILL."""
        if self.is_alive:
            self.is_alive = False
            if self.machine.process is self:
                self.machine.process = None
            if not self._is_in_turn:
                self._bury()

    def freeze(self) -> None:
        """As by SIGSTOP: time goes on, nothing else."""
        self.is_frozen = True
        self.freezes += 1

    def thaw(self) -> None:
        self.is_frozen, self.thawed_s = False, self.heap.now_s
        held, self._held = self._held, []
        for call in held:
            self.heap.after(0.0, call)
        self._want_turn()

    def spend_effect(self) -> bool:
        """Counts an effect that is about to be carried out; ``False`` when a trap kills the process before it."""
        if self.effects_left is not None:
            self.effects_left -= 1
            if self.effects_left < 0:
                self.effects_left = None
                self.die()
        return self.is_alive

    def _bury(self) -> None:
        """Closes what the process was doing, which can reach nobody any more."""
        for task in list(self._tasks):
            task.cancel()
        for _ in range(BURIAL_TURNS_MAX):
            if not self._ready:
                break
            self._run_ready()
        self._is_buried = True
        self._ready.clear()
        self._on_death(self)

    # ---- turns -----------------------------------------------------------------------------------------------------

    def _want_turn(self) -> None:
        if not self._is_turn_due and self._ready and self.is_alive and not self.is_frozen:
            self._is_turn_due = True
            self.heap.after(0.0, self._turn)

    def _turn(self) -> None:
        self._is_turn_due = False
        if self.is_frozen or not self.is_alive:
            return
        for _ in range(TURNS_AT_ONCE_MAX):
            if not self._run_ready():
                self._bury()
                return
            if not self._ready:
                return
        self._want_turn()

    def _run_ready(self) -> bool:
        """Runs what is ready now, up to the process's death; whether it lives."""
        is_burial, loop = not self.is_alive, _as_loop(self)
        self._is_in_turn = True
        asyncio._set_running_loop(loop)
        try:
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                if not handle.cancelled():
                    handle._run()
                if not (is_burial or self.is_alive):
                    break
        finally:
            asyncio._set_running_loop(None)
            self._is_in_turn = False
        return self.is_alive

    # ---- what asyncio asks for -------------------------------------------------------------------------------------

    def time(self) -> float:
        return self.heap.now_s

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._is_buried

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, _as_loop(self), context)
        if not self._is_buried:
            self._ready.append(handle)
            self._want_turn()
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self, delay_s: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.heap.now_s + delay_s, callback, *args, context=context)

    def call_at(self, when_s: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when_s, callback, args, _as_loop(self), context)
        if self.is_alive:
            self.heap.at(when_s, lambda: self._due(handle))
        return handle

    def _due(self, handle: asyncio.TimerHandle) -> None:
        if self.is_alive and not handle.cancelled():
            self._ready.append(handle)
            self._want_turn()

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None:
        """asyncio tells; the heap finds out when the timer is due."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=_as_loop(self))

    def create_task(self, work: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None) -> asyncio.Task[T]:
        task = asyncio.Task(work, loop=_as_loop(self), name=name, context=context)
        self._tasks[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, EXPECTED) and self.is_alive:
            self._on_broken(f"{self.name}: {task.get_name()} ended with {error!r}")

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self.is_alive:
            self._on_broken(f"{self.name}: {context.get('message')}: {context.get('exception')!r}")

    def run_in_executor(self, _executor: object, work: Callable[..., T], *args: Any) -> asyncio.Future[T]:
        """A thread: runs at once when it is done, whether or not somebody still waits for it."""
        answer: asyncio.Future[T] = self.create_future()

        def finish() -> None:
            if self.is_frozen:
                self._held.append(finish)
            elif self.is_alive:
                self._finish(answer, work, args)

        if self.is_alive:
            self.heap.after(self.machine.thread_s(), finish)
        return answer

    def _finish(self, answer: asyncio.Future[T], work: Callable[..., T], args: tuple[Any, ...]) -> None:
        try:
            result = work(*args)
        except Exception as raised:
            # asyncio adds the traceback of whoever waits; the name is gone after this block.
            error = raised
            self.call_soon(lambda: None if answer.done() else answer.set_exception(error))
        else:
            self.call_soon(lambda: None if answer.done() else answer.set_result(result))


def _as_loop(process: Process) -> asyncio.AbstractEventLoop:
    """asyncio's own classes only need what ``Process`` has."""
    loop: Any = process
    typed: asyncio.AbstractEventLoop = loop
    return typed
