// What a run prints: lines with colours, of which a bounded part is kept, however much comes.
import { button, bytes, download, el, visibleLines } from "./dom.js";

const MOST_LINES = 20_000;
const MOST_KEPT = 16 << 20;
const LINES_PER_BLOCK = 200;
// A longer line is broken: no browser lays out one of megabytes in time.
const LONGEST_LINE = 8_000;
// Escape sequences: colours (the first group), others, titles and links, and a sequence whose end has not come yet.
const ESCAPE = /\x1b\[([\d;:]*)m|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*[0-~]/g;
const UNFINISHED = /\x1b(?:\[[0-?]*[ -/]*|[\]P_^X][^\x07\x1b]{0,4096}\x1b?|[ -/]*)$/;

// The sixteen colours, on the dark ground of the output: each can be read.
const FRONT = "#8d99a8 #ff8b82 #6fd08c #f0c35e #82b8ff #dc9bf0 #63d0d8 #e6ebf2 #a3afbf #ffb1aa #9be8b2 #ffdf96 #aed0ff #ecc2f8 #9ae8ee #fff".split(" ");
const BACK = "#2b3440 #7a1d17 #175227 #5c4200 #123f78 #562a66 #0d4d52 #4a5564".split(" ");

/** Text attributes of one stream, as SGR sequences set them. */
class Style {
	constructor() { this.reset(); }
	reset() { Object.assign(this, { front: null, back: null, flags: new Set() }); }

	apply(text) {
		const codes = text.split(/[;:]/).map(Number);
		const flags = { 1: "bold", 3: "italic", 4: "under", 9: "struck" };
		for (let at = 0; at < codes.length; at += 1) {
			const code = codes[at];
			if (code === 0) this.reset();
			else if (flags[code]) this.flags.add(flags[code]);
			else if (code === 22) this.flags.delete("bold");
			else if (flags[code - 20]) this.flags.delete(flags[code - 20]);
			else if (code >= 30 && code <= 37) this.front = code - 30;
			else if (code >= 90 && code <= 97) this.front = code - 82;
			else if (code >= 40 && code <= 47) this.back = code - 40;
			else if (code >= 100 && code <= 107) this.back = code - 92;
			else if (code === 39) this.front = null;
			else if (code === 49) this.back = null;
			else if (code === 38 || code === 48) {
				const [colour, taken] = extended(codes.slice(at + 1));
				this[code === 38 ? "front" : "back"] = colour;
				at += taken;
			}
		}
	}

	span(text, stream) {
		if (this.front === null && this.back === null && !this.flags.size && stream === "stdout") return document.createTextNode(text);
		const span = el("span", { className: [...this.flags, stream === "stderr" ? "err" : ""].join(" ") }, text);
		// Through the object model, which the page's policy allows: no text becomes a style sheet.
		if (this.front !== null) span.style.color = FRONT[this.front] ?? this.front;
		if (this.back !== null) span.style.backgroundColor = BACK[this.back % 8] ?? this.back;
		return span;
	}
}

/** A colour of 256 or of all, and how many numbers it took. */
function extended([kind, a, b, c]) {
	if (kind === 2) return [`rgb(${[a, b, c].map((part) => Math.min(255, part || 0)).join(",")})`, 4];
	if (kind !== 5) return [null, 1];
	if (a < 16) return [a, 2];
	if (a >= 232) return [`rgb(${Array(3).fill(8 + 10 * (Math.min(a, 255) - 232)).join(",")})`, 2];
	const step = (n) => (n ? 55 + 40 * n : 0);
	return [`rgb(${[36, 6, 1].map((size) => step(Math.floor((a - 16) / size) % 6)).join(",")})`, 2];
}

export class Output {
	constructor() {
		this.box = el("div.output", { tabIndex: 0, role: "log", "aria-label": "Output", "aria-live": "off" });
		this.follow = button("Follow", () => this.setFollow(!this.isFollowing));
		this.pause = button("Pause", () => this.setPause(!this.isPaused), { "aria-pressed": "false" });
		this.search = el("input", { type: "search", size: 14, oninput: () => this.find(), onkeydown: ({ key, shiftKey }) => void (key === "Enter" && this.goOn(shiftKey ? -1 : 1)) });
		this.hits = el("span.quiet", { role: "status" });
		this.note = el("p.quiet", { role: "status" });
		const save = button("Download", () => download("output.txt", this.kept.map((piece) => piece.text).join("")));
		this.element = el("div", el("div.bar", this.follow, this.pause, el("label", "Search ", this.search), this.hits, save), this.note, this.box);
		this.box.addEventListener("scroll", () => this.setFollow(this.isAtEnd()), { passive: true });
		Object.assign(this, { kept: [], keptSize: 0, waiting: [], lines: 0, dropped: 0, skipped: 0, line: null, frame: 0, width: 0, isOver: false, isPaused: false, omitted: "" });
		this.streams = { stdout: { style: new Style(), rest: "" }, stderr: { style: new Style(), rest: "" } };
		this.setFollow(true);
	}

	/** Adds a piece of a stream. It is shown with the next frame. */
	add(stream, text) {
		this.kept.push({ text });
		this.keptSize += text.length;
		while (this.keptSize > MOST_KEPT) this.keptSize -= this.kept.shift().text.length;
		this.waiting.push({ stream, text });
		if (!this.isPaused) this.schedule();
	}

	skip(count) {
		this.skipped += count;
		this.tell();
	}

	schedule() {
		// Where a page is hidden no frames come.
		this.frame ||= document.hidden ? setTimeout(() => this.show(), 200) : requestAnimationFrame(() => this.show());
	}

	show() {
		this.frame = 0;
		const end = performance.now() + 30;
		while (this.waiting.length && performance.now() < end) {
			const { stream, text } = this.waiting[0];
			// In parts, so that the page stays quick.
			const part = text.slice(0, 65_536);
			if (text.length > part.length) this.waiting[0] = { stream, text: text.slice(part.length) };
			else this.waiting.shift();
			this.write(stream, part);
		}
		// What is waiting and will be out of sight anyway.
		let size = this.waiting.reduce((sum, piece) => sum + piece.text.length, 0);
		while (size > 4 << 20) size -= this.waiting.shift().text.length;
		this.tell();
		if (this.search.value) this.find();
		if (this.isFollowing) this.box.scrollTop = this.box.scrollHeight;
		if (this.waiting.length) this.schedule();
	}

	write(name, text) {
		const stream = this.streams[name];
		text = stream.rest + text;
		const unfinished = UNFINISHED.exec(text);
		stream.rest = unfinished ? unfinished[0] : "";
		if (unfinished) text = text.slice(0, unfinished.index);
		let from = 0;
		for (const match of text.matchAll(ESCAPE)) {
			this.print(name, text.slice(from, match.index));
			if (match[1] !== undefined) stream.style.apply(match[1]);
			from = match.index + match[0].length;
		}
		this.print(name, text.slice(from));
	}

	print(name, text) {
		for (const part of text.split(/(\r*\n|\r)/)) {
			if (part.endsWith("\n")) this.endLine();
			else if (part === "\r") this.isOver = true;
			else if (part) {
				// A line that begins again, such as a progress bar.
				if (this.isOver) this.startAgain();
				for (let from = 0; from < part.length; from += LONGEST_LINE) this.put(name, part.slice(from, from + LONGEST_LINE));
			}
		}
	}

	startAgain() {
		this.line?.replaceChildren();
		this.width = 0;
		this.isOver = false;
	}

	put(name, text) {
		if (this.width + text.length > LONGEST_LINE) this.endLine();
		if (!this.line) this.newLine();
		this.line.append(this.streams[name].style.span(visibleLines(text), name));
		this.width += text.length;
	}

	newLine() {
		if (!this.block || this.block.childElementCount >= LINES_PER_BLOCK || !this.block.isConnected) {
			this.block = el("div.block");
			this.box.append(this.block);
		}
		this.line = el("div");
		this.block.append(this.line);
		this.lines += 1;
		while (this.lines > MOST_LINES) {
			const oldest = this.box.firstElementChild;
			this.lines -= oldest.childElementCount;
			this.dropped += oldest.childElementCount;
			oldest.remove();
		}
	}

	endLine() {
		if (!this.line) this.newLine();
		this.line = null;
		this.width = 0;
		this.isOver = false;
	}

	tell() {
		const notes = [];
		if (this.skipped) notes.push(`${this.skipped} earlier pieces are no longer kept by the server`);
		if (this.dropped) notes.push(`${this.dropped} earlier lines are not shown`);
		if (this.isPaused && this.waiting.length) notes.push(`${bytes(this.waiting.reduce((sum, piece) => sum + piece.text.length, 0))} more`);
		if (this.omitted) notes.push(this.omitted);
		this.note.textContent = notes.join("; ");
	}

	isAtEnd() { return this.box.scrollTop + this.box.clientHeight >= this.box.scrollHeight - 30; }

	setFollow(on) {
		this.isFollowing = on;
		this.follow.setAttribute("aria-pressed", on);
		if (on) this.box.scrollTop = this.box.scrollHeight;
	}

	setPause(on) {
		this.isPaused = on;
		this.pause.setAttribute("aria-pressed", on);
		if (!on && this.waiting.length) this.schedule();
	}

	find() {
		const wanted = this.search.value.toLowerCase();
		let count = 0;
		for (const line of this.box.querySelectorAll(".block > div")) {
			const isHit = wanted !== "" && line.textContent.toLowerCase().includes(wanted);
			if (line.classList.contains("hit") !== isHit) line.classList.toggle("hit", isHit);
			count += isHit;
		}
		this.hits.textContent = wanted ? `${count} lines` : "";
	}

	/** Shows the next line that was found, or the one before. */
	goOn(step) {
		const hits = [...this.box.querySelectorAll(".hit")];
		if (!hits.length) return;
		const before = hits.findIndex((line) => line.classList.contains("here"));
		hits[before]?.classList.remove("here");
		const next = hits[(before + step + hits.length) % hits.length];
		next.classList.add("here");
		this.setFollow(false);
		next.scrollIntoView({ block: "center" });
	}
}
