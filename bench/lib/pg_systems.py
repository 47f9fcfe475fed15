"""What every system of the PostgreSQL failover bench is: two nodes and something that agrees about them."""

from __future__ import annotations

import http.client
import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from .peers import find
from .pg_lab import CLIENT, NODES, Host, Network, dsn, real, until
from .procs import BenchError, Lab, Proc

SET_UP_S = 90.0
STREAMING = "select count(*) from pg_stat_replication where state = 'streaming' and application_name <> 'fulmar_credit'"
SYNCHRONOUS = " and sync_state in ('sync', 'quorum')"
# A standby refuses what the writer tries; that it must log each time is not what is measured.
NO_LOG = "options='-c log_min_messages=fatal -c log_min_error_statement=fatal'"
TABLE = "create table bench_writes (id bigint primary key, at timestamptz not null default clock_timestamp())"


def http_json(address: str, port: int, path: str) -> Any:
    """{} where there is no answer."""
    connection = http.client.HTTPConnection(address, port, timeout=1)
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    finally:
        connection.close()


def start_etcd(lab: Lab) -> int:
    """One member in east: nothing has to be elected among the survivors. Its port."""
    place = real("east")
    folder = lab.folder / "etcd"
    port, peer = lab.port(), lab.port()
    client, members = f"http://{place}:{port}", f"http://{place}:{peer}"
    lab.start("etcd", [find("etcd"), "--name", "east", "--data-dir", str(folder), "--log-level", "error",
                       "--listen-client-urls", client, "--advertise-client-urls", client,
                       "--listen-peer-urls", members, "--initial-advertise-peer-urls", members,
                       "--initial-cluster", f"east={members}"])
    until("etcd has a leader", lambda: http_json(place, port, "/version").get(
        "etcdcluster", "not_decided") != "not_decided", SET_UP_S)
    return port


@dataclass
class System(ABC):
    """A group of two nodes, west and north, and what agrees about them, in east."""
    lab: Lab
    settings: str  # of a peer the file in bench/peers/
    sync: bool
    delay_ms: int = 0

    login = "user=postgres"  # of who may do everything

    def __post_init__(self) -> None:
        self.network = Network(self.lab)
        self.hosts = {n: Host(self.lab, n, self.login) for n in NODES}

    @abstractmethod
    def set_up(self) -> None:
        """Both nodes made and running."""

    @abstractmethod
    def start(self, host: Host) -> None:
        """What a boot of the host starts."""

    @abstractmethod
    def move(self, to: str) -> Proc:
        """The operator's command, running."""

    @abstractmethod
    def settled(self) -> bool:
        """By its own word."""

    def create(self) -> None:
        self.set_up()
        until("the group is steady", self.steady, SET_UP_S)
        primary = self.hosts[self.primary()]
        if primary.query(TABLE, 10) is None:
            raise BenchError(f"{primary.name} does not create a table")
        self.doors = {n: f"{dsn(*self.network.way(CLIENT, n, h.port), self.login)} {NO_LOG}"
                      for n, h in self.hosts.items()}
        self.network.delay(self.delay_ms)
        until("the group is steady", self.steady, SET_UP_S)

    def primary(self) -> str:
        """The node that says so; "" where it is none, or both."""
        says = [n for n, h in self.hosts.items() if h.query("select pg_is_in_recovery()") == ["f"]]
        return says[0] if len(says) == 1 else ""

    def redundant(self) -> bool:
        """The other node streams from the only primary and, where writes wait for it, they do."""
        name = self.primary()
        text = STREAMING + (SYNCHRONOUS if self.sync else "")
        return name != "" and self.hosts[name].query(text) == ["1"]

    def steady(self) -> bool:
        return self.redundant() and self.settled()

    def rows(self, low: int, high: int) -> set[int]:
        """The writes of a range that the database holds."""
        text = f"select id from bench_writes where id >= {low} and id < {high}"
        name = self.primary()
        lines = self.hosts[name].query(text, 20) if name else None
        if lines is None:
            raise BenchError("the rows cannot be read")
        return {int(x) for x in lines}

    def end(self) -> None:
        for host in self.hosts.values():
            host.end()
