//! Attack files, one per published attack and per rule, for the tests of whatever opens model files.

mod attention;
mod frame;
mod pairs;
mod roles;
mod shapes;
mod splits;
mod tensors;
mod vocabulary;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::synth::{Family, Mix, SynthShape, plan};
use crate::writer::GgufWriter;

/// A file, or the parts of one, that must be refused.
#[derive(Clone, Debug)]
pub struct Attack {
    pub name: &'static str,
    /// Names and contents; the first is the one to open.
    pub files: Vec<(String, Vec<u8>)>,
    /// Length that the first is stretched to with zeros that take no room on the disk.
    pub stretched: Option<u64>,
}

impl Attack {
    fn new(name: &'static str, bytes: Vec<u8>) -> Self {
        Self { name, files: vec![(format!("{name}.gguf"), bytes)], stretched: None }
    }

    fn stretched(self, length: u64) -> Self {
        Self { stretched: Some(length), ..self }
    }

    /// Writes its files into a folder of its own in `folder`, and returns the path to open.
    pub fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        let folder = folder.join(self.name);
        fs::create_dir_all(&folder)?;
        for (index, (name, bytes)) in self.files.iter().enumerate() {
            let mut file = File::create(folder.join(name))?;
            file.write_all(bytes)?;
            if let (0, Some(length)) = (index, self.stretched) {
                file.set_len(length)?;
            }
        }
        Ok(folder.join(&self.files[0].0))
    }
}

/// All attacks.
pub fn attacks() -> Vec<Attack> {
    let themes = [
        frame::attacks(),
        pairs::attacks(),
        tensors::attacks(),
        shapes::attacks(),
        attention::attacks(),
        roles::attacks(),
        vocabulary::attacks(),
        splits::attacks(),
    ];
    themes.into_iter().flatten().collect()
}

/// Writes all attacks into `folder`, and returns their names and the paths to open.
pub fn write_all(folder: &Path) -> io::Result<Vec<(&'static str, PathBuf)>> {
    attacks().iter().map(|attack| Ok((attack.name, attack.write(folder)?))).collect()
}

/// A sound model that the attacks are made from; its weights are zeros.
pub fn sound() -> GgufWriter {
    let shape = SynthShape {
        name: "attack",
        family: Family::Llama,
        layers: 2,
        embedding_length: 32,
        heads: 4,
        kv_heads: 2,
        feed_forward_length: 64,
        vocabulary: 272,
        ..SynthShape::TINY
    };
    plan(&shape, Mix::F16)
}

/// The sound model after a change.
fn changed(name: &'static str, change: impl FnOnce(&mut GgufWriter)) -> Attack {
    let mut writer = sound();
    change(&mut writer);
    Attack::new(name, writer.bytes())
}

/// The sound model under another architecture's name, after a change.
fn of(architecture: &str, name: &'static str, change: impl FnOnce(&mut GgufWriter)) -> Attack {
    changed(name, |writer| {
        for pair in &mut writer.pairs {
            if let Some(rest) = pair.key.strip_prefix(b"llama.") {
                pair.key = [architecture.as_bytes(), b".", rest].concat();
            }
        }
        writer.text("general.architecture", architecture);
        change(writer);
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use expect_test::Expect;

    use super::*;
    use crate::Gguf;

    /// Opens each attack and compares the variants and sentences with `expected`.
    pub(super) fn check(attacks: &[Attack], expected: &Expect) {
        let folder = tempfile::tempdir().unwrap();
        let mut found = String::new();
        for attack in attacks {
            let path = attack.write(folder.path()).unwrap();
            let error = Gguf::open(&path).expect_err(attack.name);
            let sentence = error.to_string().replace(&format!("{}/", folder.path().display()), "");
            writeln!(found, "{}\n    {}", variants(&format!("{:?}", error.refusal)), sentence).unwrap();
        }
        expected.assert_eq(&found);
    }

    /// `Header(Tensor(PastEnd { ... }))` as `Header Tensor PastEnd`.
    fn variants(debug: &str) -> String {
        let fields = debug.find(" {").unwrap_or(debug.len());
        let names = debug[..fields]
            .split(['(', ')'])
            .filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()));
        names.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_sound_model_opens() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sound.gguf");
        fs::write(&path, sound().bytes()).unwrap();
        Gguf::open(&path).unwrap();
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = attacks().iter().map(|attack| attack.name).collect();
        let all = names.len();
        assert!(all >= 60, "{all}");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
