"""Programs that know nothing of the platform, as their frameworks have them written; each tells who it is at `/who`."""

FLASK = """
import os
import signal
import sys
import threading

from flask import Flask

app = Flask(__name__)


@app.route("/who", methods=["GET", "POST"])
def who():
    return os.environ["HANSE_INSTANCE"]


if "STRAY" in os.environ:
    # Nobody ends it, so the worker that has it does not end either.
    threading.Thread(target=threading.Event().wait).start()

if __name__ == "__main__":
    # The process means to end when it is told to; this thread does not, and goes on answering.
    threading.Thread(target=app.run, args=(os.environ["HOST"], int(os.environ["PORT"]))).start()
    signal.signal(signal.SIGTERM, sys.exit)
    signal.pause()
"""

DJANGO = """
import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(ROOT_URLCONF=__name__, SECRET_KEY="zoo", ALLOWED_HOSTS=["*"])


def who(request):
    return HttpResponse(os.environ["HANSE_INSTANCE"])


urlpatterns = [path("who", who)]
asgi = get_asgi_application()
wsgi = get_wsgi_application()
"""

FASTAPI = """
import os

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

app = FastAPI()


@app.api_route("/who", methods=["GET", "POST"], response_class=PlainTextResponse)
async def who() -> str:
    return os.environ["HANSE_INSTANCE"]
"""

SOCKETIO = """
import os

import socketio

# So that a poll of somebody who has left does not hold up a stop for long.
server = socketio.AsyncServer(async_mode="asgi", ping_interval=1, ping_timeout=10)
app = socketio.ASGIApp(server)


@server.event
async def who(sid):
    return os.environ["HANSE_INSTANCE"]
"""

NODE = """
const http = require("http");

http.createServer((request, answer) => {
  request.resume();
  request.on("end", () => answer.end(process.env.HANSE_INSTANCE));
}).listen(process.env.PORT, process.env.HOST);
"""

CADDY = """
{
    admin off
    persist_config off
    auto_https off
}
http://:{$PORT} {
    bind {$HOST}
    root * .
    respond /who {$HANSE_INSTANCE}
    file_server
}
"""

ODD = """
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

oddity = os.environ.get("ODDITY", "")
born = time.monotonic()
kept = []
if oddity == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/grow":
            grow()
        body = os.environ["HANSE_INSTANCE"].encode()
        self.send_response(status(self.path))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


def status(path):
    if oddity == "slow" and time.monotonic() - born < 2.0:
        return 503
    return 500 if oddity == "sick" and path != "/" else 200


def grow():
    try:
        kept.append(b"x" * (32 << 20))
    except MemoryError:
        print("out of memory", flush=True)
        os._exit(137)


ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
"""
"""What it is like, `ODDITY` says: `slow` takes connections at once, and is not ready for two seconds; `stubborn` does
not end when it is told to; `sick` is well, it says, and fails at all that it is asked; whoever is asked to `/grow`
keeps 32 MB more."""
