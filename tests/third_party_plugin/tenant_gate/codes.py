"""What is kept of a pass's code."""

from hashlib import scrypt


def hashed(code: str) -> str:
    """A slow hash: call it in the thread pool."""
    return scrypt(code.encode(), salt=b"tenant-gate", n=1024, r=8, p=1).hex()
