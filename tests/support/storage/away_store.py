"""An object store that can be away."""

from pathlib import Path

from common import storage


class Away(storage.ObjectStore):
    """Can be out of reach."""

    away = False

    def head(self, key):
        return self._here(super().head, key)

    def read(self, key):
        return self._here(super().read, key)

    def put(self, key, content):
        return self._here(super().put, key, content)

    def download(self, key, target, *, unless=None):
        return self._here(super().download, key, target, unless=unless)

    def below(self, prefix):
        return self._here(super().below, prefix)

    def _here(self, call, *given, **named):
        if self.away:
            raise storage.StorageError(f"{given[0]}: out of reach")
        return call(*given, **named)


def store_of(home: Path) -> Away:
    return storage.mirror_of(home).store
