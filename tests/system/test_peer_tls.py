#!/usr/bin/env python3
"""Mutual TLS between hosts: who has no certificate of the service gets nowhere, and certificates
are renewed under live traffic."""

import shutil
import signal
import socket
import ssl
import subprocess

import lib
import world
from lib import check, check_equal, wait_until

LOAD_S = 4
RATE = world.RATE // 4  # new connections cost a handshake, and a busy machine many new connections


def certs(conf, *arguments):
    done = subprocess.run([lib.FULMAR, "certs", *arguments, "-c", conf], capture_output=True,
                          text=True, timeout=60, check=False)
    check_equal(done.returncode, 0, f"exit code of fulmar certs {' '.join(arguments)}: {done.stderr}")


class Stamps:
    """Two regions behind agents, an edge in front, and TLS between them."""

    def __init__(self, stage, app=world.App):
        self.stage = stage
        self.apps = [app(stage, name=n) for n in ("west", "north")]
        self.agents = [world.Agent(stage, n) for n in ("west", "north")]
        self.edge = world.Edge(
            stage, {"west": [self.apps[0].port], "north": [self.apps[1].port]}, start=False,
            **{"peer-tls": {"ca": "peers-ca.pem", "cert": "{host}.pem", "key": "{host}.key"}})
        self.edge.conf["hosts"] = {
            "edge-1": {"region": "west", "roles": ["edge"], "address": "127.0.0.1",
                       "admin": f"127.0.0.1:{self.edge.admin}"},
            **{a.host: a.section for a in self.agents}}
        self.edge.write()
        certs(self.edge.path, "init")
        certs(self.edge.path, "add")

    def start(self):
        self.processes = [a.start(self.edge.path) for a in self.agents]
        self.edge.start()
        self.edge.wait_all_up()
        return self

    def file(self, name):
        return self.stage.path(name)

    def give(self, host, other):
        """Let a host have the certificate of another."""
        for kind in ("pem", "key"):
            shutil.copy(self.file(f"{other}.{kind}"), self.file(f"{host}.{kind}"))

    def reload_agent(self, i):
        before = self.processes[i].output().count('"reloaded"')
        self.processes[i].signal(signal.SIGHUP)
        wait_until("the agent reloads", lambda: self.processes[i].output().count('"reloaded"') > before)

    def down_because(self, region, why):
        wait_until(f"{region} is down because of {why}", lambda: (
            s := self.edge.slot(region)) and s["health"] == "down" and any(
                e["region"] == region and why in e["evidence"] for e in self.edge.status()["events"]))


def context(ca=None, cert=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        c.load_verify_locations(ca)
    else:
        c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    if cert:
        c.load_cert_chain(f"{cert}.pem", f"{cert}.key")
    return c


def ask(port, tls, name, path="/health/live"):
    """The first line of an answer inside of TLS, or the name of what went wrong."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
            with tls.wrap_socket(raw, server_hostname=name) as s:
                s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                return s.recv(4096).split(b"\r\n")[0].decode()
    except (OSError, ssl.SSLError) as e:
        return type(e).__name__


def test_traffic_and_probes_go_through_tls(stage):
    """Requests are served through gates that speak nothing but TLS."""
    s = Stamps(stage, world.Origin).start()
    for i in range(20):
        check_equal(s.edge.get(f"/x{i}").status, 200, "answer through the gate")
    wait_until("west serves", lambda: s.edge.get("/x").header("fulmar-region") == "west")
    body = b"x" * 3_000_000
    seen = lib.request(s.edge.port, "POST", "/big", body=body).json()
    check_equal(seen["bytes"], len(body), "bytes of a large body")
    for port in (s.agents[0].gate, s.agents[0].peer):
        with lib.Client(port) as plain:
            plain.send_as_far_as_taken(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            try:
                check_equal(plain.response(), None, "answer to a plain request")
            except OSError:
                pass  # a reset says it as well
    wait_until("the refusal is logged", lambda: "peer_refused" in s.processes[0].output())
    ours = context(s.file("peers-ca.pem"), s.file("edge-1"))
    check_equal(ask(s.agents[0].peer, ours, "west-1", "/status"), "HTTP/1.1 200 OK", "status, for another host")


def test_strangers_get_nowhere(stage):
    """No certificate, one of another authority, an expired one: no answer. One of ours: an answer."""
    s = Stamps(stage).start()
    other = stage.path("other")
    other.mkdir()
    shutil.copy(s.edge.path, other / "edge.yaml")
    certs(other / "edge.yaml", "init")
    certs(other / "edge.yaml", "add", "edge-1")
    ca = s.file("peers-ca.pem")
    for port in (s.agents[0].gate, s.agents[0].peer):
        ours = ask(port, context(ca, s.file("edge-1")), "west-1")
        check(ours.startswith("HTTP/1.1 "), f"with our certificate: {ours}")
        for who, tls in (("nobody", context(ca)), ("a stranger", context(ca, other / "edge-1")),
                         ("an expired host", context(ca, expired(stage, s)))):
            check(not ask(port, tls, "west-1").startswith("HTTP"), f"{who} was answered")
        check_equal(ask(port, context(ca, s.file("edge-1")), "north-1"), "SSLCertVerificationError",
                    "west-1 taken for north-1")


def expired(stage, s):
    """A certificate of our authority that ended yesterday."""
    openssl = lib.program("openssl")
    path = stage.path("expired")
    if path.with_suffix(".pem").exists():
        return path
    config = stage.write("expired.cnf", "[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\n"
                         "new_certs_dir=.\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
    stage.write("index", "")
    stage.write("serial", "77\n")
    for command in (
            ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-subj", "/CN=old", "-keyout", "expired.key", "-out", "expired.csr"],
            ["ca", "-batch", "-config", str(config), "-cert", str(s.file("peers-ca.pem")),
             "-keyfile", str(s.file("peers-ca.key")), "-startdate", "20200101000000Z",
             "-enddate", "20200201000000Z", "-in", "expired.csr", "-out", "expired.pem"]):
        subprocess.run([openssl, *command], cwd=stage.dir, check=True, capture_output=True,
                       timeout=60)
    return path


def test_a_host_with_the_wrong_name(stage):
    """An agent that shows another host's certificate is not believed: its region is left, with the
    reason, and comes back with the right one."""
    s = Stamps(stage).start()
    for kind in ("pem", "key"):
        shutil.copy(s.file(f"west-1.{kind}"), s.file(f"kept.{kind}"))
    s.give("west-1", "north-1")
    s.reload_agent(0)
    s.down_because("west", "TLS: hostname mismatch")
    check_equal(s.edge.get("/x").header("fulmar-region"), "north", "region")
    s.give("west-1", "kept")
    s.reload_agent(0)
    wait_until("the region serves again",  # which takes requests: the first ones are canaries
               lambda: s.edge.get("/x").header("fulmar-region") == "west", seconds=60)


def test_certificates_are_renewed_under_load(stage):
    """New certificates of all hosts, then a new authority: no request fails."""
    s = Stamps(stage).start()
    loads = [world.Load(stage, s.edge.port, LOAD_S, rate=RATE),
             world.Load(stage, s.edge.port, LOAD_S, "keyed", rate=RATE, method="POST", keys=True)]

    def reload_all():
        for i in range(len(s.agents)):
            s.reload_agent(i)
        check_equal(s.edge.reload()["event"], "reloaded", "reload of the edge")
        for port in (s.edge.admin, *(a.admin for a in s.agents)):
            wait_until("every worker goes by the new files", lambda p=port: (
                d := lib.get(p, "/status").json()) and d["generation_in_use"] == d["generation"])

    certs(s.edge.path, "rotate")
    reload_all()
    certs(s.edge.path, "rotate", "--authority")
    reload_all()
    certs(s.edge.path, "rotate")
    reload_all()
    for load in loads:
        load.wait_all_served()
    s.edge.wait_all_up()
    check_equal(s.edge.get("/x").status, 200, "answer")


def test_broken_certificates(stage):
    """A daemon does not start without its files, and a reload with broken ones changes nothing."""
    s = Stamps(stage)
    s.file("west-1.key").chmod(0o644)
    done = subprocess.run([lib.FULMAR, "agent", "-c", s.edge.path, "--host", "west-1"],
                          capture_output=True, text=True, timeout=60, check=False)
    check_equal(done.returncode, 1, "exit code")
    check("west-1.key" in done.stderr and "chmod 600" in done.stderr, done.stderr)
    s.file("west-1.key").chmod(0o600)
    s.start()
    good = s.file("edge-1.pem").read_text()
    s.file("edge-1.pem").write_text("nonsense")
    check_equal(s.edge.reload()["event"], "reload_refused", "reload")
    told = s.edge.status()["config"]["reload_error"]
    check(told and "edge-1.pem" in told, f"reload_error: {told}")
    check_equal(s.edge.get("/x").status, 200, "answer with the old certificate")
    s.file("edge-1.pem").write_text(good)
    check_equal(s.edge.reload()["event"], "reloaded", "reload")


if __name__ == "__main__":
    lib.main(globals())
