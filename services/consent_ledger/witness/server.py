"""The witness over HTTP."""

import asyncio
import socket
import time

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from consent_ledger.witness.witness import Witness

_BODY_MAX = 64 * 1024


def application(witness: Witness) -> Starlette:
    """Make the application: POST /add-checkpoint."""

    async def add_checkpoint(request: Request) -> Response:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > _BODY_MAX:
                return Response(status_code=413)
        answer = await asyncio.to_thread(witness.add_checkpoint, body, int(time.time()))
        # As a header, for a media type would be given a charset.
        return Response(answer.content, answer.status, {"Content-Type": answer.media_type})

    return Starlette(routes=[Route("/add-checkpoint", add_checkpoint, methods=["POST"])])


def serve(witness: Witness, opened: socket.socket) -> None:
    """Answer on a socket until told to end."""
    config = uvicorn.Config(application(witness), access_log=False, log_level="warning", server_header=False)
    uvicorn.Server(config).run(sockets=[opened])
