"""The audit log: who changed what, and who was refused. One JSON line each, never a secret."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)
MAX_PATH: Final = 300


class AuditLog:
    """Lines in logs/audit.jsonl; when it has grown too long it becomes audit.1.jsonl, and the one before that goes."""

    def __init__(self, home: Path, max_bytes: int) -> None:
        self._path = home / "logs" / "audit.jsonl"
        self._max_bytes = max_bytes

    def write(self, *, caller: str, role: str, client: str, method: str, path: str, status: int) -> None:
        """Writes a line. A full disk costs the line, not the request; the process's log says so.

        Args:
            caller: name and id of the key, or why there is none.
            role: of the key; empty without one.
            client: address that the request came from.
            method: of the request.
            path: of the request, without its query, which may hold tickets.
            status: of the answer.
        """
        record = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "caller": caller,
            "role": role,
            "client": client,
            "method": method,
            "path": path.encode("ascii", "replace").decode()[:MAX_PATH],
            "status": status,
        }
        line = json.dumps(record).encode() + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(descriptor, line)
                size = os.fstat(descriptor).st_size
            finally:
                os.close(descriptor)
            if size > self._max_bytes:
                self._path.replace(self._path.with_name("audit.1.jsonl"))
        except OSError as error:
            log.error("the audit log cannot be written: %s", error)
