import warnings
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.errors import CommError

from rlvr.sinks.wandb import Wandb, logged_in

KEYS = ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "NETRC")


@pytest.fixture(autouse=True)
def nobody_logged_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


class FakeRun:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.logged: list[tuple[dict[str, float], int]] = []
        self.finished = False

    def log(self, metrics: dict[str, float], step: int) -> None:
        if self.error:
            raise self.error
        self.logged.append((metrics, step))

    def finish(self) -> None:
        self.finished = True


class FakeService:
    """Stands for ``wandb.init``: remembers what it is asked, fails online if told to."""

    def __init__(self, run: FakeRun, down: bool = False) -> None:
        self.run, self.down = run, down
        self.asked: list[dict[str, Any]] = []

    def __call__(self, **asked: Any) -> FakeRun:
        self.asked.append(asked)
        if self.down and asked["settings"].mode == "online":
            raise CommError("no such host")
        return self.run


def test_nobody_logged_in_means_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    service = FakeService(FakeRun())
    monkeypatch.setattr(wandb, "init", service)
    sink = Wandb(run_dir=str(tmp_path / "run"), run_name="x")
    sink.log(3, {"a": 1.0})
    sink.close()
    assert [asked["settings"].mode for asked in service.asked] == ["offline"]
    assert service.run.logged == [({"a": 1.0}, 3)]
    assert service.run.finished


def test_a_key_in_the_environment_or_in_netrc_is_a_login(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    assert not logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password 0123\n")
    assert logged_in()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert not logged_in()
    monkeypatch.delenv("WANDB_MODE")
    (tmp_path / "netrc").write_text("")
    monkeypatch.setenv("WANDB_API_KEY", "0123")
    assert logged_in()


def test_a_service_that_is_down_is_said_and_the_run_is_logged_offline(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    service = FakeService(FakeRun(), down=True)
    monkeypatch.setattr(wandb, "init", service)
    with pytest.warns(UserWarning, match="no such host"):
        sink = Wandb(run_dir=str(tmp_path / "run"), mode="online")
    sink.log(1, {"a": 1.0})
    assert service.run.logged == [({"a": 1.0}, 1)]
    online, offline = service.asked
    assert online["id"] != offline["id"]


def test_trouble_in_the_middle_is_said_once_and_ends_no_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(wandb, "init", FakeService(FakeRun(error=CommError("broken pipe"))))
    sink = Wandb(run_dir=str(tmp_path / "run"))
    with pytest.warns(UserWarning, match="logging step 1: CommError: broken pipe"):
        sink.log(1, {"a": 1.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sink.log(2, {"a": 1.0})
        sink.close()


def test_the_same_folder_is_the_same_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    service = FakeService(FakeRun())
    monkeypatch.setattr(wandb, "init", service)
    for _ in range(2):
        Wandb(run_dir=str(tmp_path / "run"), mode="online").close()
    Wandb(run_dir=str(tmp_path / "other"), mode="online").close()
    ids = [asked["id"] for asked in service.asked]
    assert ids[0] == ids[1] != ids[2]
    assert all(asked["resume"] == "allow" for asked in service.asked)


def test_an_unknown_mode_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="mode='on'"):
        Wandb(run_dir=str(tmp_path), mode="on")


@pytest.mark.slow
def test_an_offline_run_is_written_to_the_run_folder(tmp_path: Path):
    sink = Wandb(run_dir=str(tmp_path / "run"), run_name="x")
    sink.log(1, {"a": 1.0})
    sink.close()
    assert len(list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))) == 1
