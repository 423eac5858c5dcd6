"""An upstream that reads request bodies to their end and answers 204: ``python sink.py PORT``.

nginx cannot play this part: ``return`` answers before the body has come and then drops it, so a proxy would see an
early answer instead of an upload, and its DAV module would write a file. The kernel drops the bytes for us (MSG_TRUNC,
tcp(7)), so the sink takes next to no time from the core it shares with the client.
"""

from __future__ import annotations

import socket
import sys
import threading

CHUNK = 1 << 20
MAX_HEAD = 65536
ANSWER = b"HTTP/1.1 204 No Content\r\nServer: sink\r\nX-Received: %d\r\n\r\n"
LENGTH_REQUIRED = b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def content_length(head: bytes) -> int | None:
    """Length of the body that follows `head`; None when the request does not say it that way."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
        if name.lower() == b"transfer-encoding":
            return None
    return 0


def serve(connection: socket.socket) -> None:
    """Answer one request after the other until the peer closes."""
    scrap = bytearray(CHUNK)
    with connection:
        buffer = b""
        while True:
            while b"\r\n\r\n" not in buffer:
                data = connection.recv(MAX_HEAD)
                if not data or len(buffer) > MAX_HEAD:
                    return
                buffer += data
            head, _, buffer = buffer.partition(b"\r\n\r\n")
            length = content_length(head)
            if length is None:
                connection.sendall(LENGTH_REQUIRED)
                return
            left = length - len(buffer)
            buffer = buffer[length:]
            while left > 0:
                received = connection.recv_into(scrap, min(left, CHUNK), socket.MSG_TRUNC)
                if not received:
                    return
                left -= received
            connection.sendall(ANSWER % length)


def main() -> None:
    """Accept for ever; the harness ends the process."""
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64) as listener:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


if __name__ == "__main__":
    main()
