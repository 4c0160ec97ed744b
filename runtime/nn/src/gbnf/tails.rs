//! Recursion that is only repetition: `ws ::= ([ \t] ws)?` is `[ \t]*`, and so is regular.

use super::Node;

/// The same rule with repetition in place of recursion at the end, where that is all the recursion it has.
pub(super) fn unrolled(name: &str, node: Node) -> Node {
    let names_itself = |node: &Node| node.names_any(&|other| other == name);
    if !names_itself(&node) {
        return node;
    }
    let (mut steps, mut ends) = (Vec::new(), Vec::new());
    for alternative in alternatives(&node) {
        match alternative {
            Node::Sequence(mut nodes) if nodes.last() == Some(&Node::Rule(name.into())) => {
                nodes.pop();
                steps.push(Node::sequence(nodes));
            }
            other => ends.push(other),
        }
    }
    if steps.is_empty() || ends.is_empty() || steps.iter().chain(&ends).any(names_itself) {
        return node;
    }
    Node::sequence(vec![Node::repeat(Node::choice(steps), 0, None), Node::choice(ends)])
}

/// What the rule may be; `(x)?` is `x` or nothing.
fn alternatives(node: &Node) -> Vec<Node> {
    match node {
        Node::Choice(nodes) => nodes.iter().flat_map(alternatives).collect(),
        Node::Repeat { node, least: 0, most: Some(1) } => {
            let mut all = alternatives(node);
            all.push(Node::empty());
            all
        }
        other => vec![other.clone()],
    }
}
