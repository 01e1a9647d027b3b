// Requests to this server. The token is asked for when the server wants one, and kept in this tab's session storage.
import { byId } from "./dom.js";

const BASE = new URL("../", import.meta.url);
const KEY = "oneoff-token";
let asking = null;

export const address = (path) => new URL(`.${path}`, BASE).href;
export const hasToken = () => sessionStorage.getItem(KEY) !== null;

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
		byId("token-input").value = "";
		dialog.addEventListener("close", () => {
			const token = byId("token-input").value.trim();
			if (token) sessionStorage.setItem(KEY, token);
			asking = null;
			resolve();
		}, { once: true });
		dialog.showModal();
	});
	return asking;
}

/** Sends a request. Asks for the token, and sends it again, as often as the server refuses it. Throws a `Problem`. */
export async function send(method, path, { body, headers = {}, signal } = {}) {
	for (;;) {
		if (asking) await asking;
		const token = sessionStorage.getItem(KEY);
		// A token in which a header cannot have a character is as wrong as any other.
		const isSendable = token === null || /^[\x21-\x7e]+$/.test(token);
		const all = { ...headers };
		if (token !== null && isSendable) all.Authorization = `Bearer ${token}`;
		if (body !== undefined) all["Content-Type"] = "application/json";
		const answer = await fetch(address(path), { method, body, headers: all, signal, credentials: "omit", cache: "no-store" });
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

/** Calls `take(name, data, id)` for each server-sent event. Returns when the stream ends. */
export async function follow(path, take, options) {
	const answer = await send("GET", path, { ...options, headers: { Accept: "text/event-stream", ...options?.headers } });
	options?.opened?.();
	const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
	// Pieces of an event that is not complete. They are joined once, at its end: it may have megabytes.
	let parts = [];
	for (;;) {
		const { done, value } = await reader.read();
		if (done) return;
		const events = ((parts.at(-1)?.endsWith("\n") ? parts.pop() : "") + value).split("\n\n");
		const rest = events.pop();
		if (events.length) {
			events[0] = parts.join("") + events[0];
			parts = [];
		}
		if (rest) parts.push(rest);
		for (const event of events) {
			const fields = {};
			for (const line of event.split("\n")) {
				const colon = line.indexOf(": ");
				if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
			}
			if (fields.data) take(fields.event, JSON.parse(fields.data), fields.id);
		}
	}
}

/** A request for `curl`, in words of a POSIX shell. */
export function curl(request) {
	const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
	const token = hasToken() ? ` \\\n  -H "Authorization: Bearer $AUTH_TOKEN"` : "";
	return `curl -s ${quote(address("/run"))}${token} \\\n  -H 'Content-Type: application/json' -d ${quote(JSON.stringify(request, null, 1))}`;
}

/** Shows the command, and copies it where the browser allows that. */
export async function showCurl(request, note) {
	byId("curl-text").value = curl(request);
	byId("curl-note").textContent = note;
	byId("curl").showModal();
	try {
		await navigator.clipboard.writeText(byId("curl-text").value);
		byId("curl-note").textContent = `Copied. ${note}`;
	} catch {
		byId("curl-text").select();
	}
}
