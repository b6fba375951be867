"""`python -m bench.sink`: the plain TCP far end of a relay. Prints its port; ends when it is stopped.

The first octet of a connection says what it is for: `B` and eight octets of length: acknowledge when so much has come;
`M` and four octets each of size of a message and of its response: answer every message; anything else comes back.
"""

from __future__ import annotations

import socket
import struct
import threading

BUFFER = 1_048_576


def serve(connection: socket.socket) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        kind = connection.recv(1)
        if kind == b"B":
            _take(connection, struct.unpack("!Q", _exactly(connection, 8))[0])
            connection.sendall(b"k")
        elif kind == b"M":
            _answer(connection, *struct.unpack("!II", _exactly(connection, 8)))
        elif kind:
            connection.sendall(kind)
        connection.recv(1)   # held until the other end has had enough


def _take(connection: socket.socket, size: int) -> None:
    buffer = bytearray(BUFFER)
    while size > 0:
        received = connection.recv_into(buffer)
        if not received:
            raise ConnectionError("closed before everything came")
        size -= received


def _answer(connection: socket.socket, size: int, response_size: int) -> None:
    response, pending = b"r" * response_size, 0
    while received := len(connection.recv(65_536)):
        pending += received
        whole, pending = divmod(pending, size)
        if whole:
            connection.sendall(response * whole)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise ConnectionError("closed too early")
        data += more
    return data


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
