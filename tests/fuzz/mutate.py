"""Seeded mutations of raw messages: small steps around what the fixtures know."""

import random
from collections.abc import Callable, Iterator, Sequence

SPECIAL = [
    *(bytes([code]) for code in b"\0\t\n\x0b\x0c\r \x1b\"#%'()+,-./:;=?@[\\]_{|}~\x7f\x80\x85\xa0\xff05aAfF"),
    *(
        b"\r\n",
        b"\r\n\r\n",
        b"\n\n",
        b"\r\r\n",
        b"\r\n ",
        b"\r\n\t",
        b" :",
        b": ",
        b"0x",
        b"%00",
        b"%2e",
        b"%2f",
        b"//",
        b"/../",
    ),
]
LINES = [
    *(b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 00", b"content-length:3", b"Content-Length: +1"),
    *(
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"transfer-encoding:chunked ",
        b"Transfer-Encoding: \x0bchunked",
    ),
    *(
        b"Host: b.test",
        b"Host:",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: Host, Content-Length",
        b"Expect: 100-continue",
    ),
    *(
        b"Upgrade: websocket",
        b"TE: trailers",
        b"X_Consumer_ID: 1",
        b" folded",
        b": empty",
        b"no colon",
        b"X-A\t: 1",
        b"Content_Length: 7",
    ),
]
BODIES = [
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"hello",
    b"5;a\r\nhello\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n",
]

Step = Callable[[random.Random, bytes, Sequence[bytes]], bytes]


def _cut(rng: random.Random, raw: bytes) -> tuple[int, int]:
    start = rng.randrange(len(raw) + 1)
    return start, min(len(raw), start + rng.choice((0, 1, 1, 1, 2, 4, 16)))


def delete(rng: random.Random, raw: bytes, corpus: Sequence[bytes]) -> bytes:
    """Take some bytes out."""
    start, end = _cut(rng, raw)
    return raw[:start] + raw[end:]


def insert(rng: random.Random, raw: bytes, corpus: Sequence[bytes]) -> bytes:
    """Put special bytes in, in place of others or not."""
    start, end = _cut(rng, raw)
    return raw[:start] + rng.choice(SPECIAL) + raw[rng.choice((start, end)) :]


def repeat(rng: random.Random, raw: bytes, corpus: Sequence[bytes]) -> bytes:
    """Write some bytes twice."""
    start, end = _cut(rng, raw)
    return raw[:end] + raw[start:]


def swap_line_end(rng: random.Random, raw: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change one CR or LF for something similar."""
    places = [place for place, byte in enumerate(raw) if byte in b"\r\n"]
    if not places:
        return raw + b"\n"
    place = rng.choice(places)
    return raw[:place] + rng.choice((b"\r", b"\n", b"", b" ", b"\n\r", b"\0")) + raw[place + 1 :]


def add_line(rng: random.Random, raw: bytes, corpus: Sequence[bytes]) -> bytes:
    """Put a header line in."""
    lines = raw.split(b"\r\n")
    lines.insert(rng.randrange(1, len(lines) + 1), rng.choice(LINES))
    return b"\r\n".join(lines)


def repeat_line(rng: random.Random, raw: bytes, corpus: Sequence[bytes]) -> bytes:
    """Write a line twice, or move it."""
    lines = raw.split(b"\r\n")
    line = rng.choice(lines)
    if rng.random() < 0.5:
        lines.remove(line)
    lines.insert(rng.randrange(len(lines) + 1), line)
    return b"\r\n".join(lines)


def splice(rng: random.Random, raw: bytes, corpus: Sequence[bytes]) -> bytes:
    """Continue with the end of another message."""
    other = rng.choice(corpus)
    return raw[: rng.randrange(len(raw) + 1)] + other[rng.randrange(len(other) + 1) :]


def append(rng: random.Random, raw: bytes, corpus: Sequence[bytes]) -> bytes:
    """Put a body or another message behind."""
    return raw + rng.choice((rng.choice(BODIES), rng.choice(corpus)))


def flip(rng: random.Random, raw: bytes, corpus: Sequence[bytes]) -> bytes:
    """Change one bit, or the case of a letter."""
    if not raw:
        return raw
    place = rng.randrange(len(raw))
    return raw[:place] + bytes([raw[place] ^ (1 << rng.choice((0, 1, 5, 5, 7)))]) + raw[place + 1 :]


STEPS: tuple[Step, ...] = (delete, insert, insert, repeat, swap_line_end, add_line, repeat_line, splice, append, flip)


def mutations(seed: int, count: int, corpus: Sequence[bytes], longest: int = 4000) -> Iterator[bytes]:
    """``count`` mutated messages; the same seed gives the same ones."""
    rng = random.Random(seed)
    short = [raw for raw in corpus if 0 < len(raw) <= longest]
    for _ in range(count):
        raw = rng.choice(short)
        for _ in range(rng.choice((1, 1, 2, 3))):
            raw = rng.choice(STEPS)(rng, raw, short)
        yield raw[:longest]
