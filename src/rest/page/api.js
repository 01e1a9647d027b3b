// Requests to this server. The token that it may want is kept in this tab's session storage.
import { byId, quoted } from "./dom.js";

const KEY = "oneoff-token";
let asking = null;
/** Content of more characters is not shown; this is in its place. */
export const MOST_SHOWN = 1 << 20;
export const LARGE = "…";

export const address = (path) => new URL(`..${path}`, import.meta.url).href;

/** Says in the page's head how the server can be reached. */
export function connection(text, kind = "") {
	Object.assign(byId("connection"), { textContent: text, className: kind });
}

/** What a problem document says, with all its faults. */
export class Problem extends Error {
	constructor(status, body) {
		super(body.detail || body.title || `the server answered ${status}`);
		Object.assign(this, { status, code: body.code, faults: body.errors ?? [] });
	}
}

function askForToken(fault) {
	asking ??= new Promise((resolve) => {
		const dialog = byId("token");
		byId("token-fault").textContent = fault;
		byId("token-input").value = dialog.returnValue = "";
		dialog.onclose = () => {
			const token = byId("token-input").value.trim();
			if (dialog.returnValue && token) sessionStorage.setItem(KEY, token);
			asking = null;
			resolve();
		};
		dialog.showModal();
	});
	return asking;
}

/** Sends a request; again with another token, as often as the server refuses that. Throws a `Problem`. */
export async function send(method, path, { body, headers = {}, signal } = {}) {
	for (;;) {
		if (asking) await asking;
		const token = sessionStorage.getItem(KEY);
		// A token in which a header cannot have a character is as wrong as any other.
		const all = /^[\x21-\x7e]+$/.test(token ?? "") ? { ...headers, Authorization: `Bearer ${token}` } : { ...headers };
		if (body !== undefined) all["Content-Type"] = "application/json";
		// A body may take its time.
		const timer = body === undefined && setTimeout(() => (byId("late").hidden = false), 8000);
		const asked = fetch(address(path), { method, body, headers: all, signal, credentials: "omit", cache: "no-store" });
		const answer = await asked.finally(() => clearTimeout(timer));
		byId("late").hidden = true;
		if (answer.ok) return answer;
		const problem = new Problem(answer.status, await answer.json().catch(() => ({})));
		if (answer.status !== 401) throw problem;
		if (token === sessionStorage.getItem(KEY)) {
			sessionStorage.removeItem(KEY);
			await askForToken(token === null ? "" : "That token is not the right one.");
		}
	}
}

export const json = async (method, path, options) => (await send(method, path, options)).json();

// Aborted once the page is hidden for a while: a browser opens few connections to a server.
let looking = new AbortController();
let leaving;
document.onvisibilitychange = () => {
	clearTimeout(leaving);
	leaving = setTimeout(() => {
		if (!document.hidden) return;
		looking.abort();
		looking = new AbortController();
	}, 5000);
};

/**
 * Calls `take(name, data, id)` for each server-sent event, until the stream ends. Fails if the server is silent for longer than it
 * ever is, and once the page is hidden. Waits until the page is shown.
 */
export async function follow(path, take, { signal = looking.signal, headers, opened } = {}) {
	while (document.hidden) await new Promise((shown) => document.addEventListener("visibilitychange", shown, { once: true }));
	const silent = new AbortController();
	let timer;
	const heard = () => {
		clearTimeout(timer);
		timer = setTimeout(() => silent.abort(), 40_000);
	};
	heard();
	try {
		const ends = AbortSignal.any([signal, looking.signal, silent.signal]);
		const answer = await send("GET", path, { signal: ends, headers: { Accept: "text/event-stream", ...headers } });
		opened?.();
		const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
		// Pieces of an event that is not complete. They are joined once, at its end: it may have megabytes.
		let parts = [];
		for (;;) {
			const { done, value } = await reader.read();
			if (done) return;
			heard();
			const events = ((parts.at(-1)?.endsWith("\n") ? parts.pop() : "") + value).split("\n\n");
			const rest = events.pop();
			if (events.length) {
				events[0] = parts.join("") + events[0];
				parts = [];
			}
			if (rest) parts.push(rest);
			for (const text of events) {
				const { event, data, id } = Object.fromEntries(text.split("\n").map((line) => line.split(/: (.*)/)));
				if (data) take(event, JSON.parse(data), id);
			}
		}
	} finally {
		clearTimeout(timer);
	}
}

/** Shows the request as a command of a POSIX shell, and copies it where the browser allows that. */
export async function showCurl({ volumes, ...request }, note) {
	const isLarge = ({ content }) => content === LARGE || content?.length > MOST_SHOWN;
	for (const [path, volume] of Object.entries(volumes ?? {})) {
		request.volumes = { ...request.volumes, [path]: isLarge(volume) ? { ...volume, content: LARGE } : volume };
		if (isLarge(volume)) note += `What ${path} holds is too large to be shown. `;
	}
	const token = sessionStorage.getItem(KEY) ? `  -H "Authorization: Bearer $AUTH_TOKEN" \\\n` : "";
	byId("curl-text").value = `curl -s ${quoted(address("/run"))} \\\n${token}  -H 'Content-Type: application/json' -d @- <<'EOF'\n${JSON.stringify(request, null, 1)}\nEOF\n`;
	byId("curl-note").textContent = note;
	byId("curl").showModal();
	try {
		await navigator.clipboard.writeText(byId("curl-text").value);
		byId("curl-note").textContent = `Copied. ${note}`;
	} catch {
		byId("curl-text").select();
	}
}
