"""How rows and metrics look in every plot."""

# Okabe and Ito's palette, told apart by colour-blind readers too.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P")


def look(index: int) -> tuple[str, str]:
    """Colour and marker of a row: `COLORS` times `MARKERS` of them are told apart.

    >>> look(0), look(7)
    (('#0072b2', 'o'), ('#0072b2', 's'))
    """
    return COLORS[index % len(COLORS)], MARKERS[index // len(COLORS) % len(MARKERS)]


def axis_title(title: str, *, higher_is_better: bool) -> str:
    """Above an axis on which up is better: with the arrow of tables, and where it falls upwards that it does.

    >>> axis_title("MSE-P", higher_is_better=False)
    'MSE-P ↓ (upside down: better is up)'
    """
    return f"{title} ↑ (better is up)" if higher_is_better else f"{title} ↓ (upside down: better is up)"
