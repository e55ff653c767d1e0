// An upstream of HTTP/2 for tests of the gateway. The path says how it behaves; what it saw is in the answer.
// usage: node h2_upstream.mjs '{"key": PEM, "cert": PEM, "ca": PEM, "clientCert": bool, "http1": bool, "alpn": [...]}'
// Without "key" it speaks in the clear, by prior knowledge. Prints its port.
import http2 from "node:http2";
import https from "node:https";

const options = JSON.parse(process.argv[2] ?? "{}");
const { constants } = http2;
let sessions = 0, refusals = 0, open = 0, most = 0;
const numbers = new WeakMap();

function socketFacts(socket) {
  const peer = socket.getPeerCertificate?.();
  return { sni: socket.servername ?? null, alpn: socket.alpnProtocol ?? null, resumed: socket.isSessionReused?.() ?? null,
           tls: socket.getProtocol?.() ?? null, client: peer?.subject?.CN ?? null };
}

function answer(stream, headers, body, session) {
  const facts = { method: headers[":method"], path: headers[":path"], authority: headers[":authority"],
                  scheme: headers[":scheme"], te: headers.te ?? null, headers, session: numbers.get(session),
                  sessions, most, body: body.length < 4096 ? body.toString("latin1") : null, bytes: body.length,
                  trailers: stream.sentTrailersOfClient ?? null, ...socketFacts(session.socket) };
  stream.respond({ ":status": 200, "content-type": "application/json" });
  stream.end(JSON.stringify(facts));
}

const paths = {
  "/big": (stream) => {
    stream.respond({ ":status": 200 });
    stream.end(Buffer.alloc(8 << 20, "0123456789abcdef"));
  },
  "/length": (stream) => {
    stream.respond({ ":status": 200, "content-length": 5 });
    stream.end("hello");
  },
  "/empty": (stream) => stream.respond({ ":status": 204 }, { endStream: true }),
  "/early": (stream) => {
    stream.additionalHeaders({ ":status": 103, link: "</a.css>; rel=preload" });
    stream.respond({ ":status": 200 });
    stream.end("after");
  },
  "/trailers": (stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "7", "grpc-message": "no", "x-sum": "12" }));
    stream.end("body");
  },
  "/reset": (stream) => stream.close(constants.NGHTTP2_INTERNAL_ERROR),
  "/refuse-once": (stream, headers, body, session) => {
    if (refusals++ === 0) stream.close(constants.NGHTTP2_REFUSED_STREAM);
    else answer(stream, headers, body, session);
  },
  "/refuse": (stream) => stream.close(constants.NGHTTP2_REFUSED_STREAM),
  "/goaway": (stream, headers, body, session) => {
    answer(stream, headers, body, session);
    session.goaway(constants.NGHTTP2_NO_ERROR, stream.id);
  },
  "/destroy": (stream, headers, body, session) => session.destroy(),
  "/wait": (stream, headers, body, session) => {
    most = Math.max(most, ++open);
    setTimeout(() => {
      open--;
      answer(stream, headers, body, session);
    }, 300);
  },
  "/never": () => {},
};

function serve(stream, headers) {
  const session = stream.session, body = [];
  stream.on("error", () => {});
  stream.on("trailers", (trailers) => { stream.sentTrailersOfClient = trailers; });
  stream.on("data", (piece) => body.push(piece));
  const done = () => (paths[headers[":path"].split("?")[0]] ?? answer)(stream, headers, Buffer.concat(body), session);
  if (stream.endAfterHeaders || ["GET", "HEAD"].includes(headers[":method"])) done();
  else stream.on("end", done);
}

const secure = options.key && { key: options.key, cert: options.cert, ca: options.ca, requestCert: !!options.clientCert,
                                rejectUnauthorized: !!options.clientCert };
let server;
if (options.http1) { // TLS without HTTP/2
  server = https.createServer(secure, (request, response) => {
    numbers.has(request.socket) || numbers.set(request.socket, ++sessions);
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ path: request.url, http: request.httpVersion, session: numbers.get(request.socket), sessions,
                                  headers: request.headers, ...socketFacts(request.socket) }));
  });
  server.keepAliveTimeout = 60000;
} else {
  const settings = { maxConcurrentStreams: options.streams ?? 100 };
  server = secure ? http2.createSecureServer({ ...secure, settings }) : http2.createServer({ settings });
  server.on("session", (session) => numbers.set(session, ++sessions));
  server.on("stream", serve);
}
server.on("sessionError", () => {});
server.on("tlsClientError", () => {});
process.on("uncaughtException", () => {});
server.listen(options.port ?? 0, "127.0.0.1", () => console.log(server.address().port));
