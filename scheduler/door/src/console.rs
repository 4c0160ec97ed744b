//! The console: a page about the fleet. Its files are part of the executable; what it shows, it asks as anybody may.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, LazyLock},
};

use axum::{
    Router,
    extract::Path,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};

use crate::{
    desk::Desk,
    error::{Answered, ApiError},
};

/// Everything comes from here, nothing from elsewhere; no script but the files below, no markup from text. What stands in the
/// page itself is known by its hash.
static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let page = &*PAGE;
    format!(
        "default-src 'none'; script-src 'self' 'sha256-{}'; style-src 'self' 'sha256-{}'; img-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'; trusted-types 'none'",
        page.script, page.style
    )
});

/// `index.html` with what has to be there before anything is painted: each file less is a way to the server less.
static PAGE: LazyLock<Page> = LazyLock::new(Page::assembled);

struct Page {
    html: String,
    /// Hashes, as a content security policy names them.
    script: String,
    style: String,
}

impl Page {
    fn assembled() -> Self {
        let style = text("base.css") + &text("views.css");
        let script = text("theme.js");
        let html = text("index.html")
            .replace(LINKS[0], &format!("<style>{style}</style>"))
            .replace(LINKS[1], "")
            .replace(LINKS[2], &format!("<script>{script}</script>"));
        let hash = |text: &str| BASE64.encode(&Sha256::digest(text));
        Self { html, script: hash(&script), style: hash(&style) }
    }
}

/// What stands in `index.html` for them.
const LINKS: [&str; 3] = [
    r#"<link rel="stylesheet" href="base.css">"#,
    r#"<link rel="stylesheet" href="views.css">"#,
    r#"<script src="theme.js"></script>"#,
];

fn text(path: &str) -> String {
    let file = FILES.iter().find(|(name, _)| *name == path);
    file.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

/// Kept by the browser, and asked for again: another build may have another page.
const KEPT: &str = "no-cache";

/// What goes with each file.
const HEADERS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (header::CACHE_CONTROL, KEPT),
];

macro_rules! files {
    ($($path:literal)*) => {
        &[$(($path, include_bytes!(concat!("../console/", $path)))),*]
    };
}

const FILES: &[(&str, &[u8])] = files!(
    "index.html" "base.css" "views.css" "mark.svg" "theme.js" "app.js" "api.js" "dom.js" "format.js" "store.js"
    "views/board.js" "views/chat.js" "views/costs.js" "views/fleet.js" "views/invocation.js"
    "views/invocations.js" "views/login.js" "views/models.js" "views/pareto.js" "views/pipelines.js"
    "views/plan.js" "views/policies.js" "views/timeline.js"
);

/// The same for everyone, and without anything of the fleet.
pub(crate) fn files() -> Router<Arc<Desk>> {
    Router::new()
        .route("/", get(entrance))
        .route("/console", get(entrance))
        .route("/console/", get(page))
        .route("/console/{*path}", get(file))
}

async fn entrance() -> Redirect {
    Redirect::temporary("/console/")
}

async fn page(headers: HeaderMap) -> Answered<Response> {
    serve("index.html", &headers)
}

async fn file(Path(path): Path<String>, headers: HeaderMap) -> Answered<Response> {
    serve(&path, &headers)
}

fn serve(path: &str, headers: &HeaderMap) -> Answered<Response> {
    let file = FILES.iter().find(|(name, _)| *name == path).map(|(_, bytes)| *bytes);
    let bytes = if path == "index.html" { Some(PAGE.html.as_bytes()) } else { file };
    let Some(bytes) = bytes else {
        let message = format!("The console has no file {path:?}.");
        return Err(ApiError::not_found(message).with_code("unknown_url"));
    };
    let tag = tag(bytes);
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, content_type(path))], bytes).into_response()
    };
    let into = response.headers_mut();
    for (name, value) in HEADERS {
        into.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in [(header::ETAG, &tag), (header::CONTENT_SECURITY_POLICY, &*CONTENT_SECURITY_POLICY)]
    {
        if let Ok(value) = HeaderValue::from_str(value) {
            into.insert(name, value);
        }
    }
    Ok(response)
}

/// Another for other bytes; no secret.
fn tag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        _ => "image/svg+xml",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a page may weigh, all files together.
    const MAX_PAGE: usize = 200_000;

    #[test]
    fn the_whole_page_is_small() {
        let bytes: usize = FILES.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes <= MAX_PAGE, "{bytes} bytes");
    }

    /// A file that is not in the list is not in the executable.
    #[test]
    fn every_file_of_the_folder_is_served() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
        for folder in ["", "views"] {
            for entry in std::fs::read_dir(root.join(folder)).unwrap() {
                let entry = entry.unwrap();
                if entry.file_type().unwrap().is_file() {
                    let name = entry.file_name().into_string().unwrap();
                    let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
                    assert!(FILES.iter().any(|(known, _)| *known == path), "{path}");
                }
            }
        }
    }

    #[test]
    fn what_is_painted_first_stands_in_the_page() {
        let page = &PAGE.html;
        assert!(page.contains("<style>") && page.contains("--paper") && page.contains("dunlin-theme"));
        assert!(!page.contains("stylesheet") && !page.contains("theme.js"), "{page}");
        // Neither can end before its end.
        assert_eq!((page.matches("</style>").count(), page.matches("<style>").count()), (1, 1));
    }

    /// Nothing makes markup of text, and nothing comes from another host.
    #[test]
    fn no_file_makes_markup_or_asks_others() {
        for (path, bytes) in FILES {
            let text = std::str::from_utf8(bytes).unwrap().replace("http://www.w3.org/", "");
            for never in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "https://",
                "http://",
            ] {
                assert!(!text.contains(never), "{path}: {never}");
            }
        }
    }

    #[test]
    fn files_come_with_their_policy_and_are_not_sent_twice() {
        let first = serve("app.js", &HeaderMap::new()).unwrap();
        assert_eq!(first.status(), StatusCode::OK);
        assert!(
            first.headers()[header::CONTENT_SECURITY_POLICY]
                .to_str()
                .unwrap()
                .starts_with("default-src 'none'")
        );
        let known = HeaderMap::from_iter([(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone())]);
        assert_eq!(serve("app.js", &known).unwrap().status(), StatusCode::NOT_MODIFIED);
        assert_eq!(serve("../Cargo.toml", &known).unwrap_err().status, StatusCode::NOT_FOUND);
    }
}
