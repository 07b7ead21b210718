from rlvr import report


def test_what_failed_many_calls_alike_is_told_once_and_the_traceback_is_kept(tmp_path):
    same = [RuntimeError("rollout-0 died"), RuntimeError("rollout-0 died")]
    group = ExceptionGroup("calls", [ExceptionGroup("engines", same), ValueError("other")])
    told = report.failure(group, str(tmp_path))
    assert told.count("RuntimeError: rollout-0 died") == 1
    assert told.count("ValueError: other") == 1
    assert "rollout-0 died" in (tmp_path / "error.txt").read_text()
