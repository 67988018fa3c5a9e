"""As much of a cluster's API as `lookup` asks: one namespace, for somebody who may read nothing beside it."""

from __future__ import annotations

import json
import threading
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.helm.chart import NAMESPACE

_KINDS = {
    "v1": {
        "secrets": ("Secret", True),
        "serviceaccounts": ("ServiceAccount", True),
        "namespaces": ("Namespace", False),
    },
    "apps/v1": {"statefulsets": ("StatefulSet", True)},
}
_PLACES = {"v1": "/api/v1", "apps/v1": "/apis/apps/v1"}
_KNOWN = {
    _PLACES[version]: {
        "kind": "APIResourceList",
        "groupVersion": version,
        "resources": [
            {"name": name, "kind": kind, "namespaced": namespaced, "verbs": ["get"]}
            for name, (kind, namespaced) in kinds.items()
        ],
    }
    for version, kinds in _KINDS.items()
}


@contextmanager
def cluster_with(
    secrets: Mapping[str, Mapping[str, str]], stateful_sets: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[tuple[str, ...]]:
    """Options with which Helm asks a cluster that holds these objects by name.

    Secrets are given by their entries in plain text, StatefulSets by their spec.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(secrets, stateful_sets or {}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield "--dry-run=server", "--kube-apiserver", f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(
    secrets: Mapping[str, Mapping[str, str]], stateful_sets: Mapping[str, Mapping[str, Any]]
) -> type[BaseHTTPRequestHandler]:
    place, apps = (f"{_PLACES[version]}/namespaces/{NAMESPACE}/" for version in _KINDS)
    objects: dict[str, Any] = {place + "serviceaccounts/default": {"kind": "ServiceAccount"}}
    for name, spec in stateful_sets.items():
        objects[f"{apps}statefulsets/{name}"] = {"kind": "StatefulSet", "metadata": {"name": name}, "spec": spec}
    for name, entries in secrets.items():
        data = {key: b64encode(value.encode()).decode() for key, value in entries.items()}
        objects[f"{place}secrets/{name}"] = {"kind": "Secret", "metadata": {"name": name}, "data": data}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path in _KNOWN:
                self._answer(200, _KNOWN[path])
            elif path in objects:
                self._answer(200, {"apiVersion": "apps/v1" if path.startswith(apps) else "v1", **objects[path]})
            elif path.startswith((place, apps)):
                self._answer(404, {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})
            else:
                self._answer(403, {"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403})

        def _answer(self, code: int, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
