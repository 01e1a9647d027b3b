//! Prepares the files that browsers load: those of the page at `/`, and the two of Swagger UI that `/docs` serves, from the zip in
//! the vendoring crate. They are compressed as far as that goes, because all of them are in the binary.
#![allow(clippy::print_stdout)] // build scripts give cargo instructions on stdout

use flate2::read::DeflateDecoder;
use std::io::Read;
use std::num::NonZeroU64;
use std::path::Path;
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED as ZIP;

const PAGE: &str = "src/rest/page";
const FILES: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    let out = std::env::var("OUT_DIR").map_err(|error| format!("OUT_DIR: {error}"))?;
    for name in FILES {
        let deflated = find(&format!("/dist/{name}"))
            .ok_or_else(|| format!("{name} is not in the zip, or not deflated there"))?;
        let mut plain = Vec::new();
        DeflateDecoder::new(deflated)
            .read_to_end(&mut plain)
            .and_then(|_| compress(&plain))
            .and_then(|gzip| std::fs::write(Path::new(&out).join(format!("{name}.gz")), gzip))
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
            let gzip = compress(&std::fs::read(&path)?)?;
            std::fs::write(out.join("page").join(format!("{name}.gz")), gzip)?;
        }
    }
    Ok(())
}

/// As gzip, without time and name, so that the same sources give the same binary.
fn compress(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let options = zopfli::Options {
        iteration_count: NonZeroU64::MIN.saturating_add(4),
        ..zopfli::Options::default()
    };
    let mut gzip = Vec::new();
    zopfli::compress(options, zopfli::Format::Gzip, plain, &mut gzip)?;
    Ok(gzip)
}

/// Finds the file whose name ends with `name_end` in the zip's central directory (APPNOTE.TXT 4.3.12) and returns its deflate
/// stream. `None` if there is no such file or it is not compressed with deflate.
fn find(name_end: &str) -> Option<&'static [u8]> {
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
            return (short(entry + 10)? == DEFLATE).then_some(deflated);
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
