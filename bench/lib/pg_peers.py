"""The systems of the failover bench, a class each, over the same two hosts and the same network. Their
settings are in bench/peers/."""

from __future__ import annotations

import configparser
import http.client
import json
import string
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from .peers import find
from .pg_lab import (ANYWHERE, CLIENT, BIN, DATABASE, NODES, SHARED_BUFFERS, Host, Network, dsn,
                     public, query, real, until)
from .procs import ROOT, BenchError, Lab, Proc

PEERS = ROOT / "bench" / "peers"
SET_UP_S = 90.0
STREAMING = "select count(*) from pg_stat_replication where state = 'streaming'"
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


@dataclass
class System(ABC):
    """A group of two nodes, west and north, and what agrees about them, in east."""
    lab: Lab
    settings: str   # the file of bench/peers/
    sync: bool
    delay_ms: int = 0

    def __post_init__(self) -> None:
        self.network = Network(self.lab)
        self.hosts = {n: Host(self.lab, n) for n in NODES}

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
        self.doors = {n: f"{dsn(*self.network.way(CLIENT, n, h.port))} {NO_LOG}"
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


class PgAutoFailover(System):
    """Two keepers, and the monitor in east."""

    def set_up(self) -> None:
        self.conf = configparser.ConfigParser(delimiters="=")
        self.conf.read_string((PEERS / "pg_auto_failover" / self.settings).read_text())
        self.monitor = Host(self.lab, "east")
        self.monitor.run(["pg_autoctl", "create", "monitor", "--pgdata", str(self.monitor.data),
                          "--pgport", str(self.monitor.port), "--hostname", "127.0.0.1", "--no-ssl",
                          "--skip-pg-hba"])
        with open(self.monitor.data / "postgresql.conf", "a", encoding="utf-8") as f:
            f.write(f"shared_buffers = '{SHARED_BUFFERS}'\n")
            f.writelines(f"{k} = '{v}'\n" for k, v in self.conf["monitor"].items())
        self.start(self.monitor)
        until("the monitor answers", lambda: self._ask("select 1") == ["1"], SET_UP_S)
        for host in self.hosts.values():
            self.network.way(ANYWHERE, host.name, host.port, at=host.port)
            self._create(host)
            self.start(host)
            until(f"{host.name} answers", lambda h=host: h.query("select 1") == ["1"], SET_UP_S)

    def _create(self, host: Host) -> None:
        monitor = self.network.way(host.name, "east", self.monitor.port)
        host.run(["pg_autoctl", "create", "postgres", "--pgdata", str(host.data), "--pghost",
                  str(host.folder), "--pgport", str(host.port), "--listen", real(host.name),
                  "--hostname", public(host.name), "--name", host.name, "--no-ssl", "--skip-pg-hba",
                  "--username", "postgres", "--dbname", DATABASE, "--replication-quorum",
                  self.conf["node"]["replication-quorum"], "--monitor",
                  f"postgres://autoctl_node@{monitor[0]}:{monitor[1]}/pg_auto_failover"])
        for key, value in self.conf["keeper"].items():
            host.run(["pg_autoctl", "config", "set", "--pgdata", str(host.data), key, value])
        with open(host.data / "postgresql.conf", "a", encoding="utf-8") as f:
            f.write(f"shared_buffers = '{SHARED_BUFFERS}'\n")

    def _ask(self, text: str) -> list[str] | None:
        return query(dsn("127.0.0.1", self.monitor.port, "pg_auto_failover"), text)

    def start(self, host: Host) -> None:
        host.start(["pg_autoctl", "run", "--pgdata", str(host.data)])

    def move(self, to: str) -> Proc:
        m = self.monitor
        return self.lab.start("move", ["pg_autoctl", "perform", "promotion", "--pgdata", str(m.data),
                                       "--name", to], who=m.who, cwd=m.folder, env=m.env())

    def settled(self) -> bool:
        return self._ask("select count(*) from pgautofailover.node where reportedstate = goalstate and "
                         "reportedstate in ('primary', 'secondary') and health = 1") == ["2"]

    def end(self) -> None:
        super().end()
        self.monitor.end()


class Patroni(System):
    """Two nodes, and an etcd of one member in east: nothing has to be elected among the survivors."""

    def set_up(self) -> None:
        self.rest = {n: self.lab.port() for n in NODES}
        self._start_etcd()
        for host in self.hosts.values():
            self._configure(host)
        for host in self.hosts.values():
            self.start(host)
            until(f"{host.name} answers", lambda h=host: h.query("select 1") == ["1"], SET_UP_S)

    def _start_etcd(self) -> None:
        folder = self.lab.folder / "east"
        folder.mkdir()
        self.etcd_port, peer = self.lab.port(), self.lab.port()
        client = f"http://{real('east')}:{self.etcd_port}"
        self.etcd = self.lab.start("etcd", [
            find("etcd"), "--name", "east", "--data-dir", str(folder / "data"), "--log-level", "error",
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", f"http://{real('east')}:{peer}", "--initial-advertise-peer-urls",
            f"http://{real('east')}:{peer}", "--initial-cluster", f"east=http://{real('east')}:{peer}"],
            cwd=folder)
        until("etcd has a leader", lambda: http_json(real("east"), self.etcd_port, "/version").get(
            "etcdcluster", "not_decided") != "not_decided", SET_UP_S)

    def _configure(self, host: Host) -> None:
        name, rest = host.name, self.rest[host.name]
        self.network.way(ANYWHERE, name, host.port, at=host.port)
        self.network.way(ANYWHERE, name, rest, at=rest)
        etcd = self.network.way(name, "east", self.etcd_port)
        folder = PEERS / "patroni"
        dcs = "".join(f"    {x}\n" for x in (folder / self.settings).read_text().splitlines()
                      if x and not x.startswith("#"))
        words = {"name": name, "real": real(name), "public": public(name), "rest_port": rest,
                 "pg_port": host.port, "etcd": f"{etcd[0]}:{etcd[1]}", "dcs": dcs.rstrip(),
                 "data": host.data, "bin": BIN, "folder": host.folder,
                 "shared_buffers": SHARED_BUFFERS}
        text = (folder / "node.yml").read_text()
        (host.folder / "patroni.yml").write_text(string.Formatter().vformat(text, (), words))

    def start(self, host: Host) -> None:
        host.start([find("patroni"), str(host.folder / "patroni.yml")])

    def move(self, to: str) -> Proc:
        host = self.hosts[to]
        other = next(n for n in NODES if n != to)
        return self.lab.start("move", [find("patronictl"), "-c", str(host.folder / "patroni.yml"),
                                       "switchover", "--master", other, "--candidate", to, "--force"],
                              who=host.who, cwd=host.folder, env=host.env())

    def settled(self) -> bool:
        wanted = {"leader", "sync_standby" if self.sync else "replica"}
        for name in NODES:
            members = http_json(real(name), self.rest[name], "/cluster").get("members", [])
            states = {m.get("state") for m in members}
            if {m.get("role") for m in members} != wanted or not states <= {"running", "streaming"}:
                return False
        return True


@dataclass(frozen=True)
class Variant:
    name: str
    system: type[System]
    settings: str
    sync: bool
    patience_s: float           # for a failover
    seen: dict[str, float]      # seconds that it must come near, or the run is void

    @property
    def ours(self) -> bool:
        return self.name.startswith("fulmar")

    def make(self, lab: Lab, delay_ms: int) -> System:
        return self.system(lab, self.settings, self.sync, delay_ms)


VARIANTS = {v.name: v for v in (
    Variant("pg_auto_failover-default", PgAutoFailover, "default.conf", True, 90.0, {}),
    Variant("pg_auto_failover-tuned", PgAutoFailover, "tuned.conf", True, 30.0,
            {"planned": 1.22, "kill": 6.5}),
    Variant("pg_auto_failover-tuned-async", PgAutoFailover, "tuned-async.conf", False, 30.0,
            {"planned": 1.24}),
    Variant("patroni-default", Patroni, "default.yml", False, 90.0, {}),
    Variant("patroni-tuned", Patroni, "tuned.yml", False, 30.0, {"planned": 1.39, "kill": 4.8}),
    Variant("patroni-tuned-sync", Patroni, "tuned-sync.yml", True, 30.0, {}),
)}
