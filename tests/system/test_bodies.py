#!/usr/bin/env python3
"""Bodies of any size in constant memory, slow readers, idle connections, and what has no body."""

import resource
import threading

import lib
import world
from lib import check, check_equal, wait_until

MIB = 1 << 20
BIG = 32 * MIB if world.SANITIZED else 1024 * MIB
RSS_KIB = 64 * 1024
IDLE = 500 if world.SANITIZED else 10000
IDLE_KIB = 100 * 1024
PIECE = bytes(range(256)) * 1024  # 256 KiB


def check_small(edge, most_kib=RSS_KIB):
    """Of the memory of a sanitizer nothing can be said."""
    rss = edge.rss_kib()
    check(world.SANITIZED or rss < most_kib, f"the edge has {rss} KiB, at most {most_kib} wanted")


class Count:
    """Bytes of a body that should be PIECE over and over: all of them are compared."""

    def __init__(self):
        self.n, self._rest, self.good = 0, b"", True

    def add(self, data):
        self.n += len(data)
        data = self._rest + data
        whole = len(data) - len(data) % len(PIECE)
        for at in range(0, whole, len(PIECE)):
            self.good &= data[at:at + len(PIECE)] == PIECE
        self._rest = data[whole:]

    def check(self, n):
        check_equal(self.n, n, "bytes of the body")
        check(self.good and PIECE.startswith(self._rest), "the body was changed on its way")


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def origin_for_big(stage, counts):
    """PUT counts what comes; GET /length and /chunks send as much."""
    def serve(exchange):
        count = Count()
        for piece in exchange.pieces(MIB):
            count.add(piece)
        counts.append(count)
        if exchange.method == "PUT":
            exchange.answer(b"done")
        elif exchange.target == "/length":
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
            for _ in range(BIG // len(PIECE)):
                exchange.send(PIECE)
        else:
            exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(BIG // len(PIECE)):
                exchange.send(chunk(PIECE))
            exchange.send(b"0\r\n\r\n")

    return world.Origin(stage, serve)


def big_edge(stage, counts, **edge):
    origin = origin_for_big(stage, counts)
    return world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"},
                      edge={"limits": {"body": "2GiB"}, **edge})


def upload(stage, framing):
    counts = []
    edge = big_edge(stage, counts)
    with lib.Client(edge.port, timeout=120) as client:
        client.send(f"PUT /up HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
        for i in range(BIG // len(PIECE)):
            client.send(chunk(PIECE) if "chunked" in framing else PIECE)
            if i % 512 == 511:
                check_small(edge)
        if "chunked" in framing:
            client.send(b"0\r\n\r\n")
        check_equal(client.response().status, 200, "answer")
    counts[0].check(BIG)
    check_small(edge)


def test_upload_length(stage):
    """A large upload with Content-Length arrives whole, in constant memory."""
    upload(stage, f"Content-Length: {BIG}")


def test_upload_chunked(stage):
    """The same in chunks."""
    upload(stage, "Transfer-Encoding: chunked")


def read_body(client, edge, chunked):
    """The body behind a head that was read, piece by piece."""
    count = Count()
    looks = 0
    while not chunked and count.n < BIG:
        count.add(client.take_some(BIG - count.n))
        looks += 1
        if looks % 2000 == 0:
            check_small(edge)
    while chunked and (size := int(client.line().split(b";")[0], 16)):
        while size:
            data = client.take_some(size)
            size -= len(data)
            count.add(data)
        check_equal(client.take(2), b"\r\n", "the end of a chunk")
    return count


def download(stage, path):
    edge = big_edge(stage, [])
    with lib.Client(edge.port, timeout=120) as client:
        client.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        status, _ = client.head()
        check_equal(status, 200, "status")
        read_body(client, edge, path == "/chunks").check(BIG)
        check_small(edge)


def test_download_length(stage):
    """A large download with Content-Length arrives whole, in constant memory."""
    download(stage, "/length")


def test_download_chunked(stage):
    """The same in chunks."""
    download(stage, "/chunks")


def test_slow_reader(stage):
    """Who reads nothing holds up the origin instead of filling the edge; meanwhile others are served."""
    sent = []

    def serve(exchange):
        if exchange.target != "/big":
            exchange.tell()
            return
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BIG)
        for i in range(BIG // len(PIECE)):
            exchange.send(PIECE)
            sent.append(i)

    origin = world.Origin(stage, serve)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"})
    with lib.Client(edge.port, timeout=120) as client:
        client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        check_equal(client.head()[0], 200, "status")
        at = -1
        while at != len(sent):  # until nothing moves any more
            at = len(sent)
            check_equal(edge.get("/small").status, 200, "somebody else")
            world.sleep(0.3)
        check(len(sent) * len(PIECE) < BIG, "the origin could send all of it")
        check_small(edge)
        read_body(client, edge, False).check(BIG)


def test_slow_writer(stage):
    """An upload to an origin that does not read is held up at the client; then it goes on."""
    go_on = threading.Event()
    counts = []

    def serve(exchange):
        go_on.wait(120)
        count = Count()
        for piece in exchange.pieces(MIB):
            count.add(piece)
        counts.append(count)
        exchange.answer(b"done")

    origin = world.Origin(stage, serve)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"},
                      timeouts={"first-byte": "120s", "total": "120s"})
    with lib.Client(edge.port, timeout=1) as client:
        total = 32 * MIB
        left = memoryview(PIECE * (total // len(PIECE)))
        client.send(b"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % total)
        try:
            while left:
                left = left[client.socket.send(left[:MIB]):]
        except TimeoutError:
            pass
        check(left, "all of it was taken though nobody reads")
        check_small(edge)
        go_on.set()
        client.socket.settimeout(120)
        client.send(left)
        check_equal(client.response().status, 200, "answer")
    counts[0].check(total)


# -------- many connections --------


def raise_fd_limit(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        except (ValueError, OSError):
            raise lib.Skip(f"only {hard} descriptors are allowed here, {wanted} are needed") from None
    elif soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def test_idle_connections(stage):
    """Thousands of idle connections cost little, and each is still good for a request."""
    raise_fd_limit(IDLE + 1000)
    origin = world.Origin(stage)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"},
                      edge={"timeouts": {"idle": "10m"}})
    edge.get()
    before = edge.rss_kib()
    clients = []
    stage.on_end(lambda: [c.close() for c in clients])
    for i in range(IDLE):
        client = lib.Client(edge.port, source=f"127.0.0.{1 + i % 4}")
        clients.append(client)
        if i % 2:  # half of them have been used
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            check_equal(client.response().status, 200, "answer")
    wait_until("all are open", lambda: edge.metric("connections") >= IDLE)
    cost = edge.rss_kib() - before
    check(world.SANITIZED or cost < IDLE_KIB, f"{IDLE} idle connections cost {cost} KiB")
    for client in clients[::100]:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        check_equal(client.response().status, 200, "answer on an idle connection")


# -------- ends of messages --------


def test_expect_continue(stage):
    """100 Continue comes from the edge before the body, and the app is not asked for another."""
    origin = world.Origin(stage)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"})
    for framing, body in (("Content-Length: 5", b"hello"),
                          ("Content-Length: 200000", b"x" * 200000),
                          ("Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n")):
        with lib.Client(edge.port) as client:
            client.send(f"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n{framing}\r\n\r\n".encode())
            check_equal(client.head()[0], 100, f"interim answer for {framing}")
            client.send(body)
            answer = client.response()
            check_equal((answer.status, answer.interim), (200, []), f"answer for {framing}")
            check("expect" not in dict(answer.json()["headers"]), "Expect was passed on")
    with lib.Client(edge.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: the-impossible\r\nContent-Length: 1\r\n\r\n")
        check_equal(client.response().status, 417, "another expectation")


def test_answers_without_body(stage):
    """HEAD, 204 and 304 have none whatever their headers say, and the connection goes on."""
    def serve(exchange):
        status = exchange.target.strip("/") or "200 OK"
        if status.startswith("2") and exchange.method != "HEAD" and status == "200 OK":
            exchange.answer(b"hello")
        else:
            exchange.send(f"HTTP/1.1 {status} X\r\nContent-Length: 5\r\nETag: e\r\n\r\n".encode())

    origin = world.Origin(stage, serve)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"})
    with lib.Client(edge.port) as client:
        for method, path, status in (("HEAD", "/", 200), ("GET", "/204", 204), ("GET", "/304", 304),
                                     ("HEAD", "/304", 304), ("HEAD", "/404", 404), ("GET", "/", 200)):
            client.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            answer = client.response(method)
            check_equal(answer.status, status, f"{method} {path}")
            if status == 204:
                check_equal(answer.header("content-length"), None, "Content-Length of 204")
            elif method == "HEAD":
                check_equal(answer.header("content-length"), "5", f"Content-Length of {method} {path}")
        check_equal(answer.body, b"hello", "the body of the last one")


def test_trailers(stage):
    """Trailers pass in both directions."""
    def serve(exchange):
        body = exchange.body()
        seen.append((body, exchange.trailers))
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                      b"2\r\nok\r\n0\r\nX-Sum: 42\r\n\r\n")

    seen = []
    origin = world.Origin(stage, serve)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"})
    for body in (b"hello", b"x" * 200000):
        with lib.Client(edge.port) as client:
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Up\r\n\r\n"
                        + chunk(body) + b"0\r\nX-Up: 7\r\n\r\n")
            answer = client.response()
        check_equal((answer.status, answer.body), (200, b"ok"), "answer")
        check_equal(answer.trailers, [("x-sum", "42")], "trailers of the answer")
        check_equal(seen.pop(), (body, [("x-up", "7")]), "what the origin saw")


def test_old_clients(stage):
    """HTTP/1.0 gets no chunks; what ends with its connection ends with the client's, too."""
    def serve(exchange):
        if exchange.target == "/chunks":
            exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        else:
            exchange.send(b"HTTP/1.0 200 OK\r\n\r\nhello")
            exchange.over = True

    origin = world.Origin(stage, serve)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"})
    for version in ("1.0", "1.1"):
        for path in ("/chunks", "/until-close"):
            with lib.Client(edge.port) as client:
                client.send(f"GET {path} HTTP/{version}\r\nHost: a\r\n\r\n".encode())
                answer = client.response()
                check_equal((answer.status, answer.body), (200, b"hello"), f"{path} for {version}")
                if version == "1.0":
                    check_equal(answer.header("transfer-encoding"), None, "chunks for HTTP/1.0")
                    check(client.is_over(), "the connection goes on")


def test_answer_cut_short(stage):
    """An answer that breaks off is cut for the client as well, and never looks whole."""
    def serve(exchange):
        size = 1000 if exchange.target == "/small" else 1000000
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\nbegin" % size)
        exchange.over = True

    origin = world.Origin(stage, serve)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"})
    got = edge.get("/small")  # held back until it is whole, hence refused
    check_equal(got.status, 502, "a small answer that breaks off")
    try:
        edge.get("/large")
        raise AssertionError("half an answer passed for a whole one")
    except (lib.Failure, ConnectionResetError):
        pass
    check_equal(edge.metric("answers_cut_total"), 1, "answers_cut_total")


if __name__ == "__main__":
    lib.main(globals())
