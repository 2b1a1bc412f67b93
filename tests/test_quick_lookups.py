"""What the quick DVC looks up once in params, configuration, cache and pipeline is what DVC would find each time."""

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from clone import ROOT, run

from cilp.pipeline.quick_checks import KNOWN, checking, collecting, looking_up, resolving


def paths(values, prefix=""):
    """Of all that params hold, dotted."""
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{key}.")


def test_params_are_looked_up_as_dpath_does():
    import dpath

    get = looking_up(dpath.get)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for path in paths(params):
        assert get(params, path, separator=".") is dpath.get(params, path, separator=".")
    assert get(params, "seeds.0", separator=".") == params["seeds"][0]
    assert get(params, "cilp.ste?s", separator=".") == params["cilp"]["steps"]
    for path in ("cilp.none", "none", "cilp.steps.none"):
        with pytest.raises(KeyError):
            get(params, path, separator=".")
        assert get(params, path, separator=".", default=7) == 7


def test_where_a_path_lies_is_what_dvc_says(tmp_path):
    from dvc.fs import get_cloud_fs

    plain = Counter()

    def counted(config, **options):
        plain[options.get("url")] += 1
        return get_cloud_fs(config, **options)

    resolve = resolving(counted)
    for config in ({}, {"core": {"checksum_jobs": 3}}):
        for url in ("a", "b/c", str(tmp_path), "/d", "s3://bucket/e", "remote name/f"):
            for _ in range(2):
                assert resolve(config, url=url) == get_cloud_fs(config, url=url)
        resolve(config, url="a")[1]["changed"] = True
        assert resolve(config, url="a") == get_cloud_fs(config, url="a")
    assert resolve(config, url="a", version_aware=True) == get_cloud_fs(config, url="a", version_aware=True)
    assert plain == {"a": 3, "s3://bucket/e": 4}


@pytest.fixture
def cached(tmp_path):
    """DVC's cache with a folder of three files in it."""
    from dvc.fs import LocalFileSystem
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db.local import LocalHashFileDB
    from dvc_data.hashfile.transfer import transfer

    for name in "abc":
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text(name)
    files = LocalFileSystem()
    cache = LocalHashFileDB(files, str(tmp_path / "cache"))
    staging, _, found = build(cache, str(tmp_path / "data"), files, "md5")
    transfer(staging, cache, {found.hash_info}, shallow=False)
    return cache, found


def unprotected(path):
    path.chmod(0o644)


def damaged(path):
    path.chmod(0o644)
    path.write_text("other")


@pytest.mark.parametrize("which", ["file", "folder"])
@pytest.mark.parametrize("change", [None, unprotected, damaged, Path.unlink])
def test_a_cache_is_checked_as_dvc_checks_it(cached, change, which):
    from dvc_data.hashfile import check

    cache, found = cached
    oid = found.oid if which == "folder" else next(iter(found))[2].value
    path, before = Path(cache.oid_to_path(oid)), Path(cache.oid_to_path(oid)).read_bytes()
    said = []
    for look in (check, checking(check)):
        if change:
            change(path)
        try:
            look(cache, found)
        except Exception as error:
            said.append((type(error), str(error)))
        else:
            said.append(oct(path.stat().st_mode))
        path.unlink(missing_ok=True)
        path.write_bytes(before)
        path.chmod(0o444)
    assert said[0] == said[1]
    assert (change in (damaged, Path.unlink)) == isinstance(said[0], tuple)


def test_one_file_of_a_cache_is_left_to_dvc(cached):
    from dvc_data.hashfile import load

    cache, found = cached
    asked = []
    look = checking(lambda *arguments, **options: asked.append(options))
    look(cache, load(cache, next(iter(found))[2]))
    look(cache, found, check_hash=False)
    look("another", found)
    assert asked == [{}, {"check_hash": False}, {}]


@pytest.fixture
def pipeline(tmp_path):
    """A DVC repository of two stages, with another pipeline in a folder of it."""
    run(tmp_path, "git", "init", "--quiet")
    run(tmp_path, "dvc", "init", "--quiet")
    (tmp_path / "raw").mkdir()
    for name in "ab":
        (tmp_path / "raw" / name).write_text(name)
    stages = {
        "join": {"cmd": "mkdir -p all && cat raw/* > all/text", "deps": ["raw"], "outs": ["all"]},
        "count": {"cmd": "wc -c < all/text > count", "deps": ["all"], "outs": ["count"]},
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/dvc.yaml").write_text(yaml.safe_dump({"stages": {"inner": {"cmd": "true"}}}))
    return tmp_path


@pytest.mark.parametrize(
    "folder, targets",
    [
        ("", ["dvc.yaml"]),
        ("", ["count"]),
        ("", ["dvc.yaml", "join"]),
        ("", ["inner/dvc.yaml"]),
        ("inner", ["dvc.yaml"]),
    ],
)
def test_the_stages_collected_are_those_of_dvc(pipeline, monkeypatch, folder, targets):
    from dvc.repo import Repo
    from dvc.repo.reproduce import collect_stages

    monkeypatch.chdir(pipeline / folder)
    with Repo() as repo:
        plain, quick = (collect(repo, targets) for collect in (collect_stages, collecting(collect_stages)))
        assert quick == plain and [stage.addressing for stage in quick] == [stage.addressing for stage in plain] != []


def test_a_pipeline_that_is_missing_or_broken_is_refused_in_dvcs_words(pipeline, monkeypatch):
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.reproduce import collect_stages

    monkeypatch.chdir(pipeline)
    for change in (lambda path: path.write_text("stages: ["), lambda path: path.unlink()):
        change(pipeline / "dvc.yaml")
        said = []
        for collect in (collect_stages, collecting(collect_stages)):
            with Repo() as repo, pytest.raises(DvcException) as caught:
                collect(repo, ["dvc.yaml"])
            said.append((type(caught.value), str(caught.value)))
        assert said[0] == said[1]


def test_a_study_runs_again_what_a_change_affects_and_nothing_else(pipeline, quick_dvc):
    """With what an earlier command left behind."""
    assert run(pipeline, "dvc", "repro").count("Running stage") == 2
    assert "up to date" in run(pipeline, "dvc", "repro") and "up to date" in run(pipeline, "dvc", "repro")
    assert json.loads((pipeline / ".dvc/tmp" / KNOWN).read_text()).keys() >= {f"md5:{pipeline}/raw"}
    (pipeline / "raw/b").write_text("c")
    assert "Running stage 'join'" in (done := run(pipeline, "dvc", "repro")) and "Running stage 'count'" in done
    assert (pipeline / "all/text").read_text() == "ac"
    (pipeline / "raw/d").touch()
    assert "Running stage 'join'" in (done := run(pipeline, "dvc", "repro")) and "'count' didn't change" in done
    assert run(pipeline, "python", "-m", "dvc", "status", "dvc.yaml").strip() == "Data and pipelines are up to date."
