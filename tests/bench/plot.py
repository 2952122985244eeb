"""How the cost grows, as an SVG of lines and labels; nothing but text is needed to write it."""

from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 720, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 190, 40, 50
_COLOURS = ("#0b62a4", "#0b62a4", "#b8372c", "#b8372c")
_DASHES = ("", "6 4", "", "6 4")


def svg(title: str, x_label: str, y_label: str, lines: Mapping[str, Points]) -> str:
    """Up to four lines over the same x; the axes begin at zero."""
    right = max(x for points in lines.values() for x, _ in points)
    top = _round_up(max(y for points in lines.values() for _, y in points))

    def at(x: float, y: float) -> tuple[float, float]:
        wide, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return round(_LEFT + x / right * wide, 1), round(_HEIGHT - _BOTTOM - y / top * high, 1)

    parts = [_text(_LEFT, 22, title, weight="bold")]
    for step in range(5):
        y = top * step / 4
        (x1, height), (x2, _) = at(0, y), at(right, y)
        parts.append(f'<line x1="{x1}" y1="{height}" x2="{x2}" y2="{height}" stroke="#ccc"/>')
        parts.append(_text(x1 - 8, height + 4, f"{y:g}", anchor="end"))
    marks = sorted({x for points in lines.values() for x, _ in points})
    parts += [_text(at(x, 0)[0], _HEIGHT - _BOTTOM + 18, f"{x:g}", anchor="middle") for x in marks]
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 10, x_label, anchor="middle"))
    middle = (_TOP + _HEIGHT - _BOTTOM) / 2
    parts.append(f'<g transform="rotate(-90 18 {middle})">{_text(18, middle, y_label, anchor="middle")}</g>')
    for points, colour, dash in zip(lines.values(), _COLOURS, _DASHES, strict=False):
        path = " ".join(f"{x},{y}" for x, y in (at(*point) for point in points))
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
        )
        parts += [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>' for x, y in (at(*point) for point in points)]
    for index, ((name, _), colour, dash) in enumerate(zip(lines.items(), _COLOURS, _DASHES, strict=False)):
        y = _TOP + 12 + 20 * index
        x = _WIDTH - _RIGHT + 14
        parts.append(
            f'<line x1="{x}" y1="{y}" x2="{x + 26}" y2="{y}" stroke="{colour}" stroke-width="2" '
            f'stroke-dasharray="{dash}"/>'
        )
        parts.append(_text(x + 32, y + 4, name))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-weight="{weight}">{escape(text)}</text>'


def _round_up(value: float) -> float:
    step = 1.0
    while step * 4 < value:
        step *= 2 if str(step)[0] in "15" else 2.5
    return step * 4
