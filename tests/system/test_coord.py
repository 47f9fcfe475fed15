"""Coordination: the conformance suite of tests/coord against the owner of a file and real etcds, and what
becomes of transactions while owners, leaders and members are killed, frozen, cut off and restored.

The writers of coord_suite say what became of each transaction before they try the next one; the check at
the end is the same for every store and fault: what was done is there, at the revision that was said; what was
not done is not there; only what is unknown may be either."""

import json
import os
import pathlib
import random
import signal
import subprocess
import time

import lib
from lib import check, check_equal, wait_until

SUITE = pathlib.Path(os.environ.get("FULMAR_BUILD", lib.ROOT / "build")) / "tests" / "coord" / "coord_suite"
SERVICE = "conformance"
SLOW_S = 60.0  # for what takes elections, on a busy machine

CONFIG = """\
fulmar: 1
service: {service}
state: "{dir}/{{host}}"
coordination: {coordination}
hosts:
  {host}: {{region: west, roles: [{roles}], address: 127.0.0.1, peer: "127.0.0.1:{peer}", admin: "127.0.0.1:{admin}"}}
regions: {{west: {{apps: ["127.0.0.1:9"]}}}}
contexts: {{shop: {{topology: multi-write, routes: ["/**"], needs: []}}}}
"""


def run(*argv, code=0):
    """Standard output of a program that must end with this code (None: with any)."""
    p = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=240,
                       stdin=subprocess.DEVNULL)
    check(code is None or p.returncode == code, f"{argv[0]}: exit code {p.returncode} instead of {code}: "
                                f"{p.stdout[-600:]} {p.stderr[-2000:]}")
    return p.stdout


class Store:
    """What the tests do with a store, whichever it is."""

    def __init__(self, stage, endpoints, options=()):
        self.stage = stage
        self.endpoints = endpoints
        self.options = list(options)

    def argv(self, *command):
        argv = [SUITE, "--service", SERVICE, *self.options]
        for e in self.endpoints:
            argv += ["--endpoint", e]
        return [*argv, *command]

    def suite(self, *cases):
        out = run(*self.argv("run", *cases))
        good = [line for line in out.splitlines() if line.startswith("ok ")]
        check(len(good) >= (len(cases) or 25), f"only {len(good)} cases ran")

    def get(self, key, *known):
        return run(*self.argv("get", key, *known)).strip()

    def known(self):
        return run(*self.argv("known")).split()

    def dump(self, prefix="log/"):
        """{key: revision}"""
        rows = [line.split() for line in run(*self.argv("dump", prefix)).splitlines()]
        return {key: int(revision) for revision, key, *_ in rows}


class Writer:
    def __init__(self, store, name):
        self.name = name
        self.process = store.stage.start(f"writer-{name}", store.argv("write", name))

    def lines(self):
        return [line.split(" ", 2) for line in lib.whole_lines(self.process.log).splitlines()
                if line.split(" ", 1)[0] in ("done", "not", "unknown")]

    def done(self):
        return sum(1 for line in self.lines() if line[0] == "done")

    def stop(self):
        if self.process.is_alive():
            self.process.signal(signal.SIGTERM)
            check_equal(self.process.wait(SLOW_S), 0, f"exit code of writer {self.name}")


def go_on(writers, n=20, seconds=SLOW_S):
    """Each of them gets something done again."""
    before = {w.name: w.done() for w in writers}
    wait_until(f"{n} more transactions of each of {list(before)}",
               lambda: all(w.done() >= before[w.name] + n for w in writers), seconds, every=0.05)


def judge(store, writers):
    """Stop the writers and compare what they were told with what is there."""
    for w in writers:
        w.stop()
    there = store.dump()
    seen, total = {}, {"done": 0, "not": 0, "unknown": 0}
    for w in writers:
        for outcome, n, rest in w.lines():
            key = f"log/{w.name}/{n}"
            total[outcome] += 1
            if outcome == "done":
                revision = int(rest)
                check(key in there, f"{key} was acknowledged at {revision}, and is lost")
                check_equal(there[key], revision, f"revision of {key}")
                check(revision not in seen, f"{key} and {seen.get(revision)} have the same revision")
                seen[revision] = key
            elif outcome == "not":
                check(key not in there, f"{key} was said not to be done, and is there: {rest}")
            seen.setdefault(key, outcome)
    for key in there:
        check(key in seen, f"{key} is there, and nobody wrote it")
    print(f"# {total}", flush=True)
    return total


# -------- the owner of a file --------


class Owner(Store):
    def __init__(self, stage, service=SERVICE, name="c"):
        self.dir = stage.dir
        self.file = stage.path("c.db")
        self.name = name
        super().__init__(stage, [f"{self.file}.sock"])
        self.config = stage.write(f"{name}.yaml", CONFIG.format(
            service=service, dir=stage.dir, coordination=f"{{sqlite: {self.file}}}", host=name,
            roles="coordination", peer=lib.free_port(), admin=lib.free_port()))
        self.process = None

    def start(self):
        self.process = self.stage.fulmar(f"owner-{self.name}", "agent", "-c", self.config, "--host",
                                         self.name)
        wait_until("the owner answers", self.answers, SLOW_S)

    def answers(self):
        check(self.process.is_alive(), "the owner has ended; its output is below")
        p = subprocess.run([lib.FULMAR, "coordination", "status", "-c", self.config, "--timeout", "1s"],
                           capture_output=True)
        return p.returncode == 0

    def kill(self):
        self.process.kill()


def test_a_file_keeps_what_every_store_keeps(stage):
    """The conformance suite against the owner of a file."""
    owner = Owner(stage)
    owner.start()
    owner.suite()


def test_an_owner_killed_at_any_moment_loses_nothing(stage):
    """kill -9 of the owner at random points: no acknowledged transaction is lost."""
    owner = Owner(stage)
    owner.start()
    writers = [Writer(owner, name) for name in ("a", "b", "c")]
    go_on(writers)
    chance = random.Random(7)
    for n in range(200):
        if n >= 20 and any(line[0] == "unknown" for w in writers for line in w.lines()):
            break
        time.sleep(chance.uniform(0, 0.15))
        owner.kill()
        owner.start()
        go_on(writers, 3)
    total = judge(owner, writers)
    check(total["unknown"] > 0, "no transaction was hit: this tested nothing")


def test_a_frozen_client_stops_nobody(stage):
    """SIGSTOP of a client in the middle of its transactions."""
    owner = Owner(stage)
    owner.start()
    frozen, other = Writer(owner, "frozen"), Writer(owner, "other")
    go_on([frozen, other])
    for _ in range(5):
        frozen.process.signal(signal.SIGSTOP)
        go_on([other])
        frozen.process.signal(signal.SIGCONT)
        go_on([frozen], 5)
    judge(owner, [frozen, other])


def test_a_file_has_one_owner(stage):
    """A second owner is refused, also under another name; a third one gets it when the first is gone."""
    first, second = Owner(stage, name="c"), Owner(stage, name="d")
    first.start()
    process = stage.start("second", [lib.FULMAR, "agent", "-c", second.config, "--host", "d"])
    check_equal(process.wait(SLOW_S), 1, "exit code of the second owner")
    check("another process owns" in process.output(), "it does not say why")
    check(first.get("x").startswith("done"), "the first owner was disturbed")
    first.kill()
    second.start()
    check(second.get("x").startswith("done"), "the file is not free")


def test_a_file_belongs_to_one_service(stage):
    """Another service gets neither the file nor an answer of its owner."""
    owner = Owner(stage)
    owner.start()
    check(owner.get("x").startswith("done"), "no answer")
    theirs = Owner(stage, service="theirs", name="d")
    out = run(lib.FULMAR, "coordination", "status", "-c", theirs.config, code=2)
    check("other-service" in out and "`conformance`" in out, out)
    owner.kill()
    process = stage.start("theirs", [lib.FULMAR, "agent", "-c", theirs.config, "--host", "d"])
    check_equal(process.wait(SLOW_S), 1, "exit code of the other service's owner")
    check("is of the service `conformance`" in process.output(), "it does not say why")


def test_an_older_copy_of_the_file_is_noticed(stage):
    """A client that has seen more refuses a file that was put back."""
    owner = Owner(stage)
    owner.start()
    writer = Writer(owner, "a")
    go_on([writer])
    writer.stop()
    check_equal(owner.process.stop(), 0, "exit code of the owner")
    copy = owner.file.read_bytes()
    owner.start()
    writer = Writer(owner, "b")
    go_on([writer])
    writer.stop()
    known = owner.known()
    check_equal(owner.process.stop(), 0, "exit code of the owner")
    for end in ("-wal", "-shm"):
        pathlib.Path(f"{owner.file}{end}").unlink(missing_ok=True)
    owner.file.write_bytes(copy)
    owner.start()
    check(owner.get("register").startswith("done"), "it cannot be read at all")
    check(owner.get("register", *known).startswith("not went-back"), "nobody noticed")


# -------- etcd --------


class Etcd(Store):
    """A cluster of real etcds on the loopback."""

    scheme, tls, secure = "http", "", ()

    def __init__(self, stage, n):
        self.program = lib.program("etcd")
        self.ports = [(lib.free_port(), lib.free_port()) for _ in range(n)]
        self.nodes = [None] * n
        self.generation = 0
        super().__init__(stage, [f"127.0.0.1:{client}" for client, _ in self.ports])
        for i in range(n):
            self.start(i)
        wait_until("etcd has a leader", lambda: self.leader() is not None, SLOW_S, every=0.05)

    def data(self, i):
        return self.stage.path(f"etcd-{self.generation}-{i}")

    def members(self):
        return ",".join(f"n{i}=http://127.0.0.1:{peer}" for i, (_, peer) in enumerate(self.ports))

    def start(self, i):
        client, peer = self.ports[i]
        self.nodes[i] = self.stage.start(f"etcd-{i}", [
            self.program, "--name", f"n{i}", "--data-dir", self.data(i), "--log-level", "error",
            "--listen-client-urls", f"{self.scheme}://127.0.0.1:{client}",
            "--advertise-client-urls", f"{self.scheme}://127.0.0.1:{client}", *self.secure,
            "--listen-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
            "--initial-cluster", self.members(), "--heartbeat-interval", "50",
            "--election-timeout", "500"])

    def ctl(self, *arguments):
        return run(lib.program("etcdctl"), "--endpoints", self.endpoints[0], *arguments)

    def leader(self):
        """The index of the one that says it leads, or None."""
        for i, (client, _) in enumerate(self.ports):
            try:
                status = lib.request(client, "POST", "/v3/maintenance/status", body=b"{}",
                                     timeout=1).json()
            except (OSError, lib.Failure, ValueError):
                continue
            if status.get("leader", "0") == status["header"]["member_id"]:
                return i
        return None

    def has_leader_besides(self, gone):
        leader = self.leader()
        return leader is not None and leader != gone

    def config(self, service=SERVICE, endpoints=None):
        urls = json.dumps([f"{self.scheme}://{e}" for e in endpoints or self.endpoints])
        return self.stage.write(f"{service}.yaml", CONFIG.format(
            service=service, dir=self.stage.dir, coordination=f"{{etcd: {{endpoints: {{west: {urls}}}{self.tls}}}}}",
            host="h", roles="health", peer=lib.free_port(), admin=lib.free_port()))

    def status(self, code, service=SERVICE, timeout="5s"):
        return json.loads(run(lib.FULMAR, "coordination", "status", "--host", "h", "-c", self.config(service),
                              "--timeout", timeout, "-o", "json", code=code))


def test_one_etcd_keeps_what_every_store_keeps(stage):
    """The conformance suite against one real etcd."""
    Etcd(stage, 1).suite()


def test_three_etcds_keep_what_every_store_keeps(stage):
    """The conformance suite against a cluster."""
    Etcd(stage, 3).suite()


def test_leaders_may_be_killed(stage):
    """kill -9 of the leader again and again: nothing acknowledged is lost, a watch misses nothing."""
    etcd = Etcd(stage, 3)
    writers = [Writer(etcd, name) for name in ("a", "b", "c")]
    watch = stage.start("watch", etcd.argv("watch", "log/"))
    go_on(writers)
    for _ in range(4):
        gone = wait_until("a leader", lambda: [etcd.leader()] if etcd.leader() is not None else None,
                          SLOW_S)[0]
        etcd.nodes[gone].kill()
        wait_until("another leader", lambda: etcd.has_leader_besides(gone), SLOW_S, every=0.05)
        go_on(writers)
        etcd.start(gone)
        go_on(writers, 5)
    judge(etcd, writers)
    there = etcd.dump()
    wait_until("the watch has told of everything",
               lambda: len(watched(watch)) >= len(there), SLOW_S, every=0.1)
    check_equal(watched(watch), there, "what the watch told")
    watch.signal(signal.SIGTERM)
    check_equal(watch.wait(SLOW_S), 0, "exit code of the watch")


def watched(process):
    """{key: revision}; fails where a change was told twice, or out of order."""
    last, keys = 0, {}
    for line in lib.whole_lines(process.log).splitlines():
        how, revision, rest = line.split(" ", 2)
        if how == "fresh":
            check(int(revision) >= last, f"{line}: back from {last}")
            keys, last = {}, int(revision)
        elif how == "has":
            keys[rest] = int(revision)
        elif how == "put":
            check(int(revision) > last, f"{line}: told after {last}")
            keys[rest] = last = int(revision)
    return keys


def test_a_frozen_member_is_left(stage):
    """SIGSTOP of the member that everybody uses: connections still open, and nobody answers."""
    etcd = Etcd(stage, 3)
    writers = [Writer(etcd, name) for name in ("a", "b")]
    go_on(writers)
    etcd.nodes[0].signal(signal.SIGSTOP)
    go_on(writers)
    etcd.nodes[0].signal(signal.SIGCONT)
    go_on(writers)
    judge(etcd, writers)


def test_a_member_that_is_cut_off_is_no_place_to_agree(stage):
    """The rest of the cluster is gone: what is left answers stale reads, and nothing else."""
    etcd = Etcd(stage, 3)
    writer = Writer(etcd, "a")
    go_on([writer])
    etcd.nodes[1].signal(signal.SIGSTOP)
    etcd.nodes[2].signal(signal.SIGSTOP)
    time.sleep(1)
    before = writer.done()
    status = etcd.status(75, timeout="3s")
    check_equal(status["reachable"], False, "reachable")
    check_equal([e["reachable"] for e in status["endpoints"]], [True, False, False], "endpoints")
    check(writer.done() <= before + 1, "something was done without a quorum")
    etcd.nodes[1].signal(signal.SIGCONT)
    etcd.nodes[2].signal(signal.SIGCONT)
    go_on([writer])
    judge(etcd, [writer])


def test_a_restored_backup_is_noticed(stage):
    """etcdctl snapshot save, more writes, restore: whoever has seen more refuses it."""
    lib.program("etcdctl")
    etcd = Etcd(stage, 1)
    writer = Writer(etcd, "a")
    go_on([writer])
    etcd.ctl("snapshot", "save", stage.path("backup"))
    go_on([writer])
    writer.stop()
    known = etcd.known()
    check(etcd.get("register", *known).startswith("done"), "refused without a reason")
    etcd.nodes[0].kill()
    etcd.generation += 1
    run(lib.program("etcdctl"), "snapshot", "restore", stage.path("backup"), "--name", "n0",
        "--data-dir", etcd.data(0), "--initial-cluster", etcd.members(),
        "--initial-advertise-peer-urls", f"http://127.0.0.1:{etcd.ports[0][1]}")
    etcd.start(0)
    wait_until("etcd has a leader", lambda: etcd.leader() is not None, SLOW_S, every=0.05)
    check(etcd.get("register").startswith("done"), "it cannot be read at all")
    said = etcd.get("register", *known)
    check(said.startswith("not went-back"), f"nobody noticed: {said}")


def test_a_store_that_was_emptied_is_not_stamped_again(stage):
    """A fresh etcd under the old address."""
    etcd = Etcd(stage, 1)
    check(etcd.get("x").startswith("done"), "no answer")
    known = etcd.known()
    etcd.nodes[0].kill()
    etcd.generation += 1
    etcd.start(0)
    wait_until("etcd has a leader", lambda: etcd.leader() is not None, SLOW_S, every=0.05)
    said = etcd.get("x", known[0], "0")
    check(said.startswith("not went-back") and "stamp" in said, said)
    check_equal(etcd.dump(""), {}, "keys")


def test_users_of_etcd(stage):
    """A user with rights on the prefix alone; a wrong password; tokens that a restart forgets."""
    lib.program("etcdctl")
    etcd = Etcd(stage, 1)
    password = stage.write("password", "secret\n")
    password.chmod(0o600)
    for command in (["user", "add", "root:root"], ["user", "grant-role", "root", "root"],
                    ["user", "add", "fulmar:secret"], ["role", "add", "fulmar"],
                    ["role", "grant-permission", "fulmar", "--prefix=true", "readwrite",
                     f"/fulmar/{SERVICE}/"],
                    ["user", "grant-role", "fulmar", "fulmar"], ["auth", "enable"]):
        etcd.ctl(*command)
    said = etcd.get("x")
    check(said.startswith("not not-permitted"), f"without a password: {said}")
    etcd.options = ["--login", "fulmar", "--password-file", str(password)]
    etcd.suite("what_was_written_is_read", "one_wrong_compare_stops_all", "watch_begins_fresh")
    writer = Writer(etcd, "a")
    go_on([writer])
    etcd.nodes[0].kill()
    etcd.start(0)
    go_on([writer])
    judge(etcd, [writer])
    password.write_text("wrong\n")
    said = etcd.get("x")
    check(said.startswith("not not-permitted") and "wrong" not in said, f"with a wrong one: {said}")


# -------- etcd with TLS --------


class Authority:
    """One that signs for servers and clients, in a folder of its own."""

    def __init__(self, stage, name):
        self.dir = stage.path(name)
        self.dir.mkdir()
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                     "-keyout", "ca.key", "-out", "ca.pem", "-days", "30", "-subj", f"/CN={name}")

    def openssl(self, *arguments):
        run("env", "-C", self.dir, lib.program("openssl"), *arguments)

    def sign(self, name, names):
        (self.dir / f"{name}.ext").write_text(f"subjectAltName={names}\n")
        self.openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
                     f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                     "-CAcreateserial", "-days", "30", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
        (self.dir / f"{name}.key").chmod(0o600)
        return [self.dir / f"{name}.pem", self.dir / f"{name}.key"]


class SecureEtcd(Etcd):
    """They want a certificate of every client, and show one for 127.0.0.1."""

    scheme = "https"

    def __init__(self, stage, n):
        self.authority = Authority(stage, "ours")
        self.ca = self.authority.dir / "ca.pem"
        cert, key = self.authority.sign("etcd", "IP:127.0.0.1")
        self.secure = ["--cert-file", cert, "--key-file", key, "--client-cert-auth",
                       "--trusted-ca-file", self.ca]
        self.client = self.authority.sign("h", "DNS:h")
        self.trust(self.ca, *self.client)
        super().__init__(stage, n)
        self.trust(self.ca, *self.client)

    def trust(self, ca, cert=None, key=None):
        """What clients are given from now on."""
        shown = f", cert: \"{str(cert).replace('h.pem', '{host}.pem')}\", key: {key}" if cert else ""
        self.tls = f", tls: {{ca: {ca}{shown}}}"
        self.options = ["--ca", ca, *(["--cert", cert, "--key", key] if cert else [])]

    def leader(self):
        status = json.loads(run(lib.program("etcdctl"), "--endpoints", ",".join(
            f"https://{e}" for e in self.endpoints), "--cacert", self.ca, "--cert", self.client[0],
            "--key", self.client[1], "endpoint", "status", "-w", "json", code=None) or "[]")
        for i, one in enumerate(status):
            if one["Status"]["leader"] == one["Status"]["header"]["member_id"]:
                return i
        return None


def test_etcd_with_tls_keeps_what_every_store_keeps(stage):
    """The conformance suite, and a leader that is killed, over TLS with certificates on both sides."""
    etcd = SecureEtcd(stage, 3)
    etcd.suite()
    writers = [Writer(etcd, name) for name in ("a", "b")]
    go_on(writers)
    gone = wait_until("a leader", lambda: [etcd.leader()] if etcd.leader() is not None else None, SLOW_S)[0]
    etcd.nodes[gone].kill()
    go_on(writers)
    judge(etcd, writers)
    etcd.start(gone)
    status = wait_until("all are there", lambda: [s for s in [etcd.status(0)] if all(
        e["reachable"] for e in s["endpoints"])], SLOW_S)[0]
    check_equal((status["reachable"], status["state"]), (True, "good"), "status")
    check(all(e["endpoint"].startswith("https://") for e in status["endpoints"]), f"{status['endpoints']}")


def test_etcd_is_known_by_its_certificate(stage):
    """A wrong authority, a wrong name, no certificate of ours, no TLS at all: nothing is said to it."""
    etcd = SecureEtcd(stage, 1)
    check(etcd.get("x").startswith("done"), "with everything right")
    theirs = Authority(stage, "theirs")
    stranger = theirs.sign("stranger", "DNS:h")

    def refused(what, said):
        status = etcd.status(69, timeout="2s")
        check(not status["reachable"] and said in status["error"], f"{what}: {status}")

    etcd.trust(theirs.dir / "ca.pem", *etcd.client)
    refused("a store of another authority", "TLS: unable to get local issuer certificate")
    etcd.trust(etcd.ca)
    refused("without a certificate of ours", "TLS: ")
    etcd.trust(etcd.ca, *stranger)
    refused("with another authority's certificate", "TLS: ")
    etcd.trust(etcd.ca, *etcd.client)
    port = etcd.ports[0][0]
    named = json.loads(run(lib.FULMAR, "coordination", "status", "--host", "h", "-c",
                           etcd.config(endpoints=[f"localhost:{port}"]), "--timeout", "2s", "-o", "json",
                           code=69))
    check("TLS: hostname mismatch" in named["error"], f"a wrong name: {named}")
    etcd.scheme, etcd.tls = "http", ""
    plain = etcd.status(69, timeout="2s")
    check(not plain["reachable"], f"without TLS: {plain}")


# -------- the command --------


def test_the_command_tells_what_is_there(stage):
    """fulmar coordination status: exit codes and the document."""
    etcd = Etcd(stage, 3)
    status = etcd.status(0)
    check_equal((status["schema"], status["service"], status["backend"]),
                ("fulmar.coordination/1", SERVICE, "etcd"), "head")
    check_equal((status["reachable"], status["state"], status["stamp"]), (True, "not stamped yet", None),
                "a store without a stamp")
    check_equal(etcd.status(0)["state"], "not stamped yet", "state after being looked at")
    etcd.get("x")
    # a machine that is busy may make them elect another one
    status = wait_until("one leads", lambda: [s for s in [etcd.status(0)] if sum(
        e["leader"] for e in s["endpoints"]) == 1], SLOW_S)[0]
    check_equal((status["state"], status["stamp"]["service"]), ("good", SERVICE), "stamp")
    check(all(e["version"].startswith("3.") and e["latency_ms"] >= 0 and e["region"] == "west"
              for e in status["endpoints"]), f"{status['endpoints']}")
    etcd.ctl("put", "/fulmar/moved/stamp", '{"fulmar":1,"service":"theirs","incarnation":"aa"}')
    check_equal(etcd.status(2, "moved")["state"], "other-service", "state of another one's store")
    table = run(lib.FULMAR, "coordination", "status", "-c", etcd.config())
    check("coordination by etcd: good" in table and "follower" in table, table)
    names = [f"localhost:{port}" for port, _ in etcd.ports] + ["no-such-name.invalid:2379"]
    named = json.loads(run(lib.FULMAR, "coordination", "status", "-c", etcd.config(endpoints=names),
                           "-o", "json"))
    check_equal([e["reachable"] for e in named["endpoints"]], [True, True, True, False], "by name")
    for node in etcd.nodes:
        node.kill()
    check_equal(etcd.status(69, timeout="1s")["reachable"], False, "reachable when all are gone")
    none = stage.write("none.yaml", 'fulmar: 1\nservice: s\nedge: {listen: [{address: "127.0.0.1:0"}]}\n')
    run(lib.FULMAR, "coordination", "status", "-c", none, code=78)


if __name__ == "__main__":
    lib.main(globals())
