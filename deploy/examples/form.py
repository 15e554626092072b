"""A form to unsubscribe that never loses what it was told, also while the ledger, Kafka and the network are down.

    CONSENT_API_KEY=… uv run python deploy/examples/form.py --api http://127.0.0.1:8080 --port 8000

`consent up --demo-registers` prints the address and the key of its API. What is taken stands on disk before the page
says so; it is delivered as soon as the API answers, also by the next start.
"""

import argparse
import html
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

from consent_ledger.client import HttpTransport, Publisher
from consent_ledger.domain.errors import MalformedError

CONTROLLER = "dekra-be"
PURPOSE = "newsletter-email"
FORM_MAX_BYTES = 10_000
PAGE = """<!doctype html><html lang="en"><title>Newsletter</title><p>{message}</p>
<form method="post"><label>E-mail <input name="email" type="email" required></label>
<button>Unsubscribe</button></form></html>"""


class Form(BaseHTTPRequestHandler):
    """One page: a GET shows it and changes nothing; a POST withdraws the consent to the newsletter (Art. 7(3))."""

    publisher: Publisher

    def do_GET(self) -> None:
        """Show the form."""
        self._answer(200, "No more newsletters? Your address is enough.")

    def do_POST(self) -> None:
        """Take the withdrawal."""
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), FORM_MAX_BYTES))
        address = parse_qs(body.decode("utf-8", "replace")).get("email", [""])[0].strip()
        if not address:
            self._answer(400, "Please give your e-mail address.")
            return
        try:
            self.publisher.publish("consent-withdrawn", {
                "controllers": [CONTROLLER], "subject": [{"type": "email", "value": address}],
                "purposes": [PURPOSE], "channels": ["email"],
            })  # fmt: skip
        except MalformedError:
            self._answer(400, "This cannot be read as an e-mail address.")
        else:
            self._answer(200, "You get no more newsletters.")

    def log_message(self, *_: object) -> None:
        """Log nothing: what is sent here is personal."""

    def _answer(self, status: int, message: str) -> None:
        page = PAGE.format(message=html.escape(message)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)


def main() -> None:
    """Read the arguments and serve until stopped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--api", default=os.environ.get("CONSENT_API_URL", "http://127.0.0.1:8080"))
    parser.add_argument("--port", type=int, default=8000, help="where the form is served; 0: any")
    parser.add_argument("--outbox", type=Path, default=Path("outbox.db"), help="where the form keeps what it was told")
    said = parser.parse_args()
    key = os.environ["CONSENT_API_KEY"]
    with Publisher(said.outbox, lambda: HttpTransport(said.api, key), source="web:dekra-be") as publisher:
        Form.publisher = publisher
        with ThreadingHTTPServer(("127.0.0.1", said.port), Form) as server:
            print(f"http://127.0.0.1:{server.server_port}", flush=True)
            server.serve_forever()


if __name__ == "__main__":
    main()
