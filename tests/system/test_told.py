#!/usr/bin/env python3
"""What operators are told holds also in odd moments: over a reload, of requests that were given up,
of regions that only probes have seen."""

import json
import signal
import socket

import lib
from lib import check, check_equal, wait_until


class Edge:
    """`fulmar edge` in front of `west` and `north`, whatever listens there."""

    def __init__(self, stage, west, north, probe="tcp"):
        self.port, self.admin = lib.free_port(), lib.free_port()
        self.access = stage.path("access.log")
        conf = {
            "fulmar": 1, "service": "told", "state": str(stage.path("state")),
            "edge": {"workers": 1, "listen": [{"address": f"127.0.0.1:{self.port}"}],
                     "admin": f"127.0.0.1:{self.admin}", "timeouts": {"idle": "1s"},
                     "access-log": {"path": str(self.access), "sample": "100%"}},
            "probe": {"app": probe, "interval": "100ms", "fast-interval": "20ms"},
            "regions": {"west": {"apps": [f"127.0.0.1:{west}"]},
                        "north": {"apps": [f"127.0.0.1:{north}"]}},
            "contexts": {"all": {"topology": "multi-write", "routes": ["/**"]}},
        }
        path = stage.write("fulmar.yaml", json.dumps(conf))
        self.process = stage.fulmar("edge", "edge", "-c", path, port=self.admin)

    def status(self):
        return lib.get(self.admin, "/status").json()

    def logged(self):
        return [json.loads(line) for line in lib.whole_lines(self.access).splitlines()]


def test_failing_open_outlives_a_reload(stage):
    """With every region down, status says so before and after another configuration."""
    edge = Edge(stage, lib.free_port(), lib.free_port())
    wait_until("no region is well", lambda: edge.status()["contexts"][0]["fail_open"])
    before = edge.status()["generation"]
    edge.process.signal(signal.SIGHUP)
    wait_until("reloaded", lambda: edge.status()["generation"] > before)
    status = edge.status()
    check_equal({r["contexts"][0]["health"] for r in status["regions"]}, {"down"}, "health")
    check(status["contexts"][0]["fail_open"], "all are down, and it does not fail open")


def test_what_only_probes_saw_has_their_evidence(stage):
    """A region that nobody asked for anything is down by its probes, and the event says why."""
    edge = Edge(stage, lib.free_port(), lib.free_port())
    events = wait_until("an event", lambda: edge.status()["events"])
    check("connection refused" in events[0]["evidence"], events[0])


def test_a_request_that_is_given_up_is_logged_with_its_client(stage):
    """Who hung up is known; who was too slow has been answered."""
    with socket.create_server(("127.0.0.1", 0)) as origin:  # accepts, and says nothing
        port = origin.getsockname()[1]
        edge = Edge(stage, port, port, probe="none")
        with lib.Client(edge.port) as client:
            client.send(b"GET /hung-up HTTP/1.1\r\nHost: test\r\n\r\n")
            origin.settimeout(lib.PATIENCE_S)
            asked, _ = origin.accept()  # it is under way
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with lib.Client(edge.port) as client:
            client.send(b"POST /slow HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nx")
            check_equal(client.response("POST").status, 408, "status of a slow client")
        lines = wait_until("both are logged", lambda: len(edge.logged()) == 2 and edge.logged())
        asked.close()
    by_path = {line["path"]: line for line in lines}
    gone, slow = by_path["/hung-up"], by_path["/slow"]
    check_equal((gone["client"], gone["status"], gone.get("client_gone")),
                ("127.0.0.1", None, True), "who hung up")
    check_equal((slow["client"], slow["status"], slow.get("client_gone")),
                ("127.0.0.1", 408, None), "who was slow")


def test_a_gate_takes_over_only_what_is_a_ref(stage):
    """A Fulmar-Ref that no edge has made does not get into documents."""
    gate, admin, at = lib.free_port(), lib.free_port(), f"127.0.0.1:{lib.free_port()}"
    conf = {
        "fulmar": 1, "service": "told", "state": str(stage.path("state")),
        "edge": {"listen": [{"address": at}]},
        "hosts": {"west-1": {"region": "west", "roles": ["gate", "health"], "address": "127.0.0.1",
                             "gate": f"127.0.0.1:{gate}", "peer": f"127.0.0.1:{lib.free_port()}",
                             "admin": f"127.0.0.1:{admin}"}},
        "regions": {"west": {"apps": [f"127.0.0.1:{lib.free_port()}"]}},
        "contexts": {"all": {"topology": "multi-write", "routes": ["/only"]}},
    }
    path = stage.write("fulmar.yaml", json.dumps(conf))
    stage.fulmar("agent", "agent", "-c", path, "--host", "west-1", port=admin)
    for ref, kept in [("0123abcd-0000000000f", True), ('","status":200,"x":"', False),
                      ("short", False)]:
        answer = lib.get(gate, "/other", headers=[("Fulmar-Ref", ref)])
        check_equal(answer.status, 404, "status")
        check_equal(answer.json()["status"], 404, f"status in {answer.body}")
        check_equal(answer.header("fulmar-ref") == ref, kept, f"whether {ref} is kept")


if __name__ == "__main__":
    lib.main(globals())
