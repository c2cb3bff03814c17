"""`gapscope doctor`: what stands in the way of Gapscope on this machine, and what to do about it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from backend.stack.errors import HomeTakenError
from backend.stack.finding import Examined, Finding
from backend.stack.home_checks import (
    check_home,
    check_leftovers,
    check_locks,
    check_rights,
    check_set_apart,
    check_unfinished,
)
from backend.stack.home_lock import is_locked
from backend.stack.machine_checks import check_codecs, check_devices, check_disk, check_ports, check_versions
from backend.stack.server_checks import check_server
from worker.contract.errors import GapscopeError
from worker.contract.settings import Settings

Check = Callable[[Examined], Finding]
CHECKS: tuple[Check, ...] = (
    check_versions,
    check_home,
    check_rights,
    check_leftovers,
    check_server,
    check_ports,
    check_codecs,
    check_devices,
    check_disk,
    check_locks,
    check_set_apart,
    check_unfinished,
)


def examine(examined: Examined, checks: tuple[Check, ...]) -> list[Finding]:
    """Returns what checks find; one that cannot be made is a finding, too."""
    findings = []
    for check in checks:
        try:
            findings.append(check(examined))
        except HomeTakenError as error:
            findings.append(Finding(_name(check), "warning", error.detail, "Stop that stack first."))
        except (GapscopeError, ImportError, OSError, subprocess.SubprocessError) as error:
            findings.append(Finding(_name(check), "error", str(error), "Follow the message, then run doctor again."))
    return findings


def doctor(settings: Settings, api_port: int, ui_port: int, *, fix: bool, as_json: bool) -> int:
    """Prints what the checks found; returns the exit status: 1 if something keeps Gapscope from starting."""
    home = settings.home.expanduser().resolve()
    findings = examine(Examined(settings, home, api_port, ui_port, fix, is_locked(home)), CHECKS)
    healthy = all(finding.verdict != "error" for finding in findings)
    if as_json:
        document = {"healthy": healthy, "findings": [asdict(finding) for finding in findings]}
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
        return 0 if healthy else 1
    grid = Table(box=None, padding=(0, 2), show_header=False)
    for finding in findings:
        style = {"ok": "green", "warning": "yellow", "error": "red"}[finding.verdict]
        detail = Text(finding.detail + (f"\n-> {finding.remedy}" if finding.remedy else ""), overflow="fold")
        grid.add_row(Text(finding.verdict, style=style), finding.check, detail)
    Console().print(grid)
    return 0 if healthy else 1


def _name(check: Callable[[Examined], Finding]) -> str:
    return check.__name__.removeprefix("check_").replace("_", " ")
