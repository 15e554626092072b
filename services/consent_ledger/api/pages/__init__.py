"""Pages for people: small, in their language, and complete in themselves, so that nothing else is loaded."""

import base64
import hashlib
from typing import Final, Literal, NamedTuple

from fastapi import Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from consent_ledger.api.problems import RETRY_AFTER_SECONDS

State = Literal["ask", "done", "unknown", "unavailable"]

_STYLE: Final = (
    "body{font:1.1rem/1.5 sans-serif;margin:3rem auto;max-width:34rem;padding:0 1rem}"
    "button{font:inherit;padding:.6rem 1.2rem}"
)
_STYLE_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    # The address of the page is the token: it goes to nobody else, and nobody keeps a copy.
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "Vary": "Accept-Language",
}
_STATUS: Final[dict[State, int]] = {"ask": 200, "done": 200, "unknown": 404, "unavailable": 503}


class Text(NamedTuple):
    """What a page says. `button` None: there is nothing to press."""

    title: str
    lead: str
    button: str | None = None


_TEXTS: Final[dict[str, dict[State, Text]]] = {
    "en": {
        "ask": Text("Unsubscribe", "Press the button and you will receive no more of these messages from:",
                    "Unsubscribe"),
        "done": Text("You are unsubscribed", "You will receive no more of these messages. You need do nothing else."),
        "unknown": Text("Not found", "This link is not complete. Please open it from the message once more."),
        "unavailable": Text("Not yet unsubscribed", "This does not work just now, and nothing has been changed. "
                            "Please try again in some minutes."),
    },
    "nl": {
        "ask": Text("Afmelden", "Druk op de knop en u krijgt deze berichten niet meer van:", "Afmelden"),
        "done": Text("U bent afgemeld", "U krijgt deze berichten niet meer. U hoeft verder niets te doen."),
        "unknown": Text("Niet gevonden", "Deze link is niet volledig. Open hem nog eens vanuit het bericht."),
        "unavailable": Text("Nog niet afgemeld", "Dit lukt nu even niet, en er is niets veranderd. "
                            "Probeer het over enkele minuten opnieuw."),
    },
    "fr": {
        "ask": Text("Se désabonner", "Appuyez sur le bouton et vous ne recevrez plus ces messages de :",
                    "Se désabonner"),
        "done": Text("Vous êtes désabonné", "Vous ne recevrez plus ces messages. Vous n'avez rien d'autre à faire."),
        "unknown": Text("Introuvable", "Ce lien est incomplet. Veuillez l'ouvrir encore une fois depuis le message."),
        "unavailable": Text("Pas encore désabonné", "Cela ne fonctionne pas pour l'instant, et rien n'a changé. "
                            "Veuillez réessayer dans quelques minutes."),
    },
    "de": {
        "ask": Text("Abmelden", "Mit einem Druck auf den Knopf erhalten Sie diese Nachrichten nicht mehr von:",
                    "Abmelden"),
        "done": Text("Sie sind abgemeldet", "Sie erhalten diese Nachrichten nicht mehr. Weiter ist nichts zu tun."),
        "unknown": Text("Nicht gefunden", "Dieser Link ist unvollständig. Bitte öffnen Sie ihn noch einmal aus der "
                        "Nachricht."),
        "unavailable": Text("Noch nicht abgemeldet", "Das geht gerade nicht, und es wurde nichts geändert. "
                            "Bitte versuchen Sie es in einigen Minuten noch einmal."),
    },
}  # fmt: skip
_DEFAULT: Final = "en"

_template = Environment(
    loader=PackageLoader(__name__, "."), autoescape=select_autoescape(), undefined=StrictUndefined
).get_template("unsubscribe.html")


def page(request: Request, state: State, who: str | None = None) -> Response:
    """Answer with a page in the reader's language. `who`: the controller's name, where it may be shown."""
    language = preferred(request.headers.get("accept-language", ""))
    html = _template.render(language=language, text=_TEXTS[language][state], who=who, style=_STYLE)
    later = {"Retry-After": str(RETRY_AFTER_SECONDS)} if state == "unavailable" else {}
    headers = {**_HEADERS, "Content-Language": language, **later}
    return Response(html, _STATUS[state], headers, "text/html; charset=utf-8")


def preferred(accepted: str) -> str:
    """Choose a language by an `Accept-Language` header (RFC 9110 section 12.5.4): English if none of them is ours."""
    wishes = []
    for wish in accepted[:1000].split(","):
        tag, _, weight = wish.partition(";")
        language = tag.strip().lower().partition("-")[0]
        if language in _TEXTS:
            wishes.append((_weight(weight), language))
    wishes = [wish for wish in wishes if wish[0] > 0]
    return max(wishes, key=lambda wish: wish[0])[1] if wishes else _DEFAULT


def _weight(text: str) -> float:
    name, _, value = text.strip().partition("=")
    if not name:
        return 1.0
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0
