"""The results as Markdown, on the screen and in bench/RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.figures import Figure
from harness.ratios import NOISY_SHARE, Row, best, best_cpu, fastest

RESULTS = Path(__file__).resolve().parents[1] / "RESULTS.md"

INTRODUCTION = """\
# Results

Written by `bench/run --write`; do not edit. Gateway and nginx have one worker each, on the same core, in turn, in the
same run; wrk and the upstream (nginx) share another core. CPU is user and system time of the worker per completed
request, the lowest of all rounds; the ratio divides the gateway's by nginx's, and behind it in parentheses stand the
lowest and highest ratio of single rounds. Requests carry nine header fields; the answer has 1 KiB unless the case says
otherwise. `req/s` is the best round, p50 and p99 (ms) belong to the round with the lowest CPU time: wrk sends as fast
as it is answered, so they are latencies at saturation. `others` is the highest share of the core that was not the
worker's own. `Kong` is the ratio of Kong 3.9.1, measured once in the same way on such a machine. What a plugin adds is
the difference between two services of one gateway that get the same requests in turn, each at its lowest.
"""

RATIO_TITLE = "## CPU time per request as a multiple of nginx's"
RATIO_HEAD = (
    "case", "conn.", "nginx µs", "gateway µs (user + system)", "ratio (rounds)", "must", "aim", "verdict", "Kong",
    "req/s nginx", "req/s gateway", "p50 / p99 nginx", "p50 / p99 gateway", "RSS MiB", "errors", "others", "run",
)  # fmt: skip
ADDED_TITLE = "## CPU time that is added to a request"
FIGURE_TITLE = "## Memory, big bodies, start, Admin API"
FIGURE_HEAD = ("what", "measured", "must", "aim", "verdict", "details", "run")
HEADS = {RATIO_TITLE: RATIO_HEAD, ADDED_TITLE: FIGURE_HEAD, FIGURE_TITLE: FIGURE_HEAD}
SAME = ("Machine", "System", "nginx", "wrk", "Python")  # facts that must not differ between runs in one table

Cells = list[str]


@dataclass
class Report:
    """Facts and tables as they are printed; tables may hold rows of earlier runs on the same machine."""

    facts: dict[str, str]
    tables: dict[str, list[Cells]] = field(default_factory=lambda: {title: [] for title in HEADS})
    left_out: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The whole document."""
        parts = [INTRODUCTION, "".join(f"- {name}: {value}\n" for name, value in self.facts.items())]
        for title, rows in self.tables.items():
            if rows:
                parts += [title + "\n", _table(HEADS[title], rows)]
        return "\n".join([*parts, "## Verdict\n", self._verdict()])

    def _verdict(self) -> str:
        lines = []
        for title, rows in self.tables.items():
            head = HEADS[title]
            verdict, measured = head.index("verdict"), head.index("must") - 1
            for row in rows:
                if row[verdict] in ("MISSED", "ERRORS"):
                    conn = f", {row[1]} connections" if head is RATIO_HEAD else ""
                    lines.append(f"- {row[0]}{conn}: {row[verdict]}, {row[measured]} (must: {row[verdict - 2]})")
        if not lines:
            measured_any = any(self.tables.values())
            lines = ["- Every bar that was measured is met." if measured_any else "- Nothing was measured."]
        lines += [f"- {name} was not measured: {reason.splitlines()[0]}" for name, reason in self.left_out.items()]
        return "\n".join(lines) + "\n"

    def with_rows_of(self, earlier: Report) -> Report:
        """This report and the earlier one's rows that it has not measured anew."""
        merged = {
            title: _merged(earlier.tables[title], rows, keys=2 if title == RATIO_TITLE else 1)
            for title, rows in self.tables.items()
        }
        return Report(self.facts, merged, self.left_out)

    def comparable(self, earlier: Report) -> bool:
        """Whether both come from the same machine and the same programs."""
        return all(self.facts.get(name) == earlier.facts.get(name) for name in SAME)


def _merged(old: list[Cells], new: list[Cells], keys: int) -> list[Cells]:
    """Old rows, each replaced by the new one with the same first `keys` cells; new ones follow."""
    by_key = {tuple(row[:keys]): row for row in old} | {tuple(row[:keys]): row for row in new}
    return list(by_key.values())


def parse(text: str) -> Report:
    """Read back what `Report.text` wrote."""
    report = Report({})
    rows: list[Cells] | None = None
    for line in text.splitlines():
        if line.startswith("## "):
            rows = report.tables.get(line)
        elif line.startswith("| ") and rows is not None:
            rows.append([cell.strip() for cell in line.strip().strip("|").split(" | ")])
        elif line.startswith("- ") and not any(report.tables.values()):
            name, _, value = line[2:].partition(": ")
            report.facts[name] = value
    for kept in report.tables.values():
        del kept[:2]  # head and rule
    return report


def _table(head: Sequence[str], rows: Iterable[Cells]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def build(
    facts: Mapping[str, str], rows: Sequence[Row], figures: Sequence[Figure], left_out: Mapping[str, str]
) -> Report:
    """The report of one run; `left_out` names cases that could not be measured and why."""
    run = f"{facts['Date']}, {facts['Source']}"
    tables = {
        RATIO_TITLE: [[*_ratio_cells(row), run] for row in rows],
        ADDED_TITLE: [[*_figure_cells(figure), run] for figure in figures if figure.added],
        FIGURE_TITLE: [[*_figure_cells(figure), run] for figure in figures if not figure.added],
    }
    return Report(dict(facts), tables, dict(left_out))


def write(report: Report, everything: bool) -> str:
    """Write bench/RESULTS.md; a run of some cases keeps the other rows. Return what was done with them."""
    kept = "it holds this run only"
    if not everything and RESULTS.is_file():
        earlier = parse(RESULTS.read_text())
        if report.comparable(earlier):
            report, kept = report.with_rows_of(earlier), "rows that were not measured now are kept"
        else:
            kept = "earlier rows are dropped, because they come from another machine or other programs"
    RESULTS.write_text(report.text())
    return f"{RESULTS} is written; {kept}"


def _bar(value: float | None, sign: str = "≤ ") -> str:
    return "-" if value is None else f"{sign}{value:g}"


def _ratio_cells(row: Row) -> Cells:
    ours, theirs = best(row.gateway), best(row.nginx)
    low, high = row.spread
    sign = "≤ +" if row.case.bar.added else "≤ "
    ratio = f"{row.ratio:+.2f}" if row.case.bar.added else f"{row.ratio:.2f}"
    noisy = " (noisy)" if row.noise > NOISY_SHARE else ""
    return [
        row.case.title,
        str(row.connections),
        f"{best_cpu(row.nginx):.1f}",
        f"{ours.cpu:.1f} ({ours.cpu_user:.1f} + {ours.cpu_system:.1f})",
        f"**{ratio}** ({low:.2f} to {high:.2f})",
        _bar(row.case.bar.must, sign),
        _bar(row.case.bar.aim, sign),
        row.verdict,
        _bar(row.case.kong, ""),
        f"{fastest(row.nginx).rate:,.0f}",
        f"{fastest(row.gateway).rate:,.0f}",
        f"{theirs.p50:.2f} / {theirs.p99:.2f}",
        f"{ours.p50:.2f} / {ours.p99:.2f}",
        f"{row.gateway[-1].rss_kib / 1024:.1f}",
        str(row.errors) + (f" (nginx {row.nginx_errors})" if row.nginx_errors else ""),
        f"{row.noise:.1%}{noisy}",
    ]


def _figure_cells(figure: Figure) -> Cells:
    sign = "≥ " if figure.at_least else "≤ "
    digits = 0 if figure.value >= 100 else 2
    return [
        figure.title,
        f"**{figure.value:,.{digits}f}** {figure.unit}".rstrip(),
        _bar(figure.must, sign),
        _bar(figure.aim, sign),
        figure.verdict,
        figure.note or "-",
    ]
