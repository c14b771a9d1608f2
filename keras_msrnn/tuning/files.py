"""Files of a search that survive a killed process: written whole, and locked."""

import contextlib
import json
import os
import time


def write_json(path, state):
    """Writes a file that is old or new, never half, whenever the process is killed."""
    new = f"{path}.new"
    with open(new, "w", encoding="utf-8") as file:
        json.dump(state, file)
    os.replace(new, path)


@contextlib.contextmanager
def lock(path):
    """Holds a lock that ends with the process, however it ends."""
    with open(path, "a", encoding="utf-8") as file:
        for _ in range(10):  # the chief may be looking at it
            if _try_lock(file):
                break
            time.sleep(0.1)
        else:
            raise RuntimeError(
                f"Another process is at work in the folder {path.parent} (as {path.stem}). Wait "
                "for it, or take another folder; the workers of a search need different "
                "KERASTUNER_TUNER_IDs."
            )
        yield


def is_locked(path):
    with open(path, "a", encoding="utf-8") as file:
        return not _try_lock(file)


def _try_lock(file):
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
