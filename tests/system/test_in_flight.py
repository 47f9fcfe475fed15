#!/usr/bin/env python3
"""Requests that are under way when something happens: a body takes long to come, the configuration
is replaced, a region is left, an answer breaks off before any of it was passed on."""

import json
import signal
import socket
import struct
import threading
import time

import lib
from lib import check, check_equal, wait_until

HOLD_S = 60  # longer than any test: a connection that is not answered


class Origin:
    """A server in a thread for each connection. `serve(connection, head, body)` answers a request
    whose head and whatever of the body came with it are given; False ends the connection."""

    def __init__(self, stage, serve):
        self.heads = []
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        stage.on_end(self._listener.close)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._requests, args=(connection,), daemon=True).start()

    def _requests(self, connection):
        with connection:
            try:
                while self._one(connection):
                    pass
            except OSError:
                pass

    def _one(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return False
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        self.heads.append(head)
        return self._serve(connection, head, body) is not False


def count(connection, head, body):
    """Reads the body and says how long it was."""
    length = [int(line.split(b":")[1]) for line in head.split(b"\r\n")
              if line.lower().startswith(b"content-length:")]
    seen = len(body)
    while seen < sum(length):
        data = connection.recv(65536)
        if not data:
            return False
        seen += len(data)
    text = b"%d" % seen
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
    return True


def reset(connection):
    """Close it so that the other side sees a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Edge:
    """`fulmar edge` with `west`, preferred, and `north`, at one address each."""

    def __init__(self, stage, west, north, **more):
        self.port, self.admin = lib.free_port(), lib.free_port()
        conf = {
            "fulmar": 1, "service": "in-flight", "state": str(stage.path("state")),
            "edge": {"workers": 1, "listen": [{"address": f"127.0.0.1:{self.port}"}],
                     "admin": f"127.0.0.1:{self.admin}"},
            "probe": {"app": "none"},
            "regions": {"west": {"priority": 1, "apps": [f"127.0.0.1:{west.port}"]},
                        "north": {"priority": 2, "apps": [f"127.0.0.1:{north.port}"]}},
            "contexts": {"all": {"topology": "multi-write", "routes": ["/**"],
                                 "idempotency": {"key": "optional", "by": "app"}}},
        } | more
        path = stage.write("fulmar.yaml", json.dumps(conf))
        self.process = stage.fulmar("edge", "edge", "-c", path, port=self.admin)

    def status(self):
        return lib.get(self.admin, "/status").json()


def reload(process, admin):
    def generation(which):
        return lib.get(admin, "/status").json()[which]

    before = generation("generation")
    process.signal(signal.SIGHUP)
    wait_until("the new configuration is in use", lambda: generation("generation_in_use") > before)


def upload(port, pieces, pause_s):
    """Sends pieces of 10,000 bytes and returns the answer."""
    with lib.Client(port, timeout=30) as client:
        client.send(b"POST /upload HTTP/1.1\r\nHost: test\r\nIdempotency-Key: k\r\n"
                    b"Content-Length: %d\r\n\r\n" % (10000 * pieces))
        for _ in range(pieces):
            client.send_as_far_as_taken(b"x" * 10000)
            time.sleep(pause_s)
        return client.response("POST")


# -------- bodies that take long --------


def test_an_upload_may_take_longer_than_its_answer(stage):
    """The time-outs for the answer count from the end of the body."""
    west, north = Origin(stage, count), Origin(stage, count)
    edge = Edge(stage, west, north, timeouts={"first-byte": "1500ms", "total": "2s"})
    answer = upload(edge.port, 30, 0.1)
    check_equal(answer.status, 200, "status")
    check_equal(answer.body, b"300000", "bytes that arrived")
    with lib.Client(edge.port) as client:  # a small one is collected first
        client.send(b"POST /small HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            time.sleep(0.3)
            client.send(b"x")
        check_equal(client.response("POST").body, b"10", "bytes that arrived")


def test_an_answer_that_does_not_come_after_an_upload_times_out(stage):
    """The end of the body starts the clock."""
    def read_only(connection, head, body):
        while connection.recv(65536):
            pass
        return False

    west, north = Origin(stage, read_only), Origin(stage, read_only)
    edge = Edge(stage, west, north, timeouts={"first-byte": "300ms"})
    answer = upload(edge.port, 10, 0.05)
    check_equal(answer.status, 504, "status")
    check("outcome-unknown" in answer.json()["type"], answer.body)


def test_uploads_are_no_silence(stage):
    """A region that is sent bodies and says nothing meanwhile is well."""
    west, north = Origin(stage, count), Origin(stage, count)
    edge = Edge(stage, west, north)
    with lib.Client(edge.port) as client:  # its pace is learnt over some time
        end = time.monotonic() + 3
        while time.monotonic() < end:
            client.send(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            check_equal(client.response().status, 200, "status")
    seen = len(west.heads)
    clients = [lib.Client(edge.port) for _ in range(10)]
    for client in clients:
        client.send(b"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 200000\r\n\r\n" +
                    b"x" * 100000)
    wait_until("all uploads are on their way", lambda: len(west.heads) == seen + 10)
    time.sleep(0.5)  # silence would be found after a tenth of that
    check_equal(edge.status()["totals"]["silences_total"], 0, "silences")
    for client in clients:
        client.send(b"x" * 100000)
        answer = client.response("POST")
        check_equal((answer.status, answer.body), (200, b"200000"), "answer")
        client.close()


# -------- answers that break off --------


def test_an_answer_that_is_malformed_from_its_first_byte_on_is_502(stage):
    """Nothing was passed on yet, so there can be an answer."""
    def bad_chunk(connection, head, body):
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        return False

    west, north = Origin(stage, bad_chunk), Origin(stage, bad_chunk)
    edge = Edge(stage, west, north)
    answer = lib.get(edge.port)
    check_equal((answer.status, answer.json()["type"]), (502, "urn:fulmar:bad-answer"), "answer")
    answer = lib.request(edge.port, "POST", body=b"")
    check_equal((answer.status, answer.json()["type"]), (504, "urn:fulmar:outcome-unknown"),
                "answer to a command")


def test_half_an_answer_does_not_hold_a_request_in_a_region_that_is_left(stage):
    """A command with a key goes elsewhere when its region is left, also if an answer had begun."""
    over = threading.Event()
    stage.on_end(over.set)

    def half_or_reset(connection, head, body):
        if not head.startswith(b"POST"):
            reset(connection)
            return False
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
        over.wait(HOLD_S)
        return False

    west, north = Origin(stage, half_or_reset), Origin(stage, count)
    edge = Edge(stage, west, north)
    with lib.Client(edge.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: test\r\nIdempotency-Key: k\r\n"
                    b"Content-Length: 0\r\n\r\n")
        wait_until("the command is in west", lambda: west.heads)
        for _ in range(8):
            check_equal(lib.get(edge.port).status, 200, "status of a query")
        answer = client.response("POST")
    check_equal((answer.status, answer.header("fulmar-region")), (200, "north"), "answer")


# -------- another configuration --------


def test_the_last_request_of_an_old_view_may_be_the_one_that_leaves_its_region(stage):
    """What was to leave a region is forgotten with the view that it belongs to."""
    held = []

    def hold(connection, head, body):
        held.append(connection)
        time.sleep(HOLD_S)

    west, north = Origin(stage, hold), Origin(stage, count)
    edge = Edge(stage, west, north, retry={"hedge-after": "never"})
    clients = [lib.Client(edge.port) for _ in range(5)]
    for client in clients:
        client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n")
    wait_until("five commands are in west", lambda: len(held) == 5)
    reload(edge.process, edge.admin)
    for connection in held:
        reset(connection)
    for client in clients:
        check_equal(client.response("POST").status, 504, "status")
        client.close()
    check_equal(edge.status()["totals"]["regions_left_total"], 1, "regions left")


def test_a_gate_names_its_own_region_whatever_else_a_reload_brings(stage):
    """A request that began before the reload ends with the names of then."""
    held = []

    def hold(connection, head, body):
        held.append(connection)
        time.sleep(HOLD_S)

    west = Origin(stage, hold)
    gate, peer, admin = lib.free_port(), lib.free_port(), lib.free_port()
    conf = {
        "fulmar": 1, "service": "in-flight", "state": str(stage.path("state")),
        "edge": {"listen": [{"address": f"127.0.0.1:{lib.free_port()}"}],
                 "admin": f"127.0.0.1:{lib.free_port()}"},
        "hosts": {"west-1": {"region": "west", "roles": ["gate", "health"],
                             "address": "127.0.0.1", "gate": f"127.0.0.1:{gate}",
                             "peer": f"127.0.0.1:{peer}", "admin": f"127.0.0.1:{admin}"}},
        "regions": {"west": {"apps": [f"127.0.0.1:{west.port}"]}},
        "contexts": {"all": {"topology": "multi-write", "routes": ["/**"]}},
    }
    path = stage.write("fulmar.yaml", json.dumps(conf))
    agent = stage.fulmar("agent", "agent", "-c", path, "--host", "west-1", port=admin)
    with lib.Client(gate) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n")
        wait_until("the command is in west", lambda: held)
        conf["regions"] = {"east": {"apps": ["127.0.0.1:1"]}} | conf["regions"]
        stage.write("fulmar.yaml", json.dumps(conf))
        reload(agent, admin)
        reset(held[0])
        answer = client.response("POST")
    check_equal((answer.status, answer.header("fulmar-region")), (504, "west"), "answer")


if __name__ == "__main__":
    lib.main(globals())
