"""Flags for the defects and repairs of a row of the panel."""

from enum import IntFlag


class Flag(IntFlag):
    """Bit flags of one (symbol, date) row; 0: no defect."""

    STALE = 1
    """The row is a copy of the session before, and its true close is not known."""
    REPAIRED = 2
    """The row was a copy; its close is the next session's ``Previous``, known one session later."""
    REBUILT = 4
    """The session is missing from the archive; the close is the next session's ``Previous``."""
    NO_RANGE = 8
    """Low and high are missing."""
    BAD_RANGE = 16
    """The close lay outside low..high; low and high were blanked."""
    FAKE_VOLUME = 32
    """The volume repeats the day before and was blanked."""
    REDATED = 64
    """The date was mistyped and corrected from the rows around it."""
    ACTION = 128
    """A split, bonus or other change of the share itself: the step into this row is not a return."""
    LISTED = 256
    """The table of corporate actions lists an action that takes effect on this row: always an `ACTION`."""
    RETURN = 512
    """The table lists the step into this row as a real return: never an `ACTION`."""
