//! What some bytes are, and what they ask for, before anything is compiled.

use wasmparser::{Parser, Payload};

use super::{artifact::MODULE, module};
use crate::{LoadError, MAX_MEMORY_BYTES, MAX_TABLE_ELEMENTS};

/// Of linear memory.
const PAGE_BYTES: u64 = 64 << 10;

/// The interface that makes a component a pipeline.
const HANDLER: &str = "dunlin:llm/handler";
const VERSION: &str = "0.1.0";
const PACKAGE: &str = "dunlin:llm/";

/// The interface that makes one a command.
const RUN: &str = "wasi:cli/run";

/// A draft is compatible with itself only.
const NN: &str = "wasi:nn";
const NN_DRAFT: &str = "0.2.0-rc-2024-10-28";

/// Packages that this host offers, and in which versions.
const OFFERED: [(&str, &str); 9] = [
    (NN, NN_DRAFT),
    ("dunlin:llm", VERSION),
    ("wasi:io", WASI),
    ("wasi:cli", WASI),
    ("wasi:clocks", WASI),
    ("wasi:random", WASI),
    ("wasi:filesystem", WASI),
    ("wasi:http", WASI),
    ("wasi:sockets", WASI),
];
const WASI: &str = "0.2.12";

/// What a component is run by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Export {
    Handler,
    Run,
}

/// Names in a component are shown up to this many.
const MAX_NAMED: usize = 5;

/// What a component or a core module is, without compiling or running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    pub imports: Vec<Import>,
    /// Interfaces, as in `dunlin:llm/handler@0.1.0`.
    pub exports: Vec<String>,
    /// The version of `dunlin:llm` that it was built against, if it was.
    pub made_for: Option<String>,
    /// Size of the component.
    pub bytes: u64,
    /// Core modules in it.
    pub modules: u32,
    /// Linear memory that it begins with, of the largest one.
    pub memory_bytes: u64,
    /// Elements that the largest table begins with.
    pub table_elements: u64,
    pub(crate) refusal: Option<Refusal>,
}

/// An interface that a component imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    pub name: String,
    /// Whether this host has it, in a version that fits.
    pub is_offered: bool,
}

impl Inspection {
    /// The version of `dunlin:llm` that this host runs.
    pub const VERSION: &str = VERSION;

    /// # Errors
    /// [`LoadError::NotAComponent`] and [`LoadError::Invalid`]; other reasons not to run it are found by
    /// [`LoadError::inspected`].
    pub fn of(name: &str, bytes: &[u8]) -> Result<Self, LoadError> {
        let is_module = bytes.starts_with(&MODULE);
        let refusal = super::check(bytes).err();
        if let Some(refusal @ (Refusal::NotAComponent(_) | Refusal::Damaged(_))) = refusal {
            return Err(LoadError::refused(name.to_owned(), refusal));
        }
        let interface = Interface::read(bytes)
            .map_err(|error| LoadError::refused(name.to_owned(), Refusal::Damaged(error.to_string())))?;
        let import = |name: &String| Import {
            name: name.clone(),
            is_offered: if is_module { module::is_offered(name) } else { is_offered(&Name::of(name)) },
        };
        let names = interface.exports.iter().chain(&interface.imports).map(|name| Name::of(name));
        let ours = |name: Name<'_>| name.interface.starts_with(PACKAGE).then(|| name.version.to_owned());
        Ok(Self {
            made_for: names.filter_map(ours).find(|version| !version.is_empty()),
            imports: interface.imports.iter().map(import).collect(),
            exports: interface.exports,
            bytes: bytes.len() as u64,
            modules: interface.modules,
            memory_bytes: interface.memory_bytes,
            table_elements: interface.table_elements,
            refusal,
        })
    }
}

/// Why some bytes are no pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    NotAComponent(String),
    Damaged(String),
    WrongWorld(String),
    TooDemanding(String),
}

/// The interfaces that a component imports, and what it is run by.
pub(crate) fn check(bytes: &[u8]) -> Result<(Vec<String>, Export), Refusal> {
    if let Some(other) = other_than_component(bytes) {
        return Err(Refusal::NotAComponent(other));
    }
    let interface = Interface::read(bytes).map_err(|error| Refusal::Damaged(error.to_string()))?;
    interface.demands()?;
    let handlers =
        interface.exports.iter().map(|name| Name::of(name)).filter(|name| name.interface == HANDLER);
    let export = match handlers.collect::<Vec<_>>()[..] {
        [] if interface.runs() => Export::Run,
        [] => return Err(Refusal::WrongWorld(no_handler(&interface))),
        [handler, ..] if handler.fits(VERSION) => Export::Handler,
        [Name { version, .. }, ..] => {
            return Err(Refusal::WrongWorld(format!(
                "it is made for {HANDLER}@{version}, and this host runs {HANDLER}@{VERSION}; build it against that version"
            )));
        }
    };
    match interface.imports.iter().find(|name| !is_offered(&Name::of(name))) {
        Some(draft) if Name::of(draft).interface.starts_with("wasi:nn/") => Err(Refusal::WrongWorld(
            format!("it imports {draft}, and this host has {NN}@{NN_DRAFT}; build it against that draft"),
        )),
        Some(other) if other.starts_with(PACKAGE) => Err(Refusal::WrongWorld(format!(
            "it is made for {other}, and this host has version {VERSION}; build it against that version"
        ))),
        Some(unknown) => Err(Refusal::WrongWorld(format!(
            "it imports {unknown}, which guests do not get; what they get is the world dunlin:llm/pipeline@{VERSION}, WASI 0.2 and {NN}@{NN_DRAFT}"
        ))),
        None => Ok((interface.imports, export)),
    }
}

/// The name of an interface, as in `wasi:io/poll@0.2.12`.
#[derive(Debug, Clone, Copy)]
struct Name<'a> {
    interface: &'a str,
    /// May be empty.
    version: &'a str,
}

impl<'a> Name<'a> {
    fn of(name: &'a str) -> Self {
        let (interface, version) = name.split_once('@').unwrap_or((name, ""));
        Self { interface, version }
    }

    /// Before 1.0, versions that agree in the minor are compatible. Drafts have to be the same.
    fn fits(&self, offered: &str) -> bool {
        if offered.contains('-') || self.version.contains('-') {
            return self.version == offered;
        }
        let series = |version: &'a str| version.rsplit_once('.').map(|(series, _)| series);
        series(self.version).is_some()
            && series(self.version) == offered.rsplit_once('.').map(|(series, _)| series)
    }
}

fn is_offered(name: &Name<'_>) -> bool {
    let package = name.interface.split('/').next();
    OFFERED.iter().any(|(offered, version)| package == Some(offered) && name.fits(version))
}

fn no_handler(interface: &Interface) -> String {
    let exports = match &interface.exports[..] {
        [] => "nothing".to_owned(),
        some => some.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", "),
    };
    let hint = if interface.exports.iter().any(|name| name.starts_with(RUN)) {
        ": it is a command-line program for another version of WASI"
    } else if interface.exports.iter().any(|name| name.starts_with("wasi:http/")) {
        ": it is an HTTP handler"
    } else {
        ""
    };
    format!(
        "it exports {exports}{hint}; a pipeline exports {HANDLER}@{VERSION} (world dunlin:llm/pipeline), a command {RUN}@{WASI}"
    )
}

fn other_than_component(bytes: &[u8]) -> Option<String> {
    let what = match bytes {
        [] => "the file is empty".to_owned(),
        [0, b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => return None,
        [0, b'a', b's', b'm', ..] => {
            "it is WebAssembly of a kind or version that this host does not know".to_owned()
        }
        [b'G', b'G', b'U', b'F', ..] => {
            "it is a GGUF model, which goes where a model is asked for".to_owned()
        }
        [0x7f, b'E', b'L', b'F', ..] => {
            "it is native code; if wasmtime made it, use the component that it was made of".to_owned()
        }
        [0x1f, 0x8b, ..] | [b'P', b'K', 3, 4, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            "it is an archive; unpack it first".to_owned()
        }
        [b'#', b'!', ..] => "it is a script".to_owned(),
        _ => match std::str::from_utf8(&bytes[..bytes.len().min(512)]) {
            Ok(text)
                if text.trim_start().starts_with("(component")
                    || text.trim_start().starts_with("(module") =>
            {
                "it is WebAssembly as text; `wasm-tools parse` makes the binary of it".to_owned()
            }
            Ok(_) => "it is text".to_owned(),
            Err(_) => "it does not begin like WebAssembly".to_owned(),
        },
    };
    Some(what)
}

/// The outermost imports and exports of a component or a module, and the largest of what is in it.
#[derive(Debug, Default)]
pub(super) struct Interface {
    pub(super) imports: Vec<String>,
    pub(super) exports: Vec<String>,
    memory_bytes: u64,
    table_elements: u64,
    modules: u32,
}

impl Interface {
    fn runs(&self) -> bool {
        self.exports.iter().map(|name| Name::of(name)).any(|name| name.interface == RUN && name.fits(WASI))
    }

    pub(super) fn read(bytes: &[u8]) -> wasmparser::Result<Self> {
        let mut interface = Self::default();
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::ModuleSection { .. } => {
                    depth += 1;
                    interface.modules += 1;
                }
                Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::MemorySection(memories) => {
                    for memory in memories {
                        let bytes = memory?.initial.saturating_mul(PAGE_BYTES);
                        interface.memory_bytes = interface.memory_bytes.max(bytes);
                    }
                }
                Payload::TableSection(tables) => {
                    for table in tables {
                        interface.table_elements = interface.table_elements.max(table?.ty.initial);
                    }
                }
                Payload::ImportSection(imports) if depth == 0 => {
                    for import in imports.into_imports() {
                        let import = import?;
                        interface.imports.push(format!("{}.{}", import.module, import.name));
                    }
                }
                Payload::ExportSection(exports) if depth == 0 => {
                    for export in exports {
                        interface.exports.push(export?.name.to_owned());
                    }
                }
                Payload::ComponentImportSection(imports) if depth == 0 => {
                    for import in imports {
                        interface.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(exports) if depth == 0 => {
                    for export in exports {
                        interface.exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(interface)
    }

    pub(super) fn demands(&self) -> Result<(), Refusal> {
        if self.memory_bytes > MAX_MEMORY_BYTES {
            return Err(Refusal::TooDemanding(format!(
                "its memory begins with {} MiB, at most {} are possible",
                self.memory_bytes >> 20,
                MAX_MEMORY_BYTES >> 20
            )));
        }
        if self.table_elements > MAX_TABLE_ELEMENTS.into() {
            return Err(Refusal::TooDemanding(format!(
                "its table begins with {} elements, at most {MAX_TABLE_ELEMENTS} are possible",
                self.table_elements
            )));
        }
        Ok(())
    }
}
