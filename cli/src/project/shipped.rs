//! What Dunlin puts into the folder `dunlin/` of a project: the interface, and what the language needs to use it. It is
//! written anew by each build, so that a project follows the version of Dunlin that builds it.

use std::{fs, path::Path};

use toml::{Table, Value};
use wit_bindgen_core::{Files, wit_parser::Resolve};

use super::{
    Language, Project,
    template::{embedded, unwritable},
};
use crate::failure::{Exit, Failure};

pub(crate) const FOLDER: &str = "dunlin";

/// The world of pipelines.
pub(crate) const WORLD: &str = "pipeline";

const NOTE: &str = "\
Written by `dunlin new` and `dunlin build`, for the Dunlin that builds this: the interface of pipelines (wit/), and what
this language needs to use it. Changes made here are lost.
";

/// # Errors
/// If it cannot be written.
pub(crate) fn write(project: &Project) -> Result<(), Failure> {
    let folder = project.folder.join(FOLDER);
    let mut files = vec![("README".to_owned(), NOTE.to_owned())];
    files.extend(embedded("wit").map(|(path, file)| (format!("wit/{path}"), file.content.to_owned())));
    if project.language == Language::Rust {
        files.extend(guest()?);
    }
    for (path, content) in files {
        write_if_new(&folder.join(path), content.as_bytes())?;
    }
    if project.language == Language::C {
        bindings(&folder)?;
    }
    Ok(())
}

/// What is as it should be is left alone: build tools go by the time of files.
fn write_if_new(path: &Path, content: &[u8]) -> Result<(), Failure> {
    if fs::read(path).is_ok_and(|current| current == content) {
        return Ok(());
    }
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, content));
    written.map_err(|error| unwritable(path, &error))
}

/// The crate `dunlin-guest`, as a package that stands alone.
fn guest() -> Result<Vec<(String, String)>, Failure> {
    let mut files = Vec::new();
    let mut manifest = String::new();
    let mut workspace = String::new();
    for (path, file) in embedded("guest") {
        match path {
            "Cargo.toml" => manifest = file.content.to_owned(),
            _ => files.push((format!("guest/{path}"), file.content.to_owned())),
        }
    }
    for (_, file) in embedded("workspace") {
        workspace = file.content.to_owned();
    }
    let alone = standalone(&manifest, &workspace).map_err(|why| {
        Failure::new(Exit::Failed, format!("the embedded dunlin-guest is broken: {why}"))
            .hint("this is a fault of Dunlin: please report it")
    })?;
    files.push(("guest/Cargo.toml".to_owned(), alone));
    Ok(files)
}

/// A manifest with everything that it takes from its workspace.
fn standalone(manifest: &str, workspace: &str) -> Result<String, String> {
    let read = |text: &str| toml::from_str::<Table>(text).map_err(|error| error.to_string());
    let (mut manifest, workspace) = (read(manifest)?, read(workspace)?);
    // Lints are for those who change it, and its tests need more crates.
    manifest.remove("lints");
    manifest.remove("dev-dependencies");
    let shared = workspace.get("workspace").and_then(Value::as_table).ok_or("no workspace")?;
    for (section, source) in [("package", "package"), ("dependencies", "dependencies")] {
        let source = shared.get(source).and_then(Value::as_table).ok_or("nothing to take over")?;
        let Some(entries) = manifest.get_mut(section).and_then(Value::as_table_mut) else { continue };
        for (key, value) in entries {
            let Some(own) = value.as_table_mut() else { continue };
            if own.remove("workspace").is_some() {
                let inherited = source.get(key).ok_or_else(|| format!("{key} is not in the workspace"))?;
                *value = merged(inherited.clone(), std::mem::take(own));
            }
        }
    }
    toml::to_string(&manifest).map_err(|error| error.to_string())
}

fn merged(inherited: Value, own: Table) -> Value {
    if own.is_empty() {
        return inherited;
    }
    let mut table = match inherited {
        Value::Table(table) => table,
        version => Table::from_iter([("version".to_owned(), version)]),
    };
    table.extend(own);
    table.into()
}

/// The interface in C, and the object that tells the linker of it.
fn bindings(folder: &Path) -> Result<(), Failure> {
    let generate = || -> anyhow::Result<Files> {
        let mut resolve = Resolve::default();
        let (package, _) = resolve.push_dir(folder.join("wit"))?;
        let world = resolve.select_world(&[package], Some(WORLD))?;
        let mut files = Files::default();
        wit_bindgen_c::Opts::default().build().generate(&mut resolve, world, &mut files)?;
        Ok(files)
    };
    let files = generate().map_err(|error| {
        Failure::new(Exit::Failed, format!("no bindings for C: {error:#}"))
            .hint("is something else in the folder dunlin/wit? it is written anew if you remove it")
    })?;
    files.iter().try_for_each(|(name, content)| write_if_new(&folder.join("bindings").join(name), content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_takes_what_it_has_from_its_workspace_along() {
        let workspace = "[workspace.package]\nversion = \"0.1.0\"\n[workspace.dependencies]\na = \"1\"\nb = { version = \"2\" }\n";
        let manifest = "[package]\nname = \"x\"\nversion.workspace = true\n[dependencies]\na = { workspace = true, optional = true }\nb = { workspace = true }\n[lints]\nworkspace = true\n";
        let alone: Table = toml::from_str(&standalone(manifest, workspace).unwrap()).unwrap();
        let expected = "[package]\nname = \"x\"\nversion = \"0.1.0\"\n[dependencies]\na = { version = \"1\", optional = true }\nb = { version = \"2\" }\n";
        assert_eq!(alone, toml::from_str::<Table>(expected).unwrap());
    }

    #[test]
    fn the_embedded_package_stands_alone() {
        let files = guest().unwrap();
        let manifest = &files.iter().find(|(path, _)| path == "guest/Cargo.toml").unwrap().1;
        assert!(!manifest.contains("workspace"), "{manifest}");
        assert!(manifest.contains("wit-bindgen"), "{manifest}");
    }
}
