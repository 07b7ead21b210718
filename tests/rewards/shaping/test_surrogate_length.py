import pytest

from rlvr.rewards.shaping.surrogate_length import SurrogateLength
from rlvr.rewards.surrogate import Surrogate
from rlvr.types import Problem
from tests.rewards.shaping.groups import EMPTY, group, rollout, verdict

PROBLEM = Problem(id="p", prompt="", answer="")
CASES = [
    # valid, thought, tokens, part of the length, score
    (1, 0, 0, 0.0, 0.5),
    (1, 0, 768, 0.75, 1.25),
    (1, 0, 1536, 1.0, 1.5),
    (1, 1, 2304, 0.5, 1.5),
    (1, 0, 3072, -1.0, -0.5),
    (0, 0, 1536, 1.0, 0.0),
    (0, 1, 3072, -1.0, -1.0),
]


@pytest.mark.parametrize(("valid", "thought", "tokens", "length", "score"), CASES)
def test_form_and_length_add_up_as_published(valid, thought, tokens, length, score):
    text = ("<think>a</think>" if thought else "") + ("\\boxed{4}" if valid else "four")
    graded = Surrogate()(PROBLEM, text)
    # A rollout has at least one token; 0 and 1 differ by 0.0013 here.
    tokens = max(tokens, 1)
    given = group([rollout(tokens, text)], [graded])
    assert list(SurrogateLength(max_tokens=3072)(given)) == pytest.approx([score], abs=2e-3)
    plain = group([rollout(tokens)], [verdict(1, 0.0)])
    assert list(SurrogateLength(max_tokens=3072)(plain)) == pytest.approx([length], abs=2e-3)


def test_beyond_the_limit_it_stays_at_its_worst():
    given = group([rollout(9000)], [verdict(1, 0.5)])
    assert list(SurrogateLength(max_tokens=3072)(given)) == [-0.5]
    assert list(SurrogateLength(max_tokens=3072)(EMPTY)) == []


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"max_tokens": 0}, "max_tokens=0: take sampling.max_tokens"),
        ({"max_tokens": 8, "peak": 1.0}, "peak=1.0: a share of max_tokens"),
    ],
)
def test_settings_that_cannot_work_are_refused(wrong, complaint):
    with pytest.raises(ValueError, match=complaint):
        SurrogateLength(**wrong)
