// One round of everything with the official TypeScript SDK.
// usage: node client.mjs sse|http URL
//        node client.mjs stdio COMMAND [ARGUMENT...]     (the server itself, or a bridge to it)
// Exits 0 when every step went as it must.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { createRequire } from "node:module";
import { setTimeout as pause } from "node:timers/promises";
import { pathToFileURL } from "node:url";

// The SDK is where the installer put it, not beside this file.
const require = createRequire(`${process.env.MCP_SDK_DIR}/package.json`);
const sdk = async (name) => import(pathToFileURL(require.resolve(`@modelcontextprotocol/sdk/${name}`)));
const { Client } = await sdk("client/index.js");

const [transportName, target, ...rest] = process.argv.slice(2);
const idle = 7_000;
const longSeconds = 9;
const long = { timeout: 30_000 };
// A bridge that passes on neither progress nor cancellation leaves nothing to check of them.
const relayed = !process.env.WITHOUT_PROGRESS;

async function transport() {
  switch (transportName) {
    case "sse": {
      const { SSEClientTransport } = await sdk("client/sse.js");
      return new SSEClientTransport(new URL(target));
    }
    case "http": {
      const { StreamableHTTPClientTransport } = await sdk("client/streamableHttp.js");
      return new StreamableHTTPClientTransport(new URL(target));
    }
    default: {
      const { StdioClientTransport } = await sdk("client/stdio.js");
      return new StdioClientTransport({ command: target, args: rest, env: process.env, stderr: "inherit" });
    }
  }
}

const run = (command, more = {}) => ({
  name: "run_container",
  arguments: { image: "alpine:latest", command: ["sh", "-c", command], network: "none", ...more },
});

const containers = (label) =>
  execFileSync("docker", ["ps", "-aq", "--filter", `label=test=${label}`]).toString().trim();

const client = new Client({ name: "test", version: "1" }, { capabilities: {} });
await client.connect(await transport());

const names = (await client.listTools()).tools.map((tool) => tool.name);
assert.ok(names.includes("run_container") && names.includes("docker_health"), names.join());

// The SDK itself checks structuredContent against outputSchema.
let result = await client.callTool(run("echo hello; echo 42 > /out/answer", {
  volumes: { "/out": { type: "directory", response: true } },
}), undefined, long);
assert.ok(!result.isError, result.content[0].text);
assert.equal(result.structuredContent.stdout, "hello\n");
assert.deepEqual(result.structuredContent.volumes["/out"].files, { answer: "42\n" });

result = await client.callTool(run("exit 3"), undefined, long);
assert.ok(result.isError && result.structuredContent.exit_code === 3);
result = await client.callTool({ name: "run_container", arguments: { image: {}, colour: 1 } });
assert.ok(result.isError && /arguments\.image[^]*arguments\.colour|arguments\.colour[^]*arguments\.image/.test(result.content[0].text));
await assert.rejects(client.callTool({ name: "no_such_tool", arguments: {} }), /no_such_tool/);

const ask = async (name, args) => (await client.callTool({ name, arguments: args }, undefined, long));
result = await ask("run_container", { ...run("echo begun; sleep 1; echo done").arguments, detach: true });
const { id } = result.structuredContent;
assert.match(result.structuredContent.state, /queued|running/);
let page = (await ask("run_logs", { id, wait_secs: 20 })).structuredContent;
assert.equal(page.stdout, "begun\n");
result = await ask("run_status", { id, wait_secs: 20 });
assert.equal(result.structuredContent.result.stdout, "begun\ndone\n");
page = (await ask("run_logs", { id, cursor: page.cursor })).structuredContent;
assert.deepEqual([page.stdout, page.state, page.has_more], ["done\n", "finished", false]);
assert.ok((await ask("list_runs", {})).structuredContent.runs.some((one) => one.id === id));
assert.ok(!(await ask("cancel_run", { id })).isError);
assert.ok((await ask("run_status", { id })).isError, "it is forgotten");

const told = [];
result = await client.callTool(run(`echo begun; sleep ${longSeconds}; echo done`), undefined, {
  timeout: relayed ? idle : 60_000,
  resetTimeoutOnProgress: true,
  onprogress: (progress) => told.push(progress.progress),
});
assert.equal(result.structuredContent.stdout, "begun\ndone\n");
if (!relayed) await end();
assert.ok(told.length >= 2 && told.every((step, at) => at === 0 || step > told[at - 1]), told.join());

const label = randomUUID();
const abort = new AbortController();
const running = Promise.withResolvers();
const call = client.callTool(run("echo begun; sleep 120", { labels: { test: label } }), undefined, {
  timeout: 60_000,
  signal: abort.signal,
  onprogress: (progress) => progress.message?.includes("begun") && running.resolve(),
});
call.catch((error) => running.reject(error));
await running.promise;
assert.ok(containers(label), "it runs");
abort.abort("no longer wanted");
await assert.rejects(call);
const deadline = Date.now() + 2_000;
while (containers(label)) {
  assert.ok(Date.now() < deadline, "the container is still there after 2 s");
  await pause(100);
}

await end();

async function end() {
  const health = await client.callTool({ name: "docker_health", arguments: {} });
  assert.ok(!health.isError, "the session lives on");
  await client.close();
  console.log("ok");
  process.exit(0);
}
