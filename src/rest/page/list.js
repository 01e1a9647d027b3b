// The list of runs: filtered, sorted, with durations that tick.
import { byId, duration, el, visible } from "./dom.js";

const MOST_ROWS = 1500;
const runs = new Map();
const rows = new Map();
let chosen = null;
let isDue = false;

export const words = (run) => (run.command ? run.command.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : JSON.stringify(word))).join(" ") : "(the image's command)") + (run.command_cut ? " …" : "");
const isGood = (run) => run.status === "success";

/** How long a run has gone on, or went on. */
export function age(run) {
	return (run.finished_at ? Date.parse(run.finished_at) : Date.now()) - Date.parse(run.created_at);
}

export function kindOf(run) {
	if (run.state !== "finished") return "busy";
	return isGood(run) ? "good" : "bad";
}

export function update(changed, gone) {
	for (const run of changed) {
		// A state that was read earlier may come later.
		if (runs.get(run.id)?.state === "finished" && run.state !== "finished") continue;
		runs.set(run.id, run);
		rows.get(run.id)?.show(run);
	}
	for (const id of gone) forget(id);
	draw();
}

function forget(id) {
	runs.delete(id);
	rows.get(id)?.element.remove();
	rows.delete(id);
}

/** After everything was sent anew: forgets what was not among it. */
export function keepOnly(ids) {
	for (const id of runs.keys()) if (!ids.has(id)) forget(id);
	draw();
}

export function choose(id) {
	chosen = id;
	for (const [other, row] of rows) row.mark(other === id);
}

class Row {
	constructor(run) {
		const part = (className) => el("span", { className });
		[this.image, this.state, this.command, this.when] = ["image", "state", "command", "when"].map(part);
		this.link = el("a", { href: `#/run/${encodeURIComponent(run.id)}` }, this.image, this.state, this.command, this.when);
		this.element = el("li", this.link);
		this.show(run);
		this.mark(run.id === chosen);
	}

	mark(isChosen) {
		if (isChosen) this.link.setAttribute("aria-current", "true");
		else this.link.removeAttribute("aria-current");
	}

	show(run) {
		this.image.textContent = visible(run.image || "(unknown image)");
		this.command.textContent = visible(words(run));
		this.state.textContent = run.state === "finished" ? run.status : run.state;
		this.state.className = `state ${kindOf(run)}`;
		this.tick(run);
	}

	tick(run) {
		this.when.textContent = `${run.kind}, ${new Date(run.created_at).toLocaleTimeString()}, ${duration(age(run))}`;
	}
}

const ORDERS = {
	new: (a, b) => (a.created_at < b.created_at ? 1 : a.created_at > b.created_at ? -1 : 0),
	old: (a, b) => ORDERS.new(b, a),
	long: (a, b) => age(b) - age(a),
	image: (a, b) => a.image.localeCompare(b.image) || ORDERS.new(a, b),
};

function filter() {
	const [state, image, text] = ["by-state", "by-image", "by-text"].map((id) => byId(id).value.trim().toLowerCase());
	return (run) => {
		const isState = { "": true, going: run.state !== "finished", bad: run.state === "finished" && !isGood(run) }[state] ?? run.state === state;
		const all = () => [run.id, run.image, words(run), run.status, run.reason, run.kind].join(" ").toLowerCase();
		return isState && run.image.toLowerCase().includes(image) && (!text || all().includes(text));
	};
}

/** Draws with the next frame, once for all changes until then. */
export function draw() {
	if (isDue) return;
	isDue = true;
	const now = () => {
		isDue = false;
		const wanted = [...runs.values()].filter(filter()).sort(ORDERS[byId("order").value]);
		place(wanted.slice(0, MOST_ROWS));
		byId("count").textContent = `${wanted.length} of ${runs.size} runs` + (wanted.length > MOST_ROWS ? `, the first ${MOST_ROWS} shown` : "");
	};
	if (document.hidden) setTimeout(now, 200);
	else requestAnimationFrame(now);
}

/** Puts the rows of these runs into the list, in this order, and moves only those that are elsewhere. */
function place(wanted) {
	const list = byId("list");
	const ids = new Set(wanted.map((run) => run.id));
	for (const [id, row] of rows) if (!ids.has(id)) { row.element.remove(); rows.delete(id); }
	let next = list.firstElementChild;
	for (const run of wanted) {
		if (!rows.has(run.id)) rows.set(run.id, new Row(run));
		const { element } = rows.get(run.id);
		if (element === next) next = next.nextElementSibling;
		else list.insertBefore(element, next);
	}
}

export function start() {
	for (const id of ["by-state", "by-image", "by-text", "order"]) byId(id).addEventListener("input", draw);
	setInterval(() => {
		for (const [id, row] of rows) if (runs.get(id)?.state !== "finished") row.tick(runs.get(id));
	}, 500);
}
