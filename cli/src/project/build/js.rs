//! JavaScript: componentize-js puts StarlingMonkey and the modules of the project into a component.

use std::{fs, process::Command};

use super::{made, tool};
use crate::{
    failure::{Exit, Failure},
    project::{
        Project,
        shipped::{self, WORLD},
        template::unwritable,
        toolchain::COMPONENTIZE_JS,
    },
    terminal::progress::Progress,
};

/// Beside the package, so that node finds it. Its own command line does not take a folder of interfaces.
const CALLER: &str = "componentize.mjs";

const CALL: &str = "\
import { componentize } from '@bytecodealliance/componentize-js';
import { writeFile } from 'node:fs/promises';

const [sourcePath, witPath, worldName, output] = process.argv.slice(2);
// A pipeline has no network.
const disableFeatures = ['http', 'fetch-event'];
const { component } = await componentize({ sourcePath, witPath, worldName, disableFeatures });
await writeFile(output, component);
";

pub(super) fn build(project: &Project, progress: &Progress) -> Result<Vec<u8>, Failure> {
    let toolchain = COMPONENTIZE_JS.ensure(progress)?;
    let caller = toolchain.join(CALLER);
    fs::write(&caller, CALL).map_err(|error| unwritable(&caller, &error))?;
    let folder = tempfile::tempdir().map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let component = folder.path().join("component.wasm");
    let mut node = Command::new("node");
    node.arg(&caller)
        .arg(project.folder.join(project.language.main_file()))
        .arg(project.folder.join(shipped::FOLDER).join("wit"))
        .arg(WORLD)
        .arg(&component)
        .current_dir(&project.folder);
    tool("node", &mut node)
        .hint("Node.js 20 or newer: `apt-get install nodejs npm`")
        .run("building with componentize-js", progress)?;
    made(&component)
}
