"""An object store that fails on request, and releases published in it."""

import shutil

from common import storage

FILES = {
    "general/model.onnx": b"weights" * 50,
    "specific/SCOM/model.onnx": b"more weights" * 50,
    "config.toml": b"seed = 7\n",
}


class Shaky(storage.ObjectStore):
    """Can fail for good after a number of writes, or call a function before a write."""

    left = float("inf")
    before_a_condition = staticmethod(lambda: None)

    def __init__(self, url, store):
        super().__init__(url, store)
        self.written = []

    def put(self, key, content):
        self._count(key)
        return super().put(key, content)

    def put_if(self, key, content, before):
        meanwhile, self.before_a_condition = self.before_a_condition, lambda: None
        meanwhile()
        if not key.endswith(".lock"):
            self._count(key)
        return super().put_if(key, content, before)

    def read(self, key):
        self._need(key)
        return super().read(key)

    def download(self, key, target, *, unless=None):
        self._need(key)
        return super().download(key, target, unless=unless)

    def _need(self, key):
        if self.left <= 0:
            raise storage.StorageError(f"{key}: cut off")

    def _count(self, key):
        self._need(key)
        self.left -= 1
        self.written.append(key)


def store_of(registry):
    return storage.mirror_of(registry.folder).store


def publish(registry, release_id, files=FILES, **info):
    staging = registry.stage(release_id)
    for name, content in files.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_bytes(content)
    try:
        return registry.publish(staging, release_id, info=info)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
