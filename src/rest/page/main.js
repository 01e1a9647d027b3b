// Connects the parts.
import { Problem, connection, follow } from "./api.js";
import { byId } from "./dom.js";
import { Form } from "./form.js";
import * as list from "./list.js";
import { showStatus } from "./now.js";
import { RunView } from "./run.js";

let shown = null;
let form = null;

function again(request, note) {
	form = new Form();
	form.fill(request, note);
	location.hash = "#/new";
}

function route() {
	const [, page, part] = location.hash.split("/");
	let id = part;
	try {
		id = decodeURIComponent(part);
	} catch { /* It is no escape, and no run's id. */ }
	shown?.close?.();
	shown = null;
	if (page === "run" && id) shown = new RunView(id, again);
	else if (page === "new" || matchMedia("(min-width: 60.01rem)").matches) shown = form ??= new Form();
	document.body.classList.toggle("open", page === "run" || page === "new");
	byId("shown").replaceChildren(...(shown ? [shown.element] : []));
	list.choose(page === "run" ? id : null);
	if (page) shown?.title.focus({ preventScroll: true });
}

async function watch() {
	let seen = null;
	const take = (name, data) => {
		if (name === "status") showStatus(data);
		else if (name === "snapshot") seen = new Set();
		else if (name === "runs") {
			for (const run of data.runs) seen?.add(run.id);
			list.update(data.runs, data.gone);
		} else if (name === "complete") {
			list.keepOnly(seen, data.more);
			seen = null;
		}
	};
	for (;;) {
		let why = "The connection was lost; trying again";
		try {
			await follow("/events", take, { opened: () => connection("Live") });
		} catch (error) {
			if (error instanceof Problem) why = error.message;
		}
		connection(why, "bad");
		await new Promise((resolve) => setTimeout(resolve, 1000));
	}
}

list.start();
window.onhashchange = route;
byId("skip").onclick = (event) => {
	event.preventDefault();
	byId("main").focus();
};
// Beside the form, the browser would open the file in place of the page.
for (const name of ["dragover", "drop"]) addEventListener(name, (event) => event.dataTransfer.types.includes("Files") && event.preventDefault());
route();
watch();
