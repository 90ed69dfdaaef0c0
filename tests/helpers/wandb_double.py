"""A small stand-in for the W&B server on a loopback port: enough protocol to init, log, finish, resume and sync.

It proves nothing about the real server. `serve` starts one that works; `status`, `refused` and `hangs` make it
misbehave. `stranger` starts a server that is none of W&B's.
"""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlparse

EVERYTHING = "*"
ACCOUNT = {"id": "user", "entity": "double", "username": "double", "email": "", "flags": "{}", "teams": {"edges": []}}


@dataclass
class StoredRun:
    """What the stand-in received of one run.

    Args:
        upserts: the variables of each creation or update, in order.
        history: the decoded history lines.
        files: the bytes of each uploaded file.
    """

    upserts: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    complete: bool = False
    exit_code: int | None = None


class Double(ThreadingHTTPServer):
    """The server and what it received.

    Attributes:
        runs: run id -> what was received of the run.
        operations: the names of the GraphQL operations that clients called, in order.
        artifacts: the variables of each artifact that was created, in order.
        status: the HTTP status of every answer.
        refused: what a proxy refuses with error 403: parts of paths, and GraphQL operations.
        hangs: the GraphQL operations that get no answer; EVERYTHING for every request.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: dict[str, StoredRun] = {}
        self.operations: list[str] = []
        self.artifacts: list[dict[str, Any]] = []
        self.status = 200
        self.refused: set[str] = set()
        self.hangs: set[str] = set()
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def vanish(self) -> None:
        """Refuses new connections from now on, and answers open ones with errors."""
        self.status = 503
        self.shutdown()
        self.socket.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Prints nothing if a client went away."""


class Handler(BaseHTTPRequestHandler):
    """One request: a GraphQL operation, a piece of a run's file stream, or an uploaded file."""

    protocol_version = "HTTP/1.1"
    server: Double

    def do_GET(self) -> None:
        self.answer({})

    def do_PUT(self) -> None:
        body = self.body()
        _, kind, run, name = unquote(urlparse(self.path).path).split("/", 3)
        if kind == "upload" and self.server.status == 200 and not self.is_refused():
            self.server.runs.setdefault(run, StoredRun()).files[name] = body
        self.answer({})

    def do_POST(self) -> None:
        body = self.body()
        path = urlparse(self.path).path
        if path == "/graphql":
            request = json.loads(body)
            operation = request["query"].split("(")[0].split("{")[0].split()[-1]
            self.server.operations.append(operation)
            if self.is_refused(operation):
                self.answer({}, operation)
                return
            answer = OPERATIONS.get(operation, _nothing)(self.server, request.get("variables") or {})
            self.answer({"data": answer}, operation)
        else:
            if path.endswith("/file_stream") and self.server.status == 200 and not self.is_refused():
                _stream(self.server, path.split("/")[-2], json.loads(body))
            self.answer({})

    def body(self) -> bytes:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def is_refused(self, operation: str = "") -> bool:
        return operation in self.server.refused or any(part in self.path for part in self.server.refused)

    def answer(self, content: dict[str, Any], operation: str = "") -> None:
        if self.server.hangs & {operation, EVERYTHING}:
            self.server.stopped.wait()
        data = json.dumps(content).encode()
        self.send_response(403 if self.is_refused(operation) else self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing."""


@contextmanager
def serve() -> Iterator[Double]:
    """Runs a stand-in, and stops it at the end."""
    server = Double()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.stopped.set()
        server.shutdown()
        server.server_close()


@contextmanager
def stranger(status: int, body: str = "", **headers: str) -> Iterator["Stranger"]:
    """Runs a server that is not W&B's, and stops it at the end: a proxy, a login page or another service.

    Args:
        status: the HTTP status of every answer; 0 closes the connection without one.
        headers: of every answer to a POST; a GET gets status 200 and the body alone.
    """
    server = Stranger(status, body.encode(), headers)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class Stranger(ThreadingHTTPServer):
    """What `stranger` runs.

    Attributes:
        keys: the Authorization header of each request, in order; None where it has none.
    """

    daemon_threads = True

    def __init__(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), StrangeHandler)
        self.status, self.body, self.headers = status, body, headers
        self.keys: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class StrangeHandler(BaseHTTPRequestHandler):
    """One request to a stranger."""

    server: Stranger

    def do_GET(self) -> None:
        self.answer(200, {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.server.status:
            self.answer(self.server.status, self.server.headers)

    def answer(self, status: int, headers: dict[str, str]) -> None:
        self.server.keys.append(self.headers.get("Authorization"))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing."""


def _nothing(server: Double, variables: dict[str, Any]) -> dict[str, Any]:
    return {}


def _viewer(server: Double, variables: dict[str, Any]) -> dict[str, Any]:
    return {"viewer": ACCOUNT}


def _upsert(server: Double, variables: dict[str, Any]) -> dict[str, Any]:
    inserted = variables["name"] not in server.runs
    run = server.runs.setdefault(variables["name"], StoredRun())
    if server.status == 200:
        run.upserts.append(variables)
    return {"upsertBucket": {"bucket": _bucket(run), "inserted": inserted}}


def _resume_status(server: Double, variables: dict[str, Any]) -> dict[str, Any]:
    run = server.runs.get(variables["name"])
    if run is None or not run.upserts:
        return {"model": None}
    return {"model": {"id": "project", "name": variables["project"], "entity": _ENTITY, "bucket": _bucket(run)}}


def _run_files(server: Double, variables: dict[str, Any]) -> dict[str, Any]:
    run = variables["run"]
    files = [{"name": name, "uploadUrl": f"{server.url}/upload/{run}/{name}"} for name in variables["files"]]
    return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}


def _artifact_type(server: Double, variables: dict[str, Any]) -> dict[str, Any]:
    return {"project": None}


def _artifact(server: Double, variables: dict[str, Any]) -> dict[str, Any]:
    """Notes the artifact, and answers as if the server had it already, so that its files are not uploaded."""
    server.artifacts.append(variables.get("input") or variables)
    return {"createArtifact": {"artifact": {"id": "artifact", "state": "COMMITTED", "artifactSequence": {"id": "s"}}}}


_ENTITY = {"id": "entity", "name": ACCOUNT["entity"]}


def _bucket(run: StoredRun) -> dict[str, Any]:
    """Describes a run as the server does."""
    first = run.upserts[0] if run.upserts else {}
    last = {key: value for upsert in run.upserts for key, value in upsert.items() if value is not None}
    return {
        "id": f"id-{first.get('name')}",
        "name": first.get("name"),
        "displayName": last.get("displayName"),
        "description": None,
        "config": last.get("config", "{}"),
        "summaryMetrics": last.get("summaryMetrics", "{}"),
        "sweepName": None,
        "tags": last.get("tags", []),
        "notes": None,
        "wandbConfig": "{}",
        "project": {"id": "project", "name": first.get("project"), "entity": _ENTITY},
        "historyLineCount": len(run.history),
        "eventsLineCount": 0,
        "logLineCount": 0,
        "historyTail": json.dumps([json.dumps(line) for line in run.history[-1:]]),
        "eventsTail": "[]",
    }


def _stream(server: Double, name: str, request: dict[str, Any]) -> None:
    """Stores the history lines of one piece of a run's file stream."""
    run = server.runs.setdefault(name, StoredRun())
    history = request.get("files", {}).get("wandb-history.jsonl")
    if history is not None:
        run.history[history["offset"] :] = [json.loads(line) for line in history["content"]]
    if request.get("complete"):
        run.complete, run.exit_code = True, request.get("exitcode")


OPERATIONS = {
    "Viewer": _viewer,
    "UpsertBucket": _upsert,
    "RunResumeStatus": _resume_status,
    "CreateRunFiles": _run_files,
    "ArtifactType": _artifact_type,
    "CreateArtifact": _artifact,
}
