"""Spanish: which sentences state a fact about the speaker, and how they read in the third person.

Passable, not complete: a verb that the tables below do not know keeps its sentence, as what was told.
"""

from __future__ import annotations

import re

from streams.extraction.rules_english import words

_OPENING = re.compile(
    r"^(?:(?:hola|buenas|buenos días|buenas tardes|buenas noches|bueno|pues|oye|mira|sí|no|ok|vale|claro|gracias|"
    r"además|también|por cierto|a propósito|ah|oh|eh|perfecto|genial|la verdad)[,!.:;]+\s*"
    r"|¡?hola!?\s+|(?:y|pero|pues|bueno)\s+(?=(?:yo|mi|me|soy|tengo|vivo|estoy)\b)"
    r"|(?:por favor,?\s*)?(?:recuerda|ten en cuenta|no olvides|acuérdate de|anota|que sepas)(?: que)?:?\s+"
    r"|(?:te cuento|quería contarte|quería decirte|te comento) que\s+)",
    re.IGNORECASE,
)
_CLOSING = re.compile(
    r"[\s,;-]*\b(?:por favor|gracias|muchas gracias|por cierto|sabes|jaja|vale|ok|saludos)[\s.,;!]*$", re.IGNORECASE
)
_NOT_A_FACT = re.compile(
    r"^(?:(?:qué|quién|cómo|cuándo|dónde|cuál|por qué|puedes|podrías|me puedes|me podrías|sabes|tienes|hay|dime|ayúdame|"
    r"muéstrame|recuérdame|explícame|dame|busca|haz|escribe|necesito que|necesito ayuda|quiero que|quiero saber|"
    r"quisiera saber|tengo una (?:pregunta|duda)|me gustaría (?:saber|que)|no sé|no lo sé|entiendo|estoy de acuerdo|"
    r"espero|me alegr\w+|lo siento|estoy bien|muy bien)\b)",
    re.IGNORECASE,
)
_VERBS = {
    "soy": "es", "estoy": "está", "tengo": "tiene", "vivo": "vive", "trabajo": "trabaja", "estudio": "estudia",
    "hablo": "habla", "uso": "usa", "prefiero": "prefiere", "quiero": "quiere", "odio": "odia", "necesito": "necesita",
    "toco": "toca", "juego": "juega", "corro": "corre", "bebo": "bebe", "tomo": "toma", "leo": "lee", "escribo": "escribe",
    "cocino": "cocina", "manejo": "maneja", "conduzco": "conduce", "viajo": "viaja", "enseño": "enseña", "nado": "nada",
    "practico": "practica", "colecciono": "colecciona", "cuido": "cuida", "amo": "ama", "llevo": "lleva", "voy": "va",
    "hago": "hace", "puedo": "puede", "sé": "sabe", "conozco": "conoce", "creo": "cree", "llamo": "llama", "dedico": "dedica",
    "levanto": "levanta", "acuesto": "acuesta", "mudo": "muda", "caso": "casa", "siento": "siente", "vengo": "viene",
    "fui": "fue", "era": "era", "tuve": "tuvo", "hice": "hizo", "estuve": "estuvo", "pude": "pudo", "vine": "vino",
    "quise": "quiso", "dije": "dijo", "puse": "puso", "di": "dio", "vi": "vio", "he": "ha", "había": "había",
    "tenía": "tenía", "vivía": "vivía", "trabajaba": "trabajaba", "compro": "compra", "vendo": "vende", "dirijo": "dirige",
    "administro": "administra", "programo": "programa", "diseño": "diseña", "canto": "canta", "bailo": "baila", "pinto": "pinta",
    "entreno": "entrena", "ando": "anda", "desayuno": "desayuna", "ceno": "cena", "almuerzo": "almuerza", "duermo": "duerme",
}  # fmt: skip
_PAST = re.compile(r"^([a-záéíóúñ]{2,})(é|í)$")
_DATED = re.compile(r"^((?:el|en(?: la semana del)?) \d{4}[\d-]*),?\s+", re.IGNORECASE)
_ALSO = re.compile(r"\b(y|pero|porque) (no )?(soy|estoy|tengo|vivo|hablo|prefiero|quiero|odio|leo|fui|tuve|hice|puedo)\b")
_BEFORE_VERB = words("no ya nunca siempre también ahora actualmente solo sólo casi todavía aún a veces")
_LIKED = re.compile(
    r"^(no )?(?:a mí )?me (gusta|gustan|encanta|encantan|interesa|interesan|duele|duelen|fascina|fascinan|molesta|molestan)\b",
    re.IGNORECASE,
)
_STATES = re.compile(
    r"^(?:mi|mis|nuestro|nuestra|nuestros|nuestras)\b.*\b(?:es|son|está|están|se llama|se llaman|tiene|tienen|vive|viven|"
    r"trabaja|trabajan|fue|era|cumple|nació|empieza|termina|vence|estudia|quiere|juega)\b"
    r"|^(?:el|la|los|las)\s+(?:\S+\s+){1,6}?(?:es|son|está|están|vence|empieza|termina|cuesta)\s+\S+"
    r"|^(?:[A-ZÁÉÍÓÚÑ][\wáéíóúñ-]+\s+){1,4}(?:es|son|está|vive|trabaja|tiene)\s+\S+",
    re.IGNORECASE,
)
_HIGH = re.compile(
    r"\b(?:llam\w+|nombre|nac[ií]\w*|cumpleaños|alérgic\w+|alergia|diabétic\w+|vegan\w+|vegetarian\w+|celíac\w+|viv\w+|mud\w+|"
    r"trabaj\w+|casad\w+|espos\w+|marido|mujer|hij\w+|herman\w+|madre|padre|mamá|papá|correo|teléfono|dirección|rut|clave)\b",
    re.IGNORECASE,
)
_LIKING = re.compile(r"\b(?:gust\w+|encant\w+|prefier\w+|odi\w+|favorit\w+|interes\w+|fascin\w+)\b", re.IGNORECASE)


def trimmed(sentence: str) -> str | None:
    """The bare statement, without greetings and courtesy around it; None where it states nothing."""
    core, before = sentence.strip(), ""
    if core.endswith("?") or core.startswith("¿"):
        return None
    while core != before:
        before = core
        core = _OPENING.sub("", core, count=1).strip(" ¡")
        core = re.sub(r"[\s.!;,:-]+$", "", _CLOSING.sub("", core))
    if _NOT_A_FACT.match(core) or len(core.split()) < 2:
        return None
    return core


def third_person(core: str, speaker: str | None) -> tuple[str, float] | None:
    """The statement about `speaker` (or "El usuario") and its salience, or None where no rule fits."""
    subject = speaker or "El usuario"
    when = _DATED.match(core)
    if when:
        core = f"{core[when.end() :]} {when[1].lower()}"
    liked = _LIKED.match(core)
    if liked:
        to_whom = f"A {speaker}" if speaker else "Al usuario"
        text: str | None = f"{to_whom} {(liked[1] or '').lower()}le {liked[2].lower()}{core[liked.end() :]}"
    else:
        text = _conjugated(core, subject)
    if text is None and (_STATES.match(core) or re.search(r"\b(?:yo|mi|mis|nosotros|nuestr[oa]s?)\b", core, re.IGNORECASE)):
        text = f"{subject} cuenta: {core[:1].lower()}{core[1:]}"
    return None if text is None else (text, salience(text))


def salience(text: str) -> float:
    """0.8 for who one is, where one lives and works, health and family; 0.65 for likings; else 0.5."""
    if _HIGH.search(text):
        return 0.8
    return 0.65 if _LIKING.search(text) else 0.5


def _conjugated(core: str, subject: str) -> str | None:
    """From "(yo) (no) (me) vivo …" to "<subject> (no) (se) vive …"; None where the verb is no known first person."""
    left = core.split()
    if left[0].lower() == "yo":
        left = left[1:]
    before: list[str] = []
    reflexive = False
    while left and (left[0].lower() in _BEFORE_VERB or left[0].lower() == "me"):
        reflexive = reflexive or left[0].lower() == "me"
        before.append("se" if left[0].lower() == "me" else left[0].lower())
        left = left[1:]
    if not left:
        return None
    bare = left[0].lower().rstrip(",.;")
    past = _PAST.match(bare)
    verb = _VERBS.get(bare)
    if verb is None and past is not None:
        verb = past[1] + ("ó" if past[2] == "é" else "ió")
        verb = re.sub(r"qu[ó]$", "có", re.sub(r"gu[ó]$", "gó", verb))
    if verb is None:
        return None
    rest = " ".join(left[1:])
    rest = re.sub(r"\bmi\b", "su", re.sub(r"\bmis\b", "sus", rest, flags=re.IGNORECASE), flags=re.IGNORECASE)
    rest = _ALSO.sub(lambda m: f"{m[1]} {m[2] or ''}{_VERBS[m[3]]}", rest)
    rest = re.sub(r"\bconmigo\b", "consigo", rest, flags=re.IGNORECASE)
    return " ".join([subject, *before, verb, rest]).strip()
