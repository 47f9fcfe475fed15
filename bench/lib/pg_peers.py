"""The peers of the PostgreSQL failover bench. Their settings are in bench/peers/."""

from __future__ import annotations

import configparser
import string

from .peers import find
from .pg_lab import (ANYWHERE, BIN, DATABASE, NODES, SHARED_BUFFERS, Host, dsn, public, query, real,
                     until)
from .pg_systems import SET_UP_S, System, http_json, start_etcd
from .procs import ROOT, Proc

PEERS = ROOT / "bench" / "peers"


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
        return query(dsn("127.0.0.1", self.monitor.port, self.login, "pg_auto_failover"), text)

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
        self.etcd_port = start_etcd(self.lab)
        for host in self.hosts.values():
            self._configure(host)
        for host in self.hosts.values():
            self.start(host)
            until(f"{host.name} answers", lambda h=host: h.query("select 1") == ["1"], SET_UP_S)

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
