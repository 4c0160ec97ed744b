//! The first-party pipelines, each a component for `wasm32-wasip2` embedded as bytes, with the parameters it knows.
//!
//! What one does is in its folder beside this one; the build script builds them. Read [`Plugin`].

pub use dunlin_plugin_parameters::{Fallback, Parameter};

/// A pipeline that comes with Dunlin.
#[derive(Debug, Clone, Copy)]
pub struct Plugin {
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// The component.
    pub bytes: &'static [u8],
    pub parameters: &'static [Parameter],
}

macro_rules! plugin {
    ($name:literal, $plugin:ident) => {
        Plugin {
            name: $name,
            summary: $plugin::SUMMARY,
            bytes: include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".wasm")),
            parameters: $plugin::PARAMETERS,
        }
    };
}

const ALL: &[Plugin] = &[
    plugin!("chat", dunlin_plugin_chat),
    plugin!("classify", dunlin_plugin_classify),
    plugin!("complete", dunlin_plugin_complete),
    plugin!("embed", dunlin_plugin_embed),
    plugin!("extract", dunlin_plugin_extract),
    plugin!("summarize", dunlin_plugin_summarize),
    plugin!("vote", dunlin_plugin_vote),
];

/// All of them, by name.
pub fn all() -> &'static [Plugin] {
    ALL
}

pub fn find(name: &str) -> Option<&'static Plugin> {
    ALL.iter().find(|plugin| plugin.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of a component; what a board is sent for a new pipeline. `chat` reads and writes the JSON of tools.
    const MAX_BYTES: usize = 200 << 10;
    const MAX_CHAT_BYTES: usize = 256 << 10;

    #[test]
    fn each_is_a_small_component_with_a_model_to_choose() {
        for plugin in all() {
            assert!(plugin.bytes.starts_with(b"\0asm\x0d\0\x01\0"), "{}", plugin.name);
            let most = if plugin.name == "chat" { MAX_CHAT_BYTES } else { MAX_BYTES };
            assert!(plugin.bytes.len() <= most, "{}: {} bytes", plugin.name, plugin.bytes.len());
            assert!(plugin.parameters.iter().any(|parameter| parameter.name == "model"), "{}", plugin.name);
            assert_eq!(find(plugin.name).map(|found| found.summary), Some(plugin.summary));
        }
        assert!(all().is_sorted_by_key(|plugin| plugin.name));
        assert!(find("wc").is_none());
    }
}
