//! A small store, always the same but for its id, that damage is done to.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use ckptdb::{CheckpointId, Filter, ManualClock, Store};

use crate::disk::Disk;
use crate::edits::{Edited, Map};
use crate::image::Image;
use crate::model::{Model, Recipe};
use crate::op::{How, Op, SaveOp};
use crate::oracle::{Allowed, Checked, Wrong, clock_at, look, options};
use crate::random::Random;
use crate::run::{last, perform};
use crate::work::{JOBS, plain};

/// The store, and what is true of it.
pub(crate) struct Victim {
    bytes: Vec<u8>,
    map: Map,
    pub(crate) truth: Allowed,
    pub(crate) clock: Arc<ManualClock>,
    /// All checkpoints that ever were, reclaimed ones included.
    made: BTreeMap<u64, (u64, Recipe)>,
}

/// The one that all inputs share.
pub(crate) fn victim() -> &'static Victim {
    static VICTIM: LazyLock<Victim> = LazyLock::new(|| Victim::new().expect("its disk is sound"));
    &VICTIM
}

/// What was done to it.
fn history(model: &Model, step: usize) -> Option<Op> {
    let save = |job: usize, recipe| plain(model, JOBS[job], recipe);
    let newest = model.checkpoints.keys().next_back().copied();
    let of_step = |back: u64| newest.map(|newest| newest - back);
    Some(match step {
        0 => Op::Save(save(0, Recipe::Tiny(1))),
        1 => Op::Save(SaveOp {
            loss: Some(0.5),
            tag: Some("good"),
            ..save(0, Recipe::Packs(2))
        }),
        2 => Op::Declare {
            job: JOBS[0],
            larger: false,
        },
        3 => Op::Save(SaveOp {
            loss: Some(0.25),
            event: "best(loss)",
            ..save(0, Recipe::Packs(3))
        }),
        4 => Op::Delete {
            id: newest?,
            force: true,
        },
        5 => Op::Reclaim { now: true },
        6 => Op::Save(save(1, Recipe::Shared(4))),
        7 => Op::Save(SaveOp {
            pin: true,
            ..save(1, Recipe::Shared(5))
        }),
        8 => Op::Annotate {
            id: of_step(1)?,
            note: 3,
        },
        9 => Op::Save(SaveOp {
            how: How::RollBack(of_step(1)?),
            ..save(1, Recipe::Packs(6))
        }),
        10 => Op::Save(save(0, Recipe::Tiny(7))),
        11 => Op::Delete {
            id: newest?,
            force: true,
        },
        12 => Op::Tag {
            id: *model.checkpoints.keys().next()?,
            tag: "sent",
        },
        _ => return None,
    })
}

impl Victim {
    fn new() -> Checked<Self> {
        let clock = clock_at(0);
        let disk = Disk::default();
        let mut options = options(&clock);
        options.ballast_bytes = 0;
        let store = Store::create_in(Arc::new(disk.clone()), options)?;
        let mut truth = Allowed::new(Model::default());
        let mut made = BTreeMap::new();
        for step in 0.. {
            let Some(op) = history(&truth.model, step) else {
                break;
            };
            truth = last(&perform(&store, &op, &truth.model, 0)?).clone();
            let known = truth.model.checkpoints.iter();
            made.extend(known.map(|(id, known)| (*id, (known.iteration, known.recipe))));
        }
        store.close();
        let bytes = disk.image().to_vec();
        Ok(Self {
            map: Map::of(&bytes),
            bytes,
            truth,
            clock,
            made,
        })
    }

    /// Its bytes after the edits that an input asks for.
    pub(crate) fn edited(&self, random: &mut Random) -> Edited {
        self.map.edit(&self.bytes, random)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A store of these bytes opens, or is refused and left as it is.
    pub(crate) fn open(&self, bytes: &[u8]) -> Option<(Disk, Store)> {
        let disk = Disk::new(Image::of(bytes));
        disk.start_log();
        let mut options = options(&self.clock);
        options.ballast_bytes = 0;
        let opened = Store::open_in(Arc::new(disk.clone()), options);
        assert!(disk.log().is_empty(), "opening wrote to the file");
        Some((disk, opened.ok()?))
    }

    /// Nothing is listed that should not be, nothing is left out, and what loads is right; each
    /// answer may be refused instead. Returns how many were.
    pub(crate) fn interrogate(&self, store: &Store) -> usize {
        let mut refused = 0;
        for deleted in [false, true] {
            let views = self.truth.answers.checkpoints.iter().rev();
            let wanted: Vec<u64> = views
                .filter(|(_, view)| view.deleted == deleted)
                .map(|(id, _)| *id)
                .collect();
            match listed(store, deleted) {
                Ok(found) => assert_eq!(found, wanted, "the list (deleted: {deleted})"),
                Err(_) => refused += 1,
            }
        }
        let truth = std::slice::from_ref(&self.truth);
        for (id, view) in &self.truth.answers.checkpoints {
            let reference = CheckpointId::new(*id).to_string();
            let found = if view.deleted {
                store.resolve_deleted(&reference)
            } else {
                store.resolve(&reference)
            };
            let seen = found.map_err(Wrong::from);
            match seen.and_then(|found| look(&found, view.deleted, truth)) {
                Ok(found) => assert_eq!(found, *view, "checkpoint {id}"),
                Err(Wrong::Refused(_)) => refused += 1,
                Err(wrong @ Wrong::Answer(_)) => panic!("{wrong:?}"),
            }
        }
        refused
    }

    /// Whatever is listed was saved once, and loads as it was saved.
    pub(crate) fn check_contents(&self, store: &Store, may_refuse: bool) -> Vec<u64> {
        let mut found = Vec::new();
        for deleted in [false, true] {
            let filter = Filter {
                abandoned: true,
                deleted,
                ..Filter::default()
            };
            let all = store.list(&filter).map(Iterator::collect::<Vec<_>>);
            let all = all.unwrap_or_else(|error| {
                assert!(may_refuse, "the list is refused: {error:?}");
                Vec::new()
            });
            for checkpoint in all {
                let loaded = checkpoint.and_then(|found| Ok((found.load()?, found)));
                let (entries, checkpoint) = match loaded {
                    Ok(loaded) => loaded,
                    Err(_) if may_refuse => continue,
                    Err(error) => panic!("it is listed, and does not load: {error:?}"),
                };
                let id = checkpoint.id.get();
                let (iteration, recipe) = self.made[&id];
                assert_eq!(checkpoint.iteration, iteration, "checkpoint {id}");
                let entries = entries.iter().map(|(name, (_, bytes))| (name, &bytes[..]));
                let wanted = recipe.entries();
                let wanted = wanted.iter().map(|(name, bytes)| (name, &bytes[..]));
                assert!(entries.eq(wanted), "checkpoint {id} has other bytes");
                found.push(id);
            }
        }
        found
    }
}

/// The ids in a list, newest first.
pub(crate) fn listed(store: &Store, deleted: bool) -> ckptdb::Result<Vec<u64>> {
    let filter = Filter {
        abandoned: true,
        deleted,
        ..Filter::default()
    };
    let all = store.list(&filter)?;
    all.map(|found| Ok(found?.id.get())).collect()
}
