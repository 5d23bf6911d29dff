//! Operations that an input draws, and what befalls them: the simulation of the tests, with the
//! fuzzer in the place of the seed.

use std::sync::Arc;

use ckptdb::{Store, Timestamp};

use crate::crash::Explorer;
use crate::disk::Disk;
use crate::image::Image;
use crate::iofaults::{Heir, Scene};
use crate::model::Model;
use crate::oracle::{Allowed, Checked, clock_at, matched, options};
use crate::random::Random;
use crate::run::{Run, Settings, last, perform};
use crate::states::{Lengths, points};
use crate::watch::within;
use crate::work::{Theme, draw};

/// More states or faults than that of one input only slow the fuzzer down.
const MOST: usize = 12;

/// Draws operations, and does them on a sound disk.
fn work(random: &mut Random, most: usize) -> Checked<Run> {
    let choice = random.byte();
    let theme = if choice >= 0xf0 {
        Theme::Growing
    } else {
        Theme::Small
    };
    let count = 1 + usize::from(choice & 0x0f) % most;
    let clock = clock_at(0);
    let disk = Disk::default();
    let store = Store::create_in(Arc::new(disk.clone()), options(&clock))?;
    let mut model = Model::default();
    model.commits.push(0);
    let mut run = Run {
        start: disk.image(),
        log: Vec::new(),
        ops: Vec::new(),
        acked: vec![Allowed::new(model)],
        through: Vec::new(),
        before: Vec::new(),
        end: Image::default(),
        clock: Arc::clone(&clock),
    };
    disk.start_log();
    let mut now = 0;
    for number in 1..=count {
        now += 60_000 * i64::from(random.byte() % 60);
        clock.set(Timestamp::from_millis(now));
        let before = last(&run.acked).clone();
        let fresh = u8::try_from(number).expect("work is short");
        let op = draw(random, &before.model, theme, fresh);
        run.before.push((disk.image(), now));
        let through = within(op.kind(), || perform(&store, &op, &before.model, now))?;
        disk.acknowledge(number);
        matched(&store, std::slice::from_ref(last(&through)))?;
        run.acked.push(last(&through).clone());
        run.through.push(through);
        run.ops.push(op);
    }
    drop(store);
    (run.log, run.end) = (disk.log(), disk.image());
    Ok(run)
}

/// The power fails at moments that the input draws: what is there then is one of the states that
/// may be, and the store works on.
pub(crate) fn crash(data: &[u8]) {
    let mut random = Random::of(data);
    let run = work(&mut random, 8).expect("a sound disk");
    let points = points(run.start.clone(), &run.log, Lengths::Modelled);
    let hash = blake3::hash(data);
    let seed = u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("it is longer"));
    let mut explorer = Explorer::new(&run, Settings::new(seed));
    for _ in 0..MOST {
        if random.is_spent() {
            break;
        }
        let point = random.pick(&points).clone();
        let choice = point.some(&mut random);
        let mut allowed = vec![run.acked[point.acked].clone()];
        allowed.extend(run.through.get(point.acked).into_iter().flatten().cloned());
        within("a crash", || {
            explorer.state(&point, &choice, &allowed, &mut Vec::new());
        });
        assert!(
            explorer.tally.found.is_empty(),
            "{:?}",
            explorer.tally.found
        );
    }
}

/// Calls of the disk fail as the input draws: nothing acknowledged is lost, and once the fault is
/// gone the store works on.
pub(crate) fn iofault(data: &[u8]) {
    let mut random = Random::of(data);
    let run = work(&mut random, 5).expect("a sound disk");
    for _ in 0..MOST {
        if random.is_spent() {
            break;
        }
        let number = random.below(run.ops.len());
        let is_warm = random.one_in(2);
        let scene = Scene::of(&run, number, is_warm).expect("a sound disk");
        let faults = scene.faults();
        let fault = faults[random.below(faults.len().max(0x101)) % faults.len()];
        let heir = *random.pick(&[Heir::SameHandle, Heir::FreshHandle]);
        let met = within("a fault", || {
            crate::quiet::caught(|| scene.meet(fault, heir))
        });
        if let Err(wrong) = met {
            panic!("{:?}, {fault:?}, {heir:?}: {wrong:?}", run.ops[number]);
        }
    }
}
