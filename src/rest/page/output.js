// What a run prints: lines with colours, of which a bounded part is kept, however much comes.
import { button, bytes, download, el, soon, visibleLines } from "./dom.js";

const MOST_LINES = 20_000;
const MOST_KEPT = 16 << 20;
const LINES_PER_BLOCK = 200;
// A longer line is broken: no browser lays out one of megabytes in time.
const LONGEST_LINE = 8_000;
// Escape sequences: colours (the first group), others, titles and links; and one whose end has not come yet.
const ESCAPE = /\x1b\[([\d;:]*)m|\x1b\[[0-?]*[ -/]*[@-~]|\x1b[\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\|(?=\x1b[^\\]))|\x1b[ -/]*[0-~]/g;
const UNFINISHED = /\x1b(?:\[[0-?]*[ -/]*|[\]P_^X][^\x07\x1b]{0,4096}\x1b?|[ -/]*)$/;

// The sixteen colours, on the dark ground of the output: each can be read.
const FRONT = "#8d99a8 #ff8b82 #6fd08c #f0c35e #82b8ff #dc9bf0 #63d0d8 #e6ebf2 #a3afbf #ffb1aa #9be8b2 #ffdf96 #aed0ff #ecc2f8 #9ae8ee #fff".split(" ");
const GROUND = "#10151c";
const BACK = "#2b3440 #7a1d17 #175227 #5c4200 #123f78 #562a66 #0d4d52 #4a5564".split(" ");

const FLAGS = { 1: "bold", 3: "italic", 4: "under", 7: "inverse", 9: "struck" };

/** Text attributes of one stream, as SGR sequences set them. */
class Style {
	front = null;
	back = null;
	flags = new Set();

	apply(text) {
		const codes = text.split(/[;:]/).map(Number);
		for (let at = 0; at < codes.length; at += 1) {
			const code = codes[at];
			if (code === 0) Object.assign(this, new Style());
			else if (FLAGS[code]) this.flags.add(FLAGS[code]);
			else if (code === 22) this.flags.delete("bold");
			else if (FLAGS[code - 20]) this.flags.delete(FLAGS[code - 20]);
			const ground = { 3: "front", 4: "back", 9: "front", 10: "back" }[Math.floor(code / 10)];
			const colour = code % 10;
			if (!ground || code === 9) continue;
			if (colour < 8) this[ground] = colour + (code >= 90 ? 8 : 0);
			else if (colour === 9) this[ground] = null;
			else {
				const [extended, taken] = moreColours(codes.slice(at + 1));
				this[ground] = extended;
				at += taken;
			}
		}
	}

	span(text, stream) {
		if (this.front === null && this.back === null && !this.flags.size && stream === "stdout") return text;
		const span = el("span", { className: [...this.flags, stream === "stderr" ? "err" : ""].join(" ") }, text);
		// Through the object model, which the page's policy allows: no text becomes a style sheet.
		const colours = [this.front === null ? "" : FRONT[this.front] ?? this.front, this.back === null ? "" : BACK[this.back % 8] ?? this.back];
		if (this.flags.has("inverse")) colours.splice(0, 2, colours[1] || GROUND, colours[0] || "#e6ebf2");
		[span.style.color, span.style.backgroundColor] = colours;
		return span;
	}
}

/** A colour of 256 or of all, and how many numbers it took. */
function moreColours([kind, a, b, c]) {
	if (!((kind === 2 ? a + b + c : a) >= 0)) return [null, 4];
	if (kind === 2) return [`rgb(${[a, b, c].map((part) => Math.min(255, part || 0)).join(",")})`, 4];
	if (kind !== 5) return [null, 1];
	if (a < 16) return [a, 2];
	if (a >= 232) return [`rgb(${Array(3).fill(8 + 10 * (Math.min(a, 255) - 232)).join(",")})`, 2];
	const step = (n) => (n ? 55 + 40 * n : 0);
	return [`rgb(${[36, 6, 1].map((size) => step(Math.floor((a - 16) / size) % 6)).join(",")})`, 2];
}

export class Output {
	constructor() {
		this.box = el("div.output", { tabIndex: 0, role: "log", ariaLabel: "Output", ariaLive: "off" });
		const cut = () => (this.cut ? `[${bytes(this.cut)} before this are not kept by the page]\n` : "");
		this.search = el("input", { type: "search", size: 14, oninput: () => this.find(), onkeydown: ({ key, shiftKey }) => void (key === "Enter" && this.goOn(shiftKey ? -1 : 1)) });
		this.element = el("div",
			el("div.bar", this.follow = button("Follow", () => this.setFollow(!this.isFollowing)), this.pause = button("Pause", () => this.setPause(!this.isPaused), { ariaPressed: "false" }),
				el("label", "Search ", this.search), this.hits = el("span.quiet", { role: "status" }), button("Download", () => download("output.txt", cut() + this.kept.join("")))),
			this.note = el("p.quiet", { role: "status" }), this.box);
		this.box.onscroll = () => this.setFollow(this.box.scrollTop + this.box.clientHeight >= this.box.scrollHeight - 30);
		Object.assign(this, { frame: 0, isPaused: false, omitted: "" });
		this.clear();
		this.setFollow(true);
	}

	clear() {
		this.box.replaceChildren();
		Object.assign(this, { kept: [], keptSize: 0, cut: 0, waiting: [], waitingSize: 0, lines: 0, dropped: 0, block: null, line: null, width: 0, isOver: false });
		this.streams = { stdout: { style: new Style(), rest: "" }, stderr: { style: new Style(), rest: "" } };
	}

	add(stream, text) {
		this.keep(text);
		this.waiting.push({ stream, text });
		this.waitingSize += text.length;
		if (this.waitingSize > MOST_KEPT) this.shorten();
		if (this.isPaused) this.tell();
		this.schedule();
	}

	keep(text) {
		this.kept.push(text);
		this.keptSize += text.length;
		while (this.keptSize > MOST_KEPT) {
			const { length } = this.kept.shift();
			this.keptSize -= length;
			this.cut += length;
		}
	}

	/** The server does not keep what came here. */
	skip(count) {
		const gap = `${count} pieces of the output are no longer kept by the server`;
		this.keep(`\n[${gap}]\n`);
		this.waiting.push({ gap, text: "" });
		this.schedule();
	}

	/** Gives up the oldest of what waits, up to the end of a line, and leaves a mark. */
	shorten() {
		// The line that is begun is shown, without its end.
		let lost = this.waiting[0].lost ?? (this.line ? -1 : 0);
		const lose = (text) => {
			this.waitingSize -= text.length;
			lost += text.split("\n").length - 1;
		};
		while (this.waitingSize > MOST_KEPT / 2 && this.waiting.length > 1) lose(this.waiting.shift().text);
		const first = this.waiting[0];
		const end = first.text.indexOf("\n") + 1;
		lose(first.text.slice(0, end));
		first.text = first.text.slice(end);
		this.waiting.unshift({ gap: `${lost} lines came faster than they can be shown`, lost, text: "" });
	}

	schedule() {
		if (!this.isPaused) this.frame ||= soon(() => this.show());
	}

	show() {
		this.frame = 0;
		const end = performance.now() + 30;
		while (this.waiting.length && performance.now() < end) {
			const { stream, text, gap, lost } = this.waiting[0];
			if (gap) this.mark(gap, lost);
			const part = text.slice(0, 65_536);
			if (text.length > part.length) this.waiting[0] = { stream, text: text.slice(part.length) };
			else this.waiting.shift();
			this.waitingSize -= part.length;
			if (stream) this.write(stream, part);
		}
		this.tell();
		if (this.search.value) this.find();
		if (this.isFollowing) this.box.scrollTop = this.box.scrollHeight;
		if (this.waiting.length) this.schedule();
	}

	/** A line that says what is missing. */
	mark(gap, lost = 0) {
		if (this.line) this.endLine();
		for (const stream of Object.values(this.streams)) stream.rest = "";
		this.newLine();
		this.line.className = "gap";
		this.line.textContent = `… ${gap} …`;
		this.line.lost = lost;
		this.endLine();
	}

	write(name, text) {
		const stream = this.streams[name];
		text = stream.rest + text;
		const end = UNFINISHED.exec(text)?.index ?? text.length;
		stream.rest = text.slice(end);
		let from = 0;
		for (const match of text.matchAll(ESCAPE)) {
			if (match.index >= end) break;
			this.print(name, text.slice(from, match.index));
			if (match[1] !== undefined) stream.style.apply(match[1]);
			from = match.index + match[0].length;
		}
		this.print(name, text.slice(from, end));
	}

	print(name, text) {
		for (const part of text.split(/(\r?\n|\r+)/)) {
			if (part.endsWith("\n")) this.endLine();
			else if (part[0] === "\r") this.isOver = true;
			else if (part) {
				// A line that begins again, such as a progress bar.
				if (this.isOver) this.line?.replaceChildren();
				if (this.isOver) this.width = 0;
				this.isOver = false;
				for (let from = 0; from < part.length; from += LONGEST_LINE) this.put(name, part.slice(from, from + LONGEST_LINE));
			}
		}
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
			for (const { lost } of oldest.children) this.dropped += lost ?? 1;
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
		const notes = [this.dropped && `${this.dropped} earlier lines are not shown`, this.isPaused && this.waitingSize && `${bytes(this.waitingSize)} more`, this.omitted];
		this.note.textContent = notes.filter(Boolean).join("; ");
	}

	setFollow(on) {
		this.isFollowing = on;
		this.follow.ariaPressed = on;
		if (on) this.box.scrollTop = this.box.scrollHeight;
	}

	setPause(on) {
		this.isPaused = on;
		this.pause.ariaPressed = on;
		this.schedule();
	}

	find() {
		const wanted = this.search.value.toLowerCase();
		let count = 0;
		for (const line of this.box.querySelectorAll(".block > div")) {
			const isHit = wanted !== "" && line.textContent.toLowerCase().includes(wanted);
			line.classList.toggle("hit", isHit);
			count += isHit;
		}
		this.hits.textContent = wanted ? `${count} lines` : "";
	}

	/** To the next line that was found, or the one before. */
	goOn(step) {
		const hits = [...this.box.querySelectorAll(".hit")];
		const before = hits.findIndex((line) => line.classList.contains("here"));
		const next = hits.at((before + step) % hits.length);
		hits[before]?.classList.remove("here");
		next?.classList.add("here");
		this.setFollow(false);
		next?.scrollIntoView({ block: "center" });
	}
}
