"""Units: which are the same, and how much of one makes another."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

from rlvr.rewards.answers.vocabulary import CHATTER


class Unit(NamedTuple):
    """What a unit measures and how much of it; unknown ones measure themselves."""

    kind: str
    size: Fraction
    known: bool


def unit(words: str) -> Unit | None:
    """The unit that words name; None where they name none."""
    text = " ".join(word for word in _WORD.findall(words.casefold()) if word not in CHATTER)
    text = _SPELLINGS.get(text, text)
    if not text or text in _NONE:
        return None
    if " per " in f" {text} ":
        above, _, below = text.partition("per ")
        return _quotient(unit(above), unit(below), text)
    return _simple(text)


def agree(a: str, b: str) -> Fraction | None:
    """How many of unit ``b`` make one of unit ``a``; 1 where one of them is missing or cannot be
    told from the other; None where they measure different things."""
    left, right = unit(a), unit(b)
    if left is None or right is None:
        return Fraction(1)
    if left.kind == right.kind:
        return left.size / right.size
    if left.known and right.known:
        return None
    if not (left.kind.isascii() and right.kind.isascii()):
        return Fraction(1)  # a word of another language for perhaps the same
    return None


_WORD = re.compile(r"[^\W\d_]+(?:\^-?\d+)?|[$€£¥₹%°]")
_PREFIXES = ("square ", "sq ", "cubic ", "cu ")
_NONE = frozenset({"unit", "units", "square units", "square unit", "cubic units", "cubic unit"})


def _simple(text: str) -> Unit:
    power = 1
    for prefix in _PREFIXES:
        if text.startswith(prefix):
            text, power = text.removeprefix(prefix), 2 if prefix[0] == "s" else 3
    text, _, exponent = text.partition("^")
    if exponent in ("2", "3"):
        power = int(exponent)
    if text.endswith(" squared") or text.endswith(" cubed"):
        power = 2 if text.endswith("squared") else 3
        text = text.rpartition(" ")[0]
    for name in (text, text.removesuffix("s"), text.removesuffix("es")):
        if name in _UNITS:
            kind, size = _UNITS[name]
            return Unit(kind if power == 1 else f"{kind}^{power}", size**power, True)
    singular = text.removesuffix("s") if len(text) > 3 else text
    return Unit(singular if power == 1 else f"{singular}^{power}", Fraction(1), False)


def _quotient(above: Unit | None, below: Unit | None, text: str) -> Unit:
    if above is None or below is None:
        return Unit(text, Fraction(1), False)
    known = above.known and below.known
    return Unit(f"{above.kind}/{below.kind}", above.size / below.size, known)


def _sized(kind: str, sizes: dict[str, str]) -> dict[str, tuple[str, Fraction]]:
    return {
        name: (kind, Fraction(size)) for size, names in sizes.items() for name in names.split(",")
    }


_UNITS = {
    **_sized(
        "length",
        {
            "1/1000000000": "nm,nanometer,nanometre",
            "1/1000": "mm,millimeter,millimetre,毫米",
            "1/100": "cm,centimeter,centimetre,centímetro,centimètre,zentimeter,сантиметр,см,厘米",
            "1/10": "dm,decimeter,分米",
            "1": "m,meter,metre,metro,mètre,метр,метров,метра,м,米,メートル",
            "1000": "km,kilometer,kilometre,kilómetro,kilomètre,км,千米,公里",
            "0.0254": "inch,inche,in",
            "0.3048": "ft,foot,feet",
            "0.9144": "yd,yard",
            "1609.344": "mi,mile",
        },
    ),
    **_sized(
        "mass",
        {
            "1/1000": "mg,milligram",
            "1": "g,gram,gramme,克",
            "1000": "kg,kilogram,kilogramm,kilogramo,кг,千克,公斤",
            "1000000": "tonne,吨",
            "453.59237": "lb,pound",
            "28.349523125": "oz,ounce",
        },
    ),
    **_sized(
        "time",
        {
            "1/1000": "ms,millisecond",
            "1": "s,sec,second,seconde,segundo,sekunde,秒",
            "60": "min,minute,minuto,分钟,分",
            "3600": "h,hr,hour,heure,hora,stunde,час,часа,часов,小时,時間",
            "86400": "day,jour,día,tag,天,日",
            "604800": "week,周",
        },
    ),
    **_sized("share", {"1": "percent"}),
    **_sized("months", {"1": "month,月,个月", "12": "year,yr,año,an,jahr,年"}),
    **_sized(
        "angle",
        {"1": "degree,deg,°,grad,度", "1/60": "arcminute", "57.29577951308232": "rad,radian"},
    ),
    **_sized(
        "volume",
        {
            "1/1000": "ml,milliliter,millilitre,毫升",
            "1": "l,liter,litre,litro,升",
            "3.785411784": "gallon,gal",
        },
    ),
    **_sized("dollar", {"1": "dollar,usd,$,dólare,美元", "1/100": "cent,¢,美分"}),
    **_sized("euro", {"1": "euro,eur,€"}),
    **_sized("pound sterling", {"1": "£,gbp"}),
    **_sized("yuan", {"1": "yuan,元,rmb,块"}),
    **_sized("yen", {"1": "yen,¥,円"}),
    **_sized("rupee", {"1": "rupee,₹"}),
    **_sized("force", {"1": "n,newton", "1000": "kn"}),
    **_sized("energy", {"1": "j,joule", "1000": "kj,kilojoule"}),
    **_sized("power", {"1": "w,watt", "1000": "kw,kilowatt"}),
    **_sized("pressure", {"1": "pa,pascal", "1000": "kpa"}),
    **_sized("voltage", {"1": "v,volt"}),
    **_sized("frequency", {"1": "hz,hertz"}),
    **_sized("length/time", {"0.44704": "mph", "5/18": "kph,kmh"}),
}
_SPELLINGS = {"miles an hour": "mile per hour"}
