"""A PostgreSQL group of two regions for its soak: in a network namespace each an agent with a node, a third one with a
witness, an etcd in each of the three; clients that append. And everything that can be done to them.

Needs root (network namespaces, and small file systems that can be full)."""

import glob
import json
import os
import pathlib
import pwd
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "system"))

import lib  # noqa: E402
from lib import check, wait_until  # noqa: E402
from processes import argv_of, at_home_in, pids, stat_of  # noqa: E402
from regions import Network, Region, sh  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
REGIONS = ("west", "north", "east")
PASSWORD = "a-secret-of-this-soak"
DISK = "400m"
DOOR, PEER, GATE, ADMIN, DATABASE = 6432, 7101, 8081, 7201, 5432
START_S = 60.0

REWIND = """#!/bin/sh
# fails, succeeds without doing anything, or dies half-way, as it is told, once
how=$(cat {flag} 2>/dev/null) && rm -f {flag}
case $how in
    fails) echo "pg_rewind: it was told to fail" >&2; exit 1 ;;
    lies) exit 0 ;;
    dies) exec timeout -s KILL 0.1 {real} "$@" ;;
esac
exec {real} "$@"
"""


class Host:
    """An agent, its node of the group, and the disk of that."""

    def __init__(self, world, region, number):
        self.world, self.region, self.number = world, region, number
        self.name = f"{region}-{number}"
        self.address = world.net.address[region]
        self.disk = world.stage.path("disks") / self.name
        self.data = self.disk / "data"
        self.flag = world.stage.path("flags") / f"rewind-{self.name}"
        self.agent = None
        self.stopped = {}  # pid: when it was started; what a fault holds with SIGSTOP

    def port(self, base):
        return base + self.number - 1

    def roles(self):
        return ["gate", "health", "controller", "postgres"]

    def start(self):
        if self.agent and self.agent.is_alive():
            return
        self.agent = self.world.stage.start(self.name, self.world.net.inside(
            self.region, lib.FULMAR, "agent", "-c", self.world.conf, "--host", self.name))
        self.agent.end_was_seen = True

    def prepare(self, owner):
        """Its disk, and the programs of PostgreSQL with one that can be told to fail."""
        self.disk.mkdir(parents=True)
        sh("mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0755", "fulmar-soak", self.disk)
        self.world.stage.on_end(lambda: sh("umount", "-l", self.disk, quiet=True))
        os.chown(self.disk, owner.pw_uid, owner.pw_gid)
        programs = self.world.stage.path("bin") / self.name
        programs.mkdir(parents=True)
        for program in sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[-2]))[-1:]:
            for real in pathlib.Path(program).iterdir():
                if real.name != "pg_rewind":
                    (programs / real.name).symlink_to(real)
            (programs / "pg_rewind").write_text(REWIND.format(flag=self.flag, real=f"{program}/pg_rewind"))
            (programs / "pg_rewind").chmod(0o755)

    # -------- asking --------

    def status(self):
        """What its agent says; {} where it does not answer."""
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(1)
                s.connect(str(self.world.stage.path(self.name) / "agent.sock"))
                s.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                data = b""
                while piece := s.recv(1 << 16):
                    data += piece
            return json.loads(data.partition(b"\r\n\r\n")[2])
        except (OSError, ValueError):
            return {}

    def node(self):
        return (self.status().get("groups") or {}).get("ledger") or {}

    def dsn(self):
        return f"user=fulmar_admin password={PASSWORD} dbname=postgres host=127.0.0.1 port={self.port(DATABASE)}" \
            " connect_timeout=2"

    def sql(self, text, seconds=10.0):
        """What its PostgreSQL answers; None where it does not."""
        try:
            done = subprocess.run(self.world.net.inside(self.region, "psql", "-X", "-qAtc", text, "-d", self.dsn()),
                                  capture_output=True, text=True, check=False, timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # -------- its processes --------

    def servers(self):
        """All that is at home in the data directory."""
        return at_home_in(self.data)

    def postmaster(self):
        try:
            pid = int((self.data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if pid in self.servers() else None

    def wards(self):
        """{"second": pid, "guard": pid}, those that are there."""
        found = {}
        for pid in pids():
            argv = argv_of(pid)
            if len(argv) > 5 and argv[1] == b"ward" and str(self.data).encode() in argv:
                found[pid] = stat_of(pid)
        return {("guard" if s and s[1] in found else "second"): pid for pid, s in found.items()}

    def everything(self):
        agent = [self.agent.pid] if self.agent and self.agent.is_alive() else []
        return agent + list(self.wards().values()) + self.servers()

    def signal(self, signo, which):
        for pid in which:
            before = stat_of(pid)
            try:
                os.kill(pid, signo)
            except ProcessLookupError:
                continue
            if signo == signal.SIGSTOP and before:
                self.stopped[pid] = before[2]

    def wake(self):
        for pid, began in self.stopped.items():
            now = stat_of(pid)
            if now and now[2] == began:
                os.kill(pid, signal.SIGCONT)
        self.stopped.clear()

    # -------- its disk --------

    def fill(self):
        with open(self.disk / "fill", "wb", buffering=0) as f:
            try:
                while f.write(b"\0" * (1 << 20)):
                    pass
            except OSError:
                pass

    def empty(self):
        (self.disk / "fill").unlink(missing_ok=True)


class Group:
    """The world. Regions of etcd are those of regions.py."""

    def __init__(self, stage, dice, nodes=()):
        if not glob.glob("/usr/lib/postgresql/*/bin/postgres"):
            raise lib.Skip("PostgreSQL is not installed")
        self.stage, self.etcd_name = stage, "etcd"
        self.net = Network(stage, REGIONS)
        self.etcd = {name: Region(self, name) for name in REGIONS}
        self.beyond = dice.choice(["no-automatic", "no-automatic", "block-writes"])
        self.owner = pwd.getpwnam("postgres")
        self.conf = stage.path("fulmar.yaml")
        stage.dir.chmod(0o755)
        nodes = nodes or dice.choice([("west", "north"), ("west", "north"), ("west", "west", "north")])
        numbers = {}
        self.hosts = []
        for region in nodes:
            numbers[region] = numbers.get(region, 0) + 1
            self.hosts.append(Host(self, region, numbers[region]))
        flags = stage.path("flags")
        flags.mkdir()
        os.chown(flags, self.owner.pw_uid, self.owner.pw_gid)
        for h in self.hosts:
            h.prepare(self.owner)
        self.conf.write_text(json.dumps(self._document(), indent=1))
        self.witness = None
        self.appenders, self.nkeys, self.lines = [], 0, []
        self.orders = []

    def etcd_members(self):
        return ",".join(f"{r.name}=http://{r.address}:2380" for r in self.etcd.values())

    def _document(self):
        secret = self.stage.write("secret", PASSWORD + "\n")
        secret.chmod(0o600)
        hosts = {h.name: {"region": h.region, "roles": h.roles(), "address": h.address,
                          "gate": f"{h.address}:{h.port(GATE)}", "peer": f"{h.address}:{h.port(PEER)}",
                          "admin": f"{h.address}:{h.port(ADMIN)}"} for h in self.hosts}
        east = self.net.address["east"]
        hosts["east-1"] = {"region": "east", "roles": ["witness"], "address": east, "peer": f"{east}:{PEER}",
                           "admin": f"{east}:{ADMIN}"}
        return {
            "fulmar": 1, "service": "bank", "state": f"{self.stage.dir}/{{host}}", "peer-tls": "plaintext",
            "coordination": {"etcd": {"endpoints": {r.name: [f"http://{r.address}:2379"] for r in self.etcd.values()},
                                      "election": "1s"}},
            "hosts": hosts, "probe": {"app": "none"},
            "regions": {"west": {"priority": 1, "apps": [f"{self.net.address['west']}:9"]},
                        "north": {"priority": 2, "apps": [f"{self.net.address['north']}:9"]}, "east": {"witness": True}},
            "contexts": {"ledger": {
                "topology": "active-passive", "home": "west", "routes": ["/ledger/**"], "needs": [],
                "idempotency": {"key": "optional", "by": "app"}, "lease": "2s",
                "failover": {"mode": "automatic", "grace": "0s", "at-most": "16 per 1m"}}},
            "groups": {"ledger": {
                "contexts": ["ledger"], "user": self.owner.pw_name, "bin": f"{self.stage.dir}/bin/{{host}}",
                "nodes": {h.name: {"data": str(h.data), "port": h.port(DATABASE)} for h in self.hosts},
                "users": {u: {"password-file": str(secret)} for u in ("admin", "replication")},
                "replication": {"mode": "sync", "beyond": self.beyond},
                "listen": {"read-write": {h.name: f"0.0.0.0:{h.port(DOOR)}" for h in self.hosts}},
                "settings": {"shared_buffers": "16MB", "max_wal_size": "64MB", "min_wal_size": "32MB"}}}}

    # -------- life --------

    def begin(self):
        for r in self.etcd.values():
            r.start_etcd()
        self.start_witness()
        for h in self.hosts:
            h.start()
        wait_until("west holds the right to write", self._is_held, START_S, every=0.1)
        done = self.fulmar("group", "create", "ledger", "--reason", "a soak", "--timeout", "60s")
        check(done.wait(90) == 0, f"group create: {done.output()}")
        wait_until("the group is whole", self.is_whole, START_S, every=0.1)
        made = "create table t (k int, n bigint, pos bigint, prev bigint, primary key (k, n), unique (k, pos))"
        wait_until("a table is made", lambda: self.primary() and self.primary().sql(made) is not None, START_S)
        return self

    def _is_held(self):
        for process in (self.witness, *(h.agent for h in self.hosts)):
            check(process.is_alive(), f"{process.name} has ended: {process.output()[-800:]}")
        return self.holder() == "west"

    def start_witness(self):
        if not self.witness or not self.witness.is_alive():
            self.witness = self.stage.start("east-1", self.net.inside(
                "east", lib.FULMAR, "agent", "-c", self.conf, "--host", "east-1"))
            self.witness.end_was_seen = True

    def fulmar(self, *arguments):
        order = self.stage.start(f"order-{len(self.orders)}", self.net.inside(
            "west", lib.FULMAR, *arguments, "-c", self.conf, "--host", "west-1"))
        self.orders.append(order)
        return order

    def holder(self):
        for h in self.hosts:
            contexts = (h.status().get("authority") or {}).get("contexts") or {}
            cells = (contexts.get("ledger") or {}).get("cells") or [{}]
            if cells[0].get("state") == "held":
                return cells[0].get("region")
        return None

    # -------- who is what --------

    def primary(self):
        """The host whose node serves as primary, as its agent says; None: none, or two."""
        found = [h for h in self.hosts if h.node().get("state") == "primary"]
        return found[0] if len(found) == 1 else None

    def role(self, what):
        """The primary, a standby, or who comes nearest to it at this moment."""
        primary = self.primary()
        if not primary:
            holder = self.holder()
            primary = next((h for h in self.hosts if h.region == holder), self.hosts[0])
        if what == "primary":
            return primary
        return next(h for h in self.hosts if h is not primary)

    def is_whole(self):
        """One primary that serves, everybody else its standby, and recorded as one that loses nothing."""
        nodes = [h.node() for h in self.hosts]
        serving = [i for i, n in enumerate(nodes) if n.get("state") == "primary" and n.get("serves")]
        if len(serving) != 1 or self.holder() != self.hosts[serving[0]].region:
            return False
        names = sorted(h.name for h in self.hosts)
        mine = names.index(self.hosts[serving[0]].name)
        others = sum(1 << i for i in range(len(names)) if i != mine)
        return nodes[serving[0]].get("promotable") == others and \
            all(n.get("state") == "standby" for i, n in enumerate(nodes) if i != serving[0])

    def why_not_whole(self):
        return "; ".join(f"{h.name}: {n.get('state')} ({n.get('why')}) promotable {n.get('promotable')} epoch "
                         f"{n.get('epoch')} trouble {n.get('trouble')!r}" for h in self.hosts for n in [h.node()])

    # -------- clients --------

    def append(self):
        """Clients begin: one that knows the doors, and one beside each node."""
        doors = [(h.address, h.port(DOOR)) for h in self.hosts]
        whole = f"user=fulmar_admin password={PASSWORD} dbname=postgres connect_timeout=2" \
            f" host={','.join(a for a, _ in doors)} port={','.join(str(p) for _, p in doors)}"
        ways = [("client", whole)] + [(h.region, h.dsn() + " target_session_attrs=read-write") for h in self.hosts]
        for where, dsn in ways:
            self.nkeys += 1
            out = self.stage.path(f"appended-{self.nkeys}.jsonl")
            process = self.stage.start(f"appender-{self.nkeys}", self.net.inside(
                where, "/usr/bin/env", "python3", HERE / "appender.py", out, str(self.nkeys), dsn))
            process.end_was_seen = True
            self.appenders.append((process, out, where))

    def appended(self, where=None):
        """What clients wrote down until now."""
        found = []
        for _, out, at in self.appenders:
            if where in (None, at):
                found += [json.loads(x) for x in lib.whole_lines(out).splitlines()]
        return found

    def acknowledged_since(self, when, where=None):
        return sum(x["o"] == "acknowledged" and x["sent"] >= when for x in self.appended(where))

    def end_appending(self):
        for process, _, _ in self.appenders:
            process.signal(signal.SIGTERM)
        for process, out, _ in self.appenders:
            process.wait(15)
            check("Traceback" not in process.output(), process.output())
        self.lines += self.appended()
        self.appenders.clear()


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)
