//! The Merkle tree over the records (RFC 9162 §2.1): one root for all of them, and short proofs that one is among them.

use aws_lc_rs::digest::{Context, SHA256, digest};

/// SHA-256.
pub type Hash = [u8; 32];

/// §2.1.1: what a leaf is hashed with, so that it cannot be taken for a node.
const LEAF: &[u8] = &[0];
/// §2.1.1: what two nodes are hashed with.
const NODE: &[u8] = &[1];

/// The hash of the parts, one after the other.
#[must_use]
pub fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut hash = Hash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The hash of a record.
#[must_use]
pub fn leaf(record: &[u8]) -> Hash {
    hash(&[LEAF, record])
}

fn node(left: &Hash, right: &Hash) -> Hash {
    hash(&[NODE, left, right])
}

/// A tree that grows, as the roots of its complete subtrees, the largest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    peaks: Vec<Hash>,
}

impl Tree {
    /// The tree of this size with these subtrees; `None` when there is none.
    #[must_use]
    pub fn resume(size: u64, peaks: Vec<Hash>) -> Option<Tree> {
        (peaks.len() == size.count_ones() as usize).then_some(Tree { size, peaks })
    }

    /// The tree over these leaves.
    #[must_use]
    pub fn of(leaves: &[Hash]) -> Tree {
        let mut tree = Tree::default();
        leaves.iter().for_each(|leaf| tree.push(*leaf));
        tree
    }

    /// How many leaves it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of its complete subtrees.
    #[must_use]
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Adds a leaf at the end.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        // As in binary addition: a subtree of each size that is there already is joined.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// §2.1.1: the hash of all of it.
    #[must_use]
    pub fn root(&self) -> Hash {
        let joined = self.peaks.iter().rev().copied();
        joined
            .reduce(|right, left| node(&left, &right))
            .unwrap_or_else(|| {
                let mut empty = Hash::default();
                empty.copy_from_slice(digest(&SHA256, b"").as_ref());
                empty
            })
    }
}

/// §2.1.3.1: the hashes that lead from the leaf to the root, the leaf's neighbour first. Empty where there is no such
/// leaf, and where it is alone.
#[must_use]
pub fn inclusion_proof(leaves: &[Hash], index: usize) -> Vec<Hash> {
    if index >= leaves.len() || leaves.len() == 1 {
        return Vec::new();
    }
    // The largest power of two that is smaller than the number of leaves.
    let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
    let (mut path, other) = if index < left.len() {
        (inclusion_proof(left, index), right)
    } else {
        (inclusion_proof(right, index - left.len()), left)
    };
    path.push(Tree::of(other).root());
    path
}

/// §2.1.3.2: whether the proof leads from the leaf to the root of a tree of this size.
#[must_use]
pub fn is_included(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hex(hash: &Hash) -> String {
        hash.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// The reference data of the Certificate Transparency implementations: eight leaves and the root after each.
    #[test]
    fn roots_are_those_of_others() {
        let leaves: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Tree::default();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(&tree.root()), empty);
        for (record, root) in leaves.iter().zip(roots) {
            tree.push(leaf(record));
            assert_eq!(hex(&tree.root()), root);
            let resumed = Tree::resume(tree.size(), tree.peaks().to_vec()).unwrap();
            assert_eq!(resumed, tree);
        }
        assert!(Tree::resume(7, tree.peaks().to_vec()).is_none());
    }

    #[test]
    fn proofs_hold_for_their_leaf_and_place_alone() {
        for size in 1..=33_u64 {
            let leaves: Vec<Hash> = (0..size).map(|at| leaf(&at.to_be_bytes())).collect();
            let root = Tree::of(&leaves).root();
            for at in 0..size {
                let mut proof = inclusion_proof(&leaves, at as usize);
                let own = &leaves[at as usize];
                assert!(is_included(own, at, size, &proof, &root), "{at} of {size}");
                for (other, hash) in leaves.iter().enumerate() {
                    let is_own = other as u64 == at;
                    assert_eq!(is_included(hash, at, size, &proof, &root), is_own);
                    assert!(is_own || !is_included(own, other as u64, size, &proof, &root));
                }
                assert!(!is_included(own, at, size, &proof, &Hash::default()));
                proof.push(root);
                assert!(!is_included(own, at, size, &proof, &root));
                proof.pop();
                if proof.pop().is_some() {
                    assert!(!is_included(own, at, size, &proof, &root));
                }
            }
        }
    }
}
