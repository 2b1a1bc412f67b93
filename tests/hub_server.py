"""As much of the Hugging Face Hub as its real client needs to read and write a repository, on loopback."""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

CUT_AFTER = 5_000
TOKEN = "hf_canary0123456789abcdefghijklmnop"


class Repository:
    """Files of one commit after the other; the last is ``main``."""

    def __init__(self, files=None, private=False):
        self.commits, self.private = [], private
        self.commit(files or {})

    def commit(self, files):
        content = b"".join(name.encode() + data for name, data in sorted(files.items())) + b"%d" % len(self.commits)
        self.commits.append((hashlib.sha1(content).hexdigest(), dict(files)))

    def at(self, revision):
        """(sha, files) of a revision, or None."""
        return {"main": self.commits[-1], **{sha: (sha, files) for sha, files in self.commits}}.get(revision)


class HubServer(ThreadingHTTPServer):
    """``repositories`` by kind and name, such as ``("datasets", "user/name")``.

    ``cut`` is the end of the name of a file whose first download breaks off, ``refused`` of those not delivered,
    ``lost`` of one whose first upload fails; ``status`` is what it answers to everything when it is down.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories, self.requests = {}, []
        self.cut = self.refused = self.lost = self.status = None

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", length=None, **headers):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": length or len(body), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code, message="no"):
        self.answer(status, {"error": message}, X_Error_Code=code, X_Error_Message=message)

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length)
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if self.server.status:
            return self.answer(self.server.status)
        if token and token != TOKEN:
            return self.answer(401, {"error": "Invalid credentials in Authorization header"},
                               X_Error_Message="Invalid credentials in Authorization header")  # fmt: skip
        self.known = token == TOKEN
        if path == "/api/whoami-v2":
            return self.answer(200, {"name": "user", "type": "user", "auth": {"accessToken": {"role": "write"}}})
        if path == "/api/repos/create":
            return self.create()
        if path == "/api/validate-yaml":
            return self.answer(200, {"errors": [], "warnings": []})
        found = re.fullmatch(
            r"/api/(datasets|models)/([^/]+/[^/]+)/(revision|tree|preupload|commit|paths-info)/(.+)", path
        )
        if found:
            kind, name, action, revision = found.groups()
            return self.api(kind, name, action, revision.split("/")[0])
        found = re.fullmatch(r"(/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if found:
            return self.resolve("datasets" if found[1] else "models", found[2], found[3], found[4])
        self.refuse(404, "EntryNotFound", path)

    do_POST = do_HEAD = do_GET

    def create(self):
        if not self.known:
            return self.answer(401, {"error": "Unauthorized"})
        asked = json.loads(self.body)
        kind, name = asked.get("type", "model") + "s", f"{asked.get('organization') or 'user'}/{asked['name']}"
        if name.split("/")[0] != "user":
            return self.answer(403, {"error": "Forbidden"})
        if (kind, name) in self.server.repositories:
            return self.answer(409, {"error": "exists", "url": f"{self.server.address}/{kind}/{name}"})
        self.server.repositories[kind, name] = Repository(private=asked.get("private", False))
        self.answer(200, {"url": f"{self.server.address}/{kind}/{name}"})

    def repository(self, kind, name):
        repository = self.server.repositories.get((kind, name))
        if repository is None or (repository.private and not self.known):
            return self.refuse(404 if self.known else 401, "RepoNotFound")
        return repository

    def api(self, kind, name, action, revision):
        repository = self.repository(kind, name)
        if repository is None:
            return None
        at = repository.at(revision)
        if at is None:
            return self.refuse(404, "RevisionNotFound")
        sha, files = at
        entries = [{"type": "file", "path": path, "size": len(data), "oid": oid(data)} for path, data in files.items()]
        if action == "revision":
            siblings = [{"rfilename": path} for path in files]
            return self.answer(200, {"id": name, "sha": sha, "private": repository.private, "siblings": siblings})
        if action == "tree":
            return self.answer(200, entries)
        if not self.known:
            return self.answer(403, {"error": "Forbidden"})
        if action == "preupload":
            asked = json.loads(self.body)["files"]
            return self.answer(
                200,
                {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked]},
            )
        if action == "paths-info":
            return self.answer(200, [entry for entry in entries if entry["path"].encode() in self.body])
        files, operations = dict(files), [json.loads(line) for line in self.body.splitlines()]
        if self.server.lost and any(it["value"].get("path", "").endswith(self.server.lost) for it in operations):
            self.server.lost = None
            return self.answer(400, {"error": "Bad request"})
        for operation in operations:
            if operation["key"] == "file":
                files[operation["value"]["path"]] = base64.b64decode(operation["value"]["content"])
            elif operation["key"] == "deletedFile":
                del files[operation["value"]["path"]]
        repository.commit(files)
        address = f"{self.server.address}/{kind}/{name}/commit/{repository.commits[-1][0]}"
        return self.answer(200, {"success": True, "commitOid": repository.commits[-1][0], "commitUrl": address})

    def resolve(self, kind, name, revision, path):
        repository = self.repository(kind, name)
        if repository is None:
            return None
        at = repository.at(revision)
        if at is None or path not in at[1]:
            return self.refuse(404, "EntryNotFound" if at else "RevisionNotFound")
        data = at[1][path]
        headers = {"ETag": f'"{oid(data)}"', "X_Repo_Commit": at[0]}
        if self.server.refused and path.endswith(self.server.refused):
            return self.refuse(404, "EntryNotFound")
        if self.server.cut and path.endswith(self.server.cut) and self.command == "GET":
            self.server.cut, self.close_connection = None, True
            return self.answer(200, data[:CUT_AFTER], length=len(data), **headers)
        return self.answer(200, data, **headers)


def oid(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
