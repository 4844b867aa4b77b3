"""docker-compose.yml, the Dockerfile and .env.example: valid, without a default secret, and in step with the settings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.files import ROOT, compose, env_example, setting_names, text

SERVICES = compose()["services"]
OURS = ("setup", "worker", "projector")
SECRET = re.compile(r"PASSWORD|SECRET|TOKEN|API_KEY")
REFERENCE = re.compile(r"\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")
# libpq's own variable, by which the password reaches the driver
PASSED_ON = {"PGPASSWORD"}


def environment(service: str) -> dict[str, str]:
    found: dict[str, Any] = SERVICES[service].get("environment", {})
    return {name: str(value) for name, value in found.items()}


def test_the_compose_file_follows_the_compose_specification() -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    command = [str(tool), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_check_against_the_specification_can_fail(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(text("docker-compose.yml").replace("    command: [worker,", "    comand: [worker,"), encoding="utf-8")
    tool = Path(sys.executable).with_name("check-jsonschema")
    command = [str(tool), "--builtin-schema", "vendor.compose-spec", str(broken)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1, done.stderr
    assert "comand" in done.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_no_secret_has_a_default(service: str) -> None:
    for name, value in environment(service).items():
        assert not re.search(r"://[^/@]*:[^/@]*@", value), f"{name} holds a password"
        if SECRET.search(name):
            match = REFERENCE.fullmatch(value)
            assert match, f"{name} is written out"
            # required, or empty; what the services need among themselves is required
            assert match["rest"].startswith(":?") if "PASSWORD" in name else match["rest"] == ":-", name


def test_the_key_store_has_a_server_a_role_and_a_volume_of_its_own() -> None:
    views, keys = SERVICES["postgres"], SERVICES["keystore"]
    assert environment("worker")["EMBERLOG_KEYS_DSN"] == "postgresql://emberlog_keys@keystore:5432/emberlog_keys"
    assert keys["environment"]["POSTGRES_USER"] != views["environment"]["POSTGRES_USER"]
    assert not set(keys["volumes"]) & set(views["volumes"])


def test_the_file_refuses_to_start_without_a_password() -> None:
    assert "${POSTGRES_PASSWORD:?" in environment("postgres")["POSTGRES_PASSWORD"]
    assert not env_example()["POSTGRES_PASSWORD"][0]


def test_every_variable_that_the_file_reads_is_documented() -> None:
    read = {match["name"] for match in REFERENCE.finditer(text("docker-compose.yml"))}
    assert read <= set(env_example())


@pytest.mark.parametrize("service", OURS)
def test_every_variable_that_emberlog_gets_is_a_setting(service: str) -> None:
    assert set(environment(service)) - PASSED_ON <= setting_names()


def test_all_roles_of_emberlog_get_the_same_settings_and_keys() -> None:
    assert environment("setup") == environment("worker") == environment("projector")
    assert SERVICES["setup"]["volumes"] == SERVICES["worker"]["volumes"] == SERVICES["projector"]["volumes"]


@pytest.mark.parametrize("service", OURS)
def test_the_settings_in_the_file_are_accepted(service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ops.settings import load_settings

    monkeypatch.chdir(tmp_path)
    for name in setting_names():
        monkeypatch.delenv(name, raising=False)
    for name, value in environment(service).items():
        match = REFERENCE.fullmatch(value)
        monkeypatch.setenv(name, match["rest"].removeprefix(":-") if match else value)
    settings = load_settings()
    assert settings.services == "external"
    assert settings.kafka_bootstrap == "kafka:9092"
    assert settings.partitions == 4


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_says_whether_it_is_healthy(service: str) -> None:
    check = SERVICES[service]["healthcheck"]
    if service == "setup":
        assert check == {"disable": True}, "it ends, and its exit status counts"
    else:
        assert check["test"]


def test_nothing_starts_before_what_it_needs() -> None:
    needs = {name: spec["condition"] for name, spec in SERVICES["worker"]["depends_on"].items()}
    stores = dict.fromkeys(("kafka", "postgres", "keystore"), "service_healthy")
    assert needs == {**stores, "setup": "service_completed_successfully"}
    assert SERVICES["projector"]["depends_on"] == SERVICES["worker"]["depends_on"]
    assert set(SERVICES["setup"]["depends_on"]) == {"kafka", "postgres", "keystore"}


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_pinned_and_ports_are_the_machine_s_own(service: str) -> None:
    tag = SERVICES[service]["image"].rpartition(":")[2]
    assert tag not in ("", "latest")
    assert re.search(r"\d", tag)
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", []))


def test_data_lies_in_named_volumes() -> None:
    used = {volume.split(":")[0] for spec in SERVICES.values() for volume in spec["volumes"]}
    assert used == set(compose()["volumes"])


def test_the_images_are_those_that_the_tests_use() -> None:
    from ops.local.containers import KAFKA_IMAGE, POSTGRES_IMAGE

    assert SERVICES["kafka"]["image"] == KAFKA_IMAGE
    assert SERVICES["postgres"]["image"] == SERVICES["keystore"]["image"] == POSTGRES_IMAGE


def test_the_image_is_installed_from_hashes_and_runs_without_rights() -> None:
    lines = text("Dockerfile").replace("\\\n", "").splitlines()
    installs = [line for line in lines if re.search(r"(?:pip|uv pip) install", line)]
    assert installs
    for line in installs:
        for command in line.split("&&"):
            if "install" in command:
                assert "--require-hashes" in command or "--offline" in command, command
    final = "\n".join(lines).rpartition("\nFROM ")[2]
    assert re.search(r"^USER (?!0|root)", final, re.MULTILINE)
    assert "HEALTHCHECK" in final
    assert "install" not in re.sub(r"#.*", "", final)
    assert not re.search(r"^(ENV|ARG).*(PASSWORD|SECRET|TOKEN|API_KEY)", "\n".join(lines), re.MULTILINE)


def test_the_image_is_made_of_the_four_packages() -> None:
    copied = {line.split()[1] for line in text("Dockerfile").splitlines() if re.match(r"COPY (?!--from)\w+ \w+$", line)}
    assert copied == {"schemas", "streams", "projections", "ops"}
    allowed = {line[1:] for line in text(".dockerignore").splitlines() if line.startswith("!")}
    assert copied <= allowed


def test_the_example_file_documents_every_setting_and_no_other() -> None:
    assert set(env_example()) == setting_names() | {"POSTGRES_PASSWORD"}
    for name, (_, comment) in env_example().items():
        assert len(comment) > 20, f"{name} is not explained"


def test_the_example_file_shows_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ops.settings import Settings, load_settings

    monkeypatch.chdir(tmp_path)
    for name in setting_names():
        monkeypatch.delenv(name, raising=False)
    as_it_is = tmp_path / "as-it-is"
    as_it_is.write_text(text(".env.example"), encoding="utf-8")
    taken = tmp_path / "taken"
    taken.write_text("".join(f"{name}={value}\n" for name, (value, _) in env_example().items()), encoding="utf-8")
    default: Settings = load_settings()
    assert load_settings(as_it_is) == default, "copying the example changes nothing"
    assert load_settings(taken) == default, "what it shows are the defaults"
