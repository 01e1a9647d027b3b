//! Extracts the two files of Swagger UI that `/docs` serves from the zip in the vendoring crate. Does not recompress them: it
//! puts each file's deflate stream into a gzip frame, which browsers accept.
#![allow(clippy::print_stdout)] // build scripts give cargo instructions on stdout

use std::path::Path;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED as ZIP;

const FILES: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = std::env::var("OUT_DIR").map_err(|error| format!("OUT_DIR: {error}"))?;
    for name in FILES {
        let gzip = find(&format!("/dist/{name}"))
            .ok_or_else(|| format!("{name} is not in the zip, or not deflated there"))?;
        std::fs::write(Path::new(&out).join(format!("{name}.gz")), gzip)
            .map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

/// Finds the file whose name ends with `name_end` in the zip's central directory (APPNOTE.TXT 4.3.12) and returns it as gzip
/// (RFC 1952). `None` if there is no such file or it is not compressed with deflate.
fn find(name_end: &str) -> Option<Vec<u8>> {
    const DEFLATE: u16 = 8;
    let end = ZIP.windows(4).rposition(|bytes| bytes == b"PK\x05\x06")?;
    let mut entry = number(end + 16)? as usize;
    while ZIP.get(entry..entry + 4)? == b"PK\x01\x02" {
        let name_length = short(entry + 28)? as usize;
        let name = ZIP.get(entry + 46..entry + 46 + name_length)?;
        if name.ends_with(name_end.as_bytes()) {
            let local = number(entry + 42)? as usize;
            let data = local + 30 + short(local + 26)? as usize + short(local + 28)? as usize;
            let deflated = ZIP.get(data..data + number(entry + 20)? as usize)?;
            let checksum_and_size = [
                ZIP.get(entry + 16..entry + 20)?,
                ZIP.get(entry + 24..entry + 28)?,
            ];
            let head: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
            let gzip = [head, deflated, &checksum_and_size.concat()].concat();
            return (short(entry + 10)? == DEFLATE).then_some(gzip);
        }
        entry += 46 + name_length + short(entry + 30)? as usize + short(entry + 32)? as usize;
    }
    None
}

fn short(at: usize) -> Option<u16> {
    ZIP.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn number(at: usize) -> Option<u32> {
    ZIP.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}
