//! A store is rebuilt from whatever bytes there are: what comes over is right.

use std::sync::Arc;

use ckptdb::{MemoryMedium, Store};

use crate::disk::Disk;
use crate::image::Image;
use crate::oracle::options;
use crate::random::Random;
use crate::victim::victim;
use crate::watch::within;

/// The first byte says whether the rest is a file or edits of a store.
pub(crate) fn salvage(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let victim = victim();
    let (bytes, is_forged) = if choice & 0x80 != 0 {
        // Half of a store's bytes, and then anything: records in no place of their own.
        let keep = if choice & 1 != 0 { victim.bytes() } else { &[] };
        ([&keep[..keep.len() / 2], rest].concat(), true)
    } else {
        let edited = victim.edited(&mut Random::of(rest));
        (edited.bytes, edited.is_forged)
    };
    let is_whole = bytes == victim.bytes();
    let old = Disk::new(Image::of(&bytes));
    old.start_log();
    let new = Arc::new(MemoryMedium::default());
    let mut options = options(&victim.clock);
    options.ballast_bytes = 0;
    let salvaged = within("salvaging", || {
        let old = Arc::new(old.clone());
        Store::salvage_in(old, new, options, &mut |_, _| {})
    });
    assert!(old.log().is_empty(), "the old store was written to");
    let (store, salvaged) = match salvaged {
        Ok(salvaged) => salvaged,
        Err(error) => {
            assert!(!is_whole, "a whole store: {error:?}");
            return;
        }
    };
    if is_forged {
        return;
    }
    let found = within("reading", || victim.check_contents(&store, false));
    let count = u64::try_from(found.len()).expect("there are few");
    assert_eq!(salvaged.checkpoints, count, "those that are counted");
    if is_whole {
        assert!(salvaged.lost.is_empty(), "{:?}", salvaged.lost);
        victim.interrogate(&store);
        assert_eq!(found.len(), victim.truth.answers.checkpoints.len());
    }
}
