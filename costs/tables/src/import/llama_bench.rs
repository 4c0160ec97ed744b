//! `llama-bench -o json` and `-o jsonl`, of any build: fields by name, unknown ones ignored, missing ones defaulted.

use std::collections::{BTreeMap, BTreeSet};

use dunlin_costs::{Backend, ModelDigest, Quantisation};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{Frame, ImportError, Imported, MAX_ROWS, Model, Samples, Subject, median, text};

/// Fields of the builds that were tried (to 0104b151). Others are named in a note, and mean nothing here.
const KNOWN: [&str; 52] = [
    "build_commit",
    "build_number",
    "cpu_info",
    "gpu_info",
    "backends",
    "model_filename",
    "model_type",
    "model_size",
    "model_n_params",
    "n_batch",
    "n_ubatch",
    "n_threads",
    "cpu_mask",
    "cpu_strict",
    "poll",
    "type_k",
    "type_v",
    "n_gpu_layers",
    "n_cpu_moe",
    "split_mode",
    "main_gpu",
    "no_kv_offload",
    "flash_attn",
    "devices",
    "tensor_split",
    "tensor_buft_overrides",
    "load_mode",
    "use_mmap",
    "use_direct_io",
    "embeddings",
    "no_op_offload",
    "no_host",
    "fit_target",
    "fit_min_ctx",
    "n_prompt",
    "n_gen",
    "n_depth",
    "test_time",
    "avg_ns",
    "stddev_ns",
    "avg_ts",
    "stddev_ts",
    "samples_ns",
    "samples_ts",
    "repack",
    "moe_cache",
    "n_gen_warmup",
    "cuda",
    "vulkan",
    "metal",
    "gpu_blas",
    "blas",
];
/// A rate and a time of the same test differ by no more than this part; means of either differ by less.
const UNITS: f64 = 0.2;

#[derive(Deserialize)]
#[serde(default)]
struct Test {
    build_commit: String,
    build_number: u64,
    backends: String,
    model_filename: String,
    model_type: String,
    model_size: u64,
    n_threads: u16,
    type_k: String,
    type_v: String,
    n_prompt: u32,
    n_gen: u32,
    n_depth: u32,
    test_time: String,
    avg_ns: f64,
    avg_ts: Option<f64>,
    samples_ns: Vec<f64>,
}

impl Default for Test {
    fn default() -> Self {
        Self {
            build_commit: "unknown".to_owned(),
            build_number: 0,
            backends: "CPU".to_owned(),
            model_filename: String::new(),
            model_type: String::new(),
            model_size: 0,
            n_threads: 0,
            type_k: "f16".to_owned(),
            type_v: "f16".to_owned(),
            n_prompt: 0,
            n_gen: 0,
            n_depth: 0,
            test_time: String::new(),
            avg_ns: 0.0,
            avg_ts: None,
            samples_ns: Vec::new(),
        }
    }
}

/// Model file, build, backend, type of keys and values.
type Group = (String, String, String, String);

pub(super) fn import(text: &str, subject: &Subject) -> Result<Imported, ImportError> {
    let (mut unknown, mut skipped) = (BTreeSet::new(), 0);
    let mut groups = BTreeMap::<Group, Vec<(Test, f64)>>::new();
    for (place, entry) in text::entries(text)? {
        unknown.extend(entry.keys().filter(|field| !KNOWN.contains(&field.as_str())).cloned());
        let test: Test = read(&place, entry)?;
        let seconds = seconds(&place, &test)?;
        if (test.n_prompt > 0) == (test.n_gen > 0) || (test.n_prompt > 0 && test.n_depth > 0) {
            skipped += 1;
            continue;
        }
        groups.entry(group(&test)).or_default().push((test, seconds));
    }
    let mut imported = Imported::default();
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.into_iter().take(12).collect();
        imported
            .notes
            .push(format!("fields of a build that is not known here, ignored: {}", names.join(", ")));
    }
    if skipped > 0 {
        imported.notes.push(format!(
            "{skipped} tests of a prompt and an answer at once, or of a prompt at a depth, are left out"
        ));
    }
    for (group, tests) in groups {
        rows(&group, &tests, subject, &mut imported)?;
    }
    if imported.table.is_empty() {
        return Err(ImportError::NoPrompts);
    }
    imported.notes.push(
        "no loads, watts, or several sequences are in such a file: those are assumed, or missing".to_owned(),
    );
    Ok(imported)
}

fn read<T: DeserializeOwned>(place: &str, entry: Map<String, Value>) -> Result<T, ImportError> {
    serde_json::from_value(Value::Object(entry))
        .map_err(|error| ImportError::Entry { place: place.to_owned(), problem: error.to_string() })
}

/// Of one repetition: the median, where the repetitions are there.
fn seconds(place: &str, test: &Test) -> Result<f64, ImportError> {
    let wrong = |problem: String| ImportError::Entry { place: place.to_owned(), problem };
    if let Some(bad) = test.samples_ns.iter().chain([&test.avg_ns]).find(|ns| !(ns.is_finite() && **ns > 0.0))
    {
        return Err(wrong(format!("a time of {bad} ns is none")));
    }
    let tokens = f64::from(test.n_prompt + test.n_gen);
    if let Some(rate) = test.avg_ts {
        let by_time = tokens / (test.avg_ns / 1e9);
        if !(rate.is_finite() && (rate / by_time - 1.0).abs() <= UNITS) {
            return Err(wrong(format!(
                "units are mixed: avg_ns says {by_time:.3} tokens a second, avg_ts {rate}"
            )));
        }
    }
    let median = median(&mut test.samples_ns.clone()).unwrap_or(test.avg_ns);
    Ok(median / 1e9)
}

fn group(test: &Test) -> Group {
    let kv_type = if test.type_k == test.type_v {
        test.type_k.clone()
    } else {
        format!("{}/{}", test.type_k, test.type_v)
    };
    let build = format!("llama.cpp {}-{}", test.build_number, test.build_commit);
    (test.model_filename.clone(), build, test.backends.to_lowercase(), kv_type)
}

fn rows(
    (file, build, backend, kv_type): &Group,
    tests: &[(Test, f64)],
    subject: &Subject,
    imported: &mut Imported,
) -> Result<(), ImportError> {
    let model = match &subject.model {
        Some(model) => model.clone(),
        None => model_of(file, &tests[0].0, imported)?,
    };
    let mut frame = Frame::of(subject, &model, backend_of(backend), kv_type, build);
    frame.date = tests[0].0.test_time.chars().take_while(|c| *c != 'T').collect();
    let (mut prompts, mut answers) = (BTreeMap::<u16, Vec<_>>::new(), BTreeMap::<u16, Vec<_>>::new());
    for (test, seconds) in tests {
        if test.n_prompt > 0 {
            prompts.entry(test.n_threads).or_default().push((test.n_prompt, *seconds));
        } else {
            let depth = test.n_depth + test.n_gen / 2;
            answers.entry(test.n_threads).or_default().push((depth, 1, seconds / f64::from(test.n_gen)));
        }
    }
    if prompts.is_empty() {
        return Err(ImportError::NoPrompts);
    }
    if answers.is_empty() {
        return Err(ImportError::NoAnswers);
    }
    for (reading, prompts) in &prompts {
        for (decoding, answers) in &answers {
            let samples = Samples { prompts: prompts.clone(), answers: answers.clone() };
            if imported.table.len() < MAX_ROWS {
                drop(imported.table.insert(frame.row((*reading, *decoding), &samples)?));
            }
        }
    }
    Ok(())
}

fn model_of(file: &str, test: &Test, imported: &mut Imported) -> Result<Model, ImportError> {
    let name = file.rsplit(['/', '\\']).next().unwrap_or_default().trim_end_matches(".gguf");
    if name.is_empty() {
        return Err(ImportError::NoModel);
    }
    imported.notes.push(format!(
        "{name}: the file's digest is not known, so its rows are found by this name only; --model says which model it is"
    ));
    Ok(Model {
        name: name.to_owned(),
        digest: ModelDigest::emulated(name),
        // As in `llama 1B Q4_K - Medium`.
        quantisation: Quantisation::new(
            test.model_type.split(' ').skip(2).collect::<Vec<_>>().join(" ").as_str(),
        ),
        kv_bytes_per_token: 0,
        file_bytes: test.model_size,
    })
}

fn backend_of(backends: &str) -> Backend {
    match backends {
        cuda if cuda.contains("cuda") => Backend::Cuda,
        vulkan if vulkan.contains("vulkan") => Backend::Vulkan,
        _ => Backend::Cpu,
    }
}
