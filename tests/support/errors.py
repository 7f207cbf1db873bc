"""Every error nsecast raises on purpose."""

from common import errors


def every_error(kind: type = errors.NsecastError) -> list[type]:
    return [kind, *(item for below in kind.__subclasses__() for item in every_error(below))]
