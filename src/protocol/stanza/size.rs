//! How large a stanza is, about, before it is written.

use minidom::{Element, Node};

/// Bytes of the tags, quotes and signs around a name.
const MARKUP: usize = 8;

/// Returns about how many bytes `element` takes when it is written.
#[must_use]
pub fn size(element: &Element) -> usize {
    let namespace = element.ns().len();
    let attributes: usize = element.attrs().iter().map(|((_, name), value)| name.len() + value.len() + MARKUP).sum();
    let children = element.nodes().map(|node| match node {
        Node::Element(child) => size(child),
        Node::Text(text) => text.len(),
    });
    2 * element.name().len() + namespace + MARKUP + attributes + children.sum::<usize>()
}
