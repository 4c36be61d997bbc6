"""A clear yes or a clear no to what the email asked. Everything is against clarity: a condition, a doubt, a question, a promise to
do it later, a joke. One of them, and the answer is a `reply` for the rep: a wrong guess costs a client, asking a minute. Beside a
sentence that affirms all and says nothing else only a reservation is against it: there people tell what they are glad of."""

from __future__ import annotations

import re
from itertools import pairwise

from engine.core.classify.evidence import Evidence, masked, stem
from engine.core.phrases import GAP, Hit, is_cjk, phrasebook, plain

#: What stands behind a no that is an answer.
_STOP = re.compile(r"[,.!–—;:]|\s-\s")
#: "No, that is no problem": an idiom right behind a no, in the place where `masked` took it out.
_REASSURES = re.compile(r"[^\w.!?·]*(?:\w+[^\w.!?·]+){0,3}·")
NO_MAX = 14
#: The last word of a sentence, where a stop parts it from the rest: "I know nobody there, no."
_LAST_WORD = re.compile(r"[,;:–—-]\s*(\w+)\W*$")
_DIGITS = re.compile(r"\D+")
_REPEATED = re.compile(r"([a-z])\1{2,}")
_DECORATION = " .!;:-–…()" + "👍🙏😊🙂✅✔☑💯🎉😀😃😄\ufe0f"
ALONE_WORDS_MAX = 8
YES_WORDS_MAX = 160
NO_WORDS_MAX = 160
GREETING_WORDS_MAX = 4
#: Beside a yes that does not say what it is a yes to, so many words may stand whose meaning is unknown.
UNEXPLAINED_WORDS_MAX = 2
#: Beside a yes that does say it, in sentences of their own: whoever writes more has something else to say too. More may stand
#: beside a sentence that affirms all and says hardly anything else: "Yes to all three."
ELSEWHERE_WORDS_MAX = 12
ELSEWHERE_WORDS_MAX_IF_PLAIN = 30
#: A denial in fewer words than this takes back whatever stands before it: "Not quite."
TOLD_WORDS_MIN = 4
#: Beside a yes that says what it affirms, in its sentence.
AFFIRMING_WORDS_MAX = 3
#: In what came of a promise, told in its words, so many other words may stand, or as many as are of the promise.
RESULT_WORDS_MAX = 2
CLOSING_WORDS_MAX = 3
LEADING_WORDS_MAX = 2
REGRET_WORDS_MAX = 45
ABOUT_A_DAY_WORDS_MAX = 20


def decided(evidence: Evidence) -> tuple[str, str]:
    """("confirmed" | "declined" | "", rule)."""
    words = evidence.words
    if not words or _asks(evidence):
        return "", ""
    no = declined(evidence)
    if no:
        return "declined", no
    yes = confirmed(evidence)
    return ("confirmed", yes) if yes else ("", "")


def _asks(evidence: Evidence) -> bool:
    """Whether anything is asked; "Honestly?" before the answer is only a way to begin."""
    told = [one for one in evidence.sentences if _is_rhetorical(one, evidence)]
    return sum(evidence.words.count(mark) for mark in "?？") > len(told)


def _is_rhetorical(sentence: str, evidence: Evidence) -> bool:
    bare = _unaddressed(sentence.rstrip("?？ "), evidence)
    return sentence.endswith(("?", "？")) and phrasebook().equals("rhetorical", bare)


def declined(evidence: Evidence) -> str:
    """`no:de`: a refusal in plain words that leaves nothing open."""
    words = masked(evidence.words, evidence.hits("idioms", evidence.words))
    if len(words.split()) > NO_WORDS_MAX:
        return ""
    hits = [hit for hit in evidence.hits("no", words) if not _REASSURES.match(words, hit.end)]
    nobody = evidence.hits("nobody", words)
    if nobody and asks_to_confirm(evidence):
        nobody = []  # to "did we keep our promise?" that is no answer
    rest = masked(words, hits + nobody)
    hits = hits or ([] if phrasebook().has("leaves_open", rest) else nobody)
    language = hits[0].language if hits else _says_no_alone(evidence) or _regrets(evidence, rest)
    if not language:
        return ""
    if evidence.says("softening", rest) or _is_about_a_day(evidence) or _offers_instead(evidence):
        return ""
    if _begins_with_yes(evidence) and asks_to_confirm(evidence):
        return ""  # "Yes, it works. But I am not happy about the invoice."
    return f"no:{language}"


def _says_no_alone(evidence: Evidence) -> str:
    """A no that is a whole sentence, or begins or ends one."""
    return _alone(evidence, "no_alone") or _leading_no(evidence) or _closing_no(evidence)


def _is_about_a_day(evidence: Evidence) -> bool:
    """ "No, Tuesday is bad": a short no beside a weekday is about a meeting."""
    return len(evidence.words.split()) <= ABOUT_A_DAY_WORDS_MAX and _says_a_day(evidence.words, evidence)


def _says_a_day(said: str, evidence: Evidence) -> bool:
    days = phrasebook().weekdays
    words = [word.strip(_DECORATION) for word in said.split()]
    return evidence.says("tomorrow", said) is not None or any(
        len(word) > 3 and (word in days or word.removesuffix("s") in days) for word in words
    )


def _offers_instead(evidence: Evidence) -> bool:
    """ "I will not introduce you by email. I will walk you over": a sentence beside the no promises something."""
    told = [masked(one, evidence.hits("idioms", one)) for one in evidence.sentences]
    return any(evidence.says("future", one) and not evidence.says("no", one) for one in told)


def _regrets(evidence: Evidence, words: str) -> str:
    """ "That is not for me. I hope you understand.": a short text that denies something and asks to be understood, whatever it
    denies; not where it only lacks time, knowledge or a file that opens."""
    understanding = evidence.says("understanding", words)
    if understanding is None or len(words.split()) > REGRET_WORDS_MAX or asks_to_confirm(evidence):
        return ""
    denies = evidence.says("negation", words) is not None and evidence.says("refuses_nothing", words) is None
    return understanding.language if denies else ""


def confirmed(evidence: Evidence) -> str:
    """`yes:fr`: assent without a single reservation."""
    words = masked(evidence.words, evidence.hits("idioms", evidence.words))
    if len(words.split()) > YES_WORDS_MAX:
        return ""
    hits = evidence.hits("yes", evidence.words)
    lone = _alone(evidence, "yes_alone") if len(words.split()) <= ALONE_WORDS_MAX else ""
    if not hits and not lone:
        return ""
    affirming = frozenset(one for one in evidence.sentences if _affirms_all(one, evidence))
    if (
        _takes_back(evidence, affirming)
        or _ends_in_no(evidence, affirming)
        or _about_something_else(evidence, hits)
        or _says_much_else(evidence, is_plain=bool(affirming))
        or _is_limited(evidence)
        or not (lone or _comes_first(evidence))
    ):
        return ""
    return f"yes:{hits[0].language if hits else lone}"


def _takes_back(evidence: Evidence, affirming: frozenset[str]) -> bool:
    """Whether anything makes the yes less than one."""
    return any(_is_doubtful(one, evidence, affirming) for one in evidence.sentences)


def _affirms_all(sentence: str, evidence: Evidence) -> bool:
    """A sentence that says yes to what was asked and hardly anything else."""
    if not evidence.says("yes", sentence) or _doubts(sentence, evidence):
        return False
    book = phrasebook()
    beside = masked(sentence, book.find("confirms", sentence))
    says_of_what = book.has("yes_of_what", beside) or book.has("yes_kept", beside)
    most = AFFIRMING_WORDS_MAX if says_of_what else 1
    return (says_of_what or asks_to_confirm(evidence)) and _unexplained(sentence, evidence) <= most


def _doubts(sentence: str, evidence: Evidence) -> list[Hit]:
    """Without those that are part of a yes: "Sí, lo habéis cumplido" has no "si lo" (if it) in it."""
    words = masked(sentence, evidence.hits("idioms", sentence))
    said = [hit for hit in evidence.hits("yes", words) if GAP not in hit.phrase]
    return [
        doubt
        for doubt in evidence.hits("doubt", words)
        if not any(yes.start <= doubt.start and doubt.end < yes.end for yes in said)
    ]


def _is_told(sentence: str, affirming: frozenset[str]) -> bool:
    """What somebody tells beside a sentence that affirms all: "All three. My boss never smiles, and did." """
    return bool(affirming) and sentence not in affirming


def _is_doubtful(sentence: str, evidence: Evidence, affirming: frozenset[str]) -> bool:
    """Beside a sentence that affirms all only a reservation is a doubt, what is denied of us, and what is said in very few words
    ("Almost."): good news is as often what did not happen."""
    told = _is_told(sentence, affirming)
    words = masked(sentence, [*evidence.hits("idioms", sentence), *evidence.hits("social", sentence)])
    few = len(words.split()) < TOLD_WORDS_MIN and not is_cjk(words)
    if (not told or few) and _doubts(sentence, evidence):
        return True
    if not told:
        return False
    denies = phrasebook().has("negation", words) and not is_cjk(words)
    if denies and (few or evidence.says("you", words)):
        return True
    return evidence.says("reservation", words) is not None or _falls_short(words, evidence)


def _falls_short(words: str, evidence: Evidence) -> bool:
    """ "Seven days last month" where five were promised: another number of it than was said, above the least: most of what is
    promised is to take less."""
    told = _measures(words)
    promised = _measures(evidence.asked) if told else {}
    return not any(told[unit] & promised.get(unit, set()) for unit in told) and any(
        number > min(promised[unit]) for unit in told.keys() & promised.keys() for number in told[unit]
    )


def _measures(text: str) -> dict[str, set[float]]:
    """The numbers of a text by the word behind them: "five days" is {"day": {5.0}}."""
    found: dict[str, set[float]] = {}
    for word, unit in pairwise(text.split()):
        for number in _numbers(word):
            found.setdefault(stem(unit.strip(_DECORATION)), set()).add(float(number))
    return found


def _speaks_of_the_promise(words: str, evidence: Evidence) -> bool:
    return not evidence.promised.isdisjoint(stem(word.strip(_DECORATION)) for word in words.split())


def _about_something_else(evidence: Evidence, hits: list[Hit]) -> bool:
    """A bare yes answers what was asked. To "could you introduce me?" it is a promise, not a confirmation; only words of their own
    ("promise kept", "all three done") say what they mean."""
    book = phrasebook()
    said = [evidence.words[hit.start : hit.end] for hit in hits]
    if asks_to_confirm(evidence):
        return not _says_of_what(said, evidence) and not _is_all_there_is(evidence)
    generic = all(book.equals("yes_generic", one) for one in said)
    return generic or evidence.says("future") is not None or book.has("asks_other", evidence.asked)


def _says_much_else(evidence: Evidence, is_plain: bool) -> bool:
    """Whether sentences without a yes say more than can be known to be praise."""
    unknown = [(one, _unaccounted(one, evidence), evidence.says("yes", one)) for one in evidence.sentences]
    most = ELSEWHERE_WORDS_MAX_IF_PLAIN if is_plain else ELSEWHERE_WORDS_MAX
    if any(yes and _says_a_day(masked(one, evidence.hits("idioms", one)), evidence) for one, _, yes in unknown):
        return True  # "Confirmed for Thursday"
    return sum(count for _, count, yes in unknown if not yes) > most


def _is_limited(evidence: Evidence) -> bool:
    """ "The goals are reached in Leeds": a name behind the yes that says where, when or for whom; "agreed in May" does not."""
    book = phrasebook()
    for piece, sentence in zip(evidence.pieces, evidence.sentences, strict=True):
        rest = sentence[min((hit.end for hit in evidence.hits("yes", sentence)), default=len(sentence)) :].lstrip()
        names = {plain(word.strip(_DECORATION + ",")) for word in piece.split() if word[:1].isupper()}
        for hit in book.find("limits", rest):
            word = next(iter(rest[hit.end :].split()), "").strip(_DECORATION)
            is_told = (word in book.months and hit.start > 0) or _speaks_of_the_promise(word, evidence)
            if word in names and not is_told and _unexplained_words(word, evidence):
                return True
    return False


def _says_of_what(said: list[str], evidence: Evidence) -> bool:
    """Whether a yes tells what it affirms: by itself ("all three") or in its sentence ("so yes: kept"). Who confirms something says
    what: "I confirm that your letter has reached the board" is not about the promise."""
    book = phrasebook()
    sentences = [one for one in evidence.sentences if evidence.says("yes", one) and not _confirms_else(one, evidence)]
    return any(book.has("yes_of_what", one) for one in said if any(one in sentence for sentence in sentences)) or any(
        book.has("yes_kept", sentence) for sentence in sentences
    )


def _confirms_else(sentence: str, evidence: Evidence) -> bool:
    """A sentence that confirms, and beside that word speaks of nothing that was promised, but of something."""
    book = phrasebook()
    rest = masked(sentence, book.find("confirms", sentence))
    return (
        rest != sentence
        and _unexplained(sentence, evidence) > UNEXPLAINED_WORDS_MAX
        and not book.has("yes_of_what", rest)
    )


def asks_to_confirm(evidence: Evidence) -> bool:
    """Whether the quoted email, or the subject, asks for a confirmation."""
    return phrasebook().has("asks_confirm", evidence.asked)


def _leading_no(evidence: Evidence) -> str:
    """ "No, you did not.": a no with a stop behind it begins the answer, and nothing in the rest is glad."""
    first = _unaddressed(evidence.cut.text.lstrip().split("\n")[0], evidence)
    head, stop, _ = _STOP.sub("\0", first, count=1).partition("\0")
    reassures = phrasebook().has("not_a_refusal", evidence.words) or evidence.says("future")
    if (
        not stop
        or len(head) > NO_MAX
        or reassures
        or evidence.says("yes")
        or evidence.says("idioms")
        or evidence.says("praise")
    ):
        return ""
    hit = phrasebook().starts("no_alone", plain(head))
    if not hit or hit.end < len(plain(head)):
        return ""
    sentence = evidence.sentences[0]
    if _is_about_mail(sentence, evidence):
        return ""
    about_it = _unexplained(sentence, evidence) <= LEADING_WORDS_MAX or (
        asks_to_confirm(evidence) and _speaks_of_the_promise(sentence, evidence)
    )
    return hit.language if about_it else ""  # "No, the export was never part of it."


def _is_about_mail(sentence: str, evidence: Evidence) -> bool:
    """ "No, your email still bounces.": a sentence about mail and nothing else that was promised."""
    beside = masked(sentence, phrasebook().find("about_mail", sentence))
    return beside != sentence and not _speaks_of_the_promise(beside, evidence)


def _closing_no(evidence: Evidence) -> str:
    """ "… but no.", "I know her, no.": a sentence whose last words are a no."""
    for piece, sentence in list(zip(evidence.pieces, evidence.sentences, strict=True))[:3]:
        last = _LAST_WORD.search(piece.strip())
        if last and _is_flat_no(plain(last[1]), sentence, evidence):
            return phrasebook().find("no_alone", plain(last[1]))[0].language
        if phrasebook().has("yes_generic", sentence):
            continue  # "Both say yes, I say no."
        bare = _unaddressed(masked(sentence, evidence.hits("idioms", sentence)), evidence).strip(" .!")
        hit = next((hit for hit in evidence.hits("no_end", bare) if hit.end == len(bare)), None)
        if hit:
            return hit.language
    return ""


def _is_flat_no(word: str, sentence: str, evidence: Evidence) -> bool:
    """Whether the last word of a sentence is a no, and no other sentence says yes: "Delivered, yes. Working, no." does."""
    said = any(evidence.says("yes", one) for one in evidence.sentences if one != sentence)
    return (
        phrasebook().equals("negation", word)
        and _is_a_no(word, evidence)
        and not evidence.says("idioms", sentence)
        and not said
    )


def _ends_in_no(evidence: Evidence, affirming: frozenset[str]) -> bool:
    """ "Delivered, yes. Working, no.": a sentence that ends in a no takes the yes back; what is told, only behind a stop."""
    for piece, sentence in zip(evidence.pieces, evidence.sentences, strict=True):
        bare = masked(sentence, evidence.hits("idioms", sentence)).strip(_DECORATION)
        before, _, word = bare.rpartition(" ")
        parted = _LAST_WORD.search(piece.strip()) is not None
        if before and _is_a_no(word, evidence) and (parted or not _is_told(sentence, affirming)):
            return True
    return False


def _is_a_no(word: str, evidence: Evidence) -> bool:
    hits = phrasebook().find("no_alone", word)
    return any(hit.end == len(word) and (not evidence.languages or hit.language in evidence.languages) for hit in hits)


def _unaddressed(sentence: str, evidence: Evidence) -> str:
    """ "Kim, no." without whom it is said to: the rep's name at its beginning or end."""
    words = sentence.split()
    while len(words) > 1 and plain(words[0].strip(",.:!-–")) in evidence.rep_names:
        words = words[1:]
    while len(words) > 1 and plain(words[-1].strip(",.:!-–")) in evidence.rep_names:
        words = words[:-1]
    return " ".join(words)


def _alone(evidence: Evidence, kind: str) -> str:
    """A word that is an answer only where it is a sentence of its own, the first that is said."""
    for sentence in evidence.sentences[:2]:
        bare = _REPEATED.sub(r"\1", _unaddressed(sentence, evidence)).strip(_DECORATION)
        hits = [hit for hit in phrasebook().find(kind, bare) if hit.start == 0 and hit.end == len(bare)]
        fitting = [hit for hit in hits if not evidence.languages or hit.language in evidence.languages or is_cjk(bare)]
        if fitting:
            return fitting[0].language
    return ""


def _is_all_there_is(evidence: Evidence) -> bool:
    """Whether a yes that does not say what it means is the whole message, beside thanks and praise: "Yes I saw this, I am in
    audits" has more to say, and what that is nobody here knows."""
    words = masked(evidence.words, evidence.hits("idioms", evidence.words))
    if evidence.says("future", words) or evidence.says("softening", words):
        return False
    unknown = [(_unaccounted(one, evidence), evidence.says("yes", one)) for one in evidence.sentences]
    most = ELSEWHERE_WORDS_MAX_IF_PLAIN if _answers_as_asked(evidence) else UNEXPLAINED_WORDS_MAX
    if sum(count for count, _ in unknown) > most:
        return False
    return all(not count for count, yes in unknown if yes) or (
        _begins_with_yes(evidence) and not _names_a_day(evidence)
    )


def _answers_as_asked(evidence: Evidence) -> bool:
    """ "YES." and a full stop: the very answer that the email asked for, whatever is told behind it, unless of us: "Yes! We love
    the plants that you sent." """
    said = _said(evidence)
    bare = _unaddressed(said[0], evidence).strip(_DECORATION) if said else ""
    of_us = any(_unexplained(one, evidence) and evidence.says("you", one) for one in said[1:])
    return not of_us and (phrasebook().equals("yes_alone", bare) or _affirms_all(bare, evidence))


def _begins_with_yes(evidence: Evidence) -> bool:
    """ "Ja, habt ihr", "Gosh, yes": a yes before which at most praise stands, and few words behind it. What says that it came first
    or is only nearly one stands before it."""
    said = _said(evidence)
    if not said:
        return False
    if _affirms_all(said[0], evidence):
        return True
    first = _unaddressed(said[0], evidence)
    yes = evidence.hits("yes", first)
    before = masked(first, evidence.hits("praise", first)).lstrip("· ")
    return any(hit.start == 0 for hit in yes) or any(before.startswith(first[hit.start :]) for hit in yes)


def _names_a_day(evidence: Evidence) -> bool:
    """Whoever speaks of a day speaks of what comes next."""
    words = [word.strip(_DECORATION) for word in evidence.words.split()]
    days = phrasebook().weekdays
    return evidence.says("tomorrow") is not None or any(
        (word[:1].isdigit() and not _numbers(word) <= _numbers(evidence.asked)) or (len(word) > 2 and word in days)
        for word in words
    )


def _unaccounted(sentence: str, evidence: Evidence) -> int:
    """How many of its words are unexplained; none where it tells what came of the promise, in its words and with its numbers:
    "Five days, as you said." """
    unknown = _unknown(sentence, evidence)
    words = _unexplained_words(unknown, evidence)
    others = [word for word in words if stem(word) not in evidence.promised and word not in phrasebook().months]
    known, told = len(words) - len(others), _numbers(unknown)
    is_result = known and len(others) <= max(known, RESULT_WORDS_MAX) and told <= _numbers(evidence.asked)
    if evidence.says("yes", sentence) and not told:
        return len(words)  # "Yes, the open orders are with Bob."
    return 0 if is_result and asks_to_confirm(evidence) else len(words)


def _numbers(text: str) -> set[str]:
    """The numbers of a text in `plain` form: `5` of "5", "5th" and "five"."""
    words = (word.strip(_DECORATION) for word in text.split())
    return {number for word in words if (number := _DIGITS.sub("", word) or str(phrasebook().numbers.get(word, "")))}


def _unexplained(sentence: str, evidence: Evidence) -> int:
    """How many words of a sentence are no yes, no praise, no idiom, no greeting, not the rep's name and none of the little words
    of any language."""
    return len(_unexplained_words(_unknown(sentence, evidence), evidence))


def _unknown(sentence: str, evidence: Evidence) -> str:
    """A sentence without its phrases of yes, praise and idioms; nothing is left of a greeting."""
    if _is_greeting(sentence) and not evidence.says("yes", sentence):
        return ""
    known = [hit for kind in ("yes", "yes_alone", "praise", "idioms") for hit in evidence.hits(kind, sentence)]
    return masked(sentence, known).replace("·", " ")


def _unexplained_words(unknown: str, evidence: Evidence) -> list[str]:
    words = [word.strip(_DECORATION) for word in unknown.split()]
    explained = phrasebook().stop_words.keys() | evidence.rep_names
    return [word for word in words if len(word) > 1 and not word.isdigit() and word not in explained]


def _comes_first(evidence: Evidence) -> bool:
    """Whether the answer begins with the yes, or says what was confirmed: "Great. Another survey. Yes, perfect." does neither."""
    said = _said(evidence)
    while len(said) > 1 and not evidence.says("yes", said[0]) and not _unaccounted(said[0], evidence):
        said = said[1:]  # "Thank you for asking."
    first = bool(said) and evidence.says("yes", said[0]) is not None
    last = bool(said) and len(said[-1].split()) <= CLOSING_WORDS_MAX and evidence.says("yes", said[-1]) is not None
    return first or last or (bool(said) and phrasebook().has("yes_said", evidence.words))


def _said(evidence: Evidence) -> list[str]:
    """The sentences but for greetings and "Honestly?"; one that says yes is none."""
    told = [one for one in evidence.sentences if not _is_rhetorical(one, evidence)]
    return [one for one in told if not _is_greeting(one) or evidence.says("yes", one)]


def _is_greeting(sentence: str) -> bool:
    """ "Hi Kim" on a line of its own: few words and no full stop."""
    return (
        len(sentence.split()) <= GREETING_WORDS_MAX
        and not sentence.endswith((".", "?"))
        or (is_cjk(sentence) and len(sentence) < 12)
    )
