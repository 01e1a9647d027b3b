// One run: its phases, its output as it comes, its result and the files that came back.
import { Problem, follow, json, showCurl } from "./api.js";
import { bytes, button, download, duration, el, visible, visibleLines } from "./dom.js";
import { requestOf } from "./form.js";
import { age, kindOf, update, words } from "./list.js";
import { Output } from "./output.js";
import { fromBase64, unpack } from "./tar.js";

const PHASES = ["queue", "pull", "create", "stage", "start", "run", "collect"];
const MOST_PREVIEW = 256 << 10;
const PICTURES = { png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", gif: "image/gif", webp: "image/webp", svg: "image/svg+xml" };

/** What is shown of a file: a picture, or text. */
function preview(name, content) {
	const type = PICTURES[name.split(".").pop().toLowerCase()];
	if (type) {
		const url = URL.createObjectURL(new Blob([content], { type }));
		const picture = el("img.preview", { alt: `Preview of ${visible(name)}`, src: url });
		picture.onload = picture.onerror = () => URL.revokeObjectURL(url);
		return picture;
	}
	const part = content.subarray(0, MOST_PREVIEW);
	const text = new TextDecoder().decode(part);
	if (part.includes(0)) return el("p.quiet", "This is no text.");
	const rest = content.length > part.length ? `\n… ${bytes(content.length - part.length)} more` : "";
	return el("pre.preview", { tabIndex: 0 }, visibleLines(text) + rest);
}

function fileRow(name, content) {
	const row = el("li", el("span.name.mono", visible(name)), bytes(content.length));
	const show = button("Preview", () => {
		const shown = row.querySelector(".preview, p");
		if (shown) shown.remove();
		else row.append(preview(name, content));
		show.setAttribute("aria-expanded", !shown);
	}, { "aria-expanded": "false", "aria-label": `Preview ${visible(name)}` });
	row.append(show, button("Download", () => download(name.split("/").pop(), content), { "aria-label": `Download ${visible(name)}` }));
	return row;
}

/** What came back of one mount. */
async function filesOf(path, volume) {
	const box = el("section", el("h3", visible(path)));
	if (!volume?.content) {
		box.append(el("p.quiet", visible(volume?.detail ?? "The run did not leave it.")));
		return box;
	}
	const content = fromBase64(volume.content);
	const list = el("ul.files", { tabIndex: 0, "aria-label": `Files of ${visible(path)}` });
	box.append(list);
	if (volume.type === "file") {
		list.append(fileRow(path, content));
		return box;
	}
	box.firstElementChild.append(" ", button("Download all", () => download(`${path.split("/").pop() || "files"}.tar.gz`, content)));
	for (const entry of await unpack(content)) {
		if (entry.type === "file") list.append(fileRow(entry.path, entry.bytes));
		else if (entry.type === "link") list.append(el("li.name.mono", `${visible(entry.path)} → ${visible(entry.target)}`));
	}
	if (!list.childElementCount) list.replaceWith(el("p.quiet", "Empty."));
	return box;
}

export class RunView {
	constructor(id, again) {
		this.id = id;
		this.stop = new AbortController();
		this.output = new Output();
		this.layers = new Map();
		this.title = el("h2", { tabIndex: -1 });
		this.command = el("p.mono");
		this.actions = el("div.bar");
		this.bar = el("div.phases", { role: "img" });
		this.key = el("ul.key");
		this.pulls = el("ul.layers", { "aria-label": "Layers of the image" });
		this.facts = el("dl.facts");
		this.fault = el("p.bad", { role: "alert" });
		this.files = el("div");
		this.end = button("Cancel", () => this.cancel());
		this.actions.append(this.end, button("Run again", () => again(...this.request())), button("Copy as curl", () => showCurl(...this.request())));
		this.element = el("div", el("p.back", el("a", { href: "#/" }, "All runs")), this.title, this.command, this.actions, this.fault, this.bar, this.key, this.pulls, this.facts, el("h3", "Output"), this.output.element, this.files);
		this.ticker = setInterval(() => this.run && this.run.state !== "finished" && this.drawPhases(), 250);
		this.follow();
	}

	close() {
		this.stop.abort();
		clearInterval(this.ticker);
	}

	/** The request as far as it is known here, and what is not known of it. */
	request() {
		const whole = requestOf(this.id);
		if (whole) return [whole, ""];
		const { image, command, command_cut } = this.run ?? {};
		const note = "The server does not keep environment, files and limits of a request that another page or program sent.";
		return [{ image, ...(command && { command }), pull_policy: "missing" }, command_cut ? `${note} The command is cut.` : note];
	}

	async cancel() {
		this.fault.textContent = "";
		try {
			const isOver = this.run?.state === "finished";
			const run = await json("DELETE", `/runs/${encodeURIComponent(this.id)}`);
			if (isOver) location.hash = "#/";
			else this.show({ ...run, result: null });
		} catch (error) {
			this.fault.textContent = error.message;
		}
	}

	/** Follows the run to its end, through lost connections and restarts of the server. */
	async follow() {
		const path = `/runs/${encodeURIComponent(this.id)}`;
		const { signal } = this.stop;
		let last;
		for (let isOver = false; !isOver && !signal.aborted;) {
			try {
				const state = await json("GET", path, { signal });
				this.show(state);
				const take = (name, data, id) => {
					last = id ?? last;
					if (name === "result" || name === "ended" || (name === "error" && data.code !== "stopping")) isOver = true;
					this.take(name, data);
				};
				await follow(`${path}/events`, take, { signal, headers: last ? { "Last-Event-ID": last } : {} });
				if (isOver && state.state !== "finished") this.show(await json("GET", path, { signal }));
			} catch (error) {
				if (signal.aborted) return;
				if (error instanceof Problem && error.status !== 503) {
					this.fault.textContent = error.message;
					isOver = true;
					this.title.textContent ||= `Run ${visible(this.id)}`;
				}
			}
			if (!isOver) await new Promise((resolve) => setTimeout(resolve, 1000));
		}
	}

	take(name, data) {
		if (name === "stdout" || name === "stderr") {
			const isBase64 = this.run?.output_encoding === "base64";
			this.output.add(name, isBase64 ? new TextDecoder().decode(fromBase64(data.data)) : data.data);
		} else if (name === "skipped") this.output.skip(data.events);
		else if (name === "queued") this.position = data.position;
		else if (name === "pull") this.pull(data);
		else if (name === "started" && this.run.state !== "finished") this.show({ ...this.run, state: "running", started_at: this.run.started_at ?? new Date().toISOString() });
		else if (name === "ended") this.show(data);
		else if (name === "error") this.fault.textContent = data.detail ?? data.title;
	}

	pull({ status, id, current, total }) {
		this.pullFrom ??= Date.now();
		if (!this.layers.has(id)) {
			const [meter, text] = [el("progress", { "aria-label": `Layer ${visible(id)}` }), el("span")];
			this.layers.set(id, { meter, text });
			this.pulls.append(el("li", meter, " ", text));
		}
		const { meter, text } = this.layers.get(id);
		if (total) Object.assign(meter, { max: total, value: current });
		else if (/complete|exists/i.test(status)) Object.assign(meter, { max: 1, value: 1 });
		text.textContent = `${visible(id)}: ${visible(status)}${total ? ` ${bytes(current)} of ${bytes(total)}` : ""}`;
	}

	show(run) {
		this.run = run;
		if (run.id) update([{ ...run, result: null }], []);
		this.title.textContent = visible(run.image || `Run ${this.id}`);
		this.command.textContent = visible(words(run));
		const isOver = run.state === "finished";
		this.end.textContent = isOver ? "Remove from the list" : "Cancel";
		this.pulls.hidden = isOver;
		this.drawPhases();
		this.drawFacts();
		if (run.error) this.fault.textContent = run.error.detail ?? run.error.title;
		if (run.result && !this.hasResult) {
			this.hasResult = true;
			this.showResult(run.result);
		}
	}

	async showResult(result) {
		const left = ["stdout", "stderr"].filter((name) => result[`${name}_omitted_bytes`]);
		this.output.omitted = left.map((name) => `of ${name}, ${bytes(result[`${name}_omitted_bytes`])} in the middle are not in the result`).join("; ");
		this.output.tell();
		for (const [path, volume] of Object.entries(result.volumes)) {
			this.files.append(await filesOf(path, volume).catch((error) => el("p.bad", `${visible(path)}: ${error.message}`)));
		}
		if (this.files.childElementCount) this.files.prepend(el("h3", "Files that came back"));
	}

	/** How long each phase took so far. While the run goes on, the server says only when the container started. */
	phases() {
		const { timings, created_at, started_at } = this.run;
		if (timings) return PHASES.map((name) => [name, timings[`${name}_ms`]]);
		const created = Date.parse(created_at);
		const now = created + age(this.run);
		const started = started_at ? Date.parse(started_at) : now;
		const pulled = Math.min(this.pullFrom ?? started, started);
		return [["queue", pulled - created], ["pull", this.pullFrom ? started - pulled : 0], ["run", now - started]];
	}

	drawPhases() {
		const phases = this.phases().filter(([, ms]) => ms > 0);
		const text = phases.map(([name, ms]) => `${name} ${duration(ms)}`);
		this.bar.setAttribute("aria-label", `Phases: ${text.join(", ") || "none yet"}`);
		this.bar.replaceChildren(...phases.map(([name, ms]) => {
			const part = el(`span.${name}`);
			part.style.flexGrow = ms;
			return part;
		}));
		this.key.replaceChildren(...phases.map(([name], at) => el(`li.${name}`, text[at])));
		if (this.time) this.time.textContent = duration(age(this.run));
	}

	drawFacts() {
		const run = this.run;
		const facts = { state: run.state === "finished" ? run.status : run.state + (run.state === "queued" && this.position ? ` behind ${this.position} others` : ""), kind: run.kind, id: run.id };
		if (run.reason) facts.reason = run.reason;
		if (run.exit_code !== null && run.exit_code !== undefined) facts["exit code"] = run.exit_code;
		const { usage } = run.result ?? run;
		if (usage) Object.assign(facts, { "CPU time": usage.cpu_seconds === null ? "unknown" : `${usage.cpu_seconds} s`, "peak memory": usage.memory_peak_bytes === null ? "unknown" : bytes(usage.memory_peak_bytes) });
		if (run.result?.warnings) facts.warnings = run.result.warnings.join("; ");
		if (run.result_detail) facts.result = run.result_detail;
		this.time = el("dd", duration(age(run)));
		const entries = Object.entries(facts).map(([name, value]) => el("div", el("dt", name), el(name === "state" ? `dd.${kindOf(run)}` : "dd", visible(value))));
		this.facts.replaceChildren(...entries, el("div", el("dt", "time"), this.time));
	}
}
