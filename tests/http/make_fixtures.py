"""Writes the fixture files from the table: ``python -m tests.http.make_fixtures``.

Each case gives ``NAME.http`` (the raw bytes) and ``NAME.json`` (what must follow). Files of cases that are gone are
removed, so the folders always equal the table; a test compares them.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from tests.http.table import AnswerCase, Case, answers, fields, forwarding, framing, paths, request_lines, sequences

HERE = Path(__file__).resolve().parent
REQUESTS: list[Case] = [
    *request_lines.CASES,
    *fields.CASES,
    *framing.CASES,
    *forwarding.CASES,
    *paths.CASES,
    *sequences.CASES,
]
ANSWERS: list[AnswerCase] = answers.CASES


def contents() -> dict[Path, bytes]:
    """Every fixture file with what it must hold."""
    files: dict[Path, bytes] = {}
    groups: tuple[tuple[Path, Sequence[Case | AnswerCase]], ...] = ((HERE, REQUESTS), (HERE / "answers", ANSWERS))
    for top, cases in groups:
        for case in cases:
            stem = top / case.folder / case.name
            if stem.with_name(case.name + ".http") in files:
                raise ValueError(f"two cases with the name {case.name}")
            files[stem.with_name(case.name + ".http")] = case.raw
            text = json.dumps(case.expectation(), indent=2, ensure_ascii=False) + "\n"
            files[stem.with_name(case.name + ".json")] = text.encode()
    return files


def on_disk() -> dict[Path, bytes]:
    """Every fixture file that is there."""
    folders = [HERE / top / kind for top in (".", "answers") for kind in ("valid", "invalid")]
    return {path.resolve(): path.read_bytes() for folder in folders for path in folder.glob("*.*")}


def main() -> None:
    """Write what is missing or different, remove what is too much."""
    wanted, found = contents(), on_disk()
    for path in found.keys() - wanted.keys():
        path.unlink()
    for path, data in wanted.items():
        if found.get(path) != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    print(f"{len(REQUESTS)} requests, {len(ANSWERS)} answers")


if __name__ == "__main__":
    main()
