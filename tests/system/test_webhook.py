#!/usr/bin/env python3
"""`authority-webhook` and the feed with real agents: is a system downstream told who may write what, also after it
failed, hung or was away for a while, and by nobody but us?"""

import hashlib
import hmac
import json
import signal
import ssl
import subprocess
import threading
import time

import lib
from lib import check, check_equal, wait_until
from servers import Server, reply
from test_authority import PATIENCE_S, Realm, old_is_well

SECRET = "a secret that nobody else has"


class Receiver:
    """What docs/reference/wire.md tells one to do: check the signature, keep what is newer, refuse the rest."""

    def __init__(self, stage, wrap=None):
        self.answer = 200          # or another status, or None: hang
        self.posts = []            # (incarnation, generation) of all, in the order of arrival
        self.newest, self.doc = (0, 0), None
        self.wrong = []            # posts that nobody but us may have made
        self.lock = threading.Lock()
        self.server = Server(stage, self.take, wrap=wrap)

    def is_ours(self, request):
        parts = dict(p.split("=", 1) for p in (request.header("fulmar-signature") or "").split(",") if "=" in p)
        signed = f"{parts.get('t')}.".encode() + request.body
        mac = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        return hmac.compare_digest(mac, parts.get("v1", "")) and abs(time.time() - int(parts["t"])) < 300

    def take(self, request):
        if not self.is_ours(request):
            self.wrong.append(request.headers)
            return reply(403)
        if self.answer is None:
            return None
        if self.answer != 200:
            return reply(self.answer)
        doc = json.loads(request.body)
        with self.lock:
            version = (doc["incarnation"], doc["generation"])
            self.posts.append(version)
            if version > self.newest:
                self.newest, self.doc = version, doc
        return reply(200, b"thank you")

    def cell(self):
        return self.doc["contexts"]["ledger"]["cells"][0] if self.doc else None

    def wait_for(self, region, epoch, seconds=PATIENCE_S):
        want = {"region": region, "held": True, "epoch": epoch}
        wait_until(f"the receiver hears that {region} holds at {epoch}", lambda: self.cell() == want, seconds, every=0.02)


def told_realm(stage, receiver, url=None, secret=SECRET + "\n", **more):
    realm = Realm(stage)
    stage.write("hook.secret", secret).chmod(0o600)
    conf = json.loads(realm.conf.read_text())
    conf["authority-webhook"] = {"url": url or f"http://127.0.0.1:{receiver.server.port}/authority",
                                 "secret-file": "hook.secret", **more}
    realm.conf.write_text(json.dumps(conf))
    return realm


def hook(realm, name):
    return (realm.status(name) or {}).get("authority_webhook") or {}


def feed(realm, name, query="", seconds=40):
    return lib.get(int(realm.hosts[name]["peer"].rpartition(":")[2]), f"/authority/feed{query}", timeout=seconds)


def move(realm, at, to):
    op = realm.order(at, "move", 202, context="ledger", to=to)
    realm.wait_for_op(at, op["id"], "done")


def test_hears_of_a_move_and_of_a_takeover(stage):
    """Each region's keeper tells; what is told is what the feed says; who follows the feed hears it as well."""
    receiver = Receiver(stage)
    realm = told_realm(stage, receiver).begin()
    receiver.wait_for("west", 1)
    asked = feed(realm, "north-1").json()
    follower = {}

    def follow():
        after = f"?after={asked['incarnation']}.{asked['generation']}&wait=30000"
        follower["doc"] = feed(realm, "east-1", after).json()
    thread = threading.Thread(target=follow)
    thread.start()
    wait_until("a move may begin", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    move(realm, "west-1", "north")
    receiver.wait_for("north", 2)
    thread.join()
    check(follower["doc"]["generation"] > asked["generation"], f"what a follower heard: {follower}")
    wait_until("the feed says the same", lambda: feed(realm, "west-1").json() == receiver.doc, PATIENCE_S)
    for name in ("west-1", "north-1"):
        wait_until(f"{name} has told it", lambda n=name: (hook(realm, n).get("delivered") or {}).get(
            "generation") == receiver.newest[1], PATIENCE_S)
    check_equal((hook(realm, "east-1")["sends"], hook(realm, "east-1")["deliveries"]), (False, 0), "of the witness")
    wait_until("a failover may be automatic", lambda: old_is_well(realm, "north", "west"), PATIENCE_S)
    realm.kill("north-1")
    receiver.wait_for("west", 3)
    check_equal(receiver.wrong, [], "what was not signed by us")
    realm.judge()


def test_a_receiver_that_fails_hangs_and_is_away(stage):
    """It hears the newest, not all that it missed; and everybody can see that it is not told."""
    receiver = Receiver(stage)
    realm = told_realm(stage, receiver).begin()
    receiver.wait_for("west", 1)
    wait_until("a move may begin", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    receiver.answer = 500
    move(realm, "west-1", "north")
    wait_until("it is seen", lambda: "status 500" in (hook(realm, "north-1").get("why") or ""), PATIENCE_S)
    check(hook(realm, "north-1")["failing_since"], "since when is not said")
    events = [e for e in realm.authority("north-1")["events"] if e["what"] == "webhook"]
    check_equal([(e["why"], "status 500" in e["evidence"]) for e in events], [("failing", True)], "events")
    said = subprocess.run([lib.FULMAR, "status", "-c", realm.conf, "--server", "north-1"], capture_output=True, text=True,
                          timeout=60, check=False).stdout
    check("authority-webhook:" in said and "is not told since" in said, said)
    check_equal(receiver.cell()["epoch"], 1, "what it took while it failed")

    receiver.answer = None
    wait_until("a hang is seen", lambda: "no answer in time" in (hook(realm, "north-1").get("why") or ""), PATIENCE_S)
    check_equal(realm.holders(), {"north": 2}, "holders: the rest goes on")
    receiver.server.kill()
    wait_until("nobody there is seen", lambda: "nobody listens" in (hook(realm, "north-1").get("why") or ""), PATIENCE_S)
    for epoch, (at, to) in enumerate([("north-1", "west"), ("west-1", "north"), ("north-1", "west")], 3):
        wait_until("a move may begin", lambda a=realm.hosts[at]["region"], t=to: old_is_well(realm, a, t), PATIENCE_S)
        move(realm, at, to)
        check_equal(realm.wait_for("ledger", to), epoch, "epoch")
    receiver.answer, before = 200, len(receiver.posts)
    receiver.server.listen()
    receiver.wait_for("west", 5)
    for name in ("west-1", "north-1"):
        wait_until(f"{name} has told it", lambda n=name: hook(realm, n).get("why") is None and hook(realm, n)[
            "delivered"]["generation"] == receiver.newest[1], PATIENCE_S)
    check_equal(set(receiver.posts[before:]), {receiver.newest}, "what it was told: the newest alone")
    last = [e for e in realm.authority("north-1")["events"] if e["what"] == "webhook"][-1]
    check_equal(last["why"], "works-again", "the last event")
    check_equal(receiver.wrong, [], "what was not signed by us")
    realm.judge()


def certificate(stage, name, san):
    done = subprocess.run([lib.program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
                           "-keyout", stage.path(f"{name}.key"), "-out", stage.path(f"{name}.pem"), "-subj", "/CN=x",
                           "-addext", f"subjectAltName={san}"], capture_output=True, text=True, check=False)
    check_equal(done.returncode, 0, done.stderr)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(stage.path(f"{name}.pem"), stage.path(f"{name}.key"))
    return lambda connection: context.wrap_socket(connection, server_side=True)


def test_https_with_the_name_that_was_meant(stage):
    """A receiver with the right certificate is told; one with another's, or of nobody we know, hears nothing. A
    reload is enough to change it; and a wrong secret is the receiver's to see."""
    good = Receiver(stage, wrap=certificate(stage, "good", "IP:127.0.0.1"))
    other = Receiver(stage, wrap=certificate(stage, "other", "DNS:events.bank.example"))
    realm = told_realm(stage, other, f"https://127.0.0.1:{other.server.port}/a", ca="other.pem").begin()
    wait_until("another name is refused", lambda: "mismatch" in (hook(realm, "west-1").get("why") or ""), PATIENCE_S)

    def reload(**change):
        conf = json.loads(realm.conf.read_text())
        conf["authority-webhook"].update(change)
        realm.conf.write_text(json.dumps(conf))
        before = realm.processes["west-1"].output().count('"reloaded"')
        realm.processes["west-1"].signal(signal.SIGHUP)
        wait_until("it reloads", lambda: realm.processes["west-1"].output().count('"reloaded"') > before)

    reload(url=f"https://127.0.0.1:{good.server.port}/a")
    wait_until("a stranger is refused", lambda: hook(realm, "west-1").get("to", "").endswith(str(good.server.port)) and
               "TLS: " in (hook(realm, "west-1").get("why") or ""), PATIENCE_S)
    check_equal((good.posts, other.posts, good.wrong, other.wrong), ([], [], [], []), "what strangers heard")
    reload(ca="good.pem")
    good.wait_for("west", 1)
    stage.path("hook.secret").chmod(0o644)
    wait_until("a move may begin", lambda: old_is_well(realm, "west", "north"), PATIENCE_S)
    move(realm, "west-1", "north")
    wait_until("an open secret is refused", lambda: "others may read" in (hook(realm, "west-1").get("why") or ""),
               PATIENCE_S)
    stage.path("hook.secret").write_text(SECRET)
    stage.path("hook.secret").chmod(0o600)
    good.wait_for("north", 2)
    check_equal((good.wrong, other.posts), ([], []), "what was not ours, and who heard it")
    realm.judge()


if __name__ == "__main__":
    lib.main(globals())
