import json
import multiprocessing
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from rlvr.rewards.code import Code, program
from rlvr.rewards.sandbox.box import Sandbox, SandboxError
from rlvr.rewards.sandbox.jobs import Run
from rlvr.rewards.serving.jail import jailed
from rlvr.rewards.unit_tests import layouts
from rlvr.rewards.unit_tests.assertions import Source, UnreadableTests, Value, from_source
from rlvr.rewards.unit_tests.findings import Finding, finding, job_of
from rlvr.rewards.unit_tests.layouts import CallResult, InputOutput
from rlvr.rewards.unit_tests.outputs import same_output, same_value
from rlvr.types import Outcome, Problem

# One for many tests: opening its sandbox takes longer than most of them.
CODE = Code()


def problem(answer="", **extra):
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return Problem(id="p", prompt="", answer=text, extra=extra)


def text(source):
    return f"<think>hm</think>So:\n```python\n{source}\n```\n"


@pytest.fixture(scope="module", autouse=True)
def _isolated():
    try:
        with Sandbox().open():
            pass
    except SandboxError as e:
        pytest.skip(str(e))


SUM = problem({"inputs": ["1 2\n", "3 4\n"], "outputs": ["3\n", "7\n"]})
ADDS = "a, b = map(int, input().split())\nprint(a + b)"


def test_a_program_that_passes_all_tests_is_correct():
    verdict = CODE(SUM, text(ADDS))
    assert (verdict.outcome, verdict.reward) == (Outcome.CORRECT, 1.0)
    assert verdict.parts == {"tests": 2.0, "passed": 2.0, "timeouts": 0.0}
    assert verdict.extracted == ADDS


def test_the_first_failure_ends_it_unless_shares_are_rewarded():
    verdict = Code(wrong=-1.0)(SUM, text("print(7)"))
    assert (verdict.outcome, verdict.reward) == (Outcome.WRONG, -1.0)
    assert verdict.parts["passed"] == 0
    assert "test 1 of 2: printed '7" in verdict.detail
    verdict = Code(wrong=-1.0, partial=True)(SUM, text("print(7)"))
    assert (verdict.outcome, verdict.reward) == (Outcome.WRONG, 0.0)
    assert verdict.parts["passed"] == 1


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("```python\na\n```\n```py\nb\n```", "b"),
        ("```python\na\n```\n```text\nb\n```", "a"),
        ("```Python title=x\na\n```", "a"),
        ("````python\n```\na\n````", "```\na"),
        ("  ```python\n  a\n  ```", "  a"),
        ("```\na\n```", None),
        ("```python\na", None),
        ("```python\na\n```\n```python\nb", None),
        ("<think>```python\na\n```</think>", None),
        ("<think>```python\na\n```", None),
        ("```python\na\n```</think>```python\nb\n```", "b"),
        ("a", None),
        ("", None),
    ],
)
def test_the_last_complete_python_block_after_the_thinking_is_the_program(said, found):
    assert program(said) == found


def test_blocks_are_found_in_linear_time():
    assert program("```" * 400_000) is None
    assert program("```python\n```\n" * 80_000) == ""


def test_without_a_program_there_is_no_answer():
    verdict = CODE(SUM, "a = 1")
    assert (verdict.outcome, verdict.reward) == (Outcome.NO_ANSWER, 0.0)


ADD = "def add(a, b):\n    return a + b"
METHOD = "class Solution:\n    def add(self, a: List[int], b: Any) -> Any:\n        return a + b"


@pytest.mark.parametrize(
    "tests",
    [
        problem({"inputs": [[1, 2], [2, 3]], "outputs": [3, 5], "fn_name": "add"}),
        problem({"inputs": [[1, 2]], "outputs": [[3]]}, fn_name="add"),
        problem({"inputs": ["1\n2"], "outputs": ["3"], "fn_name": "add"}),
        problem(
            [{"input": "1\n2", "output": "3", "testtype": "functional"}],
            metadata='{"func_name": "add"}',
        ),
        problem([{"input": [1, 2], "output": 3, "fn_name": "add", "type": "function_call"}]),
    ],
)
@pytest.mark.parametrize("source", [ADD, METHOD])
def test_functions_and_methods_are_called_with_json(tests, source):
    assert CODE(tests, text(source)).outcome is Outcome.CORRECT
    assert CODE(tests, text(source.replace("a + b", "a * b"))).outcome is Outcome.WRONG


def test_a_list_around_every_output_may_be_the_datasets_own():
    pair = text("def f(): return [1, 2]")
    layout = {"inputs": [[], []], "fn_name": "f"}
    assert CODE(problem({**layout, "outputs": [[[1, 2]], [[1, 2]]]}), pair).reward == 1.0
    assert CODE(problem({**layout, "outputs": [[[1, 2]], [[1, 2], []]]}), pair).reward == 0.0


@pytest.mark.parametrize(
    "tests",
    [
        problem(["assert add(1, 2) == 3", "assert 5 == add(2, 3), 'five'"]),
        problem("", test_list=["assert add(1, 2) == three"], test_setup_code="three = 3"),
        problem(
            "", test="def check(candidate):\n    assert candidate(1, 2) == 3\n", entry_point="add"
        ),
        problem(
            "def check(f):\n    '''Checks.'''\n    for i in range(3): assert f(i, i) == 2 * i",
            entry_point="add",
        ),
        problem("from solution import add\ndef test_add():\n    assert add(1, 2) == 3"),
        problem("from solution import *\ndef test_add():\n    x = 3\n    assert add(1, 2) == x"),
        problem({"functional": "import math\nassert math.isclose(add(.1, .2), .3, rel_tol=1e-9)"}),
        problem("assert abs(add(0.1, 0.2) - 0.3) < 1e-6\nassert not add(1, -1)\nassert add(0, 1)"),
        problem({"assert_case": ["assert add([1], [2]) == [1, 2]"]}),
    ],
)
def test_assertions_in_the_usual_layouts(tests):
    assert CODE(tests, text(ADD)).outcome is Outcome.CORRECT
    wrong = CODE(tests, text(ADD.replace("a + b", "41")))
    assert wrong.outcome is Outcome.WRONG, wrong


def test_programs_in_the_usual_layouts():
    for tests in (
        problem([{"input": "1 2", "output": "3"}]),
        problem([{"input": "1 2", "output": "3", "testtype": "stdin"}], fn_name="add"),
        problem({"inputs": [["1 2", "x"]], "outputs": [["3"]]}),
        problem("", input_output='{"inputs": ["1 2"], "outputs": ["3"]}'),
        problem(
            "unused",
            public_tests={"input": ["1 2"], "output": ["3"]},
            private_tests={"input": ["2 2"], "output": ["4"]},
        ),
    ):
        assert CODE(tests, text(ADDS)).outcome is Outcome.CORRECT


@pytest.mark.parametrize(
    "tests",
    [
        problem(""),
        problem("no tests here"),
        problem("x = 1"),
        problem([]),
        problem(5),
        problem({"inputs": ["1"], "outputs": []}),
        problem({"a": 1}),
        problem([1, 2]),
        problem({"inputs": ["not json"], "outputs": ["1"], "fn_name": "f"}),
        problem([{"input": "1", "output": "2", "testtype": "functional"}]),
        problem("import pytest\ndef test_f():\n    with pytest.raises(E): f()"),
    ],
)
def test_tests_that_cannot_be_read_judge_nothing(tests):
    verdict = CODE(tests, text(ADD))
    assert (verdict.outcome, verdict.reward) == (Outcome.GOLD_UNPARSED, None)
    assert verdict.detail


def test_a_named_column_must_be_there():
    with pytest.raises(UnreadableTests, match="'checks' is missing"):
        layouts.read(problem("assert f() == 1", tests="x"), "checks")
    assert layouts.read(problem("", checks="assert f() == 1"), "checks")


def test_expected_values_stay_outside_where_they_can_be_told():
    source = """
def check(candidate):
    assert candidate(1) == [1, (2, {3})], "why"
    assert candidate(2) is None
    assert True
    assert abs(candidate(3) - 12345.5) <= 1e-6
"""
    tests = from_source(source, name="f")
    assert all(isinstance(test, Value) for test in tests)
    assert [test.expected for test in tests] == [[1, (2, {3})], None, 12345.5]
    sent = [job_of(test, "", "") for test in tests]
    assert not any("12345" in job.expression or "{3}" in job.expression for job in sent)


def test_what_cannot_be_taken_apart_runs_as_it_is():
    for source in (
        "assert f(1) < 3",
        "assert len(f(1)) and f(2)",
        "assert all(f(i) for i in range(3))",
        "def test_f():\n    x = f(1)\n    assert x == 2",
    ):
        (test,) = from_source(source)
        assert isinstance(test, Source)


def test_tuples_are_no_lists_for_assertions_but_are_for_json():
    source = text("def f(): return (1, 2)")
    assert CODE(problem(["assert f() == (1, 2)"]), source).outcome is Outcome.CORRECT
    assert CODE(problem(["assert f() == [1, 2]"]), source).outcome is Outcome.WRONG
    as_json = problem({"inputs": [[]], "outputs": [[1, 2]], "fn_name": "f"})
    assert CODE(as_json, source).outcome is Outcome.CORRECT


EVIL = """
class Equal:
    def __eq__(self, other): return True
    def __sub__(self, other): return 0.0
    def __lt__(self, other): return True
def f(*arguments): return Equal()
"""


@pytest.mark.parametrize(
    "source",
    [
        EVIL,
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "import os; os.write(3, b'true'); os._exit(0)",
        "print('passed'); print('3'); f = print",
        "import builtins; builtins.abs = lambda x: 0.0\ndef f(*a): return 0",
        "import json; json.dumps = lambda *a, **k: '2'\ndef f(*a): raise ValueError",
        "import atexit; atexit.register(print, 'ok')\ndef f(*a): return 9",
        "while True: pass",
    ],
)
@pytest.mark.parametrize(
    "tests",
    [
        problem(["assert f(1) == [2, 'x']", "assert abs(f(2) - 3.5) < 1e-3"]),
        problem("def check(c):\n    for i in range(2): assert c(i) == i + 1", entry_point="f"),
        problem({"inputs": [[1]], "outputs": [[2, "x"]], "fn_name": "f"}),
    ],
)
def test_code_that_games_its_tests_is_wrong(source, tests):
    verdict = Code(seconds=0.3)(tests, text(source))
    assert (verdict.outcome, verdict.reward) == (Outcome.WRONG, 0.0), verdict


def test_overrunning_its_own_time_is_wrong_and_counted():
    verdict = Code(seconds=0.2, total_seconds=3.0)(SUM, text("while True: pass"))
    assert verdict.outcome is Outcome.WRONG
    assert verdict.parts == {"tests": 2.0, "passed": 0.0, "timeouts": 1.0}


def test_all_tests_together_have_a_time_too():
    many = problem({"inputs": ["x"] * 40, "outputs": ["x"] * 40})
    start = time.monotonic()
    slow = text("import time; time.sleep(0.2); print(input())")
    verdict = Code(seconds=0.5, total_seconds=0.8, partial=True)(many, slow)
    assert verdict.outcome is Outcome.WRONG
    assert 0 < verdict.parts["passed"] < 5
    assert time.monotonic() - start < 30


def ran(**named):
    known = {"code": -9, "stopped": "time", "stdout": b"", "stderr": b"", "result": b""}
    known |= {"seconds": 4.0, "used": 4.0}
    return Run(**known | named)


def test_a_program_that_had_no_cpu_is_not_called_slow():
    test = InputOutput(stdin="", stdout="")
    job = job_of(test, "", "")
    assert finding(test, job, ran(used=0.5), 2.0)[0] is Finding.STARVED
    assert finding(test, job, ran(used=1.9), 2.0)[0] is Finding.OVERRAN


def test_a_result_that_cannot_be_read_or_compared_fails():
    test = CallResult(name="f", arguments=(), expected=1.5)
    job = job_of(test, "", "")
    for result in (b"", b"{", b"[1]", b'{"int": "0x' + b"f" * 5000 + b'"}', b"\xff", b'"1.5"'):
        assert finding(test, job, ran(code=0, stopped="", result=result), 2.0)[0] is Finding.FAILED
    deep = b'{"list": [' * 5000 + b"]}" * 5000
    assert finding(test, job, ran(code=0, stopped="", result=deep), 2.0)[0] is Finding.FAILED


def test_a_sandbox_that_cannot_be_made_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    verdict = Code()(SUM, text(ADDS))
    assert (verdict.outcome, verdict.reward) == (Outcome.ERROR, None)
    assert "/nowhere/python" in verdict.detail


def test_a_sandbox_that_was_killed_is_opened_anew():
    code = Code()
    assert code(SUM, text(ADDS)).outcome is Outcome.CORRECT
    with code._kept.box() as box:
        launcher = box._process
    launcher.kill()
    launcher.wait(10)
    assert code(SUM, text(ADDS)).outcome is Outcome.CORRECT


def test_a_failure_of_the_sandbox_is_an_error_and_the_next_verdict_is_sound():
    code = Code()
    with code._kept.box() as box:
        job = {"kind": "unheard of", "source": "", "stdin": b"", "packages": [], "hidden": []}
        limits = {"output": 9999, "memory": 1 << 30, "seconds": 5.0, "wall_seconds": 5.0}
        assert box._ask(job | limits, 20.0)[0] == b"F"
    with pytest.raises(ZeroDivisionError), code._kept.box():
        raise ZeroDivisionError
    assert code(SUM, text(ADDS)).outcome is Outcome.CORRECT


def test_threads_and_forks_have_sandboxes_of_their_own():
    code = Code()
    assert code(SUM, text(ADDS)).outcome is Outcome.CORRECT
    with ThreadPoolExecutor(3) as pool:
        outcomes = list(pool.map(lambda _: code(SUM, text(ADDS)).outcome, range(6)))
    assert outcomes == [Outcome.CORRECT] * 6
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(code, (SUM, text(ADDS))).outcome is Outcome.CORRECT
    assert code(SUM, text(ADDS)).outcome is Outcome.CORRECT


def test_many_tests_are_thinned_evenly():
    many = [str(i) for i in range(101)]
    verdict = Code(max_tests=5, partial=True)(
        problem({"inputs": many, "outputs": many}),
        text("n = input()\nprint(n if n != '50' else 0)"),
    )
    assert verdict.parts == {"tests": 5.0, "passed": 4.0, "timeouts": 0.0}


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("1 2\n3\n", "1 2 \n3\n\n", True),
        ("1 2\n3", "1\n2 3", True),
        ("1", "1.0", True),
        ("0.333333", "0.3333333333", True),
        ("1e6", "1000000.5", True),
        ("0.33", "0.34", False),
        ("1000000000000000001", "1000000000000000002", False),
        ("007", "7", True),
        ("-0", "0", True),
        ("-1", "1", False),
        ("Yes", "YES", False),
        ("nan", "1", False),
        ("a b", "a", False),
        ("", "\n", True),
        ("", "x", False),
        ("1" * 5000, "01" + "1" * 4999, True),
    ],
)
def test_outputs_are_compared_by_line_then_by_word(expected, printed, same):
    assert same_output(expected, printed) is same


@pytest.mark.parametrize(
    ("expected", "returned", "same"),
    [
        ([1, [2]], (1, (2,)), True),
        ({"1": 2}, {1: 2}, True),
        (0.1 + 0.2, 0.3, True),
        (2**60, 2**60 + 1, False),
        (2.0, 2, True),
        ("1", 1, False),
        ([1], 1, False),
        ([1, 2], [1], False),
        ("ab", ["a", "b"], False),
        (None, False, False),
        ([], {}, False),
    ],
)
def test_values_are_compared_as_json_would_tell_them_apart(expected, returned, same):
    assert same_value(expected, returned) is same


def test_texts_of_equal_programs_share_a_key():
    code = Code()
    assert code.key(SUM, text(ADDS)) == code.key(SUM, "else\n" + text(ADDS)) == ADDS
    assert code.key(SUM, "no code") is None


def test_the_reference_solution_is_the_example():
    tests = {"inputs": ["1 2"], "outputs": ["3"]}
    for carries in (
        problem({**tests, "solution": ADDS}),
        problem(tests, solution=ADDS),
        problem(unit_tests=json.dumps(tests), solution=text(ADDS)),
    ):
        example = CODE.example(carries)
        assert CODE(carries, example).outcome is Outcome.CORRECT


@pytest.mark.parametrize("solution", [None, "", " ", 7, "Sort them first.", "int main() {}", "\0"])
def test_no_solution_in_python_is_no_example(solution):
    assert CODE.example(problem("assert f() == 1", solution=solution)) is None
    assert CODE.example(SUM) is None


@pytest.mark.parametrize(
    "setting",
    [{"seconds": 0}, {"seconds": 9, "total_seconds": 5}, {"max_tests": 0}, {"wrong": 1.0}],
)
def test_a_setting_that_makes_no_sense_is_refused(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Code(**setting)


@pytest.mark.slow
def test_it_grades_in_a_jail_that_bounds_memory():
    node = {"_target_": "rlvr.rewards.code.Code", "seconds": 1.0, "total_seconds": 3.0}
    bomb = "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass"
    with jailed(node, seconds=10.0, memory_gb=0.5) as jail:
        assert jail(SUM, text(ADDS)).outcome is Outcome.CORRECT
        assert jail(SUM, text("x = bytearray(1 << 33)")).outcome is Outcome.WRONG
        assert jail(SUM, text(bomb)).outcome is Outcome.WRONG
        assert jail(SUM, text(ADDS)).outcome is Outcome.CORRECT
        assert (jail.killed, jail.died) == (0, 0)
