// One run, as it goes on and as it ended.
import { Problem, follow, json, showCurl } from "./api.js";
import { bytes, button, download, duration, el, visible, visibleLines } from "./dom.js";
import { requestOf } from "./form.js";
import { age, kindOf, update, words } from "./list.js";
import { Output } from "./output.js";
import { fromBase64, unpack } from "./tar.js";

const MOST_PREVIEW = 256 << 10;

function preview(name, content) {
	const type = /\.(png|jpe?g|gif|webp|svg)$/i.exec(name)?.[1].toLowerCase();
	if (type) {
		const url = URL.createObjectURL(new Blob([content], { type: `image/${type}`.replace("svg", "svg+xml") }));
		const picture = el("img.preview", { alt: `Preview of ${visible(name)}`, src: url });
		picture.onload = picture.onerror = () => URL.revokeObjectURL(url);
		return picture;
	}
	const part = content.subarray(0, MOST_PREVIEW);
	if (part.includes(0)) return el("p.quiet", "This is no text.");
	const rest = content.length > part.length ? `\n… ${bytes(content.length - part.length)} more` : "";
	return el("pre.preview", { tabIndex: 0 }, visibleLines(new TextDecoder().decode(part)) + rest);
}

function fileRow(name, content) {
	const row = el("li", el("span.name.mono", visible(name)), bytes(content.length));
	const show = button("Preview", () => {
		const shown = row.querySelector(".preview, p");
		if (shown) shown.remove();
		else row.append(preview(name, content));
		show.ariaExpanded = !shown;
	}, { ariaExpanded: "false", ariaLabel: `Preview ${visible(name)}` });
	row.append(show, button("Download", () => download(name.split("/").pop(), content), { ariaLabel: `Download ${visible(name)}` }));
	return row;
}

async function filesOf(path, volume) {
	const box = el("section", el("h3", visible(path)));
	if (!volume?.content) {
		box.append(el("p.quiet", visible(volume?.detail ?? "The run did not leave it.")));
		return box;
	}
	const content = fromBase64(volume.content);
	const list = el("ul.files", { tabIndex: 0, ariaLabel: `Files of ${visible(path)}` });
	box.append(list);
	if (volume.type === "file") {
		list.append(fileRow(path, content));
		return box;
	}
	box.firstElementChild.append(" ", button("Download all", () => download(`${path.split("/").pop() || "files"}.tar.gz`, content)));
	const entries = await unpack(content);
	for (const [at, { path, type, bytes, target }] of entries.entries()) {
		if (type === "file") list.append(fileRow(path, bytes));
		else if (type === "link") list.append(el("li.name.mono", `${visible(path)} → ${visible(target)}`));
		else if (!entries[at + 1]?.path.startsWith(path)) list.append(el("li.name.mono", visible(path), ", empty"));
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
		this.element = el("div", this.title = el("h2", { tabIndex: -1 }), this.command = el("p.mono"),
			el("div.bar", this.end = button("Cancel", () => this.delete("?cancel_only=1")), button("Run again", () => again(...this.request())), button("Copy as curl", () => showCurl(...this.request())),
				// Not where a second click on “Cancel” arrives.
				this.remove = button("Remove from the list", () => this.delete(""), { hidden: true })),
			this.fault = el("p.bad", { role: "alert" }), this.bar = el("div.phases", { role: "img" }), this.key = el("ul.key"), this.pulls = el("ul.layers", { ariaLabel: "Layers of the image" }),
			this.facts = el("dl.facts"), el("h3", "Output"), this.output.element, this.files = el("div"));
		this.ticker = setInterval(() => this.run && this.run.state !== "finished" && this.drawPhases(), 250);
		this.follow();
	}

	close() {
		this.stop.abort();
		clearInterval(this.ticker);
	}

	/** The request as far as it is known, and what is not. */
	request() {
		const whole = requestOf(this.id);
		if (whole) return [whole, ""];
		const { image, command, command_cut } = this.run ?? {};
		const note = "The server does not keep environment, files and limits of a request. ";
		return [{ image, ...(command && { command }), pull_policy: "missing" }, command_cut ? `${note}The command is cut. ` : note];
	}

	async delete(query) {
		this.fault.textContent = "";
		try {
			const run = await json("DELETE", `/runs/${encodeURIComponent(this.id)}${query}`);
			if (query) this.show(run);
			else location.hash = "#/";
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
					this.take(name, data, id?.split("-")[0]);
				};
				await follow(`${path}/events`, take, { signal, headers: last ? { "Last-Event-ID": last } : {} });
				if (isOver && state.state !== "finished") this.show(await json("GET", path, { signal }));
				if (isOver && !this.origin && this.run.result_detail) this.output.box.textContent = this.run.result_detail;
			} catch (error) {
				if (signal.aborted) return;
				// A proxy answers 502 while a server is started again.
				if (error instanceof Problem && error.status < 500) {
					this.fault.textContent = error.message;
					isOver = true;
					this.title.textContent ||= `Run ${visible(this.id)}`;
				}
			}
			if (!isOver) await new Promise((resolve) => setTimeout(resolve, 1000));
		}
	}

	print(name, data) {
		if (data) this.output.add(name, this.run.output_encoding === "base64" ? new TextDecoder().decode(fromBase64(data)) : data);
	}

	/** `origin`: which server the event is of. Another one sends the output again. */
	take(name, data, origin) {
		const isOutput = name === "stdout" || name === "stderr";
		if ((isOutput || name === "result") && origin !== this.origin) {
			this.output.clear();
			this.origin = origin;
			// It keeps no events of a run that an earlier one executed.
			if (!isOutput) for (const stream of ["stdout", "stderr"]) this.print(stream, data[stream]);
		}
		if (origin && this.skipped) this.output.skip(this.skipped);
		this.skipped = name === "skipped" && data.events;
		if (isOutput) this.print(name, data.data);
		else if (name === "queued") this.position = data.position;
		else if (name === "pull") this.pull(data);
		else if (name === "started" && this.run.state !== "finished") this.show({ ...this.run, state: "running", started_at: this.run.started_at ?? new Date().toISOString() });
		else if (name === "ended") this.show(data);
		else if (name === "error") this.fault.textContent = data.detail ?? data.title;
	}

	pull({ status, id, current, total }) {
		this.pullFrom ??= Date.now();
		if (!this.layers.has(id)) {
			const layer = { meter: el("progress", { ariaLabel: `Layer ${visible(id)}` }), text: el("span") };
			this.layers.set(id, layer);
			this.pulls.append(el("li", layer.meter, " ", layer.text));
		}
		const { meter, text } = this.layers.get(id);
		if (total) Object.assign(meter, { max: total, value: current });
		else if (/complete|exists/i.test(status)) Object.assign(meter, { max: 1, value: 1 });
		text.textContent = `${visible(id)}: ${visible(status)}${total ? ` ${bytes(current)} of ${bytes(total)}` : ""}`;
	}

	show(run) {
		if (this.run?.state === "finished" && run.state !== "finished") return;
		this.run = run;
		if (run.id) update([{ ...run, result: null }], []);
		this.title.textContent = visible(run.image || `Run ${this.id}`);
		this.command.textContent = visible(words(run));
		const isOver = run.state === "finished";
		this.end.disabled = isOver;
		this.remove.hidden = !isOver;
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
		const left = ({ stdout_omitted_bytes: out, stderr_omitted_bytes: err }) => (out ?? 0) + (err ?? 0);
		if (left(result)) this.output.omitted = `${bytes(left(result))} in the middle are not in the result`;
		this.output.tell();
		for (const [path, volume] of Object.entries(result.volumes)) {
			this.files.append(await filesOf(path, volume).catch((error) => el("p.bad", `${visible(path)}: ${error.message}`)));
		}
		if (this.files.childElementCount) this.files.prepend(el("h3", "Files that came back"));
	}

	/** How long each phase took so far. Until the end, the server says only when the container started. */
	phases() {
		const { timings, created_at, started_at } = this.run;
		if (timings) return Object.entries(timings).filter(([name]) => name.endsWith("_ms")).map(([name, ms]) => [name.slice(0, -3), ms]);
		const created = Date.parse(created_at);
		const now = created + age(this.run);
		const started = started_at ? Date.parse(started_at) : now;
		const pulled = Math.min(this.pullFrom ?? started, started);
		return [["queue", pulled - created], ["pull", this.pullFrom ? started - pulled : 0], ["run", now - started]];
	}

	drawPhases() {
		const phases = this.phases().filter(([, ms]) => ms > 0);
		const text = phases.map(([name, ms]) => `${name} ${duration(ms)}`);
		this.bar.ariaLabel = `Phases: ${text.join(", ") || "none yet"}`;
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
		if (Number.isInteger(run.exit_code)) facts["exit code"] = run.exit_code;
		const { usage } = run.result ?? run;
		if (usage) {
			facts["CPU time"] = usage.cpu_seconds === null ? "unknown" : `${usage.cpu_seconds} s`;
			facts["peak memory"] = usage.memory_peak_bytes === null ? "unknown" : bytes(usage.memory_peak_bytes);
		}
		if (run.result?.warnings) facts.warnings = run.result.warnings.join("; ");
		if (run.result_detail) facts.result = run.result_detail;
		this.time = el("dd", duration(age(run)));
		const entries = Object.entries(facts).map(([name, value]) => el("div", el("dt", name), el(name === "state" ? `dd.${kindOf(run)}` : "dd", visible(value))));
		this.facts.replaceChildren(...entries, el("div", el("dt", "time"), this.time));
	}
}
