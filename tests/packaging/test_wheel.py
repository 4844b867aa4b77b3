"""The wheel: exactly the four packages, with the files that they read, built without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from tests.packaging.files import ROOT

PACKAGES = {"schemas", "streams", "projections", "ops"}
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    # any request would go to a port where nobody listens
    env = os.environ | dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOWHERE)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return built


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_built_wheel_holds_exactly_the_four_packages(wheel: Path) -> None:
    top = {name.split("/")[0] for name in names(wheel)}
    assert {t for t in top if not t.endswith(".dist-info")} == PACKAGES
    assert len(top) == len(PACKAGES) + 1


def test_every_file_of_a_package_is_in_the_wheel_and_nothing_else(wheel: Path) -> None:
    shipped = {name for name in names(wheel) if not name.split("/")[0].endswith(".dist-info")}
    on_disk = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert shipped == on_disk
    assert "schemas/avro/memory_added.v1.avsc" in shipped


def test_the_wheel_brings_its_command_its_licence_and_its_dependencies(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = next(name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
        metadata = message_from_string(archive.read(f"{info}/METADATA").decode())
        licence = archive.read(f"{info}/licenses/LICENSE").decode()
    assert "emberlog = ops.cli.main:main" in entry_points
    assert metadata["Name"] == "emberlog"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "Apache License" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert metadata.get_all("Requires-Dist")
