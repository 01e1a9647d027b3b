// Directories as base64 of tar.gz, which is what the API takes and returns.

const BLOCK = 512;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A header of ustar. `name` has at most 100 bytes. */
function header(name, size, { mode = 0o644, type = "0" } = {}) {
	const block = new Uint8Array(BLOCK);
	const put = (text, at) => block.set(encoder.encode(text), at);
	const octal = (number, width) => number.toString(8).padStart(width - 1, "0");
	block.set(name, 0);
	put(octal(mode, 8), 100);
	put(octal(0, 8), 108);
	put(octal(0, 8), 116);
	// More than 8 GiB never gets here: the server takes less.
	put(octal(size, 12), 124);
	put(octal(0, 12), 136);
	put("        ", 148);
	put(type, 156);
	put("ustar\u000000", 257);
	put(octal(block.reduce((sum, byte) => sum + byte, 0), 7) + "\0", 148);
	return block;
}

const padding = (size) => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);

/** The headers of an entry: a name of any length goes into a pax header before it. */
function headers(path, size, options) {
	const name = encoder.encode(path);
	if (name.length <= 100) return [header(name, size, options)];
	const record = ` path=${path}\n`;
	let length = encoder.encode(record).length;
	length += String(length + String(length).length).length;
	const pax = encoder.encode(length + record);
	return [header(encoder.encode("pax"), pax.length, { type: "x" }), pax, padding(pax.length), header(name.slice(0, 100), size, options)];
}

/** Files `[{path, file}]` and directories `[{path}]` as a Blob of tar.gz. Scripts are executable: a browser does not say what was. */
export async function pack(entries) {
	const parts = [];
	for (const { path, file } of entries) {
		if (!file) {
			parts.push(...headers(`${path}/`, 0, { mode: 0o755, type: "5" }));
			continue;
		}
		const start = new Uint8Array(await file.slice(0, 4).arrayBuffer());
		const isProgram = (start[0] === 0x23 && start[1] === 0x21) || (start[0] === 0x7f && decoder.decode(start.slice(1)) === "ELF");
		parts.push(...headers(path, file.size, { mode: isProgram ? 0o755 : 0o644 }), file, padding(file.size));
	}
	parts.push(new Uint8Array(2 * BLOCK));
	return new Response(new Blob(parts).stream().pipeThrough(new CompressionStream("gzip"))).blob();
}

/** A Blob as base64. */
export const base64 = (blob) => new Promise((resolve, reject) => {
	const reader = new FileReader();
	reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
	reader.onerror = () => reject(reader.error);
	reader.readAsDataURL(blob);
});

export function fromBase64(text) {
	const binary = atob(text);
	const bytes = new Uint8Array(binary.length);
	for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
	return bytes;
}

const textOf = (bytes) => {
	const end = bytes.indexOf(0);
	return decoder.decode(end < 0 ? bytes : bytes.subarray(0, end));
};

/** The entries of a tar.gz, as this server writes it: `[{path, type, bytes, target}]`, type `file`, `directory` or `link`. */
export async function unpack(gzip) {
	const plain = new Blob([gzip]).stream().pipeThrough(new DecompressionStream("gzip"));
	const tar = new Uint8Array(await new Response(plain).arrayBuffer());
	const entries = [];
	let longer = {};
	for (let at = 0; at + BLOCK <= tar.length && tar[at];) {
		const block = tar.subarray(at, at + BLOCK);
		const size = parseInt(textOf(block.subarray(124, 136)).trim() || "0", 8);
		const content = tar.subarray(at + BLOCK, at + BLOCK + size);
		const type = String.fromCharCode(block[156]);
		at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
		if (type === "x") {
			for (const [, key, value] of decoder.decode(content).matchAll(/^\d+ (\w+)=(.*)$/gm)) longer[key] = value;
		} else if (type === "L" || type === "K") {
			longer[type === "L" ? "path" : "linkpath"] = textOf(content);
		} else if (type !== "g") {
			const path = longer.path ?? textOf(block.subarray(0, 100));
			const kind = { 5: "directory", 1: "link", 2: "link" }[type] ?? "file";
			entries.push({ path: path.replace(/^\.\//, ""), type: kind, bytes: content, target: longer.linkpath ?? textOf(block.subarray(157, 257)) });
			longer = {};
		}
	}
	return entries.filter((entry) => entry.path !== "" && entry.path !== ".");
}
