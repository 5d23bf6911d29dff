//! Turns to write, between handles of several processes.

use std::sync::PoisonError;
use std::time::Duration;

use super::super::handle::{Handle, noted};
use super::Engine;
use crate::error::Result;

impl Engine {
    /// Waits until this handle may write, and nobody else. Whether others have since it last might:
    /// what is known of the store may not be so any more. The caller is the only thread that does.
    ///
    /// # Errors
    /// [`Error::Busy`] if that takes longer than the options say.
    pub(crate) fn begin_turn(&self) -> Result<bool> {
        self.check_process()?;
        self.begin_turn_within(self.options.wait)
    }

    pub(super) fn begin_turn_within(&self, wait: Duration) -> Result<bool> {
        let had_it = self.share.is_held();
        self.share.begin_write(wait)?;
        if let Err(error) = self.share.check_file() {
            // Another thread may have something staged in a turn that goes on.
            if !had_it {
                self.share.decline();
            }
            return Err(error);
        }
        let slot = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        let may_write = |handle: &Handle| {
            let condition = &handle.context.condition;
            let is_known = condition.holds_back() || condition.standing().is_settled();
            is_known && handle.is_current() && condition.has_known_len().unwrap_or(false)
        };
        if self.share.is_held() || slot.as_ref().is_some_and(may_write) {
            self.share.hold();
            return Ok(false);
        }
        // Who reads it is told before anybody believes that nothing can change.
        if let Some(handle) = slot.as_ref() {
            handle.context.condition.overtake();
        }
        drop(slot);
        let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        self.set_aside(&mut slot);
        self.share.hold();
        Ok(true)
    }

    /// Lets others write, unless another thread of this process goes on (`keep`) and nobody else
    /// waits. Everything that was staged is then on the disk.
    pub(crate) fn end_turn(&self, keep: bool) {
        let goes_on = keep && !self.share.is_awaited();
        if !self.share.is_shared() || !self.share.is_own() || goes_on {
            return;
        }
        self.settle_staged();
        let turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.undurable() > 0 {
            // It could not be brought to the disk, and nobody may do so after another's turn.
            let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
            self.set_aside(&mut slot);
            self.ledger.reopened();
        }
        let slot = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = slot.as_ref() {
            handle.context.condition.standing().vouch();
        }
        drop(slot);
        self.share.end_write(|| {
            let slot = self.handle.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(handle) = slot.as_ref() {
                handle.context.condition.overtake();
            }
        });
        drop(turn);
    }

    /// Whether another process waits to write.
    pub(crate) fn is_awaited(&self) -> bool {
        self.share.is_awaited()
    }

    /// Drops a handle that others have made useless, without writing anything.
    pub(super) fn set_aside(&self, slot: &mut Option<Handle>) {
        if let Some(handle) = slot.as_ref() {
            handle.context.condition.seal();
        }
        noted(self.discard(slot));
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::Range;
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Mutex};
    use std::thread;

    use super::super::super::file::FileMedium;
    use super::super::super::handle::Durability;
    use super::super::super::handle::EngineOptions;
    use super::super::super::room::Room;
    use super::super::super::testing::{OPTIONS, engine_in};
    use super::super::super::watched::{Watch, Watched};
    use super::super::Withheld;
    use super::*;
    use crate::error::Error;
    use crate::format::TableCode;

    /// Two handles on a new store, as two processes have them.
    fn engines(file: &Path) -> [Engine; 2] {
        let (one, _) = watched(file);
        [one, opened(file)]
    }

    /// A handle on a new store, and what becomes of its calls.
    fn watched(file: &Path) -> (Engine, Arc<Watch>) {
        let medium = Watched::new(file);
        let watch = Arc::clone(&medium.watch);
        (engine_in(Arc::new(medium), |_| Ok(())), watch)
    }

    /// Another handle on it.
    fn opened(file: &Path) -> Engine {
        Engine::open(Arc::new(FileMedium::shared(file)), OPTIONS).unwrap()
    }

    /// A handle whose process is gone all of a sudden.
    fn killed(engine: Engine) {
        engine.set_aside(&mut engine.handle.write().unwrap());
        drop(engine);
    }

    /// Commits such a record, durably or not, whosever turn it is.
    fn commit(engine: &Engine, durability: Durability, key: u64, len: usize) -> Result<()> {
        engine.write(durability, Room::Ordinary, |rows| {
            rows.put_record(TableCode::Telemetry, key, &vec![7; len])
        })
    }

    /// Writes records of so many bytes in a turn of its own.
    fn put(engine: &Engine, keys: Range<u64>, len: usize) {
        engine.begin_turn().unwrap();
        let put = engine.write(Durability::Durable, Room::Ordinary, |rows| {
            for key in keys {
                rows.put_record(TableCode::Telemetry, key, &vec![7; len])?;
            }
            Ok(())
        });
        put.unwrap();
        engine.end_turn(false);
    }

    fn record(engine: &Engine, key: u64) -> Option<Vec<u8>> {
        engine
            .read(|rows| rows.record(TableCode::Telemetry, key))
            .unwrap()
    }

    #[test]
    fn what_one_handle_commits_the_other_reads_at_once_in_whatever_order() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let engines = engines(file.path());
        for key in 1..40 {
            let [writer, reader] = [key % 3 == 0, key % 3 != 0].map(usize::from);
            put(&engines[writer], key..key + 1, 3000);
            assert_eq!(record(&engines[reader], key).unwrap().len(), 3000);
            assert_eq!(record(&engines[writer], key).unwrap().len(), 3000);
        }
    }

    #[test]
    fn a_reader_that_is_overtaken_is_told_and_reads_no_page_that_is_not_of_its_state() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [one, two] = engines(file.path());
        put(&one, 1..60, 3000);
        let two = Arc::new(two);
        let (reads, is_read) = channel();
        let (goes_on, may_go_on) = channel::<()>();
        let reader = thread::spawn({
            let two = Arc::clone(&two);
            move || {
                two.read(|rows| {
                    reads.send(()).unwrap();
                    may_go_on.recv().unwrap();
                    // What they have become is not its business.
                    let read = |key| rows.record(TableCode::Telemetry, key);
                    let found: Result<Vec<_>> = (1..60).map(read).collect();
                    Ok(found.map(|found| found.iter().flatten().all(|row| row.len() == 3000)))
                })
            }
        });
        is_read.recv().unwrap();
        // The last writes where the first state was.
        for len in [2000, 2001, 2002] {
            put(&one, 1..60, len);
        }
        goes_on.send(()).unwrap();
        let told = reader.join().unwrap();
        assert!(matches!(told, Err(Error::Overtaken { .. })), "{told:?}");
        assert_eq!(record(&two, 59).unwrap().len(), 2002);
    }

    #[test]
    fn a_store_that_is_withheld_is_read_and_not_changed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [one, two] = engines(file.path());
        put(&one, 1..2, 3000);
        let withheld = Withheld::of(&FileMedium::shared(file.path()), &OPTIONS).unwrap();
        for engine in [&one, &two] {
            assert_eq!(record(engine, 1).unwrap().len(), 3000);
            let refused = engine.begin_turn_within(Duration::ZERO);
            assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
        }
        drop(withheld);
        put(&two, 1..2, 2000);
        assert_eq!(record(&one, 1).unwrap().len(), 2000);
    }

    #[test]
    fn a_handle_that_is_overtaken_while_it_opens_opens_the_state_of_then() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let one = Arc::new(watched(file.path()).0);
        put(&one, 1..60, 3000);
        let mut lens = (1..).map(|round| 2000 + round);
        for moment in 0.. {
            let medium = Watched::new(file.path());
            let reads = Arc::new(AtomicU64::new(0));
            let last = Arc::new(AtomicUsize::new(0));
            *medium.watch.told_of_reads.lock().unwrap() = Some(Box::new({
                let (one, reads, last) = (Arc::clone(&one), Arc::clone(&reads), Arc::clone(&last));
                let states: Vec<_> = lens.by_ref().take(3).collect();
                move || {
                    if reads.fetch_add(1, Ordering::SeqCst) == moment {
                        // The last writes where the first state was.
                        for len in &states {
                            put(&one, 1..60, *len);
                        }
                        last.store(states[2], Ordering::SeqCst);
                    }
                }
            }));
            let two = Engine::open(Arc::new(medium), OPTIONS).unwrap();
            let last = last.load(Ordering::SeqCst);
            if last == 0 {
                assert!(moment > 10, "{moment}");
                break;
            }
            assert_eq!(record(&two, 59).unwrap().len(), last, "{moment}");
        }
    }

    #[test]
    fn a_handle_writes_nothing_out_of_its_turn_however_little_memory_its_reads_have() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, watch) = watched(file.path());
        let two = opened(file.path());
        // Twice as much as there is of cache. A durable commit leaves pages of the engine's own in
        // it that it has not written.
        for key in 0..20 {
            put(&one, key..key + 1, 100_000);
        }
        let calls = watch.calls();
        for round in 0..3 {
            for key in 0..20 {
                assert_eq!(record(&one, key).unwrap().len(), 100_000);
            }
            // Somebody else's state has come between, or not yet.
            put(&two, 100 + round..101 + round, 3000);
        }
        assert_eq!(watch.calls(), calls);
        put(&one, 200..201, 3000);
        assert!(watch.calls() > calls);
    }

    #[test]
    fn a_read_between_getting_the_turn_and_looking_at_the_store_sees_the_last_state() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [one, two] = engines(file.path());
        put(&one, 1..2, 3000);
        put(&two, 1..2, 2000);
        one.share.begin_write(Duration::ZERO).unwrap();
        assert_eq!(record(&one, 1).unwrap().len(), 2000);
        assert!(
            !one.begin_turn().unwrap(),
            "its own read has opened it anew"
        );
        one.end_turn(false);
    }

    #[test]
    fn after_a_turn_that_was_cut_off_nothing_is_believed_of_the_file_s_length() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [one, two] = engines(file.path());
        put(&two, 1..2, 3000);
        assert_eq!(record(&one, 1).unwrap().len(), 3000);
        let before = file.path().metadata().unwrap().len();
        // It makes the file longer, and publishes nothing.
        two.begin_turn().unwrap();
        for key in 2..60 {
            commit(&two, Durability::Staged, key, 100_000).unwrap();
        }
        assert!(file.path().metadata().unwrap().len() > before);
        killed(two);
        assert!(one.begin_turn().unwrap());
        for key in 2..60 {
            commit(&one, Durability::Durable, key, 50_000).unwrap();
        }
        one.end_turn(false);
        let three = opened(file.path());
        assert!((2..60).all(|key| record(&three, key).unwrap().len() == 50_000));
        assert_eq!(record(&three, 1).unwrap().len(), 3000);
    }

    /// Pages that a handle keeps for its next transaction may lie where the last state has none,
    /// and where another one's turn, that was cut off, has written since.
    #[test]
    fn after_a_change_that_was_refused_a_handle_does_not_go_on_as_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let one = watched(file.path()).0;
        for key in 0..20 {
            put(&one, key..key + 1, 100_000);
        }
        one.begin_turn().unwrap();
        // It reads more than there is memory for, and so writes what it has of the last commit.
        let refused = one.write(Durability::Durable, Room::Ordinary, |rows| {
            for key in 0..20 {
                rows.record(TableCode::Telemetry, key)?;
            }
            rows.put_record(TableCode::Telemetry, 1, &vec![1; 50_000])?;
            Err::<(), _>(Error::invalid("x", "y"))
        });
        refused.unwrap_err();
        one.end_turn(false);
        let two = opened(file.path());
        let before = file.path().metadata().unwrap().len();
        two.begin_turn().unwrap();
        for key in 30..33 {
            commit(&two, Durability::Staged, key, 100_000).unwrap();
        }
        killed(two);
        assert_eq!(file.path().metadata().unwrap().len(), before);
        assert!(one.begin_turn().unwrap(), "it is opened anew");
        one.end_turn(false);
        put(&one, 40..60, 100_000);
        for key in (0..20).chain(40..60) {
            assert_eq!(record(&opened(file.path()), key).unwrap().len(), 100_000);
        }
    }

    /// The engine cuts a file that is half empty behind the last sync of a commit. Nothing of that
    /// is unknown to the handle, and what callers said of their entries is still to be believed.
    #[test]
    fn after_a_commit_that_makes_the_file_shorter_a_handle_goes_on_as_it_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let one = watched(file.path()).0;
        put(&one, 0..60, 100_000);
        let len = || file.path().metadata().unwrap().len();
        let mut cuts = 0;
        for key in (0..60).rev() {
            let before = len();
            assert!(!one.begin_turn().unwrap(), "opened anew for {key}");
            one.write(Durability::Durable, Room::Ordinary, |rows| {
                rows.remove_record(TableCode::Telemetry, key)
            })
            .unwrap();
            one.end_turn(false);
            cuts += u32::from(len() < before);
            let seen = opened(file.path());
            assert_eq!(record(&seen, key), None);
            assert_eq!(record(&seen, 0).is_some(), key > 0);
        }
        assert!(cuts > 2, "{cuts}");
    }

    /// A change that is refused may have made the file longer, and the engine cuts it again. The
    /// sync that it does when it grows covers pages that it wrote before, and that no state has.
    #[test]
    fn after_a_change_that_made_the_file_longer_and_was_refused_a_handle_does_not_go_on() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, watch) = watched(file.path());
        for key in 0..20 {
            put(&one, key..key + 1, 100_000);
        }
        let len = || file.path().metadata().unwrap().len();
        let (before, calls) = (len(), watch.calls());
        one.begin_turn().unwrap();
        let refused = one.write(Durability::Durable, Room::Ordinary, |rows| {
            let mut keys = 100..200;
            while len() == before {
                // More than there is memory for, so that what it has in hand is written before the
                // file grows, and not after.
                for key in 0..20 {
                    rows.record(TableCode::Telemetry, key)?;
                }
                let key = keys
                    .next()
                    .ok_or_else(|| Error::invalid("it", "does not grow"))?;
                rows.put_record(TableCode::Telemetry, key, &vec![1; 50_000])?;
            }
            assert!(watch.calls() > calls + 2);
            Err::<(), _>(Error::invalid("x", "y"))
        });
        assert!(refused.unwrap_err().to_string().contains('x'));
        one.end_turn(false);
        assert_eq!(len(), before);
        assert!(one.begin_turn().unwrap(), "it is opened anew");
        one.end_turn(false);
    }

    #[test]
    fn what_could_not_be_made_durable_in_its_turn_never_is() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, watch) = watched(file.path());
        let two = opened(file.path());
        put(&one, 1..2, 3000);
        one.begin_turn().unwrap();
        let staged = one.next_staged();
        commit(&one, Durability::Staged, 2, 3000).unwrap();
        watch.fails.store(true, Ordering::SeqCst);
        one.end_turn(false);
        watch.fails.store(false, Ordering::SeqCst);
        put(&two, 3..4, 3000);
        one.make_durable(staged).unwrap_err();
        // The next one sees the other's state, and not what failed; nor does this one.
        for engine in [&one, &two, &opened(file.path())] {
            let there = [1, 2, 3].map(|key| record(engine, key).is_some());
            assert_eq!(there, [true, false, true]);
        }
    }

    type Contents = BTreeMap<u64, Vec<u8>>;

    fn contents(engine: &Engine) -> Result<Contents> {
        engine.read(|rows| {
            let read = |key| {
                Ok(rows
                    .record(TableCode::Telemetry, key)?
                    .map(|row| (key, row)))
            };
            let all: Result<Vec<_>> = (0..30).map(read).collect();
            Ok(all?.into_iter().flatten().collect())
        })
    }

    /// What others may see at a moment: the last state that was published, or the one that is being
    /// made, if they have not seen the last one since.
    #[derive(Default)]
    struct Seen {
        last: Contents,
        next: Contents,
        is_next: bool,
        looks: u64,
    }

    impl Seen {
        fn look(&mut self, engine: &Engine) {
            match contents(engine) {
                Ok(found) if found == self.next => self.is_next = true,
                Ok(found) => {
                    assert!(
                        found == self.last && !self.is_next,
                        "mixed, or an old state"
                    );
                }
                // A state is being published.
                Err(Error::Busy { .. }) => return,
                Err(error) => panic!("{error:?}"),
            }
            self.looks += 1;
        }
    }

    /// Who reads without waiting.
    fn onlooker(file: &Path) -> Result<Engine> {
        let options = EngineOptions {
            wait: Duration::ZERO,
            ..OPTIONS
        };
        Engine::open(Arc::new(FileMedium::shared(file)), options)
    }

    /// A handle at each of whose calls another looks, which stays, and one that comes for that.
    fn looked_at(file: &Path, seen: &Arc<Mutex<Seen>>) -> Engine {
        let medium = Watched::new(file);
        let stays = onlooker(file).unwrap();
        let (path, seen) = (file.to_owned(), Arc::clone(seen));
        let told = move || {
            let mut seen = seen.lock().unwrap();
            seen.look(&stays);
            match onlooker(&path) {
                Ok(fresh) => seen.look(&fresh),
                Err(Error::Busy { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        };
        *medium.watch.told.lock().unwrap() = Some(Box::new(told));
        Engine::open(Arc::new(medium), OPTIONS).unwrap()
    }

    /// Numbers that look drawn.
    struct Draws(u64);

    impl Draws {
        fn below(&mut self, limit: u64) -> u64 {
            let next = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d);
            self.0 = next.wrapping_add(0x1405_7b7e_f767_814f);
            (self.0 >> 33) % limit
        }
    }

    /// Some records that are put or removed, in one turn: all but the last change are staged.
    fn turn(engine: &Engine, draws: &mut Draws, seen: &Mutex<Seen>) {
        let changes: Vec<_> = (0..=draws.below(4))
            .map(|_| {
                let len = usize::try_from(draws.below(200_000)).unwrap();
                (draws.below(30), (len % 5 > 0).then(|| vec![7; len]))
            })
            .collect();
        let mut next = seen.lock().unwrap().last.clone();
        for (key, row) in &changes {
            match row {
                Some(row) => next.insert(*key, row.clone()),
                None => next.remove(key),
            };
        }
        let mut now = seen.lock().unwrap();
        (now.next, now.is_next) = (next, false);
        drop(now);
        engine.begin_turn().unwrap();
        for (at, (key, row)) in changes.iter().enumerate() {
            let is_last = at + 1 == changes.len();
            let durability = [Durability::Staged, Durability::Durable][usize::from(is_last)];
            let written = engine.write(durability, Room::Ordinary, |rows| match row {
                Some(row) => rows.put_record(TableCode::Telemetry, *key, row),
                None => rows.remove_record(TableCode::Telemetry, *key),
            });
            written.unwrap();
        }
        let mut now = seen.lock().unwrap();
        now.last = now.next.clone();
    }

    /// Crash safety says that whoever is cut off leaves the last state that was published. So
    /// others can read it at any moment: at each write, sync and change of the length.
    #[test]
    fn at_each_moment_of_a_turn_others_read_all_of_the_last_state() {
        let file = tempfile::NamedTempFile::new().unwrap();
        drop(watched(file.path()));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let open = || looked_at(file.path(), &seen);
        let mut draws = Draws(1);
        let mut writers = [open(), open()];
        for _ in 0..60 {
            let writer = usize::try_from(draws.below(2)).unwrap();
            if draws.below(8) == 0 {
                // One goes, after its turn or in the midst of it, and another comes.
                let gone = std::mem::replace(&mut writers[writer], open());
                if draws.below(2) == 0 {
                    gone.begin_turn().unwrap();
                    commit(&gone, Durability::Staged, draws.below(30), 200_000).unwrap();
                    killed(gone);
                }
            }
            let writer = &writers[writer];
            turn(writer, &mut draws, &seen);
            if draws.below(8) == 0 {
                writer.begin_turn().unwrap();
                writer.compact().unwrap();
            }
            writer.end_turn(false);
            seen.lock().unwrap().look(&onlooker(file.path()).unwrap());
        }
        drop(writers);
        let looks = seen.lock().unwrap().looks;
        assert!(looks > 2000, "{looks}");
    }

    #[test]
    fn the_first_change_of_a_turn_syncs_what_the_one_before_left_if_nobody_vouches_for_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (one, watch) = watched(file.path());
        let calls = |two: &Engine| {
            put(two, 1..2, 3000);
            let before = watch.calls();
            put(&one, 2..3, 3000);
            watch.calls() - before
        };
        let two = opened(file.path());
        let (first, vouched) = (calls(&two), calls(&two));
        assert_eq!(first, vouched);
        put(&two, 1..2, 3000);
        killed(two);
        let before = watch.calls();
        put(&one, 2..3, 3000);
        // The header once more, and a sync, both twice.
        assert_eq!(watch.calls() - before, vouched + 4);
    }
}
