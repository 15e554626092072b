"""The command that makes links, and the keys it needs."""

import httpx

from cli.installed import Up, consent
from cli.people import somebody
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


def test_what_cannot_be_is_said(up: Up) -> None:
    nobody = consent("unsubscribe-link", "--controller", "vloet", "--purpose", "x", "--url", URL, data=up.data,
                     said_in="a@example.be")  # fmt: skip
    no_address = consent("unsubscribe-link", *NEWSLETTER, "--url", URL, data=up.data, said_in="nobody at all")
    no_url = consent("unsubscribe-link", *NEWSLETTER, data=up.data, said_in="a@example.be")
    plain = consent("unsubscribe-link", *NEWSLETTER, "--url", "http://x.example", data=up.data, said_in="a@example.be")
    renew = consent("keys", "renew", "--controller", "nobody", data=up.data)

    assert [one.status for one in (nobody, no_address, no_url, plain, renew)] == [1, 2, 2, 2, 1]
    assert "nobody at all" not in no_address.err
