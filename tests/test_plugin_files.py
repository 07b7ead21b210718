"""Parts from files that are on no path, here and in processes that have never heard of them."""

import pickle
import subprocess
import sys

import pytest

from rlvr import plugin, plugin_files

CODE = """
from dataclasses import dataclass

@dataclass(frozen=True, slots=True, kw_only=True)
class Sigmoid:
    steepness: float = 2.0

    def __call__(self, x):
        return FACTOR * self.steepness * x

class Refused(ValueError):
    pass

FACTOR = 10
"""


def write(path, code=CODE):
    path.parent.mkdir(exist_ok=True)
    path.write_text(code)
    return path


def test_what_is_built_from_a_file_travels_to_a_process_that_lacks_the_file(tmp_path):
    path = write(tmp_path / "mine.py")
    made = plugin.build({"_target_": f"{path}:Sigmoid", "steepness": 3.0})
    sent = pickle.dumps((plugin_files.sources(), pickle.dumps(made)))
    path.unlink()
    code = """
import dataclasses, pickle, sys
from rlvr import plugin_files
sources, sent = pickle.load(sys.stdin.buffer)
plugin_files.serve(sources)
assert not any(name in sys.modules for name in sources)
got = pickle.loads(sent)
again = pickle.loads(pickle.dumps(dataclasses.replace(got, steepness=4.0)))
print(got(2.0), again(2.0), type(got) is type(again))
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], input=sent, capture_output=True, timeout=60, check=False
    )
    assert ran.stdout.split() == [b"60.0", b"80.0", b"True"], ran.stderr.decode()


def test_parts_of_one_file_are_of_one_module(tmp_path):
    target = f"{write(tmp_path / 'mine.py')}:Sigmoid"
    first, second = plugin.build({"_target_": target}), plugin.build({"_target_": target})
    assert type(first) is type(second)
    assert pickle.loads(pickle.dumps((first, second))) == (first, second)


def test_files_of_the_same_name_are_different_modules(tmp_path):
    ours = plugin.locate(f"{write(tmp_path / 'a' / 'mine.py')}:Sigmoid")
    theirs = plugin.locate(f"{write(tmp_path / 'b' / 'mine.py')}:Sigmoid")
    assert ours is not theirs
    assert [type(pickle.loads(pickle.dumps(made()))) for made in (ours, theirs)] == [ours, theirs]


def test_a_files_name_need_not_be_one_of_a_module(tmp_path):
    assert plugin.build({"_target_": f"{write(tmp_path / 'my-2.loss.py')}:Sigmoid"})(1) == 20


def test_a_file_that_was_mended_is_imported_again(tmp_path):
    path = write(tmp_path / "mine.py", CODE + "1 / 0\n")
    with pytest.raises(plugin.PluginError, match=r"ZeroDivisionError: .*mine\.py:15\)"):
        plugin.locate(f"{path}:Sigmoid")
    assert not any(source.path == str(path) for source in plugin_files.sources().values())
    write(path)
    assert plugin.build({"_target_": f"{path}:Sigmoid"})(1) == 20


def test_an_error_of_its_own_comes_back_as_it_is(tmp_path):
    refused = plugin.locate(f"{write(tmp_path / 'mine.py')}:Refused")
    with pytest.raises(refused, match="too steep"):
        raise pickle.loads(pickle.dumps(refused("too steep")))
