// Directories as base64 of tar.gz, which is what the API takes and returns.

const BLOCK = 512;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A header of ustar. `name` has at most 100 bytes. */
function header(name, size, { mode = 0o644, type = "0" } = {}) {
	const block = new Uint8Array(BLOCK);
	const put = (text, at) => block.set(encoder.encode(text), at);
	const octal = (number, width) => number.toString(8).padStart(width, "0");
	block.set(name, 0);
	const zero = octal(0, 7);
	// More than 8 GiB never gets here: the server takes less.
	put([octal(mode, 7), zero, zero, octal(size, 11), octal(0, 11), `        ${type}`].join("\0"), 100);
	put("ustar\u000000", 257);
	put(octal(block.reduce((sum, byte) => sum + byte, 0), 6) + "\0", 148);
	return block;
}

const padding = (size) => new Uint8Array((BLOCK - (size % BLOCK)) % BLOCK);

/** The headers of an entry: a longer name goes into an entry before it, as GNU tar has it. */
function headers(path, size, options) {
	const name = encoder.encode(path);
	const own = header(name.subarray(0, 100), size, options);
	return name.length <= 100 ? [own] : [header(encoder.encode("././@LongLink"), name.length, { type: "L" }), name, padding(name.length), own];
}

/** Files `[{path, file}]` and directories `[{path}]` as a Blob of tar.gz. Programs are executable: a browser does not say what was. */
export async function pack(entries) {
	const parts = [];
	for (const { path, file } of entries) {
		if (!file) {
			parts.push(...headers(`${path}/`, 0, { mode: 0o755, type: "5" }));
			continue;
		}
		const isProgram = /^(#!|\x7fELF)/.test(await file.slice(0, 4).text());
		parts.push(...headers(path, file.size, { mode: isProgram ? 0o755 : 0o644 }), file, padding(file.size));
	}
	return new Response(new Blob([...parts, new Uint8Array(2 * BLOCK)]).stream().pipeThrough(new CompressionStream("gzip"))).blob();
}

/** A Blob as base64. */
export const base64 = (blob) => new Promise((done, fail) => {
	const reader = new FileReader();
	reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
	reader.onerror = () => fail(reader.error);
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
		if (type === "L" || type === "K") {
			longer[type] = textOf(content);
		} else {
			const path = longer.L ?? textOf(block.subarray(0, 100));
			const kind = { 5: "directory", 1: "link", 2: "link" }[type] ?? "file";
			entries.push({ path: path.replace(/^\.\//, ""), type: kind, bytes: content, target: longer.K ?? textOf(block.subarray(157, 257)) });
			longer = {};
		}
	}
	return entries.filter((entry) => entry.path !== "" && entry.path !== ".");
}
