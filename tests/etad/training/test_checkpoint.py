from pathlib import Path

import pytest
import torch

from examples.etad.training.checkpoint import load_checkpoint, save_checkpoint

CONTENT = {"model": {"weight": torch.ones(3)}, "config": {"a": 1}, "classes": ["x"]}


def test_checkpoint_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "checkpoint.pt"
    save_checkpoint(path, CONTENT)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["model"]["weight"], torch.ones(3))
    assert loaded["classes"] == ["x"]


def test_interrupted_save_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, CONTENT)

    def half(content: object, file: object) -> None:
        file.write(b"half a file")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(path, CONTENT)
    assert load_checkpoint(path)["config"] == {"a": 1}


def test_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none.pt: no such file. Train first"):
        load_checkpoint(tmp_path / "none.pt")


def test_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "damaged.pt"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=r"damaged.pt: cannot be read"):
        load_checkpoint(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return eval, ("1 / 0",)

    path = tmp_path / "harmful.pt"
    torch.save({"model": Harmful()}, path)
    with pytest.raises(ValueError, match=r"harmful.pt: cannot be read"):
        load_checkpoint(path)


def test_other_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match=r"expected one written by train\.py"):
        load_checkpoint(path)
