"""Words that mean something in an answer: functions, separators, scales, units."""

from __future__ import annotations

import re
from fractions import Fraction


def words(text: str) -> list[str]:
    """A list of words."""
    return text.split()


GREEK = frozenset(
    words(
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi "
        "omicron pi rho sigma tau upsilon phi chi psi omega"
    )
)
_ARCS = {f"arc{name}": f"a{name}" for name in ("sin", "cos", "tan", "cot", "sec", "csc")}
FUNCTIONS = {
    **{
        name: name
        for name in words(
            "sin cos tan cot sec csc sinh cosh tanh coth sech csch asin acos atan acot asec "
            "acsc asinh acosh atanh ln log exp max min gcd lcm det arg floor ceil abs sqrt "
            "cbrt lg factorial sgn sign deg dot ddot"
        )
    },
    **_ARCS,
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "arsinh": "asinh",
    "arcosh": "acosh",
    "artanh": "atanh",
    "tg": "tan",
    "ctg": "cot",
    "arctg": "atan",
    "cosec": "csc",
    "ceiling": "ceil",
    "sgn": "sign",
    "binomial": "binom",
    "Re": "re",
    "Im": "im",
}
SEPARATORS = {
    **dict.fromkeys(words("and und et и 和 与 與 及 以及 ja و と और"), "and"),
    **dict.fromkeys(words("or oder ou или 或 或者 または 또는 أو"), "or"),
}
SCALES = {
    "dozen": Fraction(12),
    "hundred": Fraction(100),
    "thousand": Fraction(1000),
    "million": Fraction(10**6),
    "millions": Fraction(10**6),
    "billion": Fraction(10**9),
    "trillion": Fraction(10**12),
    "百万": Fraction(10**6),
    "万": Fraction(10**4),
    "亿": Fraction(10**8),
}
SIGNS = {
    **dict.fromkeys(
        words("percent percents percentage pct prozent pourcent процент процента процентов"), "%"
    ),
    "minus": "-",
    "negative": "-",
    "plus": "+",
    "equals": "=",
}
CHANGES_VALUE = frozenset(
    words(
        "not no nor neither never none except without less more than greater smaller "
        "larger fewer least most between under over above below half twice double "
        "triple exceeding nicht kein keine pas non ni ningún не нет ни 不 不是 非 无 "
        "没有 either maybe perhaps possibly probably"
    )
)
SMALL_WORDS = frozenset(
    words(
        "the is of are has can all for no not or and in to at as by if an so we it be "
        "on yes one two six ten may was its les des del los las el la le un une es est "
        "ist der die das por the its via per odd men day km cm mm kg mg ml ft lb oz hr "
        "am pm was any set not cup win tie"
    )
)
CHATTER = frozenset(
    words(
        "is are be was were equals the a an answer final value result solution so thus "
        "hence therefore of total approximately about around exactly roughly only "
        "simply just option choice es la respuesta resultado valor solución est réponse "
        "résultat vaut solution ist antwort die das ergebnis lautet ответ равно равен "
        "答案 答案是 答案为 答案為 所以 因此 是 为 為 等于 等於 结果 结果是 最终答案是 "
        "最终答案为 最终答案 故 选 选择 选项 答 得 共 共有 一共 一共有 大约 约 です "
        "答えは は 答え 정답은 답은 입니다 이다 الجواب هو الإجابة هي الناتج el le les "
        "un une une correct there have has we get it in total all altogether then which "
        "gives both respectively"
    )
)
"""Words around a value that say nothing about it."""
CHATTER_IN_ONE = re.compile(
    "(?:所以|因此|于是|故|则|最终|最后|正确|本题|该题|的|答案|答|结果|解|应|应该|选|为|為|是|等于|等於|值|"
    "即|共|一共|总共|有|大约|约|答えは|答え|です|は|である|よって|정답|답|은|는|입니다|이다)+"
)
"""Chatter of scripts that leave no spaces between words."""
VERBS = frozenset(words("is equals vaut est ist es beträgt égale 是 为 為 等于 等於"))
SHORT_UNITS = frozenset(
    words(
        "m s g h L N cm mm km dm nm kg mg ml mL cl kN kJ kW Hz Pa kPa ms min sec hr hrs "
        "ft in yd mi mph kph kmh oz lb lbs pts deg rad units sq cc rpm mol eV MeV USD "
        "EUR GBP cents km² th st nd rd"
    )
)
