"""The run folder: made whole or not at all, logs that survive tears, checkpoints that load with weights only."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from qnewton_gpu.errors import RunFolderError
from qnewton_gpu.runfolder import CHECKPOINT, CONFIG, STEPS, RunFolder, default_path, to_json, write_atomically


def test_a_new_folder_holds_its_config_and_nothing_else(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "a" / "run", {"seed": 3})
    assert [p.name for p in folder.path.iterdir()] == [CONFIG] and folder.config == {"seed": 3}
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["run"]


def test_an_empty_folder_is_used_and_a_full_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    RunFolder.create(tmp_path / "run", {})
    with pytest.raises(RunFolderError, match=r"exists already.*another folder.*--resume"):
        RunFolder.create(tmp_path / "run", {})
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunFolderError, match="out"):
        RunFolder.create(tmp_path / "file", {})
    with pytest.raises(RunFolderError, match="cannot be made"):
        RunFolder.create(tmp_path / "file" / "run", {})


def test_opening_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=CONFIG):
        RunFolder.open(tmp_path)
    (tmp_path / CONFIG).write_text("{torn")
    with pytest.raises(RunFolderError, match="cannot be read"):
        _ = RunFolder.open(tmp_path).config


def test_the_comparison_of_a_run_keeps_its_meaning(tmp_path: Path) -> None:
    """Before runs had a schedule, `paper` was the name of what is `ideal` now."""
    before = RunFolder.create(tmp_path / "before", {"comparison": "paper"})
    now = {"comparison": "paper", "schedule": "makespan"}
    assert before.config == {"comparison": "ideal"} and RunFolder.create(tmp_path / "now", now).config == now


def test_logged_lines_come_back_up_to_the_first_torn_one(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {})
    assert folder.steps() == []
    for step in range(3):
        folder.append({"step": step, "kappa": math.inf, "nested": [{"p": math.nan}]})
    with (folder.path / STEPS).open("a") as file:
        file.write('{"step": 3, "lo')
    assert folder.steps() == [{"step": s, "kappa": None, "nested": [{"p": None}]} for s in range(3)]
    folder.keep_steps_before(2)
    text = (folder.path / STEPS).read_text()
    assert [json.loads(line)["step"] for line in text.splitlines()] == [0, 1] and text.endswith("\n")


def test_json_has_no_infinities() -> None:
    assert to_json({"a": (1.0, -math.inf), "b": 2}) == '{"a": [1.0, null], "b": 2}'


def test_checkpoints_load_with_weights_only_and_damage_is_named(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {})
    assert folder.load_checkpoint() is None
    folder.save_checkpoint({"step": 2, "network": {"w": torch.arange(3.0)}})
    state = torch.load(folder.path / CHECKPOINT, weights_only=True)
    assert state["step"] == 2 and torch.equal(state["network"]["w"], torch.arange(3.0))
    (folder.path / CHECKPOINT).write_bytes(b"no checkpoint")
    with pytest.raises(RunFolderError, match="damaged"):
        folder.load_checkpoint()


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file"
    write_atomically(target, b"old")

    def full_disk(*_: object) -> None:
        raise OSError("no space")

    monkeypatch.setattr("qnewton_gpu.runfolder.os.fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_atomically(target, b"new")
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


def test_two_processes_cannot_train_in_one_folder(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {})
    with folder.locked(), pytest.raises(RunFolderError, match="another process"), RunFolder(folder.path).locked():
        pass
    with folder.locked():
        pass


def test_default_folders_do_not_collide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = default_path("digits")
    first.mkdir(parents=True)
    assert default_path("digits") != first


@pytest.mark.parametrize("foreign", ["[1, 2]", "3", "null", '{"loss": 1.0}', '{"step": "two"}'])
def test_foreign_log_lines_end_the_log(foreign: str, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {})
    folder.append({"step": 0})
    with (folder.path / STEPS).open("a") as file:
        file.write(foreign + "\n")
    folder.append({"step": 1})
    assert folder.steps() == [{"step": 0}]


def test_a_folder_in_which_creation_was_killed_is_used_again(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f".{CONFIG}.abc").write_text("{")
    folder = RunFolder.create(tmp_path / "run", {"seed": 1})
    assert [p.name for p in folder.path.iterdir()] == [CONFIG]


def test_the_current_folder_and_links_can_hold_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert RunFolder.create(tmp_path / "link", {"a": 1}).config == {"a": 1}
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert RunFolder.create(Path("."), {"a": 2}).config == {"a": 2}
