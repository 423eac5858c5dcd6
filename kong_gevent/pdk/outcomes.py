"""What came of earlier inputs, kept for when the same input comes again."""

from __future__ import annotations

from typing import Any

KEPT = 1024
ADMITTED = 8
"""One in so many new outcomes is kept: inputs that come often are soon among them, few of those that come once."""


class Outcomes(dict[Any, Any]):
    """Outcomes of a function by its input, for functions whose outcome depends on nothing else; bounded in number.

    Use `get` to look one up, and `keep` for what had to be worked out. Keep nothing whose input is large.
    """

    def __init__(self, size: int = KEPT) -> None:
        super().__init__()
        self._size = size
        self._offered = 0

    def keep(self, key: Any, outcome: Any) -> None:
        """Keep an outcome, now and then."""
        self._offered += 1
        if not self._offered % ADMITTED:
            if len(self) >= self._size:
                self.clear()
            self[key] = outcome
