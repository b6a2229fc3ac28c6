"""A private PostgreSQL cluster for tests: made in a temporary folder, reached by a Unix socket, gone afterwards.

PostgreSQL refuses to run as root, so root starts it as the user ``postgres`` or ``nobody``.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import create_engine


def missing() -> str | None:
    """Return what is missing for a cluster and how to get it; None where everything is here."""
    if binaries() is None:
        return "PostgreSQL's server binaries are not here: apt-get install postgresql, or set MARS_POSTGRES_BIN"
    if find_spec("psycopg") is None:
        return "the driver is not here: pip install 'mars-runtime[postgres]'"
    return None


def binaries() -> Path | None:
    """Return the folder with ``initdb`` and ``pg_ctl``; None where PostgreSQL is not installed."""
    named = os.environ.get("MARS_POSTGRES_BIN")
    folders = [Path(named)] if named else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    on_path = shutil.which("pg_ctl")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


@contextmanager
def cluster() -> Iterator[str]:
    """Run a cluster; yield the URL of its database ``postgres``."""
    folder = binaries()
    assert folder is not None
    user = _somebody() if os.geteuid() == 0 else None
    home = Path(tempfile.mkdtemp(prefix="mars-pg-"))
    try:
        if user is not None:
            os.chown(home, user.pw_uid, user.pw_gid)
        data = home / "data"
        _run(user, home, folder / "initdb", "-D", data, "-U", "mars", "-A", "trust", "-E", "UTF8", "--no-sync")
        settings = f"-F -k {home} -c listen_addresses= -c max_connections=60"
        log = home / "log"
        _run(user, home, folder / "pg_ctl", "-D", data, "-w", "-s", "-l", log, "-o", settings, "start")
        try:
            yield f"postgresql+psycopg://mars@/postgres?host={home}"
        finally:
            _run(user, home, folder / "pg_ctl", "-D", data, "-w", "-s", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def database(server: str, name: str) -> Iterator[str]:
    """Make an empty database on a server; yield its URL; drop it afterwards."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(f'CREATE DATABASE "{name}"')
        yield server.replace("/postgres?", f"/{name}?")
        with engine.connect() as connection:
            connection.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')
    finally:
        engine.dispose()


def _somebody() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise AssertionError("root needs a user postgres or nobody to run PostgreSQL as")


def _run(user: pwd.struct_passwd | None, home: Path, *command: object) -> None:
    subprocess.run(
        [str(part) for part in command],
        check=True,
        cwd=home,
        user=None if user is None else user.pw_uid,
        group=None if user is None else user.pw_gid,
        extra_groups=None if user is None else [],
        stdout=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": str(home)},
    )
