"""Hello, world, in Starlette."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def livez(_: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


async def hello(request: Request) -> JSONResponse:
    return JSONResponse(f"Hello, {(await request.json())['name']}!")


app = Starlette(routes=[Route("/livez", livez), Route("/hello", hello, methods=["POST"])])
