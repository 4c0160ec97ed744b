//! Writes the grammar in Lark: regular parts as terminals, what is recursive as rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{Node, ROOT, Rules};

pub(super) fn write(rules: &Rules) -> String {
    let regular = regular(rules);
    let mut writer = Writer { regular: &regular, names: names(rules, &regular), parts: Vec::new() };
    let mut lark = String::new();
    if regular.contains(ROOT) {
        // Writing to a string does not fail.
        let _ = writeln!(lark, "start: {}", writer.names[ROOT]);
    }
    for (name, node) in rules {
        let body = if regular.contains(name) { writer.terminal(node) } else { writer.rule(node) };
        let _ = writeln!(lark, "{}: {body}", writer.names[name]);
    }
    for (index, part) in writer.parts.iter().enumerate() {
        let _ = writeln!(lark, "{}: {part}", part_name(index));
    }
    lark
}

/// Rules that no recursion can be reached from.
fn regular(rules: &Rules) -> BTreeSet<String> {
    let mut regular = BTreeSet::new();
    loop {
        let before = regular.len();
        for (name, node) in rules {
            if !regular.contains(name) && !node.names_any(&|named| !regular.contains(named)) {
                regular.insert(name.clone());
            }
        }
        if regular.len() == before {
            return regular;
        }
    }
}

/// Names as Lark wants them: upper case for terminals, lower case for rules. Those that would fall together by that
/// get a number.
fn names(rules: &Rules, regular: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut taken = BTreeSet::from(["start".to_owned()]);
    let mut names = BTreeMap::new();
    for (index, name) in rules.keys().enumerate() {
        let is_regular = regular.contains(name);
        if name == ROOT && !is_regular {
            names.insert(name.clone(), "start".to_owned());
            continue;
        }
        let plain = name.replace('-', "_");
        let cased = if is_regular { plain.to_uppercase() } else { plain.to_lowercase() };
        // The single underscore is the separator of parts and of numbers; a name may begin with neither digit nor it.
        let first_fits = cased.starts_with(|c: char| c.is_ascii_alphabetic());
        let unique = if first_fits && !taken.contains(&cased) {
            cased
        } else if is_regular {
            format!("R__{index}")
        } else {
            format!("r__{index}")
        };
        taken.insert(unique.clone());
        names.insert(name.clone(), unique);
    }
    names
}

fn part_name(index: usize) -> String {
    format!("P__{index}")
}

struct Writer<'a> {
    regular: &'a BTreeSet<String>,
    names: BTreeMap<String, String>,
    /// Terminals without a name in the grammar.
    parts: Vec<String>,
}

impl Writer<'_> {
    fn is_regular(&self, node: &Node) -> bool {
        !node.names_any(&|name| !self.regular.contains(name))
    }

    fn terminal(&self, node: &Node) -> String {
        match node {
            Node::Literal(text) => literal(text),
            Node::Class(class) => format!("/{class}/"),
            Node::Rule(name) => self.names[name].clone(),
            Node::Sequence(nodes) if nodes.is_empty() => r#""""#.into(),
            Node::Sequence(nodes) => joined(nodes, " ", |node| grouped(node, self.terminal(node))),
            Node::Choice(nodes) => joined(nodes, " | ", |node| self.terminal(node)),
            Node::Repeat { node, least, most } => repeated(&self.terminal(node), *least, *most),
        }
    }

    fn rule(&mut self, node: &Node) -> String {
        if self.is_regular(node) {
            return self.part(node);
        }
        match node {
            Node::Sequence(nodes) => {
                let mut written = Vec::new();
                let together = |one: &Node, next: &Node| self.is_regular(one) && self.is_regular(next);
                let runs: Vec<&[Node]> = nodes.chunk_by(together).collect();
                for run in runs {
                    let inner = match run {
                        [one] => grouped(one, self.rule(one)),
                        run => self.part(&Node::Sequence(run.to_vec())),
                    };
                    written.push(inner);
                }
                written.join(" ")
            }
            Node::Choice(nodes) => {
                let (regular, other): (Vec<_>, Vec<_>) =
                    nodes.iter().cloned().partition(|node| self.is_regular(node));
                let mut written: Vec<String> = other.iter().map(|node| self.rule(node)).collect();
                if !regular.is_empty() {
                    written.push(self.part(&Node::choice(regular)));
                }
                written.join(" | ")
            }
            Node::Repeat { node, least, most } => repeated(&self.rule(node), *least, *most),
            Node::Rule(name) => self.names[name].clone(),
            Node::Literal(_) | Node::Class(_) => self.part(node),
        }
    }

    /// A regular part of a rule, as a terminal of its own.
    fn part(&mut self, node: &Node) -> String {
        match node {
            Node::Rule(name) => return self.names[name].clone(),
            Node::Sequence(nodes) if nodes.is_empty() => return r#""""#.into(),
            Node::Literal(text) if text.is_empty() => return r#""""#.into(),
            _ => {}
        }
        let body = self.terminal(node);
        let index = self.parts.iter().position(|part| *part == body).unwrap_or_else(|| {
            self.parts.push(body);
            self.parts.len() - 1
        });
        part_name(index)
    }
}

fn joined(nodes: &[Node], between: &str, write: impl Fn(&Node) -> String) -> String {
    nodes.iter().map(write).collect::<Vec<_>>().join(between)
}

/// In a sequence, a choice needs parentheses.
fn grouped(node: &Node, written: String) -> String {
    if matches!(node, Node::Choice(_)) { format!("({written})") } else { written }
}

fn repeated(written: &str, least: u32, most: Option<u32>) -> String {
    match (least, most) {
        (_, Some(0)) => r#""""#.into(),
        (0, None) => format!("({written})*"),
        (1, None) => format!("({written})+"),
        (0, Some(1)) => format!("({written})?"),
        (least, None) => format!("({written}){{{least},}}"),
        (least, Some(most)) => format!("({written}){{{least},{most}}}"),
    }
}

/// In the syntax of JSON, with everything that is not plain as a number.
fn literal(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            c => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    // Writing to a string does not fail.
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}
