//! Small saves from several threads at once, which share the sync of the last of them.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ckptdb::{Backend, CheckpointId, Medium, MemoryMedium, Options, Store};

use crate::support::noise;

/// A disk that is slow to sync, fails some writes, and whose power may fail at any time: then it
/// has what it had after its last sync.
#[derive(Clone, Debug)]
struct Disk {
    memory: MemoryMedium,
    synced: Arc<Mutex<Vec<u8>>>,
    syncs: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
    /// Each write of so many fails.
    fails: u64,
}

#[derive(Debug)]
struct File(Box<dyn Backend>, Disk);

impl Disk {
    fn new(fails: u64) -> Self {
        let memory = MemoryMedium::default();
        Store::create_in(Arc::new(memory.clone()), Options::default())
            .unwrap()
            .close();
        Self {
            synced: Arc::new(Mutex::new(memory.to_vec())),
            memory,
            syncs: Arc::default(),
            writes: Arc::default(),
            fails,
        }
    }

    fn open(&self) -> Store {
        Store::open_in(Arc::new(self.clone()), Options::default()).unwrap()
    }

    /// The store after a power failure now.
    fn after_power_failure(&self) -> Store {
        let bytes = self.synced.lock().unwrap().clone();
        Store::open_in(Arc::new(MemoryMedium::new(bytes)), Options::default()).unwrap()
    }
}

impl Medium for Disk {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        Ok(Box::new(File(self.memory.open()?, self.clone())))
    }
    fn path(&self) -> &Path {
        self.memory.path()
    }
}

impl Backend for File {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let number = self.1.writes.fetch_add(1, Ordering::SeqCst) + 1;
        if self.1.fails > 0 && number.is_multiple_of(self.1.fails) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.0.write(offset, data)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        std::thread::sleep(Duration::from_millis(1));
        self.1.syncs.fetch_add(1, Ordering::SeqCst);
        *self.1.synced.lock().unwrap() = self.1.memory.to_vec();
        Ok(())
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.0.try_lock()
    }
    fn unlock(&self) -> io::Result<()> {
        self.0.unlock()
    }
}

const THREADS: u64 = 6;
const SAVES: u64 = 25;

/// Saves from all threads; what is acknowledged is there after a power failure at that moment.
/// Returns what was acknowledged, and how often a save failed.
fn burst(disk: &Disk) -> (Vec<(CheckpointId, Vec<u8>)>, u64) {
    let store = disk.open();
    let acknowledged = Mutex::new(Vec::new());
    let failures = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (store, acknowledged, failures) = (&store, &acknowledged, &failures);
            scope.spawn(move || {
                let job = store.job(&format!("agent/{thread}")).unwrap();
                for iteration in 1..=SAVES {
                    // Half of it is what all of them have.
                    let mut state = vec![7; 3000];
                    let own = [thread.to_le_bytes(), iteration.to_le_bytes()].concat();
                    state.extend_from_slice(&own.repeat(60));
                    let saved = loop {
                        match job.save(iteration).bytes("state", &state).commit() {
                            Ok(saved) => break saved,
                            Err(_) => failures.fetch_add(1, Ordering::SeqCst),
                        };
                    };
                    let id = saved.checkpoint.id;
                    if iteration % 5 == 0 {
                        let after = disk.after_power_failure();
                        let found = after.resolve(&id.to_string()).unwrap();
                        assert_eq!(found.read("state").unwrap(), state);
                    }
                    acknowledged.lock().unwrap().push((id, state));
                }
            });
        }
    });
    store.close();
    (acknowledged.into_inner().unwrap(), failures.into_inner())
}

fn assert_all_there(store: &Store, acknowledged: &[(CheckpointId, Vec<u8>)]) {
    let mut ids: Vec<_> = acknowledged.iter().map(|(id, _)| *id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(
        ids.len() as u64,
        THREADS * SAVES,
        "each has an id of its own"
    );
    for (id, state) in acknowledged {
        assert_eq!(
            store
                .resolve(&id.to_string())
                .unwrap()
                .read("state")
                .unwrap(),
            *state
        );
    }
    let report = store.verify(ckptdb::VerifyDepth::Full).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn saves_of_a_burst_share_syncs_and_each_that_is_acknowledged_survives() {
    let disk = Disk::new(0);
    let before = disk.syncs.load(Ordering::SeqCst);
    let (acknowledged, failures) = burst(&disk);
    let syncs = disk.syncs.load(Ordering::SeqCst) - before;
    println!("{} saves, {syncs} syncs", THREADS * SAVES);
    assert_eq!(failures, 0);
    // Each by itself takes one.
    assert!(syncs < THREADS * SAVES, "{syncs} syncs");
    assert_all_there(&disk.after_power_failure(), &acknowledged);
}

#[test]
fn a_write_that_fails_under_a_burst_costs_no_save_that_was_acknowledged() {
    let disk = Disk::new(61);
    let (acknowledged, failures) = burst(&disk);
    println!("{failures} saves were repeated");
    assert!(failures > 0);
    let quiet = Disk { fails: 0, ..disk };
    assert_all_there(&quiet.open(), &acknowledged);
}

#[test]
fn after_a_save_that_lost_its_stages_the_next_is_acknowledged() {
    let disk = Disk::new(40);
    // Its stages do not stay in the engine's memory: some of their writes fail.
    let options = Options {
        cache_bytes: 4 << 20,
        ..Options::default()
    };
    let store = Store::open_in(Arc::new(disk), options).unwrap();
    let job = store.job("agent").unwrap();
    let large = noise(1, 20 << 20);
    job.save(1).bytes("state", &large).commit().unwrap_err();
    let mut tries = (0..4).map(|_| job.save(2).bytes("state", &large[..3000]).commit());
    assert!(
        tries.any(|saved| saved.is_ok()),
        "no later save is acknowledged"
    );
}
