"""What is known to be wrong with, or was mended in, one row of the panel."""

from enum import IntFlag


class Flag(IntFlag):
    """Bit flags of one (symbol, date) row; 0 means nothing to report."""

    STALE = 1
    """The day is a copy of the day before and its close was never found: the close is not known."""
    REPAIRED = 2
    """The day was a copy; its close is the next session's ``Previous``, known one session later."""
    REBUILT = 4
    """The day is missing from the archive; its close is the next session's ``Previous``."""
    NO_RANGE = 8
    """Low and high are missing."""
    BAD_RANGE = 16
    """The close lay outside low..high; low and high were blanked."""
    FAKE_VOLUME = 32
    """The volume repeats the day before and was blanked."""
    REDATED = 64
    """The date was mistyped and set from the rows around it."""
    ACTION = 128
    """A split, bonus or other change of the share itself: the return into this day is not a return."""
    LISTED = 256
    """The table of corporate actions lists one that takes effect on this row: always an `ACTION`."""
    RETURN = 512
    """The table says that the step into this row is a real return, whatever its size: never an `ACTION`."""
