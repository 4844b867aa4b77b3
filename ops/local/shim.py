"""Become a service's process: `python -I -S shim.py PARENT SIGNAL UID GID COMMAND...`.

The kernel is asked to send SIGNAL to this process when its parent dies (0: never), the user is changed when UID is not
-1, then COMMAND replaces this program, under the same pid. A program of its own, because code between fork and exec in
a process with threads can deadlock.
"""

from __future__ import annotations

import os
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    parent, death_signal, uid, gid = (int(number) for number in arguments[:4])
    command = arguments[4:]
    from_the_kernel = None
    if death_signal and sys.platform == "linux":
        import ctypes  # before the change of user: the interpreter may lie where the other user cannot read

        from_the_kernel = ctypes.CDLL(None, use_errno=True).prctl
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if from_the_kernel is not None:
        from_the_kernel(PR_SET_PDEATHSIG, death_signal, 0, 0, 0)  # after the change of user, which clears it
        if os.getppid() != parent:  # it died before the request was in place
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
