// Connects the parts: the stream of what goes on, and the place that the address names.
import { Problem, follow } from "./api.js";
import { byId } from "./dom.js";
import { Form, suggestImages } from "./form.js";
import * as list from "./list.js";
import { showStatus } from "./now.js";
import { RunView } from "./run.js";

let shown = null;
let form = null;

function newForm() {
	const made = new Form();
	suggestImages().catch(() => {});
	made.form.elements.image.setAttribute("list", "images");
	return made;
}

function again(request, note) {
	form = newForm();
	form.fill(request, note);
	location.hash = "#/new";
}

function route() {
	const [, page, id] = location.hash.split("/");
	shown?.close?.();
	shown = null;
	if (page === "run" && id) shown = new RunView(decodeURIComponent(id), again);
	else if (page === "new" || matchMedia("(min-width: 60.01rem)").matches) shown = form ??= newForm();
	document.body.classList.toggle("open", page === "run" || page === "new");
	byId("panel").replaceChildren(...(shown ? [shown.element] : []));
	list.choose(page === "run" ? decodeURIComponent(id) : null);
	if (page) shown?.title.focus({ preventScroll: true });
}

function connection(text, isBad = false) {
	const place = byId("connection");
	if (place.textContent !== text) place.textContent = text;
	place.className = isBad ? "bad" : "";
}

/** Follows what goes on for as long as the page is open. */
async function watch() {
	let seen = null;
	const take = (name, data) => {
		if (name === "status") showStatus(data);
		else if (name === "snapshot") seen = new Set();
		else if (name === "runs") {
			for (const run of data.runs) seen?.add(run.id);
			list.update(data.runs, data.gone);
		} else if (name === "complete") {
			list.keepOnly(seen);
			seen = null;
		}
	};
	for (;;) {
		try {
			await follow("/events", take, { opened: () => connection("Live") });
		} catch (error) {
			connection(error instanceof Problem ? error.message : "The server cannot be reached", true);
		}
		if (byId("connection").className !== "bad") connection("The connection was lost; trying again", true);
		await new Promise((resolve) => setTimeout(resolve, 1000));
	}
}

list.start();
addEventListener("hashchange", route);
route();
watch();
