"""Secrets that a user may have in the environment, made up, and where they turn up."""

import base64
import gzip
import hashlib
import io
import zipfile


def _drawn(name):
    """40 hexadecimal digits that stand nowhere in the repository."""
    return hashlib.sha1(f"canary {name}".encode()).hexdigest()


SECRETS = {
    "WANDB_API_KEY": _drawn("wandb"),
    "HF_TOKEN": f"hf_{_drawn('hub')[:34]}",
    "KAGGLE_USERNAME": f"user{_drawn('user')[:12]}",
    "KAGGLE_KEY": _drawn("kaggle")[:32],
    "KAGGLE_API_TOKEN": f"KGAT_{_drawn('token')[:32]}",
    "AWS_SECRET_ACCESS_KEY": f"{_drawn('aws')[:20]}/{_drawn('aws')[20:]}",
    "HTTPS_PROXY": _drawn("proxy")[:16],
}
"""What of each variable nobody else may know."""
VARIABLES = {**SECRETS, "HTTPS_PROXY": f"http://proxyuser:{SECRETS['HTTPS_PROXY']}@127.0.0.1:9"}
"""What to put into the environment; nobody listens at that proxy, so that nothing leaves the machine either."""


def base64_forms(secret):
    """What is the same in base64 whatever stands before and after the secret, for each place that it can begin at."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + secret)
        yield encoded[4 if before else 0 : -4]


FORMS = {form: name for name, secret in SECRETS.items() for form in (secret.encode(), *base64_forms(secret.encode()))}


def contents(data):
    """``data``, and what is in it if it is an archive, such as a checkpoint, or compressed."""
    yield data
    if data.startswith(b"PK\3\4") and zipfile.is_zipfile(io.BytesIO(data)):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                yield from contents(archive.read(member))
    elif data.startswith(b"\x1f\x8b"):
        yield from contents(gzip.decompress(data))


def leaks(data):
    """Names of the variables whose secret stands in ``data``, as it is or in base64."""
    return {name for part in contents(data) for form, name in FORMS.items() if form in part}


def leaks_below(folder):
    """Files below ``folder`` that hold a secret, or have it in their name, each with the names of the variables."""
    found, seen = {}, set()
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        digest = hashlib.sha256(data).digest()
        names = leaks(path.name.encode()) | (set() if digest in seen else leaks(data))
        seen.add(digest)
        if names:
            found[str(path.relative_to(folder))] = sorted(names)
    return found
