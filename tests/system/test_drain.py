#!/usr/bin/env python3
"""How an edge stops: what it announces, what it finishes, and that it ends in any case."""

import signal
import threading

import lib
import world
from lib import check, check_equal, wait_until

GET = b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n"


class Drained:
    """An edge with a ready address in front of an origin that holds /hold until told otherwise."""

    def __init__(self, stage, **drain):
        self.let_go = threading.Event()
        self.held = []
        stage.on_end(self.let_go.set)

        def serve(exchange):
            if exchange.target.startswith("/hold"):
                self.held.append(exchange)
                self.let_go.wait(120)
            exchange.tell()

        origin = world.Origin(stage, serve)
        self.ready = lib.free_port()
        self.edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"}, edge={
            "ready": {"address": f"127.0.0.1:{self.ready}"}, "drain": drain},
            retry={"hedge-after": "never"})
        self._stage = stage

    def client(self, path):
        """A connection with a request sent on it."""
        client = lib.Client(self.edge.port, timeout=60)
        self._stage.on_end(client.close)
        client.send(GET % path)
        return client

    def hold(self, n):
        """Connections whose requests are with the origin."""
        clients = [self.client(b"/hold/%d" % i) for i in range(n)]
        wait_until("they are held", lambda: len(self.held) == n)
        return clients

    def idle(self):
        client = self.client(b"/")
        check_equal(client.response().status, 200, "answer before")
        return client

    def terminate(self):
        self.edge.process.signal(signal.SIGTERM)

    def wait_deaf(self):
        wait_until("it listens no more", lambda: not lib.listens(self.edge.port), seconds=60)


def check_ready(drained, status):
    answer = lib.get(drained.ready, "/ready")
    check_equal(answer.status, status, "/ready")
    check_equal(lib.get(drained.ready, "/other").status, 404, "another path there")


def test_announce(stage):
    """While it announces it says 503 to the balancer and serves; a second signal cuts that short."""
    drained = Drained(stage, announce="10m", finish="30s")
    check_ready(drained, 200)
    idle = drained.idle()
    drained.terminate()
    wait_until("it is not ready", lambda: lib.get(drained.ready, "/ready").status == 503)
    check_ready(drained, 503)
    check_equal(drained.edge.get("/new").status, 200, "a new connection")
    idle.send(GET % b"/again")
    check_equal(idle.response().status, 200, "an idle connection")
    check_equal(lib.get(drained.edge.admin, "/health/live").status, 200, "/health/live")
    drained.terminate()
    check_equal(drained.edge.process.wait(60), 0, "exit code")


def test_finish(stage):
    """Behind the announcement it listens no more, closes what is idle and finishes what is under way."""
    drained = Drained(stage, announce="100ms", finish="60s")
    idle = drained.idle()
    held = drained.hold(10)
    half = lib.Client(drained.edge.port, timeout=60)
    half.send(b"GET /half HTTP/1.1\r\nHo")
    wait_until("all are open", lambda: drained.edge.metric("connections") >= 12)
    drained.terminate()
    drained.wait_deaf()
    check(idle.is_over(), "an idle connection stays")
    half.send(b"st: a\r\n\r\n")
    answer = half.response()
    check_equal((answer.status, answer.says_close()), (200, True), "a request that had begun")
    check_equal(lib.get(drained.ready, "/ready").status, 503, "/ready")
    check(drained.edge.process.is_alive(), "it ended before its requests")
    drained.let_go.set()
    for client in held:
        answer = client.response()
        check_equal((answer.status, answer.says_close()), (200, True), "a request under way")
        check(client.is_over(), "its connection goes on")
    check_equal(drained.edge.process.wait(60), 0, "exit code")
    half.close()


def test_finish_is_bounded(stage):
    """What does not finish within drain.finish is cut, and the edge ends."""
    drained = Drained(stage, announce="0s", finish="500ms")
    held = drained.hold(3)
    drained.terminate()
    check_equal(drained.edge.process.wait(60), 0, "exit code")
    for client in held:
        try:
            check(client.is_over(), "an answer came from nowhere")
        except ConnectionResetError:
            pass


def test_second_signal_ends_at_once(stage):
    """A second SIGTERM does not wait for drain.finish; nor does SIGINT."""
    for first, second in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, None)):
        drained = Drained(stage, announce="0s", finish="1h")
        drained.edge.name = f"edge-{first}"
        drained.hold(1)
        drained.edge.process.signal(first)
        if second:
            drained.wait_deaf()
            drained.edge.process.signal(second)
        check_equal(drained.edge.process.wait(60), 0, f"exit code after {first!r}")


def test_upload_under_way(stage):
    """A long body that is on its way when the drain begins still arrives."""
    drained = Drained(stage, announce="0s", finish="60s")
    body = b"x" * 1000000
    with lib.Client(drained.edge.port, timeout=60) as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:500000])
        wait_until("it has begun", lambda: drained.edge.slot("west")["sent_total"] == 1)
        drained.terminate()
        drained.wait_deaf()
        client.send(body[500000:])
        answer = client.response()
        check_equal((answer.status, answer.json()["bytes"]), (200, len(body)), "answer")
        check(answer.says_close() and client.is_over(), "the connection goes on")
    check_equal(drained.edge.process.wait(60), 0, "exit code")


def test_pipeline_under_way(stage):
    """Of pipelined requests the answered one says close, and no answer is half."""
    drained = Drained(stage, announce="0s", finish="60s")
    with lib.Client(drained.edge.port, timeout=60) as client:
        client.send(b"".join(GET % b"/hold/%d" % i for i in range(3)))
        wait_until("the first is held", lambda: len(drained.held) == 1)
        drained.terminate()
        drained.wait_deaf()
        drained.let_go.set()
        answer = client.response()
        check_equal((answer.status, answer.says_close()), (200, True), "the first answer")
        check(client.is_over(), "more answers on a connection that was said to close")
    check_equal(drained.edge.process.wait(60), 0, "exit code")


if __name__ == "__main__":
    lib.main(globals())
