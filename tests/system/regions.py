"""Three regions in network namespaces for the tests of authority: in each an agent, an edge, an application and
an etcd; clients in a namespace of their own; a bridge between them that can be cut. And the checker, which
reads what every journal, application and client wrote down.

Needs root (network namespaces); a test that needs it is skipped otherwise."""

import collections
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import lib
import processes
from lib import check, wait_until

NAMES = ("west", "north", "east")
UNKNOWN = 3  # FM_IDEM_UNKNOWN, as journals have it
HERE = lib.ROOT / "tests" / "system"
PATIENCE_S = 60.0
LOST_MAX = 150  # in one stall: what the load asks in a second
HUNG_UP = ("urn:fulmar:connection-lost", "urn:fulmar:outcome-unknown", "urn:fulmar:answer-not-kept")

CONFIG = """\
fulmar: 1
service: bank
state: "{dir}/{{host}}"
peer-tls: {peer_tls}
coordination:
  etcd:
    endpoints: {{{endpoints}}}
    election: {election}
hosts:
{hosts}
edge: {{listen: [{{address: "0.0.0.0:8080"}}], workers: 1}}
probe: {{app: tcp, interval: 200ms, fast-interval: 50ms}}
timeouts: {{connect: {connect}}}
regions:
{regions}
contexts:
  ledger:
    topology: active-passive
    home: west
    routes: ["/ledger/**"]
    needs: []
    idempotency: {{key: required, by: gate}}
    lease: {lease}
    failover: {failover}
    when-away: {{hold: {hold}, commands: reject, queries: any}}
  cards:
    topology: affinity
    cells: 6
    key: {{path: card}}
    routes: ["/cards/{{card}}/**"]
    needs: []
    idempotency: {{key: required, by: app}}
    lease: {lease}
    failover: {failover}
    when-away: {{hold: {hold}, commands: reject, queries: any}}
"""


def sh(*argv, quiet=False):
    p = subprocess.run([str(a) for a in argv], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30)
    check(quiet or p.returncode == 0, f"{' '.join(map(str, argv))}: {p.stderr.strip()}")
    return p.stdout


class Network:
    """Namespaces on one bridge. `cut` takes the cable out; `part` lets two not see each other."""

    def __init__(self, stage, names):
        if os.geteuid() != 0:
            raise lib.Skip("network namespaces need root")
        self.tag = f"fm{os.getpid() % 100000}{random.randrange(100):02d}"
        self.hub = f"{self.tag}-hub"
        self.spaces = []
        stage.on_end(self.remove)
        sh("ip", "netns", "add", self.hub)
        self.spaces.append(self.hub)
        sh("ip", "-n", self.hub, "link", "add", "br0", "type", "bridge")
        sh("ip", "-n", self.hub, "link", "set", "br0", "up")
        self.address = {}
        for i, name in enumerate([*names, "client"]):
            ns = self.ns(name)
            sh("ip", "netns", "add", ns)
            self.spaces.append(ns)
            sh("ip", "link", "add", "eth0", "netns", ns, "type", "veth", "peer", "name", name, "netns", self.hub)
            sh("ip", "-n", self.hub, "link", "set", name, "master", "br0", "up")
            sh("ip", "-n", ns, "link", "set", "lo", "up")
            sh("ip", "-n", ns, "addr", "add", f"10.77.{i + 1}.1/16", "dev", "eth0")
            sh("ip", "-n", ns, "link", "set", "eth0", "up")
            self.address[name] = f"10.77.{i + 1}.1"

    def ns(self, name):
        return f"{self.tag}-{name}"

    def inside(self, name, *argv):
        return ["ip", "netns", "exec", self.ns(name), *argv]

    def cut(self, name, off=True):
        sh("ip", "-n", self.hub, "link", "set", name, "down" if off else "up")

    def part(self, *names, off=True):
        """These do not see each other any more, but everybody else."""
        for name in names:
            sh("bridge", "-n", self.hub, "link", "set", "dev", name, "isolated", "on" if off else "off")

    def remove(self):
        for ns in reversed(self.spaces):
            sh("ip", "netns", "del", ns, quiet=True)


class Region:
    def __init__(self, world, name):
        self.world, self.name = world, name
        self.address = world.net.address[name]
        self.agent = self.edge = self.app = self.etcd = None

    def run(self, what, *argv, until=None):
        stage = self.world.stage
        process = stage.start(f"{self.name}-{what}", self.world.net.inside(self.name, *argv))
        if until:
            wait_until(f"{process.name} at {until}", lambda: self.accepts(until) or not process.is_alive(), PATIENCE_S)
            check(process.is_alive(), f"{process.name} has ended: {process.output()[-500:]}")
        return process

    def accepts(self, port):
        p = subprocess.run(self.world.net.inside(
            self.name, sys.executable, "-c",
            f"import socket; socket.create_connection(('{self.address}', {port}), 0.5)"), capture_output=True)
        return p.returncode == 0

    def etcd_folder(self):
        return self.world.stage.path(f"{self.world.etcd_name}-{self.name}")

    def start_etcd(self):
        members = self.world.etcd_members()
        a = self.address
        folder = self.etcd_folder()
        state = "existing" if (folder / "member").exists() else "new"
        self.etcd = self.run(
            "etcd", lib.program("etcd"), "--name", self.name, "--data-dir", folder,
            "--listen-client-urls", f"http://{a}:2379", "--advertise-client-urls", f"http://{a}:2379",
            "--listen-peer-urls", f"http://{a}:2380", "--initial-advertise-peer-urls", f"http://{a}:2380",
            "--initial-cluster", members, "--initial-cluster-state", state, "--initial-cluster-token",
            self.world.etcd_name,
            "--heartbeat-interval", "50", "--election-timeout", "500", "--log-level", "error",
            "--unsafe-no-fsync")

    def start_app(self, delay_ms=0):
        self.app = self.run("app", sys.executable, HERE / "teller.py", self.address, "9000", self.name,
                            self.world.stage.path(f"app-{self.name}.jsonl"), self.world.database, str(delay_ms),
                            until=9000)

    def start_agent(self):
        self.agent = self.run("agent", lib.FULMAR, "agent", "-c", self.world.conf, "--host", f"{self.name}-1",
                              until=7101)

    def start_guard(self):
        """The agent and the application under a guard."""
        self.agent = self.run("guard", lib.FULMAR, "guard", "-c", self.world.conf, "--host", f"{self.name}-1", "--",
                              sys.executable, str(HERE / "teller.py"), self.address, "9000", self.name,
                              self.world.stage.path(f"app-{self.name}.jsonl"), self.world.database, until=7101)

    def guarded_agent(self):
        """The pid of the agent below the guard."""
        pid = processes.agent_below(self.agent.pid)
        check(pid, "the guard has no agent")
        return pid

    def start_edge(self):
        self.edge = self.run("edge", lib.FULMAR, "edge", "-c", self.world.conf, "--host", f"{self.name}-edge",
                             until=8080)

    def processes(self):
        return [p for p in (self.agent, self.edge, self.app, self.etcd) if p]

    def signal(self, signo):
        """To everything of this region, what it started included."""
        for p in self.processes():
            if p.is_alive():
                os.killpg(p.pid, signo)

    def kill(self):
        for p in self.processes():
            p.kill()

    def status(self, role="agent"):
        """What the daemon says on its local socket; None where it does not answer."""
        host = f"{self.name}-1" if role == "agent" else f"{self.name}-edge"
        path = self.world.stage.path(host) / f"{role}.sock"
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(2)
                s.connect(str(path))
                s.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                data = b""
                while piece := s.recv(1 << 16):
                    data += piece
            return json.loads(data.partition(b"\r\n\r\n")[2])
        except (OSError, ValueError):
            return None


class World:
    def __init__(self, stage, lease="2s", hold="6s", failover="{mode: automatic, grace: 0s, at-most: 16 per 1h}",
                 election="1s", tls=False):
        self.stage = stage
        self.etcd_name = "etcd"
        self.net = Network(stage, NAMES)
        self.database = stage.path("bank.db")
        with sqlite3.connect(self.database) as db:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("CREATE TABLE applied(key TEXT PRIMARY KEY, region TEXT, path TEXT, authority TEXT, times INTEGER)")
        self.regions = {name: Region(self, name) for name in NAMES}
        endpoints = ", ".join(f'{r.name}: ["http://{r.address}:2379"]' for r in self.regions.values())
        hosts = "".join(
            f"  {r.name}-1: {{region: {r.name}, roles: [gate, health, controller], address: {r.address}}}\n"
            f"  {r.name}-edge: {{region: {r.name}, roles: [edge], address: {r.address}}}\n"
            for r in self.regions.values())
        regions = "".join(f'  {r.name}: {{priority: {i + 1}, apps: ["{r.address}:9000"]}}\n'
                          for i, r in enumerate(self.regions.values()))
        self.conf = stage.write("bank.yaml", CONFIG.format(
            dir=stage.dir, endpoints=endpoints, hosts=hosts, regions=regions, lease=lease, hold=hold, failover=failover,
            election=election,
            connect="2s" if tls else "250ms",  # a handshake takes turns of both ends, and others want them too
            peer_tls='{ca: "peers-ca.pem", cert: "{host}.pem", key: "{host}.key"}' if tls else "plaintext"))
        for step in ("init", "add") if tls else ():
            sh(lib.FULMAR, "certs", step, "-c", self.conf)
        self.load = None

    def __getitem__(self, name):
        return self.regions[name]

    def start(self, guarded=()):
        for r in self.regions.values():
            r.start_etcd()
        for r in self.regions.values():
            if r.name not in guarded:
                r.start_app()
        for r in self.regions.values():
            if r.name in guarded:
                r.start_guard()
            else:
                r.start_agent()
        for r in self.regions.values():
            r.start_edge()
        wait_until("every cell is held by its home", lambda: self.holders_are(
            lambda c, cell: "west" if c == "ledger" else NAMES[cell % 3]), PATIENCE_S, every=0.1)

    def stalls(self):
        """How often this machine let a gate wait for so long that it closed what waited in its sockets."""
        return sum(((r.status() or {}).get("totals") or {}).get("frozen_total") or 0 for r in self.regions.values())

    def failed(self, since=0.0, until=float("inf")):
        """Requests within this time that were not served, as their clients saw them. Not those that a gate hung up on
        as the machine was too slow: nobody can tell what became of them."""
        bad = [c for c in self.seen() if since <= c["sent"] and c["over"] <= until and
               (c["status"] != 200 if "query" in c else c["outcome"] != "acknowledged")]
        stalls = self.stalls()
        if stalls and bad:
            excused = [c for c in bad if c["problem"] in HUNG_UP]
            print(f"# the machine was too slow {stalls} times: {len(excused)} requests were lost", flush=True)
            check(len(excused) <= LOST_MAX * stalls, f"{len(excused)} requests were lost in {stalls} stalls")
            bad = [c for c in bad if c not in excused]
        return bad

    def etcd_members(self):
        return ",".join(f"{r.name}=http://{r.address}:2380" for r in self.regions.values())

    def restore_etcd(self, snapshot, name):
        """Another cluster of the same members, made of a snapshot."""
        self.etcd_name = name
        for r in self.regions.values():
            p = subprocess.run(
                [lib.program("etcdctl"), "snapshot", "restore", snapshot, "--name", r.name, "--data-dir",
                 r.etcd_folder(), "--initial-cluster", self.etcd_members(), "--initial-cluster-token", name,
                 "--initial-advertise-peer-urls", f"http://{r.address}:2380"],
                capture_output=True, text=True, env={**os.environ, "ETCDCTL_API": "3"}, timeout=60)
            check(p.returncode == 0, f"etcdctl snapshot restore: {p.stderr}")
        for r in self.regions.values():
            r.start_etcd()

    def fulmar(self, region, *arguments):
        """A command on the host of a region: (exit code, stdout, stderr)."""
        p = subprocess.run(self.net.inside(region, lib.FULMAR, *arguments, "-c", self.conf, "--host", f"{region}-1"),
                           capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
        return p.returncode, p.stdout, p.stderr

    def etcdctl(self, at, *arguments):
        r = self.regions[at]
        p = subprocess.run(self.net.inside(at, lib.program("etcdctl"), "--endpoints", f"http://{r.address}:2379",
                                           *arguments),
                           capture_output=True, text=True, env={**os.environ, "ETCDCTL_API": "3"}, timeout=20)
        return p.stdout

    def leader(self):
        """The region whose etcd leads; None while there is none."""
        for name, r in self.regions.items():
            if not r.etcd or not r.etcd.is_alive():
                continue
            try:
                status = json.loads(self.etcdctl(name, "endpoint", "status", "-w", "json"))[0]["Status"]
            except (ValueError, LookupError):
                continue
            if status["header"]["member_id"] == status["leader"]:
                return name
        return None

    def lead(self, name):
        """Let the etcd of this region lead."""
        def led():
            now = self.leader()
            if now and now != name:
                r = self.regions[name]
                status = json.loads(self.etcdctl(name, "endpoint", "status", "-w", "json") or "[]")
                if status:
                    self.etcdctl(now, "move-leader", f"{status[0]['Status']['header']['member_id']:x}")
                del r
            return self.leader() == name
        wait_until(f"the etcd of {name} leads", led, PATIENCE_S, every=0.2)

    def cells(self, name="west"):
        """{(context, cell): (region, epoch)} as this region's agent sees it; {} where it does not answer."""
        status = self.regions[name].status()
        cells = {}
        for context, about in ((status or {}).get("authority") or {}).get("contexts", {}).items():
            for cell in about["cells"]:
                cells[context, cell["cell"]] = (cell["region"], cell["epoch"])
        return cells

    def holders_are(self, who):
        for name in NAMES:
            cells = self.cells(name)
            if len(cells) != 7 or any(region != who(*at) for at, (region, _) in cells.items()):
                return False
        return True

    def begin_load(self, rate=150, edges=NAMES, what="both", name="load"):
        self.load = self.stage.start(name, self.net.inside(
            "client", sys.executable, HERE / "teller_load.py", self.stage.path(f"{name}.jsonl"), str(rate),
            ",".join(f"{self.net.address[e]}:8080" for e in edges), what))
        return self.load

    def seen(self, name="load"):
        return lines(self.stage.path(f"{name}.jsonl"))

    def acknowledged(self, prefix="/", since=0.0, name="load"):
        return [c for c in self.seen(name) if c.get("outcome") == "acknowledged" and c["sent"] >= since
                and c["path"].startswith(prefix)]

    def flows(self, prefix="/", n=20, seconds=PATIENCE_S):
        """So many more commands are acknowledged; how long after now the first of them was."""
        since = time.clock_gettime(time.CLOCK_BOOTTIME)
        wait_until(f"{n} more commands of {prefix} are acknowledged",
                   lambda: len(self.acknowledged(prefix, since)) >= n, seconds, every=0.05)
        return min(c["over"] for c in self.acknowledged(prefix, since)) - since


# -------- the checker --------


def journal(stage, region):
    """Commands in a region's journal: [{key, cell, epoch, at_ms, context, state, status}]"""
    path = stage.path(f"{region}-1") / "journal.db"
    if not path.exists():
        return []
    copy = stage.path(f"copy-{region}.db")
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db, sqlite3.connect(copy) as to:
        db.backup(to)
    with sqlite3.connect(copy) as db:
        db.row_factory = sqlite3.Row
        return [dict(r) for r in db.execute(
            "SELECT c.seq, c.context, c.key, c.cell, c.epoch, c.at_ms, o.state, o.status FROM command c"
            " LEFT JOIN outcome o ON o.seq=c.seq")]


def lines(path):
    return [json.loads(line) for line in lib.whole_lines(path).splitlines()]


def judge(world, load="load", forced=True):
    """Stop the load and compare what clients were told with what was accepted and applied. Figures."""
    stage = world.stage
    if world.load and world.load.is_alive():
        world.load.kill()
    commands = [c for c in world.seen(load) if "key" in c]
    asked = collections.defaultdict(list)
    for name in NAMES:
        for line in lines(stage.path(f"app-{name}.jsonl")):
            asked[line["key"]].append(line)
    epochs = collections.defaultdict(set)       # (context, cell, epoch) -> regions
    admitted = collections.defaultdict(list)    # (context, cell) -> [(at, epoch, region)]
    for key, requests in asked.items():
        for line in requests:
            check(line["authority"] or line["mode"] == "override", f"the command {key} came without authority: {line}")
            context, _, rest = line["authority"].partition("/")
            cell, _, epoch = rest.partition("@")
            epochs[context, int(cell), int(epoch)].add(line["region"])
            admitted[context, int(cell)].append((line["at"], int(epoch), line["region"]))
    for at, regions in epochs.items():
        check(len(regions) == 1, f"epoch {at} was held by {sorted(regions)}")
    late = 0
    for at, moments in admitted.items():
        highest, holder = 0, None
        for when, epoch, region in sorted(moments):
            late += epoch < highest  # admitted before, and executed late: divergence, not admission
            if epoch > highest:
                highest, holder = epoch, region
    own = {}
    for name in NAMES:
        for entry in journal(stage, name):
            at = "ledger", entry["cell"], entry["epoch"]
            # A gate that wakes up records what it had admitted before, sees that its lease is over, and withdraws it: an
            # heir may have read it meanwhile, and gives it back as one of which nothing is known.
            withdrawn = entry["state"] == UNKNOWN and entry["key"] not in asked
            if name in epochs.get(at, {name}) and not withdrawn:  # not imported
                own.setdefault(at, []).append(entry)
    by_cell = collections.defaultdict(list)
    for (context, cell, epoch), entries in own.items():
        moments = [e["at_ms"] for e in entries]
        by_cell[context, cell].append((epoch, min(moments), max(moments)))
    for at, spans in by_cell.items():
        spans.sort()
        for (e1, _, last), (e2, first, _) in zip(spans, spans[1:]):
            late_ones = [(e, asked.get(e["key"])) for e in own[*at, e1] if e["at_ms"] > first]
            check(last <= first, f"admissions of {at} overlap: epoch {e1} until {last}, epoch {e2} from {first}; late, and "
                  f"what the application saw of them: {late_ones}")
    with sqlite3.connect(world.database) as db:
        applied = dict(db.execute("SELECT key, times FROM applied"))
    acknowledged = [c for c in commands if c["outcome"] == "acknowledged"]
    missing = [c for c in acknowledged if c["key"] not in applied]
    check(not missing, f"{len(missing)} acknowledged commands are lost, e.g. {missing[:2]}")
    wrongly = [c for c in commands if c["outcome"] == "refused" and c["key"] in applied]
    check(not wrongly, f"{len(wrongly)} commands were called not executed, and were: {wrongly[:3]}")
    twice = [k for k, times in applied.items() if times > 1]
    twice_by_gate = [k for k in twice if asked[k][0]["path"].startswith("/ledger/")]
    figures = {"commands": len(commands), "acknowledged": len(acknowledged),
               "refused": sum(c["outcome"] == "refused" for c in commands),
               "unknown": sum(c["outcome"] == "unknown" for c in commands),
               "queries": sum("query" in c for c in world.seen(load)),
               "queries_failed": sum("query" in c and c["status"] != 200 for c in world.seen(load)),
               "applied_late": late, "asked_twice": len(twice), "asked_twice_by_gate": len(twice_by_gate)}
    print(f"# {figures}", flush=True)
    check(forced or not twice_by_gate, f"keys applied twice without a forced failover: {twice_by_gate[:3]}")
    return figures
