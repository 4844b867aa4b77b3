"""A small schema registry over real HTTP: Confluent's endpoints as far as Emberlog uses them, and faults on demand."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

BASE_PATH = "/apis/ccompat/v7"


@dataclass
class LiveRegistry:
    """What it holds, what it was asked, and what it shall answer instead (a status, after a delay in seconds)."""

    port: int = 0
    credentials: str | None = None
    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)
    subjects: dict[str, list[int]] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    fail_with: list[int] = field(default_factory=list)
    delay_s: float = 0.0

    @property
    def url(self) -> str:
        """Its address, with the credentials that it wants."""
        user = f"{self.credentials}@" if self.credentials else ""
        return f"http://{user}127.0.0.1:{self.port}{BASE_PATH}"

    def register(self, subject: str, content: dict[str, Any]) -> int:
        """The id of a schema text, a new one where it is new."""
        known = [number for number, held in self.schemas.items() if held["schema"] == content["schema"]]
        schema_id = known[0] if known else len(self.schemas) + 1
        # as Confluent's does, the type is left out where it is Avro
        self.schemas.setdefault(schema_id, {k: v for k, v in content.items() if (k, v) != ("schemaType", "AVRO")})
        if schema_id not in self.subjects.setdefault(subject, []):
            self.subjects[subject].append(schema_id)
        return schema_id

    def answer(self, method: str, path: str, content: dict[str, Any]) -> tuple[int, Any]:
        """Status and JSON content for a request."""
        match method, path.removeprefix(BASE_PATH).split("/")[1:]:
            case "GET", ["subjects"]:
                return 200, sorted(self.subjects)
            case "POST", ["subjects", subject, "versions"]:
                return 200, {"id": self.register(unquote(subject), content)}
            case "GET", ["subjects", subject, "versions", "latest"]:
                newest = self.subjects[unquote(subject)][-1]
                return 200, {"subject": unquote(subject), "id": newest, **self.schemas[newest]}
            case "GET", ["schemas", "ids", schema_id] if int(schema_id) in self.schemas:
                return 200, self.schemas[int(schema_id)]
            case "GET", ["schemas", "ids", _]:
                return 404, {"error_code": 40403, "message": "Schema not found"}
        return 404, {}

    def asked(self, part: str) -> int:
        """How many requests had ``part`` in their path."""
        return sum(part in path for _, path in self.requests)


@contextmanager
def serving(credentials: str | None = None, port: int = 0) -> Iterator[LiveRegistry]:
    """A registry in a thread of its own until the block ends; ``credentials`` are user:password."""
    registry = LiveRegistry(credentials=credentials)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # an answer in one packet, else each waits for an acknowledgement
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            self._handle("GET")

        def do_POST(self) -> None:
            self._handle("POST")

        def _handle(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            registry.requests.append((method, self.path))
            time.sleep(registry.delay_s)
            wanted = registry.credentials and "Basic " + base64.b64encode(registry.credentials.encode()).decode()
            if wanted and self.headers.get("Authorization") != wanted:
                status, content = 401, {"error_code": 401}
            elif registry.fail_with:
                status, content = registry.fail_with.pop(0), {"error_code": 99}
            else:
                status, content = registry.answer(method, self.path, json.loads(body) if body else {})
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    registry.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
