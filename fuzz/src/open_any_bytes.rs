//! Any file is opened, or refused and left as it is.

use ckptdb::{Filter, Store, VerifyDepth};

use crate::random::Random;
use crate::victim::{Victim, victim};
use crate::watch::{within, within_commit};

/// The first byte says whether the rest is a file or edits of a store, and what is done with what
/// opens.
pub(crate) fn open_any_bytes(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else {
        return;
    };
    let victim = victim();
    if choice & 0x80 != 0 {
        if let Some((_, store)) = within("opening", || victim.open(rest)) {
            use_it(&store, choice);
        }
        return;
    }
    let edited = victim.edited(&mut Random::of(rest));
    let Some((disk, store)) = within("opening", || victim.open(&edited.bytes)) else {
        return;
    };
    if edited.is_forged {
        use_it(&store, choice);
        return;
    }
    within("reading", || victim.interrogate(&store));
    assert!(disk.log().is_empty(), "reading wrote to the file");
    change(victim, &store, choice);
}

/// Changes a damaged store: what loads afterwards is as it was saved.
fn change(victim: &Victim, store: &Store, choice: u8) {
    if choice & 1 != 0 {
        drop(within("verifying", || store.verify(VerifyDepth::Full)));
    }
    if choice & 2 != 0 {
        let repaired = within_commit("repairing", || store.repair(&mut |_, _| {}));
        if repaired.is_ok() {
            within("reading", || victim.check_contents(store, true));
        }
    }
    if choice & 4 != 0 {
        let deleted = within_commit("reclaiming", || store.reclaim(true));
        if deleted.is_ok() {
            within("reading", || victim.check_contents(store, true));
        }
    }
    if choice & 8 != 0 {
        drop(within_commit("compacting", || store.compact()));
    }
    if choice & 16 != 0 {
        let saved = within_commit("saving", || save(store));
        if let Ok(found) = saved {
            let bytes = found.read("s").expect("it was saved a moment ago");
            assert_eq!(bytes, b"new".as_slice(), "what was just saved");
        }
    }
}

/// Whatever somebody made up: no answer matters, only that there is one.
fn use_it(store: &Store, choice: u8) {
    for deleted in [false, true] {
        let filter = Filter {
            abandoned: true,
            deleted,
            ..Filter::default()
        };
        within("reading", || {
            for found in store.list(&filter).into_iter().flatten().take(1_000) {
                drop(found.and_then(|found| found.load()));
            }
        });
    }
    for name in crate::work::JOBS {
        within("asking", || {
            let job = store.job(name).expect("the name is a good one");
            drop((job.info(), job.latest(), job.best("loss"), job.resume()));
        });
    }
    drop(within("counting", || store.stats()));
    if choice & 1 != 0 {
        drop(within("verifying", || store.verify(VerifyDepth::Full)));
    }
    if choice & 2 != 0 {
        drop(within_commit("repairing", || store.repair(&mut |_, _| {})));
    }
    if choice & 4 != 0 {
        drop(within_commit("reclaiming", || store.reclaim(true)));
    }
    if choice & 16 != 0 {
        drop(within_commit("saving", || save(store)));
    }
}

fn save(store: &Store) -> ckptdb::Result<ckptdb::Checkpoint> {
    let saved = store.job("new")?.save(1).bytes("s", b"new").commit()?;
    Ok(saved.checkpoint)
}
