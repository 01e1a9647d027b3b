// Elements, and text that is safe to look at. Nothing here takes markup: what a run prints stays text.

/** An element with classes, such as `p.quiet`. The first part may be its properties; the others are its children. */
export function el(tag, ...parts) {
	const [name, ...classes] = tag.split(".");
	const made = document.createElement(name);
	made.className = classes.join(" ");
	if (parts[0]?.constructor === Object) Object.assign(made, parts.shift());
	made.append(...parts);
	return made;
}

export const byId = (id) => document.getElementById(id);

export const button = (text, onclick, props = {}) => el("button", { type: "button", textContent: text, onclick, ...props });

// Characters that control, that change the direction, or that hide what follows.
const STRANGE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

function picture(character) {
	const code = character.charCodeAt();
	if (code < 32) return String.fromCharCode(0x2400 + code);
	return code === 127 ? "␡" : `⟨${code.toString(16).padStart(4, "0")}⟩`;
}

/** One line in which every strange character is visible. */
export const visible = (text) => String(text).replace(STRANGE, picture);

/** The same, but line breaks and tabs stay. */
export const visibleLines = (text) => text.replace(STRANGE, (character) => (/[\n\t]/.test(character) ? character : picture(character)));

/** A word as a POSIX shell reads it. */
export const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

export function bytes(count) {
	const unit = Math.min(3, Math.floor(Math.log2(count || 1) / 10));
	const size = count / 1024 ** unit;
	return `${unit && size < 10 ? size.toFixed(1) : Math.round(size)} ${["B", "KiB", "MiB", "GiB"][unit]}`;
}

export function duration(ms) {
	if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
	const s = ms / 1000;
	const m = Math.floor(s / 60);
	if (!m) return `${s.toFixed(1)} s`;
	return m < 60 ? `${m} min ${Math.floor(s % 60)} s` : `${Math.floor(m / 60)} h ${m % 60} min`;
}

/** Calls it with the next frame. Where a page is hidden none comes. */
export const soon = (act) => (document.hidden ? setTimeout(act, 200) : requestAnimationFrame(act));

export function download(name, content) {
	const url = URL.createObjectURL(new Blob([content]));
	el("a", { href: url, download: name }).click();
	setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
