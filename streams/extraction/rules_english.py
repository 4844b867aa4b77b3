"""English: which sentences state a fact about the speaker, and how they read in the third person."""

from __future__ import annotations

import re


def words(text: str) -> frozenset[str]:
    """The words of a blank-separated list."""
    return frozenset(text.split())


_OPENING = re.compile(
    r"^(?:(?:well|oh|ah|hey|hi|hello|hi there|hey there|good (?:morning|evening|afternoon)|yes|yeah|yep|no|nope|ok|okay|"
    r"so|and|also|but|actually|anyway|anyways|by the way|btw|fyi|thanks|thank you|wow|sure|right|honestly|"
    r"great|cool|nice|just so you know|for your information|for the record|as i said|like i said|again|"
    r"you know|you know what|i mean|haha|lol|guess what)(?:[,!.:;-]+\s*|\s+-+\s*)"
    r"|(?:so|and|also|but|well|btw|actually|oh)\s+(?=(?:i|my|we|our|the)\b)"
    r"|(?:please )?(?:remember|note|keep in mind|don't forget|know|be aware) that,?:?\s+"
    r"|(?:please )?(?:remember|note|keep in mind|don't forget),?:?\s+(?=(?:i|i'm|i've|my|we|our|the)\b)"
    r"|(?:please|let me tell you(?: that)?|"
    r"i (?:wanted|want|have|just wanted) to (?:tell|say|mention|let you know)(?: you)?(?: that)?|"
    r"i should mention(?: that)?|i forgot to (?:say|mention)(?: that)?|did i mention that|as you know)[, :]+)",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"[\s,;-]*\b(?:please|thanks(?: a lot| so much)?|thank you(?: very much| so much)?|by the way|btw|you know|"
    r"fyi|ok|okay|haha|lol|cheers|right now|though|if that helps|just so you know|for your information|as i said)"
    r"[\s.,;!]*$",
    re.IGNORECASE,
)
_QUESTION = re.compile(
    r"^(?:who|what|where|when|why|how|which|whose|do|does|did|can|could|would|will|should|shall|is|are|am|was|were|"
    r"have|has|may|might|any|got any)\b(?!.*\bmy name\b)",
    re.IGNORECASE,
)
_REQUEST = re.compile(
    r"^(?:let|tell|show|give|help|remind|find|explain|write|make|send|suggest|recommend|translate|summari[sz]e|check|look|"
    r"try|add|set|book|list|compare|create|draft|forget|stop|start|describe|"
    r"i(?:'d| would) (?:like|love) (?:you|to know|to ask|to hear)|"
    r"i(?:'d| would) appreciate|i want you to|i need (?:you|help|some help|your)|i have a question|i(?:'m| was| am) wondering|"
    r"i(?:'m| am) looking for (?:help|advice|information)|i want to (?:ask|know))\b",
    re.IGNORECASE,
)
_SMALL_TALK = re.compile(
    r"^(?:i (?:see|know|agree|understand|guess|hope|wish|appreciate|bet|suppose|get it|got it|can't wait|totally agree|"
    r"don't know|don't think so|think so|hear you|couldn't agree|can imagine|can see|mean)\b"
    r"|i love (?:that|it|this)\b|i(?:'m| am) (?:so |really |very )?(?:glad|sorry|sure|happy (?:to hear|for you)|here|back|"
    r"listening|curious|good|fine|ok|okay|great|doing (?:well|good|great|fine|okay|ok))\b(?!\s+(?:at|with)\b)"
    r"|i(?:'ll| will) (?:let you know|think about|try (?:it|that)|do (?:it|that)|check|be back|get back)\b"
    r"|i(?:'m| am) (?:so )?proud of you\b|my (?:pleasure|bad|goodness|god)\b|i(?:'m| am) (?:on it|in|off)$)",
    re.IGNORECASE,
)
_COPULA = re.compile(
    r"^(?:(?:The|Our)\s+(?:[\w'-]+\s+){1,6}?|(?:[A-Z][\w'-]*\s+(?:(?:and|of|the)\s+)?){1,5}?)"
    r"(?:is|are|was|were|lives|live|works|work|has|have|starts|ends|costs|belongs)\s+\S+",
)
_NOT_SUBJECTS = words(
    "it that this there these those what who here you he she they thanks great nice good everything something nothing "
    "someone anyone everyone one hope sounds all some how such if when while because"
)
_I = re.compile(r"\bI(?:'(m|ve|d|ll))?\b(?!\.)|\bi(?:'(m|ve|d|ll))?\b(?!\.)")
_ADVERBS = words(
    "always never usually often sometimes really also just still already even actually currently recently finally only "
    "mostly generally normally rarely seldom now then absolutely definitely probably both simply truly once ever "
    "soon quickly completely totally first"
)
_SAME_FORM = words(
    "can could will would shall should may might must cannot can't couldn't won't wouldn't shouldn't mustn't didn't had "
    "hadn't did ought used had've wasn't"
)
_IRREGULAR = {
    "am": "is", "have": "has", "do": "does", "go": "goes", "don't": "doesn't", "haven't": "hasn't", "was": "was",
    "ain't": "isn't",
}  # fmt: skip
_AFTER_THEY = {"am": "are", "was": "were", "wasn't": "weren't"}
_PAST = words(
    "went was got made took came saw knew thought found gave told felt became left put brought began kept held wrote stood "
    "heard let meant set met ran paid sat spoke lay led read grew lost fell sent built understood drew broke spent cut rose "
    "drove bought wore chose ate slept won taught caught hurt forgot sold flew drank swam sang rode shot hit quit said "
    "threw bit woke hid hung fought sought stuck struck swore tore froze fed bred bent dug lit shut spread split stole "
    "swept swung underwent withdrew overcame became forgave bet cost rang shook shrank sank slid spun sprang"
)
_ENDS_IN_ED = words("need feed breed succeed proceed exceed speed bleed seed heed weed embed shed wed")
_HIGH = re.compile(
    r"\b(?:name|names|called|born|birthday|allerg\w+|intoleran\w+|diabet\w+|asthma\w*|vegan|vegetarian|coeliac|celiac|"
    r"live|lives|lived|moved?|works?|worked|job|married|wife|husband|partner|children|kids?|son|daughter|"
    r"mother|father|sister|brother|email|phone|address|medication|pregnant|deadline|code)\b",
    re.IGNORECASE,
)
_LIKING = re.compile(
    r"\b(?:like|love|prefer|hate|enjoy|favou?rite|dislike|adore|can't stand|interested|fan of)\w*\b", re.IGNORECASE
)


def trimmed(sentence: str) -> str | None:
    """The bare statement, without greetings and courtesy around it; None where it states nothing."""
    core = _without_frills(sentence)
    if core.endswith("?") or _QUESTION.match(core) or _REQUEST.match(core) or _SMALL_TALK.match(core):
        return None
    return core.rstrip(" .!;,:-") if len(core.split()) >= 3 else None


def third_person(core: str, speaker: str | None) -> tuple[str, float] | None:
    """The statement about `speaker` (or "User") and its salience, or None where no rule fits."""
    subject = speaker or "User"
    called = re.match(r"^(?:please )?(?:you can |people |everyone |my friends )?call(?:s)? me ([\w' -]+)$", core, re.IGNORECASE)
    if called:
        return f"{subject} is called {called[1]}", 0.8
    if re.search(r"\b(?:we|our|us)\b", core, re.IGNORECASE) and not _I.search(core):
        text = f"{subject} says: {core[:1].lower()}{core[1:]}" if _first_person_plural(core) else None
    elif _I.search(core) or re.match(r"^my\b", core, re.IGNORECASE):
        text = _rewritten(core, subject)
    elif re.search(r"\bmy\b", core, re.IGNORECASE) and _states(core):
        text = re.sub(r"\bmy\b", f"{subject}'s", core, flags=re.IGNORECASE)
    elif _states(core):
        text = core if speaker is None else f"{speaker} says: {core}"
    else:
        text = None
    return None if text is None else (text, salience(text))


def salience(text: str) -> float:
    """0.8 for who one is, where one lives and works, health and family; 0.65 for likings; else 0.5."""
    if _HIGH.search(text):
        return 0.8
    return 0.65 if _LIKING.search(text) else 0.5


def _without_frills(sentence: str) -> str:
    core, before = sentence.strip(), ""
    while core != before:
        before = core
        core = _OPENING.sub("", core, count=1).strip()
        question = core.endswith("?")
        core = _CLOSING.sub("", core).strip()
        core = re.sub(r"[\s.!;,:-]+$", "", core)
        if question and not core.endswith("?"):
            core += "?"
    return core[:1].upper() + core[1:]


def _first_person_plural(core: str) -> bool:
    return bool(re.match(r"^(?:(?:\w+,? ){0,4}we\b|our\b)", core, re.IGNORECASE))


def _states(core: str) -> bool:
    first = core.split()[0].lower().split("'")[0]
    return first not in _NOT_SUBJECTS and len(core.split()) >= 4 and bool(_COPULA.match(core))


def _rewritten(core: str, subject: str) -> str | None:
    """First person to third: the first "I" becomes the subject, later ones "they"."""
    out: list[str] = []
    at, named = 0, False
    for match in _I.finditer(core):
        out.append(_possessives(core[at : match.start()], subject, named))
        named = named or bool(re.search(r"\bmy\b", core[at : match.start()], re.IGNORECASE))
        contraction = (match[1] or match[2] or "").lower()
        rest = core[match.end() :]
        who = "they" if named else subject
        said, used = _conjugated(contraction, rest, plural=named)
        out.append(f"{who}{said}")
        named, at = True, match.end() + used
    out.append(_possessives(core[at:], subject, named))
    text = "".join(out)
    return text if len(text.split()) >= 3 else None


def _possessives(piece: str, subject: str, named: bool) -> str:
    def my(match: re.Match[str]) -> str:
        nonlocal named
        owner = "their" if named else f"{subject}'s"
        named = True
        return owner

    piece = re.sub(r"\bmy\b", my, piece, flags=re.IGNORECASE)
    piece = re.sub(r"\bmyself\b", "themselves", piece, flags=re.IGNORECASE)
    piece = re.sub(r"\bmine\b", "theirs", piece, flags=re.IGNORECASE)
    return re.sub(r"\bme\b", "them" if named else subject, piece, flags=re.IGNORECASE)


def _conjugated(contraction: str, rest: str, *, plural: bool) -> tuple[str, int]:
    """What follows the subject, and how many characters of `rest` it replaces."""
    if contraction:
        forms = {"m": "are" if plural else "is", "ve": "have" if plural else "has", "d": "would", "ll": "will"}
        word = forms[contraction]
        if contraction == "d" and re.match(r"\s+(?:been|had|never|\w+ed)\b", rest):
            word = "had"
        return f" {word}", 0
    used = 0
    said = ""
    while (match := re.match(r"(\s+)([\w']+)", rest[used:])) is not None:
        word = match[2]
        used += match.end()
        if word.lower() in _ADVERBS:
            said += f" {word}"
            continue
        return f"{said} {_AFTER_THEY.get(word.lower(), word) if plural else _third(word)}", used
    return said, used


def _third(verb: str) -> str:
    word = verb.lower()
    if word in _SAME_FORM or word in _PAST:
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("ed") and word not in _ENDS_IN_ED:
        return word
    if re.search(r"(?:s|x|z|ch|sh|o)$", word):
        return f"{word}es"
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}s"
