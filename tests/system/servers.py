"""Servers for the program under test to stand in front of, to check or to fail on: plain HTTP in
threads of the test, which answer as they are told and remember what they were asked."""

import socket
import struct
import threading

import lib


class Request:
    """One request as it came."""

    def __init__(self, head, body):
        line, *fields = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = line.split(" ")
        self.headers = [(n.lower(), v.strip()) for n, _, v in (f.partition(":") for f in fields)]
        self.body = body

    def header(self, name):
        values = [v for n, v in self.headers if n == name.lower()]
        return ", ".join(values) if values else None


def reply(status=200, body=b"", headers=()):
    """An answer with a length."""
    lines = [f"HTTP/1.1 {status} -", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Server:
    """Listens on the loopback until the test ends. `answer` takes a Request and gives the bytes to
    send, or None to say nothing; it may block, each connection has a thread of its own. With
    `wrap`, connections go through it first (TLS)."""

    def __init__(self, stage, answer=lambda request: reply(), port=None, wrap=None):
        self.answer = answer
        self.seen = []
        self._wrap = wrap
        self._open = set()
        self._lock = threading.Lock()
        self._listener = None
        self.listen(lib.free_port() if port is None else port)
        stage.on_end(self.kill)

    def listen(self, port=None):
        """Again, after `kill`; on the same port unless told otherwise."""
        self._listener = socket.create_server(("127.0.0.1", self.port if port is None else port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def kill(self):
        """As a process that dies: nobody listens any more, connections are reset."""
        with self._lock:
            listener, self._listener = self._listener, None
            connections, self._open = self._open, set()
        if listener:
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept
            listener.close()
        for connection in connections:
            try:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.shutdown(socket.SHUT_RDWR)  # wakes recv
            except OSError:
                pass
            connection.close()

    def _accept(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with self._lock:
            if not self._listener:
                connection.close()
                return
            self._open.add(connection)
        try:
            stream = self._wrap(connection) if self._wrap else connection
            while request := self._read(stream):
                self.seen.append(request)
                data = self.answer(request)
                if data is not None:
                    stream.sendall(data)
                else:
                    while stream.recv(65536):
                        pass
        except OSError:
            pass
        with self._lock:
            self._open.discard(connection)
        connection.close()

    @staticmethod
    def _read(stream):
        data = b""
        while b"\r\n\r\n" not in data:
            more = stream.recv(65536)
            if not more:
                return None
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        request = Request(head, b"")
        while len(body) < int(request.header("content-length") or 0):
            more = stream.recv(65536)
            if not more:
                return None
            body += more
        request.body = body
        return request
