"""A service with one writer on this machine: two regions (a gate with its journal, an application), a witness in
a third one, an edge; coordination by a SQLite file whose owner is the witness, or by an etcd of three members."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

from .procs import BenchError, Lab, Proc, bench_program, fulmar_program, http_get, wait_ready

REGIONS = ("west", "north")
PLACES = (*REGIONS, "east")
LEASE_MS, RHO, ELECTION_MS = 2000, 0.01, 1000
PATIENCE_S = 30.0
COMMAND, QUERY = "/ledger/debit", "/ledger/balance"

CONFIG = """\
fulmar: 1
service: bench
state: "{folder}/state/{{host}}"
coordination: {coordination}
hosts:
{hosts}
edge:
  workers: 1
  listen: [{{address: "127.0.0.1:{listen}"}}]
regions:
{regions}
  east: {{witness: true}}
limits: {{in-flight: 100000}}
contexts:
  ledger:
    topology: active-passive
    home: west
    routes: ["/ledger/**"]
    queries: any
    idempotency: {{key: required, by: gate}}
    needs: []
    lease: {lease}ms
    failover: {{mode: automatic, grace: 0s, at-most: 16 per 1h}}
    when-away: {{hold: 10s, queries: any}}
"""


def until(what: str, condition: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"never: {what}")
        time.sleep(0.02)


@dataclass
class Etcd:
    """Three members, one a place."""
    lab: Lab
    client: dict[str, int] = field(default_factory=dict)
    peer: dict[str, int] = field(default_factory=dict)
    proc: dict[str, Proc] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for place in PLACES:
            self.client[place], self.peer[place] = self.lab.port(), self.lab.port()

    def start(self, place: str, state: str = "new") -> None:
        members = ",".join(f"{p}=http://127.0.0.1:{self.peer[p]}" for p in PLACES)
        client, peer = (f"http://127.0.0.1:{ports[place]}" for ports in (self.client, self.peer))
        self.proc[place] = self.lab.start(f"etcd-{place}", [
            "etcd", "--name", place, "--data-dir", str(self.lab.folder / f"etcd-{place}"),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", members, "--initial-cluster-state", state,
            "--initial-cluster-token", str(self.lab.folder), "--log-level", "error",
            "--heartbeat-interval", "100", "--election-timeout", str(ELECTION_MS)])

    def start_all(self) -> None:
        for place in PLACES:
            self.start(place)
        until("the members of etcd have a leader", lambda: self.leader() is not None)

    def _status(self, place: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.client[place], timeout=1)
        try:
            connection.request("POST", "/v3/maintenance/status", "{}")
            answer: dict[str, Any] = json.loads(connection.getresponse().read())
            return answer
        except (OSError, ValueError, http.client.HTTPException):
            return {}
        finally:
            connection.close()

    def leader(self) -> str | None:
        for place in PLACES:
            status = self._status(place)
            if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                return place
        return None

    def lead(self, wanted: str) -> None:
        """The leader hands over to this member."""
        to = self._status(wanted)["header"]["member_id"]
        leader = self.leader()
        if leader is None:
            raise BenchError("etcd has no leader")
        if leader != wanted:
            subprocess.run(["etcdctl", "--endpoints", f"127.0.0.1:{self.client[leader]}",
                            "move-leader", f"{int(to):x}"], check=True, timeout=10,
                           stdout=subprocess.DEVNULL, env={"ETCDCTL_API": "3", "PATH": "/usr/bin:/bin"})
        until(f"the member in {wanted} leads", lambda: self.leader() == wanted)


@dataclass
class Site:
    lab: Lab
    etcd: Etcd | None
    listen: int = 0
    config: Path = Path()
    edge_admin: int = 0
    ports: dict[str, dict[str, int]] = field(default_factory=dict)
    procs: dict[str, list[Proc]] = field(default_factory=dict)
    witness: Proc | None = None

    def write(self) -> None:
        lab = self.lab
        self.listen, self.edge_admin = lab.port(), lab.port()
        hosts = [f'  edge-1: {{region: west, roles: [edge], address: 127.0.0.1, '
                 f'admin: "127.0.0.1:{self.edge_admin}"}}']
        for region in REGIONS:
            p = self.ports[region] = {k: lab.port() for k in ("gate", "peer", "admin", "app")}
            hosts.append(f'  {region}-1: {{region: {region}, roles: [gate, health, controller], '
                         f'address: 127.0.0.1, gate: "127.0.0.1:{p["gate"]}", '
                         f'peer: "127.0.0.1:{p["peer"]}", admin: "127.0.0.1:{p["admin"]}"}}')
        roles = "[witness]" if self.etcd else "[witness, coordination]"
        hosts.append(f'  witness-1: {{region: east, roles: {roles}, address: 127.0.0.1, '
                     f'peer: "127.0.0.1:{lab.port()}", admin: "127.0.0.1:{lab.port()}"}}')
        regions = [f'  {r}: {{priority: {i + 1}, apps: ["127.0.0.1:{self.ports[r]["app"]}"]}}'
                   for i, r in enumerate(REGIONS)]
        coordination = f'{{sqlite: "{lab.folder}/coordination.db"}}'
        if self.etcd:
            endpoints = ", ".join(f'{p}: ["http://127.0.0.1:{self.etcd.client[p]}"]' for p in PLACES)
            coordination = f"{{etcd: {{endpoints: {{{endpoints}}}, election: {ELECTION_MS}ms}}}}"
        self.config = lab.folder / "fulmar.yaml"
        self.config.write_text(CONFIG.format(
            folder=lab.folder, coordination=coordination, hosts="\n".join(hosts), lease=LEASE_MS,
            listen=self.listen, regions="\n".join(regions)))

    def fulmar(self, *arguments: str) -> list[str]:
        program = fulmar_program(self.lab.build)
        if program is None:
            raise BenchError("build/fulmar is missing: ./dev build")
        return [program, *arguments[:1], "-c", str(self.config), *arguments[1:]]

    def start_witness(self) -> None:
        self.witness = self.lab.start("witness-1", self.fulmar("agent", "--host", "witness-1"))

    def start_region(self, region: str, service_us: int) -> None:
        app = self.lab.start(f"app-{region}", [
            bench_program("bench-origin", self.lab.build), f"--name={region[0]}",
            f"--delay-us={service_us}", f"--store={self.lab.folder / 'store'}",
            str(self.ports[region]["app"])])
        wait_ready(app, self.ports[region]["app"], QUERY)
        agent = self.lab.start(f"{region}-1", self.fulmar("agent", "--host", f"{region}-1"))
        self.procs[region] = [app, agent]

    def start(self, service_us: int = 1000) -> None:
        if self.etcd:
            self.etcd.start_all()
        self.write()
        self.start_witness()
        for region in REGIONS:
            self.start_region(region, service_us)
        edge = self.lab.start("edge-1", self.fulmar("edge", "--host", "edge-1"))
        wait_ready(edge, self.listen, QUERY)
        until("west holds the ledger", lambda: self.holder() == "west")

    def holder(self) -> str | None:
        status, body = http_get(self.edge_admin, "/status")
        if status != 200:
            return None
        context = json.loads(body)["view"]["contexts"]["ledger"]
        cells = context.get("cells") or [{}]
        return cells[0].get("region") if cells[0].get("state") == "held" else None

    def kill(self, region: str) -> None:
        """All of it at once, with its member of etcd."""
        dead = [*self.procs[region], *([self.etcd.proc[region]] if self.etcd else [])]
        for proc in dead:
            proc.signal(signal.SIGKILL)

    def coordination(self) -> list[Proc]:
        if self.etcd:
            return list(self.etcd.proc.values())
        assert self.witness is not None
        return [self.witness]

    def stop_coordination(self) -> None:
        for proc in self.coordination():
            proc.signal(signal.SIGKILL)
        for proc in self.coordination():
            self.lab.stop(proc)

    def start_coordination(self) -> None:
        if self.etcd:
            for place in PLACES:
                self.etcd.start(place, "existing")
        else:
            self.start_witness()

    def move(self, to: str) -> float:
        """`fulmar move`; how many ms the whole command took."""
        began = time.monotonic()
        done = subprocess.run(self.fulmar("move", "ledger", "--to", to, "--reason", "bench", "--host", f"{to}-1"),
                              capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        if done.returncode != 0:
            raise BenchError(f"fulmar move --to {to} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return (time.monotonic() - began) * 1000
