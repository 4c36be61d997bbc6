"""People whom an answer gives: a name with an address, or a name with a company. The sender, their colleagues, the rep, people
already spoken of in the quoted mail and role addresses are never given; nor is anybody of whom it is said that they must not be
written to. Whoever is only mentioned is not given: something in the text must send the rep to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from engine.core.classify import names
from engine.core.classify.evidence import Evidence
from engine.core.classify.introduced import is_role
from engine.core.model import Person
from engine.core.phrases import folded, is_cjk, phrasebook, plain

TEXT_MAX = 6000
PEOPLE_MAX = 10
REACH = 150
#: A text of so few words that holds an address needs no word that sends the rep there: what else would it be for?
BARE_WORDS_MAX = 14
LIST_LINE_WORDS_MAX = 10
CARD_WORDS_MAX = 40
CARD_LINES_MAX = 6
COMPANY_PREFIX_MIN = 4
CAPITALS_MIN = 3
_OPENING = "(\"'«„“-–*•"
#: What takes the people of its own sentence away.
WITHHOLDING = ("takes_over", "hold", "not_intro")
_TWO_WORDS = re.compile(r"(?=(?<!\w)([^\W\d_]{3,20}) ([^\W\d_]{2,20})(?!\w))")
_AFTER_EMPLOYER = re.compile(r"(?: (?:in|of|aus|de|à|en|i|w) [\w -]{2,30})?\s*[,:–—(-]\s*")
QUOTED_MAX = 6000
_LETTER = re.compile(r"[^\W\d_]")

_ADDRESS = re.compile(r"(?<![\w.+-])[A-Za-z0-9._%+'-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,6}")
_SENTENCE = re.compile(
    r"(?<=[\w)\]@][.!?])(?<!\b[A-Za-z][.])"
    r"(?<!\bDr\.)(?<!\bMr\.)(?<!\bMs\.)(?<!\bMrs\.)(?<!\bSr\.)(?<!\bing\.)(?<!\bIng\.)(?<!\bProf\.)(?<!\bSig\.)(?<!\n\d\.)\s+(?=\S)|\n"
)
#: A sentence with the space behind it; a period inside an address ends none.
_PIECE = re.compile(r"[^.!?\n]*(?:[.!?](?=\S)[^.!?\n]*)*(?:[.!?]+\s*|\n+|$)")
_JA_NAME = re.compile(
    r"([\u4e00-\u9fff々ヶ]{1,4}(?:[ \u3000][\u4e00-\u9fff\u3040-\u30ff]{1,4})?|[\u30a0-\u30ffー]{2,8})(?=さん|様|氏|部長|課長|社長|"
    r"専務|常務|取締役|工場長|店長|さま)"
)


def named(evidence: Evidence) -> tuple[Person, ...]:
    """The people whom this answer gives to contact; none where it withholds them or where nobody can be sure."""
    if not _may_name(f"{evidence.cut.text[:TEXT_MAX]}\n{evidence.cut.signature}") or evidence.says("hold"):
        return ()
    text = _of_the_fit(evidence.cut.text[:TEXT_MAX], evidence)
    given = _with_address(text, evidence) if _sends_there(evidence) else []
    if not given and _leads(evidence, evidence.words):
        given = _with_address(evidence.cut.signature, evidence)[:1]
    given += [one for one in _with_company(text, evidence) if not any(_overlap(one, other) for other in given)]
    return tuple(dict.fromkeys(one for one in given if not _known(one, evidence)))[:PEOPLE_MAX]


def _may_name(text: str) -> bool:
    """Whether there is an address, or capitals enough for a full name and a company: most mail has neither."""
    capitals = sum(word.lstrip(_OPENING)[:1].isupper() for word in text.split())
    return "@" in text or capitals >= CAPITALS_MIN or is_cjk(text)


def _leads(evidence: Evidence, words: str) -> bool:
    """Whether something sends the rep to somebody; "funny that you ask" does not."""
    return evidence.says("lead", words) is not None


def _of_the_fit(text: str, evidence: Evidence) -> str:
    """The text without the sentences about people who are said to be no match, each place kept: "they are too small" takes the
    sentence before it along where it names nobody itself."""
    pieces = _PIECE.findall(text)
    unfit = {index for index, piece in enumerate(pieces) if evidence.says("unfit", plain(piece))}
    unfit |= {index - 1 for index in unfit if index and not _names_somebody(pieces[index])}
    return "".join(" " * len(piece) if index in unfit else piece for index, piece in enumerate(pieces))


def _names_somebody(piece: str) -> bool:
    return _ADDRESS.search(piece) is not None or any(len(run.words) > 1 for run in names.runs(piece, 0, len(piece)))


def _sends_there(evidence: Evidence) -> bool:
    if _leads(evidence, evidence.words) or len(evidence.words.split()) <= BARE_WORDS_MAX:
        return True
    return _is_a_list(evidence) or _is_a_card(evidence)


def _is_a_card(evidence: Evidence) -> bool:
    """A pasted contact: a line that is a name, lines below it, one of which is an address."""
    lines = [line.strip() for line in evidence.cut.text.split("\n")]
    short = len(evidence.words.split()) <= CARD_WORDS_MAX
    addressed = next((index for index, line in enumerate(lines) if _ADDRESS.search(line)), None)
    if addressed is None or not short:
        return False
    above = lines[max(0, addressed - CARD_LINES_MAX) : addressed]
    return len(above) > 1 and any(
        len(run.words) >= 2 and run.text == line for line in above for run in names.runs(line, 0, len(line))
    )


def _is_a_list(evidence: Evidence) -> bool:
    """Lines that hold a name and an address and hardly anything else."""
    lines = [line for line in evidence.cut.text.split("\n") if _ADDRESS.search(line)]
    return bool(lines) and all(
        len(line.split()) <= LIST_LINE_WORDS_MAX and len(names.runs(line, 0, len(line))) > 0 for line in lines
    )


def _known(person: Person, evidence: Evidence) -> bool:
    """Already spoken of: a prospect of this client, or somebody whom the quoted mail or the subject names."""
    if any(
        _same(person, one) or (person.email and person.email == one.email.lower()) for one in evidence.reader.prospects
    ):
        return True
    quoted = evidence.cut.quoted[:QUOTED_MAX]
    if person.email and person.email in quoted.lower():
        return True
    name = plain(person.name)
    return " " in name and (name in evidence.subject or name in plain(quoted))


def _same(one: Person, other: Person) -> bool:
    a, b = set(plain(one.name).split()), set(plain(other.name).split())
    return bool(a and b) and (a <= b or b <= a)


def _overlap(one: Person, other: Person) -> bool:
    """Whether a name with a company is about someone given by an address; inflected names share only their beginnings."""
    own = {word[:4] for word in plain(other.name).split()}
    return bool(own & {word[:4] for word in plain(f"{one.name} {one.company}").split()})


# ---- a name with an address


def _with_address(text: str, evidence: Evidence) -> list[Person]:
    people: list[Person] = []
    previous = 0
    for match in _ADDRESS.finditer(text):
        address = match[0].strip(".'").lower()
        floor, previous = previous, match.end()
        if (
            not evidence.is_outside(address)
            or is_role(address)
            or _is_own(address, evidence)
            or _is_helper(text, match.start(), evidence)
        ):
            continue
        if not any(person.email == address for person in people):
            name = name_near(text, match.start(), match.end(), address, floor)
            people.append(Person(name=name or names.from_address(address), email=address))
    return people


def _is_own(address: str, evidence: Evidence) -> bool:
    """The sender's other address: its local part is their name."""
    local = [part for part in re.split(r"[._+\d-]+", address.partition("@")[0]) if len(part) > 2]
    name = plain(evidence.message.sender.name).split()
    own = [
        folded(part)
        for part in re.split(r"[._+\d-]+", evidence.message.sender.email.partition("@")[0])
        if len(part) > 2
    ]
    return bool(local) and (
        bool(name) and (all(part in name for part in local) or "".join(name) == "".join(local)) or local == own
    )


def _is_helper(text: str, at: int, evidence: Evidence) -> bool:
    """Somebody who works for the client ("our accountant, …"): nobody to sell to."""
    sentence = next((one for one in reversed(_SENTENCE.split(text[:at])) if one.strip()), "")
    return evidence.says("not_intro", plain(sentence[-REACH:])) is not None


def name_near(text: str, start: int, end: int, address: str, floor: int = 0) -> str:
    """The name that stands with an address: the one its local part is made of, else the nearest full name before it."""
    if is_cjk(text[max(0, start - 60) : end + 30]):
        return _cjk_name(text[max(floor, start - 60) : start], text[end : end + 24])
    gap = text.rfind("\n\n", max(floor, start - REACH), max(floor, start - 2))
    before = names.runs(text, max(floor, start - REACH, gap), start) or names.runs(
        text, max(floor, start - REACH), start
    )
    after = [run for run in names.runs(text, end, min(len(text), end + 60)) if "@" not in text[end : run.start]]
    ranked = [
        (names.score(run.text, address), not names.is_company(run.text, address), -index, run)
        for index, run in enumerate([*reversed(before), *after])
    ]
    best = max(ranked, key=lambda one: one[:3], default=None)
    if best and best[0] > 0:
        return names.base_form(best[3].text, address)
    if not before and (typed := _in_small_letters(text[max(floor, start - REACH) : start], address)):
        return typed
    full = [
        run
        for run in reversed(before)
        if len(run.words) >= 2
        and not names.LEGAL.search(run.text)
        and not names.is_company(run.text, address)
        and not _after_connector(text, run)
    ]
    block = [run for run in reversed(full) if _is_a_line(text, run)]
    return block[0].text if len(block) > 1 else full[0].text if full else ""


def _in_small_letters(before: str, address: str) -> str:
    """ "dev malhotra dev@…", typed with a thumb: the two words whose first is in the address."""
    pairs = [" ".join(match.groups()).title() for match in _TWO_WORDS.finditer(before)]
    fitting = [pair for pair in pairs if names.score(pair.split()[0], address) and not names.is_company(pair, address)]
    return fitting[-1] if fitting else ""


def _is_a_line(text: str, run: names.Run) -> bool:
    """In a pasted contact the name is the first of several lines that are nothing but capitals."""
    line = text[text.rfind("\n", 0, run.start) + 1 :].split("\n")[0]
    return line.strip() == text[run.start : run.end].strip()


def _after_connector(text: str, run: names.Run) -> bool:
    words = plain(text[max(0, run.start - 30) : run.start]).split()
    return bool(words) and (
        phrasebook().equals("company_at", words[-1]) or phrasebook().equals("company_at", " ".join(words[-2:]))
    )


def _cjk_name(before: str, after: str) -> str:
    if re.search(r"[\u3040-\u30ff]", before + after):
        found = _JA_NAME.findall(before) or _JA_NAME.findall(after)
        return found[-1].strip() if found else ""
    matches = [match[1] for match in _han_name().finditer(before)]
    return matches[-1] if matches else ""


@lru_cache(maxsize=1)
def _han_name() -> re.Pattern[str]:
    """A surname of the list with one or two characters, up to what ends a name in running text."""
    return re.compile(
        rf"([{phrasebook().surnames}][\u4e00-\u9fff]{{1,2}}?)(?=先生|女士|小姐|总|經理|经理|[，,。；;：:（(\s]|他|她|的|邮箱|郵箱|电话|電話|$)"
    )


# ---- a name with a company


def _with_company(text: str, evidence: Evidence) -> list[Person]:
    sentences = _joined_suggestions([one for one in _SENTENCE.split(text) if one and one.strip()])
    leads = [_leads(evidence, plain(one)) for one in sentences]
    sends = _sends_there(evidence)
    only_pairs = all(_is_a_pair(one) for one in sentences if _LETTER.search(one)) and _asks_who_else(evidence)
    people: list[Person] = []
    for index, sentence in enumerate(sentences):
        listed = sentence.lstrip()[:2].rstrip(".) ") in ("*", "-", "•", "1", "2", "3", "–", "·") and any(leads)
        near = (
            any(leads[max(0, index - 1) : index + 2])
            or (sends and _ADDRESS.search(sentence) is not None)
            or _answers_barely(sentence, index, evidence)
            or only_pairs
        )
        said = plain(sentence)
        if not (near or listed) or "?" in sentence or any(evidence.says(kind, said) for kind in WITHHOLDING):
            continue
        people += _pairs(sentence, evidence)
    return people


def _answers_barely(sentence: str, index: int, evidence: Evidence) -> bool:
    """ "Ann Lee, Lee Farms.": nothing else in the first sentence of a short answer to the question who else there is."""
    short = not index and len(evidence.words.split()) <= BARE_WORDS_MAX
    return short and _is_a_pair(sentence) and _asks_who_else(evidence)


def _is_a_pair(sentence: str) -> bool:
    """ "2. Ann Lee, Lee Farms": a name, a company and nothing else."""
    runs = names.runs(sentence, 0, len(sentence))
    return len(runs) == 2 and not _LETTER.search(sentence[: runs[0].start] + sentence[runs[1].end :])


def _asks_who_else(evidence: Evidence) -> bool:
    return phrasebook().has("asks_other", evidence.asked)


def _joined_suggestions(sentences: list[str]) -> list[str]:
    """ "Have you met Leonard Frost? CFO at …": a question that suggests somebody is told on in the next sentence."""
    joined: list[str] = []
    for sentence in sentences:
        if joined and joined[-1].endswith("?") and phrasebook().has("suggests", plain(joined[-1])):
            joined[-1] = f"{joined[-1][:-1]}, {sentence}"
        else:
            joined.append(sentence)
    return [_without_mark(one) for one in joined]


def _without_mark(sentence: str) -> str:
    suggests = sentence.rstrip().endswith("?") and phrasebook().has("suggests", plain(sentence))
    return sentence.rstrip().rstrip("?") if suggests else sentence


def _pairs(sentence: str, evidence: Evidence) -> list[Person]:
    found: list[Person] = []
    for name, company in _neighbours(sentence, evidence):
        if len(name.words) < 2 or any(char.isdigit() for char in name.text) or len(company.text) < 3:
            continue
        if _is_ours(name.text, company.text, evidence):
            continue
        if "de" in evidence.languages and not (
            name.titled
            or names.LEGAL.search(company.text)
            or evidence.says("lead", plain(sentence[: name.start])[-40:])
        ):
            continue  # in German every noun has a capital
        found.append(Person(name=_uninflected(name, company, evidence), company=_with_legal_form(company, sentence)))
    return found


def _neighbours(sentence: str, evidence: Evidence) -> Iterator[tuple[names.Run, names.Run]]:
    """Names with the company that stands behind ("Ann Lee at Lee Farms") or before them ("the manager at Lee Farms, Ann Lee")."""
    for one, other in pairwise(_without_jobs_and_places(sentence, evidence)):
        between = sentence[one.end : other.start]
        aside = between.strip() == "(" and len(other.words) > 1
        employer = _employs_somebody(sentence[: one.start], evidence, aside)
        if (
            employer
            and _AFTER_EMPLOYER.fullmatch(between)
            and len(other.words) > 1
            and not names.LEGAL.search(other.text)
        ):
            yield other, one
        elif not employer and _leads_to_company(between):
            yield one, other


def _without_jobs_and_places(sentence: str, evidence: Evidence) -> list[names.Run]:
    """The capitals of a sentence but for "Geschäftsführer" and for the town of "in Poole"."""
    runs = names.runs(sentence, 0, len(sentence))
    jobs = [run for run in runs if len(run.words) == 1 and evidence.says("lead", plain(run.text))]
    return [run for run in runs if run not in jobs and not sentence[: run.start].endswith(" in ")]


def _employs_somebody(before: str, evidence: Evidence, aside: bool) -> bool:
    """Whether the words before a name end in a job and "at", or in "at" with a name in brackets to come: somebody works there."""
    said = plain(before)
    at = next((count for count in (1, 2) if phrasebook().equals("works_at", " ".join(said.split()[-count:]))), 0)
    return at > 0 and (aside or evidence.says("lead", " ".join(said.split()[-at - 3 : -at])) is not None)


def _uninflected(name: names.Run, company: names.Run, evidence: Evidence) -> str:
    """ "Pekka Hakalalle, Hakala Oy": the company shows the surname without its ending."""
    surname, shown = name.text.rpartition(" ")[2], company.words[0]
    inflects = not evidence.languages or evidence.languages & {"fi", "pl", "cs"}
    if inflects and len(shown) >= COMPANY_PREFIX_MIN and surname.startswith(shown) and not surname.endswith("ová"):
        return f"{name.text.rpartition(' ')[0]} {shown}"
    return name.text


def _with_legal_form(company: names.Run, sentence: str) -> str:
    rest = re.match(r"[,\s]{1,2}(?:" + names.LEGAL.pattern + r")", sentence[company.end :])
    return company.text + (" " + rest[0].strip(", ") if rest and rest[0].strip(", ") not in company.text else "")


def _leads_to_company(between: str) -> bool:
    """What may stand between a name and a company: a comma, `at`, or a job and then either."""
    if "@" in between or len(between) > 60 or "\n" in between or re.search(r"[.!?;]\s", between):
        return False
    words = plain(between).strip(" -–—(").split()
    if not words:
        return between.strip() in (",", "-", "–", "—", "(", ", ", "/")
    book = phrasebook()
    return (
        book.equals("company_at", words[-1])
        or book.equals("company_at", " ".join(words[-2:]))
        or between.rstrip().endswith((",", "(", "–", "—"))
    )


def _is_ours(name: str, company: str, evidence: Evidence) -> bool:
    """The sender, the rep, or somebody at either company."""
    ours = plain(evidence.message.sender.name).split()
    if set(plain(name).split()) & set(ours):
        return True
    joined = re.sub(r"[^a-z0-9]", "", folded(company))
    return len(joined) > 3 and any(
        joined[:7] in domain.replace("-", "") for domain in evidence.own_domains | evidence.rep_domains
    )
