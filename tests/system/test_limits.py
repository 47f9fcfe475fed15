#!/usr/bin/env python3
"""Every bound of an edge: slow and silent clients, sizes, connections, requests in flight, slow and
silent apps, and clients that send nonsense."""

import random
import socket
import threading

import lib
import world
from lib import check, check_equal, wait_until

NEVER = {"hedge-after": "never"}


def hold(held):
    """An origin that keeps requests in `held` until they are cleared."""
    def serve(exchange):
        exchange.body()
        if exchange.target.startswith("/hold"):
            held.append(exchange)
            wait_until("the test lets go", lambda: exchange not in held, seconds=120, every=0.02)
        exchange.answer(exchange.target.encode())

    return serve


def in_threads(calls):
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    return threads


def check_problem(answer, status, kind, what):
    check(answer is not None, f"{what}: no answer")
    check_equal(answer.status, status, what)
    check_equal(answer.header("content-type"), "application/problem+json", f"{what}: content type")
    check_equal(answer.json()["type"], f"urn:fulmar:{kind}" if kind else "about:blank", f"{what}: type")
    check_equal(answer.json()["status"], status, f"{what}: status in the body")
    if status == 503:
        check(answer.header("retry-after"), f"{what}: no Retry-After")


# -------- slow clients --------


def trickle(client, data, every):
    """Send a byte now and then until the other side has had enough; its answer."""
    for byte in data:
        client.send_as_far_as_taken(bytes([byte]))
        client.socket.settimeout(every)
        try:
            if not client.is_over():
                break
        except lib.Failure:
            continue  # nothing yet
        except ConnectionResetError:
            return None
    client.socket.settimeout(30)
    return client.response()


def test_slow_clients(stage):
    """Heads and bodies that never become whole, or only in a day, end with 408; none is passed on."""
    origin = world.Origin(stage)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"}, edge={
        "timeouts": {"header": "500ms", "idle": "2s"}, "min-body-rate": "1KiB/s"})
    post = b"POST /%s HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n"
    answers = {}

    def client(name, first, more=b"", every=0.1):
        with lib.Client(edge.port, timeout=60) as c:
            c.send(first)
            answers[name] = trickle(c, more, every)

    for thread in in_threads([
            lambda: client("half a head", b"GET / HTTP/1.1\r\nHo"),
            lambda: client("a trickling head", b"GET / HTTP/1.1\r\nX: ", b"y" * 3000),
            lambda: client("half a body", post % b"half" + b"x" * 500),
            lambda: client("a trickling body", post % b"trickle", b"x" * 3000, 0.2),
            lambda: client("half a chunk", b"POST /chunk HTTP/1.1\r\nHost: a\r\n"
                                           b"Transfer-Encoding: chunked\r\n\r\nff\r\nx"),
            lambda: client("nothing", b""),
            lambda: client("empty lines", b"\r\n\r\n")]):
        thread.join()
    for name in ("nothing", "empty lines"):
        check_equal(answers.pop(name), None, f"answer to {name}")
    for name, answer in answers.items():
        check_problem(answer, 408, "", name)
        check(answer.says_close(), f"{name}: the connection goes on")
    check_equal(origin.seen, [], "what was passed on")
    with lib.Client(edge.port, timeout=60) as idle:
        idle.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        check_equal(idle.response().status, 200, "answer")
        check(idle.is_over(), "an idle connection stays")
    wait_until("all are closed", lambda: edge.metric("connections") == 0)


def test_slow_upload(stage):
    """A long body that stalls while it is streamed ends its request at the app as well."""
    ended = []

    def serve(exchange):
        try:
            n = len(exchange.body())
        except (OSError, ValueError):
            n = -1
        ended.append(n)
        exchange.over = True

    origin = world.Origin(stage, serve)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"},
                      edge={"timeouts": {"idle": "1s"}})
    with lib.Client(edge.port, timeout=60) as client:
        client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 300000)
        check_problem(client.response("PUT"), 408, "", "a stalled upload")
    wait_until("the app notices", lambda: ended)
    check(ended[0] < 1000000, f"the app read {ended[0]} bytes")


# -------- sizes --------


def test_sizes(stage):
    """Targets, headers and bodies over their bounds: 414, 431, 413, before any of it is passed on."""
    origin = world.Origin(stage)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"}, edge={
        "limits": {"header": "4KiB", "headers": 20, "body": "100KiB", "replay-body": "1KiB"}})

    def answer(data):
        with lib.Client(edge.port) as client:
            client.send_as_far_as_taken(data)
            return client.response()

    get = b"GET / HTTP/1.1\r\nHost: a\r\n"
    post = b"POST / HTTP/1.1\r\nHost: a\r\n"
    big = b"x" * (100 * 1024 + 1)
    for data, status, what in (
            (b"GET /" + b"a" * 8000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "a long target"),
            (get + b"X: " + b"y" * 8000 + b"\r\n\r\n", 431, "a long header"),
            (get + b"X: " + b"y" * 8000, 431, "a long header without an end"),
            (get + b"X: y\r\n" * 30 + b"\r\n", 431, "many headers"),
            (post + b"Content-Length: 102401\r\n\r\n", 413, "a long body, before it comes"),
            (post + b"Content-Length: 99999999999999999999\r\n\r\n", 413, "a body beyond numbers"),
            (post + b"Expect: 100-continue\r\nContent-Length: 102401\r\n\r\n", 413, "a body that asks"),
            (b"A" * 200 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", 501, "a long method"),
            (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505, "another version")):
        got = answer(data)
        check(got is not None, f"{what}: no answer")
        if what == "a body beyond numbers":
            check(got.status in (400, 413), f"{what}: {got.status}")
        else:
            check_problem(got, status, "", what)
        check(got.says_close(), f"{what}: the connection goes on")
    check_equal(origin.seen, [], "what was passed on")
    got = answer(post + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(big), big))
    check_problem(got, 413, "", "a long body in chunks")
    exact = b"x" * (100 * 1024)
    got = answer(post + b"Content-Length: %d\r\n\r\n%s" % (len(exact), exact))
    check_equal((got.status, got.json()["bytes"]), (200, len(exact)), "a body of the bound")


# -------- how many --------


def test_connections(stage):
    """One connection over the bound gets 503 with Retry-After; when one ends the next is served."""
    most = 16
    origin = world.Origin(stage)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"},
                      edge={"limits": {"connections": most}})
    clients = [lib.Client(edge.port) for _ in range(most)]
    stage.on_end(lambda: [c.close() for c in clients])
    for client in clients:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        check_equal(client.response().status, 200, "answer within the bound")
    for _ in range(3):
        with lib.Client(edge.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = client.response()
            check_problem(answer, 503, "overloaded", "one more connection")
            check(answer.says_close() and client.is_over(), "it goes on")
    check_equal(edge.metric("connections_refused_total"), 3, "connections_refused_total")
    check_equal(len(origin.seen), most, "requests at the origin")
    clients.pop().close()
    wait_until("there is room again", lambda: edge.get().status == 200)


def test_bulkhead(stage):
    """More requests in flight than a region and context may have go to the next region, and are 503
    where that is full as well; other contexts do not suffer."""
    most = 3
    held = []
    west, north = (world.Origin(stage, hold(held), n) for n in ("west", "north"))
    context = {"topology": "multi-write", "routes": ["/hold/**", "/free"], "limits": {"in-flight": most}}
    edge = world.Edge(stage, {"west": [west.port], "north": [north.port]}, probe={"app": "none"},
                      contexts={"held": context, "other": world.KEYED}, retry=NEVER)
    answers = []
    threads = []
    for i in range(2 * most):
        threads += in_threads([lambda i=i: answers.append(
            lib.request(edge.port, "POST", f"/hold/{i}", body=b"x", timeout=120))])
        wait_until("it is held", lambda i=i: len(held) == i + 1)
    check_equal((len(west.seen), len(north.seen)), (most, most), "requests in the regions")
    for method in ("GET", "POST"):
        check_problem(lib.request(edge.port, method, "/hold/more"), 503, "overloaded", f"one {method} more")
    check_equal((len(west.seen), len(north.seen)), (most, most), "requests in the regions")
    check_equal(edge.get("/else").status, 200, "another context")
    check_equal(edge.metric("in_flight", region="west", context="held"), most, "in_flight of west")
    check(edge.metric("bulkhead_full_total") >= 4, "bulkhead_full_total")
    held.clear()
    for thread in threads:
        thread.join()
    check_equal([a.status for a in answers], [200] * 2 * most, "those that were held")
    check_equal(edge.get("/free").status, 200, "one more afterwards")
    wait_until("none is in flight", lambda: edge.slot("west", "held")["in_flight"] == 0)


# -------- slow apps --------


def test_silent_apps(stage):
    """Apps that take a request and say nothing: queries go on to the next region, and are 504 where
    that is silent, too; a command is 504, its outcome unknown, and is not repeated."""
    held = []
    west, north = (world.Origin(stage, hold(held), n) for n in ("west", "north"))
    edge = world.Edge(stage, {"west": [west.port], "north": [north.port]}, probe={"app": "none"},
                      timeouts={"connect": "100ms", "first-byte": "300ms", "total": "3s"}, retry=NEVER)
    check_problem(edge.get("/hold/get", timeout=60), 504, "timeout", "a query")
    wait_until("both regions were asked", lambda: "GET /hold/get" in west.seen and "GET /hold/get" in north.seen)
    check_problem(lib.request(edge.port, "POST", "/hold/post", body=b"x", timeout=60), 504,
                  "outcome-unknown", "a command")
    wait_until("it was asked", lambda: "POST /hold/post" in west.seen + north.seen)
    check_equal((west.seen + north.seen).count("POST /hold/post"), 1, "times it was asked")
    held.clear()
    wait_until("it serves on", lambda: edge.get("/").status == 200)


def test_total_timeout(stage):
    """`total` ends a request over all its tries, however long each may take."""
    held = []
    west, north = (world.Origin(stage, hold(held), n) for n in ("west", "north"))
    edge = world.Edge(stage, {"west": [west.port], "north": [north.port]}, probe={"app": "none"},
                      timeouts={"connect": "100ms", "first-byte": "1s", "total": "1s"}, retry=NEVER)
    check_problem(edge.get("/hold", timeout=60), 504, "timeout", "a query")
    wait_until("it was asked", lambda: held)
    deadlines = [int(e.header("fulmar-deadline")) for e in held]
    check(max(deadlines) <= 1000, f"Fulmar-Deadline at the apps: {deadlines}")
    held.clear()


def full_listener(stage):
    """A port where connections are neither accepted nor refused."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    stage.on_end(listener.close)
    for _ in range(4):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(listener.getsockname())
        stage.on_end(s.close)
    return listener.getsockname()[1]


def test_connect_timeout(stage):
    """A region that neither accepts nor refuses: everything goes on to the next, also a command."""
    north = world.Origin(stage, name="north")
    edge = world.Edge(stage, {"west": [full_listener(stage)], "north": [north.port]},
                      probe={"app": "none"}, timeouts={"connect": "200ms"}, retry=NEVER)
    for method in ("GET", "POST"):
        answer = lib.request(edge.port, method, "/", timeout=60)
        check_equal((answer.status, answer.header("fulmar-region")), (200, "north"), method)
    check(edge.slot("west")["outcomes"]["connect"] >= 1, "connects that failed in west")


def test_answer_that_stalls(stage):
    """An answer that stops in its middle is cut after the idle time, and frees what it had."""
    def serve(exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100000)
        wait_until("the edge hangs up", lambda: exchange.connection.recv(1) == b"", seconds=60)
        exchange.over = True

    origin = world.Origin(stage, serve)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"},
                      edge={"timeouts": {"idle": "1s"}})
    with lib.Client(edge.port, timeout=60) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        check_equal(client.head()[0], 200, "status")
        try:
            client.take(1000000)
            raise AssertionError("the rest came from nowhere")
        except (lib.Failure, ConnectionResetError):
            pass
    wait_until("nothing is in flight", lambda: edge.slot("west")["in_flight"] == 0)


# -------- nonsense --------


def mutated(rand, data):
    data = bytearray(data)
    for _ in range(rand.randrange(1, 8)):
        at = rand.randrange(len(data) + 1)
        kind = rand.randrange(4)
        if kind == 0:
            data[at:at + 1] = bytes([rand.randrange(256)])
        elif kind == 1:
            del data[at:at + rand.randrange(1, 20)]
        elif kind == 2:
            data[at:at] = rand.choice((b"\r\n", b"\0", b" ", b":", b"0\r\n\r\n", b"\xff" * 9, b"%2e"))
        else:
            data[at:at] = data[:rand.randrange(len(data) + 1)]
    return bytes(data[:60000])


def test_nonsense(stage):
    """Random and mutated bytes, cut anywhere, with resets: the edge lives, and serves as before."""
    origin = world.Origin(stage)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"},
                      edge={"timeouts": {"header": "100ms", "idle": "1s"}})
    seeds = [p.read_bytes() for p in sorted((lib.ROOT / "tests/http/corpus").iterdir())
             if p.suffix not in (".tsv", ".md", ".py")]
    check(len(seeds) > 100, f"only {len(seeds)} seeds")
    rand = random.Random(1)
    for i in range(600 if world.SANITIZED else 1500):
        data = rand.randbytes(rand.randrange(1, 3000)) if i % 5 == 0 else mutated(rand, rand.choice(seeds))
        with lib.Client(edge.port) as client:
            client.send_as_far_as_taken(data)
            if i % 3 == 0:
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            elif i % 3 == 1:
                try:
                    client.socket.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                client.socket.settimeout(0.002)
                try:
                    client.socket.recv(65536)
                except OSError:
                    pass
    check_equal(edge.get("/after").status, 200, "answer afterwards")
    wait_until("all of it is gone", lambda: edge.metric("connections") == 0, seconds=30)
    check_equal(edge.slot("west")["in_flight"], 0, "in flight")


if __name__ == "__main__":
    lib.main(globals())
