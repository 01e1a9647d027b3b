// A request, made from a form and from files that are dropped onto it.
import { LARGE, MOST_SHOWN, Problem, json, showCurl } from "./api.js";
import { byId, bytes, button, el, quoted, visible } from "./dom.js";
import { base64, pack } from "./tar.js";

// The requests that this page has sent, for "run again". In memory only: they may hold secrets.
const sent = new Map();
export const requestOf = (id) => sent.get(id);

const line = (command) => (Array.isArray(command) ? command.map(quoted).join(" ") : command ?? "");

const field = (label, input, hint = "") => el("label", label, input, el("span.quiet", hint));
const text = (name, props) => el("input", { name, autocomplete: "off", spellcheck: false, ...props });
const number = (name, step) => text(name, { type: "number", min: 0, step });
const choice = (name, options) => el("select", { name }, ...options.map((value) => el("option", value)));

/** The files below a dropped directory. */
async function walk(entry, below = "") {
	const path = below + entry.name;
	if (entry.isFile) return [{ path, file: await new Promise((done, fail) => entry.file(done, fail)) }];
	const found = [{ path }];
	const reader = entry.createReader();
	for (;;) {
		// Browsers return a hundred at a time.
		const some = await new Promise((done, fail) => reader.readEntries(done, fail));
		if (!some.length) return found;
		for (const child of some) found.push(...(await walk(child, `${path}/`)));
	}
}

const withoutTop = (entries) => entries.map((entry) => ({ ...entry, path: entry.path.slice(entry.path.indexOf("/") + 1) })).filter((entry, at) => at > 0 || entry.file);

export class Form {
	constructor() {
		this.mounts = [];
		this.plan = el("div", { ariaLive: "polite" });
		this.form = this.build();
		this.element = el("div", this.title = el("h2", { tabIndex: -1 }, "Run a container"), this.note = el("p.quiet", { role: "status" }),
			el("div.beside", this.form, el("section", { ariaLabel: "Plan" }, el("h3", "What it would do"), this.plan)));
		this.form.elements.image.setAttribute("list", "images");
		suggestImages().catch(() => {});
		this.form.oninput = () => this.changed();
		this.form.onsubmit = (event) => {
			event.preventDefault();
			this.run();
		};
		this.changed();
	}

	build() {
		const pick = (directory) => el("input", { type: "file", multiple: true, webkitdirectory: directory, onchange: (event) => this.picked(event.target, directory) });
		this.drop = el("div.drop.all", el("p", "Drop files and directories here"),
			el("div.bar", field("or choose files", pick(false)), field("or a directory", pick(true)), button("Add an empty directory to bring back", () => this.add({ kind: "directory", path: "/out", name: "empty", isBack: true }))));
		for (const name of ["dragenter", "dragover", "dragleave", "drop"]) this.drop.addEventListener(name, (event) => this.dragged(event));
		const more = el("details.all", el("summary", "More"), el("div.bar",
			field("User", text("user", { size: 10 })), field("Processes", number("pids_limit", 1)), field("Pull", choice("pull_policy", ["missing", "always", "never"])), field("Entry point", text("entrypoint"))),
			field("Standard input", el("textarea", { name: "stdin", rows: 3 })));
		return el("form.new",
			field("Image", text("image", { required: true, placeholder: "alpine:latest" })), field("Command", text("command"), "as in a shell; empty: the image's own"),
			field("Environment", el("textarea", { name: "env", rows: 3, placeholder: "NAME=value", spellcheck: false }), "one on each line"),
			el("fieldset", el("legend", "Limits"), el("div.bar",
				field("Seconds", number("timeout_secs", "any")), field("Memory", text("memory", { size: 6, placeholder: "512m" })), field("CPUs", number("cpus", "any")), field("Network", choice("network", ["bridge", "none"])))),
			field("Working directory", text("working_dir", { placeholder: "/data/project" })),
			this.drop, this.rows = el("div.all"), more, this.fault = el("p.bad", { role: "alert" }),
			el("div.bar.all", this.submit = el("button.primary", "Run"), button("Copy as curl", () => this.copy()), button("Check", () => this.check())));
	}

	dragged(event) {
		event.preventDefault();
		this.drop.classList.toggle("over", event.type === "dragenter" || event.type === "dragover");
		if (event.type !== "drop") return;
		// To be asked for before the event is over.
		this.take([...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean));
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
		this.form.elements.working_dir.value ||= `/data/${name}`;
	}

	/** Its content is packed when the request is made, once. */
	add(mount) {
		const tick = (checked = false) => el("input", { type: "checkbox", checked });
		const [isReadOnly, isBack] = [tick(mount.isReadOnly), tick(mount.isBack)];
		const path = el("input", { value: mount.path, required: true, pattern: "/.*", ariaLabel: `Path of ${visible(mount.name)} in the container` });
		const row = el("div.mount", `${visible(mount.name)}${mount.size === undefined ? "" : `, ${bytes(mount.size)}`} at`, path, el("label.tick", isReadOnly, "read only"), el("label.tick", isBack, "bring back"),
			button("Remove", () => {
				this.mounts = this.mounts.filter((other) => other !== entry);
				row.remove();
				this.changed();
			}, { ariaLabel: `Remove ${visible(mount.name)}` }));
		const entry = { ...mount, path, isReadOnly, isBack };
		this.mounts.push(entry);
		this.rows.append(row);
		this.changed();
	}

	/** Content of more than `most` bytes is left out. */
	async request(most = Infinity) {
		const { env, timeout_secs, cpus, pids_limit, ...request } = Object.fromEntries([...new FormData(this.form)].filter(([, value]) => value));
		for (const [name, value] of Object.entries({ timeout_secs, cpus, pids_limit })) if (value) request[name] = Number(value);
		if (env) request.env_vars = Object.fromEntries(env.split("\n").filter((line) => line.trim()).map((line) => /^\s*([^=]*?)\s*(?:=|$)(.*)$/.exec(line).slice(1)));
		for (const mount of this.mounts) {
			request.volumes ??= {};
			const path = mount.path.value;
			if (this.mounts.some((other) => other !== mount && other.path.value === path)) throw new Error(`Two mounts have the path ${path}: change one of them.`);
			const isLarge = mount.size > most;
			if (!isLarge) mount.packed ??= mount.content?.();
			const content = isLarge ? LARGE : await mount.packed;
			request.volumes[path + (mount.isReadOnly.checked ? ":ro" : "")] = { type: mount.kind, ...(mount.mode && { mode: mount.mode }), ...(content !== undefined && { content }), ...(mount.isBack.checked && { response: true }) };
		}
		return request;
	}

	/** Fills the form with a request that was sent before. */
	fill(request, note) {
		const { env_vars = {}, volumes = {}, command, entrypoint, ...rest } = request;
		const env = Object.entries(env_vars).map((pair) => pair.join("=")).join("\n");
		for (const [name, value] of Object.entries({ ...rest, command: line(command), entrypoint: line(entrypoint), env })) {
			if (this.form.elements[name]) this.form.elements[name].value = value;
		}
		for (const [key, { type, content, mode, response }] of Object.entries(volumes)) {
			const path = key.replace(/:r[ow]$/, "");
			this.add({ kind: type, path, name: path, mode, isBack: response, isReadOnly: key.endsWith(":ro"), size: content && Math.round(content.length * 0.75), content: content === undefined ? undefined : async () => content });
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

	async dryRun() {
		return json("POST", "/run?dry_run=1", { body: JSON.stringify(await this.request()) });
	}

	async check() {
		// Answers may come in another order.
		const last = (this.last = {});
		const shown = await this.dryRun().then(planOf).catch((error) => [faultsOf(error)]);
		if (last === this.last) this.plan.replaceChildren(...shown);
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
		try {
			await showCurl(await this.request(MOST_SHOWN / 2), "");
		} catch (error) {
			this.fault.textContent = error.message;
		}
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

async function suggestImages() {
	const { images } = await json("GET", "/images");
	byId("images").replaceChildren(...images.flatMap(({ tags }) => tags).sort().map((value) => el("option", { value })));
}
