"""DVC in this process, after ``cilp.pipeline.quick_dvc`` has replaced some of it."""

import pytest


def plain_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the test, DVC's own is put back wherever ``quicken`` replaces it."""
    import dpath
    from dvc import dvcfile, output, rwlock
    from dvc.repo import reproduce
    from dvc.stage import Stage
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    replaced = {
        _yaml: ["parse_yaml"], strictyaml: ["parse_yaml"], dvcfile: ["modify_yaml"], rwlock: ["rwlock"],
        output: ["get_cloud_fs", "ocheck"], output.Output: ["_get_hash_meta"], dpath: ["get"],
        reproduce: ["collect_stages"], Stage: ["changed", "run", "checkout"],
    }  # fmt: skip
    for place, names in replaced.items():
        for name in names:
            monkeypatch.setattr(place, name, getattr(place, name))
