//! The models of this machine, as its agent tells of them.

use dunlin_agent::LocalModel;
use dunlin_blobs::BlobHasher;
use dunlin_costs::Class;
use dunlin_protocol::{BlobDigest, ModelDigest};
use std::{fs::File, io::Read, path::Path};

use crate::{command::model::memory::Verdict, failure::Failure, folders::Folders, store::Catalog};

/// Every model that one can name here, each variant once. What cannot be read is told and left out.
///
/// # Errors
/// If a file cannot be read to its end.
pub(crate) fn local(folders: &Folders) -> anyhow::Result<Vec<LocalModel>> {
    let mut models: Vec<LocalModel> = Vec::new();
    for entry in Catalog::open(folders).entries() {
        for variant in &entry.alias.variants {
            let path = entry.folder.join(&variant.file);
            match describe(entry.alias.alias.as_str(), &path, variant.sha256.as_deref()) {
                Ok(model) if models.iter().all(|known| known.digest != model.digest) => models.push(model),
                Ok(_) => {}
                Err(error) => crate::failure::warn(&format!("{} is left out: {error:#}", path.display())),
            }
        }
    }
    Ok(models)
}

fn describe(name: &str, path: &Path, sha256: Option<&str>) -> anyhow::Result<LocalModel> {
    let gguf = dunlin_gguf::Gguf::open(path)?;
    let model = gguf.model();
    let verdict = Verdict::of(model, None);
    let digest = match sha256.map(str::parse::<ModelDigest>) {
        Some(Ok(digest)) => digest,
        _ => digest_of(path)?,
    };
    Ok(LocalModel {
        digest,
        name: name.to_owned(),
        path: path.to_owned(),
        quantization: model.quantization.name().to_owned(),
        bytes: gguf.parts().iter().map(|part| part.length).sum(),
        memory_bytes: verdict.estimate.total,
        kv_bytes_per_token: verdict.estimate.kv_per_token,
    })
}

/// The SHA-256 of a file.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn digest_of(path: &Path) -> anyhow::Result<ModelDigest> {
    let mut hasher = BlobHasher::like(BlobDigest::Sha256(ModelDigest([0; 32])));
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hasher.update(&buffer[..count]),
        }
    }
    match hasher.finish() {
        BlobDigest::Sha256(digest) => Ok(digest),
        BlobDigest::Blake3(_) => anyhow::bail!("a digest of another kind"),
    }
}

/// The models that an emulated board has: those that something was published of.
///
/// # Errors
/// If there is no such class.
pub(crate) fn emulated(class: &str) -> Result<(Class, Vec<LocalModel>), Failure> {
    let class = Class::find(class).map_err(|error| Failure::usage(error.to_string()))?;
    let models = class.models.iter().map(|facts| LocalModel {
        digest: ModelDigest(*facts.digest.as_bytes()),
        name: facts.name.to_lowercase(),
        path: std::path::PathBuf::new(),
        quantization: facts.quantisation.to_string(),
        bytes: facts.file_bytes,
        // A context of 4096 tokens for four sequences.
        memory_bytes: facts.file_bytes + 4 * 4096 * facts.kv_bytes_per_token,
        kv_bytes_per_token: facts.kv_bytes_per_token,
    });
    let models = models.collect();
    Ok((class, models))
}
