// A request, made from a form and from files that are dropped onto it.
import { Problem, json, showCurl } from "./api.js";
import { byId, bytes, button, el, visible } from "./dom.js";
import { base64, pack } from "./tar.js";

// The requests that this page has sent, for "run again". In memory only: they may hold secrets.
const sent = new Map();
export const requestOf = (id) => sent.get(id);

/** Words as a POSIX shell would read them. */
const quoted = (command) => (Array.isArray(command) ? command.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(" ") : command ?? "");

function field(label, input, hint) {
	return el("label", label, input, ...(hint ? [el("span.quiet", hint)] : []));
}

const text = (name, props) => el("input", { name, autocomplete: "off", spellcheck: false, ...props });
const choice = (name, options) => el("select", { name }, ...options.map((value) => el("option", value)));

/** The files below a dropped directory. */
async function walk(entry, below = "") {
	const path = below + entry.name;
	if (entry.isFile) return [{ path, file: await new Promise((resolve, reject) => entry.file(resolve, reject)) }];
	const found = [{ path }];
	const reader = entry.createReader();
	for (;;) {
		// Browsers return a hundred at a time.
		const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
		if (!some.length) return found;
		for (const child of some) found.push(...(await walk(child, `${path}/`)));
	}
}

const withoutTop = (entries) => entries.map((entry) => ({ ...entry, path: entry.path.slice(entry.path.indexOf("/") + 1) })).filter((entry, at) => at > 0 || entry.file);

export class Form {
	constructor() {
		this.mounts = [];
		this.element = el("div");
		this.fault = el("p.bad", { role: "alert" });
		this.note = el("p.quiet", { role: "status" });
		this.plan = el("div", { "aria-live": "polite" });
		this.rows = el("div.all");
		this.submit = el("button.primary", "Run");
		this.title = el("h2", { tabIndex: -1 }, "Run a container");
		this.form = this.build();
		const beside = el("section", { "aria-labelledby": "plan-title" }, el("h3", { id: "plan-title" }, "What it would do"), this.plan);
		this.element.append(el("p.back", el("a", { href: "#/" }, "All runs")), this.title, this.note, el("div.beside", this.form, beside));
		this.form.addEventListener("input", () => this.changed());
		this.form.addEventListener("submit", (event) => {
			event.preventDefault();
			this.run();
		});
		this.changed();
	}

	build() {
		const pick = (directory) => el("input", { type: "file", multiple: true, webkitdirectory: directory, onchange: (event) => this.picked(event.target, directory) });
		this.drop = el("div.drop.all", el("p", "Drop files and directories here"),
			el("div.bar", field("or choose files", pick(false)), field("or a directory", pick(true)), button("Add an empty directory to bring back", () => this.add({ kind: "directory", path: "/out", name: "empty", isBack: true }))));
		for (const name of ["dragenter", "dragover", "dragleave", "drop"]) this.drop.addEventListener(name, (event) => this.dragged(event));
		const more = el("details.all", el("summary", "More"), el("div.bar",
			field("User", text("user", { size: 10 })), field("Processes", text("pids_limit", { type: "number", min: 1 })), field("Pull", choice("pull_policy", ["missing", "always", "never"])), field("Entry point", text("entrypoint"))),
			field("Standard input", el("textarea", { name: "stdin", rows: 3 })));
		return el("form.new",
			field("Image", text("image", { required: true, placeholder: "alpine:latest" })), field("Command", text("command"), "as in a shell; empty: the image's own"),
			field("Environment", el("textarea", { name: "env", rows: 3, placeholder: "NAME=value", spellcheck: false }), "one on each line"),
			el("fieldset", el("legend", "Limits"), el("div.bar",
				field("Seconds", text("timeout_secs", { type: "number", min: 1, step: "any" })), field("Memory", text("memory", { size: 6, placeholder: "512m" })), field("CPUs", text("cpus", { type: "number", min: 0, step: "any" })), field("Network", choice("network", ["bridge", "none"])))),
			field("Working directory", text("working_dir", { placeholder: "/data/project" })),
			this.drop, this.rows, more, this.fault, el("div.bar.all", this.submit, button("Copy as curl", () => this.copy()), button("Check", () => this.check())));
	}

	dragged(event) {
		event.preventDefault();
		this.drop.classList.toggle("over", event.type === "dragenter" || event.type === "dragover");
		if (event.type !== "drop") return;
		// To be asked for before the event is over.
		const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean);
		this.take(entries);
	}

	async take(entries) {
		try {
			for (const entry of entries) {
				if (entry instanceof File) this.addFile(entry);
				else if (entry.isFile) this.addFile((await walk(entry))[0].file);
				else this.addDirectory(entry.name, withoutTop(await walk(entry)));
			}
		} catch (error) {
			this.fault.textContent = `It cannot be read: ${error.message}`;
		}
	}

	picked(input, isDirectory) {
		const files = [...input.files];
		if (!isDirectory) files.forEach((file) => this.addFile(file));
		else if (files.length) {
			const entries = files.map((file) => ({ path: file.webkitRelativePath, file }));
			this.addDirectory(entries[0].path.split("/")[0], withoutTop(entries));
		}
		input.value = "";
	}

	addFile(file) {
		this.add({ kind: "file", path: `/data/${file.name}`, name: file.name, size: file.size, content: () => base64(file) });
	}

	addDirectory(name, entries) {
		const size = entries.reduce((sum, { file }) => sum + (file?.size ?? 0), 0);
		const count = entries.filter(({ file }) => file).length;
		this.add({ kind: "directory", path: `/data/${name}`, name: `${name}/, ${count} files`, size, isBack: true, content: async () => base64(await pack(entries)) });
		const place = this.form.elements.working_dir;
		place.value ||= `/data/${name}`;
	}

	/** Adds a mount. Its content is packed when the request is made, once. */
	add(mount) {
		const tick = (label, isOn) => {
			const box = el("input", { type: "checkbox", checked: isOn });
			return [box, el("label.tick", box, label)];
		};
		const path = el("input", { value: mount.path, required: true, pattern: "/.*", "aria-label": `Path of ${visible(mount.name)} in the container` });
		const [isReadOnly, first] = tick("read only", mount.isReadOnly ?? false);
		const [isBack, second] = tick("bring back", mount.isBack ?? false);
		const row = el("div.mount", `${visible(mount.name)}${mount.size === undefined ? "" : `, ${bytes(mount.size)}`} at`, path, first, second,
			button("Remove", () => {
				this.mounts = this.mounts.filter((other) => other !== entry);
				row.remove();
				this.changed();
			}, { "aria-label": `Remove ${visible(mount.name)}` }));
		const entry = { ...mount, path, isReadOnly, isBack };
		this.mounts.push(entry);
		this.rows.append(row);
		this.changed();
	}

	async request() {
		const values = Object.fromEntries([...new FormData(this.form)].filter(([, value]) => typeof value === "string" && value !== ""));
		const { env, timeout_secs, cpus, pids_limit, ...request } = values;
		for (const [name, value] of Object.entries({ timeout_secs, cpus, pids_limit })) if (value) request[name] = Number(value);
		if (env) request.env_vars = Object.fromEntries(env.split("\n").filter((line) => line.trim()).map((line) => [line.split("=", 1)[0].trim(), line.includes("=") ? line.slice(line.indexOf("=") + 1) : ""]));
		for (const mount of this.mounts) {
			request.volumes ??= {};
			mount.packed ??= mount.content?.();
			const content = await mount.packed;
			request.volumes[mount.path.value + (mount.isReadOnly.checked ? ":ro" : "")] = { type: mount.kind, ...(mount.mode && { mode: mount.mode }), ...(content !== undefined && { content }), ...(mount.isBack.checked && { response: true }) };
		}
		return request;
	}

	/** Fills the form with a request that was sent before. */
	fill(request, note) {
		const { env_vars = {}, volumes = {}, command, entrypoint, ...rest } = request;
		for (const [name, value] of Object.entries({ ...rest, command: quoted(command), entrypoint: quoted(entrypoint), env: Object.entries(env_vars).map(([name, value]) => `${name}=${value}`).join("\n") })) {
			if (this.form.elements[name]) this.form.elements[name].value = value;
		}
		for (const [key, { type, content, mode, response }] of Object.entries(volumes)) {
			const path = key.replace(/:r[ow]$/, "");
			this.add({ kind: type, path, name: path, mode, isBack: response, isReadOnly: key.endsWith(":ro"), content: content === undefined ? undefined : async () => content });
		}
		this.note.textContent = note;
		this.changed();
	}

	/** Checks the request a moment after the last change, unless much would have to be sent for that. */
	changed() {
		clearTimeout(this.timer);
		const size = this.mounts.reduce((sum, mount) => sum + (mount.size ?? 0), 0);
		if (this.form.elements.image.value && size < 1 << 20) this.timer = setTimeout(() => this.check(), 500);
		else this.plan.replaceChildren(el("p.quiet", size ? "“Check” asks the server." : "Name an image."));
	}

	async check() {
		const number = (this.checks = (this.checks ?? 0) + 1);
		let shown;
		try {
			shown = planOf(await json("POST", "/run?dry_run=1", { body: JSON.stringify(await this.request()) }));
		} catch (error) {
			shown = [faultsOf(error)];
		}
		// Answers may come in another order.
		if (number === this.checks) this.plan.replaceChildren(...shown);
	}

	async run() {
		this.submit.disabled = true;
		this.fault.replaceChildren();
		try {
			const request = await this.request();
			const run = await json("POST", "/run", { body: JSON.stringify(request), headers: { Prefer: "respond-async" } });
			sent.set(run.id, request);
			location.hash = `#/run/${run.id}`;
		} catch (error) {
			this.fault.replaceChildren(faultsOf(error));
		}
		this.submit.disabled = false;
	}

	async copy() {
		await showCurl(await this.request(), "");
	}
}

function faultsOf(error) {
	const faults = error instanceof Problem && error.faults.length ? error.faults.map(({ loc, msg }) => `${loc.slice(1).join(" › ")}: ${msg}`) : [error.message];
	return el("span.bad", ...faults.flatMap((fault) => [visible(fault), el("br")]));
}

function planOf(plan) {
	const facts = { image: `${plan.image}, pulled: ${plan.pull_policy}`, "time limit": `${plan.timeout_secs} s`, command: JSON.stringify(plan.container.Cmd ?? "the image's own") };
	for (const { path, type, read_only, content_bytes, response } of plan.volumes) facts[path] = [type, read_only ? "read only" : "", content_bytes === null ? "" : bytes(content_bytes), response ? "comes back" : ""].filter(Boolean).join(", ");
	return [
		el("dl", ...Object.entries(facts).flatMap(([name, value]) => [el("dt", visible(name)), el("dd", visible(value))])),
		el("details", el("summary", "The engine's request"), el("pre.preview", { tabIndex: 0 }, JSON.stringify(plan.container, null, 1))),
	];
}

/** Offers the images that the engine has. */
export async function suggestImages() {
	const { images } = await json("GET", "/images");
	byId("images").replaceChildren(...images.flatMap(({ tags }) => tags).sort().map((value) => el("option", { value })));
}
