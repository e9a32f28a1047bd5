//! One manifest over another: how `extends` and `--set` change what was there.

use std::sync::Arc;

use super::node::{Map, Node, Value};

/// Lays `over` on `base`: mappings merge key by key, `null` deletes a key, everything else replaces.
///
/// The order is that of `base`, then of what `over` adds, and each key keeps the place of the manifest that wrote it last. Of a tagged
/// choice both words stay (`{ adam: ... }` and `{ sgd: ... }`); who reads the choice knows that it is one, and takes the last
/// word by those places.
pub(super) fn merge(base: &Node, over: &Node) -> Node {
    let (Value::Map(below), Value::Map(above)) = (&base.value, &over.value) else {
        return over.clone();
    };
    let mut merged: Map = (**below).clone();
    for (key, entry) in above.iter() {
        match merged.get_mut(key) {
            Some(_) if matches!(entry.node.value, Value::Null) => {
                merged.shift_remove(key);
            }
            Some(known) => {
                known.node = merge(&known.node, &entry.node);
                known.key = entry.key;
            }
            None => {
                merged.insert(key.clone(), entry.clone());
            }
        }
    }
    Node { span: over.span, value: Value::Map(Arc::new(merged)), via: None }
}
