//! New projects. The templates are the folders `examples/hello-*`, which the build script embeds.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path};

use super::{Language, Name, Project, shipped};
use crate::failure::{Exit, Failure};

include!(concat!(env!("OUT_DIR"), "/templates.rs"));

/// A file of this tree, by its path from the root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Embedded {
    pub(crate) path: &'static str,
    pub(crate) content: &'static str,
    pub(crate) is_executable: bool,
}

/// The embedded files of a folder, with their paths from there.
pub(crate) fn embedded(folder: &str) -> impl Iterator<Item = (&'static str, Embedded)> {
    EMBEDDED.iter().filter_map(move |file| {
        let path = file.path.strip_prefix(folder)?.strip_prefix('/')?;
        Some((path, *file))
    })
}

/// Makes a project in a folder that is not there yet, or is empty. It is called as the folder is.
///
/// # Errors
/// If there is something in the folder, its name is no name, or it cannot be written.
pub(crate) fn create(folder: &Path, language: Language) -> Result<Project, Failure> {
    let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy();
    let name: Name = name.parse().map_err(Failure::usage)?;
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) || folder.is_file() {
        return Err(Failure::usage(format!("{} is there already", folder.display()))
            .hint("choose another name, or empty the folder first"));
    }
    let example = format!("hello-{}", language.name());
    for (path, file) in embedded(&format!("examples/{example}")) {
        let content = renamed(file.content, &example, &name);
        let content = if path == "Cargo.toml" { vendored(&content) } else { content };
        write(&folder.join(path), &content, file.is_executable)?;
    }
    let folder = fs::canonicalize(folder).map_err(|error| unwritable(folder, &error))?;
    let project = Project { folder, name, language };
    shipped::write(&project)?;
    Ok(project)
}

fn renamed(text: &str, example: &str, name: &Name) -> String {
    text.replace(example, &name.to_string()).replace(&example.replace('-', "_"), &name.identifier())
}

/// The examples use the crate of this tree; projects have a copy.
fn vendored(manifest: &str) -> String {
    manifest.replace("\"../../guest\"", &format!("\"{}/guest\"", shipped::FOLDER))
}

/// Writes a file, and the folders to it.
pub(crate) fn write(path: &Path, content: &str, is_executable: bool) -> Result<(), Failure> {
    let mode = if is_executable { 0o755 } else { 0o644 };
    let write = || -> io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)?;
        let current = fs::metadata(path)?.permissions().mode();
        // Not more open than what the umask lets through.
        let executable = if is_executable { (current & 0o444) >> 2 } else { 0 };
        fs::set_permissions(path, fs::Permissions::from_mode(current & mode | executable))
    };
    write().map_err(|error| unwritable(path, &error))
}

pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_a_template_with_a_test() {
        for language in [Language::Rust, Language::Python, Language::Js, Language::C] {
            let folder = format!("examples/hello-{}", language.name());
            let files: Vec<&str> = embedded(&folder).map(|(path, _)| path).collect();
            for needed in [language.main_file(), "dunlin.toml", "README.md", ".gitignore"] {
                assert!(files.contains(&needed), "{folder}: {files:?}");
            }
            assert!(files.iter().any(|path| path.contains("test")), "{folder}: {files:?}");
        }
        assert!(embedded("wit").any(|(path, _)| path == "dunlin-llm.wit"));
        assert!(embedded("guest").any(|(path, _)| path == "src/ctx.rs"));
    }

    #[test]
    fn a_project_is_called_as_one_says() {
        let name = "log-reader".parse().unwrap();
        assert_eq!(
            renamed("hello-rust: use hello_rust;", "hello-rust", &name),
            "log-reader: use log_reader;"
        );
    }
}
