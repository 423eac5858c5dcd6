"""An upstream for WebSocket tunnels: ``python talker.py PORT`` answers each message with one of its own.

Frames are counted, not read: all messages have MESSAGE bytes (RFC 6455, section 5.2), which is what the client sends.
"""

from __future__ import annotations

import base64
import hashlib
import selectors
import socket
import sys

MESSAGE = 1024
PAYLOAD = b"x" * MESSAGE
FROM_CLIENT = b"\x82\xfe" + MESSAGE.to_bytes(2, "big") + bytes(4) + PAYLOAD  # masked with zeros
FROM_SERVER = b"\x82\x7e" + MESSAGE.to_bytes(2, "big") + PAYLOAD
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
SWITCHING = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)


class Client:
    """One connection: its handshake, then messages."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.head = b""
        self.open = False
        self.received = 0
        self.owed = b""

    def on_data(self) -> bool:
        """Take what has come and answer; False at the end."""
        data = self.connection.recv(65536)
        if not data:
            return False
        if not self.open:
            self.head += data
            head, end, data = self.head.partition(b"\r\n\r\n")
            if not end:
                return True
            self.open = True
            self.connection.send(SWITCHING % _accepted(head))
        before, self.received = self.received // len(FROM_CLIENT), self.received + len(data)
        self.owed += FROM_SERVER * (self.received // len(FROM_CLIENT) - before)
        return self.flush()

    def flush(self) -> bool:
        """Send what goes now; the rest is sent with the next answer."""
        try:
            self.owed = self.owed[self.connection.send(self.owed) :] if self.owed else b""
        except BlockingIOError:
            pass
        return True


def _accepted(head: bytes) -> bytes:
    key = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
    return base64.b64encode(hashlib.sha1(key.partition(b":")[2].strip() + GUID).digest())


def main() -> None:
    """Serve for ever; the harness ends the process."""
    selector = selectors.DefaultSelector()
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=256) as listener:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    connection.setblocking(False)
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(connection, selectors.EVENT_READ, Client(connection))
                    continue
                try:
                    alive = key.data.on_data()
                except (OSError, StopIteration):
                    alive = False
                if not alive:
                    selector.unregister(key.fileobj)
                    key.data.connection.close()


if __name__ == "__main__":
    main()
