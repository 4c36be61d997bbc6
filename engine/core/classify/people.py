"""People whom an answer gives: a name with an address, or a name with a company. The text's capitals and the address's local part
prove each other. The sender, their colleagues, the rep, prospects already known and role addresses are never given; nor is
anybody of whom it is said that they must not be written to."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from engine.core.classify.evidence import Evidence
from engine.core.classify.introduced import is_role
from engine.core.model import Person
from engine.core.phrases import folded, is_cjk, phrasebook, plain

TEXT_MAX = 6000
PEOPLE_MAX = 10
REACH = 140

_ADDRESS = re.compile(r"(?<![\w.+-])[A-Za-z0-9._%+'-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,6}")
_UP = "A-ZÀ-ÖØ-ÞĀĂĄĆĈĊČĎĐĒĔĖĘĚĜĞĠĢĤĦĨĪĬĮİĴĶĹĻĽĿŁŃŅŇŊŌŎŐŒŔŖŘŚŜŞŠŢŤŦŨŪŬŮŰŲŴŶŸŹŻŽȘȚ"
_TOKEN = rf"[{_UP}][\w'’]*(?:-[{_UP}]?[\w'’]+)*"
_PARTICLE = r"(?:van der|van den|van de|von der|von|van|de la|de los|de|del|della|dos|das|da|di|du|der|den|ter|ten|bin|al|el|le|la|af|av|zu|y|e)"
_NAME = re.compile(rf"{_TOKEN}(?:\.)?(?:[ \t]+(?:{_PARTICLE}[ \t]+)?{_TOKEN}\.?){{0,4}}")
_TITLES = frozenset(
    "dr mr mrs ms miss prof professor herr herrn frau hr fr ing dipl mag dott dottssa dottoressa sig sigra signor signora sr sra srta don dona "
    "doktor mme mlle m monsieur madame pan pani panem panią panem panu dhr mevr mw meneer mevrouw fru eng engenheiro engenheira sir lady".split()
)
_HAN_NAME = re.compile(
    r"[赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜戚谢邹喻柏水窦章云苏潘葛奚范彭郎鲁韦昌马苗凤花方俞任袁柳酆鲍史唐费廉岑薛雷贺倪汤滕殷罗毕郝邬安常乐于时傅皮卞齐康伍余元卜顾孟平黄和穆萧尹姚邵湛汪祁毛禹狄米贝明臧计伏成戴谈宋茅庞熊纪舒屈项祝董梁杜阮蓝闵席季麻强贾路娄危江童颜郭梅盛林刁钟徐邱骆高夏蔡田樊胡凌霍虞万支柯管卢莫经房裘缪干解应宗丁宣邓郁单杭洪包诸左石崔吉龚程邢裴陆荣翁荀羊惠甄曲家封段靳焦牧山谷车侯全郗班秋仲伊宫宁仇栾暴甘厉戎祖武符刘景詹束龙叶幸司韶黎白怀蒲索赖卓屠蒙池乔能苍双闻翟谭贡劳逄姬申扶堵冉宰雍桑桂牛寿通边燕冀浦尚农温别庄晏柴瞿阎慕连习艾鱼容向古易廖终居衡步都耿满匡国文寇广欧利师巩聂关][\u4e00-\u9fff]{1,2}"
)
_JA_NAME = re.compile(
    r"([\u4e00-\u9fff々ヶ]{1,4}[ \u3000]?[\u4e00-\u9fff\u3040-\u309f\u30a0-\u30ffー]{0,4}?)(?=さん|様|氏|部長|課長|社長|専務|常務|取締役)"
)


@dataclass(frozen=True)
class Candidate:
    """A run of capitalised words: perhaps a name, perhaps a company. Positions are in the text as it was written."""

    start: int
    end: int
    text: str


def named(evidence: Evidence) -> tuple[Person, ...]:
    """The people whom this answer gives to contact; none where it withholds them or where nobody can be sure."""
    text = evidence.cut.text[:TEXT_MAX]
    if not text or evidence.says("hold"):
        return ()
    given = _with_address(text, evidence)
    if not given and evidence.says("lead"):
        given = _from_contact_block(evidence)
    given += [one for one in _with_company(text, evidence) if not any(_same(one, other) for other in given)]
    known = [*evidence.reader.prospects]
    fresh = [
        one
        for one in given
        if not any(_same(one, other) or (one.email and one.email == other.email) for other in known)
    ]
    return tuple(dict.fromkeys(fresh))[:PEOPLE_MAX]


def _same(one: Person, other: Person) -> bool:
    a, b = set(plain(one.name).split()), set(plain(other.name).split())
    return bool(a and b) and (a <= b or b <= a)


# ---- a name with an address


def _with_address(text: str, evidence: Evidence) -> list[Person]:
    people: list[Person] = []
    for match in _ADDRESS.finditer(text):
        address = match[0].strip(".").lower()
        if not evidence.is_outside(address) or is_role(address) or _is_own(address, evidence):
            continue
        if any(person.email == address for person in people):
            continue
        name = _name_near(text, match.start(), match.end(), address) or name_from_address(address)
        people.append(Person(name=name, email=match[0].strip(".").lower()))
    return people


def _is_own(address: str, evidence: Evidence) -> bool:
    """The sender's other address: its local part is their name."""
    local = [part for part in re.split(r"[._+\d-]+", address.partition("@")[0]) if len(part) > 2]
    name = plain(evidence.message.sender.name).split()
    return bool(local and name) and (all(part in name for part in local) or "".join(name) == "".join(local))


def name_from_address(address: str) -> str:
    """`marcus.oyelaran@x` is Marcus Oyelaran; initials and words run together stay unknown."""
    local = re.split(r"[._+]", address.partition("@")[0])
    parts = [re.sub(r"\d+", "", part) for part in local]
    if len(parts) < 2 and len(parts[0]) < 3:
        return ""
    return " ".join("-".join(piece.capitalize() for piece in part.split("-")) for part in parts if part)


def _name_near(text: str, start: int, end: int, address: str) -> str:
    if is_cjk(text[max(0, start - REACH) : end + 40]):
        return _cjk_name(text, start, end)
    lo = text.rfind("\n\n", max(0, start - REACH), start)
    before = [c for c in candidates(text, max(0, start - REACH, lo), start)]
    after = [c for c in candidates(text, end, min(len(text), end + 60))]
    matching = [c for c in [*reversed(before), *after] if _fits(c.text, address)]
    if matching:
        return _base_form(matching[0].text, address)
    full = [c for c in reversed(before) if " " in c.text and not _is_company(c.text, text, c.end)]
    return full[0].text if full else ""


def _fits(name: str, address: str) -> bool:
    """Whether the local part is made of the name: first, last, initials, or an inflected form of either."""
    local = folded(address.partition("@")[0])
    parts = [part for part in re.split(r"[^a-z]+", folded(name).replace("'", "")) if part]
    pieces = [piece for piece in re.split(r"[._+\d-]+", local) if piece]
    if any(len(part) > 2 and any(piece.startswith(part[:4]) and len(piece) > 2 for piece in pieces) for part in parts):
        return True
    if any(len(part) > 3 and part in local for part in parts):
        return True
    initials = "".join(part[0] for part in parts)
    return len(initials) > 1 and local.startswith(initials)


def _base_form(name: str, address: str) -> str:
    """A name in a case other than the nominative, cut back to what the address shows ("Salomaahan" to "Salomaa")."""
    pieces = [piece for piece in re.split(r"[._+\d]+", folded(address.partition("@")[0])) if len(piece) > 2]
    tokens: list[str] = []
    for token in name.split():
        low = folded(token)
        stem = next(
            (piece for piece in pieces if low != piece and low.startswith(piece) and len(low) - len(piece) <= 4), ""
        )
        tokens.append(token[: len(stem)] if stem and len(low) == len(token) else token)
    return " ".join(tokens)


def candidates(text: str, start: int, end: int) -> list[Candidate]:
    """Runs of capitalised words between two positions, without titles and without a word that only begins a sentence."""
    found: list[Candidate] = []
    for match in _NAME.finditer(text, start, end):
        words = match[0].split()
        offset = match.start()
        while words and _is_noise(words[0], text, offset):
            offset = text.find(words[0], offset) + len(words[0])
            words = words[1:]
        while words and plain(words[-1].strip(".")) in _TITLES:
            words = words[:-1]
        name = " ".join(words).strip(" .,'’")
        name = re.sub(r"['’]s$", "", name)
        if name and any(len(word) > 1 for word in words):
            found.append(Candidate(max(offset, match.start()), match.end(), name))
    return found


def _is_noise(word: str, text: str, at: int) -> bool:
    """Titles, and words that are capitals only because a sentence begins with them."""
    bare = plain(word.strip("."))
    if bare in _TITLES or (word.endswith(".") and len(bare) <= 4):
        return True
    return bare in phrasebook().stop_words or phrasebook().equals("not_a_name", bare)


def _cjk_name(text: str, start: int, end: int) -> str:
    before, after = text[max(0, start - 60) : start], text[end : end + 20]
    if re.search(r"[\u3040-\u30ff]", text):
        names = _JA_NAME.findall(before) or _JA_NAME.findall(after)
        return names[-1].strip() if names else ""
    found = [match for match in _HAN_NAME.finditer(before)]
    return found[-1][0] if found else ""


# ---- a name with a company


def _with_company(text: str, evidence: Evidence) -> list[Person]:
    people: list[Person] = []
    for sentence in re.split(r"(?<=[a-zà-ÿ)\]][.!?])\s+|\n", text):
        said = plain(sentence)
        if not evidence.says("lead", said) and not sentence.lstrip().startswith(("*", "-", "•", "1", "2", "3")):
            continue
        if evidence.says("takes_over", said) or "?" in sentence:
            continue
        people += _pairs(sentence, evidence)
    return people


def _pairs(sentence: str, evidence: Evidence) -> list[Person]:
    runs = candidates(sentence, 0, len(sentence))
    found: list[Person] = []
    for index, run in enumerate(runs[:-1]):
        following = runs[index + 1]
        between = sentence[run.end : following.start]
        if not _is_full_name(run.text) or not _leads_to_company(between):
            continue
        if _belongs_to_us(following.text, evidence) or _is_sender(run.text, evidence):
            continue
        found.append(Person(name=run.text, company=following.text))
    return found


def _is_full_name(name: str) -> bool:
    return len(name.split()) >= 2 and not any(char.isdigit() for char in name)


def _leads_to_company(between: str) -> bool:
    """What may stand between a name and a company: a comma, `at`, a job between two commas."""
    said = plain(between)
    if "@" in between or len(between) > 60:
        return False
    words = said.strip(" -–—(").split()
    return (
        not words
        and between.strip() in (",", "-", "–", "—", "(")
        or bool(words)
        and phrasebook().equals("company_at", words[-1])
        or phrasebook().has("company_at", " ".join(words[-3:]))
    )


def _is_company(name: str, text: str, end: int) -> bool:
    return (
        re.search(
            r"\b(GmbH|AG|Ltd|Inc|LLC|BV|B\.V\.|NV|SA|SAS|SARL|S\.?r\.?l|SpA|KG|OHG|Oy|AB|A/S|ApS|s\.r\.o|Sp\. z|Co|plc|Corp)\b",
            name,
        )
        is not None
    )


def _belongs_to_us(company: str, evidence: Evidence) -> bool:
    joined = re.sub(r"[^a-z0-9]", "", folded(company))
    return any(
        len(joined) > 3 and joined[:6] in domain.replace("-", "")
        for domain in evidence.own_domains | evidence.rep_domains
    )


def _is_sender(name: str, evidence: Evidence) -> bool:
    return bool(set(plain(name).split()) & set(plain(evidence.message.sender.name).split()))


# ---- a contact pasted below the sender's own sign-off


def _from_contact_block(evidence: Evidence) -> list[Person]:
    block = evidence.cut.signature
    people = _with_address(block, evidence)
    return [replace(one) for one in people if not _is_sender(one.name, evidence)][:1]
