"""The folder of a run: one holder, a log that survives a torn line, states that are whole or refused."""

import json

import pytest
import torch

from circuits.errors import InputError
from circuits.training.run_folder import RunFolder, read_log

ROW = {"kind": "train", "step": 1, "games": 8}


def test_the_log_comes_back_without_a_torn_line(tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        for step in (1, 2, 3):
            folder.log(ROW | {"step": step})
        with open(folder.log_path, "a") as file:
            file.write('{"kind": "train", "st')
        assert [r["step"] for r in folder.read_log()] == [1, 2, 3]
        folder.cut_log(2)
        assert folder.log_path.read_text() == "".join(json.dumps(ROW | {"step": s}) + "\n" for s in (1, 2))


@pytest.mark.parametrize("line", ["nonsense", "[1, 2]", '["kind", "step", "games"]', '{"kind": "train"}', "3"])
def test_a_damaged_log_is_refused_by_line(tmp_path, line):
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(ROW) + "\n" + line + "\n" + json.dumps(ROW) + "\n")
    with pytest.raises(InputError, match=r"log.jsonl, line 2: no line of a training log"):
        read_log(path)


def test_states_come_back_bit_for_bit(tmp_path):
    tensors = {"w.a": torch.randn(3, 4), "o.0.1.step": torch.tensor(7.0), "o.0.1.m": torch.randn(2).bfloat16()}
    with RunFolder(tmp_path / "run") as folder:
        folder.save_state(tensors, {"step": 3, "seconds": 0.1})
        back, counters = folder.load_state()
    assert counters == {"step": 3, "seconds": 0.1}
    assert set(back) == set(tensors) and all(torch.equal(back[k], tensors[k]) for k in tensors)


def test_a_damaged_state_is_refused(tmp_path):
    with RunFolder(tmp_path / "run") as folder:
        with pytest.raises(InputError, match="no state to go on from"):
            folder.load_state()
        folder.save_state({"w.a": torch.zeros(100)}, {})
        folder.state_path.write_bytes(folder.state_path.read_bytes()[:-50])
        with pytest.raises(InputError, match=r"state.safetensors is damaged"):
            folder.load_state()


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"config": 3}', "{"])
def test_a_damaged_description_is_refused(tmp_path, content):
    folder = RunFolder(tmp_path)
    folder.config_path.write_text(content)
    with pytest.raises(InputError, match=r"run.json is damaged"):
        folder.read_config()


def test_a_folder_has_one_holder_at_a_time(tmp_path):
    with RunFolder(tmp_path / "run"), pytest.raises(InputError, match="in use by another run"):
        RunFolder(tmp_path / "run").open()
    with RunFolder(tmp_path / "run"):  # free again
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write to"):
        RunFolder(tmp_path / "file").open()
