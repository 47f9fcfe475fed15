#!/usr/bin/env python3
"""`fulmar agent`, role health: does it find out what is wrong with the dependencies of a region, say
so per context, and never call old news good?"""

import os
import pathlib
import signal
import ssl
import subprocess
import threading
import time

import lib
import postgres
from lib import check, check_equal, wait_until
from servers import Server, reply

CONFIG = """
fulmar: 1
service: shop
state: "{dir}/state-{{host}}"
hosts:
  west-1: {{region: west, roles: [health], address: 127.0.0.1, peer: "127.0.0.1:{peer}",
            admin: "127.0.0.1:{admin}"}}
regions: {{west: {{apps: ["127.0.0.1:{peer}"], checks: {{{checks}}}}}}}
contexts:
"""
CONTEXT = '  {name}: {{topology: multi-write, routes: ["/{name}/**"], needs: [{needs}]}}\n'
QUICK = "interval: 50ms, timeout: 2s, fall: 1, rise: 1"  # a result is never late on a busy machine


class Agent:
    """An agent that runs checks, one context for each: {name: what it is}."""

    def __init__(self, stage, checks, contexts=None, quick=QUICK, env=None):
        self.stage, self.quick = stage, quick
        self.peer, self.admin = lib.free_port(), lib.free_port()
        self.conf = stage.path("agent.yaml")
        self.configure(checks, contexts)
        self.process = stage.fulmar("agent", "agent", "-c", self.conf, "--host", "west-1",
                                    port=self.admin, env=env)

    def configure(self, checks, contexts=None):
        inner = ", ".join(f"{name}: {{{what}, {self.quick}}}" for name, what in checks.items())
        contexts = {name: [name] for name in checks} if contexts is None else contexts
        text = CONFIG.format(dir=self.stage.dir, peer=self.peer, admin=self.admin, checks=inner)
        text += "".join(CONTEXT.format(name=n, needs=", ".join(c)) for n, c in contexts.items())
        self.conf.write_text(text)

    def reload(self):
        """Ask for it and wait until it has happened, well or not."""
        def done():
            log = self.process.output()
            return sum(log.count(f'"event":"{e}"')
                       for e in ("reloaded", "reload_refused"))
        before = done()
        self.process.signal(signal.SIGHUP)
        wait_until("a reload", lambda: done() > before)

    def deep(self, query=""):
        return lib.get(self.peer, f"/health/deep{query}")

    def check_of(self, name):
        return self.deep().json()["checks"][name]

    def wait_for(self, name, state, error=None):
        """Until the check is in this state for this reason; the check."""
        def is_so():
            found = self.check_of(name)
            says = found["last_error"] or ""
            return found if found["state"] == state and (error or "") in says else None
        try:
            return wait_until(f"{name} is {state}", is_so)
        except lib.Failure as failure:
            raise lib.Failure(f"{failure}, with `{error}`; it is {self.check_of(name)}") from None

    def wait_for_results(self):
        wait_until("a result of each check", lambda: all(
            c["state"] != "unknown" for c in self.deep().json()["checks"].values()))

    def events(self, name):
        """The states that the log says a check went through."""
        lines = [l for l in self.process.output().splitlines() if '"event":"check_changed"' in l]
        return [l.split('"state":"')[1].split('"')[0] for l in lines if f'"check":"{name}"' in l]


# -------- types of checks --------


def test_tcp(stage):
    """A connection that opens is good; one that is refused is not, and back."""
    server = Server(stage)
    agent = Agent(stage, {"db": f'tcp: "127.0.0.1:{server.port}"'})
    good = agent.wait_for("db", "good")
    check_equal(good["type"], "tcp", "type")
    check_equal(good["last_error"], None, "error of a check that is good")
    server.kill()
    agent.wait_for("db", "bad", "Connection refused")
    server.listen()
    agent.wait_for("db", "good")


def test_postgres(stage):
    """A primary, its standby and the data in them are told apart; what is wrong is said; a query that takes too long
    is not left behind on the server."""
    primary = postgres.Server(stage, "primary").make().start()
    primary.sql("create table accounts (i int)")
    standby = postgres.Server(stage, "standby").copy_of(primary).start()
    agent = Agent(stage, {name: f'postgres: "127.0.0.1:{port}", user: postgres, {what}' for name, port, what in [
        ("primary", primary.port, "access: read-write, replay-lag: 2s, query: select 1 from accounts limit 1"),
        ("standby", standby.port, "access: read-only, replay-lag: 2s, query: select 1 from accounts limit 1"),
        ("writer", standby.port, "access: read-write"), ("reader", primary.port, "access: read-only"),
        ("table", primary.port, "query: select 1 from nothing"), ("base", primary.port, "database: nothing"),
        ("rows", primary.port, 'query: "select count(*) > 0 from accounts"'),
        ("slow", primary.port, "query: select pg_sleep(600)"), ("nobody", lib.free_port(), "access: any")]})
    agent.wait_for("primary", "good")
    agent.wait_for("standby", "good")
    for name, why in [("writer", "it is a standby, not a primary"), ("reader", "it takes writes"),
                      ("table", 'relation "nothing" does not exist'), ("base", 'database "nothing" does not exist'),
                      ("rows", "the answer to the query is `false`"), ("slow", "no result within 2000 ms"),
                      ("nobody", "Connection refused")]:
        agent.wait_for(name, "bad", why)
    agent.configure({"rows": f'postgres: "127.0.0.1:{primary.port}", user: postgres, '
                             'query: "select count(*) > 0 from accounts"',
                     "behind": f'postgres: "127.0.0.1:{standby.port}", user: postgres, replay-lag: 1s'})
    agent.reload()
    asleep = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)' and state = 'active'"
    wait_until("no query is left behind", lambda: primary.sql(asleep) == "0")
    primary.sql("insert into accounts values (1)")
    agent.wait_for("rows", "good")
    agent.wait_for("behind", "good")
    wait_until("the row is replayed", lambda: standby.sql("select count(*) from accounts") == "1")
    standby.sql("select pg_wal_replay_pause()")
    primary.sql("insert into accounts values (2)")
    agent.wait_for("behind", "bad", "ms behind, the bound is 1000 ms")
    standby.sql("select pg_wal_replay_resume()")
    agent.wait_for("behind", "good")


HTTP = [  # what is expected of /N, what the server answers, the state, the error
    ("", reply(200), "good", None),
    ("", reply(204), "good", None),
    ("", reply(301, headers=[("Location", "/")]), "bad", "status 301, expected 2xx"),
    ("", reply(500), "bad", "status 500, expected 2xx"),
    ("status: 204", reply(204), "good", None),
    ("status: 204", reply(200), "bad", "status 200, expected 204"),
    ("status: 503", reply(503), "good", None),
    ("body: pong", reply(200, b"ping pong"), "good", None),
    ("body: pong", reply(200, b"ping"), "bad", "does not contain `pong`"),
    ("body: pong", reply(200), "bad", "does not contain `pong`"),
    ("body: pong", reply(204), "bad", "does not contain `pong`"),
    ("body: pong, status: 500", reply(500, b"pong"), "good", None),
    ("body: pong", reply(200, b"x" * 65532 + b"pong"), "good", None),
    ("body: pong", reply(200, b"x" * 65533 + b"pong"), "bad", "does not contain"),
    ("body: pong", reply(200, b"pong" + b"x" * 3000000), "good", None),
    ("body: pong", b"HTTP/1.1 200 -\r\nTransfer-Encoding: chunked\r\n\r\n"
                   b"2\r\npo\r\n2\r\nng\r\n0\r\n\r\n", "good", None),
    ("", b"HTTP/1.1 102 -\r\n\r\n" + reply(200), "good", None),
    ("", b"+PONG\r\n\r\n", "bad", ""),
    ("", None, "bad", "no result within"),
    ("body: pong", b"HTTP/1.1 200 -\r\nContent-Length: 9\r\n\r\nping", "bad", "no result within"),
]


def test_http(stage):
    """Status, body and whether it is HTTP at all, case by case."""
    server = Server(stage, lambda r: HTTP[int(r.target[1:])][1])
    agent = Agent(stage, {
        f"c{i}": f'http: "http://127.0.0.1:{server.port}/{i}"{", " if what else ""}{what}'
        for i, (what, _, _, _) in enumerate(HTTP)}, quick="interval: 50ms, timeout: 1s, fall: 1")
    agent.wait_for_results()
    for i, (_, _, state, error) in enumerate(HTTP):
        agent.wait_for(f"c{i}", state, error)
    asked = server.seen[0]
    check_equal((asked.method, asked.header("host"), asked.header("user-agent")),
                ("GET", f"127.0.0.1:{server.port}", "fulmar-check"), "a check's request")


def test_http_server_hangs_up(stage):
    """A server that ends the connection instead of answering fails the check."""
    server = Server(stage)
    server.answer = lambda r: server.kill()
    agent = Agent(stage, {"c": f'http: "http://127.0.0.1:{server.port}/"'})
    agent.wait_for("c", "bad")


def test_latency_bound(stage):
    """An answer that comes, but later than the bound, is a failure with the figures in it."""
    server = Server(stage, lambda r: time.sleep(0.2) or reply())
    agent = Agent(stage, {"slow": f'http: "http://127.0.0.1:{server.port}/", latency: 100ms',
                          "fine": f'http: "http://127.0.0.1:{server.port}/"'})
    found = agent.wait_for("slow", "bad", "the bound is 100 ms")
    check(found["latency_ms"] >= 200, f"latency {found['latency_ms']} ms of an answer after 200")
    check(agent.wait_for("fine", "good")["latency_ms"] >= 200, "latency of the one without bound")


def test_dns(stage):
    """A name that resolves, and one that cannot."""
    agent = Agent(stage, {"here": "dns: localhost", "nowhere": "dns: nowhere.invalid"})
    agent.wait_for("here", "good")
    agent.wait_for("nowhere", "bad")


def start_redis(stage, name, *options):
    port = lib.free_port()
    argv = [lib.program("redis-server"), "--port", port, "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no", "--dir", stage.dir, *options]
    return port, stage.start_until(name, argv, port)


def test_redis(stage):
    """Redis that answers, that wants a password, that is frozen, killed, or something else."""
    port, redis = start_redis(stage, "redis")
    locked, _ = start_redis(stage, "locked", "--requirepass", "secret")
    other = Server(stage)
    agent = Agent(stage, {"cache": f'redis: "127.0.0.1:{port}"',
                          "locked": f'redis: "127.0.0.1:{locked}"',
                          "other": f'redis: "127.0.0.1:{other.port}"'},
                  quick="interval: 50ms, timeout: 1s, fall: 1, rise: 1")
    agent.wait_for("cache", "good")
    agent.wait_for("locked", "good")  # it is there; who may ask is not this check's business
    agent.wait_for("other", "bad")
    redis.signal(signal.SIGSTOP)
    agent.wait_for("cache", "bad", "no result within 1000 ms")
    redis.signal(signal.SIGCONT)
    agent.wait_for("cache", "good")
    redis.kill()
    agent.wait_for("cache", "bad", "Connection refused")
    agent.wait_for("locked", "good")


# -------- TLS --------


class Authority:
    """A certificate authority in a folder, and servers with what it signs."""

    def __init__(self, stage):
        self.stage, self.dir, self.handshakes = stage, stage.path("ca"), []
        self.openssl = lib.program("openssl")
        self.dir.mkdir()
        stage.write("ca/index.txt", "")
        stage.write("ca/ca.conf", "[ca]\ndefault_ca=one\n[one]\nnew_certs_dir=.\nrand_serial=yes\n"
                    "database=index.txt\ncertificate=ca.pem\nprivate_key=ca.key\ndefault_md=sha256\n"
                    "policy=any\nunique_subject=no\n[any]\ncommonName=supplied\n")
        self._run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out",
                  "ca.pem", "-days", "3650", "-subj", "/CN=Test CA")

    def _run(self, *arguments):
        done = subprocess.run([self.openssl, *arguments], cwd=self.dir, capture_output=True,
                              text=True, check=False, stdin=subprocess.DEVNULL)
        check(done.returncode == 0, f"openssl {arguments[0]}: {done.stderr}")

    def sign(self, name, begin, end, host="shop.test"):
        """Days from now."""
        def when(days):
            return time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + days * 86400))
        self._run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out",
                  f"{name}.csr", "-subj", f"/CN={host}")
        self.stage.write(f"ca/{name}.ext", f"subjectAltName=DNS:{host}\n")
        self._run("ca", "-batch", "-config", "ca.conf", "-startdate", when(begin), "-enddate",
                  when(end), "-in", f"{name}.csr", "-out", f"{name}.pem", "-extfile",
                  f"{name}.ext", "-notext")

    def serve(self, name, least=ssl.TLSVersion.TLSv1_2, most=ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.dir / f"{name}.pem", self.dir / f"{name}.key")
        context.minimum_version, context.maximum_version = least, most

        def wrap(connection):
            try:
                stream = context.wrap_socket(connection, server_side=True)
                self.handshakes.append((name, stream.version()))
                return stream
            except OSError as broken:
                self.handshakes.append((name, str(broken)))
                raise
        return Server(self.stage, wrap=wrap).port


def tls(port, name="shop.test", warn="14d"):
    return f'tls: "127.0.0.1:{port}", name: {name}, warn: {warn}'


def test_tls(stage):
    """Valid, near its end, expired, not yet valid, of another name, of nobody we know, no TLS."""
    ca = Authority(stage)
    ca.sign("valid", -1, 90)
    ca.sign("soon", -80, 10.5)
    ca.sign("expired", -90, -3.5)
    ca.sign("future", 2, 90)
    ca.sign("other", -1, 90, "other.test")
    plain = Server(stage, lambda r: reply())
    valid = ca.serve("valid")
    checks = {"valid": tls(valid), "named": tls(valid, "other.test"), "soon": tls(ca.serve("soon")),
              "soon-but-fine": tls(ca.serve("soon"), warn="7d"), "other": tls(ca.serve("other")),
              "expired": tls(ca.serve("expired")), "future": tls(ca.serve("future")),
              "plain": tls(plain.port)}
    agent = Agent(stage, checks, env={"SSL_CERT_FILE": str(ca.dir / "ca.pem")},
                  quick="interval: 200ms, timeout: 2s, fall: 1, rise: 1")
    agent.wait_for("valid", "good")
    agent.wait_for("soon-but-fine", "good")
    agent.wait_for("soon", "warn", "expires in 10 days")
    agent.wait_for("other", "warn", "not for shop.test")
    agent.wait_for("named", "warn", "not for other.test")
    agent.wait_for("expired", "bad", "expired 3 days ago")
    agent.wait_for("future", "bad", "not valid yet")
    agent.wait_for("plain", "bad", "")
    for name in ("valid", "soon", "other"):
        check_equal(agent.deep(f"?context={name}").status, 200, f"a context that needs {name}")
    check_equal(agent.deep("?context=expired").status, 503, "a context that needs `expired`")


def test_tls_stranger(stage):
    """A certificate that does not verify here is a warning: clients may know whom we do not. Each
    version of TLS is shaken hands with to the end, so that the server's log stays quiet."""
    ca = Authority(stage)
    ca.sign("old", -1, 90)
    ca.sign("new", -1, 90)
    two, three = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    agent = Agent(stage, {"old": tls(ca.serve("old", two, two)),
                          "new": tls(ca.serve("new", three, three))},
                  env={"SSL_CERT_FILE": "/dev/null", "SSL_CERT_DIR": "/nowhere"},
                  quick="interval: 100ms, timeout: 2s, fall: 1, rise: 1")
    agent.wait_for("old", "warn", "does not verify")
    agent.wait_for("new", "warn", "does not verify")
    wait_until("handshakes", lambda: len(ca.handshakes) >= 6)
    check_equal(set(ca.handshakes), {("old", "TLSv1.2"), ("new", "TLSv1.3")}, "as the server saw it")


# -------- commands --------


def command(*argv):
    return "command: [" + ", ".join(f"'{a}'" for a in argv) + "]"


def is_running(pid):
    """Other than as a zombie that its parent will come for."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_command(stage):
    """Exit codes, output, signals, input, megabytes of output, and what cannot be started."""
    agent = Agent(stage, {
        "good": command("true"),
        "says": command("sh", "-c", "echo no licence >&2; echo more; exit 3"),
        "mute": command("false"),
        "killed": command("sh", "-c", "kill -9 $$"),
        "missing": command("/no/such/program"),
        "reads": command("cat"),  # there is nothing to read, so it ends
        "prints": command("sh", "-c", "head -c 8000000 /dev/zero"),
        "prints-and-fails": command("sh", "-c", "head -c 8000000 /dev/zero | tr \\\\0 x; exit 4"),
        "words": command("sh", "-c", 'test "$1" = "a b"', "sh", "a b"),
    }, quick="interval: 100ms, timeout: 5s, fall: 1, rise: 1")
    for name in ("good", "reads", "prints", "words"):
        agent.wait_for(name, "good")
    agent.wait_for("says", "bad", "exit code 3: no licence")
    agent.wait_for("mute", "bad", "exit code 1")
    agent.wait_for("killed", "bad", "signal 9")
    agent.wait_for("missing", "bad", "/no/such/program")
    agent.wait_for("prints-and-fails", "bad", "exit code 4: xxx")


def test_command_that_hangs(stage):
    """It is killed at its bound with all that it started, and is a failure."""
    pids = stage.path("pids")
    agent = Agent(stage, {"hangs": command(
        "sh", "-c", f"sleep 1000 & echo $! >>{pids}; echo $$ >>{pids}; wait")},
        quick="interval: 50ms, timeout: 300ms, fall: 1, rise: 1")
    agent.wait_for("hangs", "bad", "300 ms and was killed")
    wait_until("it ran again", lambda: len(lib.whole_lines(pids).split()) >= 6)
    first = [int(p) for p in pids.read_text().split()[:4]]
    wait_until(f"{first} are gone", lambda: not any(is_running(p) for p in first))
    check_equal(agent.process.stop(), 0, "exit code")
    rest = [int(p) for p in pids.read_text().split()]
    wait_until(f"{rest} end with the agent", lambda: not any(is_running(p) for p in rest))


def test_command_dies_with_the_agent(stage):
    """An agent that is killed leaves no command behind."""
    pids = stage.path("pids")
    agent = Agent(stage, {"hangs": command("sh", "-c", f"echo $$ >>{pids}; exec sleep 1000")},
                  quick="interval: 50ms, timeout: 60s")
    pid = int(wait_until("it runs", lambda: lib.whole_lines(pids)))
    agent.process.kill()
    wait_until(f"{pid} is gone", lambda: not is_running(pid))


# -------- what results mean --------


def test_fall_and_rise(stage):
    """Failures and successes in a row are counted, and a single one of the other kind resets."""
    script = "ok fail fail ok fail fail fail ok fail ok ok fail fail ok".split()
    server = Server(stage)
    server.answer = lambda r: reply(
        200 if script[min(len(server.seen), len(script)) - 1] == "ok" else 500)
    agent = Agent(stage, {"dep": f'http: "http://127.0.0.1:{server.port}/"'},
                  quick="interval: 50ms, timeout: 5s, fall: 3, rise: 2")
    wait_until("the script was played", lambda: len(server.seen) > len(script) + 1)
    # good at once; the seventh is the third failure in a row, the eleventh the second success
    check_equal(agent.events("dep"), ["good", "bad", "good"], "changes")
    agent.wait_for("dep", "good")


def test_old_results_are_bad(stage):
    """An agent that was stopped for longer than max-age does not call its old results good."""
    server = Server(stage)
    agent = Agent(stage, {"dep": f'http: "http://127.0.0.1:{server.port}/"'},
                  quick="interval: 500ms, timeout: 1s, max-age: 1500ms, fall: 1, rise: 1")
    states = []
    for _ in range(5):
        server.answer = lambda r: reply()
        wait_until("a fresh result", lambda: (lambda c: c["state"] == "good" and c["age_ms"] < 150)(
            agent.check_of("dep")), every=0.02)
        server.answer = lambda r: None
        agent.process.freeze()
        time.sleep(1.7)
        agent.process.signal(signal.SIGCONT)
        answer = agent.deep()
        states.append(answer.json()["checks"]["dep"]["state"])
        check(answer.status == 503, f"after 1.7 s of no results: {answer.body}")
        if states[-1] == "stale":  # else the check that was under way had failed by now
            return
    raise lib.Failure(f"never stale: {states}")


def test_deep_health(stage):
    """GET /health/deep: all contexts, one, an unknown one, and what is in the document."""
    good, bad = Server(stage), Server(stage, lambda r: reply(500))
    agent = Agent(stage, {"store": f'http: "http://127.0.0.1:{good.port}/"',
                          "network": f'http: "http://127.0.0.1:{bad.port}/"'},
                  {"ledger": ["store"], "cards": ["store", "network"], "catalog": []})
    agent.wait_for("store", "good")
    agent.wait_for("network", "bad")
    answer = agent.deep()
    check_equal(answer.status, 503, "all, of which one is not capable")
    check_equal(answer.header("content-type"), "application/json", "content type")
    doc = answer.json()
    check_equal((doc["schema"], doc["host"], doc["region"], doc["healthy"]),
                ("fulmar.health/1", "west-1", "west", False), "document")
    check_equal(set(doc["contexts"]), {"ledger", "cards", "catalog"}, "contexts")
    cards, catalog = doc["contexts"]["cards"], doc["contexts"]["catalog"]
    check_equal(cards, {"capable": False, "why": "network is bad: status 500, expected 2xx",
                        "needs": ["store", "network"], "shallow": False}, "cards")
    check_equal((catalog["capable"], catalog["why"], catalog["shallow"]), (True, None, True),
                "catalog")
    network = doc["checks"]["network"]
    check_equal((network["type"], network["state"], network["last_error"]),
                ("http", "bad", "status 500, expected 2xx"), "network")
    check(0 <= network["age_ms"] < 5000 and 0 < network["latency_ms"] < 5000, f"{network}")
    check(network["since"] <= doc["at"] and network["since"].endswith("Z"), f"{network}")
    check(b"00000000" not in answer.body, f"noise digits: {answer.body}")

    check_equal(agent.deep("?context=ledger").status, 200, "ledger")
    check_equal(set(agent.deep("?context=ledger").json()["contexts"]), {"ledger"}, "only ledger")
    check_equal(agent.deep("?context=cards").status, 503, "cards")
    check_equal(agent.deep("?context=nothing").status, 404, "an unknown context")
    check_equal(agent.deep("?context=ledger2").status, 404, "an unknown longer context")
    check_equal(lib.get(agent.peer, "/health/live").status, 200, "alive")
    check_equal(lib.get(agent.admin, "/health/live").status, 200, "alive, at admin")
    check_equal(lib.request(agent.peer, "POST", "/health/deep", body=b"").status, 405, "POST")
    check_equal(lib.get(agent.admin, "/health/deep").status, 404, "deep health is for peers")
    check_equal(lib.get(agent.peer, "/status").status, 404, "status is for admins")
    status = lib.get(agent.admin, "/status").json()
    check_equal((status["schema"], status["service"], status["health"]["healthy"]),
                ("fulmar.status/1", "shop", False), "status")


def test_unknown_is_not_good(stage):
    """Before the first result a context is not capable, and nothing is invented."""
    release = threading.Event()
    server = Server(stage, lambda r: release.wait() and reply())
    stage.on_end(release.set)
    agent = Agent(stage, {"dep": f'http: "http://127.0.0.1:{server.port}/"'},
                  quick="interval: 50ms, timeout: 60s, fall: 1, rise: 1")
    answer = agent.deep()
    check_equal(answer.status, 503, "before the first result")
    dep = answer.json()["checks"]["dep"]
    check_equal((dep["state"], dep["age_ms"], dep["latency_ms"], dep["last_error"]),
                ("unknown", None, None, None), "before the first result")
    release.set()
    agent.wait_for("dep", "good")
    check_equal(agent.deep().status, 200, "after it")


# -------- reload --------


def test_reload_of_checks(stage):
    """Checks come, go and change; those that stay keep what is known of them."""
    server = Server(stage)
    web = f'http: "http://127.0.0.1:{server.port}/"'
    agent = Agent(stage, {"stays": web, "goes": web})
    agent.wait_for("stays", "good")
    since = agent.check_of("stays")["since"]
    agent.configure({"stays": web, "comes": command("sh", "-c", "echo new; exit 1")})
    agent.reload()
    check_equal(set(agent.deep().json()["checks"]), {"stays", "comes"}, "checks after a reload")
    check_equal(agent.check_of("stays")["state"], "good", "the one that stays, at once")
    check_equal(agent.check_of("stays")["since"], since, "since when")
    agent.wait_for("comes", "bad", "new")
    check_equal(agent.deep("?context=goes").status, 404, "a context that is gone")


def test_reload_while_checks_run(stage):
    """Many reloads with connections, lookups, handshakes and commands under way: none is confused
    with another, none is left behind."""
    server, hangs = Server(stage), Server(stage, lambda r: None)
    checks = {"ok": f'http: "http://127.0.0.1:{server.port}/"',
              "hangs": f'http: "http://127.0.0.1:{hangs.port}/"',
              "tls": tls(hangs.port), "dns": "dns: localhost", "runs": command("sleep", "100"),
              "named": f'tcp: "localhost:{server.port}"'}
    names = list(checks)
    quick = "interval: 50ms, timeout: 700ms, fall: 1, rise: 1"
    agent = Agent(stage, checks, quick=quick)
    for i in range(12):
        left = names[i % len(names)]
        agent.configure({n: c for n, c in checks.items() if n != left})
        agent.reload()
        check(left not in agent.deep().json()["checks"], f"{left} is still there")
        time.sleep(0.03 * (i % 4))
    agent.configure(checks)
    agent.reload()
    for name in ("ok", "dns", "named"):
        agent.wait_for(name, "good")
    for name in ("hangs", "tls", "runs"):
        agent.wait_for(name, "bad")
    fds = pathlib.Path(f"/proc/{agent.process.pid}/fd")
    wait_until("nothing is left open", lambda: len(list(fds.iterdir())) < 40)


def test_reload_that_is_wrong(stage):
    """A bad file, or one that is not for this host, changes nothing and shows in `status`."""
    server = Server(stage)
    agent = Agent(stage, {"dep": f'http: "http://127.0.0.1:{server.port}/"'})
    agent.wait_for("dep", "good")
    good = agent.conf.read_text()
    wrong = [(good.replace("interval", "intervall"), "did you mean `interval`"),
             (good.replace("service: shop", "service: other"), "fixed for the life"),
             (good.replace("west-1:", "west-2:"), "west-1"),
             (good.replace("region: west,", "region: north,").replace("{west:", "{north:"),
              "west")]
    for text, why in wrong:
        agent.conf.write_text(text)
        agent.reload()
        config = lib.get(agent.admin, "/status").json()["config"]
        check(config["reload_error"] and why in config["reload_error"],
              f"`{why}` is not in {config['reload_error']!r}")
        check_equal(agent.deep("?context=dep").status, 200, "the old configuration goes on")
    agent.conf.write_text(good)
    agent.reload()
    check_equal(lib.get(agent.admin, "/status").json()["config"]["reload_error"], None,
                "after a good one")


def test_refuses_to_start(stage):
    """A host that is not an agent's, ports in use, a second one with the same state."""
    agent = Agent(stage, {"good": command("true")})

    def ends(name, host, code, why, conf=agent.conf):
        process = stage.fulmar(name, "agent", "-c", conf, "--host", host)
        check_equal(process.wait(), code, f"exit code of {name}")
        check(why in process.output(), f"{name} says {process.output()!r}")
    ends("unlisted", "west-9", 78, "west-9")
    ends("second", "west-1", 1, "another agent uses")
    text = agent.conf.read_text().replace("state-{host}", "other-{host}")
    ends("ports", "west-1", 1, "in use", stage.write("ports.yaml", text))
    edge = text.replace("roles: [health]", "roles: [edge]")
    ends("role", "west-1", 78, "role", stage.write("role.yaml", edge))


if __name__ == "__main__":
    os.umask(0o077)
    lib.main(globals())
