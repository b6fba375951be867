"""What a gateway's process asks of its system before it begins: all open files that it may have, and memory that stays."""

from __future__ import annotations

import ctypes
import resource
from typing import Final

import structlog

FILES_PER_CONTEXT: Final = 2
SPARE_FILES: Final = 64
_UNLIMITED: Final = 1_048_576

# glibc's <malloc.h>
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
BLOCKS: Final = 1_048_576
"""Octets: smaller blocks come from the heap. glibc learns this by itself after a while; until then it maps and unmaps memory for
every read of a connection, which costs more than encrypting it."""
SLACK: Final = 4 * BLOCKS
"""Octets at the end of the heap that are kept rather than given back at once."""

log = structlog.get_logger()


def raise_open_files(contexts: int) -> int:
    """The soft limit of open files goes up to the hard one, which is returned. A warning where that is too few for `contexts`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _UNLIMITED if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    needed = contexts * FILES_PER_CONTEXT + SPARE_FILES
    if wanted < needed:
        log.warning("too few open files for limits.contexts", allowed=wanted, needed=needed,
                    hint="raise the limit (LimitNOFILE= in a systemd unit), or lower limits.contexts")
    return wanted


def keep_memory() -> bool:
    """Tells glibc at once what it would learn; False where the C library is another one."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, BLOCKS) and mallopt(_M_TRIM_THRESHOLD, SLACK))
