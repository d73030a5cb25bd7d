"""Tables as Markdown, LaTeX, CSV and JSON."""

import csv
import html
import io
import math
import re
from collections.abc import Sequence
from typing import Any

from eval.metrics.registry import REGISTRY
from eval.reporting.tables import Cell, Row, Table

CSV_FIELDS = (
    *("benchmark", "protocol", "sizes", "label", "method", "num_frames", "source", "subjects"),
    *("metric", "value", "low", "high", "difference"),
    *("difference_low", "difference_high", "p_value", "found", "note"),
)
NOTHING = "-"
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def format_value(metric: str, value: float) -> str:
    """As the paper prints it: three decimals, two, or 5.76e-3."""
    if math.isinf(value):
        return "inf"
    text = format(value, REGISTRY[metric].format)
    return text.replace("e-0", "e-").replace("e+0", "e+") if "e" in text else text


def format_cell(metric: str, cell: Cell) -> str:
    """Value, interval and difference in one line."""
    text = format_value(metric, cell.value)
    if cell.interval is not None:
        text += f" {format_interval(metric, cell.interval)}"
    if cell.difference is not None:
        text += f" ({format_difference(metric, cell)})"
    if cell.found is not None:
        text += f", {cell.found:.0%} found"
    return text


def format_difference(metric: str, cell: Cell) -> str:
    """A cell's difference with its sign, its interval and p-value where it has them."""
    assert cell.difference is not None, "cells without one show none"
    sign = "" if cell.difference < 0 else "+"
    between = "" if cell.difference_interval is None else f" {format_interval(metric, cell.difference_interval)}"
    probable = "" if cell.p_value is None else f", p = {cell.p_value:.2g}"
    return f"{sign}{format_value(metric, cell.difference)}{between}{probable}"


def format_interval(metric: str, interval: tuple[float, float]) -> str:
    """[low, high] at the metric's precision."""
    return f"[{format_value(metric, interval[0])}, {format_value(metric, interval[1])}]"


def _texts(table: Table, row: Row) -> list[str]:
    head = [row.label, str(row.num_frames or NOTHING), "paper" if row.published else str(row.subjects)]
    if table.tells_frames:
        fewest, most = row.frames_each
        head.append(str(most) if fewest == most else f"{fewest} to {most}")
    return head + [format_cell(name, row.cells[name]) if name in row.cells else NOTHING for name in table.columns]


def _header(table: Table) -> list[str]:
    head = ["Method", "NFs", "Subjects", *(["Frames each"] if table.tells_frames else [])]
    return head + [f"{REGISTRY[name].title} {REGISTRY[name].arrow}" for name in table.columns]


def to_markdown(tables: Sequence[Table]) -> str:
    parts = []
    for table in tables:
        lines = [
            f"## {one_line(table.title)}",
            "",
            *([one_line(table.shared), ""] if table.shared else []),
            _pipe(_header(table)),
            _pipe(["---"] * 2 + ["---:"] * (len(_header(table)) - 2)),
        ]
        lines += [_pipe(_texts(table, row)) for row in table.rows]
        lines += ["", *(f"- {one_line(note)}" for note in table.notes), ""]
        parts.append("\n".join(lines))
    return "\n".join(parts)


def _pipe(cells: Sequence[str]) -> str:
    return "| " + " | ".join(one_line(cell) for cell in cells) + " |"


def one_line(text: str) -> str:
    """Text of others in Markdown: one line, no HTML, no cell, no picture of theirs and no link but a bare address.

    >>> print(one_line("a | ![b](https://x/y.png) [0.1, 0.2]"))
    a \\| ![b\\](https://x/y.png) [0.1, 0.2]
    """
    # What makes brackets a link: an address or the name of one, or the line that gives a name its address.
    unlinked = re.sub(r"\](?=[(\[:])", r"\\]", " ".join(text.split()).replace("\\", "\\\\"))
    return html.escape(unlinked, quote=False).replace("|", "\\|")


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    return {key: _cell(value) for key, value in row.items()}


def _cell(value: Any) -> Any:
    """Text of others in CSV: what a spreadsheet would compute is quoted by an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def to_latex(tables: Sequence[Table]) -> str:
    """`table` environments with booktabs rules."""
    parts = []
    for table in tables:
        rows = [" & ".join(map(_tex, _texts(table, row))) + r" \\" for row in table.rows]
        # What begins with a bracket or a star would be taken for an option of the end of the row before.
        rows = [f"{{}}{row}" if row.startswith(("[", "*")) else row for row in rows]
        cut = sum(row.published for row in table.rows)
        if 0 < cut < len(rows):
            rows.insert(cut, r"\midrule")
        arrows = {"↑": r" $\uparrow$", "↓": r" $\downarrow$"}
        header = [_tex(text) for text in _header(table)]
        header = [text[:-2] + arrows[text[-1]] if text[-1] in arrows else text for text in header]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\caption{{{_tex(table.title)}}}",
                    rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
                    r"\toprule",
                    " & ".join(header) + r" \\",
                    r"\midrule",
                    *rows,
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                    *(f"% {' '.join(note.split())}" for note in table.notes),
                    "",
                ]
            )
        )
    return "\n".join(parts)


_TEX = {
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "·": r"$\cdot$"},
    **{character: f"\\{character}" for character in "&%_#{}$"},
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in " ".join(text.split()))


def to_csv(tables: Sequence[Table]) -> str:
    """One line a row and metric, at full precision."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_FIELDS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for row in table.rows:
            head = {
                "benchmark": table.benchmark,
                "protocol": None if row.published else table.protocol_label,
                "sizes": None if row.published else " ".join(table.sizes),
                "label": row.label,
                "method": row.method,
                "num_frames": row.num_frames,
                "source": "published" if row.published else row.path,
                "subjects": row.subjects,
            }
            for name, cell in row.cells.items():
                low, high = cell.interval or (None, None)
                below, above = cell.difference_interval or (None, None)
                numbers = {"value": cell.value, "low": low, "high": high, "difference": cell.difference}
                numbers |= {"difference_low": below, "difference_high": above, "p_value": cell.p_value}
                writer.writerow(_cells(head | numbers | {"metric": name, "found": cell.found, "note": cell.note}))
            for name, reason in row.missing.items():
                writer.writerow(_cells(head | {"metric": name, "note": f"missing: {reason}"}))
    return stream.getvalue()


def to_json(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """JSON values; infinity is the string "inf"."""

    def number(value: float | None) -> float | str | None:
        return "inf" if value is not None and math.isinf(value) else value

    return [
        {
            "benchmark": table.benchmark,
            "protocol": table.protocol,
            "sizes": list(table.sizes),
            "rows": [
                {
                    "label": row.label,
                    "method": row.method,
                    "num_frames": row.num_frames,
                    "published": row.published,
                    "subjects": row.subjects,
                    "result": row.path,
                    "metrics": {
                        name: {
                            "value": number(cell.value),
                            "interval": cell.interval,
                            "difference": number(cell.difference),
                            "difference_interval": cell.difference_interval,
                            "p_value": cell.p_value,
                            "found": cell.found,
                            "note": cell.note,
                        }
                        for name, cell in row.cells.items()
                    },
                    "missing": row.missing,
                }
                for row in table.rows
            ],
            "notes": list(table.notes),
        }
        for table in tables
    ]
