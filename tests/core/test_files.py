"""Files are whole or not there, whoever else writes, and side notes never fail a stage."""

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from facedistill import cli
from facedistill.core.errors import InputError
from facedistill.core.files import atomic_path, read_json, unfinished, write_text
from facedistill.repro import verify

POSIX = pytest.mark.skipif(os.name == "nt", reason="links and modes of POSIX")


@pytest.fixture
def durations_file(tmp_path, monkeypatch):
    for module in (cli, verify):
        monkeypatch.setattr(module, "DURATION_NOTES", tmp_path / ".work" / "durations.jsonl")
    return cli.DURATION_NOTES


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with pytest.raises(KeyError), atomic_path(path) as temporary:
        temporary.write_text("half")
        assert unfinished == {temporary}
        raise KeyError
    assert not list(path.parent.iterdir()) and not unfinished
    write_text(path, "whole")
    assert [file.read_text() for file in path.parent.iterdir()] == ["whole"]


@POSIX
def test_what_lies_under_an_old_temporary_name_is_not_touched(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / ".a.txt.tmp").symlink_to(victim)
    write_text(tmp_path / "a.txt", "new")
    assert (victim.read_text(), (tmp_path / "a.txt").read_text()) == ("mine", "new")


@POSIX
def test_a_link_planted_under_the_new_name_is_not_followed(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    monkeypatch.setattr("secrets.token_hex", lambda n_bytes: "guessed")
    (tmp_path / ".guessed.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "a.txt", "new")
    assert victim.read_text() == "mine"
    assert (tmp_path / ".guessed.tmp").is_symlink()


def test_two_may_write_one_file_at_once(tmp_path):
    path, both = tmp_path / "a.txt", threading.Barrier(2)

    def write(text: str) -> None:
        with atomic_path(path) as temporary:
            temporary.write_text(text)
            both.wait(10)

    writers = [threading.Thread(target=write, args=(letter * 1000,)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_text() in ("a" * 1000, "b" * 1000)
    assert list(tmp_path.iterdir()) == [path]


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444, 0o6755])
def test_a_file_keeps_its_mode(tmp_path, mode):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(mode)
    with atomic_path(path) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600  # readable by nobody else in between
        temporary.write_text("new")
    assert stat.S_IMODE(path.stat().st_mode) == mode & 0o777  # new content is not run in somebody else's name


def test_a_folder_that_cannot_be_brought_to_the_disk_fails_nothing(tmp_path, monkeypatch):
    def refused(folder):
        raise PermissionError(folder)

    monkeypatch.setattr("facedistill.core.files._sync_folder", refused)
    write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x"


@POSIX
def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path):
    script = "import os, sys; from pathlib import Path; from facedistill.core.files import write_text\n"
    script += "os.umask(0o027); write_text(Path(sys.argv[1]), 'x')"
    subprocess.run([sys.executable, "-c", script, tmp_path / "a"], check=True)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@POSIX
def test_what_is_no_file_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(InputError, match=f"{name}: is no regular file; expected "):
            write_text(tmp_path / name, "x")
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_file_and_its_name_are_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(stat.S_ISDIR(os.fstat(handle).st_mode)))
    write_text(tmp_path / "a", "x")
    assert synced == ([False] if os.name == "nt" else [False, True])


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "9" * 5000, "\0", "\ud800"])
def test_what_is_no_json_is_one_line(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(InputError, match="a.json: cannot be read as JSON") as error:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("found", ["{", "[]\n", "\0\xff", '{"name": 1, "seconds": 2.0}\n', "[" * 100_000 + "\n", '"x"\n'])
def test_notes_of_durations_are_made_beside_whatever_is_there(durations_file, found):
    durations_file.parent.mkdir()
    durations_file.write_text(found)
    cli.record_duration("teach", 3.21)
    cli.record_duration("label", 1.0)
    cli.record_duration("label", 2.0)
    assert verify.durations() == {"teach": 3.2, "label": 2.0}


@pytest.mark.parametrize("make", [Path.mkdir, pytest.param(os.mkfifo, marks=POSIX)])
def test_a_note_that_cannot_be_written_is_told_and_fails_nothing(durations_file, caplog, make):
    durations_file.parent.mkdir()
    make(durations_file)
    cli.record_duration("teach", 1.0)
    assert "cannot note how long teach took" in caplog.text
    assert verify.durations() == {}


NOTES = """
import sys
from pathlib import Path
from facedistill import cli
cli.DURATION_NOTES = Path(sys.argv[1])
for number in range(200):
    cli.record_duration(f"{sys.argv[2]}-{number}", number)
"""


def test_no_note_of_several_processes_is_lost(durations_file):
    writers = [subprocess.Popen([sys.executable, "-c", NOTES, durations_file, name]) for name in "abcd"]
    assert [writer.wait() for writer in writers] == [0] * 4
    assert verify.durations() == {f"{name}-{number}": float(number) for name in "abcd" for number in range(200)}
    assert all(json.loads(line) for line in durations_file.read_text().splitlines()[1:])
