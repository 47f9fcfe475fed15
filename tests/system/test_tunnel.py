#!/usr/bin/env python3
"""Upgraded connections: bytes both ways, half-close, silence, and the end of either side."""

import random
import signal
import socket
import threading

import lib
import world
from lib import check, check_equal, wait_until

UPGRADE = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
SWITCHING = (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             b"Sec-WebSocket-Accept: x\r\n\r\n")


class Talk:
    """What an origin does with its end of a tunnel, which it has after its 101."""

    def __init__(self, stage, talk, **edge):
        self.ends = []  # the origin's sockets

        def serve(exchange):
            if exchange.header("upgrade") != "websocket":
                exchange.tell()
                return
            exchange.send(SWITCHING)
            self.ends.append(exchange.connection)
            talk(exchange.connection)
            exchange.over = True

        origin = world.Origin(stage, serve)
        self.edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"}, edge=edge)
        self._stage = stage

    def open(self, behind=b""):
        client = lib.Client(self.edge.port, timeout=30)
        self._stage.on_end(client.close)
        client.send(UPGRADE + behind)
        answer = client.response()
        check(answer and answer.status == 101, f"answer {answer and answer.status}")
        check_equal(answer.header("upgrade"), "websocket", "Upgrade of the answer")
        check_equal(answer.header("sec-websocket-accept"), "x", "another header of the answer")
        return client


def echo(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def test_bytes_both_ways(stage):
    """Many tunnels at once carry random bytes to and fro, unchanged and in order."""
    talk = Talk(stage, echo)
    problems = []

    def one(number):
        rand = random.Random(number)
        data = rand.randbytes(1 << 20)
        client = talk.open()

        def send():
            at = 0
            while at < len(data):
                step = rand.choice((1, 100, 5000, 200000))
                client.send(data[at:at + step])
                at += step
            client.socket.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            if client.take(len(data)) != data:
                problems.append(f"tunnel {number}: other bytes")
            if not client.is_over():
                problems.append(f"tunnel {number}: more bytes")
        except lib.Failure as failure:
            problems.append(f"tunnel {number}: {failure}")
        sender.join()

    threads = [threading.Thread(target=one, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_equal(problems, [], "tunnels that failed")
    check_equal(talk.edge.metric("tunnels_total"), 8, "tunnels_total")
    wait_until("all are closed", lambda: talk.edge.slot("west")["in_flight"] == 0)


def test_half_close_of_the_client(stage):
    """The client ends its direction: the origin reads to the end and still answers."""
    read = []

    def talk(connection):
        while data := connection.recv(65536):
            read.append(data)
        connection.sendall(b"all " + b"".join(read))

    client = Talk(stage, talk).open()
    client.send(b"said")
    client.socket.shutdown(socket.SHUT_WR)
    check_equal(client.take(8), b"all said", "what came after the end of the client")
    check(client.is_over(), "the tunnel goes on after both ends")


def test_half_close_of_the_origin(stage):
    """The origin ends its direction: the client sees that, and what it says still arrives."""
    read = []

    def talk(connection):
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        while data := connection.recv(65536):
            read.append(data)
        read.append(None)

    client = Talk(stage, talk).open()
    check_equal(client.take(3), b"bye", "what the origin said")
    check(client.is_over(), "the end of the origin's direction does not show")
    client.send(b"still here")
    client.socket.shutdown(socket.SHUT_WR)
    wait_until("the origin has read it all", lambda: read and read[-1] is None)
    check_equal(b"".join(read[:-1]), b"still here", "what arrived after the origin's end")


def test_bytes_right_behind_the_request(stage):
    """A client that does not wait for the 101 loses nothing."""
    client = Talk(stage, echo).open(behind=b"early")
    check_equal(client.take(5), b"early", "the echo")


def test_silence_ends_a_tunnel(stage):
    """tunnel-idle ends what is silent in both directions, and nothing else."""
    def talk(connection):
        if connection.recv(1) == b"t":  # told to talk, for longer than tunnel-idle
            for _ in range(13):
                world.sleep(0.2)
                connection.sendall(b".")
        while connection.recv(65536):
            pass

    talk = Talk(stage, talk, timeouts={"tunnel-idle": "2s"})
    silent, talked_to = talk.open(), talk.open()
    silent.send(b"s")
    talked_to.send(b"t")
    check_equal(talked_to.take(13), b"." * 13, "what a tunnel carried in one direction only")
    check(is_gone(silent), "a silent tunnel stays")
    check(is_gone(talked_to), "a tunnel that fell silent stays")
    wait_until("nothing is left of them", lambda: talk.edge.slot("west")["in_flight"] == 0)


def is_gone(client):
    """Wait for the end of a connection, by an end of stream or a reset."""
    try:
        return client.is_over()
    except ConnectionResetError:
        return True


def test_the_origin_dies(stage):
    """A reset from the origin ends the client's side, too."""
    talk = Talk(stage, lambda connection: connection.recv(1) and None)

    def reset(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()

    client = talk.open()
    wait_until("the origin has its end", lambda: talk.ends)
    reset(talk.ends[0])
    client.send_as_far_as_taken(b"x")
    check(is_gone(client), "the tunnel goes on")


def test_the_client_dies(stage):
    """A reset from the client reaches the origin, and nothing is left."""
    ended = []

    def talk(connection):
        try:
            while connection.recv(65536):
                pass
        except OSError:
            pass
        ended.append(True)

    talk = Talk(stage, talk)
    client = talk.open()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    wait_until("the origin notices", lambda: ended)
    wait_until("nothing is left of it", lambda: talk.edge.slot("west")["in_flight"] == 0)


def test_refused_upgrade(stage):
    """An origin that does not upgrade answers as ever, and the connection goes on."""
    origin = world.Origin(stage)
    edge = world.Edge(stage, {"west": [origin.port]}, probe={"app": "none"})
    with lib.Client(edge.port) as client:
        for _ in range(3):
            client.send(UPGRADE)
            answer = client.response()
            check_equal(answer.status, 200, "answer")
            check_equal(dict(answer.json()["headers"])["upgrade"], "websocket", "Upgrade at the origin")
    check_equal(edge.metric("tunnels_total"), 0, "tunnels_total")


def test_drain(stage):
    """A draining edge lets tunnels go on until drain.finish, then ends them, and itself."""
    talk = Talk(stage, echo, drain={"finish": "3s"})
    client = talk.open()
    talk.edge.process.signal(signal.SIGTERM)
    wait_until("it listens no more", lambda: not lib.listens(talk.edge.port))
    client.send(b"still")
    check_equal(client.take(5), b"still", "the echo while draining")
    check(is_gone(client), "the tunnel outlives the edge")
    check_equal(talk.edge.process.wait(60), 0, "exit code")


def test_reload(stage):
    """A tunnel outlives reloads, also one that takes its region away."""
    talk = Talk(stage, echo)
    other = world.Origin(stage, name="other")
    client = talk.open()
    talk.edge.conf["regions"] = {"north": world.region(1, [other.port])}
    talk.edge.conf["edge"]["timeouts"] = {"tunnel-idle": "10m"}
    talk.edge.write()
    for _ in range(3):
        check_equal(talk.edge.reload()["event"], "reloaded", "reload")
    client.send(b"still here")
    check_equal(client.take(10), b"still here", "the echo")


if __name__ == "__main__":
    lib.main(globals())
