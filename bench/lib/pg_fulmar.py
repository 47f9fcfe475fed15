"""Fulmar's groups among the systems of the PostgreSQL failover bench: an agent a node, and in east a witness and an
etcd of one member. Each host has a file of its own, by which it dials the others through the network."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from .peers import fulmar
from .pg_lab import NODES, SHARED_BUFFERS, Host, real, run_as, until
from .pg_systems import SET_UP_S, System, http_json, start_etcd
from .procs import BenchError, Proc

PASSWORD = "of-this-bench"
LEASE_S = 2
CREATE_S = 90.0


class Fulmar(System):
    """`settings` is the preference of the failover. A bench that wants another group says so in a class of its own."""
    login = f"user=fulmar_admin password={PASSWORD}"
    mode = "automatic"
    parameters: dict[str, str] = {}  # of PostgreSQL

    def replication(self) -> dict[str, Any]:
        return {"mode": "sync" if self.sync else "async"}

    def set_up(self) -> None:
        lab = self.lab
        (lab.folder / "state").mkdir()
        secret = lab.folder / "secret"
        secret.write_text(PASSWORD + "\n")
        secret.chmod(0o600)
        self.ports = {n: {k: lab.port() for k in ("gate", "peer", "admin")} for n in NODES}
        self.ports["east"] = {k: lab.port() for k in ("peer", "admin")}
        self.witness = Host(lab, "east")
        self.etcd_port = start_etcd(lab)
        for place in (*NODES, "east"):
            self._configure(place)
        self.start(self.witness)
        for host in self.hosts.values():
            self.start(host)
        until("west holds the right to write", self._begun, SET_UP_S)
        run_as(None, [*self._fulmar("west", "group", "create", "ledger"), "--reason", "bench", "--timeout",
                      f"{CREATE_S:.0f}s"], lab.folder, self.witness.env(), CREATE_S + 10)

    def _dial(self, viewer: str) -> dict[str, Any]:
        """By ways of its own to all others; PostgreSQL at the port that it has there."""
        dial: dict[str, Any] = {}
        for place, ports in self.ports.items():
            if place == viewer:
                continue
            ways = {k: self.network.way(viewer, place, ports[k]) for k in ("gate", "peer") if k in ports}
            dial[f"{place}-1"] = {k: f"{a}:{p}" for k, (a, p) in ways.items()}
            if place in NODES and viewer in NODES:
                port = self.hosts[place].port
                dial[f"{place}-1"]["postgres"] = self.network.way(viewer, place, port, at=port)[0]
        return dial

    def _configure(self, viewer: str) -> None:
        folder = self.lab.folder
        hosts: dict[str, Any] = {}
        for place, ports in self.ports.items():
            roles = ["gate", "health", "controller", "postgres"] if place in NODES else ["witness"]
            hosts[f"{place}-1"] = {"region": place, "roles": roles, "address": real(place),
                                   **{k: f"{real(place)}:{p}" for k, p in ports.items()}}
        # Automatic failover wants a member in each region. As with Patroni there is one, in east, here under
        # three addresses: no election is part of what is measured, and what is cut off does not reach it.
        ways = {p: self.network.way(viewer, "east", self.etcd_port) for p in (*NODES, "east")}
        endpoints = {p: [f"http://{address}:{port}"] for p, (address, port) in ways.items()}
        secrets = {"password-file": str(folder / "secret")}
        document = {
            "fulmar": 1, "service": "bench", "state": f"{folder}/state/{{host}}", "peer-tls": "plaintext",
            "coordination": {"etcd": {"endpoints": endpoints}}, "hosts": hosts,
            "dial": self._dial(viewer), "probe": {"app": "none"},
            "regions": {"west": {"priority": 1, "apps": [f"{real('west')}:9"]},
                        "north": {"priority": 2, "apps": [f"{real('north')}:9"]}, "east": {"witness": True}},
            "contexts": {"ledger": {
                "topology": "active-passive", "home": "west", "routes": ["/ledger/**"], "needs": [],
                "idempotency": {"key": "optional", "by": "app"}, "lease": f"{LEASE_S}s",
                "failover": self._failover()}},
            "groups": {"ledger": {
                "contexts": ["ledger"], "user": self.witness.who.name,
                "nodes": {f"{n}-1": {"data": str(h.data), "port": h.port} for n, h in self.hosts.items()},
                "users": {"admin": secrets, "replication": secrets},
                "replication": self.replication(),
                "settings": {"shared_buffers": SHARED_BUFFERS, **self.parameters}}}}
        (folder / f"{viewer}.yaml").write_text(json.dumps(document, indent=1))

    def _failover(self) -> dict[str, Any]:
        if self.mode != "automatic":
            return {"mode": self.mode}
        return {"mode": self.mode, "grace": "0s", "at-most": "16 per 1m", "prefer": self.settings}

    def _fulmar(self, place: str, *words: str) -> list[str]:
        return [fulmar(self.lab.build), *words, "-c", str(self.lab.folder / f"{place}.yaml"), "--host", f"{place}-1"]

    def start(self, host: Host) -> None:
        host.start(self._fulmar(host.name, "agent"), own_user=False)

    def move(self, to: str) -> Proc:
        return self.lab.start("move", [*self._fulmar(to, "move", "ledger"), "--to", to, "--reason", "bench"])

    def _status(self, place: str) -> Any:
        return http_json(real(place), self.ports[place]["admin"], "/status")

    def losses(self, place: str) -> list[dict[str, Any]]:
        """The items of what was lost, as the agent there knows them; [] where it does not answer."""
        found: list[dict[str, Any]] = self._asked(place, "loss", "list", "ledger").get("items", [])
        return found

    def loss(self, place: str, item: str) -> dict[str, Any]:
        """One of them, with its rows."""
        return self._asked(place, "loss", "show", item)

    def _asked(self, place: str, *words: str) -> dict[str, Any]:
        said = subprocess.run([*self._fulmar(place, *words), "-o", "json"], capture_output=True, text=True, check=False,
                              timeout=10, cwd=self.lab.folder)
        found: dict[str, Any] = json.loads(said.stdout) if said.returncode == 0 else {}
        return found

    def node(self, place: str) -> dict[str, Any]:
        """What its agent says of the node; {} where it does not."""
        found: dict[str, Any] = self._status(place).get("groups", {}).get("ledger", {})
        return found

    def loss_if_now(self, place: str) -> dict[str, Any]:
        return (self.node(place).get("credit") or {}).get("loss_if_now") or {}

    def _holder(self) -> str | None:
        contexts = self._status("west").get("authority", {}).get("contexts", {})
        cells = contexts.get("ledger", {}).get("cells") or [{}]
        return cells[0].get("region") if cells[0].get("state") == "held" else None

    def _begun(self) -> bool:
        for host in (self.witness, *self.hosts.values()):
            if host.agent is not None and not host.agent.alive():
                raise BenchError(f"{host.name} ended at its start:\n{host.agent.last_words()}")
        return self._holder() == "west"

    def settled(self) -> bool:
        states = {self.node(n).get("state") for n in NODES}
        return states == {"primary", "standby"}

    def end(self) -> None:
        super().end()
        self.witness.end()
