import pytest

from cilp import atomic


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    atomic.write_text(path, "first")
    with atomic.replacing(path) as file:
        file.write("second")
        file.flush()
        assert path.read_text() == "first"
    assert path.read_text() == "second"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize("failure", [OSError("No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(tmp_path, failure):
    path = tmp_path / "file.bin"
    path.write_bytes(b"first")
    with pytest.raises(type(failure)), atomic.replacing(path, "wb") as file:
        file.write(b"sec")
        raise failure
    assert path.read_bytes() == b"first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"]
