// Elements, and text that is safe to look at. Nothing here takes markup: whatever a run prints or is called stays text.

/**
 * An element, of a tag with classes such as `p.quiet`. If the first part is a plain object, its members are properties, and those
 * with a dash, and `role`, attributes. The other parts are children.
 */
export function el(tag, ...parts) {
	const [name, ...classes] = tag.split(".");
	const made = document.createElement(name);
	if (classes.length) made.className = classes.join(" ");
	if (parts[0]?.constructor === Object) {
		for (const [key, value] of Object.entries(parts.shift())) {
			if (key.includes("-") || key === "role") made.setAttribute(key, value);
			else made[key] = value;
		}
	}
	made.append(...parts);
	return made;
}

export const byId = (id) => document.getElementById(id);

export const button = (text, onclick, props = {}) => el("button", { type: "button", textContent: text, onclick, ...props });

// Control characters, and those that change the direction or hide what follows.
const STRANGE = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const STRANGE_BUT_LINES = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

function picture(character) {
	const code = character.codePointAt(0);
	if (code < 32) return String.fromCodePoint(0x2400 + code);
	if (code === 127) return "\u2421";
	return `\u27e8${code.toString(16).padStart(4, "0")}\u27e9`;
}

/** One line in which every strange character is visible. */
export const visible = (text) => String(text).replace(STRANGE, picture);

/** The same, but line breaks and tabs stay. */
export const visibleLines = (text) => String(text).replace(STRANGE_BUT_LINES, picture);

export function bytes(count) {
	const units = ["B", "KiB", "MiB", "GiB"];
	let unit = 0;
	while (count >= 1024 && unit < units.length - 1) {
		count /= 1024;
		unit += 1;
	}
	return `${unit && count < 10 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

export function duration(ms) {
	if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
	const seconds = ms / 1000;
	if (seconds < 60) return `${seconds.toFixed(1)} s`;
	const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
	return h ? `${h} h ${m} min` : `${m} min ${s} s`;
}

/** Offers bytes or text as a file. */
export function download(name, content) {
	const url = URL.createObjectURL(new Blob([content]));
	el("a", { href: url, download: name }).click();
	setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
