"""What migrations tell while they work."""

from __future__ import annotations


class Progress:
    """Hears what the migrations do; this one keeps it for itself."""

    def waiting(self, seconds: float) -> None:
        """Another process may hold the lock; this one waits for it, `seconds` longer at most."""

    def begins(self, name: str, half: str, number: int, total: int) -> None:
        """Step `number` of `total` begins; `half` is `up` or `finish`."""

    def close(self) -> None:
        """Nothing more comes."""

    def ended(self, name: str, half: str, seconds: float) -> None:
        """A step is done and recorded."""
