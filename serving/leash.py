"""A child process that never outlives its parent, not even when the parent is killed with SIGKILL.

The child's standard input is a pipe that the parent holds open and never writes to. When the parent is gone,
by whatever death, the kernel closes the pipe, and the child sees its end. That works on every Unix.

    python -m serving.leash COMMAND ...

runs a command that knows nothing of this: when the parent is gone the command's whole process group is ended.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

GRACE_S = 5.0
"""How long a command and its children may take to end after SIGTERM, before SIGKILL."""
POLL_S = 0.1


def when_parent_dies(act: Callable[[], None]) -> None:
    """Call `act` once, from a thread, when standard input ends or the parent changes."""
    parent = os.getppid()

    def watch() -> None:
        _wait_for_parent(parent, lambda: False)
        act()

    threading.Thread(target=watch, name="leash", daemon=True).start()


def _wait_for_parent(parent: int, done: Callable[[], bool]) -> None:
    """Return when standard input has ended, the parent is another, or `done()`."""
    while not done() and os.getppid() == parent:
        # the pipe tells at once; the parent's id helps where a sibling inherited the pipe's other end
        if select.select([0], [], [], POLL_S)[0] and not os.read(0, 4096):
            return


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started (it must lead its own group): asked first, then forced.

    Also when the process itself has ended already, because what it started may have stayed.
    """
    for first in (signal.SIGTERM, signal.SIGKILL):
        sign: int = first
        deadline_s = time.monotonic() + GRACE_S
        while time.monotonic() < deadline_s:
            process.poll()  # collects it, so that it no longer counts as one of the group
            try:
                os.killpg(process.pid, sign)
            except (ProcessLookupError, PermissionError):
                return  # nobody is left (macOS says the second when only the dead are)
            sign = 0
            time.sleep(POLL_S)


def main(argv: Sequence[str]) -> int:
    """Run a command on the leash and return its exit code."""
    parent = os.getppid()
    asked_to_stop = threading.Event()
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(sign, lambda *_: asked_to_stop.set())
    process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True)
    _wait_for_parent(parent, lambda: asked_to_stop.is_set() or process.poll() is not None)
    end_group(process)
    code = process.wait()
    return code if code >= 0 else 128 - code  # ended by a signal, as shells say it


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
