"""The command that makes links, the keys it needs, and what a click does under the registers of the example companies.

Seen to fail: a click that speaks to the whole group; one that names somebody who is not registered.
"""

import json
import time

import httpx

from cli.installed import Up, consent
from cli.people import NEWSLETTER as DEKRA
from cli.people import gave, somebody
from consent_ledger.client import UnsubscribeLinks, load_token_keys

URL = "https://consent.example.be"
NEWSLETTER = ("--controller", "vloet", "--purpose", "newsletter")


def test_the_headers_are_those_that_a_tool_makes_with_its_export(up: Up) -> None:
    person = somebody()

    made = consent("unsubscribe-link", *NEWSLETTER, "--url", URL, "--json", data=up.data, said_in=f"{person}\n")
    export = consent("keys", "export", "--controller", "vloet", "--links", "--json", data=up.data)
    printed = consent("unsubscribe-link", *NEWSLETTER, "--url", URL, data=up.data, said_in=f"{person}\n")

    links = UnsubscribeLinks(load_token_keys(export.data)["vloet"], URL)
    assert made.data["headers"] == links.headers(purpose="newsletter", address=person)
    assert printed.out == "".join(f"{name}: {text}\n" for name, text in made.data["headers"].items())
    assert person not in printed.out


def test_links_work_on_the_running_service_also_after_keys_are_renewed(up: Up) -> None:
    first = consent("unsubscribe-link", *NEWSLETTER, "--url", URL, "--json", data=up.data, said_in=somebody())
    renewed = consent("keys", "renew", "--controller", "vloet", data=up.data)
    second = consent("unsubscribe-link", *NEWSLETTER, "--url", URL, "--json", data=up.data, said_in=somebody())

    links = [one.data["link"].replace(URL, up.said["api"]) for one in (first, second)]
    answers = [httpx.post(link, data={"List-Unsubscribe": "One-Click"}, timeout=30) for link in links]

    assert renewed.status == 0
    assert [answer.status_code for answer in answers] == [200, 200]


def test_a_click_counts_for_its_controller_alone_whatever_sources_are_registered(up: Up) -> None:
    person = somebody()
    sister = json.loads(gave(person, controllers=["dekra-se"])) | {"source": "web:dekra-se"}
    for line in (gave(person), json.dumps(sister)):
        assert consent("publish", "-", data=up.data, said_in=line).status == 0
    at_sister = ("--controller", "dekra-se", *DEKRA[2:])
    _becomes(up, DEKRA, person, "CONSENT")
    _becomes(up, at_sister, person, "CONSENT")

    made = consent("unsubscribe-link", *DEKRA, "--url", URL, "--json", data=up.data, said_in=person)
    link = made.data["link"].replace(URL, up.said["api"])
    looked, clicked = httpx.get(link, timeout=30), httpx.post(link, data={"List-Unsubscribe": "One-Click"}, timeout=30)

    assert (looked.status_code, clicked.status_code) == (200, 200)
    _becomes(up, DEKRA, person, "CONSENT_WITHDRAWN")
    _becomes(up, at_sister, person, "CONSENT")
    assert "unsubscribe" not in consent("register", "show", "--json", data=up.data).data["register"]["sources"]


def _becomes(up: Up, asked: tuple[str, ...], address: str, reason: str) -> None:
    deadline = time.monotonic() + 30
    while (found := consent("decide", *asked, address, "--json", data=up.data).data["reason"]) != reason:
        assert time.monotonic() < deadline, found


def test_what_cannot_be_is_said(up: Up) -> None:
    nobody = consent("unsubscribe-link", "--controller", "vloet", "--purpose", "x", "--url", URL, data=up.data,
                     said_in="a@example.be")  # fmt: skip
    no_address = consent("unsubscribe-link", *NEWSLETTER, "--url", URL, data=up.data, said_in="nobody at all")
    no_url = consent("unsubscribe-link", *NEWSLETTER, data=up.data, said_in="a@example.be")
    plain = consent("unsubscribe-link", *NEWSLETTER, "--url", "http://x.example", data=up.data, said_in="a@example.be")
    renew = consent("keys", "renew", "--controller", "nobody", data=up.data)

    assert [one.status for one in (nobody, no_address, no_url, plain, renew)] == [1, 2, 2, 2, 1]
    assert "nobody at all" not in no_address.err
