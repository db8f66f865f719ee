"""A collector of spans: takes OTLP over HTTP, counts, and forgets.

python collector.py PORT. `GET /` tells how many exports came, and their bytes.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Collector(BaseHTTPRequestHandler):
    """Answers each export with an empty ExportTraceServiceResponse, which is no bytes."""

    protocol_version = "HTTP/1.1"
    exports = 0
    taken_bytes = 0

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        self.rfile.read(length)
        Collector.exports += 1
        Collector.taken_bytes += length
        self._answer(b"", "application/x-protobuf")

    def do_GET(self) -> None:
        said = {"exports": Collector.exports, "bytes": Collector.taken_bytes}
        self._answer(json.dumps(said).encode(), "application/json")

    def _answer(self, body: bytes, media: str) -> None:
        self.send_response(200)
        self.send_header("content-type", media)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base has it
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Collector).serve_forever()
