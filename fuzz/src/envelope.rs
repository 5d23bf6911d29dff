//! Envelopes as `docs/format.md` describes them, written independently of the library: so that an
//! input reaches what lies behind the hashes, and that the page is checked against the code.

/// The first `N` bytes of the hash of these parts.
fn short_hash<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    let mut out = [0; N];
    hasher.finalize_xof().fill(&mut out);
    out
}

fn le32(number: usize) -> [u8; 4] {
    u32::try_from(number)
        .expect("an input is short")
        .to_le_bytes()
}

/// A record with this body.
pub(crate) fn record(table: u8, store: [u8; 16], key: u64, body: &[u8]) -> Vec<u8> {
    let mut out = b"CKR1".to_vec();
    out.extend_from_slice(&[table, 1, 8, 0]);
    out.extend_from_slice(&le32(body.len()));
    out.extend_from_slice(&store);
    out.extend_from_slice(&key.to_be_bytes());
    out.extend_from_slice(body);
    let check: [u8; 16] = short_hash(&[&out]);
    out.extend_from_slice(&check);
    out
}

/// A node with this body.
pub(crate) fn node(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = b"CKN1".to_vec();
    out.extend_from_slice(&[kind, 1, 0, 0]);
    out.extend_from_slice(&le32(body.len()));
    out.extend_from_slice(body);
    out
}

/// The id of a node.
pub(crate) fn node_id(node: &[u8]) -> [u8; 32] {
    *blake3::hash(node).as_bytes()
}

/// The row of a node.
pub(crate) fn stored_node(refs: u64, node: &[u8]) -> Vec<u8> {
    let refs = refs.to_le_bytes();
    let check: [u8; 4] = short_hash(&[&node_id(node), &refs]);
    [&refs[..], &check, node].concat()
}

/// The row of a chunk, from its fields.
pub(crate) fn chunk_row(chunk: [u8; 32], fields: &[u8]) -> Vec<u8> {
    let check: [u8; 8] = short_hash(&[&chunk, fields]);
    [fields, &check].concat()
}

/// An extent with these 60 bytes of header, padded to the end of its page.
pub(crate) fn extent(header: &[u8; 60], payload: &[u8]) -> Vec<u8> {
    let check: [u8; 4] = short_hash(&[header]);
    let mut out = [&header[..], &check, payload].concat();
    let page = (out.len() + 16).next_power_of_two().max(4096);
    out.resize(page - 16, 0);
    out
}

/// The hash that ends a record, over what is before it.
pub(crate) fn record_check(covered: &[u8]) -> [u8; 16] {
    short_hash(&[covered])
}
