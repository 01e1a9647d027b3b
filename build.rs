//! Prepares the files that browsers load. Those of the page at `/` are compressed. The two files of Swagger UI that `/docs` serves
//! are extracted from the zip in the vendoring crate, and not recompressed: each file's deflate stream is put into a gzip frame,
//! which browsers accept.
#![allow(clippy::print_stdout)] // build scripts give cargo instructions on stdout

use flate2::{Compression, GzBuilder};
use std::io::Write;
use std::path::Path;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED as ZIP;

const PAGE: &str = "src/rest/page";
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
    compress_page(Path::new(&out)).map_err(|error| format!("{PAGE}: {error}"))
}

/// Writes each file of the page, compressed, below `page` in the output directory.
fn compress_page(out: &Path) -> std::io::Result<()> {
    println!("cargo::rerun-if-changed={PAGE}");
    std::fs::create_dir_all(out.join("page"))?;
    for file in std::fs::read_dir(PAGE)? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".js") || name.ends_with(".css") {
            // No time and no name, so that the same sources give the same binary.
            let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
            gzip.write_all(&std::fs::read(&path)?)?;
            std::fs::write(out.join("page").join(format!("{name}.gz")), gzip.finish()?)?;
        }
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
