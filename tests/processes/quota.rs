//! A disk with room for so many bytes and no more: a write fits in part, then none fits.

use std::path::PathBuf;

use ckptdb::{Error, Store};

use crate::child::{argument, tell};
use crate::content::{Size, State, job_name};
use crate::model::Model;
use crate::operation::Operation;
use crate::shim::{Action, Control, Fault, RESERVE, SIZE, WRITE};
use crate::sweep::swept;

const fn save(iteration: u64, size: Size) -> Operation {
    Operation::Save(State {
        job: 0,
        iteration,
        revision: 0,
        size,
    })
}

fn fill(control: &Control, bytes: u64) {
    control.arm(Fault {
        mask: WRITE | SIZE | RESERVE,
        action: Action::Fill(bytes),
        at: 1,
        sticky: true,
    });
}

fn done(store: &Store, model: &mut Model, operation: Operation) -> ckptdb::Result<u64> {
    let id = operation.run(store)?;
    model.apply(operation, id);
    Ok(id)
}

/// The role: a save with room for nothing, for a little more, and so on until it fits.
pub(crate) fn run_growing() {
    let folder: PathBuf = argument("CKPTDB_TEST_FOLDER");
    let (template, path) = (folder.join("template"), folder.join("store.ckptdb"));
    let mut prepared = Model::default();
    let store = Store::create(&template).unwrap();
    done(&store, &mut prepared, save(1, Size::Large)).unwrap();
    drop(store);
    let control = Control::own();
    for step in 0.. {
        let quota = step * 2_048;
        std::fs::copy(&template, &path).unwrap();
        let mut model = prepared.clone();
        let store = Store::open(&path).unwrap();
        fill(&control, quota);
        let operation = save(2, Size::Large);
        let result = operation.run(&store);
        model.read_live(&store, operation);
        control.disarm();
        match result {
            Ok(id) => {
                model.apply(operation, id);
                model.settle(&store, None);
                assert!(step > 20, "the save writes more than {quota} bytes");
                tell(&format!("{step} sizes too small, {quota} bytes are enough"));
                return;
            }
            Err(Error::Full { .. }) => {
                model.settle(&store, None);
                done(&store, &mut model, operation).unwrap();
                model.settle(&store, None);
            }
            Err(error) => panic!("with room for {quota}: {error:?}"),
        }
    }
}

/// The role: a rotation that keeps one checkpoint, on a disk that fills.
pub(crate) fn run_rotation() {
    let folder: PathBuf = argument("CKPTDB_TEST_FOLDER");
    let control = Control::own();
    let mut refused = 0;
    for kibibytes in (0..2_000).step_by(97) {
        let path = folder.join(format!("{kibibytes}.ckptdb"));
        let store = Store::create(&path).unwrap();
        let mut model = Model::default();
        let mut kept = done(&store, &mut model, save(1, Size::Large)).unwrap();
        fill(&control, kibibytes << 10);
        for iteration in 2..12 {
            let rotated = done(&store, &mut model, save(iteration, Size::Large)).and_then(|id| {
                done(&store, &mut model, Operation::Delete(kept))?;
                kept = id;
                done(&store, &mut model, Operation::Reclaim)
            });
            // The one that was acknowledged last can be resumed from, at every time.
            let latest = store.job(&job_name(0)).unwrap().latest().unwrap().unwrap();
            model.latest_is(&latest);
            match rotated {
                Ok(_) => {}
                Err(Error::Full { .. }) => refused += 1,
                Err(error) => panic!("with room for {kibibytes} KiB: {error:?}"),
            }
        }
        control.disarm();
        done(&store, &mut model, save(20, Size::Large)).unwrap();
        done(&store, &mut model, Operation::Reclaim).unwrap();
        model.settle(&store, None);
        drop(store);
        std::fs::remove_file(path).unwrap();
    }
    assert!(refused > 20, "{refused}");
    tell(&format!("{refused} rotations were refused"));
}

#[test]
fn a_save_that_fits_in_part_is_refused_whole() {
    println!("{:?}", swept("growing", ""));
}

/// Lightning #1150.
#[test]
fn a_rotation_that_keeps_one_never_leaves_none_when_the_disk_fills() {
    println!("{:?}", swept("rotation", ""));
}
