"""The JSON Schema of the AsyncAPI specification: fetched once by npm into the cache, held to the checksums of ``locks/asyncapi``.

``python -m tests.docs.asyncapi_specification`` says where it lies.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ops.local.paths import cache_dir, exclusive

LOCKS = Path(__file__).resolve().parents[2] / "locks" / "asyncapi"
FILE = Path("node_modules", "@asyncapi", "specs", "schemas", "3.0.0-without-$id.json")
FETCH_S = 120


class SpecificationMissing(RuntimeError):
    """The specification is not in the cache and cannot be fetched; the message says why."""


class SpecificationWrong(RuntimeError):
    """What was fetched is not what the lock names."""


def specification(locks: Path = LOCKS, cache: Path | None = None) -> Path:
    """The schema's file. Raises SpecificationMissing, or SpecificationWrong where a checksum differs."""
    cache = cache or cache_dir()
    name = hashlib.sha256((locks / "package-lock.json").read_bytes()).hexdigest()[:8]
    folder = cache / f"asyncapi-{name}"
    with exclusive(cache / "asyncapi.lock"):
        if not (folder / FILE).is_file():
            _fetch(locks, folder)
    return folder / FILE


def _fetch(locks: Path, folder: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise SpecificationMissing("npm is not installed, so the AsyncAPI specification cannot be fetched")
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--fetch-timeout=20000"]
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="asyncapi-") as fresh:
        for file in locks.glob("*.json"):
            shutil.copy(file, fresh)
        try:
            done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, timeout=FETCH_S, check=False)
        except subprocess.TimeoutExpired:
            raise SpecificationMissing(f"npm did not fetch the AsyncAPI specification within {FETCH_S} s") from None
        if "EINTEGRITY" in done.stderr:
            raise SpecificationWrong(f"what npm fetched is not what locks/asyncapi names:\n{done.stderr}")
        if done.returncode:
            raise SpecificationMissing(f"npm could not fetch the AsyncAPI specification:\n{done.stderr}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        Path(fresh, "node_modules").rename(folder / "node_modules")


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{specification()}\n")
    except (SpecificationMissing, SpecificationWrong) as error:
        sys.exit(str(error))
