// The server's state: slots, queue, memory and the engine.
import { byId, bytes, el, visible } from "./dom.js";

const tiles = {};

/** Shows a tile; `part` of 0 to 1 as a meter. */
function tile(name, value, detail, { part, kind = "" } = {}) {
	tiles[name] ??= byId("now").appendChild(el("div.tile"));
	const meter = part === undefined ? "" : el("meter", { min: 0, max: 1, value: part, ariaLabel: name });
	tiles[name].replaceChildren(el("span.quiet", name), el("b", { className: kind }, value), meter, el("span", visible(detail)));
}

export function showStatus({ slots, queue, memory, engine, warm, version }) {
	tile("Slots", `${slots.used} of ${slots.total}`, "runs at once", { part: slots.used / slots.total });
	tile("Queue", String(queue.waiting), `waiting; at most ${queue.capacity} whose callers wait`);
	if (warm.waiting || warm.shapes) tile("Warm", String(warm.waiting), "containers wait for a run");
	tile("Memory", bytes(memory.held_bytes), `held, of ${bytes(memory.limit_bytes)}; the process has ${bytes(memory.resident_bytes)}`, { part: memory.held_bytes / memory.limit_bytes });
	if (!engine) tile("Engine", "…", "being asked");
	else if (engine.ok) tile("Engine", engine.version, `answers; API ${engine.api_version}; this server is ${version}`, { kind: "good" });
	else tile("Engine", "away", engine.detail, { kind: "bad" });
}
