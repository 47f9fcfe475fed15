"""The nodes of a group of Fulmar run by PostgreSQL alone: the same data, parameters, ports and disk, with nobody
beside the servers. The group's agents have ended before, and are started again afterwards."""

from __future__ import annotations

from .pg_fulmar import Fulmar
from .pg_lab import BIN, Host, until
from .pg_systems import STREAMING, SYNCHRONOUS

ENDS_S = 60.0


def end_agents(system: Fulmar, primary: str, other: str) -> None:
    """In order, the standby first: nobody is left who could take over."""
    for name in (other, primary):
        host = system.hosts[name]
        if host.agent is None:
            continue
        host.agent.popen.terminate()
        host.agent.popen.wait(ENDS_S)
        until(f"PostgreSQL of {name} has ended", lambda h=host: h.postmaster() == 0, ENDS_S)  # type: ignore[misc]
        host.end()


def _control(host: Host, *words: str) -> None:
    host.run([str(BIN / "pg_ctl"), "-D", str(host.data), "-w", "-s", "-l", str(host.folder / "plain.log"), *words])


def start(system: Fulmar, primary: str, other: str, synchronous: bool) -> None:
    """`synchronous`: by PostgreSQL's own means, else commits wait for nobody."""
    names = f'FIRST 1 ("{other}-1")' if synchronous else ""
    _control(system.hosts[primary], "-o", f"-c synchronous_standby_names='{names}'", "start")
    _control(system.hosts[other], "start")
    text = STREAMING + (SYNCHRONOUS if synchronous else "")
    until("the plain standby streams", lambda: system.hosts[primary].query(text) == ["1"], ENDS_S)


def end(system: Fulmar, primary: str, other: str) -> None:
    """The primary first: the standby gets all of its log."""
    for name in (primary, other):
        _control(system.hosts[name], "-m", "fast", "stop")
