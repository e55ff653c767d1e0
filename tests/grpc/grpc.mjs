// A gRPC service of grpc-js, and calls to it. Messages are bare bytes, so that no schema is needed.
//   node grpc.mjs serve            prints its port
//   node grpc.mjs call ADDRESS     makes every kind of call and prints what came of them as JSON
import grpc from "@grpc/grpc-js";

const bytes = { requestSerialize: (b) => b, requestDeserialize: (b) => b, responseSerialize: (b) => b, responseDeserialize: (b) => b };
const service = {
  unary: { path: "/nexus.Test/Unary", requestStream: false, responseStream: false, ...bytes },
  fail: { path: "/nexus.Test/Fail", requestStream: false, responseStream: false, ...bytes },
  down: { path: "/nexus.Test/Down", requestStream: false, responseStream: true, ...bytes },
  up: { path: "/nexus.Test/Up", requestStream: true, responseStream: false, ...bytes },
  both: { path: "/nexus.Test/Both", requestStream: true, responseStream: true, ...bytes },
};

const handlers = {
  unary(call, done) {
    const trailers = new grpc.Metadata();
    trailers.set("x-sum", String(call.request.length));
    trailers.set("x-said-bin", Buffer.from(call.metadata.get("x-said").join()));
    call.sendMetadata(Object.assign(new grpc.Metadata(), {}));
    done(null, call.request, trailers);
  },
  fail(call, done) {
    done({ code: grpc.status.FAILED_PRECONDITION, details: "not now: 50 % größer" });
  },
  down(call) {
    const count = Number(call.request.toString());
    for (let i = 0; i < count; i++) call.write(Buffer.from(`item ${i}`));
    call.end();
  },
  up(call, done) {
    let sum = 0;
    call.on("data", (b) => { sum += b.length; });
    call.on("end", () => done(null, Buffer.from(String(sum))));
  },
  both(call) {
    call.on("data", (b) => call.write(b));
    call.on("end", () => call.end());
  },
};

function serve() {
  const server = new grpc.Server();
  server.addService(service, handlers);
  server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
    if (error) throw error;
    console.log(port);
  });
}

const unary = (client, name, request, metadata = new grpc.Metadata(), options = {}) => new Promise((resolve) => {
  const answer = {};
  const call = client[name](request, metadata, options, (error, reply) => {
    answer.code = error ? error.code : 0;
    answer.details = error?.details;
    answer.reply = reply?.toString("latin1");
    answer.bytes = reply?.length;
  });
  call.on("status", (status) => setImmediate(() => resolve({ ...answer, trailers: status.metadata.getMap() })));
});

const down = (client, count) => new Promise((resolve, reject) => {
  const items = [];
  const call = client.down(Buffer.from(String(count)));
  call.on("data", (b) => items.push(b.toString()));
  call.on("error", reject);
  call.on("end", () => resolve({ count: items.length, last: items.at(-1) }));
});

const up = (client, count) => new Promise((resolve, reject) => {
  const call = client.up((error, reply) => (error ? reject(error) : resolve(reply.toString())));
  for (let i = 0; i < count; i++) call.write(Buffer.alloc(1000, i));
  call.end();
});

// Each word is sent only when the one before has come back: nothing on the way may wait for more.
const both = (client, words) => new Promise((resolve, reject) => {
  const heard = [], call = client.both();
  const next = () => (heard.length < words.length ? call.write(Buffer.from(words[heard.length])) : call.end());
  call.on("data", (b) => { heard.push(b.toString()); next(); });
  call.on("error", reject);
  call.on("end", () => resolve(heard));
  next();
});

async function call(address) {
  const Client = grpc.makeGenericClientConstructor(service, "nexus.Test");
  const client = new Client(address, grpc.credentials.createInsecure());
  const said = new grpc.Metadata();
  said.set("x-said", "hi");
  const result = {
    unary: await unary(client, "unary", Buffer.from("hello"), said),
    big: await unary(client, "unary", Buffer.alloc(3000000, 7)),
    fail: await unary(client, "fail", Buffer.from("x")),
    down: await down(client, 2000),
    up: await up(client, 500),
    both: await both(client, ["one", "two", "three"]),
  };
  client.close();
  console.log(JSON.stringify({ ...result, big: { code: result.big.code, bytes: result.big.bytes } }));
}

if (process.argv[2] === "serve") serve();
else await call(process.argv[3]);
