// BullMQ as a queue: jobs of 256 bytes added in bulk, then processed by 4 workers. usage: bullmq.mjs PORT JOBS
import { createRequire } from "node:module";
import { homedir } from "node:os";

const require = createRequire(`${homedir()}/.cache/nexus-bench/package.json`);
const { Queue, Worker } = require("bullmq");
const [port, jobs] = process.argv.slice(2).map(Number);
const connection = { host: "127.0.0.1", port, maxRetriesPerRequest: null };
const queue = new Queue("bench", { connection });
const pad = "x".repeat(240);
for (let n = 0; n < jobs; n += 1000)
  await queue.addBulk(Array.from({ length: 1000 }, (_, i) => ({ name: "event", data: { n: n + i, pad }, opts: { removeOnComplete: true } })));
let done = 0;
const start = process.hrtime.bigint();
await new Promise((resolve) => {
  for (let i = 0; i < 4; i++)
    new Worker("bench", async () => { if (++done === jobs) resolve(); }, { connection, concurrency: 50 });
});
const seconds = Number(process.hrtime.bigint() - start) / 1e9;
console.log(JSON.stringify({ n: jobs, per_s: Math.round(jobs / seconds), replay_per_s: 0, p50_us: 0, p99_us: 0 }));
process.exit(0);
