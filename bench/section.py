"""Write one generated section of a Markdown page and leave the rest of the page alone."""

from pathlib import Path

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def put(page: Path, body: str) -> None:
    """Write the section into the page; a missing page is created."""
    text = page.read_bytes().decode() if page.exists() else ""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_bytes(replaced(text, body).encode())


def replaced(text: str, body: str) -> str:
    """The text with ``body`` between its markers, at its end if it has none.

    Raises
    ------
    ValueError
        If the markers are not one of each, in order, or ``body`` has one itself.
    """
    if BEGIN in body or END in body:
        raise ValueError("the section itself holds a marker")
    section = f"{BEGIN}\n{body.strip()}\n{END}"
    marks = text.count(BEGIN), text.count(END)
    if marks == (0, 0):
        gap = "" if not text or text.endswith("\n\n") else "\n" if text.endswith("\n") else "\n\n"
        return f"{text}{gap}{section}\n"
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if marks != (1, 1) or not begun or not ended:
        raise ValueError(f"markers: {marks[0]} of {BEGIN}, {marks[1]} of {END}; need one of each, in order")
    return f"{before}{section}{after}"
