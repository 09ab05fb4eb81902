//! The demo page: the files that `web/` builds, embedded at build time.

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};

/// Path and bytes of every file of `web/dist`; empty when it had not been built.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/page_files.rs"));

/// Served instead of the page when there is none.
const UNBUILT: &str = "<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>Campanile</title>
<body style=\"font-family: system-ui; max-width: 40em; margin: 4em auto; line-height: 1.5\">
<h1>Campanile is running</h1>
<p>The API and the signaling work; this build has no demo page. <code>cargo xtask dev</code> builds the page
(it needs Node 20 or newer) and then this program with it.</p>
";

/// The file of this path, if the page has one. `/` always has.
pub fn file(path: &str) -> Option<Response<Body>> {
    let path = if path == "/" { "/index.html" } else { path };
    let found = FILES.iter().find(|(name, _)| *name == path).map(|(_, bytes)| *bytes);
    let bytes = match found {
        Some(bytes) => bytes,
        None if path == "/index.html" => UNBUILT.as_bytes(),
        None => return None,
    };
    let mut response = Response::new(Body::from(bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(path)));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // The files change with the binary and have no version in their names.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Some(response)
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "wasm" => "application/wasm",
        "woff2" => "font/woff2",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_page_and_never_another_file() {
        assert_eq!(file("/").unwrap().headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        for path in ["", "//", "/../Cargo.toml", "/etc/passwd", "/index.html/"] {
            assert!(file(path).is_none(), "{path}");
        }
    }
}
