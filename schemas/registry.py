"""A schema registry that speaks Confluent's API, where one is configured.

    registry = SchemaRegistry("https://user:password@registry:8081")
    registry.register_all()          # at the start of a process: every type and version, under its full name
    codec.use_registry(registry)

The registry hands out ids; it never says what a record means. A schema that it gives for an id is only fingerprinted, and the
record is read by our own file with that fingerprint, exactly as in single-object encoding.

RegistryError
├── RegistryUnavailable   it does not answer, or not in a way that could be used: an outage, also a ConnectionError
└── RegistryRefused       it answers, and will not take our schemas: somebody has to change something
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
import tenacity

from schemas.errors import UnknownSchema
from schemas.versions import FILES, SchemaFiles, fingerprint_of

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
START_PATIENCE_S = 10.0
START_TIMEOUT_S = 5.0
# Decoding is synchronous, so the first sight of an id blocks its caller, an event loop in most cases. That is acceptable: all our
# own ids are known from the start, so it happens once per foreign id, a local answer takes milliseconds, and what it can take
# at worst (twice the patience) stays below the session timeout after which Kafka would give the partitions to another.
FETCH_PATIENCE_S = 2.0
FETCH_TIMEOUT_S = 1.0
KEPT_IDS = 1_000
MISSING_FOR_S = 10.0

T = TypeVar("T")


class RegistryError(Exception):
    """The registry cannot be used. The text holds no password and no content."""


class RegistryUnavailable(RegistryError, ConnectionError):
    """No usable answer: try again later. A record whose id could not be looked up is not at fault."""


class RegistryRefused(RegistryError):
    """An answer that says no."""


class SchemaRegistry:
    """Client of one registry; ``url`` may carry a user and a password for basic authentication.

    Safe to use from several threads. ``start_patience_s`` and ``fetch_patience_s`` bound what one call waits, retries included.
    """

    def __init__(
        self,
        url: str,
        files: SchemaFiles = FILES,
        *,
        start_patience_s: float = START_PATIENCE_S,
        fetch_patience_s: float = FETCH_PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        address = httpx.URL(url)
        auth = httpx.BasicAuth(address.username, address.password) if address.userinfo else None
        self.address = str(address.copy_with(userinfo=b"")).rstrip("/")
        """Where it is, without user and password."""
        self._client = httpx.Client(
            base_url=self.address,
            auth=auth,
            timeout=START_TIMEOUT_S,
            headers={"Accept": f"{MEDIA_TYPE}, application/json"},
            verify=ssl.create_default_context(),
            trust_env=False,  # no proxy variable leads a request elsewhere
        )
        self._files = files
        self._start_patience_s, self._fetch_patience_s = start_patience_s, fetch_patience_s
        self._clock = clock
        self._lock = threading.Lock()
        self._ids: dict[tuple[str, int], int] = {}
        self._fingerprints: OrderedDict[int, str | None] = OrderedDict()
        self._missing: OrderedDict[int, float] = OrderedDict()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # -- writing: our schemas and their ids

    def register_all(self, names: Iterable[str] | None = None) -> dict[tuple[str, int], int]:
        """Register every version of every type (or of ``names``); ids by type and version. Repeating it does no harm.

        Raises RegistryUnavailable and RegistryRefused.
        """
        wanted = self._files.names if names is None else tuple(names)
        return {(name, version): self.id_of(name, version) for name in wanted for version in self._files.versions(name)}

    def id_of(self, name: str, version: int) -> int:
        """The id of a type's version, registered now if it was not. Raises RegistryUnavailable and RegistryRefused."""
        with self._lock:
            if (name, version) not in self._ids:
                found = self._retried(lambda: self._register(name, version), self._start_patience_s)
                self._ids[name, version] = found
                self._keep(found, self._files.fingerprint(name, version))
            return self._ids[name, version]

    def _register(self, name: str, version: int) -> int:
        subject = self._files.full_name(name)
        schema = json.dumps(self._files.raw(name, version), separators=(",", ":"))
        path = f"/subjects/{quote(subject, safe='')}/versions"
        answer = self._ask("POST", path, {"schema": schema, "schemaType": "AVRO"})
        label = f"{subject} (version {version})"
        if answer.status_code in (401, 403):
            raise RegistryRefused(f"the schema registry at {self.address} refuses the user and password in its address")
        if answer.status_code == 409:
            raise RegistryRefused(
                f"the registry calls {label} incompatible with what it has: set its compatibility to NONE for it"
            )
        if answer.status_code == 404:
            raise RegistryRefused(
                f"there is no Confluent API at {self.address}: does the address lack a path (/apis/ccompat/v7)?"
            )
        if not answer.is_success:
            raise RegistryRefused(f"the registry does not take {label}: HTTP {answer.status_code}{_code_in(answer)}")
        found = _content(answer).get("id")
        if not isinstance(found, int):
            raise RegistryRefused(f"what answers at {self.address} is no schema registry")
        return found

    # -- reading: what an id stands for

    def fingerprint_of(self, schema_id: int) -> str:
        """Fingerprint (hex, wire order) of the schema with this id; asked for once and kept.

        Raises UnknownSchema where the registry has none, or none of Avro, and RegistryUnavailable.
        """
        with self._lock:
            if schema_id not in self._fingerprints:
                self._refuse_known_missing(schema_id)
                self._keep(schema_id, self._retried(lambda: self._fetch(schema_id), self._fetch_patience_s))
            self._fingerprints.move_to_end(schema_id)
            found = self._fingerprints[schema_id]
        if found is None:
            raise UnknownSchema(f"the registry's schema {schema_id} is none of Avro's")
        return found

    def _fetch(self, schema_id: int) -> str | None:
        answer = self._ask("GET", f"/schemas/ids/{schema_id}", timeout_s=FETCH_TIMEOUT_S)
        if answer.status_code == 404 and "error_code" in _content(answer):
            self._missing[schema_id] = self._clock() + MISSING_FOR_S
            if len(self._missing) > KEPT_IDS:
                self._missing.popitem(last=False)
            raise UnknownSchema(f"the registry has no schema {schema_id}")
        if not answer.is_success:
            # whatever it is, the record is not at fault, and was taken by somebody whom the registry knew
            raise RegistryUnavailable(f"the schema registry at {self.address} answers HTTP {answer.status_code}")
        content = _content(answer)
        if content.get("schemaType", "AVRO") != "AVRO" or content.get("references"):
            return None
        try:
            return fingerprint_of(json.loads(content["schema"]))
        except Exception:  # a foreign schema, and fastavro raises what it leads to
            return None

    def _refuse_known_missing(self, schema_id: int) -> None:
        # a schema that is registered a moment after its first record must be found soon, but not asked for with every record
        if self._missing.get(schema_id, 0.0) > self._clock():
            raise UnknownSchema(f"the registry has no schema {schema_id}")
        self._missing.pop(schema_id, None)

    def _keep(self, schema_id: int, fingerprint: str | None) -> None:
        self._fingerprints[schema_id] = fingerprint
        while len(self._fingerprints) > KEPT_IDS:
            self._fingerprints.popitem(last=False)

    # -- asking

    def _ask(
        self, method: str, path: str, content: dict[str, Any] | None = None, *, timeout_s: float = START_TIMEOUT_S
    ) -> httpx.Response:
        headers = {"Content-Type": MEDIA_TYPE} if content else None
        try:
            answer = self._client.request(method, path, json=content, headers=headers, timeout=timeout_s)
        except httpx.HTTPError as error:
            raise RegistryUnavailable(f"the schema registry at {self.address} does not answer ({type(error).__name__})") from None
        if answer.status_code >= 500 or answer.status_code in (408, 429):
            raise RegistryUnavailable(f"the schema registry at {self.address} answers HTTP {answer.status_code}")
        return answer

    def _retried(self, work: Callable[[], T], patience_s: float) -> T:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(RegistryUnavailable),
            wait=tenacity.wait_random_exponential(multiplier=0.05, max=1.0),
            stop=tenacity.stop_before_delay(patience_s),
            reraise=True,
        )
        return retrying(work)


def _content(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _code_in(answer: httpx.Response) -> str:
    code = _content(answer).get("error_code")
    return f", error {code}" if isinstance(code, int) else ""
