// The list of runs: filtered, sorted, with durations that tick.
import { byId, duration, el, quoted, soon, visible } from "./dom.js";

const MOST_ROWS = 1500;
const runs = new Map();
const rows = new Map();
let chosen = null;
let isDue = false;
let hasMore = false;

export const words = ({ command, command_cut }) => (command?.map(quoted).join(" ") ?? "(the image's command)") + (command_cut ? " …" : "");
const isGood = (run) => run.status === "success";

/** How long a run has gone on, or went on. */
export const age = (run) => (run.finished_at ? Date.parse(run.finished_at) : Date.now()) - Date.parse(run.created_at);

export const kindOf = (run) => (run.state !== "finished" ? "busy" : isGood(run) ? "good" : "bad");

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
export function keepOnly(ids, more) {
	hasMore = more;
	for (const id of runs.keys()) if (!ids.has(id)) forget(id);
	draw();
}

export function choose(id) {
	chosen = id;
	for (const [other, row] of rows) row.mark(other === id);
}

class Row {
	constructor(run) {
		this.link = el("a", { href: `#/run/${encodeURIComponent(run.id)}` },
			this.image = el("span.image"), this.state = el("span"), this.command = el("span.command"), this.when = el("span.when"));
		this.element = el("li", this.link);
		this.show(run);
		this.mark(run.id === chosen);
	}

	mark(isChosen) { this.link.ariaCurrent = isChosen || null; }

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
	new: (a, b) => (a.created_at < b.created_at) - (a.created_at > b.created_at),
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

/** Draws once for all changes until the next frame. */
export function draw() {
	if (isDue) return;
	isDue = true;
	soon(() => {
		isDue = false;
		const wanted = [...runs.values()].filter(filter()).sort(ORDERS[byId("order").value]);
		place(wanted.slice(0, MOST_ROWS));
		const more = (hasMore ? ", and older ones, not listed" : "") + (wanted.length > MOST_ROWS ? `; the first ${MOST_ROWS} are shown` : "");
		byId("count").textContent = runs.size ? `${wanted.length} of ${runs.size} runs${more}` : "No runs yet: “Run a container” starts one, and so does POST /run.";
	});
}

/** Puts the rows of these runs into this order; moves only those that are elsewhere. */
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
	for (const id of ["by-state", "by-image", "by-text", "order"]) byId(id).oninput = draw;
	setInterval(() => {
		for (const [id, row] of rows) if (runs.get(id)?.state !== "finished") row.tick(runs.get(id));
	}, 500);
}
