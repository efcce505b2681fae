"""Run jobs in parallel, in single-threaded processes.

Threads contend for Python's global lock, and threads that share one operation synchronize after each. Processes avoid
both; forked from this one, they already have its data. If processes cannot be forked, or if torch may use only one
thread, the jobs run in this process, one after the other.
"""

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from slt_grok.errors import SltGrokError

Report = Callable[[Any], None]
Job = Callable[[Report], Any]
"""Called with a callback for its progress; its return value and its reports are pickled."""

PR_SET_PDEATHSIG = 1
REPORT_SECONDS = 0.1  # minimum interval between reports; earlier ones are dropped


def run_parallel(
    jobs: Sequence[Job], on_progress: Callable[[int, Any], None] = lambda place, progress: None, most: int | None = None
) -> Iterator[tuple[int, Any]]:
    """Yield each job's index and return value as jobs finish.

    Parameters
    ----------
    jobs : sequence of callable
        Jobs, which need not be picklable.
    on_progress : callable, optional
        Called in this process with a job's index and its report.
    most : int, optional
        Largest number of concurrent jobs; by default, the number of threads torch may use.

    Raises
    ------
    SltGrokError
        A process was killed.
    Exception
        Any exception raised by a job; the others are terminated, as they are if the iterator is closed.
    """
    workers = min(torch.get_num_threads(), len(jobs), most or len(jobs))
    if workers < 2 or sys.platform != "linux":
        for place, job in enumerate(jobs):
            yield place, job(lambda progress, place=place: on_progress(place, progress))
        return
    left, children = iter(range(len(jobs))), dict[Connection, BaseProcess]()
    try:
        for _ in range(workers):
            connection, child = _start(jobs)
            children[connection] = child
        while children:
            for connection in wait(list(children)):
                assert isinstance(connection, Connection)
                match _received(connection):
                    case "progress", place, progress:
                        on_progress(place, progress)
                        continue
                    case "failed", _, error:
                        raise error
                    case "done", place, result:
                        yield place, result
                place = next(left, None)
                connection.send(place)
                if place is None:
                    children.pop(connection).join()
    finally:
        for child in children.values():
            child.terminate()
            child.join()


def _received(connection: Connection) -> Any:
    try:
        return pickle.loads(connection.recv_bytes())
    except (EOFError, ConnectionResetError):
        raise SltGrokError(
            "a worker process was killed, perhaps because memory ran out; re-run the same command to resume"
        ) from ChildProcessError("killed")  # an OSError: another attempt may succeed


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C in this thread, and for good in processes started meanwhile, which would print a traceback.

    They end with this process.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Have the system kill this process when the thread that started it ends, however it ends (on Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        parent = multiprocessing.parent_process()
        if parent is not None and os.getppid() != parent.pid:  # it ended before the call
            os._exit(1)


def _start(jobs: Sequence[Job]) -> tuple[Connection, BaseProcess]:
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("fork")
    child = context.Process(target=_work, args=(jobs, there), daemon=True)
    with uninterrupted(), warnings.catch_warnings():
        # about locks that other threads may hold: compute threads are idle here, and a child does not print
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    there.close()
    return here, child


def _work(jobs: Sequence[Job], connection: Connection) -> None:
    """Run jobs assigned to a child until there are none left."""
    end_with_parent()
    torch.set_num_threads(1)

    def tell(*message: Any) -> None:
        connection.send_bytes(pickle.dumps(message))

    def report_of(place: int) -> Report:
        last = 0.0

        def report(progress: Any) -> None:
            nonlocal last
            if time.monotonic() - last > REPORT_SECONDS:
                last = time.monotonic()
                tell("progress", place, progress)

        return report

    with suppress(BrokenPipeError, EOFError, ConnectionResetError), threadpool_limits(limits=1):
        tell("ready", None, None)
        while (place := connection.recv()) is not None:
            try:
                result = jobs[place](report_of(place))
            except BrokenPipeError:
                return
            except BaseException as error:
                tell("failed", place, error if _can_be_pickled(error) else RuntimeError(f"{error!r}"))
                return
            tell("done", place, result)


def _can_be_pickled(error: BaseException) -> bool:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True
