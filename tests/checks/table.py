"""Read `outcomes.txt`: what each function does with each case."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("outcomes.txt")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    number: int
    roles: tuple[str, ...]
    orders: tuple[str, ...]
    cases: tuple[str, ...]
    expected: str
    """``same``, ``works``, ``works: PROPERTY``, or ``SomeError: part of its message``."""
    wrong_today: str | None
    """What the package does today, where that is not what users need: the outcome is what they need."""

    def __str__(self) -> str:
        return f"line {self.number}"


class Table:
    """The last row that matches decides."""

    def __init__(self, text: str, roles: list[str], cases: dict[str, list[str]]) -> None:
        self.groups: dict[str, tuple[str, ...]] = {}
        self.rows: list[Row] = []
        for number, line in lines_of(text):
            if re.match(r"@\w+ = ", line):
                name, _, members = line.partition(" = ")
                self.groups[name] = self.expand(members)
            elif line and not line.startswith("#"):
                self.rows.append(self.row(number, line))
        self.decides: dict[tuple[str, str, str], Row] = {}
        for row in self.rows:
            met = fitting(row.roles, roles)
            for order in row.orders:
                fits = fitting(row.cases, cases[order])
                self.decides |= {(role, order, case): row for role in met for case in fits}

    def expand(self, names: str) -> tuple[str, ...]:
        """Return patterns, with groups replaced by their members."""
        found: list[str] = []
        for name in map(str.strip, names.split(";")):
            found += self.groups[name] if name.startswith("@") else [name]
        return tuple(found)

    def row(self, number: int, line: str) -> Row:
        fields = [field.strip() for field in line.split(" | ")]
        assert len(fields) in (4, 5), f"line {number} has {len(fields)} fields: {line}"
        roles, orders, cases, expected, *wrong = fields
        return Row(
            number=number,
            roles=self.expand(roles),
            orders=("before", "after") if orders == "both" else (orders,),
            cases=tuple(map(str.strip, cases.split(";"))),
            expected=expected,
            wrong_today=wrong[0].removeprefix("today: ") if wrong else None,
        )


def lines_of(text: str) -> list[tuple[int, str]]:
    """Return the lines and their numbers; an indented line continues the one before."""
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith(" "):
            lines[-1] = lines[-1][0], f"{lines[-1][1]} {line.strip()}"
        else:
            lines.append((number, line.strip()))
    return lines


def fitting(patterns: tuple[str, ...], texts: list[str]) -> list[str]:
    """Return the texts that one of the patterns fits."""
    return [text for text in texts if any(matches(pattern, text) for pattern in patterns)]


def matches(pattern: str, text: str) -> bool:
    """Return whether a pattern with ``*`` fits; the name of a function alone is each way in which it is called."""
    return compiled(pattern).fullmatch(text) is not None


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    if re.fullmatch(r"(tl|pl|get|model)\.\w+", pattern):
        pattern += "(*"
    return re.compile(".*".join(map(re.escape, pattern.split("*"))))


def agrees(expected: str, error: str) -> bool:
    """Return whether an error is of the expected class and has the expected words; ``…`` leaves some out."""
    (name, _, words), (found, _, message) = expected.partition(": "), error.partition(": ")
    return name == found and re.search(".*".join(map(re.escape, words.split("…"))), message, re.DOTALL) is not None
