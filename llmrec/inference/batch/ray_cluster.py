"""The Ray cluster that a job runs on: the one that is there, or one of this machine's own.

A local cluster listens on the loopback interface only, asks whoever connects for a token, has no
dashboard and sends no usage statistics.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from llmrec.errors import ConfigError

_OBJECT_STORE = 256 << 20
_LOCAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # the name says Windows, but on Linux too it decides between loopback and all interfaces
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray makes its workers nice, and beside other work they would hardly start
    "RAY_worker_niceness": "0",
    "RAY_AUTH_MODE": "token",
}


@contextmanager
def ray_cluster(cpus: int, object_store_bytes: int = _OBJECT_STORE) -> Iterator[None]:
    """Connect to Ray while the block runs.

    A connection that this process has already is used and left alone. Otherwise the cluster that
    the environment variable ``RAY_ADDRESS`` names is connected to, and without one a local cluster
    is started and stopped again. Import Ray after this, not before: it reads its settings then.

    Args:
        cpus: Processors of a local cluster.
        object_store_bytes: Shared memory of a local cluster; more than that goes to disk.

    Raises:
        ConfigError: Ray is not installed, or the cluster cannot be reached.
    """
    address = os.environ.get("RAY_ADDRESS")
    if address is None:
        _set_local_environment()
    try:
        import ray
    except ImportError as error:
        raise ConfigError("Ray is not installed; pip install 'llmrec[ray]'.") from error
    if ray.is_initialized():
        yield
        return
    _start(address, cpus, object_store_bytes)
    try:
        yield
    finally:
        ray.shutdown()


def _set_local_environment() -> None:
    for name, value in _LOCAL.items():
        os.environ.setdefault(name, value)
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:
        # kept for the life of the process: Ray reads it once
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _start(address: str | None, cpus: int, object_store_bytes: int) -> None:
    import ray

    if address is None:
        ray.init(
            num_cpus=cpus,
            include_dashboard=False,
            object_store_memory=object_store_bytes,
            log_to_driver=False,
            logging_level="ERROR",
        )
        return
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"RAY_ADDRESS is {address!r}, and no Ray cluster answers there ({first}); start it, or "
            "unset the variable for one of this machine's own."
        ) from error
